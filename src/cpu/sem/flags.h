/*
 * Arithmetic flags as the host computes them.
 *
 * Each function below runs one host instruction on guest operands and keeps the six flags that come out in c->ax_flags,
 * in the form `lahf; seto %al` leaves in AX (cpu/cpu.h). So flags that the manuals leave undefined are those of the
 * host, and all engines agree on them. Where an instruction reads flags, or may leave some as they were, all six are
 * put back first: adding 0x7f to AL overflows exactly if OF was kept in it, and SAHF loads the rest.
 *
 * The operand sizes are the type names: flag_add_u32(c, a, b) returns a + b and sets the flags of ADD r32, r32.
 */
#ifndef CPU_SEM_FLAGS_H
#define CPU_SEM_FLAGS_H

#include "cpu/cpu.h"

/* Where the flags are in ax_flags. */
enum {
    AX_OF = 0x0001,
    AX_CF = 0x0100,
    AX_FIXED = 0x0200, /* bit 1 of EFLAGS, always 1 */
    AX_PF = 0x0400,
    AX_AF = 0x1000,
    AX_ZF = 0x4000,
    AX_SF = 0x8000,
};

#define FLAGS_KEEP   "lahf\n\tseto %%al"
#define FLAGS_PUT    "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_PUT_CF "btl $8, %%eax\n\t"

/* Suffix of the host's mnemonic, and the constraint for a register of that size. */
#define FLAGS_SUF_u8  "b"
#define FLAGS_SUF_u16 "w"
#define FLAGS_SUF_u32 "l"
#define FLAGS_SUF_u64 "q"

static ALWAYS_INLINE u32 flags_to_eflags(u32 ax)
{
    return (ax >> 8 & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) | (ax & AX_OF) << 11;
}

static ALWAYS_INLINE u32 flags_from_eflags(u64 eflags)
{
    return ((u32)eflags & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF)) << 8 | AX_FIXED | ((u32)eflags >> 11 & AX_OF);
}

static ALWAYS_INLINE void flags_set(struct cpu *c, u32 mask, bool on)
{
    c->ax_flags = on ? c->ax_flags | mask : c->ax_flags & ~mask;
}

/* dst = dst OP src, flags from nothing but the operands. */
#define FLAGS_BINARY(op, T)                                                                                            \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a, T b)                                                    \
    {                                                                                                                  \
        u16 ax;                                                                                                        \
        __asm__(#op FLAGS_SUF_##T " %2, %0\n\t" FLAGS_KEEP : "+r"(a), "=&a"(ax) : "r"(b) : "cc");                      \
        c->ax_flags = ax;                                                                                              \
        return a;                                                                                                      \
    }

/* The same with the carry read (ADC, SBB). */
#define FLAGS_BINARY_CF(op, T)                                                                                         \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a, T b)                                                    \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT_CF #op FLAGS_SUF_##T " %2, %0\n\t" FLAGS_KEEP : "+r"(a), "+&a"(ax) : "r"(b) : "cc");         \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }

/* Compares: nothing but flags. */
#define FLAGS_COMPARE(op, T)                                                                                           \
    static ALWAYS_INLINE void flag_##op##_##T(struct cpu *c, T a, T b)                                                 \
    {                                                                                                                  \
        u16 ax;                                                                                                        \
        __asm__(#op FLAGS_SUF_##T " %2, %1\n\t" FLAGS_KEEP : "=&a"(ax) : "r"(a), "r"(b) : "cc");                       \
        c->ax_flags = ax;                                                                                              \
    }

/* One operand; INC and DEC keep CF, the others do not care. */
#define FLAGS_UNARY(op, T)                                                                                             \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a)                                                         \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT_CF #op FLAGS_SUF_##T " %0\n\t" FLAGS_KEEP : "+r"(a), "+&a"(ax) : : "cc");                    \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }

/* Shifts and rotates by CL: the flags stay when the masked count is 0, and some are left alone by rotates. */
#define FLAGS_SHIFT(op, T)                                                                                             \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a, u8 count)                                               \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT #op FLAGS_SUF_##T " %%cl, %0\n\t" FLAGS_KEEP : "+r"(a), "+&a"(ax) : "c"(count) : "cc");      \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }

/* By one, the D0 and D1 forms: OF is defined there, and the host may compute it by another way than for CL. */
#define FLAGS_SHIFT1(op, T)                                                                                            \
    static ALWAYS_INLINE T flag_##op##1_##T(struct cpu *c, T a)                                                        \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT #op FLAGS_SUF_##T " $1, %0\n\t" FLAGS_KEEP : "+r"(a), "+&a"(ax) : : "cc");                   \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }

/*
 * ROL and ROR by an immediate, where OF is undefined: in a register Intel's leave it alone, by CL or in memory they
 * compute something. So it has to be an immediate here too: a jump into a row of them, one for each count.
 */
#define FLAGS_COUNTS_32 "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31"
#define FLAGS_COUNTS_64                                                                                                \
    FLAGS_COUNTS_32 ",32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63"

#define FLAGS_ROTATE(op, where, place, T, MASK, COUNTS)                                                                \
    static ALWAYS_INLINE T flag_##op##_##where##_##T(struct cpu *c, T a, u8 count)                                     \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        u64 to = (u64)(count & MASK) << 4;                                                                             \
        u64 base;                                                                                                      \
        __asm__("leaq 1f(%%rip), %2\n\taddq %2, %3\n\t" FLAGS_PUT "jmp *%3\n\t"                                        \
                ".balign 16\n1:\n\t"                                                                                   \
                ".irp n," COUNTS "\n\t.balign 16\n\t" #op FLAGS_SUF_##T " $\\n, %0\n\tjmp 2f\n\t.endr\n"               \
                                                                        "2:\t" FLAGS_KEEP                              \
                : place(a), "+&a"(ax), "=&r"(base), "+&r"(to)                                                          \
                :                                                                                                      \
                : "cc");                                                                                               \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }
#define FLAGS_ROTATES(op, where, place)                                                                                \
    FLAGS_ROTATE(op, where, place, u8, 31, FLAGS_COUNTS_32)                                                            \
    FLAGS_ROTATE(op, where, place, u16, 31, FLAGS_COUNTS_32)                                                           \
    FLAGS_ROTATE(op, where, place, u32, 31, FLAGS_COUNTS_32)                                                           \
    FLAGS_ROTATE(op, where, place, u64, 63, FLAGS_COUNTS_64)

/* SHLD, SHRD by CL. */
#define FLAGS_SHIFT2(op, T)                                                                                            \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a, T b, u8 count)                                          \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT #op FLAGS_SUF_##T " %%cl, %2, %0\n\t" FLAGS_KEEP                                             \
                : "+r"(a), "+&a"(ax)                                                                                   \
                : "r"(b), "c"(count)                                                                                   \
                : "cc");                                                                                               \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }

