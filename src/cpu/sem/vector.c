/*
 * Vector instructions that run on the host, through stubs (stub.h): integer and logic (vec), SIMD floating-point (fp),
 * MMX (mmx), and those that mix the last two (mmxfp). SDM volume 1 sections 11.5 (exceptions) and 9.5 (MMX and x87),
 * volume 2 section 2.4 (exception classes).
 *
 * Order: memory operand first, as it may fault; then the stub, which changes guest registers; then a store, if the
 * destination is memory, from a buffer. Under unmasked exceptions the destination is put back if one is raised.
 */
#include "cpu/sem/check.h"
#include "cpu/sem/stub.h"
#include "cpu/sem/vec.h"

static ALWAYS_INLINE u32 run(struct cpu *c, const struct insn *i, const struct vec_stub *s, u64 rm, u32 mxcsr)
{
    return s->run(c, 4u * i->reg, 4u * i->vvvv, 4u * (i->imm >> 4 & 15), rm, mxcsr & MXCSR_VALID);
}

/* Host address of the memory operand, or of its copy in `buf`. */
static ALWAYS_INLINE u64 load(struct cpu *c, const struct insn *i, const struct vec_stub *s, void *buf)
{
    return (u64)(uintptr_t)vec_load(c, op_linear(c, i, s->mem_size, MMU_READ), buf, s->mem_size);
}

/* No SIMD floating-point exceptions */

void sem_vec_r(struct cpu *c, const struct insn *i)
{
    run(c, i, vec_stub_find(c, i), 4u * i->rm, 0);
}

void sem_vec_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    run(c, i, s, load(c, i, s, buf), 0);
}

/* The destination is the r/m operand. */
void sem_vecst_r(struct cpu *c, const struct insn *i)
{
    run(c, i, vec_stub_find(c, i), 4u * i->rm, 0);
}

void sem_vecst_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    u64 linear = op_linear(c, i, s->mem_size, MMU_WRITE);
    run(c, i, s, (u64)(uintptr_t)buf, 0);
    vec_store(c, linear, buf, s->mem_size);
}

/* is4: the immediate is a register number and must not make the stub another one. */
static ALWAYS_INLINE const struct vec_stub *find_is4(struct cpu *c, const struct insn *i)
{
    struct insn k = *i;
    k.imm = 0;
    return vec_stub_find(c, &k);
}

void sem_vec4_r(struct cpu *c, const struct insn *i)
{
    run(c, i, find_is4(c, i), 4u * i->rm, 0);
}

void sem_vec4_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = find_is4(c, i);
    run(c, i, s, load(c, i, s, buf), 0);
}

/* SIMD floating-point exceptions */

/* Where a stub puts its result, and the flags, for putting them back. */
struct saved {
    void *at;
    unsigned size;
    u64 value[4];
    u32 ax_flags;
};

static void save_dest(struct saved *v, struct cpu *c, const struct insn *i, const struct vec_stub *s)
{
    unsigned n = s->dest == SLOT_RM ? i->rm : s->dest == SLOT_VVVV ? i->vvvv : i->reg;
    v->size = 0;
    v->ax_flags = c->ax_flags;
    if (s->dest == SLOT_NONE)
        return;
    if (s->dest_file == FILE_GPR) {
        v->at = &c->gpr[n];
        v->size = 8;
    } else if (s->dest_file == FILE_MMX) {
        v->at = &c->st[2 * n];
        v->size = 8;
    } else {
        v->at = vec_reg(c, n);
        v->size = 32;
    }
    __builtin_memcpy(v->value, v->at, v->size);
}

static void restore_dest(const struct saved *v, struct cpu *c)
{
    if (v->size)
        __builtin_memcpy(v->at, v->value, v->size);
    c->ax_flags = v->ax_flags;
}

/*
 * Is a single-precision value tiny as a half-precision one: nonzero, and below 2^-14 after rounding? 0x387fe000 is the
 * largest value of 11 bits below it.
 */
