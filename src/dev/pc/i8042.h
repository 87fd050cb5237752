/*
 * The keyboard controller (8042, as in the IBM PS/2 Hardware Interface Technical Reference) with a keyboard on its
 * first port and nothing on its auxiliary port, and system control port A (0x92). Both reach two wires of the board:
 * the A20 gate and the processor reset.
 *
 * Bytes for the guest wait in one queue, each marked with the port it came from; the output buffer shows the first
 * one, and its interrupt (1 or 12) stays up until port 0x60 is read.
 */
#ifndef DEV_PC_I8042_H
#define DEV_PC_I8042_H

#include "dev/dev.h"
#include "irq/line.h"
#include "mem/space.h"

struct i8042;

struct i8042_config {
    struct mem_space *mem;
    struct irq_line keyboard_irq, aux_irq;
    void (*reset)(void *opaque); /* the guest pulsed the reset line */
    void *opaque;
};

/* First member is a struct dev. NULL with a message. */
struct i8042 *i8042_create(const struct i8042_config *cfg, struct error *err);

#endif
