/*
 * The local APIC's registers, as memory (xAPIC) and as MSRs (x2APIC), and IA32_APIC_BASE. SDM volume 3, "Local APIC
 * Registers" and "Extended XAPIC (x2APIC)".
 *
 * One table has a row for each register, by its number: offset / 16, MSR - 0x800. In xAPIC mode reserved bits are
 * dropped and an unknown register is an error in ESR; in x2APIC mode both are #GP.
 */
#include <errno.h>

#include "dev/pc/apic_priv.h"

#define MSR_APIC_BASE    0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC       0x800

/* Version 0x14, six entries in the local vector table, EOI broadcasts can be suppressed. */
#define VERSION (BIT(24) | (LVT_COUNT - 1) << 16 | 0x14)

enum {
    REG_TPR = 0x08,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ICR = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32,
    REG_COUNT = 0x40,
};

enum {
    R = 1 << 0,    /* may be read */
    W = 1 << 1,    /* may be written */
    WX = 1 << 2,   /* may be written in xAPIC mode only */
    NOX2 = 1 << 3, /* is not there in x2APIC mode */
    NOX = 1 << 4,  /* is there in x2APIC mode only */
};

struct apic_reg {
    u8 access;
    u32 writable;  /* bits that a write changes */
    u32 read_only; /* bits that a write may have set, without effect */
    u32 (*read)(struct apic *a, unsigned reg);
    void (*write)(struct apic *a, unsigned reg, u32 v);
};

/* Reads */

static u32 read_zero(struct apic *a, unsigned reg)
{
    return 0;
}

static u32 read_id(struct apic *a, unsigned reg)
{
    return apic_x2apic(a) ? a->cfg.id : (u32)a->s.id << 24;
}

static u32 read_version(struct apic *a, unsigned reg)
{
    return VERSION;
}

static u32 read_tpr(struct apic *a, unsigned reg)
{
    return a->s.tpr;
}

static u32 read_apr(struct apic *a, unsigned reg)
{
    return apic_apr(a);
}

static u32 read_ppr(struct apic *a, unsigned reg)
{
    return apic_ppr(a);
}

static u32 read_ldr(struct apic *a, unsigned reg)
{
    return apic_x2apic(a) ? apic_x2apic_ldr(a) : a->s.ldr;
}

static u32 read_dfr(struct apic *a, unsigned reg)
{
    return a->s.dfr;
}

static u32 read_svr(struct apic *a, unsigned reg)
{
    return a->s.svr;
}

static u32 read_isr(struct apic *a, unsigned reg)
{
    return a->s.isr[reg - REG_ISR];
}

static u32 read_tmr(struct apic *a, unsigned reg)
{
    return a->s.tmr[reg - REG_TMR];
}

static u32 read_irr(struct apic *a, unsigned reg)
{
    return a->s.irr[reg - REG_IRR];
}

static u32 read_esr(struct apic *a, unsigned reg)
{
    return a->s.esr;
}

static u32 read_icr(struct apic *a, unsigned reg)
{
    return (u32)(reg == REG_ICR ? a->s.icr : a->s.icr >> 32);
}

static u32 read_lvt(struct apic *a, unsigned reg)
{
    return a->s.lvt[reg - REG_LVT];
}

static u32 read_initial(struct apic *a, unsigned reg)
{
    return a->s.initial_count;
}

static u32 read_current(struct apic *a, unsigned reg)
{
    return apic_timer_current(a);
}

static u32 read_divide(struct apic *a, unsigned reg)
{
    return a->s.divide;
}

/* Writes */

static void write_id(struct apic *a, unsigned reg, u32 v)
{
    a->s.id = (u8)(v >> 24);
}

static void write_tpr(struct apic *a, unsigned reg, u32 v)
{
    a->s.tpr = v;
    apic_update(a);
}

static void write_eoi(struct apic *a, unsigned reg, u32 v)
{
    apic_eoi(a);
}

static void write_ldr(struct apic *a, unsigned reg, u32 v)
{
    a->s.ldr = v;
}

static void write_dfr(struct apic *a, unsigned reg, u32 v)
{
    a->s.dfr = v | 0x0fffffff;
}

/* Software-disabling masks the whole local vector table. */
static void write_svr(struct apic *a, unsigned reg, u32 v)
{
    a->s.svr = v;
    if (v & SVR_ENABLE)
        return;
    apic_timer_write_lvt(a, a->s.lvt[LVT_TIMER] | LVT_MASKED);
    for (unsigned n = 0; n < LVT_COUNT; n++)
        a->s.lvt[n] |= LVT_MASKED;
    apic_update(a);
}

/* Shows what was logged since the last write. */
static void write_esr(struct apic *a, unsigned reg, u32 v)
{
    a->s.esr = a->s.errors;
    a->s.errors = 0;
}

