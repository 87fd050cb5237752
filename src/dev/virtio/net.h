/*
 * virtio-net: a network card on a network back end. VIRTIO 1.2, section 5.1: one pair of queues, a control queue, and
 * offloads in both directions, which the guest is always offered: what the back end or the guest cannot take whole is
 * cut and summed here (backend/net/frame.h).
 *
 * Frames of the guest go from its memory into the back end without a copy, on the thread of the processor that
 * notified. Frames for it come on the event loop's thread, are copied into its buffers, several buffers for one frame
 * where the driver merges them, and wait in the back end while there are none. A driver that is not there loses them.
 */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "dev/virtio/device.h"

struct net;

#define VIRTIO_NET_MAC 6

struct virtio_net_config {
    struct net *net; /* outlives the device */
    u8 mac[VIRTIO_NET_MAC];
    u16 mtu; /* 0: the driver is told none */
};

struct virtio_device *virtio_net_create(const struct virtio_host *host, const struct virtio_net_config *cfg,
                                        struct error *err);

#endif
