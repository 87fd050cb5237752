/*
 * The I/O APIC (Intel 82093AA, 290566) with version 0x20's EOI register (ICH datasheets, "EOIR").
 *
 * An entry sends its message when its input rises (edge), or whenever its input is high, it is not masked and no
 * earlier message of it is under way (level): Remote IRR, set by sending and cleared by the EOI of the vector. An edge
 * that finds its entry masked is lost.
 *
 * Invariant: Remote IRR is set only in entries that are level-triggered and of fixed or lowest-priority delivery.
 */
#include "dev/pc/ioapic.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "mem/space.h"

/* Window */
#define IOREGSEL  0x00
#define IOWIN     0x10
#define IOEOI     0x40
/* Indirect registers */
#define IOAPICID  0x00
#define IOAPICVER 0x01
#define IOAPICARB 0x02
#define IOREDTBL  0x10
#define VERSION   0x20u

/* Redirection entry */
#define RTE_VECTOR     0xffu
#define RTE_MODE_SHIFT 8
#define RTE_LOGICAL    BIT64(11)
#define RTE_REMOTE_IRR BIT64(14)
#define RTE_LEVEL      BIT64(15)
#define RTE_MASKED     BIT64(16)
#define RTE_DEST_SHIFT 56
/* Vector, delivery mode, destination mode, polarity, trigger, mask; destination. */
#define RTE_WRITABLE   0xff0000000001afffull

enum { MODE_FIXED, MODE_LOWEST };

#define IOAPIC_STATE(F, A, S)                                                                                          \
    F(u8, id, 1)                                                                                                       \
    F(u8, select, 1)                                                                                                   \
    F(u32, line, 1) /* a bit for each input */                                                                         \
    A(u64, entry, IOAPIC_PINS, 1)
STATE_DECLARE(ioapic_state, IOAPIC_STATE)
STATE_DEFINE(ioapic_state, IOAPIC_STATE, 1)

struct ioapic {
    struct dev dev;
    struct ioapic_state s;
    struct mem_window window;
    struct ioapic_config cfg;
};

static bool entry_is_level(u64 e)
{
    return e & RTE_LEVEL && bits(e, 10, 8) <= MODE_LOWEST;
}

/* The message in the form of a write to the local APICs' range: SDM volume 3, "Message Signalled Interrupts". */
static void entry_send(struct ioapic *io, unsigned n)
{
    u64 e = io->s.entry[n];
    u64 address = 0xfee00000u | (e >> RTE_DEST_SHIFT) << 12 | (e & RTE_LOGICAL ? BIT(2) : 0);
    u32 data = (u32)(e & RTE_VECTOR) | (u32)bits(e, 10, 8) << 8;
    if (entry_is_level(e)) {
        data |= BIT(15) | BIT(14);
        io->s.entry[n] |= RTE_REMOTE_IRR;
    }
    msi_send(&io->cfg.msi, address, data);
}

static void entry_check_level(struct ioapic *io, unsigned n)
{
    u64 e = io->s.entry[n];
    if (io->s.line & BIT(n) && entry_is_level(e) && !(e & (RTE_MASKED | RTE_REMOTE_IRR)))
        entry_send(io, n);
}

static void ioapic_input(void *opaque, unsigned n, bool level)
{
    struct ioapic *io = opaque;
    bool rising = level && !(io->s.line & BIT(n));
    if (!level) {
        io->s.line &= ~BIT(n);
        return;
    }
    io->s.line |= BIT(n);
    u64 e = io->s.entry[n];
    if (entry_is_level(e))
        entry_check_level(io, n);
    else if (rising && !(e & RTE_MASKED))
        entry_send(io, n);
}

struct irq_line ioapic_line(struct ioapic *io, unsigned n)
{
    if (n >= IOAPIC_PINS)
        return (struct irq_line){0};
    return (struct irq_line){.set = ioapic_input, .opaque = io, .n = n};
}

void ioapic_eoi(void *ioapic, u8 vector)
{
    struct ioapic *io = ioapic;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        u64 *e = &io->s.entry[n];
        if (!(*e & RTE_REMOTE_IRR) || (*e & RTE_VECTOR) != vector)
            continue;
        *e &= ~RTE_REMOTE_IRR;
        entry_check_level(io, n);
    }
}

