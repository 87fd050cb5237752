/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT, ADCX ADOX. SDM volume 2.
 *
 * The forms of a binary operation: E is the r/m operand, G the register, I the immediate; Eb Gb for bytes, Ev Gv with
 * the size at the end. The memory form of E, G and E, I is the only one that reads, modifies and writes.
 */
#include "cpu/sem/flags.h"
#include "cpu/sem/lock.h"
#include "cpu/sem/sem_list.h"

/* Operation from register or memory into a register, and with an immediate into a register. */
#define ALU_TO_REG(op, T, E, G, R, M)                                                                                  \
    void sem_##op##_##E##_##G##R(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, flag_##op##_##T(c, reg_get_##T(c, i->rm), reg_get_##T(c, i->reg)));                      \
    }                                                                                                                  \
    void sem_##op##_##G##_##E##R(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, flag_##op##_##T(c, reg_get_##T(c, i->reg), reg_get_##T(c, i->rm)));                     \
    }                                                                                                                  \
    void sem_##op##_##G##_##E##M(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        T b = op_load_##T(c, i);                                                                                       \
        reg_set_##T(c, i->reg, flag_##op##_##T(c, reg_get_##T(c, i->reg), b));                                         \
    }                                                                                                                  \
    void sem_##op##_##E##_I##R(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, flag_##op##_##T(c, reg_get_##T(c, i->rm), (T)i->imm));                                   \
    }

/* From a register or an immediate into memory. */
#define ALU_TO_MEM(op, T, E, G, R, M)                                                                                  \
    static ALWAYS_INLINE T op##_mem_reg_##T(struct cpu *c, const struct insn *i, T old)                                \
    {                                                                                                                  \
        return flag_##op##_##T(c, old, reg_get_##T(c, i->reg));                                                        \
    }                                                                                                                  \
    static ALWAYS_INLINE T op##_mem_imm_##T(struct cpu *c, const struct insn *i, T old)                                \
    {                                                                                                                  \
        return flag_##op##_##T(c, old, (T)i->imm);                                                                     \
    }                                                                                                                  \
    void sem_##op##_##E##_##G##M(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), op##_mem_reg_##T);                                        \
    }                                                                                                                  \
    void sem_##op##_##E##_I##M(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), op##_mem_imm_##T);                                        \
    }

/* CMP and TEST: flags only. TEST has no G, E form; the two coincide. */
#define ALU_COMPARE(op, T, E, G, R, M)                                                                                 \
    void sem_##op##_##E##_##G##R(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        flag_##op##_##T(c, reg_get_##T(c, i->rm), reg_get_##T(c, i->reg));                                             \
    }                                                                                                                  \
    void sem_##op##_##E##_##G##M(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        flag_##op##_##T(c, op_load_##T(c, i), reg_get_##T(c, i->reg));                                                 \
    }                                                                                                                  \
    void sem_##op##_##E##_I##R(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        flag_##op##_##T(c, reg_get_##T(c, i->rm), (T)i->imm);                                                          \
    }                                                                                                                  \
    void sem_##op##_##E##_I##M(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        flag_##op##_##T(c, op_load_##T(c, i), (T)i->imm);                                                              \
    }

#define ALU_COMPARE_REVERSED(op, T, E, G, R, M)                                                                        \
    void sem_##op##_##G##_##E##R(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        flag_##op##_##T(c, reg_get_##T(c, i->reg), reg_get_##T(c, i->rm));                                             \
    }                                                                                                                  \
    void sem_##op##_##G##_##E##M(struct cpu *c, const struct insn *i)                                                  \
    {                                                                                                                  \
        T b = op_load_##T(c, i);                                                                                       \
        flag_##op##_##T(c, reg_get_##T(c, i->reg), b);                                                                 \
    }