/* dst = OP(src), or dst kept (BSF of 0): the old value goes in whole, so that its upper half comes out as the host
 * leaves it. */
#define FLAGS_SOURCE(op, T, mod)                                                                                       \
    static ALWAYS_INLINE u64 flag_##op##_##T(struct cpu *c, u64 old, T src)                                            \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT #op FLAGS_SUF_##T " %2, %" mod "0\n\t" FLAGS_KEEP : "+r"(old), "+&a"(ax) : "r"(src) : "cc"); \
        c->ax_flags = (u16)ax;                                                                                         \
        return old;                                                                                                    \
    }

/* BT family on a register: the host takes the offset modulo the size. */
#define FLAGS_BIT(op, T)                                                                                               \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a, T bit)                                                  \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        __asm__(FLAGS_PUT #op FLAGS_SUF_##T " %2, %0\n\t" FLAGS_KEEP : "+r"(a), "+&a"(ax) : "r"(bit) : "cc");          \
        c->ax_flags = (u16)ax;                                                                                         \
        return a;                                                                                                      \
    }

/* VEX-coded ones: dst = OP(a, b), in the order of the Intel syntax. */
#define FLAGS_VEX3(op, T)                                                                                              \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a, T b)                                                    \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        T dst;                                                                                                         \
        __asm__(FLAGS_PUT #op " %3, %2, %0\n\t" FLAGS_KEEP : "=&r"(dst), "+&a"(ax) : "r"(a), "r"(b) : "cc");           \
        c->ax_flags = (u16)ax;                                                                                         \
        return dst;                                                                                                    \
    }

#define FLAGS_VEX2(op, T)                                                                                              \
    static ALWAYS_INLINE T flag_##op##_##T(struct cpu *c, T a)                                                         \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        T dst;                                                                                                         \
        __asm__(FLAGS_PUT #op " %2, %0\n\t" FLAGS_KEEP : "=&r"(dst), "+&a"(ax) : "r"(a) : "cc");                       \
        c->ax_flags = (u16)ax;                                                                                         \
        return dst;                                                                                                    \
    }

#define FLAGS_SIZES(M, op) M(op, u8) M(op, u16) M(op, u32) M(op, u64)
#define FLAGS_WIDE(M, op)  M(op, u16) M(op, u32) M(op, u64)

FLAGS_SIZES(FLAGS_BINARY, add)
FLAGS_SIZES(FLAGS_BINARY, or)
FLAGS_SIZES(FLAGS_BINARY, and)
FLAGS_SIZES(FLAGS_BINARY, sub)
FLAGS_SIZES(FLAGS_BINARY, xor)
FLAGS_SIZES(FLAGS_BINARY_CF, adc)
FLAGS_SIZES(FLAGS_BINARY_CF, sbb)
FLAGS_SIZES(FLAGS_COMPARE, cmp)
FLAGS_SIZES(FLAGS_COMPARE, test)
FLAGS_SIZES(FLAGS_UNARY, inc)
FLAGS_SIZES(FLAGS_UNARY, dec)
FLAGS_SIZES(FLAGS_UNARY, neg)

