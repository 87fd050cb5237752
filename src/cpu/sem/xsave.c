/*
 * FXSAVE, FXRSTOR and the XSAVE family. SDM volume 1 section 10.5 and chapter 13.
 *
 * Components: x87 (0), SSE (1), AVX (2). The AVX component is at byte 576 in the standard and in the compacted format,
 * as it is the only one beyond the first 576 bytes. XINUSE is worked out from the registers when it is asked for; the
 * modified optimisation is not made (SDM 13.9 allows that).
 *
 * Images are put together in a buffer and written in pieces that the instruction owns, after all of the area has been
 * found writable: what the instruction does not own stays as it is, and nothing is half done.
 */
#include "cpu/segment.h"
#include "cpu/sem/vec.h"
#include "cpu/sem/x87_env.h"

enum { X87 = 1, SSE = 2, AVX = 4, COMPACT = 1ull << 63 };

enum {
    OFF_MXCSR = 24,
    OFF_ST = 32,
    OFF_XMM = 160,
    OFF_HEADER = 512,
    OFF_XCOMP = 520,
    OFF_YMM = 576,
    AREA = 832,
};

/* XMM8 to 15 are out of reach outside 64-bit mode, and are neither saved nor restored. */
static unsigned vec_count(const struct cpu *c)
{
    return c->mode == ISA_64 ? 16 : 8;
}

static void put_xmm(struct cpu *c, u8 *p)
{
    for (unsigned n = 0; n < vec_count(c); n++)
        __builtin_memcpy(p + 16 * n, vec_reg(c, n), 16);
}

static void get_xmm(struct cpu *c, const u8 *p)
{
    for (unsigned n = 0; n < vec_count(c); n++)
        __builtin_memcpy(vec_reg(c, n), p + 16 * n, 16);
}

static void put_ymm(struct cpu *c, u8 *p)
{
    for (unsigned n = 0; n < vec_count(c); n++)
        __builtin_memcpy(p + 16 * n, vec_reg(c, n) + 2, 16);
}

static void get_ymm(struct cpu *c, const u8 *p)
{
    for (unsigned n = 0; n < vec_count(c); n++)
        __builtin_memcpy(vec_reg(c, n) + 2, p + 16 * n, 16);
}

static void put_mxcsr(const struct cpu *c, u8 *p)
{
    put_u32(p, c->mxcsr);
    put_u32(p + 4, MXCSR_VALID);
}

/* Writes bytes [from, to) of the image at `linear`. */
static void store_part(struct cpu *c, u64 linear, const u8 *image, unsigned from, unsigned to)
{
    mmu_store_bytes(c, c->mmu_index, linear + from, image + from, to - from);
}

/* FXSAVE */

/* Alignment comes before the segment's limits. With alignment checks in force #AC takes the place of #GP for what is
 * not even aligned to 4. */
static u64 fx_linear(struct cpu *c, const struct insn *i, enum mmu_access a)
{
    /* The limit is checked for the first 4 bytes, then alignment, then the rest and the right to write. */
    u64 linear = op_linear(c, i, 4, MMU_READ);
    if (linear & 15 && c->flat && !addr_is_canonical(linear))
        cpu_fault_code(c, i->seg == SEG_SS ? EXC_SS : EXC_GP, 0);
    if (linear & 15) {
        if (c->mmu_index == MMU_CHECKED && linear & 3)
            cpu_fault_code(c, EXC_AC, 0);
        cpu_gp(c, 0);
    }
    return op_linear(c, i, 512, a);
}

/* Without CR4.OSFXSR neither MXCSR nor the XMM registers are touched. */
void sem_fxsave(struct cpu *c, const struct insn *i)
{
    u8 image[512] = {0};
    u64 linear = fx_linear(c, i, MMU_WRITE);
    unsigned size = OFF_XMM;
    x87_put_image(c, i, image);
    if (c->cr4 & CR4_OSFXSR) {
        put_mxcsr(c, image + OFF_MXCSR);
        put_xmm(c, image + OFF_XMM);
        size += 16 * vec_count(c);
    }
    mmu_probe(c, c->mmu_index, linear + 511, 1, MMU_WRITE); /* processors look at the end first: CR2 shows it */
    mmu_probe(c, c->mmu_index, linear, 1, MMU_WRITE);
    store_part(c, linear, image, 0, size);
}

void sem_fxrstor(struct cpu *c, const struct insn *i)
{
    u8 image[512];
    mmu_load_bytes(c, c->mmu_index, fx_linear(c, i, MMU_READ), image, sizeof(image));
    if (c->cr4 & CR4_OSFXSR) {
        u32 mxcsr = get_u32(image + OFF_MXCSR);
        if (mxcsr & ~MXCSR_VALID)
            cpu_gp(c, 0);
        c->mxcsr = mxcsr;
        get_xmm(c, image + OFF_XMM);
    }
    x87_get_image(c, i, image);
}

