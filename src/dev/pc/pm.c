/*
 * ACPI fixed hardware (ACPI specification chapter 4, "ACPI Hardware Specification"; Intel 82371AB, 290562, function 3).
 *
 * The PM timer is virtual time; its overflow status is found out when somebody looks, and a host timer is set only
 * while an overflow would raise the SCI. `seen` is the timer's extended value up to which overflows have been noted.
 */
#include "dev/pc/pm.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "event/clock.h"
#include "event/door.h"
#include "event/loop.h"
#include "mem/space.h"

/* PM1 status and enable */
#define TMR           BIT(0)
#define BM            BIT(4)
#define GBL           BIT(5)
#define PWRBTN        BIT(8)
#define SLPBTN        BIT(9)
#define RTC           BIT(10)
#define WAK           BIT(15)
#define STS_CLEARABLE (TMR | BM | GBL | PWRBTN | SLPBTN | RTC | WAK)
#define EN_WRITABLE   (TMR | GBL | PWRBTN | SLPBTN | RTC)
/* PM1 control */
#define SCI_EN        BIT(0)
#define SLP_EN        BIT(13)
#define CNT_WRITABLE  0x1c03u /* SLP_TYP, BM_RLD, SCI_EN */
#define SLP_TYP(v)    ((v) >> 10 & 7)

#define PM_STATE(F, A, S)                                                                                              \
    F(u16, status, 1)                                                                                                  \
    F(u16, enable, 1)                                                                                                  \
    F(u16, control, 1)                                                                                                 \
    F(u16, gpe_status, 1)                                                                                              \
    F(u16, gpe_enable, 1)                                                                                              \
    F(u64, seen, 1)
STATE_DECLARE(pm_state, PM_STATE)
STATE_DEFINE(pm_state, PM_STATE, 1)

struct pm {
    struct dev dev;
    struct pm_state s;
    struct pm_config cfg;
    struct timer timer;
    struct mem_window window;
};

/* Ticks since virtual time 0: the register shows the low bits. */
static u64 ticks_now(const struct pm *p)
{
    return ns_to_ticks(door_time(p->cfg.loop), PM_HZ);
}

/* TMR_STS is set whenever the highest bit changes: every so many ticks. */
static u64 half_turn(const struct pm *p)
{
    return p->cfg.timer32 ? 1ull << 31 : 1ull << 23;
}

/* Notes an overflow, drives the SCI, and arranges for the next overflow if that would interrupt. */
static void pm_sync(struct pm *p)
{
    u64 now = ticks_now(p), half = half_turn(p);
    if (now / half != p->s.seen / half)
        p->s.status |= TMR;
    p->s.seen = now;

    bool sci = p->s.status & p->s.enable & EN_WRITABLE || p->s.gpe_status & p->s.gpe_enable;
    irq_set(&p->cfg.sci, sci && p->s.control & SCI_EN);

    timer_cancel(&p->timer);
    if (p->s.control & SCI_EN && p->s.enable & TMR && !(p->s.status & TMR))
        timer_set(&p->timer, ticks_to_ns((now / half + 1) * half, PM_HZ));
}

static void pm_fire(void *opaque)
{
    pm_sync(opaque);
}

void pm_power_button(struct pm *p)
{
    p->s.status |= PWRBTN;
    pm_sync(p);
}

void pm_rtc_alarm(struct pm *p)
{
    p->s.status |= RTC;
    pm_sync(p);
}

void pm_gpe(struct pm *p, unsigned n)
{
    p->s.gpe_status |= (u16)BIT(n & 15);
    pm_sync(p);
}

void pm_acpi_mode(struct pm *p, bool acpi)
{
    p->s.control = (u16)((p->s.control & ~SCI_EN) | (acpi ? SCI_EN : 0));
    pm_sync(p);
}

/* The block, as 16-bit registers; `mask` has the bits of the bytes that are written. */

static u16 reg_read(struct pm *p, u32 off)
{
    switch (off) {
    case PM1A_EVT:
        return p->s.status;
    case PM1A_EVT + 2:
        return p->s.enable;
    case PM1A_CNT:
        return p->s.control;
    case PM_GPE0:
        return p->s.gpe_status;
    case PM_GPE0 + 2:
        return p->s.gpe_enable;
    default:
        return 0;
    }
}

