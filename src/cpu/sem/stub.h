/*
 * Host stubs: a piece of host code for each distinct vector instruction (row, immediate, W, L, memory or register form)
 * that a guest uses.
 *
 * A stub loads canonical registers from the guest's state, carries out the row's instruction on them, and stores what
 * it wrote. Nothing of the guest's bytes gets into it but what isa/encode.c makes from a decoded row: only rows marked
 * A_HOST, register numbers are ours, the memory operand is [r8], and what is left of the guest's is the immediate byte.
 * A_HOST rows touch no memory but that operand.
 *
 * One set belongs to each processor, is made with it, and is used by its owner's thread only.
 */
#ifndef CPU_SEM_STUB_H
#define CPU_SEM_STUB_H

#include "cpu/cpu.h"

/*
 * reg, vvvv, is4: four times the guest's register number. rm: the same, or the host address of the memory operand,
 * which must have the row's size and, in legacy rows, its alignment. Rows with A_FPEXC run under `mxcsr` and return it
 * with the flags they raised.
 */
typedef u32 vec_stub_fn(struct cpu *c, u64 reg, u64 vvvv, u64 is4, u64 rm, u32 mxcsr);

struct vec_stub {
    u64 key;
    vec_stub_fn *run;
    u8 mem_size;  /* of the memory operand; 0 in register forms */
    u8 dest;      /* enum isa_slot of the explicit destination, SLOT_NONE if there is none or it is memory */
    u8 dest_file; /* enum isa_file */
};

/* The stub for this instruction. Unwinds with #UD (and a message in the log) if the host gives no memory for code. */
const struct vec_stub *vec_stub_find(struct cpu *c, const struct insn *i);

/* True unless the feature is one that hosts often lack (SHA, VAES, VPCLMUL) and this one does: those rows have routines
 * in C as well. */
bool vec_host_has(struct cpu *c, enum isa_feature f);

/* Makes c->stubs, empty. Done with the processor: once a guest runs, the sandbox lets nobody map code. False, with a
 * message in the log, if the host gives no memory for code. */
bool vec_stubs_create(struct cpu *c) MUST_CHECK;
/* Frees c->stubs; the set is made again when it is needed. */
void vec_stubs_free(struct cpu *c);

#endif
