/*
 * The pair of 8259A interrupt controllers of a PC, as the PIIX3 has them: ports 0x20-0x21, 0xa0-0xa1, and the
 * edge/level control registers at 0x4d0-0x4d1.
 */
#ifndef DEV_PC_PIC_H
#define DEV_PC_PIC_H

#include "dev/dev.h"
#include "irq/line.h"

struct loop;
struct mem_space;
struct pic;

struct pic_config {
    struct mem_space *mem; /* NULL: no ports (tests) */
    struct irq_line intr;  /* INT of the master: LINT0 of the local APICs, and pin 0 of the I/O APIC */
};

/* NULL when out of memory. The first member is the struct dev; destroyed through it. */
struct pic *pic_create(const struct pic_config *cfg);

/* Inputs 0 to 15; 2 is the cascade and ignored. */
struct irq_line pic_line(struct pic *p, unsigned n);

/*
 * What a BIOS leaves behind, for guests that start without one: initialised at vectors 0x08 and 0x70, all inputs
 * masked, bit n of `level` for a level-triggered line n. Lock held.
 */
void pic_firmware(struct pic *p, u16 level);

/* The INTA cycles: the vector, which is the one of IRQ7 or IRQ15 when the request has gone. Lock held. */
int pic_ack(struct pic *p);

#endif