static void write_control(struct pm *p, u16 v)
{
    bool sleep = v & SLP_EN;
    p->s.control = v & CNT_WRITABLE;
    if (!sleep)
        return;
    if (SLP_TYP(v) == p->cfg.s5_type && p->cfg.power_off)
        p->cfg.power_off(p->cfg.opaque);
    else
        p->s.status |= WAK;
}

static void reg_write(struct pm *p, u32 off, u16 value, u16 mask)
{
    u16 set = value & mask;
    switch (off) {
    case PM1A_EVT:
        p->s.status &= (u16) ~(set & STS_CLEARABLE);
        break;
    case PM1A_EVT + 2:
        p->s.enable = (u16)((p->s.enable & ~mask) | set) & EN_WRITABLE;
        break;
    case PM1A_CNT:
        write_control(p, (u16)((p->s.control & ~mask) | set));
        break;
    case PM_GPE0:
        p->s.gpe_status &= (u16)~set;
        break;
    case PM_GPE0 + 2:
        p->s.gpe_enable = (u16)((p->s.gpe_enable & ~mask) | set);
        break;
    }
}

u32 pm_read(struct pm *p, u32 off, unsigned size)
{
    u64 v = 0;
    pm_sync(p);
    /* Two aligned words cover any access; the timer must come from one moment. */
    u32 first = off & ~3u;
    u32 timer = (u32)p->s.seen & (p->cfg.timer32 ? 0xffffffff : 0xffffff);
    for (unsigned i = 0; i < 2; i++) {
        u32 at = first + 4 * i;
        u32 word = at == PM_TMR ? timer : reg_read(p, at) | (u32)reg_read(p, at + 2) << 16;
        v |= (u64)word << 32 * i;
    }
    return (u32)bits(v >> (off & 3) * 8, size * 8 - 1, 0);
}

void pm_write(struct pm *p, u32 off, u32 value, unsigned size)
{
    pm_sync(p);
    u32 first = off & ~1u;
    u64 v = (u64)value << (off & 1) * 8;
    u64 mask = (((1ull << size * 8) - 1)) << (off & 1) * 8;
    for (unsigned i = 0; i < 3 && mask >> 16 * i; i++)
        reg_write(p, first + 2 * i, (u16)(v >> 16 * i), (u16)(mask >> 16 * i));
    pm_sync(p);
}

static u64 block_read(void *opaque, u64 off, unsigned size)
{
    return pm_read(opaque, (u32)off, size);
}

static void block_write(void *opaque, u64 off, u64 value, unsigned size)
{
    pm_write(opaque, (u32)off, (u32)value, size);
}

static const struct mem_window_ops block_ops = {.read = block_read, .write = block_write, .min_size = 1, .max_size = 4};

/* Device */

static void *pm_get_state(struct dev *d)
{
    return &container_of(d, struct pm, dev)->s;
}

static void pm_reset(struct dev *d)
{
    struct pm *p = container_of(d, struct pm, dev);
    p->s = (struct pm_state){.seen = ticks_now(p)};
    pm_sync(p);
}

static void pm_loaded(struct dev *d)
{
    struct pm *p = container_of(d, struct pm, dev);
    p->s.control &= CNT_WRITABLE;
    pm_sync(p);
}

static void pm_destroy(struct dev *d)
{
    struct pm *p = container_of(d, struct pm, dev);
    timer_cancel(&p->timer);
    if (p->cfg.mem)
        mem_port_unmap(p->cfg.mem, &p->window);
    free(p);
}

static const struct dev_class pm_class = {
    .name = "pm",
    .state = &pm_state_class,
    .get_state = pm_get_state,
    .reset = pm_reset,
    .loaded = pm_loaded,
    .destroy = pm_destroy,
};

int pm_map(struct pm *p, u16 base)
{
    if (!p->cfg.mem)
        return 0;
    if (!base) {
        mem_port_unmap(p->cfg.mem, &p->window);
        return 0;
    }
    return mem_port_map(p->cfg.mem, &p->window, base);
}

struct pm *pm_create(const struct pm_config *cfg)
{
    struct pm *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->dev.cls = &pm_class;
    p->cfg = *cfg;
    p->window = (struct mem_window){.ops = &block_ops, .opaque = p, .name = "pm", .size = PM_SIZE};
    timer_init(&p->timer, cfg->loop, pm_fire, p);
    pm_reset(&p->dev);
    return p;
}
