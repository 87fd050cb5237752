/*
 * Machine code under construction: a buffer, and the host's instructions by the names that isa/table gives them. All
 * bytes come from isa/encode.c, but for jumps within the code cache, which have no row of their own in guest code.
 *
 * Errors are remembered, not returned: `ok` is false once something did not fit or could not be encoded, and what is in
 * the buffer must then not be used.
 *
 * Jumps are kept off the ends of 32-byte lines: Intel's processors of the Skylake kind do not keep a line whose jump
 * crosses its end, or ends there, in their cache of decoded instructions (Intel, "Mitigations for Jump Conditional Code
 * Erratum"), and loops took up to twice the time for that.
 */
#ifndef ENGINE_TRANSLATE_EMIT_H
#define ENGINE_TRANSLATE_EMIT_H

#include "isa/encode.h"

struct emit {
    u8 *buf;
    unsigned len, size;
    u64 run; /* address from which buf[0] will run */
    bool ok;
    bool dense; /* jumps stand wherever they come */
    u8 held;    /* what HOST_T holds, by its user's numbers; 0: nothing. Any instruction that writes HOST_T ends it */
    unsigned fuse; /* length of the last instruction, if the host may take it and a conditional jump for one */
};

static inline u64 emit_here(const struct emit *e)
{
    return e->run + e->len;
}

/* False if the instruction cannot be encoded; nothing is added then and `ok` stays. */
bool emit_try(struct emit *e, const struct insn *i);

static inline void emit_insn(struct emit *e, struct insn i)
{
    if (!emit_try(e, &i))
        e->ok = false;
}

static inline void emit_reg(struct emit *e, enum isa_row_id row, unsigned reg, unsigned rm, bool wide)
{
    emit_insn(e, insn_reg(row, (u8)reg, (u8)rm, wide));
}

static inline void emit_mem(struct emit *e, enum isa_row_id row, unsigned reg, struct insn_ea ea, bool wide)
{
    emit_insn(e, insn_mem(row, (u8)reg, ea, wide));
}

static inline struct insn insn_with_imm(struct insn i, u64 imm)
{
    i.imm = imm;
    return i;
}

/* Memory at gs:[index * 8 + disp]; index may be REG_ZERO. */
static inline struct insn insn_gs(enum isa_row_id row, unsigned reg, unsigned index, i32 disp, bool wide)
{
    struct insn_ea ea = {.base = REG_ZERO, .index = (u8)index, .scale = index == REG_ZERO ? 0 : 3, .disp = disp};
    struct insn i = insn_mem(row, (u8)reg, ea, wide);
    i.seg = SEG_GS;
    return i;
}

static inline void emit_gs(struct emit *e, enum isa_row_id row, unsigned reg, i32 disp)
{
    emit_insn(e, insn_gs(row, reg, REG_ZERO, disp, true));
}

/* PEXT or PDEP (`row`) of `from` to `to`, with the mask at gs:[disp]. Flags stay. */
void emit_bits(struct emit *e, enum isa_row_id row, unsigned to, unsigned from, i32 disp);
/* The arithmetic flags to EAX, as c->ax_flags has them (its upper half is 0), and back. Back, EAX is lost. */
void emit_flags_to_ax(struct emit *e);
void emit_flags_from_ax(struct emit *e);
/* mov r64, value in its shortest form. Flags stay. */
void emit_mov_imm(struct emit *e, unsigned reg, u64 value);
/* mov qword gs:[disp], value */
void emit_gs_imm(struct emit *e, i32 disp, i32 value);

/* Direct jumps; those with holes return the offset of the displacement, to be bound here or patched later. */
void emit_jmp(struct emit *e, u64 target);
unsigned emit_jmp_hole(struct emit *e);
unsigned emit_jcc_hole(struct emit *e, unsigned cc);
/* The same with displacements that lie in one aligned word of 8 bytes, so that they can be changed while they are run.
 */
unsigned emit_jmp_link(struct emit *e);
unsigned emit_jcc_link(struct emit *e, unsigned cc);
unsigned emit_jrcxz_hole(struct emit *e);
/* lea r64, [rip + hole]: the address that the hole is bound to. */
unsigned emit_lea_hole(struct emit *e, unsigned reg);
void emit_bind(struct emit *e, unsigned hole);       /* 32 bits */
void emit_bind_short(struct emit *e, unsigned hole); /* 8 bits */
void emit_aim(struct emit *e, unsigned hole, u64 target);
/* jmp qword gs:[index * 8 + disp] */
void emit_jmp_gs(struct emit *e, unsigned index, i32 disp);
/* Fills up with INT3. */
void emit_align(struct emit *e, unsigned to);

#endif
