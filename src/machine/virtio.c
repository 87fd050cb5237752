/*
 * The virtio devices: each in the next free PCI slot, in a fixed order, so that the same options give the guest the
 * same addresses.
 */
#include "dev/virtio/blk.h"
#include "dev/virtio/pci.h"
#include "dev/virtio/rng.h"
#include "machine/pc.h"

#define SLOTS 32
_Static_assert(MACHINE_DISK_QUEUES <= VIRTIO_BLK_QUEUES, "queues of a disk");

/* 0 is the host bridge: never free. */
static u8 free_slot(const struct machine *m)
{
    for (unsigned slot = 1; slot < SLOTS; slot++)
        if (!m->pci.func[PCI_DEVFN(slot, 0)])
            return (u8)slot;
    return 0;
}

/* A device and its transport, which is destroyed before it. */
static int add_device(struct machine *m, struct virtio_device *d, unsigned instance, struct error *err)
{
    if (!d)
        return -ENOMEM;
    d->dev.instance = instance;
    m->dev[m->devs++] = &d->dev;

    u8 slot = free_slot(m);
    if (!slot)
        return error_set(err, -ENOSPC, "there are too many devices: all PCI slots are taken");
    struct virtio_pci_config cfg = {.bus = &m->pci, .devfn = PCI_DEVFN(slot, 0), .device = d};
    struct dev *transport = (struct dev *)virtio_pci_create(&cfg, err);
    if (!transport)
        return -ENOMEM;
    transport->instance = m->transports++;
    m->dev[m->devs++] = transport;
    return 0;
}

static struct virtio_host host_of(const struct machine *m)
{
    return (struct virtio_host){.mem = m->mem, .loop = m->cfg.loop, .log = m->cfg.log};
}

static int add_disk(struct machine *m, unsigned n, struct error *err)
{
    const struct machine_disk *disk = &m->cfg.disk[n];
    struct virtio_host host = host_of(m);
    struct virtio_blk_config cfg = {.block = disk->block, .queues = disk->queues, .serial = disk->serial};

    host.packed = disk->packed;
    return add_device(m, virtio_blk_create(&host, &cfg, err), n, err);
}

int machine_add_virtio(struct machine *m, struct error *err)
{
    struct virtio_host host = host_of(m);
    int status = 0;

    if (m->cfg.rng)
        status = add_device(m, virtio_rng_create(&host, err), 0, err);
    for (unsigned n = 0; n < m->cfg.disks && !status; n++)
        status = add_disk(m, n, err);
    return status;
}
