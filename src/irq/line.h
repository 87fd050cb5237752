/*
 * An interrupt line: a wire from a device to whoever routes it. Setting a level that is already there is harmless.
 * All calls need the machine lock.
 */
#ifndef IRQ_LINE_H
#define IRQ_LINE_H

#include "base/types.h"

struct irq_line {
    void (*set)(void *opaque, unsigned n, bool level);
    void *opaque;
    unsigned n;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
    if (line->set)
        line->set(line->opaque, line->n, level);
}

/* An edge: up and down again. */
static inline void irq_pulse(const struct irq_line *line)
{
    irq_set(line, true);
    irq_set(line, false);
}

#endif
