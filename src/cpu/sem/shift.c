/*
 * ROL ROR RCL RCR SHL SHR SAR by one, by CL and by an immediate; SHLD SHRD; RORX SARX SHLX SHRX. SDM volume 2.
 *
 * A count that is 0 after masking changes no flag, and a memory operand is written all the same.
 */
#include "cpu/sem/flags.h"
#include "cpu/sem/lock.h"
#include "cpu/sem/sem_list.h"

/* One kind of count: the expressions are the shifted `old`, in a register and in memory. */
#define SHIFT_FORM(op, form, T, R, M, IN_REG, IN_MEM)                                                                  \
    static ALWAYS_INLINE T op##_##form##_mem_##T(struct cpu *c, const struct insn *i, T old)                           \
    {                                                                                                                  \
        return IN_MEM;                                                                                                 \
    }                                                                                                                  \
    void sem_##op##_##form##R(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        T old = reg_get_##T(c, i->rm);                                                                                 \
        reg_set_##T(c, i->rm, IN_REG);                                                                                 \
    }                                                                                                                  \
    void sem_##op##_##form##M(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), op##_##form##_mem_##T);                                   \
    }
#define SHIFT_FORM_SAME(op, form, T, R, M, EXPR) SHIFT_FORM(op, form, T, R, M, EXPR, EXPR)

#define SHIFT_SIZE(op, REG, MEM, E, T, R, M)                                                                           \
    SHIFT_FORM(op, E##_Ib, T, R, M, REG##_##T(c, old, (u8)i->imm), MEM##_##T(c, old, (u8)i->imm))                      \
    SHIFT_FORM_SAME(op, E##_CL, T, R, M, flag_##op##_##T(c, old, (u8)c->gpr[R_CX]))                                    \
    SHIFT_FORM_SAME(op, E##_One, T, R, M, flag_##op##1_##T(c, old))

/* REG, MEM: the functions for an immediate count. */
#define SHIFT(op, REG, MEM)                                                                                            \
    SHIFT_SIZE(op, REG, MEM, Eb, u8, _r, _m)                                                                           \
    SHIFT_SIZE(op, REG, MEM, Ev, u16, _16r, _16m)                                                                      \
    SHIFT_SIZE(op, REG, MEM, Ev, u32, _32r, _32m)                                                                      \
    SHIFT_SIZE(op, REG, MEM, Ev, u64, _64r, _64m)

SHIFT(rol, flag_rol_reg, flag_rol_mem)
SHIFT(ror, flag_ror_reg, flag_ror_mem)
SHIFT(rcl, flag_rcl, flag_rcl)
SHIFT(rcr, flag_rcr, flag_rcr)
SHIFT(shl, flag_shl, flag_shl)
SHIFT(shr, flag_shr, flag_shr)
SHIFT(sar, flag_sar, flag_sar)

#define SHIFT_DOUBLE_SIZE(op, T, R, M)                                                                                 \
    SHIFT_FORM_SAME(op, Ev_Gv_Ib, T, R, M, flag_##op##_##T(c, old, reg_get_##T(c, i->reg), (u8)i->imm))                \
    SHIFT_FORM_SAME(op, Ev_Gv_CL, T, R, M, flag_##op##_##T(c, old, reg_get_##T(c, i->reg), (u8)c->gpr[R_CX]))
#define SHIFT_DOUBLE(op)                                                                                               \
    SHIFT_DOUBLE_SIZE(op, u16, _16r, _16m)                                                                             \
    SHIFT_DOUBLE_SIZE(op, u32, _32r, _32m)                                                                             \
    SHIFT_DOUBLE_SIZE(op, u64, _64r, _64m)

SHIFT_DOUBLE(shld)
SHIFT_DOUBLE(shrd)

/* BMI2: no flags; `a` is the r/m operand. */
#define SHIFT_BMI(op, T, S, bits, COUNT, EXPR)                                                                         \
    static ALWAYS_INLINE void op##_##T(struct cpu *c, const struct insn *i, T a)                                       \
    {                                                                                                                  \
        unsigned n = (COUNT) & (bits - 1);                                                                             \
        reg_set_##T(c, i->reg, EXPR);                                                                                  \
    }                                                                                                                  \
    void sem_##op##_##bits##r(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op##_##T(c, i, reg_get_##T(c, i->rm));                                                                         \
    }                                                                                                                  \
    void sem_##op##_##bits##m(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op##_##T(c, i, op_load_##T(c, i));                                                                             \
    }

#define SHIFT_BMI_SIZE(T, S, bits)                                                                                     \
    SHIFT_BMI(shlx, T, S, bits, (unsigned)c->gpr[i->vvvv], a << n)                                                     \
    SHIFT_BMI(shrx, T, S, bits, (unsigned)c->gpr[i->vvvv], a >> n)                                                     \
    SHIFT_BMI(sarx, T, S, bits, (unsigned)c->gpr[i->vvvv], (T)((S)a >> n))                                             \
    SHIFT_BMI(rorx, T, S, bits, (unsigned)i->imm, a >> n | a << (-n & (bits - 1)))

SHIFT_BMI_SIZE(u32, i32, 32)
SHIFT_BMI_SIZE(u64, i64, 64)
