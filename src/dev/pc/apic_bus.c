/*
 * The bus between the local APICs: who is meant by a message (SDM volume 3, "Determining IPI Destination"), which of
 * several takes one of lowest priority, and messages from devices ("Message Signalled Interrupts").
 */
#include <stdlib.h>

#include "dev/pc/apic_priv.h"

#define BROADCAST8 0xffu

/* "Logical destination mode" for xAPIC: flat, or clusters of four; for x2APIC: clusters of sixteen. */
static bool match_logical(const struct apic *a, u32 mda)
{
    if (apic_x2apic(a)) {
        u32 ldr = apic_x2apic_ldr(a);
        return mda >> 16 == ldr >> 16 && mda & ldr & 0xffff;
    }
    u32 id = a->s.ldr >> 24;
    if (mda > 0xff)
        return false;
    if (a->s.dfr >> 28 == 0xf)
        return mda & id;
    return (mda >> 4 == 0xf || mda >> 4 == id >> 4) && mda & id & 0xf;
}

static bool match(const struct apic *a, const struct apic *sender, const struct apic_message *m)
{
    switch (m->shorthand) {
    case SHORTHAND_SELF:
        return a == sender;
    case SHORTHAND_ALL:
        return true;
    case SHORTHAND_OTHERS:
        return a != sender;
    }
    if (m->broadcast)
        return true;
    if (m->logical)
        return match_logical(a, m->dest);
    return m->dest == (apic_x2apic(a) ? a->cfg.id : a->s.id);
}

/* Among those meant that accept interrupts the one of lowest priority; equals take turns. */
static struct apic *arbitrate(struct apic_bus *bus, const struct apic *sender, const struct apic_message *m)
{
    struct apic *best = NULL;
    for (unsigned i = 0; i < bus->count; i++) {
        struct apic *a = bus->apic[(bus->next + i) % bus->count];
        if (!a || !apic_enabled(a) || !apic_software_enabled(a) || !match(a, sender, m))
            continue;
        if (!best || apic_apr(a) < apic_apr(best))
            best = a;
    }
    if (best)
        bus->next = best->cfg.id + 1;
    return best;
}

void apic_bus_send(struct apic_bus *bus, struct apic *sender, const struct apic_message *m)
{
    if (m->mode == DM_LOWEST) {
        struct apic *a = arbitrate(bus, sender, m);
        if (a)
            apic_receive(a, m);
        return;
    }
    for (unsigned i = 0; i < bus->count; i++)
        if (bus->apic[i] && match(bus->apic[i], sender, m))
            apic_receive(bus->apic[i], m);
}

/*
 * Address: 0xfee in bits 31:20, destination in 19:12, redirection hint in 3, destination mode in 2. The hint asks for
 * one processor among those of a logical destination.
 */
static void bus_msi(void *opaque, u64 address, u32 data)
{
    struct apic_message m = {
        .dest = (u32)bits(address, 19, 12),
        .logical = address & BIT(2),
        .mode = (u8)bits(data, 10, 8),
        .vector = (u8)data,
        .level = data & BIT(15),
    };
    if (address >> 20 != 0xfee || m.mode == DM_RESERVED || m.mode == DM_SIPI)
        return;
    m.broadcast = m.dest == BROADCAST8;
    if (m.level && !(data & BIT(14)))
        return; /* the level went away: nothing to deliver */
    if (m.mode == DM_FIXED && m.logical && address & BIT(3))
        m.mode = DM_LOWEST;
    apic_bus_send(opaque, NULL, &m);
}

struct msi_sink apic_bus_msi(struct apic_bus *bus)
{
    return (struct msi_sink){.send = bus_msi, .opaque = bus};
}

static void bus_lint(void *opaque, unsigned n, bool level)
{
    struct apic_bus *bus = opaque;
    for (unsigned i = 0; i < bus->count; i++)
        if (bus->apic[i])
            apic_lint(bus->apic[i], n, level);
}

struct irq_line apic_bus_lint(struct apic_bus *bus, unsigned n)
{
    return (struct irq_line){.set = bus_lint, .opaque = bus, .n = n & 1};
}

void apic_bus_connect_pic(struct apic_bus *bus, struct pic *pic)
{
    bus->pic = pic;
}

void apic_bus_on_eoi(struct apic_bus *bus, void (*eoi)(void *opaque, u8 vector), void *opaque)
{
    bus->eoi = eoi;
    bus->eoi_opaque = opaque;
}

struct apic_bus *apic_bus_create(void)
{
    return calloc(1, sizeof(struct apic_bus));
}

void apic_bus_destroy(struct apic_bus *bus)
{
    free(bus);
}
