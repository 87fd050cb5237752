/*
 * The I/O APIC: 24 inputs, each with an entry that says which message to send to the local APICs.
 */
#ifndef DEV_PC_IOAPIC_H
#define DEV_PC_IOAPIC_H

#include "dev/dev.h"
#include "irq/line.h"
#include "irq/msi.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_SIZE 0x1000u
#define IOAPIC_PINS 24u

struct ioapic;
struct mem_space;

struct ioapic_config {
    struct mem_space *mem; /* NULL: no window (tests) */
    u64 base;
    u8 id; /* at reset, 0 to 15 */
    struct msi_sink msi;
};

/* NULL when out of memory. The first member is the struct dev; destroyed through it. */
struct ioapic *ioapic_create(const struct ioapic_config *cfg);

/* Input n, 0 to 23, active high whatever the entry's polarity says: the line means "asserted". */
struct irq_line ioapic_line(struct ioapic *io, unsigned n);

/* A local APIC ended `vector`, which it had taken as level-triggered. `ioapic` is a struct ioapic. Lock held. */
void ioapic_eoi(void *ioapic, u8 vector);

/* The registers as they lie in the window, for tests; lock held. */
u32 ioapic_read(struct ioapic *io, u32 off);
void ioapic_write(struct ioapic *io, u32 off, u32 value);

#endif
