/*
 * MOV MOVZX MOVSX MOVSXD MOVBE MOVNTI LEA XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B XLAT CMOVcc SETcc, CBW to CQO. SDM
 * volume 2.
 */
#include "cpu/fault.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/lock.h"
#include "cpu/sem/sem_list.h"

#define MOV(T, E, G, R, M)                                                                                             \
    void sem_mov_##E##_##G##R(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, reg_get_##T(c, i->reg));                                                                 \
    }                                                                                                                  \
    void sem_mov_##E##_##G##M(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        op_store_##T(c, i, reg_get_##T(c, i->reg));                                                                    \
    }                                                                                                                  \
    void sem_mov_##G##_##E##R(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, reg_get_##T(c, i->rm));                                                                 \
    }                                                                                                                  \
    void sem_mov_##G##_##E##M(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, op_load_##T(c, i));                                                                     \
    }                                                                                                                  \
    void sem_mov_##E##_I##R(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        reg_set_##T(c, i->rm, (T)i->imm);                                                                              \
    }                                                                                                                  \
    void sem_mov_##E##_I##M(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        op_store_##T(c, i, (T)i->imm);                                                                                 \
    }
MOV(u8, Eb, Gb, _r, _m)
MOV(u16, Ev, Gv, _16r, _16m)
MOV(u32, Ev, Gv, _32r, _32m)
MOV(u64, Ev, Gv, _64r, _64m)

/* Into and out of the accumulator at an absolute address, immediate into the register of the opcode, and the loads and
 * stores that are ordinary ones to us. */
#define MOV_SHORT(T, bits)                                                                                             \
    void sem_mov_rAX_Ov_##bits(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        reg_set_##T(c, R_AX, op_load_##T(c, i));                                                                       \
    }                                                                                                                  \
    void sem_mov_Ov_rAX_##bits(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        op_store_##T(c, i, reg_get_##T(c, R_AX));                                                                      \
    }                                                                                                                  \
    void sem_mov_Zv_Iv_##bits(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, (T)i->imm);                                                                             \
    }                                                                                                                  \
    void sem_movbe_Gv_Mv_##bits(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, __builtin_bswap##bits(op_load_##T(c, i)));                                              \
    }                                                                                                                  \
    void sem_movbe_Mv_Gv_##bits(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        op_store_##T(c, i, __builtin_bswap##bits(reg_get_##T(c, i->reg)));                                             \
    }                                                                                                                  \
    void sem_lea_##bits(struct cpu *c, const struct insn *i)                                                           \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, (T)op_ea(c, i));                                                                        \
    }                                                                                                                  \
    void sem_xchg_Zv_rAX_##bits(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        T v = reg_get_##T(c, R_AX);                                                                                    \
        reg_set_##T(c, R_AX, reg_get_##T(c, i->reg));                                                                  \
        reg_set_##T(c, i->reg, v);                                                                                     \
    }
SEM_WIDE(MOV_SHORT)

void sem_mov_Zb_Ib(struct cpu *c, const struct insn *i)
{
    reg_set_u8(c, i->reg, (u8)i->imm);
}

void sem_movnti_32(struct cpu *c, const struct insn *i)
{
    op_store_u32(c, i, reg_get_u32(c, i->reg));
}

void sem_movnti_64(struct cpu *c, const struct insn *i)
{
    op_store_u64(c, i, reg_get_u64(c, i->reg));
}

/* Widening: SRC the type that is read, S its signed or unsigned kind that is widened. */
#define MOV_WIDEN(name, SRC, S, T, bits)                                                                               \
    void sem_##name##_##bits##r(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, (T)(S)reg_get_##SRC(c, i->rm));                                                         \
    }                                                                                                                  \
    void sem_##name##_##bits##m(struct cpu *c, const struct insn *i)                                                   \
    {                                                                                                                  \
        reg_set_##T(c, i->reg, (T)(S)op_load_##SRC(c, i));                                                             \
    }
#define MOV_WIDEN_ALL(T, bits)                                                                                         \
    MOV_WIDEN(movzx_Gv_Eb, u8, u8, T, bits)                                                                            \
    MOV_WIDEN(movzx_Gv_Ew, u16, u16, T, bits)                                                                          \
    MOV_WIDEN(movsx_Gv_Eb, u8, i8, T, bits)                                                                            \
    MOV_WIDEN(movsx_Gv_Ew, u16, i16, T, bits)