static bool half_tiny(u32 v, unsigned rounding, bool daz)
{
    u32 size = v & 0x7fffffff, sign = v >> 31;
    if (size == 0 || size >= 0x38800000 || (daz && size < 0x00800000))
        return false;
    switch (rounding) {
    case 0: /* nearest */
        return size < 0x387ff000;
    case 1: /* down */
        return !sign || size <= 0x387fe000;
    case 2: /* up */
        return sign || size <= 0x387fe000;
    default:
        return true;
    }
}

/* VCVTPS2PH takes no notice of FTZ, so that the general way of finding tiny results does not work there. */
static bool halves_tiny(struct cpu *c, const struct insn *i)
{
    const u8 *src = (const u8 *)vec_reg(c, i->reg);
    unsigned rounding = i->imm & 4 ? c->mxcsr >> 13 & 3 : i->imm & 3;
    bool tiny = false;
    for (unsigned n = 0; n < (4u << i->vl); n++)
        tiny |= half_tiny(get_u32(src + 4 * n), rounding, c->mxcsr & MXCSR_DAZ);
    return tiny;
}

static bool is_cvtps2ph(const struct insn *i)
{
    return isa_rows[i->row].feature == FEAT_F16C && i->opcode == 0x1d;
}

/*
 * Some exception is unmasked. The host runs with all of them masked; what differs from running unmasked, and is put
 * right here: the destination stays on an unmasked exception; flags of faults found before the computation (IE DE ZE)
 * come alone if one of them is unmasked; with underflow unmasked FTZ has no effect and a tiny result is reported even
 * if it is exact. The last is found by a run with FTZ on, which flushes every tiny result and says so. Known to differ:
 * behind an unmasked OE or UE, PE should tell of rounding with an unbounded exponent, and DPPS and DPPD should stop
 * after the multiplication.
 */
static NOINLINE void run_unmasked(struct cpu *c, const struct insn *i, const struct vec_stub *s, u64 rm)
{
    struct saved v;
    u32 unmasked = ~c->mxcsr >> 7 & MXCSR_FLAGS, mxcsr = (c->mxcsr | MXCSR_MASKS) & ~MXCSR_FLAGS, flags = 0;
    save_dest(&v, c, i, s);
    if (unmasked & MXCSR_UE) {
        if (is_cvtps2ph(i))
            flags = halves_tiny(c, i) ? MXCSR_UE : 0;
        else
            flags = run(c, i, s, rm, mxcsr | MXCSR_FTZ) & MXCSR_UE;
        restore_dest(&v, c);
        mxcsr &= ~MXCSR_FTZ;
    }
    flags |= run(c, i, s, rm, mxcsr) & MXCSR_FLAGS;
    if (flags & unmasked & (MXCSR_IE | MXCSR_DE | MXCSR_ZE))
        flags &= MXCSR_IE | MXCSR_DE | MXCSR_ZE;
    c->mxcsr |= flags;
    if (!(flags & unmasked))
        return;
    restore_dest(&v, c);
    cpu_fault(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

static ALWAYS_INLINE void run_fp(struct cpu *c, const struct insn *i, const struct vec_stub *s, u64 rm)
{
    u32 mxcsr = c->mxcsr;
    if (likely((mxcsr & MXCSR_MASKS) == MXCSR_MASKS))
        c->mxcsr = run(c, i, s, rm, mxcsr);
    else
        run_unmasked(c, i, s, rm);
}

void sem_fp_r(struct cpu *c, const struct insn *i)
{
    run_fp(c, i, vec_stub_find(c, i), 4u * i->rm);
}

void sem_fp_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    run_fp(c, i, s, load(c, i, s, buf));
}

/* F16C is exempt from alignment checks. VCVTPH2PS */
void sem_cvtph_r(struct cpu *c, const struct insn *i)
{
    sem_fp_r(c, i);
}

void sem_cvtph_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    mmu_load_bytes(c, c->mmu_index, op_linear(c, i, s->mem_size, MMU_READ), buf, s->mem_size);
    run_fp(c, i, s, (u64)(uintptr_t)buf);
}

/* VCVTPS2PH: its exceptions come before those of the store. */
void sem_fpst_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    run_fp(c, i, s, (u64)(uintptr_t)buf);
    mmu_store_bytes(c, c->mmu_index, op_linear(c, i, s->mem_size, MMU_WRITE), buf, s->mem_size);
}

