/*
 * Implements tsc_read of engine/translate/tsc.h.
 */
#include "engine/translate/tsc.h"

#include "event/clock.h"
#include "event/door.h"

u64 tsc_read(struct cpu *c)
{
    return ns_to_ticks(door_time(c->loop), c->tsc_hz) + c->tsc_offset;
}
