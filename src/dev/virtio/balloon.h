/*
 * virtio-balloon: a guest gives memory back to the host. VIRTIO 1.2, section 5.5. By request: virtio_balloon_set says
 * how much the guest should keep, and its driver gives up pages or takes them back. And by itself: it reports what it
 * has free (free page reporting). Pages given up read as zeroes when the guest uses them again.
 */
#ifndef DEV_VIRTIO_BALLOON_H
#define DEV_VIRTIO_BALLOON_H

#include "dev/virtio/device.h"

struct virtio_device *virtio_balloon_create(const struct virtio_host *host, struct error *err);

/* Memory that the guest should do without, in bytes. */
void virtio_balloon_set(struct virtio_device *d, u64 bytes);

/* What the driver last told about the guest's memory (5.5.6.3), by tag. */
enum {
    VIRTIO_BALLOON_MAJOR_FAULTS = 2,
    VIRTIO_BALLOON_FREE = 4,
    VIRTIO_BALLOON_TOTAL = 5,
    VIRTIO_BALLOON_AVAILABLE = 6,
    VIRTIO_BALLOON_CACHES = 7,
    VIRTIO_BALLOON_STATS = 10
};

struct virtio_balloon_info {
    bool driver;  /* there is one */
    u64 wanted;   /* bytes, as virtio_balloon_set was told */
    u64 actual;   /* bytes that the guest does without */
    u64 reported; /* bytes of free pages given back since power-on, all reports added up */
    bool known[VIRTIO_BALLOON_STATS];
    u64 stat[VIRTIO_BALLOON_STATS];
};

/* And asks the driver for new numbers, for the next time. */
void virtio_balloon_info(struct virtio_device *d, struct virtio_balloon_info *out);

#endif