SEM_WIDE(MOV_WIDEN_ALL)
MOV_WIDEN(movsxd, u16, i16, u16, 16)
MOV_WIDEN(movsxd, u32, i32, u32, 32)
MOV_WIDEN(movsxd, u32, i32, u64, 64)

/* With memory it is always locked. */
#define XCHG(T, E, G, R, M)                                                                                            \
    static T xchg_##T(struct cpu *c, const struct insn *i, T old)                                                      \
    {                                                                                                                  \
        return reg_get_##T(c, i->reg);                                                                                 \
    }                                                                                                                  \
    void sem_xchg_##E##_##G##R(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        T v = reg_get_##T(c, i->rm);                                                                                   \
        reg_set_##T(c, i->rm, reg_get_##T(c, i->reg));                                                                 \
        reg_set_##T(c, i->reg, v);                                                                                     \
    }                                                                                                                  \
    void sem_xchg_##E##_##G##M(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        T old = lock_rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), xchg_##T);                                   \
        reg_set_##T(c, i->reg, old);                                                                                   \
    }

/* The sum goes in last: it stays where both operands are one register. */
#define XADD(T, E, G, R, M)                                                                                            \
    static ALWAYS_INLINE T xadd_##T(struct cpu *c, const struct insn *i, T old)                                        \
    {                                                                                                                  \
        return flag_add_##T(c, old, reg_get_##T(c, i->reg));                                                           \
    }                                                                                                                  \
    void sem_xadd_##E##_##G##R(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        T old = reg_get_##T(c, i->rm);                                                                                 \
        T sum = xadd_##T(c, i, old);                                                                                   \
        reg_set_##T(c, i->reg, old);                                                                                   \
        reg_set_##T(c, i->rm, sum);                                                                                    \
    }                                                                                                                  \
    void sem_xadd_##E##_##G##M(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        T old = rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), xadd_##T);                                        \
        reg_set_##T(c, i->reg, old);                                                                                   \
    }

/* Memory is written in any case: with the old value where it differs. A register is not. */
#define CMPXCHG(T, E, G, R, M)                                                                                         \
    static ALWAYS_INLINE T cmpxchg_##T(struct cpu *c, const struct insn *i, T old)                                     \
    {                                                                                                                  \
        T expected = reg_get_##T(c, R_AX);                                                                             \
        flag_cmp_##T(c, expected, old);                                                                                \
        return old == expected ? reg_get_##T(c, i->reg) : old;                                                         \
    }                                                                                                                  \
    void sem_cmpxchg_##E##_##G##R(struct cpu *c, const struct insn *i)                                                 \
    {                                                                                                                  \
        T old = reg_get_##T(c, i->rm);                                                                                 \
        T v = cmpxchg_##T(c, i, old);                                                                                  \
        if (c->ax_flags & AX_ZF)                                                                                       \
            reg_set_##T(c, i->rm, v);                                                                                  \
        else                                                                                                           \
            reg_set_##T(c, R_AX, old);                                                                                 \
    }                                                                                                                  \
    void sem_cmpxchg_##E##_##G##M(struct cpu *c, const struct insn *i)                                                 \
    {                                                                                                                  \
        T old = rmw_##T(c, i, op_linear(c, i, sizeof(T), MMU_WRITE), cmpxchg_##T);                                     \
        if (!(c->ax_flags & AX_ZF))                                                                                    \
            reg_set_##T(c, R_AX, old);                                                                                 \
    }

#define MOVE_SIZES(M)                                                                                                  \
    M(u8, Eb, Gb, _r, _m) M(u16, Ev, Gv, _16r, _16m) M(u32, Ev, Gv, _32r, _32m) M(u64, Ev, Gv, _64r, _64m)
MOVE_SIZES(XCHG)
MOVE_SIZES(XADD)
MOVE_SIZES(CMPXCHG)

