/*
 * High precision event timers (IA-PC HPET specification 1.0a).
 *
 * The main counter is virtual time in ticks plus `offset` while it is enabled, `counter` while it is halted. A
 * comparator matches at the tick in which the counter reaches it; `seen` is the counter up to which matches have been
 * acted upon. Host timers are set for enabled comparators only, so a timer that does not interrupt costs nothing;
 * periods that were missed become one interrupt.
 */
#include "dev/pc/hpet.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "event/clock.h"
#include "event/door.h"
#include "event/loop.h"
#include "mem/space.h"

#define PERIOD_FS    (1000000000000000ull / HPET_HZ)
#define MATCH_MIN_NS 20000u /* between two interrupts of a periodic timer */
#define NEVER        UINT64_MAX

#define GCAP_ID       0x000
#define GEN_CONF      0x010
#define GINTR_STA     0x020
#define MAIN_CNT      0x0f0
#define TIMER0        0x100
#define TIMER_STRIDE  0x20
#define TN_CONF       0x00
#define TN_COMPARATOR 0x08

#define CONF_ENABLE BIT64(0)
#define CONF_LEGACY BIT64(1)

#define TN_LEVEL       BIT64(1)
#define TN_INT_ENB     BIT64(2)
#define TN_PERIODIC    BIT64(3)
#define TN_PER_CAP     BIT64(4)
#define TN_SIZE_CAP    BIT64(5)
#define TN_VAL_SET     BIT64(6)
#define TN_32MODE      BIT64(8)
#define TN_ROUTE_SHIFT 9
/* Level, enable, periodic, VAL_SET, 32-bit, route. */
#define TN_WRITABLE    0x3f4eull

#define HPET_STATE(F, A, S)                                                                                            \
    F(u64, config, 1)                                                                                                  \
    F(u32, status, 1)                                                                                                  \
    F(u64, counter, 1) /* while halted */                                                                              \
    F(u64, offset, 1)  /* while enabled */                                                                             \
    A(u64, tn_config, HPET_TIMERS, 1)                                                                                  \
    A(u64, comparator, HPET_TIMERS, 1)                                                                                 \
    A(u64, period, HPET_TIMERS, 1)                                                                                     \
    A(u64, seen, HPET_TIMERS, 1)                                                                                       \
    A(bool, high_follows, HPET_TIMERS, 1) /* VAL_SET still holds for the upper half */
STATE_DECLARE(hpet_state, HPET_STATE)
STATE_DEFINE(hpet_state, HPET_STATE, 1)

struct hpet_timer {
    struct timer timer;
    struct hpet *hpet;
    unsigned n;
};

struct hpet {
    struct dev dev;
    struct hpet_state s;
    struct hpet_config cfg;
    struct hpet_timer t[HPET_TIMERS];
    struct mem_window window;
};

static bool enabled(const struct hpet *h)
{
    return h->s.config & CONF_ENABLE;
}

static u64 counter_now(const struct hpet *h)
{
    return enabled(h) ? ns_to_ticks(door_time(h->cfg.loop), HPET_HZ) + h->s.offset : h->s.counter;
}

static u64 width_mask(const struct hpet *h, unsigned n)
{
    return h->s.tn_config[n] & TN_32MODE ? 0xffffffffull : ~0ull;
}

static bool is_periodic(const struct hpet *h, unsigned n)
{
    return h->s.tn_config[n] & TN_PERIODIC && (h->s.period[n] & width_mask(h, n));
}

/* Interrupts */

static const struct irq_line *route(const struct hpet *h, unsigned n)
{
    if (h->s.config & CONF_LEGACY && n < 2)
        return &h->cfg.legacy[n];
    return &h->cfg.pin[(h->s.tn_config[n] >> TN_ROUTE_SHIFT & 31) % HPET_PINS];
}

