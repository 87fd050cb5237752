/*
 * The way of x87 errors on a PC whose CR0.NE is 0: the processor's FERR# raises IRQ 13, and a write to port 0xf0 takes
 * it back (PIIX3 data sheet, "Coprocessor Error").
 */
#ifndef DEV_PC_FERR_H
#define DEV_PC_FERR_H

#include "dev/dev.h"
#include "irq/line.h"
#include "mem/space.h"

struct ferr;

struct ferr_config {
    struct mem_space *mem;
    struct irq_line irq;
};

/* First member is a struct dev. NULL with a message. */
struct ferr *ferr_create(const struct ferr_config *cfg, struct error *err);

/* FERR# of the bootstrap processor: only its rise counts. Lock held. */
void ferr_set(struct ferr *f, bool level);

#endif
