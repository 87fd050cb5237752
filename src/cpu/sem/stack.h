/*
 * Push and pop in the cases that matter for speed: a flat stack, 64 or 32 bits wide, in RAM with a translation at hand.
 * All else is cpu/access.h's.
 */
#ifndef CPU_SEM_STACK_H
#define CPU_SEM_STACK_H

#include "cpu/sem/operand.h"

/* *sp cut to the width of a flat stack, and true; false for other stacks. */
static ALWAYS_INLINE bool stack_is_flat(const struct cpu *c, u64 *sp)
{
    if (likely(c->stack_size == 8))
        return true;
    *sp = (u32)*sp;
    return c->stack_size == 4 && (c->flat_segs >> SEG_SS & 1);
}

#define STACK_FAST(T)                                                                                                  \
    static ALWAYS_INLINE void push_##T(struct cpu *c, T v)                                                             \
    {                                                                                                                  \
        u64 sp = c->gpr[R_SP] - sizeof(T);                                                                             \
        void *p = stack_is_flat(c, &sp) ? tlb_host_write(c, sp, sizeof(T)) : NULL;                                     \
        if (unlikely(!p)) {                                                                                            \
            stack_push(c, v, sizeof(T));                                                                               \
            return;                                                                                                    \
        }                                                                                                              \
        host_store_##T(p, v);                                                                                          \
        c->gpr[R_SP] = sp;                                                                                             \
    }                                                                                                                  \
    /* The value on top, without a change to SP. */                                                                    \
    static ALWAYS_INLINE T peek_##T(struct cpu *c)                                                                     \
    {                                                                                                                  \
        u64 sp = c->gpr[R_SP];                                                                                         \
        void *p = stack_is_flat(c, &sp) ? tlb_host_read(c, sp, sizeof(T)) : NULL;                                      \
        return likely(p) ? host_load_##T(p) : (T)stack_peek(c, 0, sizeof(T));                                          \
    }
STACK_FAST(u16)
STACK_FAST(u32)
STACK_FAST(u64)
#undef STACK_FAST

/* SP += n in the stack's width. */
static ALWAYS_INLINE void stack_drop(struct cpu *c, u64 n)
{
    if (likely(c->stack_size == 8))
        c->gpr[R_SP] += n;
    else
        stack_add(c, (i64)n);
}

#endif
