/*
 * Devices: what all of them have in common, for reset, saving and the monitor. Registered in one explicit list by the
 * machine.
 *
 * A device is created by its own typed function (uart_create(const struct uart_config *)), which returns the device's
 * struct with a struct dev as its first member. All callbacks need the machine lock.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include "base/list.h"
#include "state/state.h"

struct dev;

struct dev_class {
    const char *name;                  /* as the monitor shows it */
    const struct state_class *state;   /* NULL if it has none */
    void *(*get_state)(struct dev *d); /* the declared struct */
    void (*reset)(struct dev *d);      /* power-on state; lines down, timers off */
    void (*loaded)(
        struct dev *d); /* rebuild what is derived (timers, windows, lines) after state was loaded; may be NULL */
    void (*saving)(struct dev *d); /* bring the declared state up to date before it is saved; may be NULL */
    void (*destroy)(struct dev *d);
};

struct dev {
    const struct dev_class *cls;
    unsigned instance; /* 0, 1, ... among devices of one class */
};

#endif
