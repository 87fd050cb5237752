/*
 * Memory operands: from a decoded instruction to the bytes. Segment checks (SDM volume 3 section 5.3), canonical checks
 * and the choice of #SS or #GP happen here; paging in cpu/mmu.h.
 *
 *     u32 v = op_load_u32(c, i);          // the r/m memory operand
 *     op_store_u32(c, i, v);
 *     u64 lin = op_linear(c, i, 16, MMU_READ);
 */
#ifndef CPU_ACCESS_H
#define CPU_ACCESS_H

#include "cpu/fault.h"
#include "cpu/mmu.h"

/* Offset part of the memory operand: base + (index << scale) + disp, truncated to the address size. */
static ALWAYS_INLINE u64 op_ea(const struct cpu *c, const struct insn *i)
{
    u64 ea = c->gpr[i->base] + (c->gpr[i->index] << i->scale) + (u64)i->disp;
    return ea << i->ashift >> i->ashift;
}

/* The check of a segment that is not flat: limit, type, present; 64-bit canonical form. Faults or returns the linear
 * address. */
NOINLINE u64 seg_linear_slow(struct cpu *c, unsigned seg, u64 offset, unsigned size, enum mmu_access a);

/*
 * Linear address of `size` bytes at seg:offset. In 64-bit mode a non-canonical address is found by the TLB miss that it
 * always is: mmu_*_slow raises #GP(0), or #SS(0) where the access went through the stack segment, which it learns from
 * c->cur; semantics that access the stack implicitly use the stack_* functions below.
 */
static ALWAYS_INLINE u64 seg_linear(struct cpu *c, unsigned seg, u64 offset, unsigned size, enum mmu_access a)
{
    if (likely(c->flat_segs >> seg & 1))
        return offset + c->seg_base[seg];
    return seg_linear_slow(c, seg, offset, size, a);
}

static ALWAYS_INLINE u64 op_linear(struct cpu *c, const struct insn *i, unsigned size, enum mmu_access a)
{
    return seg_linear(c, i->seg, op_ea(c, i), size, a);
}

#define ACCESS_OP(T)                                                                                                   \
    static ALWAYS_INLINE T op_load_##T(struct cpu *c, const struct insn *i)                                            \
    {                                                                                                                  \
        return mmu_load_##T(c, c->mmu_index, op_linear(c, i, sizeof(T), MMU_READ));                                    \
    }                                                                                                                  \
    static ALWAYS_INLINE void op_store_##T(struct cpu *c, const struct insn *i, T v)                                   \
    {                                                                                                                  \
        mmu_store_##T(c, c->mmu_index, op_linear(c, i, sizeof(T), MMU_WRITE), v);                                      \
    }                                                                                                                  \
    static ALWAYS_INLINE T seg_load_##T(struct cpu *c, unsigned seg, u64 offset)                                       \
    {                                                                                                                  \
        return mmu_load_##T(c, c->mmu_index, seg_linear(c, seg, offset, sizeof(T), MMU_READ));                         \
    }                                                                                                                  \
    static ALWAYS_INLINE void seg_store_##T(struct cpu *c, unsigned seg, u64 offset, T v)                              \
    {                                                                                                                  \
        mmu_store_##T(c, c->mmu_index, seg_linear(c, seg, offset, sizeof(T), MMU_WRITE), v);                           \
    }
ACCESS_OP(u8)
ACCESS_OP(u16)
ACCESS_OP(u32)
ACCESS_OP(u64)
#undef ACCESS_OP

/* Read-modify-write operands: faults as a write would, so that the store after the load cannot. Returns the linear
 * address. */
u64 op_rmw_probe(struct cpu *c, const struct insn *i, unsigned size);

/* General registers. A 32-bit write clears the upper half; byte registers by the numbering of struct insn. */
static ALWAYS_INLINE u8 *gpr8(struct cpu *c, unsigned n)
{
    return (u8 *)c->gpr + (n & 15) * 8 + (n >> 4);
}

static ALWAYS_INLINE void gpr_set16(struct cpu *c, unsigned n, u16 v)
{
    c->gpr[n] = (c->gpr[n] & ~0xffffull) | v;
}

/* By size 2, 4 or 8 at run time, for semantics where speed does not matter. */
static inline void gpr_set(struct cpu *c, unsigned n, u64 v, unsigned size)
{
    if (size == 8)
        c->gpr[n] = v;
    else if (size == 4)
        c->gpr[n] = (u32)v;
    else
        gpr_set16(c, n, (u16)v);
}

/* Stack: SP of the current width; #SS on a fault. Push writes before it changes SP. */
void stack_push(struct cpu *c, u64 v, unsigned size);
u64 stack_pop(struct cpu *c, unsigned size);
/* The value `n` bytes above SP, without a change to it; and SP += n in its width. */
u64 stack_peek(struct cpu *c, unsigned n, unsigned size);
void stack_add(struct cpu *c, i64 n);

#endif
