/*
 * A virtio driver as a guest has it, for tests and fuzzers: it finds a device through PCI, agrees on features, makes
 * split or packed rings in RAM, and adds chains, of which every byte can be made wrong afterwards.
 */
#ifndef TESTS_DEVICE_VIRTIO_DRIVER_H
#define TESTS_DEVICE_VIRTIO_DRIVER_H

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "dev/virtio/pci.h"
#include "event/loop.h"
#include "mem/space.h"

#define DRIVER_RAM   MiB(2)
#define DRIVER_BAR   0xe0000000ull
#define DRIVER_MSIX  0xe1000000ull
#define DRIVER_SLOT  PCI_DEVFN(3, 0)
#define DRIVER_RING  0x10000ull  /* three pages for each queue */
#define DRIVER_TABLE 0x100000ull /* indirect tables: a page for each chain */
#define DRIVER_DATA  0x180000ull /* free for buffers */

/* Of the window. */
enum { AT_COMMON = 0, AT_ISR = 0x1000, AT_CONFIG = 0x2000, AT_NOTIFY = 0x3000 };
enum { R_DEVICE_SELECT = 0, R_DEVICE = 4, R_DRIVER_SELECT = 8, R_DRIVER = 12, R_CONFIG_VECTOR = 16, R_QUEUES = 18 };
enum { R_STATUS = 20, R_GENERATION = 21, R_SELECT = 22, R_SIZE = 24, R_VECTOR = 26, R_ENABLE = 28, R_NOTIFY_OFF = 30 };
enum { R_DESC = 32, R_AVAIL = 40, R_USED = 48, R_RESET = 58 };

struct driver_seg {
    u64 addr;
    u32 len;
    bool write;
};

struct driver_queue {
    unsigned n;
    u16 size;
    bool packed, event, indirect;
    u64 desc, avail, used; /* guest addresses */
    u16 next;              /* packed: position; split: available index */
    u16 seen;              /* packed: position; split: used index */
    bool wrap, seen_wrap;
    u16 chain[256]; /* packed: descriptors of each id */
    u16 free;       /* next descriptor of a split ring: they are used round and round */
};

struct driver {
    struct loop *loop;
    struct mem_space *mem;
    u8 *ram;
    struct pci_bus bus;
    struct virtio_device *dev;
    struct virtio_pci *pci;
    unsigned msis; /* messages since the test last looked */
    u32 msi_data;
    bool intx;
    u64 features; /* that were agreed on */
};

static inline void driver_msi(void *opaque, u64 address, u32 data)
{
    struct driver *d = opaque;
    (void)address;
    d->msis++;
    d->msi_data = data;
}

static inline void driver_pirq(void *opaque, unsigned pirq, bool level)
{
    (void)pirq;
    ((struct driver *)opaque)->intx = level;
}

static inline struct virtio_host driver_host(const struct driver *d, bool packed)
{
    return (struct virtio_host){.mem = d->mem, .loop = d->loop, .packed = packed};
}

/* A machine without a device. */
static inline void driver_open(struct driver *d)
{
    memset(d, 0, sizeof(*d));
    d->loop = loop_create();
    if (!d->loop)
        abort();
    loop_set_manual(d->loop, 0);
    d->mem = mem_space_create(d->loop, DRIVER_RAM, DRIVER_RAM, NULL);
    if (!d->mem)
        abort();
    d->ram = mem_space_ram(d->mem)->host;
    pci_bus_init(&d->bus, d->mem, &(struct msi_sink){driver_msi, d});
    pci_bus_set_router(&d->bus, driver_pirq, d);
}

static inline u32 driver_read(struct driver *d, u64 off, unsigned size)
{
    return (u32)mem_io_read(d->mem, DRIVER_BAR + off, size);
}

static inline void driver_write(struct driver *d, u64 off, u64 value, unsigned size)
{
    mem_io_write(d->mem, DRIVER_BAR + off, value, size);
}

static inline void driver_config(struct driver *d, unsigned reg, u32 value, unsigned size)
{
    loop_lock(d->loop);
    pci_config_write(&d->bus, (u32)DRIVER_SLOT << 8 | reg, value, size);
    loop_unlock(d->loop);
}