static u64 cmpxchg8b(struct cpu *c, const struct insn *i, u64 old)
{
    u64 expected = (u64)reg_get_u32(c, R_DX) << 32 | reg_get_u32(c, R_AX);
    u64 desired = (u64)reg_get_u32(c, R_CX) << 32 | reg_get_u32(c, R_BX);
    flags_set(c, AX_ZF, old == expected);
    return old == expected ? desired : old;
}

void sem_cmpxchg8b(struct cpu *c, const struct insn *i)
{
    u64 old = rmw_u64(c, i, op_linear(c, i, 8, MMU_WRITE), cmpxchg8b);
    if (!(c->ax_flags & AX_ZF)) {
        reg_set_u32(c, R_AX, (u32)old);
        reg_set_u32(c, R_DX, (u32)(old >> 32));
    }
}

/* Always as if locked: the exchange is one store of 16 bytes. */
void sem_cmpxchg16b(struct cpu *c, const struct insn *i)
{
    u64 expected[2] = {c->gpr[R_AX], c->gpr[R_DX]};
    const u64 desired[2] = {c->gpr[R_BX], c->gpr[R_CX]};
    bool equal = lock_cmpxchg_u128(c, op_linear(c, i, 16, MMU_WRITE), expected, desired);

    flags_set(c, AX_ZF, equal);
    if (!equal) {
        c->gpr[R_AX] = expected[0];
        c->gpr[R_DX] = expected[1];
    }
}

void sem_xlat(struct cpu *c, const struct insn *i)
{
    u64 offset = (c->gpr[R_BX] + reg_get_u8(c, R_AX)) << i->ashift >> i->ashift;
    reg_set_u8(c, R_AX, seg_load_u8(c, i->seg, offset));
}

/* The source is read in any case, and a 32-bit destination is written in any case. */
#define CMOV(cc, T, bits)                                                                                              \
    void sem_cmov##cc##_##bits##r(struct cpu *c, const struct insn *i)                                                 \
    {                                                                                                                  \
        T v = reg_get_##T(c, i->rm);                                                                                   \
        reg_set_##T(c, i->reg, FLAG_COND_##cc(c->ax_flags) ? v : reg_get_##T(c, i->reg));                              \
    }                                                                                                                  \
    void sem_cmov##cc##_##bits##m(struct cpu *c, const struct insn *i)                                                 \
    {                                                                                                                  \
        T v = op_load_##T(c, i);                                                                                       \
        reg_set_##T(c, i->reg, FLAG_COND_##cc(c->ax_flags) ? v : reg_get_##T(c, i->reg));                              \
    }
#define CMOV_SET(cc)                                                                                                   \
    CMOV(cc, u16, 16) CMOV(cc, u32, 32) CMOV(cc, u64, 64) void sem_set##cc##_r(struct cpu *c, const struct insn *i)    \
    {                                                                                                                  \
        reg_set_u8(c, i->rm, FLAG_COND_##cc(c->ax_flags) ? 1 : 0);                                                     \
    }                                                                                                                  \
    void sem_set##cc##_m(struct cpu *c, const struct insn *i)                                                          \
    {                                                                                                                  \
        op_store_u8(c, i, FLAG_COND_##cc(c->ax_flags) ? 1 : 0);                                                        \
    }
FLAG_CONDITIONS(CMOV_SET)

void sem_cbw(struct cpu *c, const struct insn *i)
{
    reg_set_u16(c, R_AX, (u16)(i8)c->gpr[R_AX]);
}

void sem_cwde(struct cpu *c, const struct insn *i)
{
    reg_set_u32(c, R_AX, (u32)(i16)c->gpr[R_AX]);
}

void sem_cdqe(struct cpu *c, const struct insn *i)
{
    c->gpr[R_AX] = (u64)(i32)c->gpr[R_AX];
}

void sem_cwd(struct cpu *c, const struct insn *i)
{
    reg_set_u16(c, R_DX, (i16)c->gpr[R_AX] < 0 ? 0xffff : 0);
}

void sem_cdq(struct cpu *c, const struct insn *i)
{
    reg_set_u32(c, R_DX, (i32)c->gpr[R_AX] < 0 ? ~0u : 0);
}

void sem_cqo(struct cpu *c, const struct insn *i)
{
    c->gpr[R_DX] = (i64)c->gpr[R_AX] < 0 ? ~0ull : 0;
}
