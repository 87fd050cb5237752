/*
 * The doors (event/door.h). They stand open: what comes in passes unchanged. Record and replay will stand here.
 */
#include "event/door.h"

#include "event/loop.h"
#include "event/vclock.h"
#include "host/clock.h"
#include "host/random.h"

u64 door_time(struct loop *l)
{
    return vclock_now(loop_clock(l));
}

u64 door_wall_time(struct loop *l)
{
    const struct vclock *c = loop_clock(l);
    return c->manual ? c->manual_wall + vclock_now(c) : host_wall_ns();
}

void door_random(struct loop *l, void *buf, size_t len)
{
    (void)l;
    host_random(buf, len);
}

size_t door_input(struct loop *l, const void *buf, size_t len)
{
    (void)l;
    (void)buf;
    return len;
}

void door_interrupt(struct loop *l, unsigned cpu, u8 vector)
{
    (void)l;
    (void)cpu;
    (void)vector;
}
