/*
 * virtio-9p: carries 9P messages to a shared folder. VIRTIO 1.2 has the number of the device (5, "9P transport") and
 * leaves the rest to its users: one queue; a chain is a message to read and then room for the reply; the configuration
 * is the length of a tag, and the tag, by which the guest mounts the folder.
 *
 * What the share answers at once goes back in the same notification, with one interrupt for all of them.
 */
#ifndef DEV_VIRTIO_P9_H
#define DEV_VIRTIO_P9_H

#include "dev/virtio/device.h"

struct share;

/* The share outlives the device, and is drained before that is reset or destroyed. */
struct virtio_device *virtio_p9_create(const struct virtio_host *host, struct share *share, struct error *err);

#endif
