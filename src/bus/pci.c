/* See pci.h. */
#include "bus/pci.h"

#include <string.h>

STATE_DEFINE(pci_func_state, PCI_FUNC_STATE, 1)

#define COMMAND_WRITABLE                                                                                               \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |                \
     PCI_COMMAND_INTX_DISABLE)
#define STATUS_CLEAR 0xf900 /* the error bits */

#define BAR_IO_SPACE BIT(0)
#define BAR_TYPE_64  0x4
#define BAR_PREFETCH BIT(3)

void pci_bus_init(struct pci_bus *bus, struct mem_space *mem, const struct msi_sink *msi)
{
    memset(bus, 0, sizeof(*bus));
    bus->mem = mem;
    if (msi)
        bus->msi = *msi;
}

void pci_bus_set_router(struct pci_bus *bus, void (*set_pirq)(void *opaque, unsigned pirq, bool level), void *opaque)
{
    bus->set_pirq = set_pirq;
    bus->pirq_opaque = opaque;
}

static void register_describe(struct pci_func *f, unsigned off, u32 initial, u32 writable, unsigned size)
{
    memcpy(f->initial + off, &initial, size);
    memcpy(f->writable + off, &writable, size);
    memcpy(f->s->config + off, &initial, size);
}

void pci_func_reg8(struct pci_func *f, unsigned off, u8 initial, u8 writable)
{
    register_describe(f, off, initial, writable, 1);
}

void pci_func_reg16(struct pci_func *f, unsigned off, u16 initial, u16 writable)
{
    register_describe(f, off, initial, writable, 2);
}

void pci_func_reg32(struct pci_func *f, unsigned off, u32 initial, u32 writable)
{
    register_describe(f, off, initial, writable, 4);
}

int pci_func_init(struct pci_func *f, struct pci_bus *bus, u8 devfn, const struct pci_ident *id,
                  struct pci_func_state *s)
{
    if (bus->func[devfn])
        return -EBUSY;

    memset(f, 0, sizeof(*f));
    memset(s, 0, sizeof(*s));
    f->bus = bus;
    f->devfn = devfn;
    f->s = s;
    f->cap_end = PCI_HEADER_END;

    pci_func_reg16(f, PCI_VENDOR_ID, id->vendor, 0);
    pci_func_reg16(f, PCI_DEVICE_ID, id->device, 0);
    pci_func_reg16(f, PCI_COMMAND, 0, COMMAND_WRITABLE);
    put_u16(f->clear + PCI_STATUS, STATUS_CLEAR);
    pci_func_reg32(f, PCI_REVISION, id->class << 8 | id->revision, 0);
    pci_func_reg8(f, PCI_CACHE_LINE, 0, 0xff);
    pci_func_reg8(f, PCI_HEADER_TYPE, id->multifunction ? PCI_HEADER_MULTIFUNCTION : 0, 0);
    pci_func_reg16(f, PCI_SUBSYS_VENDOR, id->subsys_vendor, 0);
    pci_func_reg16(f, PCI_SUBSYS, id->subsys, 0);
    pci_func_reg8(f, PCI_INTERRUPT_LINE, 0, id->pin ? 0xff : 0);
    pci_func_reg8(f, PCI_INTERRUPT_PIN, id->pin, 0);
    bus->func[devfn] = f;
    return 0;
}

