/* See piix4pm.h. */
#include "dev/pc/piix4pm.h"

#include <stdlib.h>

#define PIIX4PM_STATE(F, A, S)                                                                                         \
    S(pci_func_state, pci, 1, 1)                                                                                       \
    F(u8, apm_control, 1)                                                                                              \
    F(u8, apm_status, 1)
STATE_DECLARE(piix4pm_state, PIIX4PM_STATE)
STATE_DEFINE(piix4pm_state, PIIX4PM_STATE, 1)

#define PMBA_BASE        0xffc0
#define PMBA_IO_SPACE    BIT(0)
#define PMREGMISC_ENABLE BIT(0) /* PMIOSE */
#define REG_DEVACTB3     0x5b
#define DEVACTB_APMC_EN  BIT(1) /* bit 25 of DEVACTB: firmware takes it as "SMIs are set up" */
#define SCI_IRQ          9

struct piix4pm {
    struct dev dev;
    struct piix4pm_state s;
    struct piix4pm_config cfg;
    struct pci_func func;
    struct mem_window apm;
};

u16 piix4pm_base(const struct piix4pm *p)
{
    const u8 *config = p->s.pci[0].config;

    return config[PIIX4PM_PMREGMISC] & PMREGMISC_ENABLE ? get_u16(config + PIIX4PM_PMBA) & PMBA_BASE : 0;
}

static void pm_remap(struct piix4pm *p)
{
    u16 base = piix4pm_base(p);

    p->cfg.map(p->cfg.opaque, base, base != 0);
}

static void config_written(void *opaque, unsigned off, unsigned size)
{
    if (ranges_overlap(off, size, PIIX4PM_PMBA, 4) || ranges_overlap(off, size, PIIX4PM_PMREGMISC, 1))
        pm_remap(opaque);
}

static u64 apm_read(void *opaque, u64 off, unsigned size)
{
    struct piix4pm *p = opaque;

    return off == 0 ? p->s.apm_control : p->s.apm_status;
}

static void apm_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct piix4pm *p = opaque;

    if (off == 1) {
        p->s.apm_status = (u8)value;
        return;
    }
    p->s.apm_control = (u8)value;
    if (value == APM_ACPI_ENABLE || value == APM_ACPI_DISABLE)
        p->cfg.acpi_mode(p->cfg.opaque, value == APM_ACPI_ENABLE);
}

static const struct mem_window_ops apm_ops = {apm_read, apm_write, 1, 1};

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *piix4pm_get_state(struct dev *d)
{
    return &((struct piix4pm *)d)->s;
}

static void piix4pm_reset(struct dev *d)
{
    struct piix4pm *p = (struct piix4pm *)d;

    pci_func_reset(&p->func);
    p->s.apm_control = p->s.apm_status = 0;
    pm_remap(p);
}

static void piix4pm_loaded(struct dev *d)
{
    struct piix4pm *p = (struct piix4pm *)d;

    pci_func_loaded(&p->func);
    pm_remap(p);
}

static void piix4pm_destroy(struct dev *d)
{
    struct piix4pm *p = (struct piix4pm *)d;

    if (p->apm.mapped)
        mem_port_unmap(p->cfg.bus->mem, &p->apm);
    pci_func_remove(&p->func);
    free(p);
}

static const struct dev_class piix4pm_class = {
    .name = "piix4pm",
    .state = &piix4pm_state_class,
    .get_state = piix4pm_get_state,
    .reset = piix4pm_reset,
    .loaded = piix4pm_loaded,
    .destroy = piix4pm_destroy,
};

static int piix4pm_init(struct piix4pm *p)
{
    /* No interrupt pin: the SCI is wired to ISA line 9, and the interrupt line register only tells so. */
    static const struct pci_ident ident = {.vendor = 0x8086,
                                           .device = 0x7113,
                                           .subsys_vendor = 0x1af4,
                                           .subsys = 0x1100,
                                           .class = 0x068000,
                                           .revision = 3};
    int status = pci_func_init(&p->func, p->cfg.bus, PIIX4PM_DEVFN, &ident, p->s.pci);

    if (status)
        return status;
    for (unsigned off = PCI_HEADER_END; off < PCI_CONFIG_SIZE; off++)
        pci_func_reg8(&p->func, off, 0, 0xff);
    pci_func_reg8(&p->func, PCI_INTERRUPT_LINE, SCI_IRQ, 0xff);
    pci_func_reg32(&p->func, PIIX4PM_PMBA, PMBA_IO_SPACE, PMBA_BASE);
    pci_func_reg8(&p->func, PIIX4PM_PMREGMISC, 0, PMREGMISC_ENABLE);
    pci_func_reg8(&p->func, REG_DEVACTB3, DEVACTB_APMC_EN, 0xff);
    p->func.written = config_written;
    p->func.opaque = p;
    p->apm = (struct mem_window){.ops = &apm_ops, .opaque = p, .name = "apm", .size = 2};
    return mem_port_map(p->cfg.bus->mem, &p->apm, APM_CONTROL_PORT);
}

struct piix4pm *piix4pm_create(const struct piix4pm_config *cfg, struct error *err)
{
    struct piix4pm *p = calloc(1, sizeof(*p));

    if (!p) {
        error_set(err, -ENOMEM, "piix4pm: out of memory");
        return NULL;
    }
    p->dev.cls = &piix4pm_class;
    p->cfg = *cfg;
    if (piix4pm_init(p)) {
        error_set(err, -EINVAL, "piix4pm: slot or ports already taken");
        piix4pm_destroy(&p->dev);
        return NULL;
    }
    piix4pm_reset(&p->dev);
    return p;
}
