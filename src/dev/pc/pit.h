/*
 * The 8254 interval timer with the system control port 0x61: channel 0 is IRQ0, channel 1 the refresh request, channel
 * 2 the speaker, whose gate and output stand in port 0x61.
 */
#ifndef DEV_PC_PIT_H
#define DEV_PC_PIT_H

#include "dev/dev.h"
#include "irq/line.h"

#define PIT_HZ 1193182u

struct loop;
struct mem_space;
struct pit;

struct pit_config {
    struct mem_space *mem; /* NULL: no ports (tests) */
    struct loop *loop;
    struct irq_line irq; /* IRQ0 */
};

/* NULL when out of memory. The first member is the struct dev. */
struct pit *pit_create(const struct pit_config *cfg);

/* The HPET's legacy replacement takes IRQ0 away while it is on. Lock held. */
void pit_connect_irq(struct pit *p, bool connected);

/* Ports by offset from 0x40, and port 0x61, for tests; lock held. */
u8 pit_read(struct pit *p, unsigned off);
void pit_write(struct pit *p, unsigned off, u8 value);
u8 pit_read_port61(struct pit *p);
void pit_write_port61(struct pit *p, u8 value);

#endif
