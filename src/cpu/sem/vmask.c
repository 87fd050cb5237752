/*
 * Vector instructions that access memory element by element: masked moves and gathers. Only the elements whose mask bit is set are
 * accessed, and so only they can fault. SDM volume 2, VMASKMOV, VPMASKMOV, MASKMOVDQU, VGATHER*.
 */
#include "cpu/segment.h"
#include "cpu/sem/vec.h"

/* The sign bit of element n. */
static ALWAYS_INLINE bool selected(const u64 *mask, unsigned n, unsigned size)
{
    return ((const u8 *)mask)[n * size + size - 1] & 0x80;
}

/* Elements are exempt from alignment checks. */
static ALWAYS_INLINE unsigned unchecked(const struct cpu *c)
{
    return c->mmu_index == MMU_CHECKED ? MMU_USER : c->mmu_index;
}

static ALWAYS_INLINE u64 load_element(struct cpu *c, u64 linear, unsigned size)
{
    return size == 4 ? mmu_load_u32(c, unchecked(c), linear) : mmu_load_u64(c, unchecked(c), linear);
}

static ALWAYS_INLINE void store_element(struct cpu *c, u64 linear, const u8 *v, unsigned size)
{
    if (size == 4)
        mmu_store_u32(c, unchecked(c), linear, get_u32(v));
    else
        mmu_store_u64(c, unchecked(c), linear, get_u64(v));
}

/* Elements at seg:offset + n * size; the offset wraps at the address size. */
static ALWAYS_INLINE u64 element_linear(struct cpu *c, const struct insn *i, u64 ea, unsigned n, unsigned size,
                                        enum mmu_access a)
{
    u64 offset = (ea + n * size) << i->ashift >> i->ashift;
    return seg_linear(c, i->seg, offset, size, a);
}