static inline void driver_place(struct driver *d)
{
    driver_config(d, PCI_BAR0 + 4, (u32)DRIVER_MSIX, 4);
    driver_config(d, PCI_BAR0 + 16, (u32)DRIVER_BAR, 4);
    driver_config(d, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

/* Puts the device on the bus and places its windows. */
static inline void driver_attach(struct driver *d, struct virtio_device *dev)
{
    if (!dev)
        abort();
    d->dev = dev;
    loop_lock(d->loop);
    d->pci = virtio_pci_create(&(struct virtio_pci_config){&d->bus, DRIVER_SLOT, dev}, NULL);
    loop_unlock(d->loop);
    if (!d->pci)
        abort();
    driver_place(d);
}

static inline void driver_close(struct driver *d)
{
    loop_lock(d->loop);
    struct dev *pci = (struct dev *)d->pci;
    pci->cls->destroy(pci);
    d->dev->dev.cls->destroy(&d->dev->dev);
    loop_unlock(d->loop);
    mem_space_destroy(d->mem);
    loop_destroy(d->loop);
}

/* MSI-X: vector n sends data 0x40 + n. */
static inline void driver_msix(struct driver *d, unsigned vectors)
{
    unsigned cap = d->bus.func[DRIVER_SLOT]->s->config[PCI_CAPABILITIES];
    for (unsigned n = 0; n < vectors; n++) {
        mem_io_write(d->mem, DRIVER_MSIX + 16 * n, 0xfee00000, 4);
        mem_io_write(d->mem, DRIVER_MSIX + 16 * n + 8, 0x40 + n, 4);
        mem_io_write(d->mem, DRIVER_MSIX + 16 * n + 12, 0, 4);
    }
    driver_config(d, cap + 2, 0x8000, 2); /* it is the first capability */
}

static inline unsigned driver_msis(struct driver *d)
{
    unsigned n = d->msis;
    d->msis = 0;
    return n;
}

static inline u8 driver_status(struct driver *d)
{
    return (u8)driver_read(d, R_STATUS, 1);
}

static inline u64 driver_offered(struct driver *d)
{
    driver_write(d, R_DEVICE_SELECT, 0, 4);
    u64 low = driver_read(d, R_DEVICE, 4);
    driver_write(d, R_DEVICE_SELECT, 1, 4);
    return low | (u64)driver_read(d, R_DEVICE, 4) << 32;
}

/* From reset to FEATURES_OK; true if the device took them. */
static inline bool driver_agree(struct driver *d, u64 features)
{
    driver_write(d, R_STATUS, 0, 1);
    driver_write(d, R_STATUS, VIRTIO_ACKNOWLEDGE, 1);
    driver_write(d, R_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER, 1);
    driver_write(d, R_DRIVER_SELECT, 0, 4);
    driver_write(d, R_DRIVER, (u32)features, 4);
    driver_write(d, R_DRIVER_SELECT, 1, 4);
    driver_write(d, R_DRIVER, features >> 32, 4);
    driver_write(d, R_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK, 1);
    d->features = features;
    return driver_status(d) & VIRTIO_FEATURES_OK;
}

static inline void driver_ok(struct driver *d)
{
    driver_write(d, R_STATUS, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK, 1);
}

static inline bool driver_broken(struct driver *d)
{
    return driver_status(d) & VIRTIO_NEEDS_RESET;
}

static inline void driver_queue_place(struct driver *d, const struct driver_queue *q)
{
    driver_write(d, R_SELECT, q->n, 2);
    driver_write(d, R_SIZE, q->size, 2);
    driver_write(d, R_DESC, q->desc, 8);
    driver_write(d, R_AVAIL, q->avail, 8);
    driver_write(d, R_USED, q->used, 8);
}

/* A queue of the kind that was agreed on, with empty rings; MSI-X vector n + 1. */
static inline void driver_queue(struct driver *d, struct driver_queue *q, unsigned n, u16 size)
{
    u64 base = DRIVER_RING + n * 3 * 0x1000ull;
    *q = (struct driver_queue){.n = n,
                               .size = size,
                               .packed = d->features & BIT64(VIRTIO_F_RING_PACKED),
                               .event = d->features & BIT64(VIRTIO_F_EVENT_IDX),
                               .desc = base,
                               .avail = base + 0x1000,
                               .used = base + 0x2000,
                               .wrap = true,
                               .seen_wrap = true};
    memset(d->ram + base, 0, 3 * 0x1000);
    driver_queue_place(d, q);
    driver_write(d, R_VECTOR, n + 1, 2);
    driver_write(d, R_ENABLE, 1, 2);
}

static inline void driver_kick(struct driver *d, const struct driver_queue *q)
{
    driver_write(d, AT_NOTIFY + 4 * q->n, q->n, 2);
}

#define PACKED_AVAIL BIT(7)
#define PACKED_USED  BIT(15)

static inline void driver_desc(struct driver *d, u64 at, const struct driver_seg *s, u16 third, u16 fourth)
{
    put_u64(d->ram + at, s->addr);
    put_u32(d->ram + at + 8, s->len);
    put_u16(d->ram + at + 12, third);
    put_u16(d->ram + at + 14, fourth);
}

/* The entries of an indirect table; its guest address. */
static inline u64 driver_table(struct driver *d, const struct driver_queue *q, unsigned id, const struct driver_seg *s,
                               unsigned count)
{
    u64 table = DRIVER_TABLE + (id % 64) * 0x1000ull;
    for (unsigned i = 0; i < count; i++) {
        u16 flags = s[i].write ? 2 : 0;
        if (q->packed)
            driver_desc(d, table + i * 16, &s[i], 0, flags);
        else
            driver_desc(d, table + i * 16, &s[i], flags | (i + 1 < count ? 1 : 0), (u16)(i + 1));
    }
    return table;
}

static inline u16 driver_add_packed(struct driver *d, struct driver_queue *q, const struct driver_seg *s,
                                    unsigned count, u16 extra)
{
    u16 id = q->next, first = 0;
    u64 head = q->desc + q->next * 16ull;
    q->chain[id] = (u16)count;
    for (unsigned i = 0; i < count; i++) {
        u16 flags = (u16)((q->wrap ? PACKED_AVAIL : PACKED_USED) | (s[i].write ? 2 : 0) | (i + 1 < count ? 1 : 0));
        if (i == 0)
            first = flags | extra;
        driver_desc(d, q->desc + q->next * 16ull, &s[i], id, i ? flags : 0);
        if (++q->next == q->size) {
            q->next = 0;
            q->wrap = !q->wrap;
        }
    }
    put_u16(d->ram + head + 14, first); /* the others are there by now */
    return id;
}

static inline u16 driver_add_split(struct driver *d, struct driver_queue *q, const struct driver_seg *s, unsigned count,
                                   u16 extra)
{
    u16 head = q->free;
    for (unsigned i = 0; i < count; i++) {
        u16 at = q->free;
        q->free = (u16)((q->free + 1) % q->size);
        u16 flags = (u16)((s[i].write ? 2 : 0) | (i + 1 < count ? 1 : 0) | extra);
        driver_desc(d, q->desc + at * 16ull, &s[i], flags, q->free);
    }
    put_u16(d->ram + q->avail + 4 + 2 * (q->next % q->size), head);
    put_u16(d->ram + q->avail + 2, ++q->next);
    return head;
}

/* Adds a chain, as a table where q->indirect; its id. */
static inline u16 driver_add(struct driver *d, struct driver_queue *q, const struct driver_seg *s, unsigned count)
{
    struct driver_seg one;
    u16 extra = 0;
    if (q->indirect) {
        unsigned id = q->packed ? q->next : q->free;
        one = (struct driver_seg){driver_table(d, q, id, s, count), count * 16, false};
        s = &one;
        count = 1;
        extra = 4;
    }
    return q->packed ? driver_add_packed(d, q, s, count, extra) : driver_add_split(d, q, s, count, extra);
}

/* Takes a chain that the device gave back. */
static inline bool driver_take(struct driver *d, struct driver_queue *q, u16 *id, u32 *len)
{
    if (!q->packed) {
        if (get_u16(d->ram + q->used + 2) == q->seen)
            return false;
        const u8 *at = d->ram + q->used + 4 + 8 * (q->seen++ % q->size);
        *id = (u16)get_u32(at);
        *len = get_u32(at + 4);
        return true;
    }
    const u8 *at = d->ram + q->desc + q->seen * 16ull;
    u16 flags = get_u16(at + 14);
    if (!!(flags & PACKED_AVAIL) != q->seen_wrap || !!(flags & PACKED_USED) != q->seen_wrap)
        return false;
    *id = get_u16(at + 12);
    *len = get_u32(at + 8);
    q->seen = (u16)(q->seen + q->chain[*id % 256]);
    if (q->seen >= q->size) {
        q->seen = (u16)(q->seen - q->size);
        q->seen_wrap = !q->seen_wrap;
    }
    return true;
}

/* Interrupts wanted when `ahead` more chains were given back, or never. */
static inline void driver_event(struct driver *d, const struct driver_queue *q, u16 position, bool wrap)
{
    if (q->packed) {
        put_u16(d->ram + q->avail, (u16)(position | (wrap ? PACKED_USED : 0)));
        put_u16(d->ram + q->avail + 2, 2);
    } else {
        put_u16(d->ram + q->avail + 4 + 2 * q->size, position);
    }
}

#endif