static void write_lvt(struct apic *a, unsigned reg, u32 v)
{
    unsigned n = reg - REG_LVT;
    if (!apic_software_enabled(a))
        v |= LVT_MASKED;
    if (n == LVT_TIMER) {
        apic_timer_write_lvt(a, v);
        return;
    }
    a->s.lvt[n] = v | (v & LVT_LEVEL ? a->s.lvt[n] & LVT_REMOTE_IRR : 0);
    if (n == LVT_LINT0 || n == LVT_LINT1)
        apic_lint_check(a, n - LVT_LINT0);
    apic_update(a);
}

static void write_initial(struct apic *a, unsigned reg, u32 v)
{
    apic_timer_write_initial(a, v);
}

static void write_divide(struct apic *a, unsigned reg, u32 v)
{
    apic_timer_write_divide(a, v);
}

/*
 * Sends what the interrupt command register says. INIT with the level de-asserted, which once synchronised
 * arbitration IDs, has no effect since the Pentium 4; the level means nothing for all other modes.
 */
static void send_icr(struct apic *a)
{
    u32 low = (u32)a->s.icr, high = (u32)(a->s.icr >> 32);
    struct apic_message m = {
        .dest = apic_x2apic(a) ? high : high >> 24,
        .logical = low & ICR_LOGICAL,
        .mode = LVT_MODE(low),
        .vector = (u8)low,
        .shorthand = low >> 18 & 3,
    };
    m.broadcast = m.dest == (apic_x2apic(a) ? 0xffffffff : 0xff);

    if (m.mode == DM_RESERVED || m.mode == DM_EXTINT)
        return;
    if (m.mode == DM_INIT && low & ICR_LEVEL && !(low & ICR_ASSERT))
        return;
    if ((m.mode == DM_FIXED || m.mode == DM_LOWEST) && m.vector < VECTOR_FIRST) {
        apic_error(a, ESR_SEND_ILLEGAL);
        return;
    }
    apic_bus_send(a->cfg.bus, a, &m);
}

static void write_icr(struct apic *a, unsigned reg, u32 v)
{
    if (reg == REG_ICR_HIGH) {
        a->s.icr = (u32)a->s.icr | (u64)v << 32;
        return;
    }
    a->s.icr = (a->s.icr & ~0xffffffffull) | v;
    send_icr(a);
}

static void write_self_ipi(struct apic *a, unsigned reg, u32 v)
{
    struct apic_message m = {.mode = DM_FIXED, .vector = (u8)v, .shorthand = SHORTHAND_SELF};
    if (v < VECTOR_FIRST)
        apic_error(a, ESR_SEND_ILLEGAL);
    else
        apic_bus_send(a->cfg.bus, a, &m);
}

static const struct apic_reg regs[REG_COUNT] = {
    [0x02] = {R | WX, 0xff000000, 0, read_id, write_id},
    [0x03] = {R, 0, 0, read_version, NULL},
    [0x08] = {R | W, 0xff, 0, read_tpr, write_tpr},
    [0x09] = {R | NOX2, 0, 0, read_apr, NULL},
    [0x0a] = {R, 0, 0, read_ppr, NULL},
    [0x0b] = {W, 0, 0, NULL, write_eoi},
    [0x0c] = {R | NOX2, 0, 0, read_zero, NULL}, /* remote read */
    [0x0d] = {R | WX, 0xff000000, 0, read_ldr, write_ldr},
    [0x0e] = {R | W | NOX2, 0xf0000000, 0, read_dfr, write_dfr},
    [0x0f] = {R | W, 0x13ff, 0, read_svr, write_svr},
    [0x10 ... 0x17] = {R, 0, 0, read_isr, NULL},
    [0x18 ... 0x1f] = {R, 0, 0, read_tmr, NULL},
    [0x20 ... 0x27] = {R, 0, 0, read_irr, NULL},
    [0x28] = {R | W, 0, 0, read_esr, write_esr},
    [0x30] = {R | W, 0x000ccfff, ICR_STATUS, read_icr, write_icr},
    [0x31] = {R | W | NOX2, 0xff000000, 0, read_icr, write_icr},
    [0x32] = {R | W, 0x000700ff, 0x1000, read_lvt, write_lvt}, /* timer */
    [0x33] = {R | W, 0x000107ff, 0x1000, read_lvt, write_lvt}, /* thermal sensor */
    [0x34] = {R | W, 0x000107ff, 0x1000, read_lvt, write_lvt}, /* performance counters */
    [0x35] = {R | W, 0x0001a7ff, 0x5000, read_lvt, write_lvt}, /* LINT0 */
    [0x36] = {R | W, 0x0001a7ff, 0x5000, read_lvt, write_lvt}, /* LINT1 */
    [0x37] = {R | W, 0x000100ff, 0x1000, read_lvt, write_lvt}, /* error */
    [0x38] = {R | W, 0xffffffff, 0, read_initial, write_initial},
    [0x39] = {R, 0, 0, read_current, NULL},
    [0x3e] = {R | W, 0xb, 0, read_divide, write_divide},
    [0x3f] = {W | NOX, 0xff, 0, NULL, write_self_ipi},
};