FLAGS_ROTATES(rol, reg, "+r")
FLAGS_ROTATES(rol, mem, "+m")
FLAGS_ROTATES(ror, reg, "+r")
FLAGS_ROTATES(ror, mem, "+m")
FLAGS_SIZES(FLAGS_SHIFT, rol)
FLAGS_SIZES(FLAGS_SHIFT, ror)
FLAGS_SIZES(FLAGS_SHIFT, rcl)
FLAGS_SIZES(FLAGS_SHIFT, rcr)
FLAGS_SIZES(FLAGS_SHIFT, shl)
FLAGS_SIZES(FLAGS_SHIFT, shr)
FLAGS_SIZES(FLAGS_SHIFT, sar)
FLAGS_SIZES(FLAGS_SHIFT1, rol)
FLAGS_SIZES(FLAGS_SHIFT1, ror)
FLAGS_SIZES(FLAGS_SHIFT1, rcl)
FLAGS_SIZES(FLAGS_SHIFT1, rcr)
FLAGS_SIZES(FLAGS_SHIFT1, shl)
FLAGS_SIZES(FLAGS_SHIFT1, shr)
FLAGS_SIZES(FLAGS_SHIFT1, sar)
FLAGS_WIDE(FLAGS_SHIFT2, shld)
FLAGS_WIDE(FLAGS_SHIFT2, shrd)

#define FLAGS_SOURCES(op) FLAGS_SOURCE(op, u16, "w") FLAGS_SOURCE(op, u32, "k") FLAGS_SOURCE(op, u64, "q")
FLAGS_SOURCES(bsf)
FLAGS_SOURCES(bsr)
FLAGS_SOURCES(popcnt)
FLAGS_SOURCES(lzcnt)
FLAGS_SOURCES(tzcnt)
FLAGS_SOURCES(imul)

FLAGS_WIDE(FLAGS_BIT, bt)
FLAGS_WIDE(FLAGS_BIT, bts)
FLAGS_WIDE(FLAGS_BIT, btr)
FLAGS_WIDE(FLAGS_BIT, btc)

FLAGS_VEX3(andn, u32)
FLAGS_VEX3(andn, u64)
FLAGS_VEX3(bextr, u32)
FLAGS_VEX3(bextr, u64)
FLAGS_VEX3(bzhi, u32)
FLAGS_VEX3(bzhi, u64)
FLAGS_VEX2(blsi, u32)
FLAGS_VEX2(blsi, u64)
FLAGS_VEX2(blsmsk, u32)
FLAGS_VEX2(blsmsk, u64)
FLAGS_VEX2(blsr, u32)
FLAGS_VEX2(blsr, u64)

#undef FLAGS_BINARY
#undef FLAGS_BINARY_CF
#undef FLAGS_COMPARE
#undef FLAGS_UNARY
#undef FLAGS_SHIFT
#undef FLAGS_SHIFT1
#undef FLAGS_SHIFT2
#undef FLAGS_SOURCE
#undef FLAGS_BIT
#undef FLAGS_VEX2
#undef FLAGS_VEX3
#undef FLAGS_SIZES
#undef FLAGS_WIDE
#undef FLAGS_SOURCES

/*
 * Conditions, numbered as in the low four bits of Jcc, SETcc and CMOVcc (SDM volume 1 appendix B). The argument is
 * ax_flags.
 */
#define FLAG_COND_o(f)   ((f)&AX_OF)
#define FLAG_COND_no(f)  (!((f)&AX_OF))
#define FLAG_COND_b(f)   ((f)&AX_CF)
#define FLAG_COND_nb(f)  (!((f)&AX_CF))
#define FLAG_COND_z(f)   ((f)&AX_ZF)
#define FLAG_COND_nz(f)  (!((f)&AX_ZF))
#define FLAG_COND_be(f)  ((f) & (AX_CF | AX_ZF))
#define FLAG_COND_nbe(f) (!((f) & (AX_CF | AX_ZF)))
#define FLAG_COND_s(f)   ((f)&AX_SF)
#define FLAG_COND_ns(f)  (!((f)&AX_SF))
#define FLAG_COND_p(f)   ((f)&AX_PF)
#define FLAG_COND_np(f)  (!((f)&AX_PF))
/* SF and OF differ: SF is brought down to OF's place. */
#define FLAG_COND_l(f)   (((f) >> 15 ^ (f)) & 1)
#define FLAG_COND_nl(f)  (!FLAG_COND_l(f))
#define FLAG_COND_le(f)  (FLAG_COND_l(f) | ((f)&AX_ZF))
#define FLAG_COND_nle(f) (!FLAG_COND_le(f))

/* M(condition) for all sixteen, in order. */
#define FLAG_CONDITIONS(M) M(o) M(no) M(b) M(nb) M(z) M(nz) M(be) M(nbe) M(s) M(ns) M(p) M(np) M(l) M(nl) M(le) M(nle)

#endif
