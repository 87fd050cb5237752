/*
 * The local APIC: priorities, acceptance and end of interrupts, local interrupts. SDM volume 3 chapter 10 (11 in newer
 * editions), "Advanced Programmable Interrupt Controller".
 *
 * Invariants: `intr` is what the processor believes; apic_update runs after every change it depends on. Local entries
 * are masked while the APIC is software-disabled. Trigger mode of what is in IRR or ISR is in TMR.
 */
#include <stdlib.h>
#include <string.h>

#include "dev/pc/apic_priv.h"
#include "dev/pc/pic.h"

STATE_DEFINE(apic_state, APIC_STATE, 1)

/* Vectors */

static bool vector_test(const u32 reg[8], u8 v)
{
    return reg[v / 32] & BIT(v % 32);
}

static void vector_put(u32 reg[8], u8 v, bool on)
{
    if (on)
        reg[v / 32] |= BIT(v % 32);
    else
        reg[v / 32] &= ~BIT(v % 32);
}

int apic_highest(const u32 reg[8])
{
    for (int i = 7; i >= 0; i--)
        if (reg[i])
            return i * 32 + 31 - __builtin_clz(reg[i]);
    return -1;
}

/* Priority class as it stands in bits 7:4; 0 if there is no vector. */
static u32 class_of(int vector)
{
    return vector < 0 ? 0 : (u32)vector & 0xf0;
}

u32 apic_ppr(const struct apic *a)
{
    u32 in_service = class_of(apic_highest(a->s.isr));
    return (a->s.tpr & 0xf0) >= in_service ? a->s.tpr : in_service;
}

u32 apic_apr(const struct apic *a)
{
    u32 tpr = a->s.tpr & 0xf0;
    u32 request = class_of(apic_highest(a->s.irr)), in_service = class_of(apic_highest(a->s.isr));
    if (tpr >= request && tpr > in_service)
        return a->s.tpr;
    return request > in_service ? request : in_service;
}

/* The vector that may interrupt the processor now, or -1. */
static int deliverable(const struct apic *a)
{
    int v = apic_highest(a->s.irr);
    return class_of(v) > (apic_ppr(a) & 0xf0) ? v : -1;
}

/* A disabled APIC passes LINT0 on as the INTR pin of a processor that has none. */
static bool extint_waits(const struct apic *a)
{
    u32 lvt = a->s.lvt[LVT_LINT0];
    if (!a->cfg.bus->pic)
        return false;
    if (!apic_enabled(a))
        return a->s.lint[0];
    return a->s.extint || (a->s.lint[0] && !(lvt & LVT_MASKED) && LVT_MODE(lvt) == DM_EXTINT);
}

void apic_update(struct apic *a)
{
    bool intr = extint_waits(a) || (apic_enabled(a) && deliverable(a) >= 0);
    if (intr == a->intr || !a->cpu_ops)
        return;
    a->intr = intr;
    a->cpu_ops->set_intr(a->cpu, intr);
}

/* Acceptance */

static int apic_accept(void *apic)
{
    struct apic *a = apic;
    int v = -1;

    loop_lock(a->cfg.loop);
    if (extint_waits(a)) {
        a->s.extint = false;
        v = pic_ack(a->cfg.bus->pic);
    } else if (apic_enabled(a) && (v = deliverable(a)) >= 0) {
        vector_put(a->s.irr, (u8)v, false);
        vector_put(a->s.isr, (u8)v, true);
    }
    apic_update(a);
    loop_unlock(a->cfg.loop);
    return v;
}

static void lint_eoi(struct apic *a, unsigned n, u8 vector)
{
    u32 *lvt = &a->s.lvt[LVT_LINT0 + n];
    if (*lvt & LVT_REMOTE_IRR && (u8)*lvt == vector) {
        *lvt &= ~LVT_REMOTE_IRR;
        apic_lint_check(a, n);
    }
}

void apic_eoi(struct apic *a)
{
    struct apic_bus *bus = a->cfg.bus;
    int v = apic_highest(a->s.isr);
    if (v < 0)
        return;
    vector_put(a->s.isr, (u8)v, false);
    if (vector_test(a->s.tmr, (u8)v)) {
        lint_eoi(a, 0, (u8)v);
        lint_eoi(a, 1, (u8)v);
        if (!(a->s.svr & SVR_SUPPRESS_EOI) && bus->eoi)
            bus->eoi(bus->eoi_opaque, (u8)v);
    }
    apic_update(a);
}

