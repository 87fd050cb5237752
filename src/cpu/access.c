/*
 * Memory operands in segments that are not flat, and the stack. SDM volume 3 section 5.3 (limit checking), 5.4 (type
 * checking), volume 1 section 6.2 (stacks).
 */
#include "cpu/access.h"

#include "cpu/segment.h"

/* An expand-down segment holds what lies above its limit, up to 64 KiB or 4 GiB by its B bit. */
bool seg_holds(const struct cpu_seg *s, u64 offset, unsigned size)
{
    u64 last = offset + size - 1;
    if ((s->attr & (DA_CODE | DA_EXPAND)) == DA_EXPAND)
        return offset > s->limit && last <= (s->attr & DA_DB ? 0xffffffff : 0xffff);
    return last <= s->limit;
}

static bool seg_allows(const struct cpu *c, const struct cpu_seg *s, enum mmu_access a)
{
    if (cpu_real_mode(c) || cpu_v86(c))
        return true;
    if (!(s->attr & DA_P))
        return false;
    if (a == MMU_WRITE)
        return (s->attr & (DA_CODE | DA_WRITE)) == DA_WRITE;
    return (s->attr & (DA_CODE | DA_WRITE)) != DA_CODE || a == MMU_EXEC;
}

u64 seg_linear_slow(struct cpu *c, unsigned seg, u64 offset, unsigned size, enum mmu_access a)
{
    const struct cpu_seg *s = &c->seg[seg];
    if (c->flat)
        return offset + c->seg_base[seg];
    if (!seg_allows(c, s, a) || !seg_holds(s, offset, size))
        cpu_fault_code(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    return (u32)(s->base + offset);
}

u64 op_rmw_probe(struct cpu *c, const struct insn *i, unsigned size)
{
    u64 linear = op_linear(c, i, size, MMU_WRITE);
    mmu_probe(c, c->mmu_index, linear, size, MMU_WRITE);
    return linear;
}

static u64 stack_mask(const struct cpu *c)
{
    return ~0ull >> (64 - 8 * c->stack_size);
}

/* Linear address of `size` bytes at SS:sp. Non-canonical ones are #SS here, while the paging code would say #GP. */
static u64 stack_linear(struct cpu *c, u64 sp, unsigned size, enum mmu_access a)
{
    u64 linear = seg_linear(c, SEG_SS, sp, size, a);
    if (unlikely(c->flat && (!addr_is_canonical(linear) || !addr_is_canonical(linear + size - 1))))
        cpu_fault_code(c, EXC_SS, 0);
    return linear;
}

static void store_sized(struct cpu *c, unsigned index, u64 linear, u64 v, unsigned size)
{
    if (size == 8)
        mmu_store_u64(c, index, linear, v);
    else if (size == 4)
        mmu_store_u32(c, index, linear, (u32)v);
    else
        mmu_store_u16(c, index, linear, (u16)v);
}

static u64 load_sized(struct cpu *c, unsigned index, u64 linear, unsigned size)
{
    if (size == 8)
        return mmu_load_u64(c, index, linear);
    return size == 4 ? mmu_load_u32(c, index, linear) : mmu_load_u16(c, index, linear);
}

void stack_push(struct cpu *c, u64 v, unsigned size)
{
    u64 sp = (c->gpr[R_SP] - size) & stack_mask(c);
    store_sized(c, c->mmu_index, stack_linear(c, sp, size, MMU_WRITE), v, size);
    gpr_set(c, R_SP, sp, c->stack_size);
}

u64 stack_peek(struct cpu *c, unsigned n, unsigned size)
{
    u64 sp = (c->gpr[R_SP] + n) & stack_mask(c);
    return load_sized(c, c->mmu_index, stack_linear(c, sp, size, MMU_READ), size);
}

u64 stack_pop(struct cpu *c, unsigned size)
{
    u64 v = stack_peek(c, 0, size);
    stack_add(c, size);
    return v;
}

void stack_add(struct cpu *c, i64 n)
{
    gpr_set(c, R_SP, c->gpr[R_SP] + (u64)n, c->stack_size);
}

void stack_current(struct cpu *c, struct stack *s, bool flat)
{
    s->flat = flat || c->flat;
    s->ss = &c->seg[SEG_SS];
    s->mask = s->flat ? ~0ull : stack_mask(c);
    s->sp = c->gpr[R_SP] & s->mask;
    s->index = c->mmu_index;
    s->code = 0;
}

void stack_other(struct cpu *c, struct stack *s, const struct cpu_seg *ss, u64 sp, unsigned cpl)
{
    s->flat = !ss;
    s->ss = ss;
    s->mask = !ss ? ~0ull : ss->attr & DA_DB ? 0xffffffff : 0xffff;
    s->sp = sp & s->mask;
    s->index = cpu_mmu_index(c, cpl);
    s->code = ss ? sel_code(ss->sel) : 0;
}

/* The type of s->ss was checked when it was loaded; only the current one can be unusable. */
static u64 stack_at(struct cpu *c, const struct stack *s, unsigned size)
{
    if (s->flat) {
        if (!addr_is_canonical(s->sp) || !addr_is_canonical(s->sp + size - 1))
            cpu_fault_code(c, EXC_SS, 0);
        return s->sp;
    }
    if (!seg_present(s->ss) || !seg_holds(s->ss, s->sp, size))
        cpu_fault_code(c, EXC_SS, s->code);
    return (u32)(s->ss->base + s->sp);
}

void stack_put(struct cpu *c, struct stack *s, u64 v, unsigned size)
{
    s->sp = (s->sp - size) & s->mask;
    store_sized(c, s->index, stack_at(c, s, size), v, size);
}

u64 stack_get(struct cpu *c, struct stack *s, unsigned size)
{
    u64 v = load_sized(c, s->index, stack_at(c, s, size), size);
    s->sp = (s->sp + size) & s->mask;
    return v;
}

void stack_set(struct cpu *c, const struct stack *s)
{
    gpr_set(c, R_SP, s->sp, s->mask == ~0ull ? 8 : s->mask == 0xffffffff ? 4 : 2);
}
