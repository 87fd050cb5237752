/*
 * Changes of privilege without leaving translated code: STAC, CLAC, SYSCALL and SYSRET in 64-bit mode. Internal to
 * engine/translate.
 *
 * What changes is the window: gs gets the base of a peer (WIN_PEERS), by WRGSBASE, and c->rflags, c->cpl, CS and SS are
 * what the semantics would leave. What follows from these (c->mmu_index, the current window) is behind until the code
 * is left: FRAME_MOVED says so, and ring_settle makes up for it before anything else is done. The window in gs is never
 * one that lets more through than c->cpl and RFLAGS.AC do.
 *
 * Only the common case: flags are those that kernels mask at SYSCALL and programs have at SYSRET. What SYSCALL and
 * SYSRET go by (MSRs, CR4) is looked at beforehand, and kept in the frame until it changes. Everything else, and a
 * space whose other window was not in use yet, is left to the semantics.
 */
#ifndef ENGINE_TRANSLATE_RING_H
#define ENGINE_TRANSLATE_RING_H

#include "engine/translate/translate.h"

struct emit;

/* Makes glue->syscall and glue->sysret. */
void ring_make(struct glue *g, struct emit *e);

/* The semantics of i were carried out: notes what SYSCALL and SYSRET go by, or forgets what may not be so any more. */
void ring_note(struct translator *t, const struct insn *i);
/* The state was changed by something other than an instruction. */
void ring_forget(struct cpu *c);

/* Translated code was left. */
void ring_catch_up(struct translator *t);
static inline void ring_settle(struct translator *t)
{
    if (t->cpu->frame[FRAME_MOVED])
        ring_catch_up(t);
}

#endif