/* A change to edge-triggered clears Remote IRR: that is how software ends an interrupt without the EOI register. */
static void entry_write(struct ioapic *io, unsigned n, bool high, u32 value)
{
    u64 half = high ? 0xffffffffull << 32 : 0xffffffffull;
    u64 writable = RTE_WRITABLE & half;
    u64 e = (io->s.entry[n] & ~writable) | ((high ? (u64)value << 32 : value) & writable);
    if (!entry_is_level(e))
        e &= ~RTE_REMOTE_IRR;
    io->s.entry[n] = e;
    entry_check_level(io, n);
}

static u32 indirect_read(const struct ioapic *io)
{
    unsigned r = io->s.select;
    unsigned n = (r - IOREDTBL) / 2;
    if (r >= IOREDTBL && n < IOAPIC_PINS)
        return (u32)(io->s.entry[n] >> (r & 1 ? 32 : 0));
    switch (r) {
    case IOAPICID:
    case IOAPICARB: /* loaded with the ID; the messages do not arbitrate */
        return (u32)io->s.id << 24;
    case IOAPICVER:
        return (IOAPIC_PINS - 1) << 16 | VERSION;
    default:
        return 0;
    }
}

static void indirect_write(struct ioapic *io, u32 value)
{
    unsigned r = io->s.select;
    unsigned n = (r - IOREDTBL) / 2;
    if (r >= IOREDTBL && n < IOAPIC_PINS)
        entry_write(io, n, r & 1, value);
    else if (r == IOAPICID)
        io->s.id = value >> 24 & 15;
}

u32 ioapic_read(struct ioapic *io, u32 off)
{
    switch (off) {
    case IOREGSEL:
        return io->s.select;
    case IOWIN:
        return indirect_read(io);
    default:
        return 0;
    }
}

void ioapic_write(struct ioapic *io, u32 off, u32 value)
{
    switch (off) {
    case IOREGSEL:
        io->s.select = (u8)value;
        break;
    case IOWIN:
        indirect_write(io, value);
        break;
    case IOEOI:
        ioapic_eoi(io, (u8)value);
        break;
    }
}

static u64 window_read(void *opaque, u64 off, unsigned size)
{
    return ioapic_read(opaque, (u32)off & 0xff);
}

/* Registers are decoded by the low byte of the address; they repeat through the page. */
static void window_write(void *opaque, u64 off, u64 value, unsigned size)
{
    ioapic_write(opaque, (u32)off & 0xff, (u32)value);
}

static const struct mem_window_ops ioapic_ops = {
    .read = window_read, .write = window_write, .min_size = 1, .max_size = 4};

/* Device */

static void *ioapic_get_state(struct dev *d)
{
    return &container_of(d, struct ioapic, dev)->s;
}

static void ioapic_reset(struct dev *d)
{
    struct ioapic *io = container_of(d, struct ioapic, dev);
    u32 line = io->s.line; /* belongs to whoever drives it */
    io->s = (struct ioapic_state){.id = io->cfg.id & 15, .line = line};
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        io->s.entry[n] = RTE_MASKED;
}

static void ioapic_loaded(struct dev *d)
{
    struct ioapic *io = container_of(d, struct ioapic, dev);
    io->s.id &= 15;
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        u64 *e = &io->s.entry[n];
        *e &= RTE_WRITABLE | (entry_is_level(*e) ? RTE_REMOTE_IRR : 0);
    }
}

static void ioapic_destroy(struct dev *d)
{
    struct ioapic *io = container_of(d, struct ioapic, dev);
    if (io->cfg.mem)
        mem_window_unmap(io->cfg.mem, &io->window);
    free(io);
}

static const struct dev_class ioapic_class = {
    .name = "ioapic",
    .state = &ioapic_state_class,
    .get_state = ioapic_get_state,
    .reset = ioapic_reset,
    .loaded = ioapic_loaded,
    .destroy = ioapic_destroy,
};

struct ioapic *ioapic_create(const struct ioapic_config *cfg)
{
    struct ioapic *io = calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    io->dev.cls = &ioapic_class;
    io->cfg = *cfg;
    io->window = (struct mem_window){.ops = &ioapic_ops, .opaque = io, .name = "ioapic", .size = IOAPIC_SIZE};
    ioapic_reset(&io->dev);
    if (cfg->mem && mem_window_map(cfg->mem, &io->window, cfg->base)) {
        free(io);
        return NULL;
    }
    return io;
}
