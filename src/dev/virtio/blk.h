/*
 * virtio-blk: a disk on a block back end. VIRTIO 1.2, section 5.2. Several queues, flush, discard, write-zeroes; a
 * write cache that the guest may turn off, and then each write is on stable storage before it is done.
 *
 * Data goes between the back end and guest memory without a copy. Requests are submitted on the processor's thread that
 * notified, and completed on the event loop's.
 */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "dev/virtio/device.h"

struct block;

#define VIRTIO_BLK_SERIAL 20 /* bytes of a serial number, zeroes behind it if it is shorter */
#define VIRTIO_BLK_QUEUES 8

struct virtio_blk_config {
    struct block *block; /* outlives the device, and is drained before that is reset or destroyed */
    unsigned queues;     /* 1 to VIRTIO_BLK_QUEUES */
    const char *serial;  /* copied; NULL: none */
};

struct virtio_device *virtio_blk_create(const struct virtio_host *host, const struct virtio_blk_config *cfg,
                                        struct error *err);

#endif