static bool bar_is_64(enum pci_bar_kind kind)
{
    return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

void pci_func_bar(struct pci_func *f, unsigned n, enum pci_bar_kind kind, struct mem_window *window)
{
    static const u8 type_bits[] = {
        [PCI_BAR_IO] = BAR_IO_SPACE,
        [PCI_BAR_MEM64] = BAR_TYPE_64,
        [PCI_BAR_MEM64_PREFETCH] = BAR_TYPE_64 | BAR_PREFETCH,
        [PCI_BAR_MEM32] = 0,
    };
    u64 mask = ~(window->size - 1);

    f->bar[n] = (struct pci_bar){window, kind};
    pci_func_reg32(f, PCI_BAR0 + 4 * n, type_bits[kind], (u32)mask);
    if (bar_is_64(kind))
        pci_func_reg32(f, PCI_BAR0 + 4 * n + 4, 0, (u32)(mask >> 32));
}

unsigned pci_func_cap(struct pci_func *f, u8 id, unsigned size)
{
    unsigned off = (f->cap_end + 3u) & ~3u;

    if (off + size > PCI_CONFIG_SIZE - 4) /* cap_end is a byte */
        return 0;
    f->cap_end = (u8)(off + size);
    pci_func_reg8(f, off, id, 0);
    pci_func_reg8(f, f->cap_last ? f->cap_last + 1u : PCI_CAPABILITIES, (u8)off, 0);
    f->cap_last = (u8)off;
    pci_func_reg8(f, PCI_STATUS, f->initial[PCI_STATUS] | PCI_STATUS_CAPABILITIES, 0);
    return off;
}

/* --- base address registers ------------------------------------------------------------------------------------- */

static u64 bar_base(const struct pci_func *f, unsigned n)
{
    const u8 *reg = f->s->config + PCI_BAR0 + 4 * n;
    u64 base = get_u32(reg);

    if (bar_is_64(f->bar[n].kind))
        base |= (u64)get_u32(reg + 4) << 32;
    return base & ~(f->bar[n].window->size - 1);
}

static bool overlaps_ram(struct mem_space *mem, u64 base, u64 size)
{
    u64 below = mem_space_below_4g(mem);
    u64 above = mem_space_ram(mem)->size - below;

    /* The hole at 0xa0000 belongs to the bus. */
    if (range_inside(base, size, 0xc0000) && base >= 0xa0000)
        return false;
    return ranges_overlap(base, size, 0, below) || ranges_overlap(base, size, GiB(4), above);
}

static bool bar_decodes(const struct pci_func *f, unsigned n)
{
    const struct pci_bar *bar = &f->bar[n];
    u16 command = get_u16(f->s->config + PCI_COMMAND);
    u64 base = bar_base(f, n), last = base + bar->window->size - 1;

    if (base == 0 || last < base)
        return false;
    if (bar->kind == PCI_BAR_IO)
        return (command & PCI_COMMAND_IO) && last < 0x10000;
    if (!(command & PCI_COMMAND_MEMORY) || overlaps_ram(f->bus->mem, base, bar->window->size))
        return false;
    /* All ones is the sizing pattern, and the top byte of the address space is nobody's. */
    return last != (bar_is_64(bar->kind) ? UINT64_MAX : UINT32_MAX);
}

static void bar_unmap(const struct pci_func *f, const struct pci_bar *bar)
{
    if (!bar->window->mapped)
        return;
    if (bar->kind == PCI_BAR_IO)
        mem_port_unmap(f->bus->mem, bar->window);
    else
        mem_window_unmap(f->bus->mem, bar->window);
}

static void bar_map(const struct pci_func *f, const struct pci_bar *bar, u64 base)
{
    if (bar->window->mapped && bar->window->base == base)
        return;
    bar_unmap(f, bar);
    /* A refusal leaves the window unmapped, which is all a guest can expect of a bad address. */
    int status = bar->kind == PCI_BAR_IO ? mem_port_map(f->bus->mem, bar->window, base)
                                         : mem_window_map(f->bus->mem, bar->window, base);
    (void)status;
}

static void bars_update(struct pci_func *f)
{
    for (unsigned n = 0; n < PCI_BARS; n++) {
        if (f->bar[n].kind == PCI_BAR_NONE)
            continue;
        if (bar_decodes(f, n))
            bar_map(f, &f->bar[n], bar_base(f, n));
        else
            bar_unmap(f, &f->bar[n]);
    }
}

u64 pci_bar_address(const struct pci_func *f, unsigned n)
{
    return f->bar[n].kind != PCI_BAR_NONE && bar_decodes(f, n) ? bar_base(f, n) : 0;
}

bool pci_is_master(const struct pci_func *f)
{
    return get_u16(f->s->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/* --- INTx ------------------------------------------------------------------------------------------------------- */

static void intx_update(struct pci_func *f)
{
    u8 *config = f->s->config;
    struct pci_bus *bus = f->bus;
    bool wire = f->s->intx && !(get_u16(config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);

    if (f->s->intx)
        config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else
        config[PCI_STATUS] &= (u8)~PCI_STATUS_INTERRUPT;

    if (wire == f->wire || !f->initial[PCI_INTERRUPT_PIN])
        return;
    f->wire = wire;
    unsigned pirq = pci_pirq(f->devfn, f->initial[PCI_INTERRUPT_PIN] - 1u);
    bus->pirq_level[pirq] = (u16)(bus->pirq_level[pirq] + (wire ? 1 : -1));
    if (bus->set_pirq)
        bus->set_pirq(bus->pirq_opaque, pirq, bus->pirq_level[pirq] > 0);
}

void pci_set_intx(struct pci_func *f, bool level)
{
    f->s->intx = level;
    intx_update(f);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

void pci_func_reset(struct pci_func *f)
{
    memcpy(f->s->config, f->initial, sizeof(f->s->config));
    pci_set_intx(f, false);
    bars_update(f);
}

/*
 * What the masks do not let a guest change is no state: it comes from this build, and a stream cannot forge it.
 * Devices that change read-only bytes themselves put them right in their own `loaded`.
 */
void pci_func_loaded(struct pci_func *f)
{
    for (unsigned i = 0; i < PCI_HEADER_END; i++) {
        u8 changeable = f->writable[i] | f->clear[i];
        f->s->config[i] = (u8)((f->initial[i] & ~changeable) | (f->s->config[i] & changeable));
    }
    bars_update(f);
    intx_update(f);
}

void pci_func_remove(struct pci_func *f)
{
    if (!f->bus || f->bus->func[f->devfn] != f)
        return;
    for (unsigned n = 0; n < PCI_BARS; n++) {
        if (f->bar[n].kind != PCI_BAR_NONE)
            bar_unmap(f, &f->bar[n]);
    }
    f->bus->func[f->devfn] = NULL;
}

/* --- configuration accesses ------------------------------------------------------------------------------------- */

static struct pci_func *config_target(struct pci_bus *bus, u32 address)
{
    if (bits(address, 23, 16) != 0) /* there is no other bus */
        return NULL;
    return bus->func[bits(address, 15, 8)];
}

u32 pci_config_read(struct pci_bus *bus, u32 address, unsigned size)
{
    const struct pci_func *f = config_target(bus, address);
    unsigned off = address & 0xff;
    u32 value = 0;

    if (!f || off + size > PCI_CONFIG_SIZE)
        return (u32)(~0ull >> (64 - 8 * size));
    if (f->reading)
        f->reading(f->opaque, off, size);
    memcpy(&value, f->s->config + off, size);
    return value;
}

void pci_config_write(struct pci_bus *bus, u32 address, u32 value, unsigned size)
{
    struct pci_func *f = config_target(bus, address);
    unsigned off = address & 0xff;

    if (!f || off + size > PCI_CONFIG_SIZE)
        return;
    for (unsigned i = off; i < off + size; i++, value >>= 8) {
        u8 old = f->s->config[i], v = (u8)value;
        f->s->config[i] = (u8)(((old & ~f->writable[i]) | (v & f->writable[i])) & ~(v & f->clear[i]));
    }
    if (ranges_overlap(off, size, PCI_COMMAND, 2)) {
        intx_update(f);
        bars_update(f);
    } else if (ranges_overlap(off, size, PCI_BAR0, 4 * PCI_BARS)) {
        bars_update(f);
    }
    if (f->written)
        f->written(f->opaque, off, size);
}
