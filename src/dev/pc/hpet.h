/*
 * The high precision event timers: a 64-bit counter at 100 MHz and three comparators.
 */
#ifndef DEV_PC_HPET_H
#define DEV_PC_HPET_H

#include "dev/dev.h"
#include "irq/line.h"

#define HPET_BASE   0xfed00000u
#define HPET_SIZE   0x400u
#define HPET_HZ     100000000u
#define HPET_TIMERS 3u
#define HPET_PINS   24u
/* Low half of the capabilities register, which the ACPI table repeats: vendor, legacy route, 64 bits, timers, revision.
 */
#define HPET_ID     (0x8086u << 16 | 1u << 15 | 1u << 13 | (HPET_TIMERS - 1) << 8 | 1u)

struct hpet;
struct loop;
struct mem_space;

struct hpet_config {
    struct mem_space *mem; /* NULL: no window (tests) */
    struct loop *loop;
    u64 base;
    u32 route_cap;                  /* I/O APIC inputs that a timer may be routed to, a bit each */
    struct irq_line pin[HPET_PINS]; /* those inputs */
    struct irq_line legacy[2];      /* IRQ0 and IRQ8, for timers 0 and 1 under legacy replacement */
    /* Legacy replacement was switched: PIT and RTC give up, or get back, their lines. May be NULL. */
    void (*legacy_route)(void *opaque, bool on);
    void *opaque;
};

/* NULL when out of memory. The first member is the struct dev. */
struct hpet *hpet_create(const struct hpet_config *cfg);

/* Window accesses of 4 or 8 aligned bytes, for tests; lock held. */
u64 hpet_read(struct hpet *h, u32 off, unsigned size);
void hpet_write(struct hpet *h, u32 off, u64 value, unsigned size);

#endif
