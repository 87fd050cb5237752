/*
 * Read-modify-write of memory operands, with and without LOCK (SDM volume 3 section 9.1).
 *
 * The operation is a function old -> new that may set c->ax_flags and nothing else: it may be called again when another
 * processor was faster. rmw_T returns the old value, for instructions that keep it (XADD, XCHG, CMPXCHG). Faults come
 * first and as those of a write.
 *
 * LOCK becomes a compare-and-swap on the host where the operand lies inside one cache line of RAM. Elsewhere (across
 * lines and pages, windows, ROM) the access is done in an exclusive section: split locks cost the host dear or are
 * refused by it.
 */
#ifndef CPU_SEM_LOCK_H
#define CPU_SEM_LOCK_H

#include "cpu/sem/operand.h"

/* Runs body(c, arg) with no other processor running; a fault inside ends the section before it goes on. */
void lock_section(struct cpu *c, void (*body)(struct cpu *c, void *arg), void *arg);

/* Host address for an atomic access, or NULL where a section is needed. Raises the faults of a write. */
void *lock_host(struct cpu *c, u64 linear, unsigned size);

#define LOCK_RMW(T)                                                                                                    \
    typedef T rmw_op_##T(struct cpu *c, const struct insn *i, T old);                                                  \
    T lock_rmw_##T(struct cpu *c, const struct insn *i, u64 linear, rmw_op_##T *op);                                   \
    T rmw_slow_##T(struct cpu *c, const struct insn *i, u64 linear, rmw_op_##T *op);                                   \
    static ALWAYS_INLINE T rmw_##T(struct cpu *c, const struct insn *i, u64 linear, rmw_op_##T *op)                    \
    {                                                                                                                  \
        if (unlikely(i->lock))                                                                                         \
            return lock_rmw_##T(c, i, linear, op);                                                                     \
        void *p = tlb_host_rmw(c, linear, sizeof(T));                                                                  \
        if (unlikely(!p))                                                                                              \
            return rmw_slow_##T(c, i, linear, op);                                                                     \
        T old = host_load_##T(p);                                                                                      \
        host_store_##T(p, op(c, i, old));                                                                              \
        return old;                                                                                                    \
    }
LOCK_RMW(u8)
LOCK_RMW(u16)
LOCK_RMW(u32)
LOCK_RMW(u64)
#undef LOCK_RMW

/* CMPXCHG16B: true if *linear was `expected` and is `desired` now; `expected` gets the old value. */
bool lock_cmpxchg_u128(struct cpu *c, u64 linear, u64 expected[2], const u64 desired[2]);

#endif