/* XINUSE: components that are not in their initial state. */
static u64 in_use(const struct cpu *c)
{
    u64 x87 = (u64)(c->fcw ^ FCW_RESET) | c->fsw | c->ftw | c->fop | c->fip | c->fdp, sse = 0, avx = 0;
    for (unsigned n = 0; n < 8; n++)
        x87 |= c->st[2 * n] | (c->st[2 * n + 1] & 0xffff);
    for (unsigned n = 0; n < 16; n++) {
        sse |= c->ymm[4 * n] | c->ymm[4 * n + 1];
        avx |= c->ymm[4 * n + 2] | c->ymm[4 * n + 3];
    }
    return (x87 ? X87 : 0) | (sse ? SSE : 0) | (avx ? AVX : 0);
}

static u64 edx_eax(const struct cpu *c)
{
    return c->gpr[R_DX] << 32 | (u32)c->gpr[R_AX];
}

/* The requested-feature bitmap, after the checks that all of the family make. IA32_XSS has no bits here, so XSAVES asks
 * XCR0 too. */
static u64 requested(struct cpu *c, bool supervisor)
{
    if (!(c->cr4 & CR4_OSXSAVE))
        cpu_ud(c);
    if (supervisor && c->cpl)
        cpu_gp(c, 0);
    if (c->cr0 & CR0_TS)
        cpu_fault(c, EXC_NM);
    return c->xcr0 & edx_eax(c);
}

static u64 area_linear(struct cpu *c, const struct insn *i, u64 components, enum mmu_access a)
{
    u64 linear = op_linear(c, i, components & AVX ? AREA : OFF_YMM, a);
    if (linear & 63)
        cpu_gp(c, 0);
    return linear;
}

/* Writes `components` in full; MXCSR by itself where `mxcsr` says so. The header is the caller's. */
static void store_components(struct cpu *c, const struct insn *i, u64 linear, u64 components, bool mxcsr)
{
    u8 image[AREA] = {0};
    unsigned vec_end = 16 * vec_count(c);
    if (components & X87) {
        x87_put_image(c, i, image);
        store_part(c, linear, image, 0, OFF_MXCSR);
        store_part(c, linear, image, OFF_ST, OFF_XMM);
    }
    if (mxcsr) {
        put_mxcsr(c, image + OFF_MXCSR);
        store_part(c, linear, image, OFF_MXCSR, OFF_ST);
    }
    if (components & SSE) {
        put_xmm(c, image + OFF_XMM);
        store_part(c, linear, image, OFF_XMM, OFF_XMM + vec_end);
    }
    if (components & AVX) {
        put_ymm(c, image + OFF_YMM);
        store_part(c, linear, image, OFF_YMM, OFF_YMM + vec_end);
    }
}

/* XSAVE and XSAVEOPT: standard format; only XSTATE_BV of the header is written. */
static void save_standard(struct cpu *c, const struct insn *i, bool optimise)
{
    u64 rfbm = requested(c, false), inuse = in_use(c);
    u64 components = optimise ? rfbm & inuse : rfbm;
    u64 linear = area_linear(c, i, rfbm, MMU_WRITE);
    mmu_probe(c, c->mmu_index, linear, rfbm & AVX ? AREA : OFF_YMM, MMU_WRITE);
    u64 bv = mmu_load_u64(c, c->mmu_index, linear + OFF_HEADER);
    store_components(c, i, linear, components, rfbm & (SSE | AVX));
    mmu_store_u64(c, c->mmu_index, linear + OFF_HEADER, (bv & ~rfbm) | (rfbm & inuse));
}

/* XSAVEC and XSAVES: compacted format; components in their initial state are left out. MXCSR belongs to SSE. */
static void save_compacted(struct cpu *c, const struct insn *i, bool supervisor)
{
    u64 rfbm = requested(c, supervisor), bv = rfbm & in_use(c);
    if (rfbm & SSE && c->mxcsr != MXCSR_DEFAULT)
        bv |= SSE;
    u64 linear = area_linear(c, i, rfbm, MMU_WRITE), header[2] = {bv, rfbm | COMPACT};
    mmu_probe(c, c->mmu_index, linear, rfbm & AVX ? AREA : OFF_YMM, MMU_WRITE);
    store_components(c, i, linear, bv, bv & SSE);
    mmu_store_bytes(c, c->mmu_index, linear + OFF_HEADER, header, sizeof(header));
}

