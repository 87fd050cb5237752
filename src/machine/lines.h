/*
 * The board's interrupt wires: ISA lines 0-15 and the inputs of the I/O APIC above them. Each may be pulled by several
 * sources; it is up while any of them pulls. An ISA line n goes to input n of the 8259s and to input n of the I/O APIC,
 * except line 0, which goes to input 2 there, and line 2, which is the cascade and goes nowhere.
 *
 * All calls need the machine lock. What is kept here is derived: devices pull their lines again after loading.
 */
#ifndef MACHINE_LINES_H
#define MACHINE_LINES_H

#include "irq/line.h"

#define LINES_ISA   16
#define LINES_COUNT 24

enum line_source {
    LINE_DEVICE, /* the ISA device that owns the line */
    LINE_PCI,
    LINE_HPET,
    LINE_TESTDEV,
    LINE_VIRTIO,
    LINE_SOURCES
};

struct board_lines {
    struct irq_line pic[LINES_ISA];
    struct irq_line ioapic[LINES_COUNT];
    u8 pulled[LINES_COUNT]; /* by whom: a bit for each line_source */
};

/* The end of a wire that `source` holds. */
struct irq_line lines_input(struct board_lines *b, enum line_source source, unsigned line);

#endif
