/*
 * The doors: every way in which the outside world can reach a machine, one function each. Record and replay stand here.
 * A device or a processor that needs the time, randomness or outside bytes calls a door, never the host.
 */
#ifndef EVENT_DOOR_H
#define EVENT_DOOR_H

#include "base/types.h"

struct loop;

/* Virtual time in ns. Any thread. Same as vclock_now(loop_clock(l)). */
u64 door_time(struct loop *l);

/* Wall-clock time, ns since the epoch: what a real-time clock shows at power-on. Any thread. */
u64 door_wall_time(struct loop *l);

/* Fills with random bytes from the host. Any thread. */
void door_random(struct loop *l, void *buf, size_t len);

/* Bytes that arrived for a console-like device, on their way from back end to device. Lock held. Returns len. */
size_t door_input(struct loop *l, const void *buf, size_t len);

/* The moment an interrupt is taken: called by the processor with the vector, after it was acknowledged and before it is
 * delivered. Any processor thread. */
void door_interrupt(struct loop *l, unsigned cpu, u8 vector);

#endif