static void receive_vector(struct apic *a, u8 vector, bool level)
{
    if (!apic_software_enabled(a))
        return;
    if (vector < VECTOR_FIRST) {
        apic_error(a, ESR_RECEIVE_ILLEGAL);
        return;
    }
    vector_put(a->s.irr, vector, true);
    vector_put(a->s.tmr, vector, level);
    apic_update(a);
}

void apic_receive(struct apic *a, const struct apic_message *m)
{
    if (!apic_enabled(a) || !a->cpu_ops)
        return;
    switch (m->mode) {
    case DM_FIXED:
    case DM_LOWEST:
        receive_vector(a, m->vector, m->level);
        break;
    case DM_SMI:
        a->cpu_ops->smi(a->cpu);
        break;
    case DM_NMI:
        a->cpu_ops->nmi(a->cpu);
        break;
    case DM_INIT:
        a->cpu_ops->init(a->cpu);
        break;
    case DM_SIPI:
        a->cpu_ops->sipi(a->cpu, m->vector);
        break;
    case DM_EXTINT:
        a->s.extint = true;
        apic_update(a);
        break;
    }
}

/* Local interrupts */

void apic_deliver_local(struct apic *a, enum lvt_index n)
{
    u32 lvt = a->s.lvt[n];
    if (lvt & LVT_MASKED)
        return;
    struct apic_message m = {.mode = LVT_MODE(lvt), .vector = (u8)lvt};
    if (n == LVT_TIMER || n == LVT_ERROR)
        m.mode = DM_FIXED; /* have no delivery mode */
    if (m.mode == DM_LOWEST || m.mode == DM_SIPI || m.mode == DM_EXTINT)
        return; /* reserved; a level of LINT0 as ExtINT is apic_update's */
    m.level = (n == LVT_LINT0 || n == LVT_LINT1) && m.mode == DM_FIXED && lvt & LVT_LEVEL;
    if (n == LVT_ERROR && m.vector < VECTOR_FIRST)
        a->s.errors |= ESR_RECEIVE_ILLEGAL; /* an error about the error would have no end */
    else
        apic_receive(a, &m);
}

void apic_error(struct apic *a, u32 bit)
{
    a->s.errors |= bit;
    apic_deliver_local(a, LVT_ERROR);
}

void apic_lint_check(struct apic *a, unsigned n)
{
    u32 *lvt = &a->s.lvt[LVT_LINT0 + n];
    if (!a->s.lint[n] || LVT_MODE(*lvt) != DM_FIXED || !(*lvt & LVT_LEVEL) || *lvt & (LVT_MASKED | LVT_REMOTE_IRR))
        return;
    *lvt |= LVT_REMOTE_IRR;
    apic_deliver_local(a, LVT_LINT0 + n);
}

void apic_lint(struct apic *a, unsigned n, bool level)
{
    u32 lvt = a->s.lvt[LVT_LINT0 + n];
    bool rising = level && !a->s.lint[n];
    a->s.lint[n] = level;

    if (!apic_enabled(a)) {
        if (n == 1 && rising && a->cpu_ops)
            a->cpu_ops->nmi(a->cpu); /* the NMI pin of a processor without APIC */
    } else if (LVT_MODE(lvt) == DM_FIXED && lvt & LVT_LEVEL) {
        apic_lint_check(a, n);
    } else if (rising) {
        apic_deliver_local(a, LVT_LINT0 + n);
    }
    apic_update(a);
}

/* Task priority by CR8: present even while the APIC is disabled. Only its own processor writes TPR. */

static u8 apic_get_cr8(void *apic)
{
    const struct apic *a = apic;
    return (u8)(a->s.tpr >> 4);
}

static void apic_set_cr8(void *apic, u8 value)
{
    struct apic *a = apic;
    loop_lock(a->cfg.loop);
    a->s.tpr = (u32)(value & 15) << 4;
    apic_update(a);
    loop_unlock(a->cfg.loop);
}

/* Reset */

/*
 * LINT0 of the bootstrap processor comes out of RESET as ExtINT, where the manual has it masked: guests that run
 * without firmware and know the 8259s only depend on it.
 */
