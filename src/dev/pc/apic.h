/*
 * The local APICs of one machine, the bus that connects them, and how messages and lines come in. The processor's side
 * is irq/apic.h.
 *
 * Order of making: apic_bus_create, apic_create for each processor (id 0, 1, ...), apic_connect_cpu,
 * apic_bus_connect_pic, apic_bus_on_eoi for the I/O APIC. The APICs are destroyed before their bus.
 *
 * Threads: apic_ops take the machine lock, all other functions need it.
 */
#ifndef DEV_PC_APIC_H
#define DEV_PC_APIC_H

#include "dev/dev.h"
#include "irq/apic.h"
#include "irq/line.h"
#include "irq/msi.h"

#define APIC_BASE_DEFAULT 0xfee00000u
#define APIC_BUS_MAX      64u

/* Input clock of the timer, before the divider, where the machine has no reason for another: the 25 MHz crystal. */
#define APIC_HZ_DEFAULT 25000000u

struct apic;
struct apic_bus;
struct loop;
struct pic;

/* NULL when out of memory. */
struct apic_bus *apic_bus_create(void);
void apic_bus_destroy(struct apic_bus *bus);

/* Who answers the INTA cycles of an ExtINT. */
void apic_bus_connect_pic(struct apic_bus *bus, struct pic *pic);
/* Told of the end of every level-triggered interrupt, unless the guest suppresses that (SVR bit 12). One listener. */
void apic_bus_on_eoi(struct apic_bus *bus, void (*eoi)(void *opaque, u8 vector), void *opaque);

/* Messages from devices and I/O APICs. */
struct msi_sink apic_bus_msi(struct apic_bus *bus);
/* LINT0 (the 8259s' INTR) or LINT1 (NMI) of all processors. */
struct irq_line apic_bus_lint(struct apic_bus *bus, unsigned n);

struct apic_config {
    struct apic_bus *bus;
    struct loop *loop;
    unsigned id;       /* initial APIC ID, below APIC_BUS_MAX; 0 is the bootstrap processor */
    u64 hz;            /* input clock of the timer */
    u8 phys_bits;      /* width of physical addresses, for IA32_APIC_BASE */
    bool x2apic;       /* as CPUID.1:ECX[21] says */
    bool tsc_deadline; /* as CPUID.1:ECX[24] says */
};

/* NULL when out of memory or the ID is out of range or taken. The first member is the struct dev. */
struct apic *apic_create(const struct apic_config *cfg);
void apic_connect_cpu(struct apic *a, const struct apic_cpu_ops *ops, void *cpu);

/* What the processor calls; the opaque argument is the struct apic. */
extern const struct apic_ops apic_ops;

/* What firmware leaves behind, for guests that start without any: software-enabled, LINT0 ExtINT, LINT1 NMI. */
void apic_virtual_wire(struct apic *a);

#endif
