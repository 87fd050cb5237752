/* See i440fx.h. */
#include "dev/pc/i440fx.h"

#include <stdlib.h>

#define I440FX_STATE(F, A, S)                                                                                          \
    S(pci_func_state, pci, 1, 1)                                                                                       \
    F(u32, config_address, 1)                                                                                          \
    F(u8, reset_control, 1)
STATE_DECLARE(i440fx_state, I440FX_STATE)
STATE_DEFINE(i440fx_state, I440FX_STATE, 1)

/* Offsets from port 0xcf8. */
enum { PORT_CONFADD = 0, PORT_RESET = 1, PORT_CONFDATA = 4, PORT_END = 8 };
#define CONFADD_ENABLE   BIT(31)
#define CONFADD_WRITABLE 0x80fffffc
#define RESET_CPU        BIT(2)
#define RESET_WRITABLE   0x06

enum { REG_PAM0 = 0x59, REG_PAM6 = 0x5f, REG_SMRAM = 0x72 };
#define PAM_READ     BIT(0)
#define PAM_WRITE    BIT(1)
#define SMRAM_BASE   0x02 /* C_BASE_SEG: hard-wired to 0xa0000 */
#define SMRAM_GLOBAL BIT(3)
#define SMRAM_LOCK   BIT(4)
#define SMRAM_CLOSE  BIT(5)
#define SMRAM_OPEN   BIT(6)

/* What the PAM fields govern, in order of address. */
struct pam {
    u8 reg, shift;
    u32 base, size;
};

#define PAM_PAIR(r, b)                                                                                                 \
    {r, 0, b, 0x4000},                                                                                                 \
    {                                                                                                                  \
        r, 4, (b) + 0x4000, 0x4000                                                                                     \
    }
static const struct pam pam_fields[] = {
    PAM_PAIR(0x5a, 0xc0000), PAM_PAIR(0x5b, 0xc8000), PAM_PAIR(0x5c, 0xd0000),     PAM_PAIR(0x5d, 0xd8000),
    PAM_PAIR(0x5e, 0xe0000), PAM_PAIR(0x5f, 0xe8000), {0x59, 4, 0xf0000, 0x10000},
};
#define SMRAM_AREA      0xa0000
#define SMRAM_AREA_SIZE 0x20000
#define AREA_UNKNOWN    0xff

struct i440fx {
    struct dev dev;
    struct i440fx_state s;
    struct i440fx_config cfg;
    struct pci_func func;
    struct mem_window ports;
    u8 applied[ARRAY_SIZE(pam_fields) + 1]; /* PAM bits now in force; the last is the SMRAM area's */
};

/* --- shadow RAM ------------------------------------------------------------------------------------------------- */

static void area_apply(struct i440fx *h, unsigned n, u32 base, u32 size, u8 access)
{
    if (h->applied[n] == access)
        return;
    h->applied[n] = access;
    mem_shadow_set(h->cfg.bus->mem, base, size, access & PAM_READ, access & PAM_WRITE);
}

static void shadow_apply(struct i440fx *h)
{
    const u8 *config = h->s.pci[0].config;
    u8 smram = config[REG_SMRAM];

    for (unsigned i = 0; i < ARRAY_SIZE(pam_fields); i++) {
        const struct pam *p = &pam_fields[i];
        area_apply(h, i, p->base, p->size, config[p->reg] >> p->shift & (PAM_READ | PAM_WRITE));
    }
    bool open = (smram & SMRAM_GLOBAL) && (smram & SMRAM_OPEN);
    area_apply(h, ARRAY_SIZE(pam_fields), SMRAM_AREA, SMRAM_AREA_SIZE, open ? PAM_READ | PAM_WRITE : 0);
}

/* D_LCK closes SMRAM for good: the other bits become read-only until reset. */
static void smram_lock(struct i440fx *h)
{
    u8 *smram = &h->s.pci[0].config[REG_SMRAM];

    if (*smram & SMRAM_LOCK)
        *smram &= (u8)~SMRAM_OPEN;
    h->func.writable[REG_SMRAM] = *smram & SMRAM_LOCK ? 0 : SMRAM_GLOBAL | SMRAM_LOCK | SMRAM_CLOSE | SMRAM_OPEN;
}

static void config_written(void *opaque, unsigned off, unsigned size)
{
    struct i440fx *h = opaque;

    if (ranges_overlap(off, size, REG_SMRAM, 1))
        smram_lock(h);
    if (ranges_overlap(off, size, REG_PAM0, REG_SMRAM + 1 - REG_PAM0))
        shadow_apply(h);
}

