/*
 * All processors of one machine, and exclusive sections: stretches in which no other processor carries out guest
 * instructions. Used for LOCK where the host cannot do it in one instruction, for protecting pages that turn into code,
 * for pause, save and reset.
 *
 * A processor is either running (between world_enter and world_leave, looking at c->request at every block
 * boundary) or parked. world_exclusive waits until all others are parked. It must not be called with the machine lock
 * held.
 */
#ifndef CPU_WORLD_H
#define CPU_WORLD_H

#include "base/types.h"

struct cpu;
struct world;

struct world *world_create(unsigned cpus);
void world_destroy(struct world *w);
void world_add(struct world *w, struct cpu *c);
unsigned world_count(const struct world *w);
struct cpu *world_cpu(struct world *w, unsigned n);

/* By the processor's thread, around running guest code. world_enter waits while an exclusive section is on. */
void world_enter(struct world *w, struct cpu *c);
void world_leave(struct world *w, struct cpu *c);
/* REQ_PARK was seen: leave and enter. */
void world_park(struct world *w, struct cpu *c);

/* `self` is the calling processor (running), or NULL for another thread. Cheap with one processor. */
void world_exclusive(struct world *w, struct cpu *self);
void world_exclusive_end(struct world *w, struct cpu *self);

/* cpu_request to all but `self`. */
void world_request(struct world *w, struct cpu *self, u32 req);

/* Sleep of a halted processor: returns when c->request has a bit or the INTR line and IF are up. Parked meanwhile. */
void world_halt(struct world *w, struct cpu *c);
void world_wake(struct world *w, struct cpu *c);

#endif
