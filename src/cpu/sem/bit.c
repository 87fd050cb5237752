/*
 * BT BTS BTR BTC, BSF BSR, POPCNT LZCNT TZCNT, BMI1 and BMI2, CRC32, BSWAP. SDM volume 2.
 */
#include "cpu/sem/flags.h"
#include "cpu/sem/lock.h"
#include "cpu/sem/sem_list.h"

/*
 * With the bit number in a register, a memory operand is a bit string: the number, signed, selects the unit of operand
 * size before or after the effective address. An immediate is taken modulo the operand size.
 */
#define BIT_UNIT(T, S, bits, log2)                                                                                     \
    static ALWAYS_INLINE u64 bit_linear_##T(struct cpu *c, const struct insn *i, enum mmu_access a)                    \
    {                                                                                                                  \
        u64 unit = (u64)((i64)(S)reg_get_##T(c, i->reg) >> log2) * sizeof(T);                                          \
        u64 ea = (op_ea(c, i) + unit) << i->ashift >> i->ashift;                                                       \
        return seg_linear(c, i->seg, ea, sizeof(T), a);                                                                \
    }
BIT_UNIT(u16, i16, 16, 4)
BIT_UNIT(u32, i32, 32, 5)
BIT_UNIT(u64, i64, 64, 6)

#define BIT_TEST_REG(op, T, bits)                                                                                      \
    static ALWAYS_INLINE T op##_reg_##T(struct cpu *c, const struct insn *i, T old)                                    \
    {                                                                                                                  \
        return flag_##op##_##T(c, old, reg_get_##T(c, i->reg));                                                        \
    }                                                                                                                  \
    static ALWAYS_INLINE T op##_imm_##T(struct cpu *c, const struct insn *i, T old)                                    \
    {                                                                                                                  \
        return flag_##op##_##T(c, old, (T)(i->imm & (bits - 1)));                                                      \
    }                                                                                                                  \
    void sem_##op##_Ev_Gv_##bits##r(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, op##_reg_##T(c, i, reg_get_##T(c, i->rm)));                                              \
    }                                                                                                                  \
    void sem_##op##_Ev_Ib_##bits##r(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, op##_imm_##T(c, i, reg_get_##T(c, i->rm)));                                              \
    }

#define BIT_TEST_MEM(op, T, bits)                                                                                      \
    void sem_##op##_Ev_Gv_##bits##m(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        rmw_##T(c, i, bit_linear_##T(c, i, MMU_WRITE), op##_reg_##T);                                                  \
    }                                                                                                                  \
    void sem_##op##_Ev_Ib_##bits##m(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), op##_imm_##T);                                            \
    }

#define BIT_CHANGE(T, bits)                                                                                            \
    BIT_TEST_REG(bts, T, bits)                                                                                         \
    BIT_TEST_MEM(bts, T, bits)                                                                                         \
    BIT_TEST_REG(btr, T, bits) BIT_TEST_MEM(btr, T, bits) BIT_TEST_REG(btc, T, bits) BIT_TEST_MEM(btc, T, bits)
SEM_WIDE(BIT_CHANGE)

/* BT writes nothing: not even the upper half of a 32-bit register. */
#define BIT_TEST(T, bits)                                                                                              \
    void sem_bt_Ev_Gv_##bits##r(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        flag_bt_##T(c, reg_get_##T(c, i->rm), reg_get_##T(c, i->reg));                                                 \
    }                                                                                                                  \
    void sem_bt_Ev_Ib_##bits##r(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        flag_bt_##T(c, reg_get_##T(c, i->rm), (T)(i->imm & (bits - 1)));                                               \
    }                                                                                                                  \
    void sem_bt_Ev_Gv_##bits##m(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        T v = mmu_load_##T(c, c->mmu_index, bit_linear_##T(c, i, MMU_READ));                                           \
        flag_bt_##T(c, v, reg_get_##T(c, i->reg));                                                                     \
    }                                                                                                                  \
    void sem_bt_Ev_Ib_##bits##m(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        flag_bt_##T(c, op_load_##T(c, i), (T)(i->imm & (bits - 1)));                                                   \
    }
SEM_WIDE(BIT_TEST)

/* The register is written as a whole, since the host was given it as a whole: BSF and BSR of 0 leave it. */
#define BIT_COUNT(op, T, bits)                                                                                         \
    void sem_##op##_##bits##r(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        c->gpr[i->reg] = flag_##op##_##T(c, c->gpr[i->reg], reg_get_##T(c, i->rm));                                    \
    }                                                                                                                  \
    void sem_##op##_##bits##m(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        T v = op_load_##T(c, i);                                                                                       \
        c->gpr[i->reg] = flag_##op##_##T(c, c->gpr[i->reg], v);                                                        \
    }