void apic_reset_registers(struct apic *a, bool cold)
{
    struct apic_state *s = &a->s;
    struct apic_state old = *s;
    *s = (struct apic_state){.base = old.base, .id = cold ? (u8)a->cfg.id : old.id, .dfr = 0xffffffff, .svr = 0xff};
    memcpy(s->lint, old.lint, sizeof(s->lint)); /* the lines belong to whoever drives them */
    for (unsigned n = 0; n < LVT_COUNT; n++)
        s->lvt[n] = LVT_MASKED;
    if (a->cfg.id == 0 && cold)
        s->lvt[LVT_LINT0] = DM_EXTINT << 8;
    timer_cancel(&a->timer);
    apic_update(a);
}

static void apic_tsc_changed(void *apic)
{
    struct apic *a = apic;
    loop_lock(a->cfg.loop);
    apic_timer_tsc_changed(a);
    loop_unlock(a->cfg.loop);
}

static void reset_locked(struct apic *a, bool cold)
{
    if (cold) {
        a->s.base = APIC_BASE_DEFAULT | BASE_EN | (a->cfg.id == 0 ? BASE_BSP : 0);
        if (a->cpu_ops)
            a->cpu_ops->base_changed(a->cpu, a->s.base);
    }
    apic_reset_registers(a, cold);
}

static void apic_reset_op(void *apic, bool cold)
{
    struct apic *a = apic;
    loop_lock(a->cfg.loop);
    reset_locked(a, cold);
    loop_unlock(a->cfg.loop);
}

void apic_virtual_wire(struct apic *a)
{
    a->s.svr |= SVR_ENABLE;
    a->s.lvt[LVT_LINT0] = DM_EXTINT << 8;
    a->s.lvt[LVT_LINT1] = DM_NMI << 8;
    apic_update(a);
}

const struct apic_ops apic_ops = {
    .accept = apic_accept,
    .get_cr8 = apic_get_cr8,
    .set_cr8 = apic_set_cr8,
    .mmio_read = apic_mmio_read,
    .mmio_write = apic_mmio_write,
    .msr_read = apic_msr_read,
    .msr_write = apic_msr_write,
    .reset = apic_reset_op,
    .tsc_changed = apic_tsc_changed,
};

/* Device */

static void *apic_get_state(struct dev *d)
{
    return &container_of(d, struct apic, dev)->s;
}

static void apic_reset_dev(struct dev *d)
{
    reset_locked(container_of(d, struct apic, dev), true);
}

static void apic_loaded(struct dev *d)
{
    struct apic *a = container_of(d, struct apic, dev);
    if (!(a->s.base & BASE_EN) || !a->cfg.x2apic)
        a->s.base &= ~BASE_EXTD;
    a->s.tpr &= 0xff;
    a->s.divide &= 0xb;
    a->s.running = a->s.running && a->s.initial_count && a->s.start_count;
    if (a->cpu_ops) {
        a->cpu_ops->base_changed(a->cpu, a->s.base);
        a->intr = false;
        a->cpu_ops->set_intr(a->cpu, false);
    }
    apic_timer_arm(a);
    apic_update(a);
}

static void apic_destroy(struct dev *d)
{
    struct apic *a = container_of(d, struct apic, dev);
    timer_cancel(&a->timer);
    a->cfg.bus->apic[a->cfg.id] = NULL;
    free(a);
}

static const struct dev_class apic_class = {
    .name = "apic",
    .state = &apic_state_class,
    .get_state = apic_get_state,
    .reset = apic_reset_dev,
    .loaded = apic_loaded,
    .destroy = apic_destroy,
};

struct apic *apic_create(const struct apic_config *cfg)
{
    struct apic_bus *bus = cfg->bus;
    if (cfg->id >= APIC_BUS_MAX || bus->apic[cfg->id])
        return NULL;
    struct apic *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->dev = (struct dev){.cls = &apic_class, .instance = cfg->id};
    a->cfg = *cfg;
    timer_init(&a->timer, cfg->loop, apic_timer_fire, a);
    bus->apic[cfg->id] = a;
    if (bus->count <= cfg->id)
        bus->count = cfg->id + 1;
    reset_locked(a, true);
    return a;
}

void apic_connect_cpu(struct apic *a, const struct apic_cpu_ops *ops, void *cpu)
{
    a->cpu_ops = ops;
    a->cpu = cpu;
    a->intr = false;
    ops->base_changed(cpu, a->s.base);
    apic_update(a);
}