/* MMX */

static ALWAYS_INLINE void mmx_done(struct cpu *c, const struct insn *i, const struct vec_stub *s)
{
    if (s->dest_file == FILE_MMX && s->dest != SLOT_NONE)
        mmx_wrote(c, s->dest == SLOT_RM ? i->rm : i->reg);
}

void sem_mmx_r(struct cpu *c, const struct insn *i)
{
    const struct vec_stub *s = vec_stub_find(c, i);
    run(c, i, s, 4u * i->rm, 0);
    mmx_done(c, i, s);
}

void sem_mmx_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    run(c, i, s, load(c, i, s, buf), 0);
    mmx_done(c, i, s);
}

/* CVTPS2PI and its kin. */

void sem_mmxfp_r(struct cpu *c, const struct insn *i)
{
    const struct vec_stub *s = vec_stub_find(c, i);
    run_fp(c, i, s, 4u * i->rm);
    mmx_done(c, i, s);
}

void sem_mmxfp_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u8 buf[32];
    const struct vec_stub *s = vec_stub_find(c, i);
    u64 rm = load(c, i, s, buf);
    sem_enter_mmx(c); /* even if an exception is raised */
    run_fp(c, i, s, rm);
    mmx_done(c, i, s);
}

/* 256-bit AES and PCLMULQDQ, on a host that has only the 128-bit forms: the halves one after the other. */

static enum isa_row_id half_row(unsigned row)
{
    static const u16 rows[][2] = {
        {INSN_VAESENC_Vqq_Hqq_Wqq, INSN_VAESENC_Vdq_Hdq_Wdq},
        {INSN_VAESENCLAST_Vqq_Hqq_Wqq, INSN_VAESENCLAST_Vdq_Hdq_Wdq},
        {INSN_VAESDEC_Vqq_Hqq_Wqq, INSN_VAESDEC_Vdq_Hdq_Wdq},
        {INSN_VAESDECLAST_Vqq_Hqq_Wqq, INSN_VAESDECLAST_Vdq_Hdq_Wdq},
    };
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++)
        if (rows[n][0] == row)
            return rows[n][1];
    return INSN_VPCLMULQDQ_Vdq_Hdq_Wdq_Ib;
}

static void run_halves(struct cpu *c, const struct insn *i, const u64 rm[4])
{
    if (vec_host_has(c, isa_rows[i->row].feature)) {
        struct insn k = *i;
        k.mem = true; /* rm is a copy, so that one form does for both */
        run(c, i, vec_stub_find(c, &k), (u64)(uintptr_t)rm, 0);
        return;
    }
    struct insn k = *i;
    u64 src[4], high[2], dest[2];
    _Alignas(16) u64 half[2];
    k.row = half_row(i->row);
    k.vl = 0;
    k.mem = true;
    const struct vec_stub *s = vec_stub_find(c, &k);
    u64 *h = vec_reg(c, i->vvvv), *d = vec_reg(c, i->reg);
    __builtin_memcpy(src, h, sizeof(src));
    __builtin_memcpy(half, rm + 2, sizeof(half));
    h[0] = src[2];
    h[1] = src[3];
    run(c, i, s, (u64)(uintptr_t)half, 0);
    __builtin_memcpy(high, d, sizeof(high));
    __builtin_memcpy(h, src, sizeof(src));
    __builtin_memcpy(half, rm, sizeof(half));
    run(c, i, s, (u64)(uintptr_t)half, 0);
    __builtin_memcpy(dest, d, sizeof(dest));
    vec_set256(c, i->reg, dest[0], dest[1], high[0], high[1]);
}

void sem_halves_r(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u64 rm[4];
    __builtin_memcpy(rm, vec_reg(c, i->rm), sizeof(rm));
    run_halves(c, i, rm);
}

void sem_halves_m(struct cpu *c, const struct insn *i)
{
    _Alignas(32) u64 rm[4];
    mmu_load_bytes(c, c->mmu_index, op_linear(c, i, 32, MMU_READ), rm, 32);
    run_halves(c, i, rm);
}
