/*
 * The ISA bridge of a 440FX board (PIIX3, Intel 290550): PIRQ route control. Each of the board's four INTx wires
 * goes to the ISA line that its register names, or nowhere; wires may share a line. The I/O APIC sees them on the same
 * lines.
 */
#ifndef DEV_PC_PIIX3_H
#define DEV_PC_PIIX3_H

#include "bus/pci.h"
#include "dev/dev.h"
#include "irq/line.h"

struct piix3;

#define PIIX3_DEVFN    PCI_DEVFN(1, 0)
#define PIIX3_PIRQRC   0x60 /* four registers, one for each wire */
#define PIIX3_PIRQ_OFF BIT(7)

struct piix3_config {
    struct pci_bus *bus;     /* becomes its INTx router */
    struct irq_line isa[16]; /* where PCI pulls each ISA line; .set may be NULL for lines that are not on the board */
};

/* First member is a struct dev. NULL with a message. */
struct piix3 *piix3_create(const struct piix3_config *cfg, struct error *err);

#endif
