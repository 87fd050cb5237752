/*
 * Operands by type name, for the templates of cpu/sem: reg_get_u32(c, n), reg_set_u32(c, n, v), and host addresses of
 * memory operands that are plain RAM with a translation at hand.
 */
#ifndef CPU_SEM_OPERAND_H
#define CPU_SEM_OPERAND_H

#include "cpu/access.h"

static ALWAYS_INLINE u8 reg_get_u8(const struct cpu *c, unsigned n)
{
    return ((const u8 *)c->gpr)[(n & 15) * 8 + (n >> 4)];
}

static ALWAYS_INLINE u16 reg_get_u16(const struct cpu *c, unsigned n)
{
    return (u16)c->gpr[n];
}

static ALWAYS_INLINE u32 reg_get_u32(const struct cpu *c, unsigned n)
{
    return (u32)c->gpr[n];
}

static ALWAYS_INLINE u64 reg_get_u64(const struct cpu *c, unsigned n)
{
    return c->gpr[n];
}

static ALWAYS_INLINE void reg_set_u8(struct cpu *c, unsigned n, u8 v)
{
    *gpr8(c, n) = v;
}

/* One 16-bit store: the upper bits stay as they are in memory. */
static ALWAYS_INLINE void reg_set_u16(struct cpu *c, unsigned n, u16 v)
{
    *(u16 *)&c->gpr[n] = v;
}

static ALWAYS_INLINE void reg_set_u32(struct cpu *c, unsigned n, u32 v)
{
    c->gpr[n] = v;
}

static ALWAYS_INLINE void reg_set_u64(struct cpu *c, unsigned n, u64 v)
{
    c->gpr[n] = v;
}

/* Address arithmetic in a width of 16, 32 or 64 bits, given as insn.ashift: SI, DI, CX in string instructions and
 * loops. */
static ALWAYS_INLINE u64 areg_get(const struct cpu *c, const struct insn *i, unsigned n)
{
    return c->gpr[n] << i->ashift >> i->ashift;
}

static ALWAYS_INLINE void areg_set(struct cpu *c, const struct insn *i, unsigned n, u64 v)
{
    if (i->ashift == 48)
        reg_set_u16(c, n, (u16)v);
    else
        c->gpr[n] = v << i->ashift >> i->ashift;
}

/* Does the TLB allow this access with nothing more to do? The entry's addend then leads to host memory. */
static ALWAYS_INLINE const struct tlb_entry *tlb_entry_of(const struct cpu *c, u64 linear)
{
    return &c->data_set[mmu_slot(linear)];
}

static ALWAYS_INLINE void *tlb_host_read(const struct cpu *c, u64 linear, unsigned size)
{
    const struct tlb_entry *e = tlb_entry_of(c, linear);
    return likely(e->read == mmu_tag(c, linear, size)) ? (void *)(linear + e->addend) : NULL;
}

static ALWAYS_INLINE void *tlb_host_write(const struct cpu *c, u64 linear, unsigned size)
{
    const struct tlb_entry *e = tlb_entry_of(c, linear);
    return likely(e->write == mmu_tag(c, linear, size)) ? (void *)(linear + e->addend) : NULL;
}

/* Both rights: a page may be writable without being readable (shadow RAM, breakpoints). */
static ALWAYS_INLINE void *tlb_host_rmw(const struct cpu *c, u64 linear, unsigned size)
{
    const struct tlb_entry *e = tlb_entry_of(c, linear);
    u64 tag = mmu_tag(c, linear, size);
    return likely(((e->write ^ tag) | (e->read ^ tag)) == 0) ? (void *)(linear + e->addend) : NULL;
}

/* M(type, bits) for the operand sizes that SEM_V and SEM_VRM name. */
#define SEM_WIDE(M)  M(u16, 16) M(u32, 32) M(u64, 64)
/* For SEM_Y and SEM_YRM. */
#define SEM_DWIDE(M) M(u32, 32) M(u64, 64)

#endif
