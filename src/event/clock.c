/*
 * The virtual clock (event/clock.h, event/vclock.h).
 */
#include "event/vclock.h"

#include "host/clock.h"

void vclock_init(struct vclock *c, void (*changed)(void *opaque), void *opaque)
{
    *c = (struct vclock){.offset = host_clock_ns(), .changed = changed, .opaque = opaque};
}

u64 vclock_now(const struct vclock *c)
{
    for (;;) {
        u32 before = c->sequence;
        bool stopped = c->stopped;
        u64 frozen = c->frozen, offset = c->offset;
        /* Read inside the bracket: a pause that falls between offset and time would show as a jump. */
        u64 host = stopped ? 0 : host_clock_ns();
        if (!(before & 1) && before == c->sequence)
            return stopped ? frozen : host - offset;
    }
}

static void clock_stop(struct vclock *c)
{
    c->sequence++;
    c->frozen = host_clock_ns() - c->offset; /* no earlier than what any reader was given */
    c->stopped = true;
    c->sequence++;
    c->changed(c->opaque);
}

static void clock_start(struct vclock *c)
{
    c->sequence++;
    c->offset = host_clock_ns() - c->frozen;
    c->stopped = false;
    c->sequence++;
    c->changed(c->opaque);
}

void vclock_pause(struct vclock *c)
{
    if (c->pauses++ == 0 && !c->manual)
        clock_stop(c);
}

void vclock_resume(struct vclock *c)
{
    if (--c->pauses == 0 && !c->manual)
        clock_start(c);
}

u64 vclock_to_host(const struct vclock *c, u64 ns)
{
    if (c->stopped || ns > UINT64_MAX - c->offset)
        return UINT64_MAX;
    return ns + c->offset;
}

void vclock_set_manual(struct vclock *c, u64 wall_ns)
{
    c->manual = true;
    c->manual_wall = wall_ns;
    if (!c->stopped)
        clock_stop(c);
    vclock_step(c, 0);
}

void vclock_step(struct vclock *c, u64 to)
{
    c->sequence++;
    c->frozen = to;
    c->sequence++;
}
