/*
 * virtio-vsock: streams between ports of the guest and of the host, without a network. VIRTIO 1.2, section 5.10. The
 * device carries packets between its queues and a back end that makes connections of them (backend/vsock/vsock.h); of
 * the packets it looks at a length alone, to cut data to the buffers that the driver gives.
 */
#ifndef DEV_VIRTIO_VSOCK_H
#define DEV_VIRTIO_VSOCK_H

#include "dev/virtio/device.h"

struct net;

struct virtio_vsock_config {
    struct net *net; /* outlives the device */
    u32 cid;         /* of the guest */
};

struct virtio_device *virtio_vsock_create(const struct virtio_host *host, const struct virtio_vsock_config *cfg,
                                          struct error *err);

#endif
