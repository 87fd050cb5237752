/*
 * The host bridge of a 440FX board (82441FX PMC, Intel 290549): configuration mechanism #1 at ports 0xcf8 and 0xcfc,
 * the PAM registers that switch 0xc0000-0xfffff between ROM and RAM, and the SMRAM register.
 *
 * The byte port 0xcf9 inside the address register's dword is the reset control register of the PIIX3 (290550, 2.5.6.1).
 */
#ifndef DEV_PC_I440FX_H
#define DEV_PC_I440FX_H

#include "bus/pci.h"
#include "dev/dev.h"

struct i440fx;

struct i440fx_config {
    struct pci_bus *bus;         /* slot 0 must be free */
    void (*reset)(void *opaque); /* a reset was asked for at port 0xcf9 */
    void *opaque;
};

/* First member is a struct dev. NULL with a message. */
struct i440fx *i440fx_create(const struct i440fx_config *cfg, struct error *err);

/* What a firmware does before it starts an operating system: 0xc0000-0xfffff is plain RAM. */
void i440fx_shadow_all(struct i440fx *h);

#endif
