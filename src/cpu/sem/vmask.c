/*
 * Vector instructions that access memory element by element: masked moves and gathers. Only the elements whose mask bit
 * is set are accessed, and so only they can fault. SDM volume 2, VMASKMOV, VPMASKMOV, MASKMOVDQU, VGATHER*.
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

/* Element n at seg:ea + n * size. The address size has its say on ea alone. */
static ALWAYS_INLINE u64 element_linear(struct cpu *c, const struct insn *i, u64 ea, unsigned n, unsigned size,
                                        enum mmu_access a)
{
    return seg_linear(c, i->seg, ea + n * size, size, a);
}

/* The selected elements as bits, and their addresses. All of what lies between the first and the last must be
 * canonical. */
static ALWAYS_INLINE u32 find_selected(struct cpu *c, const struct insn *i, unsigned size, u64 linear[8],
                                       enum mmu_access a)
{
    u64 ea = op_ea(c, i);
    const u64 *mask = vec_reg(c, i->vvvv);
    u32 found = 0;
    for (unsigned n = 0; n < (16u << i->vl) / size; n++) {
        if (!selected(mask, n, size))
            continue;
        linear[n] = element_linear(c, i, ea, n, size, a);
        found |= BIT(n);
    }
    if (found && c->flat) {
        u64 first = linear[__builtin_ctz(found)], end = linear[31 - __builtin_clz(found)] + size - 1;
        if (unlikely(!addr_is_canonical(first) || !addr_is_canonical(end)))
            cpu_fault_code(c, i->seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    }
    return found;
}

static ALWAYS_INLINE void mask_load(struct cpu *c, const struct insn *i, unsigned size)
{
    u64 v[4] = {0}, linear[8];
    for (u32 m = find_selected(c, i, size, linear, MMU_READ); m; m &= m - 1) {
        unsigned n = (unsigned)__builtin_ctz(m);
        u64 e = load_element(c, linear[n], size);
        __builtin_memcpy((u8 *)v + n * size, &e, size);
    }
    __builtin_memcpy(vec_reg(c, i->reg), v, sizeof(v));
}

/*
 * Tries the selected elements before any is written. Where they lie in two pages, processors try the second at the last
 * byte of all that is selected: CR2 shows it.
 */
static NOINLINE void probe_elements(struct cpu *c, const u64 *linear, u32 found, unsigned size)
{
    u64 first = linear[__builtin_ctz(found)], end = linear[31 - __builtin_clz(found)] + size - 1;
    mmu_probe(c, unchecked(c), first, 1, MMU_WRITE);
    if ((first ^ end) >> 12)
        mmu_probe(c, unchecked(c), end, 1, MMU_WRITE);
}

static ALWAYS_INLINE void mask_store(struct cpu *c, const struct insn *i, unsigned size)
{
    u64 linear[8];
    const u8 *v = (const u8 *)vec_reg(c, i->reg);
    u32 found = find_selected(c, i, size, linear, MMU_WRITE);
    if (found &&
        !tlb_host_write(c, linear[__builtin_ctz(found)], (16u << i->vl) - size * (unsigned)__builtin_ctz(found)))
        probe_elements(c, linear, found, size);
    for (u32 m = found; m; m &= m - 1) {
        unsigned n = (unsigned)__builtin_ctz(m);
        store_element(c, linear[n], v + n * size, size);
    }
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
 * MASKMOVQ, MASKMOVDQU: bytes to DS:rDI, or the overriding segment. Unlike the above these want all of the operand to
 * be writable, whatever the mask says (SDM leaves that to the processor), and look at it by quadwords, the upper one
 * first.
 */
static void mask_bytes(struct cpu *c, const struct insn *i, const u8 *v, const u8 *mask, unsigned count)
{
    u64 linear[2], ea = areg_get(c, i, R_DI);
    for (unsigned n = count / 8; n-- > 0;) {
        u64 offset = (ea + 8 * n) << i->ashift >> i->ashift;
        linear[n] = seg_linear(c, i->seg, offset, 8, MMU_WRITE);
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
 * Gathers. An element that was loaded is in the destination and its mask is 0 before the next is tried: a fault leaves
 * the work done so far, and the instruction goes on from there when it is started again. At the end the mask register
 * is 0, and so is what lies above the elements in both registers. When the index elements are wider than the data (QPS,
 * QD), only half as much data is there.
 */
static ALWAYS_INLINE void gather(struct cpu *c, const struct insn *i, unsigned index_size, unsigned size)
{
    const u8 *index = (const u8 *)vec_reg(c, i->index);
    u8 *v = (u8 *)vec_reg(c, i->reg), *mask = (u8 *)vec_reg(c, i->vvvv);
    unsigned wide = index_size > size ? index_size : size, count = (16u << i->vl) / wide;
    if (!i->vl)
        __builtin_memset(mask + 16, 0, 16);
    for (unsigned n = 0; n < (16u << i->vl) / size;
         n++) /* the processor widens the mask's sign bits before anything else */
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
