/*
 * What other engines leave to the interpreter (engine/interp): 16- and 32-bit code.
 *
 * Threads: the processor's own; interp_drop also in an exclusive section.
 */
#ifndef ENGINE_NARROW_H
#define ENGINE_NARROW_H

#include "base/types.h"

struct cpu;
struct interp;

/* `arena`: bytes of host memory for decoded code; beside it, tables of half a MiB. NULL when out of memory. */
struct interp *interp_create(u64 arena);
void interp_destroy(struct interp *e);
/* Forgets what was decoded. */
void interp_drop(struct interp *e);
u64 interp_bytes(const struct interp *e);

/* Carries out instructions until c->request has something, the processor is not active any more, or it is in 64-bit
 * mode; at least one. Exceptions unwind to c->unwind. */
void interp_run_narrow(struct cpu *c, struct interp *e);

#endif