static bool route_valid(const struct hpet *h, unsigned n)
{
    unsigned pin = h->s.tn_config[n] >> TN_ROUTE_SHIFT & 31;
    return (h->s.config & CONF_LEGACY && n < 2) || (pin < HPET_PINS && h->cfg.route_cap & BIT(pin));
}

/* A level interrupt stands while its status bit does. */
static void level_drive(struct hpet *h, unsigned n)
{
    u64 c = h->s.tn_config[n];
    if (c & TN_LEVEL && route_valid(h, n))
        irq_set(route(h, n), c & TN_INT_ENB && h->s.status & BIT(n));
}

static void match(struct hpet *h, unsigned n)
{
    u64 c = h->s.tn_config[n];
    if (c & TN_LEVEL) {
        h->s.status |= BIT(n);
        level_drive(h, n);
    } else if (c & TN_INT_ENB && route_valid(h, n)) {
        irq_pulse(route(h, n));
    }
}

/* Ticks from counter value `from` until the comparator matches: 1 up to a whole turn of the counter; NEVER if that is
 * 2^64. */
static u64 ticks_to_match(const struct hpet *h, unsigned n, u64 from)
{
    u64 mask = width_mask(h, n);
    u64 distance = (h->s.comparator[n] - from) & mask;
    return distance ? distance : mask == ~0ull ? NEVER : mask + 1;
}

static void timer_arm(struct hpet *h, unsigned n, u64 earliest_ns)
{
    struct timer *t = &h->t[n].timer;
    u64 c = h->s.tn_config[n];
    timer_cancel(t);
    if (!enabled(h) || !(c & TN_INT_ENB) || (c & TN_LEVEL && h->s.status & BIT(n)))
        return;
    u64 distance = ticks_to_match(h, n, h->s.seen[n]);
    u64 tick = h->s.seen[n] - h->s.offset; /* in ticks of virtual time */
    if (distance > NEVER - tick)
        return;
    u64 ns = ticks_to_ns(tick + distance, HPET_HZ);
    if (ns != NEVER)
        timer_set(t, ns > earliest_ns ? ns : earliest_ns);
}

/* Acts upon the matches up to now: one interrupt at most. A periodic comparator moves on past the counter. */
static void timer_sync(struct hpet *h, unsigned n)
{
    if (!enabled(h))
        return;
    u64 now = counter_now(h), from = h->s.seen[n];
    u64 distance = ticks_to_match(h, n, from);
    h->s.seen[n] = now;
    if (now - from < distance)
        return;
    if (is_periodic(h, n)) {
        u64 mask = width_mask(h, n), period = h->s.period[n] & mask;
        u64 missed = (now - from - distance) / period;
        h->s.comparator[n] = (h->s.comparator[n] + (missed + 1) * period) & mask;
    }
    match(h, n);
}

static void timer_update(struct hpet *h, unsigned n)
{
    timer_sync(h, n);
    timer_arm(h, n, 0);
}

static void timer_fire(void *opaque)
{
    struct hpet_timer *t = opaque;
    struct hpet *h = t->hpet;
    timer_sync(h, t->n);
    timer_arm(h, t->n, door_time(h->cfg.loop) + (is_periodic(h, t->n) ? MATCH_MIN_NS : 0));
}

/* Registers. A write of 32 bits leaves the other half as it was. */

static u64 merge(u64 old, u64 value, u32 off, unsigned size)
{
    if (size == 8)
        return value;
    return off & 4 ? (old & 0xffffffffull) | value << 32 : (old & ~0xffffffffull) | (value & 0xffffffffull);
}

static void legacy_changed(struct hpet *h)
{
    if (h->cfg.legacy_route)
        h->cfg.legacy_route(h->cfg.opaque, h->s.config & CONF_LEGACY);
}