#define BIT_COUNTS(T, bits)                                                                                            \
    BIT_COUNT(bsf, T, bits)                                                                                            \
    BIT_COUNT(bsr, T, bits) BIT_COUNT(popcnt, T, bits) BIT_COUNT(lzcnt, T, bits) BIT_COUNT(tzcnt, T, bits)
SEM_WIDE(BIT_COUNTS)

/* BMI: DST is the register field that is written, `v` the r/m operand. */
#define BMI(op, T, bits, DST, EXPR)                                                                                    \
    static ALWAYS_INLINE void op##_##T(struct cpu *c, const struct insn *i, T v)                                       \
    {                                                                                                                  \
        reg_set_##T(c, i->DST, EXPR);                                                                                  \
    }                                                                                                                  \
    void sem_##op##_##bits##r(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op##_##T(c, i, reg_get_##T(c, i->rm));                                                                         \
    }                                                                                                                  \
    void sem_##op##_##bits##m(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op##_##T(c, i, op_load_##T(c, i));                                                                             \
    }

#define BMI_ALL(T, bits)                                                                                               \
    BMI(andn, T, bits, reg, flag_andn_##T(c, reg_get_##T(c, i->vvvv), v))                                              \
    BMI(bextr, T, bits, reg, flag_bextr_##T(c, v, reg_get_##T(c, i->vvvv)))                                            \
    BMI(bzhi, T, bits, reg, flag_bzhi_##T(c, v, reg_get_##T(c, i->vvvv)))                                              \
    BMI(blsi, T, bits, vvvv, flag_blsi_##T(c, v))                                                                      \
    BMI(blsr, T, bits, vvvv, flag_blsr_##T(c, v))                                                                      \
    BMI(blsmsk, T, bits, vvvv, flag_blsmsk_##T(c, v))                                                                  \
    BMI(pdep, T, bits, reg, host_pdep_##T(reg_get_##T(c, i->vvvv), v))                                                 \
    BMI(pext, T, bits, reg, host_pext_##T(reg_get_##T(c, i->vvvv), v))

#define HOST_VEX(op, T)                                                                                                \
    static ALWAYS_INLINE T host_##op##_##T(T a, T b)                                                                   \
    {                                                                                                                  \
        __asm__(#op " %1, %0, %0" : "+r"(a) : "r"(b));                                                                 \
        return a;                                                                                                      \
    }
HOST_VEX(pdep, u32)
HOST_VEX(pdep, u64)
HOST_VEX(pext, u32)
HOST_VEX(pext, u64)

SEM_DWIDE(BMI_ALL)

/* The 64-bit form too keeps 32 bits only. */
#define CRC32(T, suffix, reg_view, r_name, m_name)                                                                     \
    static ALWAYS_INLINE void crc32_##T(struct cpu *c, const struct insn *i, T v)                                      \
    {                                                                                                                  \
        u64 crc = (u32)c->gpr[i->reg];                                                                                 \
        __asm__("crc32" suffix " %1, %" reg_view "0" : "+r"(crc) : "r"(v));                                            \
        c->gpr[i->reg] = (u32)crc;                                                                                     \
    }                                                                                                                  \
    void sem_crc32_##r_name(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        crc32_##T(c, i, reg_get_##T(c, i->rm));                                                                        \
    }                                                                                                                  \
    void sem_crc32_##m_name(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        crc32_##T(c, i, op_load_##T(c, i));                                                                            \
    }
CRC32(u8, "b", "k", Eb_r, Eb_m)
CRC32(u16, "w", "k", Ev_16r, Ev_16m)
CRC32(u32, "l", "k", Ev_32r, Ev_32m)
CRC32(u64, "q", "q", Ev_64r, Ev_64m)

/* Undefined for 16 bits: processors clear the register. */
void sem_bswap_16(struct cpu *c, const struct insn *i)
{
    reg_set_u16(c, i->reg, 0);
}

void sem_bswap_32(struct cpu *c, const struct insn *i)
{
    reg_set_u32(c, i->reg, __builtin_bswap32(reg_get_u32(c, i->reg)));
}

void sem_bswap_64(struct cpu *c, const struct insn *i)
{
    reg_set_u64(c, i->reg, __builtin_bswap64(c->gpr[i->reg]));
}
