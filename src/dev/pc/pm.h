/*
 * ACPI power management: the registers that PCI function 3 (dev/pc/piix4pm.h) places in port space. PM1a event and
 * control block, PM timer, a general-purpose event block.
 */
#ifndef DEV_PC_PM_H
#define DEV_PC_PM_H

#include "dev/dev.h"
#include "irq/line.h"

#define PM_HZ   3579545u
#define PM_SIZE 64u /* ports */

/* Offsets in the block, for the ACPI tables. */
#define PM1A_EVT     0x00
#define PM1A_CNT     0x04
#define PM_TMR       0x08
#define PM_GPE0      0x0c
#define PM_GPE0_SIZE 4

struct loop;
struct mem_space;
struct pm;

struct pm_config {
    struct mem_space *mem; /* NULL: no ports (tests) */
    struct loop *loop;
    struct irq_line sci;
    bool timer32; /* 32-bit PM timer (TMR_VAL_EXT in the FADT), otherwise 24 bits */
    u8 s5_type;   /* SLP_TYP that means power off */
    /* SLP_EN was written. S5 powers off; other sleep states are not offered: the machine wakes at once. */
    void (*power_off)(void *opaque);
    void *opaque;
};

/* NULL when out of memory. The first member is the struct dev. Its ports are not mapped yet. */
struct pm *pm_create(const struct pm_config *cfg);

/* Where PCI function 3 decodes the block, or 0 for nowhere. -EINVAL if it does not fit. */
int pm_map(struct pm *p, u16 base) MUST_CHECK;

/* The user pressed the power button. Lock held. */
void pm_power_button(struct pm *p);
/* The real-time clock's alarm. Lock held. */
void pm_rtc_alarm(struct pm *p);
/* General-purpose event n, 0 to 15. */
void pm_gpe(struct pm *p, unsigned n);
/* SCI_EN: set by way of the SMI command port, or by the machine for guests that start without firmware. */
void pm_acpi_mode(struct pm *p, bool acpi);

/* Port accesses by offset into the block, for tests; lock held. */
u32 pm_read(struct pm *p, u32 off, unsigned size);
void pm_write(struct pm *p, u32 off, u32 value, unsigned size);

#endif