void i440fx_shadow_all(struct i440fx *h)
{
    for (unsigned reg = REG_PAM0; reg <= REG_PAM6; reg++)
        pci_config_write(h->cfg.bus, reg, 0x33 & h->func.writable[reg], 1);
}

/* --- ports ------------------------------------------------------------------------------------------------------ */

static u64 ports_read(void *opaque, u64 off, unsigned size)
{
    struct i440fx *h = opaque;

    if (off == PORT_CONFADD && size == 4)
        return h->s.config_address;
    if (off == PORT_RESET && size == 1)
        return h->s.reset_control;
    if (off < PORT_CONFDATA || off + size > PORT_END || !(h->s.config_address & CONFADD_ENABLE))
        return ~0ull;
    return pci_config_read(h->cfg.bus, h->s.config_address | (u32)(off - PORT_CONFDATA), size);
}

static void reset_write(struct i440fx *h, u8 value)
{
    h->s.reset_control = value & RESET_WRITABLE;
    if (value & RESET_CPU)
        h->cfg.reset(h->cfg.opaque);
}

static void ports_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct i440fx *h = opaque;

    if (off == PORT_CONFADD && size == 4)
        h->s.config_address = (u32)value & CONFADD_WRITABLE;
    else if (off == PORT_RESET && size == 1)
        reset_write(h, (u8)value);
    else if (off >= PORT_CONFDATA && off + size <= PORT_END && (h->s.config_address & CONFADD_ENABLE))
        pci_config_write(h->cfg.bus, h->s.config_address | (u32)(off - PORT_CONFDATA), (u32)value, size);
}

static const struct mem_window_ops ports_ops = {ports_read, ports_write, 1, 4};

/* --- life ------------------------------------------------------------------------------------------------------- */

static void *i440fx_get_state(struct dev *d)
{
    return &((struct i440fx *)d)->s;
}

static void i440fx_reset(struct dev *d)
{
    struct i440fx *h = (struct i440fx *)d;

    pci_func_reset(&h->func);
    h->s.config_address = 0;
    h->s.reset_control = 0;
    smram_lock(h);
    shadow_apply(h);
}

static void i440fx_loaded(struct dev *d)
{
    struct i440fx *h = (struct i440fx *)d;

    pci_func_loaded(&h->func);
    smram_lock(h);
    shadow_apply(h);
}

static void i440fx_destroy(struct dev *d)
{
    struct i440fx *h = (struct i440fx *)d;

    if (h->ports.mapped)
        mem_port_unmap(h->cfg.bus->mem, &h->ports);
    pci_func_remove(&h->func);
    free(h);
}

static const struct dev_class i440fx_class = {
    .name = "i440fx",
    .state = &i440fx_state_class,
    .get_state = i440fx_get_state,
    .reset = i440fx_reset,
    .loaded = i440fx_loaded,
    .destroy = i440fx_destroy,
};

static int i440fx_init(struct i440fx *h)
{
    /* Subsystem 1af4:1100 marks a virtual board: OVMF and SeaBIOS look at the device ID only, Linux quirks at both. */
    static const struct pci_ident ident = {.vendor = 0x8086,
                                           .device = 0x1237,
                                           .subsys_vendor = 0x1af4,
                                           .subsys = 0x1100,
                                           .class = 0x060000,
                                           .revision = 2};
    int status = pci_func_init(&h->func, h->cfg.bus, PCI_DEVFN(0, 0), &ident, h->s.pci);

    if (status)
        return status;
    pci_func_reg8(&h->func, REG_PAM0, 0, 0x30);
    for (unsigned reg = REG_PAM0 + 1; reg <= REG_PAM6; reg++)
        pci_func_reg8(&h->func, reg, 0, 0x33);
    pci_func_reg8(&h->func, REG_SMRAM, SMRAM_BASE, 0);
    h->func.written = config_written;
    h->func.opaque = h;
    h->ports = (struct mem_window){.ops = &ports_ops, .opaque = h, .name = "pci-config", .size = PORT_END};
    return mem_port_map(h->cfg.bus->mem, &h->ports, 0xcf8);
}

struct i440fx *i440fx_create(const struct i440fx_config *cfg, struct error *err)
{
    struct i440fx *h = calloc(1, sizeof(*h));

    if (!h) {
        error_set(err, -ENOMEM, "i440fx: out of memory");
        return NULL;
    }
    h->dev.cls = &i440fx_class;
    h->cfg = *cfg;
    for (unsigned i = 0; i < ARRAY_SIZE(h->applied); i++)
        h->applied[i] = AREA_UNKNOWN;
    if (i440fx_init(h)) {
        error_set(err, -EINVAL, "i440fx: slot or ports already taken");
        i440fx_destroy(&h->dev);
        return NULL;
    }
    i440fx_reset(&h->dev);
    return h;
}