static void write_config(struct hpet *h, u64 v)
{
    u64 old = h->s.config;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        timer_sync(h, n);
        if ((old ^ v) & CONF_LEGACY && h->s.tn_config[n] & TN_LEVEL && route_valid(h, n))
            irq_set(route(h, n), false);
    }
    if ((old ^ v) & CONF_ENABLE && v & CONF_ENABLE)
        h->s.offset = h->s.counter - ns_to_ticks(door_time(h->cfg.loop), HPET_HZ);
    else if ((old ^ v) & CONF_ENABLE)
        h->s.counter = counter_now(h);
    h->s.config = v & (CONF_ENABLE | CONF_LEGACY);

    if ((old ^ v) & CONF_LEGACY)
        legacy_changed(h);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        if ((old ^ v) & CONF_ENABLE)
            h->s.seen[n] = counter_now(h);
        level_drive(h, n);
        timer_arm(h, n, 0);
    }
}

static void write_status(struct hpet *h, u64 v)
{
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        timer_sync(h, n);
        if (!(v & BIT(n)) || !(h->s.status & BIT(n)))
            continue;
        h->s.status &= ~BIT(n);
        level_drive(h, n);
        timer_arm(h, n, 0);
    }
}

/* Writing the counter while it runs is undefined; it is taken. */
static void write_counter(struct hpet *h, u64 v)
{
    h->s.counter = v;
    h->s.offset = v - ns_to_ticks(door_time(h->cfg.loop), HPET_HZ);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        h->s.seen[n] = v;
        timer_arm(h, n, 0);
    }
}

static void write_tn_config(struct hpet *h, unsigned n, u64 v)
{
    if (h->s.tn_config[n] & TN_LEVEL && route_valid(h, n))
        irq_set(route(h, n), false);
    h->s.tn_config[n] = v & TN_WRITABLE;
    if (!(v & TN_LEVEL))
        h->s.status &= ~BIT(n);
    if (v & TN_32MODE) {
        h->s.comparator[n] &= 0xffffffff;
        h->s.period[n] &= 0xffffffff;
    }
    h->s.high_follows[n] = false;
    level_drive(h, n);
    timer_update(h, n);
}

/*
 * In periodic mode a write sets the period, and with VAL_SET also the comparator itself. VAL_SET goes off with the
 * write; where that was of the lower half only, it still holds for the upper one if that comes next.
 */
static void write_comparator(struct hpet *h, unsigned n, u64 value, u32 off, unsigned size)
{
    u64 mask = width_mask(h, n);
    bool periodic = h->s.tn_config[n] & TN_PERIODIC;
    bool high = size == 4 && off & 4;
    bool set = h->s.tn_config[n] & TN_VAL_SET || (high && h->s.high_follows[n]);

    if (periodic)
        h->s.period[n] = merge(h->s.period[n], value, off, size) & mask;
    if (!periodic || set)
        h->s.comparator[n] = merge(h->s.comparator[n], value, off, size) & mask;
    h->s.high_follows[n] = set && size == 4 && !high;
    h->s.tn_config[n] &= ~TN_VAL_SET;
    h->s.seen[n] = counter_now(h);
    timer_arm(h, n, 0);
}

static u64 tn_read(struct hpet *h, unsigned n, u32 reg)
{
    switch (reg) {
    case TN_CONF:
        return h->s.tn_config[n] | TN_PER_CAP | TN_SIZE_CAP | (u64)h->cfg.route_cap << 32;
    case TN_COMPARATOR:
        return h->s.comparator[n];
    default:
        return 0; /* no FSB delivery */
    }
}

static u64 reg_read(struct hpet *h, u32 reg)
{
    unsigned n = (reg - TIMER0) / TIMER_STRIDE;
    if (reg >= TIMER0 && n < HPET_TIMERS) {
        timer_update(h, n);
        return tn_read(h, n, (reg - TIMER0) % TIMER_STRIDE);
    }
    switch (reg) {
    case GCAP_ID:
        return PERIOD_FS << 32 | HPET_ID;
    case GEN_CONF:
        return h->s.config;
    case GINTR_STA:
        for (n = 0; n < HPET_TIMERS; n++)
            timer_update(h, n);
        return h->s.status;
    case MAIN_CNT:
        return counter_now(h);
    default:
        return 0;
    }
}