/* As soon as one element is selected, all of the operand must be canonical. */
static void check_canonical(struct cpu *c, const struct insn *i, u64 ea, unsigned bytes)
{
    u64 linear = c->seg_base[i->seg] + ea;
    if (c->flat && (!addr_is_canonical(linear) || !addr_is_canonical(linear + bytes - 1)))
        cpu_fault_code(c, i->seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

static ALWAYS_INLINE void mask_load(struct cpu *c, const struct insn *i, unsigned size)
{
    u64 v[4] = {0}, ea = op_ea(c, i);
    const u64 *mask = vec_reg(c, i->vvvv);
    unsigned bytes = 16u << i->vl;
    for (unsigned n = 0; n < bytes / size; n++) {
        if (!selected(mask, n, size))
            continue;
        check_canonical(c, i, ea, bytes);
        u64 e = load_element(c, element_linear(c, i, ea, n, size, MMU_READ), size);
        __builtin_memcpy((u8 *)v + n * size, &e, size);
    }
    __builtin_memcpy(vec_reg(c, i->reg), v, sizeof(v));
}

/* May the element be written? What reaches into a second page is tried at `end`, the last
 * byte of all that is selected: CR2 shows it. */
static void probe_element(struct cpu *c, u64 start, u64 linear, unsigned size, u64 end)
{
    bool second = (linear ^ start) >> 12, crosses = (linear + size - 1) >> 12 != linear >> 12;
    if (!second)
        mmu_probe(c, unchecked(c), linear, 1, MMU_WRITE);
    if (second || crosses)
        mmu_probe(c, unchecked(c), end, 1, MMU_WRITE);
}

/* All elements are looked at before the first is written. */
static ALWAYS_INLINE void mask_store(struct cpu *c, const struct insn *i, unsigned size)
{
    u64 ea = op_ea(c, i), linear[8];
    const u64 *mask = vec_reg(c, i->vvvv);
    const u8 *v = (const u8 *)vec_reg(c, i->reg);
    unsigned bytes = 16u << i->vl, count = bytes / size, last = 0;
    for (unsigned n = 0; n < count; n++) {
        if (!selected(mask, n, size))
            continue;
        check_canonical(c, i, ea, bytes);
        linear[n] = element_linear(c, i, ea, n, size, MMU_WRITE);
        last = n;
    }
    for (unsigned n = 0; n < count; n++)
        if (selected(mask, n, size) && !tlb_host_write(c, linear[n], size))
            probe_element(c, c->seg_base[i->seg] + ea, linear[n], size, linear[last] + size - 1);
    for (unsigned n = 0; n < count; n++)
        if (selected(mask, n, size))
            store_element(c, linear[n], v + n * size, size);
}

void sem_vmaskload4(struct cpu *c, const struct insn *i)
{
    mask_load(c, i, 4);
}

void sem_vmaskload8(struct cpu *c, const struct insn *i)
{
    mask_load(c, i, 8);
}

void sem_vmaskstore4(struct cpu *c, const struct insn *i)
{
    mask_store(c, i, 4);
}

void sem_vmaskstore8(struct cpu *c, const struct insn *i)
{
    mask_store(c, i, 8);
}

/*
 * MASKMOVQ, MASKMOVDQU: bytes to DS:rDI, or the overriding segment. Unlike the above these want all of the operand to be writable, whatever
 * the mask says (SDM leaves that to the processor), and look at it by quadwords, the upper one first.
 */
static void mask_bytes(struct cpu *c, const struct insn *i, const u8 *v, const u8 *mask, unsigned count)
{
    u64 linear[2], ea = areg_get(c, i, R_DI);
    for (unsigned n = count / 8; n-- > 0;) {
        linear[n] = element_linear(c, i, ea, n, 8, MMU_WRITE);
        mmu_probe(c, c->mmu_index, linear[n], 8, MMU_WRITE);
    }
    for (unsigned n = 0; n < count; n++)
        if (mask[n] & 0x80)
            mmu_store_u8(c, c->mmu_index, linear[n / 8] + n % 8, v[n]);
}

void sem_maskmovdqu(struct cpu *c, const struct insn *i)
{
    mask_bytes(c, i, (const u8 *)vec_reg(c, i->reg), (const u8 *)vec_reg(c, i->rm), 16);
}

void sem_maskmovq(struct cpu *c, const struct insn *i)
{
    u64 v = mmx_get(c, i->reg), mask = mmx_get(c, i->rm);
    mask_bytes(c, i, (const u8 *)&v, (const u8 *)&mask, 8);
}

/*
 * Gathers. An element that was loaded is in the destination and its mask is 0 before the next is tried: a fault leaves the work done so
 * far, and the instruction goes on from there when it is started again. At the end the mask register is 0, and so is what lies above
 * the elements in both registers. When the index elements are wider than the data (QPS, QD), only half as much data is there.
 */
static ALWAYS_INLINE void gather(struct cpu *c, const struct insn *i, unsigned index_size, unsigned size)
{
    const u8 *index = (const u8 *)vec_reg(c, i->index);
    u8 *v = (u8 *)vec_reg(c, i->reg), *mask = (u8 *)vec_reg(c, i->vvvv);
    unsigned wide = index_size > size ? index_size : size, count = (16u << i->vl) / wide;
    if (!i->vl)
        __builtin_memset(mask + 16, 0, 16);
    for (unsigned n = 0; n < (16u << i->vl) / size; n++) /* the processor widens the mask's sign bits before anything else */
        __builtin_memset(mask + n * size, mask[n * size + size - 1] & 0x80 ? 0xff : 0, size);
    for (unsigned n = 0; n < count; n++) {
        if (!mask[n * size])
            continue;
        i64 at = index_size == 4 ? (i32)get_u32(index + 4 * n) : (i64)get_u64(index + 8 * n);
        u64 offset = (c->gpr[i->base] + ((u64)at << i->scale) + (u64)i->disp) << i->ashift >> i->ashift;
        u64 e = load_element(c, seg_linear(c, i->seg, offset, size, MMU_READ), size);
        __builtin_memcpy(v + n * size, &e, size);
        if (!i->vl)
            __builtin_memset(v + 16, 0, 16);
        __builtin_memset(mask + n * size, 0, size);
    }
    __builtin_memset(v + count * size, 0, 32 - count * size);
    __builtin_memset(mask + count * size, 0, 32 - count * size);
}

void sem_gather_d4(struct cpu *c, const struct insn *i)
{
    gather(c, i, 4, 4);
}

void sem_gather_d8(struct cpu *c, const struct insn *i)
{
    gather(c, i, 4, 8);
}

void sem_gather_q4(struct cpu *c, const struct insn *i)
{
    gather(c, i, 8, 4);
}

void sem_gather_q8(struct cpu *c, const struct insn *i)
{
    gather(c, i, 8, 8);
}
