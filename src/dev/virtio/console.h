/*
 * virtio-console: ports that carry bytes between the guest and character back ends, each a console for the guest
 * (hvc0, hvc1, ... in Linux). VIRTIO 1.2, section 5.3. Multiport where the driver can; else there is the first port
 * alone.
 *
 * Bytes for the guest are taken from the back end only when the guest has given buffers, and with multiport has opened
 * the port. What the guest writes goes to the back end at once.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "dev/virtio/device.h"

struct chardev;

#define VIRTIO_CONSOLE_PORTS 7

struct virtio_console_config {
    struct chardev *chr[VIRTIO_CONSOLE_PORTS]; /* outlive the device */
    unsigned ports;                            /* 1 to VIRTIO_CONSOLE_PORTS */
};

struct virtio_device *virtio_console_create(const struct virtio_host *host, const struct virtio_console_config *cfg,
                                            struct error *err);

#endif
