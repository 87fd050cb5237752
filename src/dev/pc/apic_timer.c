/*
 * The local APIC's timer: one-shot, periodic, TSC deadline. SDM volume 3, "APIC Timer".
 *
 * The count is not kept: it follows from the time at which it stood at start_count. A host timer is set only while an
 * expiry would raise an interrupt, so a masked timer costs nothing; when the host is late, periods that have passed
 * become one interrupt.
 *
 * Invariant: a host timer that is due is fired (settle) before anything that it depends on is read or changed.
 */
#include "dev/pc/apic_priv.h"
#include "event/clock.h"
#include "event/door.h"

/* Shortest distance between two expiries of a periodic timer. */
#define PERIOD_MIN_NS 20000u

static enum timer_mode mode_of(const struct apic *a)
{
    return LVT_TIMER_MODE(a->s.lvt[LVT_TIMER]);
}

/* Divide configuration register: 000 divides by 2, ... 110 by 128, 111 by 1. */
static unsigned divide_shift(const struct apic *a)
{
    u32 d = a->s.divide;
    return ((d & 3) + (d >> 1 & 4) + 1) & 7;
}

static u64 elapsed(const struct apic *a, u64 now)
{
    return ns_to_ticks(now - a->s.start_ns, a->cfg.hz) >> divide_shift(a);
}

static u32 count_at(const struct apic *a, u64 now)
{
    if (!a->s.running)
        return 0;
    u64 ticks = elapsed(a, now);
    if (ticks < a->s.start_count)
        return a->s.start_count - (u32)ticks;
    if (mode_of(a) != TIMER_PERIODIC)
        return 0;
    return a->s.initial_count - (u32)((ticks - a->s.start_count) % a->s.initial_count);
}

/* Virtual time of the first expiry after `now`. */
static u64 next_expiry(const struct apic *a, u64 now)
{
    u64 ticks = elapsed(a, now) + count_at(a, now);
    return a->s.start_ns + ticks_to_ns(ticks << divide_shift(a), a->cfg.hz);
}

void apic_timer_arm(struct apic *a)
{
    timer_cancel(&a->timer);
    if (a->s.lvt[LVT_TIMER] & LVT_MASKED)
        return;
    if (mode_of(a) == TIMER_DEADLINE) {
        if (a->s.tsc_deadline && a->cpu_ops)
            timer_set(&a->timer, a->cpu_ops->tsc_to_ns(a->cpu, a->s.tsc_deadline));
        return;
    }
    u64 now = door_time(a->cfg.loop);
    if (count_at(a, now))
        timer_set(&a->timer, next_expiry(a, now));
}

void apic_timer_stop(struct apic *a)
{
    timer_cancel(&a->timer);
    a->s.running = false;
    a->s.initial_count = 0;
    a->s.tsc_deadline = 0;
}

void apic_timer_fire(void *opaque)
{
    struct apic *a = opaque;
    if (mode_of(a) == TIMER_DEADLINE) {
        if (a->cpu_ops->tsc_now(a->cpu) < a->s.tsc_deadline) {
            apic_timer_arm(a); /* the TSC was set back meanwhile */
            return;
        }
        a->s.tsc_deadline = 0;
    } else if (mode_of(a) == TIMER_PERIODIC) {
        u64 now = door_time(a->cfg.loop);
        u64 next = next_expiry(a, now);
        timer_set(&a->timer, next > now + PERIOD_MIN_NS ? next : now + PERIOD_MIN_NS);
    } else {
        a->s.running = false;
    }
    apic_deliver_local(a, LVT_TIMER);
}

static void settle(struct apic *a)
{
    if (a->timer.armed && a->timer.deadline <= door_time(a->cfg.loop)) {
        timer_cancel(&a->timer);
        apic_timer_fire(a);
    }
}

/* Counts on from here, so that mode or divider may change. A one-shot that has expired stands. */
static void fold(struct apic *a)
{
    u64 now = door_time(a->cfg.loop);
    u32 count = count_at(a, now);
    if (!count) {
        a->s.running = false;
        return;
    }
    a->s.start_ns += ticks_to_ns(elapsed(a, now) << divide_shift(a), a->cfg.hz);
    if (a->s.start_ns > now)
        a->s.start_ns = now;
    a->s.start_count = count;
}

u32 apic_timer_current(struct apic *a)
{
    settle(a);
    return mode_of(a) == TIMER_DEADLINE ? 0 : count_at(a, door_time(a->cfg.loop));
}

void apic_timer_write_initial(struct apic *a, u32 value)
{
    if (mode_of(a) == TIMER_DEADLINE)
        return;
    settle(a);
    a->s.initial_count = a->s.start_count = value;
    a->s.start_ns = door_time(a->cfg.loop);
    a->s.running = value != 0;
    apic_timer_arm(a);
}

void apic_timer_write_divide(struct apic *a, u32 value)
{
    settle(a);
    fold(a);
    a->s.divide = value;
    apic_timer_arm(a);
}

/* Between one-shot and periodic the count goes on; to and from TSC-deadline mode disarms. */
void apic_timer_write_lvt(struct apic *a, u32 value)
{
    settle(a);
    fold(a);
    bool was_deadline = mode_of(a) == TIMER_DEADLINE;
    (void)apic_timer_read_deadline(a);
    a->s.lvt[LVT_TIMER] = value;
    if (was_deadline != (mode_of(a) == TIMER_DEADLINE))
        apic_timer_stop(a);
    apic_timer_arm(a);
}

/* A deadline that passes while the entry is masked expires without a host timer. */
u64 apic_timer_read_deadline(struct apic *a)
{
    if (mode_of(a) != TIMER_DEADLINE || !a->s.tsc_deadline)
        return 0;
    settle(a);
    if (a->s.tsc_deadline && !a->timer.armed && a->cpu_ops->tsc_now(a->cpu) >= a->s.tsc_deadline)
        a->s.tsc_deadline = 0;
    return a->s.tsc_deadline;
}

void apic_timer_write_deadline(struct apic *a, u64 value)
{
    if (mode_of(a) != TIMER_DEADLINE)
        return;
    settle(a);
    a->s.tsc_deadline = value;
    apic_timer_arm(a);
    settle(a);
}

void apic_timer_tsc_changed(struct apic *a)
{
    if (mode_of(a) != TIMER_DEADLINE)
        return;
    apic_timer_arm(a);
    settle(a);
}
