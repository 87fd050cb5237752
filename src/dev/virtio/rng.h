/*
 * virtio-rng: random bytes from the host. VIRTIO 1.2, section 5.4.
 */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "dev/virtio/device.h"

/* NULL with a message. Destroyed through dev.cls. */
struct virtio_device *virtio_rng_create(const struct virtio_host *host, struct error *err);

#endif
