/* See piix3.h. */
#include "dev/pc/piix3.h"

#include <stdlib.h>

#define PIIX3_STATE(F, A, S)                                                                                           \
    S(pci_func_state, pci, 1, 1)                                                                                       \
    A(bool, pirq, PCI_PINS, 1) /* levels of the wires */
STATE_DECLARE(piix3_state, PIIX3_STATE)
STATE_DEFINE(piix3_state, PIIX3_STATE, 1)

struct piix3 {
    struct dev dev;
    struct piix3_state s;
    struct piix3_config cfg;
    struct pci_func func;
    u16 driven; /* derived: ISA lines that are up because of PCI */
};

/* Lines that a PIRQ can be routed to (PIRQRC[3:0]); the others are reserved. */
#define ROUTABLE 0xdef8

static void lines_update(struct piix3 *p)
{
    u16 want = 0;

    for (unsigned i = 0; i < PCI_PINS; i++) {
        u8 route = p->s.pci[0].config[PIIX3_PIRQRC + i];
        if (p->s.pirq[i] && !(route & PIIX3_PIRQ_OFF))
            want |= (u16)(BIT(route & 15) & ROUTABLE);
    }
    u16 changed = want ^ p->driven;
    p->driven = want;
    for (unsigned irq = 0; irq < 16; irq++) {
        if (changed & BIT(irq))
            irq_set(&p->cfg.isa[irq], want & BIT(irq));
    }
}

static void piix3_set_pirq(void *opaque, unsigned pirq, bool level)
{
    struct piix3 *p = opaque;

    p->s.pirq[pirq] = level;
    lines_update(p);
}

static void config_written(void *opaque, unsigned off, unsigned size)
{
    if (ranges_overlap(off, size, PIIX3_PIRQRC, PCI_PINS))
        lines_update(opaque);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *piix3_get_state(struct dev *d)
{
    return &((struct piix3 *)d)->s;
}

static void piix3_reset(struct dev *d)
{
    struct piix3 *p = (struct piix3 *)d;

    pci_func_reset(&p->func);
    for (unsigned i = 0; i < PCI_PINS; i++)
        p->s.pirq[i] = p->cfg.bus->pirq_level[i] > 0;
    lines_update(p);
}

static void piix3_loaded(struct dev *d)
{
    struct piix3 *p = (struct piix3 *)d;

    pci_func_loaded(&p->func);
    lines_update(p);
}

static void piix3_destroy(struct dev *d)
{
    struct piix3 *p = (struct piix3 *)d;

    if (p->cfg.bus->pirq_opaque == p)
        pci_bus_set_router(p->cfg.bus, NULL, NULL);
    pci_func_remove(&p->func);
    free(p);
}

static const struct dev_class piix3_class = {
    .name = "piix3",
    .state = &piix3_state_class,
    .get_state = piix3_get_state,
    .reset = piix3_reset,
    .loaded = piix3_loaded,
    .destroy = piix3_destroy,
};

/* Registers that only hold what firmware writes: bus timing, chip selects, memory top, DMA and SMI settings. */
static void plain_registers(struct pci_func *f)
{
    static const struct {
        u8 off, initial;
    } defaults[] = {{0x4c, 0x4d}, {0x4e, 0x03}, {0x69, 0x02}, {0x70, 0x80},
                    {0x76, 0x0c}, {0x77, 0x0c}, {0x78, 0x02}, {0xa0, 0x08}};

    for (unsigned off = PCI_HEADER_END; off < PCI_CONFIG_SIZE; off++)
        pci_func_reg8(f, off, 0, 0xff);
    for (unsigned i = 0; i < ARRAY_SIZE(defaults); i++)
        pci_func_reg8(f, defaults[i].off, defaults[i].initial, 0xff);
    for (unsigned i = 0; i < PCI_PINS; i++)
        pci_func_reg8(f, PIIX3_PIRQRC + i, PIIX3_PIRQ_OFF, PIIX3_PIRQ_OFF | 0x0f);
}

struct piix3 *piix3_create(const struct piix3_config *cfg, struct error *err)
{
    static const struct pci_ident ident = {.vendor = 0x8086,
                                           .device = 0x7000,
                                           .subsys_vendor = 0x1af4,
                                           .subsys = 0x1100,
                                           .class = 0x060100,
                                           .multifunction = true};
    struct piix3 *p = calloc(1, sizeof(*p));

    if (!p) {
        error_set(err, -ENOMEM, "piix3: out of memory");
        return NULL;
    }
    p->dev.cls = &piix3_class;
    p->cfg = *cfg;
    if (pci_func_init(&p->func, cfg->bus, PIIX3_DEVFN, &ident, p->s.pci)) {
        error_set(err, -EBUSY, "piix3: slot already taken");
        free(p);
        return NULL;
    }
    plain_registers(&p->func);
    p->func.written = config_written;
    p->func.opaque = p;
    pci_bus_set_router(cfg->bus, piix3_set_pirq, p);
    piix3_reset(&p->dev);
    return p;
}
