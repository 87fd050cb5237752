/*
 * Virtio over PCI: the transport between a function on the bus and a virtio device. VIRTIO 1.2, section 4.1, modern
 * only (device IDs from 0x1040 on, revision 1).
 *
 * BAR 4 (64-bit, 16 KiB) has a page each for common configuration, ISR, the device's configuration and
 * notifications; BAR 1 is MSI-X, with a vector for each queue and one for changes of configuration. Without MSI-X it is
 * INTx through the ISR. The capability for access through configuration space (4.1.4.9) is there for firmware.
 */
#ifndef DEV_VIRTIO_PCI_H
#define DEV_VIRTIO_PCI_H

#include "bus/pci.h"
#include "dev/virtio/device.h"

struct virtio_pci;

struct virtio_pci_config {
    struct pci_bus *bus;
    u8 devfn;
    struct virtio_device *device; /* has to be destroyed after the transport */
};

/* First member is a struct dev. NULL with a message. */
struct virtio_pci *virtio_pci_create(const struct virtio_pci_config *cfg, struct error *err);

#endif