u64 hpet_read(struct hpet *h, u32 off, unsigned size)
{
    u64 v = reg_read(h, off & ~7u) >> (off & 7) * 8;
    return size == 8 ? v : v & ((1ull << size * 8) - 1);
}

void hpet_write(struct hpet *h, u32 off, u64 value, unsigned size)
{
    u32 reg = off & ~7u;
    unsigned n = (reg - TIMER0) / TIMER_STRIDE;
    bool in_timer = reg >= TIMER0 && n < HPET_TIMERS;
    if (in_timer)
        timer_sync(h, n);
    if (in_timer && (reg - TIMER0) % TIMER_STRIDE == TN_COMPARATOR)
        write_comparator(h, n, value, off, size);
    else if (in_timer && (reg - TIMER0) % TIMER_STRIDE == TN_CONF)
        write_tn_config(h, n, merge(h->s.tn_config[n], value, off, size));
    else if (reg == GEN_CONF)
        write_config(h, merge(h->s.config, value, off, size));
    else if (reg == GINTR_STA)
        write_status(h, merge(0, value, off, size));
    else if (reg == MAIN_CNT)
        write_counter(h, merge(counter_now(h), value, off, size));
}

static u64 window_read(void *opaque, u64 off, unsigned size)
{
    return hpet_read(opaque, (u32)off, size);
}

static void window_write(void *opaque, u64 off, u64 value, unsigned size)
{
    if (size >= 4) /* narrower writes are undefined */
        hpet_write(opaque, (u32)off, value, size);
}

static const struct mem_window_ops hpet_ops = {
    .read = window_read, .write = window_write, .min_size = 1, .max_size = 8};

/* Device */

static void *hpet_get_state(struct dev *d)
{
    return &container_of(d, struct hpet, dev)->s;
}

static void hpet_reset(struct dev *d)
{
    struct hpet *h = container_of(d, struct hpet, dev);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        timer_cancel(&h->t[n].timer);
        if (h->s.tn_config[n] & TN_LEVEL && route_valid(h, n))
            irq_set(route(h, n), false);
    }
    bool legacy = h->s.config & CONF_LEGACY;
    memset(&h->s, 0, sizeof(h->s));
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        h->s.comparator[n] = ~0ull;
    if (legacy)
        legacy_changed(h);
}

static void hpet_loaded(struct dev *d)
{
    struct hpet *h = container_of(d, struct hpet, dev);
    h->s.config &= CONF_ENABLE | CONF_LEGACY;
    legacy_changed(h);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        h->s.tn_config[n] &= TN_WRITABLE;
        level_drive(h, n);
        timer_update(h, n);
    }
}

static void hpet_destroy(struct dev *d)
{
    struct hpet *h = container_of(d, struct hpet, dev);
    for (unsigned n = 0; n < HPET_TIMERS; n++)
        timer_cancel(&h->t[n].timer);
    if (h->cfg.mem)
        mem_window_unmap(h->cfg.mem, &h->window);
    free(h);
}

static const struct dev_class hpet_class = {
    .name = "hpet",
    .state = &hpet_state_class,
    .get_state = hpet_get_state,
    .reset = hpet_reset,
    .loaded = hpet_loaded,
    .destroy = hpet_destroy,
};

struct hpet *hpet_create(const struct hpet_config *cfg)
{
    struct hpet *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->dev.cls = &hpet_class;
    h->cfg = *cfg;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        h->t[n].hpet = h;
        h->t[n].n = n;
        timer_init(&h->t[n].timer, cfg->loop, timer_fire, &h->t[n]);
    }
    h->window = (struct mem_window){.ops = &hpet_ops, .opaque = h, .name = "hpet", .size = HPET_SIZE};
    hpet_reset(&h->dev);
    if (cfg->mem && mem_window_map(cfg->mem, &h->window, cfg->base)) {
        free(h);
        return NULL;
    }
    return h;
}
