/*
 * Vector moves, PXOR and its kin, in C: the vector instructions that an operating system uses most. Also MXCSR and
 * SSE4A. SDM volume 2; AMD APM volume 4 for SSE4A.
 *
 * Names: x XMM register, e general register or memory, p MMX register; _r and _m as everywhere. Functions with a v
 * clear what is above their result, the others leave the upper half of the YMM register alone.
 */
#include "cpu/sem/check.h"
#include "cpu/sem/vec.h"

/* Whole registers */

void sem_mov128_r(struct cpu *c, const struct insn *i)
{
    const u64 *v = vec_reg(c, i->rm);
    vec_set128(c, i->reg, v[0], v[1]);
}

void sem_mov128_m(struct cpu *c, const struct insn *i)
{
    u64 buf[2];
    __builtin_memcpy(vec_reg(c, i->reg), vec_load(c, op_linear(c, i, 16, MMU_READ), buf, 16), 16);
}

void sem_mov128st_r(struct cpu *c, const struct insn *i)
{
    const u64 *v = vec_reg(c, i->reg);
    vec_set128(c, i->rm, v[0], v[1]);
}

void sem_mov128st_m(struct cpu *c, const struct insn *i)
{
    vec_store(c, op_linear(c, i, 16, MMU_WRITE), vec_reg(c, i->reg), 16);
}

static ALWAYS_INLINE void vmov_reg(struct cpu *c, unsigned to, unsigned from, bool ymm)
{
    const u64 *v = vec_reg(c, from);
    vec_set256(c, to, v[0], v[1], ymm ? v[2] : 0, ymm ? v[3] : 0);
}

void sem_vmov_r(struct cpu *c, const struct insn *i)
{
    vmov_reg(c, i->reg, i->rm, i->vl);
}

void sem_vmovst_r(struct cpu *c, const struct insn *i)
{
    vmov_reg(c, i->rm, i->reg, i->vl);
}

void sem_vmov_m(struct cpu *c, const struct insn *i)
{
    u64 v[4] = {0};
    unsigned size = 16u << i->vl;
    u64 linear = op_linear(c, i, size, MMU_READ);
    const void *host = tlb_host_read(c, linear, size);
    if (unlikely(!host))
        mmu_load_bytes(c, c->mmu_index, linear, v, size);
    else if (i->vl)
        __builtin_memcpy(v, host, 32);
    else
        __builtin_memcpy(v, host, 16);
    __builtin_memcpy(vec_reg(c, i->reg), v, 32);
}

void sem_vmovst_m(struct cpu *c, const struct insn *i)
{
    unsigned size = 16u << i->vl;
    u64 linear = op_linear(c, i, size, MMU_WRITE);
    vec_store(c, linear, vec_reg(c, i->reg), size);
}

/* Into a register, zero-extended: MOVD, MOVQ, and MOVSS and MOVSD from memory */

#define MOVE_TO_X(name, from, T)                                                                                       \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        T v = from;                                                                                                    \
        vec_set128(c, i->reg, v, 0);                                                                                   \
    }                                                                                                                  \
    void sem_v##name(struct cpu *c, const struct insn *i)                                                              \
    {                                                                                                                  \
        T v = from;                                                                                                    \
        vec_set256(c, i->reg, v, 0, 0, 0);                                                                             \
    }
MOVE_TO_X(movd_x_r, reg_get_u32(c, i->rm), u32)
MOVE_TO_X(movd_x_m, op_load_u32(c, i), u32)
MOVE_TO_X(movq_x_r, c->gpr[i->rm], u64)
MOVE_TO_X(movq_x_m, op_load_u64(c, i), u64)
MOVE_TO_X(movq_load_r, *vec_reg(c, i->rm), u64)
MOVE_TO_X(movq_load_m, op_load_u64(c, i), u64)

void sem_movq_store_r(struct cpu *c, const struct insn *i)
{
    vec_set128(c, i->rm, *vec_reg(c, i->reg), 0);
}

void sem_vmovq_store_r(struct cpu *c, const struct insn *i)
{
    vec_set256(c, i->rm, *vec_reg(c, i->reg), 0, 0, 0);
}

/* Out of a register: general registers, and memory for everything that stores 4 or 8 bytes */

void sem_movd_e_r(struct cpu *c, const struct insn *i)
{
    reg_set_u32(c, i->rm, (u32)*vec_reg(c, i->reg));
}

void sem_movd_e_m(struct cpu *c, const struct insn *i)
{
    op_store_u32(c, i, (u32)*vec_reg(c, i->reg));
}

void sem_movq_e_r(struct cpu *c, const struct insn *i)
{
    c->gpr[i->rm] = *vec_reg(c, i->reg);
}

void sem_movq_e_m(struct cpu *c, const struct insn *i)
{
    op_store_u64(c, i, *vec_reg(c, i->reg));
}

void sem_movhps_st(struct cpu *c, const struct insn *i)
{
    op_store_u64(c, i, vec_reg(c, i->reg)[1]);
}

/* Into a part of a register */

void sem_movlps_m(struct cpu *c, const struct insn *i)
{
    vec_reg(c, i->reg)[0] = op_load_u64(c, i);
}

void sem_movhps_m(struct cpu *c, const struct insn *i)
{
    vec_reg(c, i->reg)[1] = op_load_u64(c, i);
}

void sem_movss_r(struct cpu *c, const struct insn *i)
{
    *(u32 *)vec_reg(c, i->reg) = (u32)*vec_reg(c, i->rm);
}