void sem_xsave(struct cpu *c, const struct insn *i)
{
    save_standard(c, i, false);
}

void sem_xsaveopt(struct cpu *c, const struct insn *i)
{
    save_standard(c, i, true);
}

void sem_xsavec(struct cpu *c, const struct insn *i)
{
    save_compacted(c, i, false);
}

void sem_xsaves(struct cpu *c, const struct insn *i)
{
    save_compacted(c, i, true);
}

/* The rules for a header: SDM volume 1 sections 13.8 and 13.12. */
static bool header_ok(const struct cpu *c, const u8 *header, bool supervisor)
{
    u64 bv = get_u64(header), comp = get_u64(header + 8), rest = 0;
    for (unsigned n = 16; n < 64; n += 8)
        if (comp & COMPACT || n < 24) /* the standard form looks at 23:8 only */
            rest |= get_u64(header + n);
    if (rest)
        return false;
    if (!(comp & COMPACT))
        return !supervisor && comp == 0 && !(bv & ~c->xcr0);
    bool compact_known = isa_has(&c->features, supervisor ? FEAT_XSAVES : FEAT_XSAVEC);
    return compact_known && !(comp & ~(c->xcr0 | COMPACT)) && !(bv & ~comp);
}

static void init_x87(struct cpu *c)
{
    x87_init(c);
    __builtin_memset(c->st, 0, sizeof(c->st));
    x87_summary(c);
}

/* Components in `load` come from the image, those in `init` get their initial state. */
static void restore_components(struct cpu *c, const struct insn *i, const u8 *image, u64 load, u64 init)
{
    static const u8 zeros[256];
    if (load & X87)
        x87_get_image(c, i, image);
    else if (init & X87)
        init_x87(c);
    if ((load | init) & SSE)
        get_xmm(c, load & SSE ? image + OFF_XMM : zeros);
    if ((load | init) & AVX)
        get_ymm(c, load & AVX ? image + OFF_YMM : zeros);
}

static void restore(struct cpu *c, const struct insn *i, bool supervisor)
{
    u8 image[AREA];
    u64 rfbm = requested(c, supervisor), linear = area_linear(c, i, 0, MMU_READ);
    mmu_load_bytes(c, c->mmu_index, linear, image, OFF_YMM);
    if (!header_ok(c, image + OFF_HEADER, supervisor))
        cpu_gp(c, 0);
    u64 bv = get_u64(image + OFF_HEADER), load = rfbm & bv, init = rfbm & ~bv;
    bool compact = get_u64(image + OFF_XCOMP) & COMPACT;
    if (load & AVX) {
        area_linear(c, i, AVX, MMU_READ);
        mmu_load_bytes(c, c->mmu_index, linear + OFF_YMM, image + OFF_YMM, 16 * vec_count(c));
    }
    /* In the standard format MXCSR comes from the image whatever XSTATE_BV says. */
    u32 mxcsr = get_u32(image + OFF_MXCSR);
    if (compact ? rfbm & SSE : rfbm & (SSE | AVX)) {
        if (compact && init & SSE)
            mxcsr = MXCSR_DEFAULT;
        if (mxcsr & ~MXCSR_VALID)
            cpu_gp(c, 0);
        c->mxcsr = mxcsr;
    }
    restore_components(c, i, image, load, init);
}

void sem_xrstor(struct cpu *c, const struct insn *i)
{
    restore(c, i, false);
}

void sem_xrstors(struct cpu *c, const struct insn *i)
{
    restore(c, i, true);
}

/* XCR0 */

void sem_xgetbv(struct cpu *c, const struct insn *i)
{
    u64 v;
    if (!(c->cr4 & CR4_OSXSAVE))
        cpu_ud(c);
    switch ((u32)c->gpr[R_CX]) {
    case 0:
        v = c->xcr0;
        break;
    case 1:
        if (!isa_has(&c->features, FEAT_XSAVEC))
            cpu_gp(c, 0);
        v = c->xcr0 & in_use(c);
        break;
    default:
        cpu_gp(c, 0);
    }
    c->gpr[R_AX] = (u32)v;
    c->gpr[R_DX] = v >> 32;
}

void sem_xsetbv(struct cpu *c, const struct insn *i)
{
    u64 v = edx_eax(c), known = X87 | SSE | (isa_has(&c->features, FEAT_AVX) ? AVX : 0);
    if (!(c->cr4 & CR4_OSXSAVE))
        cpu_ud(c);
    if (c->cpl || (u32)c->gpr[R_CX] != 0 || v & ~known || !(v & X87) || (v & AVX && !(v & SSE)))
        cpu_gp(c, 0);
    c->xcr0 = v;
}
