/*
 * Virtual time: nanoseconds since the machine was made, standing still while it is paused. Every clock a guest can read
 * (TSC, PIT, HPET, PM timer, local APIC timer) is derived from it. It is one of the doors of event/door.h: nothing else
 * in the machine may ask the host for the time.
 */
#ifndef EVENT_CLOCK_H
#define EVENT_CLOCK_H

#include "base/types.h"

struct vclock;

/* Any thread; never goes backwards on one thread or across threads that synchronise. */
u64 vclock_now(const struct vclock *c);
/* With the machine lock held. Nested pauses are counted. */
void vclock_pause(struct vclock *c);
void vclock_resume(struct vclock *c);

/* Ticks of a counter of `hz` at virtual time `ns`: floor(ns * hz / 1e9), without overflow; and the earliest time at
 * which a counter shows at least `ticks`: ceil. */
static inline u64 ns_to_ticks(u64 ns, u64 hz)
{
    if (hz == 1000000000u) /* what our processors have: a division of 128 bits is no small thing */
        return ns;
    return (u64)((u128)ns * hz / 1000000000u);
}

static inline u64 ticks_to_ns(u64 ticks, u64 hz)
{
    u128 ns = ((u128)ticks * 1000000000u + hz - 1) / hz;
    return ns > UINT64_MAX ? UINT64_MAX : (u64)ns;
}

#endif