void sem_movss_st_r(struct cpu *c, const struct insn *i)
{
    *(u32 *)vec_reg(c, i->rm) = (u32)*vec_reg(c, i->reg);
}

void sem_movsd_r(struct cpu *c, const struct insn *i)
{
    *vec_reg(c, i->reg) = *vec_reg(c, i->rm);
}

void sem_movsd_st_r(struct cpu *c, const struct insn *i)
{
    *vec_reg(c, i->rm) = *vec_reg(c, i->reg);
}

/* PXOR XORPS XORPD */

void sem_xor128_r(struct cpu *c, const struct insn *i)
{
    const u64 *a = vec_reg(c, i->reg), *b = vec_reg(c, i->rm);
    vec_set128(c, i->reg, a[0] ^ b[0], a[1] ^ b[1]);
}

void sem_xor128_m(struct cpu *c, const struct insn *i)
{
    u64 buf[2], b[2];
    __builtin_memcpy(b, vec_load(c, op_linear(c, i, 16, MMU_READ), buf, 16), 16);
    const u64 *a = vec_reg(c, i->reg);
    vec_set128(c, i->reg, a[0] ^ b[0], a[1] ^ b[1]);
}

void sem_vzeroupper(struct cpu *c, const struct insn *i)
{
    for (unsigned n = 0; n < (c->mode == ISA_64 ? 16 : 8); n++)
        vec_reg(c, n)[2] = vec_reg(c, n)[3] = 0;
}

void sem_vzeroall(struct cpu *c, const struct insn *i)
{
    for (unsigned n = 0; n < (c->mode == ISA_64 ? 16 : 8); n++)
        vec_set256(c, n, 0, 0, 0, 0);
}

/* MMX moves */

void sem_movd_p_r(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, reg_get_u32(c, i->rm));
}

void sem_movd_p_m(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, op_load_u32(c, i));
}

void sem_movq_p_r(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, c->gpr[i->rm]);
}

void sem_movq_p_m(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, op_load_u64(c, i));
}

void sem_movd_pe_r(struct cpu *c, const struct insn *i)
{
    reg_set_u32(c, i->rm, (u32)mmx_get(c, i->reg));
}

void sem_movd_pe_m(struct cpu *c, const struct insn *i)
{
    c->fsw &= (u16)~FSW_TOP; /* a fault leaves it so */
    op_store_u32(c, i, (u32)mmx_get(c, i->reg));
}

void sem_movq_pe_r(struct cpu *c, const struct insn *i)
{
    c->gpr[i->rm] = mmx_get(c, i->reg);
}

void sem_movq_pe_m(struct cpu *c, const struct insn *i)
{
    c->fsw &= (u16)~FSW_TOP;
    op_store_u64(c, i, mmx_get(c, i->reg));
}

void sem_movq_pq_r(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, mmx_get(c, i->rm));
}

void sem_movq_pq_m(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, op_load_u64(c, i));
}

void sem_movq_qp_r(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->rm, mmx_get(c, i->reg));
}

void sem_movq_qp_m(struct cpu *c, const struct insn *i)
{
    c->fsw &= (u16)~FSW_TOP;
    op_store_u64(c, i, mmx_get(c, i->reg));
}

void sem_movq2dq(struct cpu *c, const struct insn *i)
{
    vec_set128(c, i->reg, mmx_get(c, i->rm), 0);
}

void sem_movdq2q(struct cpu *c, const struct insn *i)
{
    mmx_set(c, i->reg, *vec_reg(c, i->rm));
}

void sem_emms(struct cpu *c, const struct insn *i)
{
    c->ftw = 0;
}

/* MXCSR */

void sem_ldmxcsr(struct cpu *c, const struct insn *i)
{
    u32 v = op_load_u32(c, i);
    if (v & ~MXCSR_VALID)
        cpu_gp(c, 0);
    c->mxcsr = v;
}

void sem_stmxcsr(struct cpu *c, const struct insn *i)
{
    op_store_u32(c, i, c->mxcsr);
}

/* SSE4A: bit fields of the low quadword. Length 0 means 64; a field that leaves the quadword is undefined. */

static u64 field_mask(unsigned length)
{
    return length ? BIT64(length) - 1 : ~0ull;
}

static void extract(struct cpu *c, unsigned reg, unsigned length, unsigned index)
{
    u64 *v = vec_reg(c, reg);
    v[0] = v[0] >> (index & 63) & field_mask(length & 63);
}

static void insert(struct cpu *c, const struct insn *i, unsigned length, unsigned index)
{
    u64 *v = vec_reg(c, i->reg), mask = field_mask(length & 63) << (index & 63);
    v[0] = (v[0] & ~mask) | (*vec_reg(c, i->rm) << (index & 63) & mask);
}

void sem_extrq_imm(struct cpu *c, const struct insn *i)
{
    extract(c, i->rm, i->imm & 0xff, i->imm2 & 0xff);
}

void sem_extrq_reg(struct cpu *c, const struct insn *i)
{
    u64 control = *vec_reg(c, i->rm);
    extract(c, i->reg, control & 63, control >> 8 & 63);
}

void sem_insertq_imm(struct cpu *c, const struct insn *i)
{
    insert(c, i, i->imm & 0xff, i->imm2 & 0xff);
}

void sem_insertq_reg(struct cpu *c, const struct insn *i)
{
    u64 control = vec_reg(c, i->rm)[1];
    insert(c, i, control & 63, control >> 8 & 63);
}
