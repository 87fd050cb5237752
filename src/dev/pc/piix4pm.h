/*
 * The power management function of a 440FX board (PIIX4, Intel 290562, function 3): it places the ACPI PM registers in
 * port space (PMBA, PMREGMISC) and has the two APM ports 0xb2 and 0xb3, by which an operating system asks firmware to
 * switch to ACPI. There is no SMM here: the bit that says firmware has set SMIs up already is on from the start, and
 * the board answers the two ACPI commands itself.
 */
#ifndef DEV_PC_PIIX4PM_H
#define DEV_PC_PIIX4PM_H

#include "bus/pci.h"
#include "dev/dev.h"

struct piix4pm;

#define PIIX4PM_DEVFN     PCI_DEVFN(1, 3)
#define PIIX4PM_PMBA      0x40
#define PIIX4PM_PMREGMISC 0x80

#define APM_CONTROL_PORT 0xb2
#define APM_ACPI_DISABLE 0xf0
#define APM_ACPI_ENABLE  0xf1

struct piix4pm_config {
    struct pci_bus *bus;
    /* The PM registers decode at `base`, 64 bytes, or nowhere. */
    void (*map)(void *opaque, u16 base, bool on);
    /* Which of ACPI (true) and legacy mode was asked for at the APM port: PM1_CNT.SCI_EN. */
    void (*acpi_mode)(void *opaque, bool acpi);
    void *opaque;
};

/* First member is a struct dev. NULL with a message. */
struct piix4pm *piix4pm_create(const struct piix4pm_config *cfg, struct error *err);

/* Where the PM registers are, 0 if nowhere. */
u16 piix4pm_base(const struct piix4pm *p);

#endif
