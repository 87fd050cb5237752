/*
 * The virtio devices: each in the next free PCI slot, or with the next window and line (the DSDT tells the guest), in a
 * fixed order, so that the same options give the guest the same addresses.
 */
#include <string.h>

#include "dev/virtio/balloon.h"
#include "dev/virtio/blk.h"
#include "dev/virtio/console.h"
#include "dev/virtio/mmio.h"
#include "dev/virtio/net.h"
#include "dev/virtio/p9.h"
#include "dev/virtio/pci.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vsock.h"
#include "machine/pc.h"

#define SLOTS 32
_Static_assert(MACHINE_MAX_DISKS + MACHINE_MAX_NETS + MACHINE_MAX_SHARES + 4 <= 64,
               "a bit of virtio_pulled for each device");
_Static_assert(MACHINE_DISK_QUEUES <= VIRTIO_BLK_QUEUES, "queues of a disk");
_Static_assert(MACHINE_MAX_CONSOLES == VIRTIO_CONSOLE_PORTS, "consoles");
_Static_assert(MACHINE_MAC == VIRTIO_NET_MAC, "addresses of cards");

/* 0 is the host bridge: never free. */
static u8 free_slot(const struct machine *m)
{
    for (unsigned slot = 1; slot < SLOTS; slot++)
        if (!m->pci.func[PCI_DEVFN(slot, 0)])
            return (u8)slot;
    return 0;
}

static struct dev *make_pci(struct machine *m, struct virtio_device *d, struct error *err)
{
    u8 slot = free_slot(m);
    if (!slot) {
        error_set(err, -ENOSPC, "there are too many devices: all PCI slots are taken");
        return NULL;
    }
    struct virtio_pci_config cfg = {.bus = &m->pci, .devfn = PCI_DEVFN(slot, 0), .device = d};
    return (struct dev *)virtio_pci_create(&cfg, err);
}

/* Several devices share a line; it is up while any of them pulls. */
static void mmio_line(void *opaque, unsigned n, bool level)
{
    struct machine *m = opaque;
    unsigned line = n % VIRTIO_LINES;
    struct irq_line wire = lines_input(&m->lines, LINE_VIRTIO, VIRTIO_LINE_FIRST + line);

    if (level)
        m->virtio_pulled[line] |= BIT64(n);
    else
        m->virtio_pulled[line] &= ~BIT64(n);
    irq_set(&wire, m->virtio_pulled[line] != 0);
}

static struct dev *make_mmio(struct machine *m, struct virtio_device *d, struct error *err)
{
    unsigned n = m->transports;
    struct virtio_mmio_config cfg = {
        .base = BOARD_VIRTIO_MMIO + n * VIRTIO_MMIO_SIZE, .irq = {mmio_line, m, n}, .device = d};
    return (struct dev *)virtio_mmio_create(&cfg, err);
}

/* A device and its transport, which is destroyed before it. */
static int add_device(struct machine *m, struct virtio_device *d, unsigned instance, struct error *err)
{
    if (!d)
        return -ENOMEM;
    d->dev.instance = instance;
    m->dev[m->devs++] = &d->dev;
    struct dev *transport = m->cfg.virtio_mmio ? make_mmio(m, d, err) : make_pci(m, d, err);
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

static int add_console(struct machine *m, struct error *err)
{
    struct virtio_host host = host_of(m);
    struct virtio_console_config cfg = {.ports = m->cfg.ports};

    for (unsigned n = 0; n < m->cfg.ports; n++)
        cfg.chr[n] = m->cfg.port[n];
    return add_device(m, virtio_console_create(&host, &cfg, err), 0, err);
}

static int add_net(struct machine *m, unsigned n, struct error *err)
{
    const struct machine_net *net = &m->cfg.net[n];
    struct virtio_host host = host_of(m);
    struct virtio_net_config cfg = {.net = net->net, .mtu = net->mtu};

    memcpy(cfg.mac, net->mac, sizeof(cfg.mac));
    host.packed = net->packed;
    return add_device(m, virtio_net_create(&host, &cfg, err), n, err);
}

static int add_streams(struct machine *m, struct error *err)
{
    struct virtio_host host = host_of(m);
    struct virtio_console_config cfg = {.ports = MACHINE_STREAMS, .stream = true};

    for (unsigned n = 0; n < MACHINE_STREAMS; n++)
        cfg.chr[n] = m->cfg.stream[n];
    m->stream = virtio_console_create(&host, &cfg, err);
    return add_device(m, m->stream, 1, err);
}

int machine_add_virtio(struct machine *m, struct error *err)
{
    struct virtio_host host = host_of(m);
    const struct virtio_vsock_config vsock = {.net = m->cfg.vsock, .cid = m->cfg.vsock_cid};
    int status = 0;

    if (m->cfg.rng)
        status = add_device(m, virtio_rng_create(&host, err), 0, err);
    for (unsigned n = 0; n < m->cfg.disks && !status; n++)
        status = add_disk(m, n, err);
    if (!status && m->cfg.stream[0])
        status = add_streams(m, err);
    if (!status && m->cfg.ports)
        status = add_console(m, err);
    if (!status && m->cfg.balloon) {
        m->balloon = virtio_balloon_create(&host, err);
        status = add_device(m, m->balloon, 0, err);
    }
    for (unsigned n = 0; n < m->cfg.nets && !status; n++)
        status = add_net(m, n, err);
    if (!status && m->cfg.vsock)
        status = add_device(m, virtio_vsock_create(&host, &vsock, err), 0, err);
    for (unsigned n = 0; n < m->cfg.shares && !status; n++)
        status = add_device(m, virtio_p9_create(&host, m->cfg.share[n], err), n, err);
    return status;
}

int machine_balloon_set(struct machine *m, u64 bytes)
{
    if (!m->balloon)
        return -ENODEV;
    virtio_balloon_set(m->balloon, bytes < m->cfg.ram_size ? m->cfg.ram_size - bytes : 0);
    return 0;
}

int machine_balloon_info(struct machine *m, struct virtio_balloon_info *out)
{
    if (!m->balloon)
        return -ENODEV;
    virtio_balloon_info(m->balloon, out);
    return 0;
}

u64 machine_ram_size(const struct machine *m)
{
    return m->cfg.ram_size;
}
