/*
 * The way in and out of translated code: pieces of code made once for each code cache.
 *
 * In translated code the guest's registers are in the host's, number by number, but for three: host RCX and R14 are
 * scratch, guest RCX is in host R15, and guest R14 and R15 stay in c->gpr. RSP too is the guest's: there is no stack,
 * and signal handlers run on one of their own (host/trap.h). The arithmetic flags are in EFLAGS, DF is 0. Vector
 * registers and MXCSR are the guest's. x87 and MMX registers are the host's. gs is the window's base.
 */
#ifndef ENGINE_TRANSLATE_GLUE_H
#define ENGINE_TRANSLATE_GLUE_H

#include "base/error.h"
#include "engine/translate/frame.h"
#include "host/code.h"

enum host_reg {
    HOST_AX,
    HOST_T, /* RCX: scratch */
    HOST_DX,
    HOST_BX,
    HOST_SP,
    HOST_BP,
    HOST_SI,
    HOST_DI,
    HOST_T2 = 14, /* scratch */
    HOST_CX = 15, /* the guest's RCX */
};

/* Why translated code was left; c->frame[FRAME_REASON]. FRAME_ARG holds what HOST_T held, or what fault.c put there. */
enum glue_reason {
    GLUE_CALL,     /* an instruction is to be carried out by its semantics; arg: its number (block.h) */
    GLUE_LINK,     /* a direct jump that is not linked yet; arg: its number */
    GLUE_INDIRECT, /* an indirect jump; arg: the target */
    GLUE_DEAD,     /* a block whose code was changed; arg: its number */
    GLUE_REQUEST,  /* entered not at all: c->request */
    GLUE_FAULT,    /* the host faulted in an instruction; arg: its number. Nothing of it is done */
    GLUE_ASYNC,    /* a kick, between instructions: gpr[REG_RIP] is the next */
    GLUE_ASTRAY,   /* as GLUE_FAULT, where code that is right does not fault */
};

struct glue {
    /* Host addresses. All run with the guest's registers in place and leave. */
    u64 exit_call, exit_link, exit_indirect, exit_dead; /* HOST_T: the argument */
    u64 exit_common;                                    /* frame words set already */
    u64 syscall, sysret;                                /* ring.h */
    u64 tsc;                                            /* tsc.h */
    u64 enter;                                          /* enum glue_reason (*)(struct cpu *c, const void *host) */
    u64 begin, end; /* while the program counter is in here, guest state is on its way between memory and registers */
};

/* Makes the pieces at the start of an empty area. */
int glue_make(struct glue *g, struct code_area *area, struct error *err);
void glue_init_frame(struct cpu *c);

static inline enum glue_reason glue_enter(const struct glue *g, struct cpu *c, u64 host)
{
    return ((enum glue_reason(*)(struct cpu *, u64))g->enter)(c, host);
}

#endif
