/*
 * Virtio over MMIO: the transport for guests without PCI: a window and an interrupt line, of which the guest has to be
 * told. VIRTIO 1.2, section 4.2 (version 2 registers).
 *
 * A driver that resets does not wait, as those of PCI do: with requests under way it finds the device not ready for a
 * moment, and what it writes to it until then is not heard (device.h).
 */
#ifndef DEV_VIRTIO_MMIO_H
#define DEV_VIRTIO_MMIO_H

#include "dev/virtio/device.h"
#include "irq/line.h"

struct virtio_mmio;

#define VIRTIO_MMIO_SIZE 0x200u

struct virtio_mmio_config {
    u64 base;
    struct irq_line irq; /* a level */
    struct virtio_device *device;
};

/* First member is a struct dev. NULL with a message. Destroyed before the device. */
struct virtio_mmio *virtio_mmio_create(const struct virtio_mmio_config *cfg, struct error *err);

#endif