static u32 writable_bits(const struct apic *a, unsigned reg)
{
    u32 mask = regs[reg].writable;
    if (reg == REG_LVT + LVT_TIMER && !a->cfg.tsc_deadline)
        mask &= ~BIT(18);
    return mask;
}

/* xAPIC: registers lie 16 bytes apart, and only their first four bytes are there. */

u32 apic_mmio_read(void *apic, u32 off)
{
    struct apic *a = apic;
    unsigned reg = off >> 4 & (REG_COUNT - 1);
    const struct apic_reg *row = &regs[reg];
    u32 v = 0;

    loop_lock(a->cfg.loop);
    if (off >= REG_COUNT << 4 || !row->access || row->access & NOX)
        apic_error(a, ESR_ILLEGAL_REGISTER);
    else if (row->access & R && (off & 15) < 4)
        v = row->read(a, reg) >> (off & 3) * 8;
    loop_unlock(a->cfg.loop);
    return v;
}

void apic_mmio_write(void *apic, u32 off, u32 value)
{
    struct apic *a = apic;
    unsigned reg = off >> 4 & (REG_COUNT - 1);
    const struct apic_reg *row = &regs[reg];

    loop_lock(a->cfg.loop);
    if (off >= REG_COUNT << 4 || !row->access || row->access & NOX)
        apic_error(a, ESR_ILLEGAL_REGISTER);
    else if (row->access & (W | WX) && !(off & 15))
        row->write(a, reg, value & writable_bits(a, reg));
    loop_unlock(a->cfg.loop);
}

/* x2APIC */

static int x2apic_read(struct apic *a, unsigned reg, u64 *value)
{
    if (!apic_x2apic(a) || reg >= REG_COUNT || !(regs[reg].access & R) || regs[reg].access & NOX2)
        return -EPERM;
    *value = reg == REG_ICR ? a->s.icr : regs[reg].read(a, reg);
    return 0;
}

static int x2apic_write(struct apic *a, unsigned reg, u64 value)
{
    if (!apic_x2apic(a) || reg >= REG_COUNT || !(regs[reg].access & W) || regs[reg].access & NOX2)
        return -EPERM;
    u32 writable = writable_bits(a, reg);
    if ((u32)value & ~(writable | regs[reg].read_only))
        return -EPERM;
    if (reg == REG_ICR)
        a->s.icr = value; /* the destination is in the upper half of this one register */
    else if (value >> 32)
        return -EPERM;
    regs[reg].write(a, reg, (u32)value & writable);
    return 0;
}

/*
 * "x2APIC State Transitions": x2APIC mode is entered from xAPIC mode only, and left only by disabling. A disabled APIC
 * loses its state.
 */
static int base_write(struct apic *a, u64 v)
{
    u64 old = a->s.base;
    u64 valid = (BIT64(a->cfg.phys_bits) - 1) & ~0xfffull;
    valid |= BASE_BSP | BASE_EN | (a->cfg.x2apic ? BASE_EXTD : 0);
    bool enabled = v & BASE_EN, x2apic = v & BASE_EXTD;

    if (v & ~valid || (x2apic && !enabled))
        return -EPERM;
    if (x2apic && !(old & BASE_EN))
        return -EPERM;
    if (old & BASE_EXTD && enabled && !x2apic)
        return -EPERM;

    a->s.base = v;
    if (old & BASE_EN && !enabled) {
        a->s.id = (u8)a->cfg.id;
        apic_reset_registers(a, false);
    }
    if (x2apic && !(old & BASE_EXTD))
        a->s.icr = 0;
    if (a->cpu_ops)
        a->cpu_ops->base_changed(a->cpu, v);
    apic_update(a);
    return 0;
}

static int msr_read_locked(struct apic *a, u32 msr, u64 *value)
{
    switch (msr) {
    case MSR_APIC_BASE:
        *value = a->s.base;
        return 0;
    case MSR_TSC_DEADLINE:
        *value = apic_timer_read_deadline(a);
        return a->cfg.tsc_deadline ? 0 : -EPERM;
    default:
        return x2apic_read(a, msr - MSR_X2APIC, value);
    }
}

static int msr_write_locked(struct apic *a, u32 msr, u64 value)
{
    switch (msr) {
    case MSR_APIC_BASE:
        return base_write(a, value);
    case MSR_TSC_DEADLINE:
        if (!a->cfg.tsc_deadline)
            return -EPERM;
        apic_timer_write_deadline(a, value);
        return 0;
    default:
        return x2apic_write(a, msr - MSR_X2APIC, value);
    }
}

int apic_msr_read(void *apic, u32 msr, u64 *value)
{
    struct apic *a = apic;
    loop_lock(a->cfg.loop);
    int status = msr_read_locked(a, msr, value);
    loop_unlock(a->cfg.loop);
    return status;
}

int apic_msr_write(void *apic, u32 msr, u64 value)
{
    struct apic *a = apic;
    loop_lock(a->cfg.loop);
    int status = msr_write_locked(a, msr, value);
    loop_unlock(a->cfg.loop);
    return status;
}
