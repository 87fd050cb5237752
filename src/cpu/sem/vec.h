/*
 * What the vector semantics share: registers, memory operands of 1 to 32 bytes, the MMX view of the x87 registers.
 */
#ifndef CPU_SEM_VEC_H
#define CPU_SEM_VEC_H

#include "cpu/access.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

#define MXCSR_FLAGS   0x003fu
#define MXCSR_IE      BIT(0)
#define MXCSR_DE      BIT(1)
#define MXCSR_ZE      BIT(2)
#define MXCSR_UE      BIT(4)
#define MXCSR_DAZ     BIT(6)
#define MXCSR_MASKS   0x1f80u
#define MXCSR_UM      BIT(11)
#define MXCSR_FTZ     BIT(15)
#define MXCSR_DEFAULT 0x1f80u
/* Bits that may be set: the MXCSR_MASK of FXSAVE. */
#define MXCSR_VALID   0xffffu

/* Register n, low word first. Legacy instructions change [0] and [1] only. */
static ALWAYS_INLINE u64 *vec_reg(struct cpu *c, unsigned n)
{
    return &c->ymm[4 * n];
}

static ALWAYS_INLINE void vec_set128(struct cpu *c, unsigned n, u64 lo, u64 hi)
{
    u64 *v = vec_reg(c, n);
    v[0] = lo;
    v[1] = hi;
}

static ALWAYS_INLINE void vec_set256(struct cpu *c, unsigned n, u64 a, u64 b, u64 d, u64 e)
{
    u64 *v = vec_reg(c, n);
    v[0] = a;
    v[1] = b;
    v[2] = d;
    v[3] = e;
}

/* Operands of up to 8 bytes obey alignment checks (#AC), larger ones do not. */
static inline void vec_load_slow(struct cpu *c, u64 linear, void *buf, unsigned size)
{
    if (size <= 8) {
        u64 v = mmu_load_slow(c, c->mmu_index, linear, size);
        __builtin_memcpy(buf, &v, size);
    } else {
        mmu_load_bytes(c, c->mmu_index, linear, buf, size);
    }
}

static inline void vec_store_slow(struct cpu *c, u64 linear, const void *buf, unsigned size)
{
    if (size <= 8) {
        u64 v = 0;
        __builtin_memcpy(&v, buf, size);
        mmu_store_slow(c, c->mmu_index, linear, v, size);
    } else {
        mmu_store_bytes(c, c->mmu_index, linear, buf, size);
    }
}

/* The memory operand, to be read before the guest gets to run again: where it is on the host, or its copy in `buf`. */
static ALWAYS_INLINE const void *vec_load(struct cpu *c, u64 linear, void *buf, unsigned size)
{
    const void *host = tlb_host_read(c, linear, size);
    if (likely(host))
        return host;
    vec_load_slow(c, linear, buf, size);
    return buf;
}

static ALWAYS_INLINE void vec_store(struct cpu *c, u64 linear, const void *buf, unsigned size)
{
    void *host = tlb_host_write(c, linear, size);
    if (likely(host))
        __builtin_memcpy(host, buf, size);
    else
        vec_store_slow(c, linear, buf, size);
}

/* MMX register n is the significand of physical x87 register n. The callers of rows with A_MMX see to TOP and the tags
 * (check.h). */
static ALWAYS_INLINE u64 mmx_get(const struct cpu *c, unsigned n)
{
    return c->st[2 * n];
}

/* What a write to register n does to the sign and exponent: all ones. */
static ALWAYS_INLINE void mmx_wrote(struct cpu *c, unsigned n)
{
    c->st[2 * n + 1] = 0xffff;
}

static ALWAYS_INLINE void mmx_set(struct cpu *c, unsigned n, u64 v)
{
    c->st[2 * n] = v;
    mmx_wrote(c, n);
}

#endif
