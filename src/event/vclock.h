/*
 * Inside of the virtual clock; for event/ only.
 *
 * virtual = host - offset while it runs, `frozen` while it is paused or manual. Readers take no lock: a sequence count,
 * odd while a writer is at work, tells them to read again.
 */
#ifndef EVENT_VCLOCK_H
#define EVENT_VCLOCK_H

#include "event/clock.h"

struct vclock {
    _Atomic u32 sequence;
    _Atomic u64 offset;
    _Atomic u64 frozen;
    _Atomic bool stopped;
    bool manual; /* tests: stands still but for vclock_step */
    unsigned pauses;
    u64 manual_wall; /* wall-clock time at virtual 0 while manual */
    /* Running turned to stopped or back: the alarm no longer fits. */
    void (*changed)(void *opaque);
    void *opaque;
};

void vclock_init(struct vclock *c, void (*changed)(void *opaque), void *opaque);
/* Host time at which the clock will show `ns`, UINT64_MAX for never. Lock held. */
u64 vclock_to_host(const struct vclock *c, u64 ns);
void vclock_set_manual(struct vclock *c, u64 wall_ns);
/* Manual clocks only. */
void vclock_step(struct vclock *c, u64 to);

#endif