#define ALU_UNARY(op, T, E, R, M, EXPR)                                                                                \
    static ALWAYS_INLINE T op##_mem_##T(struct cpu *c, const struct insn *i, T v)                                      \
    {                                                                                                                  \
        return EXPR;                                                                                                   \
    }                                                                                                                  \
    void sem_##op##_##E##R(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, op##_mem_##T(c, i, reg_get_##T(c, i->rm)));                                              \
    }                                                                                                                  \
    void sem_##op##_##E##M(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), op##_mem_##T);                                            \
    }

/* INC and DEC with the register in the opcode. */
#define ALU_SHORT(op, T, bits)                                                                                         \
    void sem_##op##_Zv_##bits(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, flag_##op##_##T(c, reg_get_##T(c, i->reg)));                                            \
    }

#define ALU_SIZES(M, op)                                                                                               \
    M(op, u8, Eb, Gb, _r, _m)                                                                                          \
    M(op, u16, Ev, Gv, _16r, _16m) M(op, u32, Ev, Gv, _32r, _32m) M(op, u64, Ev, Gv, _64r, _64m)
#define ALU_BINARY(op) ALU_SIZES(ALU_TO_REG, op) ALU_SIZES(ALU_TO_MEM, op)
#define ALU_UNARY_SIZES(op, F)                                                                                         \
    ALU_UNARY(op, u8, Eb, _r, _m, F(u8))                                                                               \
    ALU_UNARY(op, u16, Ev, _16r, _16m, F(u16))                                                                         \
    ALU_UNARY(op, u32, Ev, _32r, _32m, F(u32)) ALU_UNARY(op, u64, Ev, _64r, _64m, F(u64))
#define ALU_SHORT_SIZES(op) ALU_SHORT(op, u16, 16) ALU_SHORT(op, u32, 32) ALU_SHORT(op, u64, 64)

ALU_BINARY(add)
ALU_BINARY(or)
ALU_BINARY(adc)
ALU_BINARY(sbb)
ALU_BINARY(and)
ALU_BINARY(sub)
ALU_BINARY(xor)
ALU_SIZES(ALU_COMPARE, cmp)
ALU_SIZES(ALU_COMPARE_REVERSED, cmp)
ALU_SIZES(ALU_COMPARE, test)

#define NOT_OF(T) (T) ~v
#define NEG_OF(T) flag_neg_##T(c, v)
#define INC_OF(T) flag_inc_##T(c, v)
#define DEC_OF(T) flag_dec_##T(c, v)
ALU_UNARY_SIZES(not, NOT_OF)
ALU_UNARY_SIZES(neg, NEG_OF)
ALU_UNARY_SIZES(inc, INC_OF)
ALU_UNARY_SIZES(dec, DEC_OF)
ALU_SHORT_SIZES(inc)
ALU_SHORT_SIZES(dec)

/* ADCX and ADOX: an addition whose carry goes in and out of one flag only. */
#define ALU_ADX(op, T, bits, FLAG)                                                                                     \
    static ALWAYS_INLINE void op##_##T(struct cpu *c, const struct insn *i, T b)                                       \
    {                                                                                                                  \
        T sum;                                                                                                         \
        bool carry = __builtin_add_overflow(reg_get_##T(c, i->reg), b, &sum);                                          \
        carry |= __builtin_add_overflow(sum, (T)((c->ax_flags & FLAG) != 0), &sum);                                    \
        reg_set_##T(c, i->reg, sum);                                                                                   \
        flags_set(c, FLAG, carry);                                                                                     \
    }                                                                                                                  \
    void sem_##op##_##bits##r(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op##_##T(c, i, reg_get_##T(c, i->rm));                                                                         \
    }                                                                                                                  \
    void sem_##op##_##bits##m(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op##_##T(c, i, op_load_##T(c, i));                                                                             \
    }
ALU_ADX(adcx, u32, 32, AX_CF)
ALU_ADX(adcx, u64, 64, AX_CF)
ALU_ADX(adox, u32, 32, AX_OF)
ALU_ADX(adox, u64, 64, AX_OF)
