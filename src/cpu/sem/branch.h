/*
 * Near branch targets: the checks that JMP, Jcc, CALL, RET and LOOP share. A target outside the code segment, or not
 * canonical in 64-bit code, is #GP(0) at the branch.
 */
#ifndef CPU_SEM_BRANCH_H
#define CPU_SEM_BRANCH_H

#include "cpu/fault.h"
#include "cpu/sem/operand.h"

/* Cuts the target to the operand size. False if it cannot be jumped to. */
static ALWAYS_INLINE bool branch_allowed(const struct cpu *c, const struct insn *i, u64 *target)
{
    if (likely(c->mode == ISA_64))
        return likely((u64)sign_extend(*target, 48) == *target);
    *target = i->opsize == 2 ? (u16)*target : (u32)*target;
    return likely(*target <= c->seg[SEG_CS].limit);
}

static ALWAYS_INLINE u64 branch_check(struct cpu *c, const struct insn *i, u64 target)
{
    if (!branch_allowed(c, i, &target))
        cpu_gp(c, 0);
    return target;
}

static ALWAYS_INLINE u64 branch_relative(struct cpu *c, const struct insn *i)
{
    return branch_check(c, i, cpu_next_rip(c) + i->imm);
}

#endif
