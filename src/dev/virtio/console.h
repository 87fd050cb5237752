/*
 * virtio-console: ports that carry bytes between the guest and character back ends, each a console for the guest
 * (hvc0, hvc1, ... in Linux). VIRTIO 1.2, section 5.3. Multiport where the driver can; else there is the first port
 * alone.
 *
 * Bytes for the guest are taken from the back end only when the guest has given buffers, and with multiport has opened
 * the port. What the guest writes goes to the back end at once; a stream waits while that is behind, as a guest's
 * kernel can wait for a stream but not for a console.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "dev/virtio/device.h"

struct chardev;

#define VIRTIO_CONSOLE_PORTS 7

struct virtio_console_config {
    struct chardev *chr[VIRTIO_CONSOLE_PORTS]; /* outlive the device */
    unsigned ports;                            /* 1 to VIRTIO_CONSOLE_PORTS */
    bool stream; /* the ports are no consoles: bytes as they are, nothing is lost, and an end of input is one */
};

struct virtio_device *virtio_console_create(const struct virtio_host *host, const struct virtio_console_config *cfg,
                                            struct error *err);
/* The machine is about to go: what the guest has written to streams comes out, however long their readers take. */
void virtio_console_finish(struct virtio_device *d);

#endif
