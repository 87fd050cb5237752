/*
 * ROL ROR RCL RCR SHL SHR SAR by one, by CL and by an immediate; SHLD SHRD; RORX SARX SHLX SHRX. SDM volume 2.
 *
 * A count that is 0 after masking changes no flag, and a memory operand is written all the same.
 */
#include "cpu/sem/flags.h"
#include "cpu/sem/lock.h"
#include "cpu/sem/sem_list.h"

/* One kind of count: EXPR is the shifted `old`. */
#define SHIFT_FORM(op, form, T, R, M, EXPR)                                                                    \
    static ALWAYS_INLINE T op##_##form##_##T(struct cpu *c, const struct insn *i, T old)                       \
    {                                                                                                          \
        return EXPR;                                                                                           \
    }                                                                                                          \
    void sem_##op##_##form##R(struct cpu *c, const struct insn *i)                                             \
    {                                                                                                          \
        reg_set_##T(c, i->rm, op##_##form##_##T(c, i, reg_get_##T(c, i->rm)));                                 \
    }                                                                                                          \
    void sem_##op##_##form##M(struct cpu *c, const struct insn *i)                                             \
    {                                                                                                          \
        rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), op##_##form##_##T);                               \
    }

#define SHIFT_SIZE(op, E, T, R, M)                                                                             \
    SHIFT_FORM(op, E##_Ib, T, R, M, flag_##op##_##T(c, old, (u8)i->imm))                                       \
    SHIFT_FORM(op, E##_CL, T, R, M, flag_##op##_##T(c, old, (u8)c->gpr[R_CX]))                                 \
    SHIFT_FORM(op, E##_One, T, R, M, flag_##op##1_##T(c, old))

#define SHIFT(op)                                                                                              \
    SHIFT_SIZE(op, Eb, u8, _r, _m)                                                                             \
    SHIFT_SIZE(op, Ev, u16, _16r, _16m)                                                                        \
    SHIFT_SIZE(op, Ev, u32, _32r, _32m)                                                                        \
    SHIFT_SIZE(op, Ev, u64, _64r, _64m)

SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)

#define SHIFT_DOUBLE_SIZE(op, T, R, M)                                                                         \
    SHIFT_FORM(op, Ev_Gv_Ib, T, R, M, flag_##op##_##T(c, old, reg_get_##T(c, i->reg), (u8)i->imm))             \
    SHIFT_FORM(op, Ev_Gv_CL, T, R, M, flag_##op##_##T(c, old, reg_get_##T(c, i->reg), (u8)c->gpr[R_CX]))
#define SHIFT_DOUBLE(op)                                                                                       \
    SHIFT_DOUBLE_SIZE(op, u16, _16r, _16m)                                                                     \
    SHIFT_DOUBLE_SIZE(op, u32, _32r, _32m)                                                                     \
    SHIFT_DOUBLE_SIZE(op, u64, _64r, _64m)

SHIFT_DOUBLE(shld)
SHIFT_DOUBLE(shrd)

/* BMI2: no flags; `a` is the r/m operand. */
#define SHIFT_BMI(op, T, S, bits, COUNT, EXPR)                                                                 \
    static ALWAYS_INLINE void op##_##T(struct cpu *c, const struct insn *i, T a)                               \
    {                                                                                                          \
        unsigned n = (COUNT) & (bits - 1);                                                                     \
        reg_set_##T(c, i->reg, EXPR);                                                                          \
    }                                                                                                          \
    void sem_##op##_##bits##r(struct cpu *c, const struct insn *i)                                             \
    {                                                                                                          \
        op##_##T(c, i, reg_get_##T(c, i->rm));                                                                 \
    }                                                                                                          \
    void sem_##op##_##bits##m(struct cpu *c, const struct insn *i)                                             \
    {                                                                                                          \
        op##_##T(c, i, op_load_##T(c, i));                                                                     \
    }

#define SHIFT_BMI_SIZE(T, S, bits)                                                                             \
    SHIFT_BMI(shlx, T, S, bits, (unsigned)c->gpr[i->vvvv], a << n)                                             \
    SHIFT_BMI(shrx, T, S, bits, (unsigned)c->gpr[i->vvvv], a >> n)                                             \
    SHIFT_BMI(sarx, T, S, bits, (unsigned)c->gpr[i->vvvv], (T)((S)a >> n))                                     \
    SHIFT_BMI(rorx, T, S, bits, (unsigned)i->imm, a >> n | a << (-n & (bits - 1)))

SHIFT_BMI_SIZE(u32, i32, 32)
SHIFT_BMI_SIZE(u64, i64, 64)
