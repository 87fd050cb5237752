/*
 * x87 and MMX state in translated code: it lives in the host's registers from the first x87 or MMX instruction of
 * translated code on, and goes back to where semantics look for it when they need it. Internal to engine/translate.
 *
 * Only while all exceptions are masked and none is pending (FLAVOUR_X87): then no instruction traps, and of what FSTENV
 * tells about the last instruction only its address changes (cpu/sem/x87.h). Translated code notes that in the frame,
 * since what the host notes is the host's address. C code of ours uses no x87 but in semantics, and signal handlers get
 * registers of their own.
 *
 * A block that has such instructions looks in its beginning whether the state is there, and leaves if not; wherever
 * else it is entered, who does so sees to it.
 */
#ifndef ENGINE_TRANSLATE_X87_H
#define ENGINE_TRANSLATE_X87_H

#include "cpu/sem/x87.h"
#include "engine/translate/translate.h"

static inline bool x87_lives(const struct cpu *c)
{
    return !c->frame[FRAME_X87_AWAY];
}

/* What FLAVOUR_X87 stands for. True as well while it lives in the host. */
static inline bool x87_may_live(const struct cpu *c)
{
    return !(c->cr0 & (CR0_EM | CR0_TS)) && !(~c->fcw & FSW_EXCEPTIONS) && !(c->fsw & FSW_ES);
}

/* May its semantics look at this state? */
bool x87_is_used(const struct insn *i);
/* Does it come out as itself under FLAVOUR_X87? */
bool x87_translates(const struct insn *i);

/* x87_may_live, and it does not yet. */
void x87_load(struct translator *t);
/* If it lives in the host. */
void x87_save(struct translator *t);

#endif
