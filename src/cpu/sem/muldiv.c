/*
 * MUL IMUL DIV IDIV MULX. SDM volume 2.
 *
 * The host carries them out, for the sake of the flags; a division is looked at first, so that the host never faults.
 */
#include "cpu/fault.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

/* op rax_rdx: the flags go in with AX before it gets the operand, and come out after the result has left it. */
#define HOST_WIDE(op, suffix, name)                                                                                    \
    static ALWAYS_INLINE u64 host_##name(struct cpu *c, u64 low, u64 *high, u64 b)                                     \
    {                                                                                                                  \
        u32 ax = c->ax_flags;                                                                                          \
        u64 hi = *high, out;                                                                                           \
        __asm__(FLAGS_PUT "movq %[low], %%rax\n\t" #op suffix "\n\tmovq %%rax, %[out]\n\t" FLAGS_KEEP                  \
                : "+&a"(ax), "+&d"(hi), [out] "=&r"(out)                                                               \
                : [low] "r"(low), [b] "r"(b)                                                                           \
                : "cc");                                                                                               \
        c->ax_flags = (u16)ax;                                                                                         \
        *high = hi;                                                                                                    \
        return out;                                                                                                    \
    }
#define HOST_WIDE_SIZES(op)                                                                                            \
    HOST_WIDE(op, "b %b[b]", op##_u8)                                                                                  \
    HOST_WIDE(op, "w %w[b]", op##_u16)                                                                                 \
    HOST_WIDE(op, "l %k[b]", op##_u32)                                                                                 \
    HOST_WIDE(op, "q %q[b]", op##_u64)

HOST_WIDE_SIZES(mul)
HOST_WIDE_SIZES(imul)
HOST_WIDE_SIZES(div)
HOST_WIDE_SIZES(idiv)

/* Does the quotient fit? Unsigned: the high half of the dividend must be below the divisor, which is then not 0. */
static ALWAYS_INLINE bool div_fits(u64 high, u64 b)
{
    return high < b;
}

/* Signed, `bits` wide operands, the dividend twice as wide, both sign-extended here. */
static ALWAYS_INLINE bool idiv_fits(i128 dividend, i64 b, unsigned bits)
{
    u128 n = dividend < 0 ? -(u128)dividend : (u128)dividend;
    u64 d = b < 0 ? -(u64)b : (u64)b;
    bool negative = (dividend < 0) != (b < 0);
    u128 quotients = ((u128)1 << (bits - 1)) + (negative ? 1 : 0); /* 0 to this, exclusive */
    return n < quotients * d;
}

/* The one-operand forms on rDX:rAX. Bytes use AX alone. */
#define MULTIPLY(op, T, R, M)                                                                                          \
    static ALWAYS_INLINE void op##_##T(struct cpu *c, T b)                                                             \
    {                                                                                                                  \
        u64 high = c->gpr[R_DX];                                                                                       \
        u64 low = host_##op##_##T(c, c->gpr[R_AX], &high, b);                                                          \
        reg_set_##T(c, R_AX, (T)low);                                                                                  \
        reg_set_##T(c, R_DX, (T)high);                                                                                 \
    }                                                                                                                  \
    MULDIV_FORMS(op, T, Ev, R, M)

#define DIVIDE(T, S, W, bits)                                                                                          \
    static ALWAYS_INLINE void div_##T(struct cpu *c, T b)                                                              \
    {                                                                                                                  \
        u64 high = reg_get_##T(c, R_DX);                                                                               \
        if (!div_fits(high, b))                                                                                        \
            cpu_fault(c, EXC_DE);                                                                                      \
        u64 low = host_div_##T(c, c->gpr[R_AX], &high, b);                                                             \
        reg_set_##T(c, R_AX, (T)low);                                                                                  \
        reg_set_##T(c, R_DX, (T)high);                                                                                 \
    }                                                                                                                  \
    static ALWAYS_INLINE void idiv_##T(struct cpu *c, T b)                                                             \
    {                                                                                                                  \
        u64 high = c->gpr[R_DX];                                                                                       \
        W dividend = (W)((unsigned W)reg_get_##T(c, R_DX) << bits | reg_get_##T(c, R_AX));                             \
        if (!idiv_fits(dividend, (S)b, bits))                                                                          \
            cpu_fault(c, EXC_DE);                                                                                      \
        u64 low = host_idiv_##T(c, c->gpr[R_AX], &high, b);                                                            \
        reg_set_##T(c, R_AX, (T)low);                                                                                  \
        reg_set_##T(c, R_DX, (T)high);                                                                                 \
    }                                                                                                                  \
    MULDIV_FORMS(div, T, Ev, _##bits##r, _##bits##m)                                                                   \
    MULDIV_FORMS(idiv, T, Ev, _##bits##r, _##bits##m)

#define MULDIV_FORMS(op, T, E, R, M)                                                                                   \
    void sem_##op##_##E##R(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        op##_##T(c, reg_get_##T(c, i->rm));                                                                            \
    }                                                                                                                  \
    void sem_##op##_##E##M(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        op##_##T(c, op_load_##T(c, i));                                                                                \
    }

MULTIPLY(mul, u16, _16r, _16m)
MULTIPLY(mul, u32, _32r, _32m)
MULTIPLY(mul, u64, _64r, _64m)
MULTIPLY(imul, u16, _16r, _16m)
MULTIPLY(imul, u32, _32r, _32m)
MULTIPLY(imul, u64, _64r, _64m)
DIVIDE(u16, i16, int, 16)
DIVIDE(u32, i32, long, 32)
DIVIDE(u64, i64, __int128, 64)

static ALWAYS_INLINE void mul_u8(struct cpu *c, u8 b)
{
    u64 high = 0;
    reg_set_u16(c, R_AX, (u16)host_mul_u8(c, c->gpr[R_AX], &high, b));
}

static ALWAYS_INLINE void imul_u8(struct cpu *c, u8 b)
{
    u64 high = 0;
    reg_set_u16(c, R_AX, (u16)host_imul_u8(c, c->gpr[R_AX], &high, b));
}

static ALWAYS_INLINE void div_u8(struct cpu *c, u8 b)
{
    u64 high = 0;
    if (!div_fits(reg_get_u16(c, R_AX) >> 8, b))
        cpu_fault(c, EXC_DE);
    reg_set_u16(c, R_AX, (u16)host_div_u8(c, c->gpr[R_AX], &high, b));
}

static ALWAYS_INLINE void idiv_u8(struct cpu *c, u8 b)
{
    u64 high = 0;
    if (!idiv_fits((i16)reg_get_u16(c, R_AX), (i8)b, 8))
        cpu_fault(c, EXC_DE);
    reg_set_u16(c, R_AX, (u16)host_idiv_u8(c, c->gpr[R_AX], &high, b));
}

MULDIV_FORMS(mul, u8, Eb, _r, _m)
MULDIV_FORMS(imul, u8, Eb, _r, _m)
MULDIV_FORMS(div, u8, Eb, _r, _m)
MULDIV_FORMS(idiv, u8, Eb, _r, _m)

/* IMUL with two and three operands. */
#define IMUL(T, bits)                                                                                                  \
    void sem_imul_Gv_Ev_##bits##r(struct cpu *c, const struct insn *i)                                                 \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, (T)flag_imul_##T(c, c->gpr[i->reg], reg_get_##T(c, i->rm)));                            \
    }                                                                                                                  \
    void sem_imul_Gv_Ev_##bits##m(struct cpu *c, const struct insn *i)                                                 \
    {                                                                                                                  \
        T b = op_load_##T(c, i);                                                                                       \
        reg_set_##T(c, i->reg, (T)flag_imul_##T(c, c->gpr[i->reg], b));                                                \
    }                                                                                                                  \
    void sem_imul_Gv_Ev_I_##bits##r(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, (T)flag_imul_##T(c, i->imm, reg_get_##T(c, i->rm)));                                    \
    }                                                                                                                  \
    void sem_imul_Gv_Ev_I_##bits##m(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        T b = op_load_##T(c, i);                                                                                       \
        reg_set_##T(c, i->reg, (T)flag_imul_##T(c, i->imm, b));                                                        \
    }
SEM_WIDE(IMUL)

/* MULX: the high half is written last, so it stays where both destinations are one register. */
#define MULX(T, W, bits)                                                                                               \
    static ALWAYS_INLINE void mulx_##T(struct cpu *c, const struct insn *i, T b)                                       \
    {                                                                                                                  \
        W product = (W)reg_get_##T(c, R_DX) * b;                                                                       \
        reg_set_##T(c, i->vvvv, (T)product);                                                                           \
        reg_set_##T(c, i->reg, (T)(product >> bits));                                                                  \
    }                                                                                                                  \
    void sem_mulx_##bits##r(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        mulx_##T(c, i, reg_get_##T(c, i->rm));                                                                         \
    }                                                                                                                  \
    void sem_mulx_##bits##m(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        mulx_##T(c, i, op_load_##T(c, i));                                                                             \
    }
MULX(u32, u64, 32)
MULX(u64, u128, 64)
