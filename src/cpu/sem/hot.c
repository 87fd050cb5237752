/*
 * Implements cpu/sem/hot.h: variants of moves, arithmetic, LEA, the stack and near branches, and compare-and-branch.
 *
 * A hot function has no stack frame: the one call it makes is a tail call, to the general function or to the next
 * instruction. That each ends in an indirect jump of its own is what the host's branch prediction needs: from one loop
 * for all of them it learns little.
 */
#include "cpu/sem/hot.h"

#include "cpu/sem/flags.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

/*
 * Addresses. B: a base and a displacement. X: an index as well. S: relative to FS or GS.
 */
#define EA_B(c, i) ((c)->gpr[(i)->base] + (u64)(i)->disp)
#define EA_X(c, i) (EA_B(c, i) + ((c)->gpr[(i)->index] << (i)->scale))
#define EA_S(c, i) (EA_X(c, i) + (c)->seg_base[(i)->seg])

/* On to the next instruction, after everything that could raise a request or a fault was ruled out. */
static ALWAYS_INLINE void next(struct cpu *c, const struct insn *i)
{
    c->cur = i + 1;
    i[1].fn(c, i + 1);
}

void hot_stop(struct cpu *c, const struct insn *i)
{
    c->cur = i - 1;
}

enum form { FORM_B, FORM_X, FORM_S, FORMS };

#define FORMS_OF(M, ...) M(B, __VA_ARGS__) M(X, __VA_ARGS__) M(S, __VA_ARGS__)

/* A function that reads a T from memory and does `body` with it in `v`. */
#define HOT_READ(FORM, name, T, body)                                                                                  \
    static void hot_##name##_##FORM(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        const void *p = tlb_host_read(c, EA_##FORM(c, i), sizeof(T));                                                  \
        if (unlikely(!p)) {                                                                                            \
            sem_##name(c, i);                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        T v = host_load_##T(p);                                                                                        \
        body;                                                                                                          \
        next(c, i);                                                                                                    \
    }

#define HOT_WRITE(FORM, name, T, value)                                                                                \
    static void hot_##name##_##FORM(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        void *p = tlb_host_write(c, EA_##FORM(c, i), sizeof(T));                                                       \
        if (unlikely(!p)) {                                                                                            \
            sem_##name(c, i);                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        host_store_##T(p, value);                                                                                      \
        next(c, i);                                                                                                    \
    }

/* READ(name, type, body) WRITE(name, type, value) for every hot instruction with a memory operand. */
#define HOT_ALU(READ, op)                                                                                              \
    READ(op##_Gv_Ev_32m, u32, reg_set_u32(c, i->reg, flag_##op##_u32(c, reg_get_u32(c, i->reg), v)))                   \
    READ(op##_Gv_Ev_64m, u64, reg_set_u64(c, i->reg, flag_##op##_u64(c, reg_get_u64(c, i->reg), v)))

#define HOT_READS(READ)                                                                                                \
    READ(mov_Gb_Eb_m, u8, reg_set_u8(c, i->reg, v))                                                                    \
    READ(mov_Gv_Ev_32m, u32, reg_set_u32(c, i->reg, v))                                                                \
    READ(mov_Gv_Ev_64m, u64, reg_set_u64(c, i->reg, v))                                                                \
    READ(movzx_Gv_Eb_32m, u8, reg_set_u32(c, i->reg, v))                                                               \
    READ(movzx_Gv_Ew_32m, u16, reg_set_u32(c, i->reg, v))                                                              \
    READ(movsx_Gv_Eb_32m, u8, reg_set_u32(c, i->reg, (u32)(i8)v))                                                      \
    READ(movsxd_64m, u32, reg_set_u64(c, i->reg, (u64)(i32)v))                                                         \
    HOT_ALU(READ, add)                                                                                                 \
    HOT_ALU(READ, or)                                                                                                  \
    HOT_ALU(READ, and)                                                                                                 \
    HOT_ALU(READ, sub)                                                                                                 \
    HOT_ALU(READ, xor)                                                                                                 \
    READ(cmp_Gb_Eb_m, u8, flag_cmp_u8(c, reg_get_u8(c, i->reg), v))                                                    \
    READ(cmp_Gv_Ev_32m, u32, flag_cmp_u32(c, reg_get_u32(c, i->reg), v))                                               \
    READ(cmp_Gv_Ev_64m, u64, flag_cmp_u64(c, reg_get_u64(c, i->reg), v))                                               \
    READ(cmp_Eb_Gb_m, u8, flag_cmp_u8(c, v, reg_get_u8(c, i->reg)))                                                    \
    READ(cmp_Ev_Gv_32m, u32, flag_cmp_u32(c, v, reg_get_u32(c, i->reg)))                                               \
    READ(cmp_Ev_Gv_64m, u64, flag_cmp_u64(c, v, reg_get_u64(c, i->reg)))                                               \
    READ(cmp_Eb_I_m, u8, flag_cmp_u8(c, v, (u8)i->imm))                                                                \
    READ(cmp_Ev_I_32m, u32, flag_cmp_u32(c, v, (u32)i->imm))                                                           \
    READ(cmp_Ev_I_64m, u64, flag_cmp_u64(c, v, i->imm))                                                                \
    READ(test_Eb_I_m, u8, flag_test_u8(c, v, (u8)i->imm))                                                              \
    READ(test_Ev_I_32m, u32, flag_test_u32(c, v, (u32)i->imm))                                                         \
    READ(test_Ev_Gv_32m, u32, flag_test_u32(c, v, reg_get_u32(c, i->reg)))                                             \
    READ(test_Ev_Gv_64m, u64, flag_test_u64(c, v, reg_get_u64(c, i->reg)))

#define HOT_WRITES(WRITE)                                                                                              \
    WRITE(mov_Eb_Gb_m, u8, reg_get_u8(c, i->reg))                                                                      \
    WRITE(mov_Ev_Gv_16m, u16, reg_get_u16(c, i->reg))                                                                  \
    WRITE(mov_Ev_Gv_32m, u32, reg_get_u32(c, i->reg))                                                                  \
    WRITE(mov_Ev_Gv_64m, u64, reg_get_u64(c, i->reg))                                                                  \
    WRITE(mov_Eb_I_m, u8, (u8)i->imm)                                                                                  \
    WRITE(mov_Ev_I_32m, u32, (u32)i->imm)                                                                              \
    WRITE(mov_Ev_I_64m, u64, i->imm)

#define DEFINE_READ(name, T, body)   FORMS_OF(HOT_READ, name, T, body)
#define DEFINE_WRITE(name, T, value) FORMS_OF(HOT_WRITE, name, T, value)
HOT_READS(DEFINE_READ)
HOT_WRITES(DEFINE_WRITE)

static const struct {
    insn_fn *general, *hot[FORMS];
} memory_forms[] = {
#define ENTRY(name, ...) {sem_##name, {hot_##name##_B, hot_##name##_X, hot_##name##_S}},
    HOT_READS(ENTRY) HOT_WRITES(ENTRY)
#undef ENTRY
};

#define HOT_LEA(FORM, bits)                                                                                            \
    static void hot_lea_##bits##_##FORM(struct cpu *c, const struct insn *i)                                           \
    {                                                                                                                  \
        reg_set_u##bits(c, i->reg, (u##bits)EA_##FORM(c, i));                                                          \
        next(c, i);                                                                                                    \
    }
HOT_LEA(B, 32)
HOT_LEA(B, 64)
HOT_LEA(X, 32)
HOT_LEA(X, 64)

/*
 * Registers only, in code of any size: these do what the general functions do and go on to the next.
 */
#define HOT_REG(name, body)                                                                                            \
    static void hot_##name(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        body;                                                                                                          \
        next(c, i);                                                                                                    \
    }

/* The value of the r/m operand, of the register operand, and where a result goes. */
#define RM(T)       reg_get_##T(c, i->rm)
#define G(T)        reg_get_##T(c, i->reg)
#define TO_RM(T, v) reg_set_##T(c, i->rm, v)
#define TO_G(T, v)  reg_set_##T(c, i->reg, v)

#define REGS_BINARY(REG, op, T, s)                                                                                     \
    REG(op##_Ev_Gv_##s##r, TO_RM(T, flag_##op##_##T(c, RM(T), G(T))))                                                  \
    REG(op##_Gv_Ev_##s##r, TO_G(T, flag_##op##_##T(c, G(T), RM(T))))                                                   \
    REG(op##_Ev_I_##s##r, TO_RM(T, flag_##op##_##T(c, RM(T), (T)i->imm)))
#define REGS_SHIFT(REG, op, T, s)                                                                                      \
    REG(op##_Ev_Ib_##s##r, TO_RM(T, flag_##op##_##T(c, RM(T), (u8)i->imm)))                                            \
    REG(op##_Ev_CL_##s##r, TO_RM(T, flag_##op##_##T(c, RM(T), (u8)c->gpr[R_CX])))                                      \
    REG(op##_Ev_One_##s##r, TO_RM(T, flag_##op##1_##T(c, RM(T))))

#define REGS_OF_SIZE(REG, T, s)                                                                                        \
    REG(mov_Ev_Gv_##s##r, TO_RM(T, G(T)))                                                                              \
    REG(mov_Gv_Ev_##s##r, TO_G(T, RM(T)))                                                                              \
    REG(mov_Ev_I_##s##r, TO_RM(T, (T)i->imm))                                                                          \
    REG(mov_Zv_Iv_##s, TO_G(T, (T)i->imm))                                                                             \
    REG(movzx_Gv_Eb_##s##r, TO_G(T, RM(u8)))                                                                           \
    REG(movzx_Gv_Ew_##s##r, TO_G(T, RM(u16)))                                                                          \
    REG(movsx_Gv_Eb_##s##r, TO_G(T, (T)(i8)RM(u8)))                                                                    \
    REG(movsx_Gv_Ew_##s##r, TO_G(T, (T)(i16)RM(u16)))                                                                  \
    REGS_BINARY(REG, add, T, s)                                                                                        \
    REGS_BINARY(REG, or, T, s)                                                                                         \
    REGS_BINARY(REG, adc, T, s)                                                                                        \
    REGS_BINARY(REG, sbb, T, s)                                                                                        \
    REGS_BINARY(REG, and, T, s)                                                                                        \
    REGS_BINARY(REG, sub, T, s)                                                                                        \
    REGS_BINARY(REG, xor, T, s)                                                                                        \
    REGS_SHIFT(REG, shl, T, s)                                                                                         \
    REGS_SHIFT(REG, shr, T, s)                                                                                         \
    REGS_SHIFT(REG, sar, T, s)                                                                                         \
    REG(cmp_Ev_Gv_##s##r, flag_cmp_##T(c, RM(T), G(T)))                                                                \
    REG(cmp_Gv_Ev_##s##r, flag_cmp_##T(c, G(T), RM(T)))                                                                \
    REG(cmp_Ev_I_##s##r, flag_cmp_##T(c, RM(T), (T)i->imm))                                                            \
    REG(test_Ev_Gv_##s##r, flag_test_##T(c, RM(T), G(T)))                                                              \
    REG(test_Ev_I_##s##r, flag_test_##T(c, RM(T), (T)i->imm))                                                          \
    REG(inc_Ev_##s##r, TO_RM(T, flag_inc_##T(c, RM(T))))                                                               \
    REG(dec_Ev_##s##r, TO_RM(T, flag_dec_##T(c, RM(T))))                                                               \
    REG(neg_Ev_##s##r, TO_RM(T, flag_neg_##T(c, RM(T))))                                                               \
    REG(not_Ev_##s##r, TO_RM(T, (T)~RM(T)))                                                                            \
    REG(imul_Gv_Ev_##s##r, TO_G(T, (T)flag_imul_##T(c, c->gpr[i->reg], RM(T))))                                        \
    REG(imul_Gv_Ev_I_##s##r, TO_G(T, (T)flag_imul_##T(c, i->imm, RM(T))))

#define HOT_REGS(REG)                                                                                                  \
    REGS_OF_SIZE(REG, u32, 32)                                                                                         \
    REGS_OF_SIZE(REG, u64, 64)                                                                                         \
    REG(nop, (void)0)                                                                                                  \
    REG(mov_Eb_Gb_r, TO_RM(u8, G(u8)))                                                                                 \
    REG(mov_Gb_Eb_r, TO_G(u8, RM(u8)))                                                                                 \
    REG(mov_Zb_Ib, TO_G(u8, (u8)i->imm))                                                                               \
    REG(movsxd_64r, TO_G(u64, (u64)(i32)RM(u32)))                                                                      \
    REG(and_Eb_I_r, TO_RM(u8, flag_and_u8(c, RM(u8), (u8)i->imm)))                                                     \
    REG(cmp_Eb_I_r, flag_cmp_u8(c, RM(u8), (u8)i->imm))                                                                \
    REG(cmp_Eb_Gb_r, flag_cmp_u8(c, RM(u8), G(u8)))                                                                    \
    REG(test_Eb_I_r, flag_test_u8(c, RM(u8), (u8)i->imm))                                                              \
    REG(test_Eb_Gb_r, flag_test_u8(c, RM(u8), G(u8)))

HOT_REGS(HOT_REG)

#define HOT_CONDITION(cc)                                                                                              \
    HOT_REG(cmov##cc##_32r, TO_G(u32, FLAG_COND_##cc(c->ax_flags) ? RM(u32) : G(u32)))                                 \
    HOT_REG(cmov##cc##_64r, TO_G(u64, FLAG_COND_##cc(c->ax_flags) ? RM(u64) : G(u64)))                                 \
    HOT_REG(set##cc##_r, TO_RM(u8, FLAG_COND_##cc(c->ax_flags) ? 1 : 0))
FLAG_CONDITIONS(HOT_CONDITION)

#define CONDITION_ENTRY(cc)                                                                                            \
    {sem_cmov##cc##_32r, hot_cmov##cc##_32r}, {sem_cmov##cc##_64r, hot_cmov##cc##_64r},                                \
        {sem_set##cc##_r, hot_set##cc##_r},
static const struct {
    insn_fn *general, *hot;
} register_forms[] = {
#define ENTRY(name, ...) {sem_##name, hot_##name},
    HOT_REGS(ENTRY)
#undef ENTRY
        FLAG_CONDITIONS(CONDITION_ENTRY)};

/* The stack of 64-bit code is 64 bits wide and has no limit. */
static void hot_push(struct cpu *c, const struct insn *i)
{
    u64 sp = c->gpr[R_SP] - 8;
    void *p = tlb_host_write(c, sp, 8);
    if (unlikely(!p)) {
        sem_push_Zv_64(c, i);
        return;
    }
    host_store_u64(p, c->gpr[i->reg]);
    c->gpr[R_SP] = sp;
    next(c, i);
}

static void hot_pop(struct cpu *c, const struct insn *i)
{
    const void *p = tlb_host_read(c, c->gpr[R_SP], 8);
    if (unlikely(!p)) {
        sem_pop_Zv_64(c, i);
        return;
    }
    c->gpr[R_SP] += 8;
    c->gpr[i->reg] = host_load_u64(p);
    next(c, i);
}

/* Branches: i->disp is the distance from the start of the block to the target. */
static ALWAYS_INLINE bool canonical(u64 target)
{
    return likely((u64)sign_extend(target, 48) == target);
}

static void hot_call(struct cpu *c, const struct insn *i)
{
    u64 sp = c->gpr[R_SP] - 8, target = c->gpr[REG_RIP] + (u64)i->disp;
    void *p = tlb_host_write(c, sp, 8);
    if (unlikely(!p) || !canonical(target)) {
        sem_call_64(c, i);
        return;
    }
    host_store_u64(p, c->gpr[REG_RIP] + i->off + i->len);
    c->gpr[R_SP] = sp;
    cpu_jump(c, target);
}

static void hot_ret(struct cpu *c, const struct insn *i)
{
    const void *p = tlb_host_read(c, c->gpr[R_SP], 8);
    u64 target = likely(p) ? host_load_u64(p) : 0;
    if (unlikely(!p) || !canonical(target)) {
        sem_ret_64(c, i);
        return;
    }
    c->gpr[R_SP] += 8;
    cpu_jump(c, target);
}

static void hot_jmp(struct cpu *c, const struct insn *i)
{
    u64 target = c->gpr[REG_RIP] + (u64)i->disp;
    if (canonical(target))
        cpu_jump(c, target);
    else
        sem_jmp(c, i);
}

#define HOT_JCC(cc)                                                                                                    \
    static void hot_j##cc(struct cpu *c, const struct insn *i)                                                         \
    {                                                                                                                  \
        u64 target = c->gpr[REG_RIP] + (u64)i->disp;                                                                   \
        if (!FLAG_COND_##cc(c->ax_flags))                                                                              \
            return;                                                                                                    \
        if (canonical(target))                                                                                         \
            cpu_jump(c, target);                                                                                       \
        else                                                                                                           \
            sem_j##cc(c, i);                                                                                           \
    }
FLAG_CONDITIONS(HOT_JCC)

#define JCC_ENTRY(cc) {sem_j##cc, hot_j##cc},
static const struct {
    insn_fn *general, *hot;
} branches[] = {{sem_jmp, hot_jmp}, {sem_call_64, hot_call}, FLAG_CONDITIONS(JCC_ENTRY)};

/*
 * Compare and branch. On the odd ways (TLB miss, target not canonical) the two are done one after the other.
 */
static NOINLINE void fused_slow(struct cpu *c, const struct insn *i)
{
    sem_lookup(i)(c, i);
    c->cur = i + 1;
    i[1].fn(c, i + 1);
    if (c->cur)
        c->cur = i;
}

static NOINLINE void branch_slow(struct cpu *c, const struct insn *i)
{
    c->cur = i;
    i->fn(c, i);
}

#define FUSED_END(cc)                                                                                                  \
    u64 target = c->gpr[REG_RIP] + (u64)i[1].disp;                                                                     \
    if (!FLAG_COND_##cc(c->ax_flags))                                                                                  \
        return;                                                                                                        \
    if (canonical(target))                                                                                             \
        cpu_jump(c, target);                                                                                           \
    else                                                                                                               \
        branch_slow(c, i + 1);

#define FUSED_REG(name, body, cc)                                                                                      \
    static void fused_##name##_##cc(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        body;                                                                                                          \
        FUSED_END(cc)                                                                                                  \
    }

#define FUSED_MEM(name, T, body, cc)                                                                                   \
    static void fused_##name##_##cc(struct cpu *c, const struct insn *i)                                               \
    {                                                                                                                  \
        const void *p = tlb_host_read(c, EA_B(c, i), sizeof(T));                                                       \
        if (unlikely(!p)) {                                                                                            \
            fused_slow(c, i);                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        T v = host_load_##T(p);                                                                                        \
        body;                                                                                                          \
        FUSED_END(cc)                                                                                                  \
    }

#define FUSED_COMPARE(REG, op, T, s)                                                                                   \
    REG(op##_Ev_Gv_##s##r, flag_##op##_##T(c, reg_get_##T(c, i->rm), reg_get_##T(c, i->reg)))                          \
    REG(op##_Ev_I_##s##r, flag_##op##_##T(c, reg_get_##T(c, i->rm), (T)i->imm))

#define FUSED_REGS(REG)                                                                                                \
    FUSED_COMPARE(REG, cmp, u32, 32)                                                                                   \
    FUSED_COMPARE(REG, cmp, u64, 64)                                                                                   \
    FUSED_COMPARE(REG, test, u32, 32)                                                                                  \
    FUSED_COMPARE(REG, test, u64, 64)                                                                                  \
    REG(cmp_Gv_Ev_32r, flag_cmp_u32(c, reg_get_u32(c, i->reg), reg_get_u32(c, i->rm)))                                 \
    REG(cmp_Gv_Ev_64r, flag_cmp_u64(c, reg_get_u64(c, i->reg), reg_get_u64(c, i->rm)))                                 \
    REG(cmp_Eb_Gb_r, flag_cmp_u8(c, reg_get_u8(c, i->rm), reg_get_u8(c, i->reg)))                                      \
    REG(cmp_Eb_I_r, flag_cmp_u8(c, reg_get_u8(c, i->rm), (u8)i->imm))                                                  \
    REG(test_Eb_Gb_r, flag_test_u8(c, reg_get_u8(c, i->rm), reg_get_u8(c, i->reg)))                                    \
    REG(test_Eb_I_r, flag_test_u8(c, reg_get_u8(c, i->rm), (u8)i->imm))                                                \
    REG(dec_Ev_32r, reg_set_u32(c, i->rm, flag_dec_u32(c, reg_get_u32(c, i->rm))))                                     \
    REG(dec_Ev_64r, reg_set_u64(c, i->rm, flag_dec_u64(c, reg_get_u64(c, i->rm))))                                     \
    REG(and_Ev_I_32r, reg_set_u32(c, i->rm, flag_and_u32(c, reg_get_u32(c, i->rm), (u32)i->imm)))                      \
    REG(sub_Ev_I_32r, reg_set_u32(c, i->rm, flag_sub_u32(c, reg_get_u32(c, i->rm), (u32)i->imm)))                      \
    REG(sub_Ev_I_64r, reg_set_u64(c, i->rm, flag_sub_u64(c, reg_get_u64(c, i->rm), i->imm)))                           \
    REG(add_Ev_I_64r, reg_set_u64(c, i->rm, flag_add_u64(c, reg_get_u64(c, i->rm), i->imm)))

#define FUSED_MEMS(MEM)                                                                                                \
    MEM(cmp_Eb_I_m, u8, flag_cmp_u8(c, v, (u8)i->imm))                                                                 \
    MEM(cmp_Ev_I_32m, u32, flag_cmp_u32(c, v, (u32)i->imm))                                                            \
    MEM(cmp_Ev_I_64m, u64, flag_cmp_u64(c, v, i->imm))                                                                 \
    MEM(cmp_Gv_Ev_32m, u32, flag_cmp_u32(c, reg_get_u32(c, i->reg), v))                                                \
    MEM(cmp_Gv_Ev_64m, u64, flag_cmp_u64(c, reg_get_u64(c, i->reg), v))                                                \
    MEM(cmp_Ev_Gv_64m, u64, flag_cmp_u64(c, v, reg_get_u64(c, i->reg)))                                                \
    MEM(test_Eb_I_m, u8, flag_test_u8(c, v, (u8)i->imm))                                                               \
    MEM(test_Ev_I_32m, u32, flag_test_u32(c, v, (u32)i->imm))

/* M(condition) cannot take the instruction along: the sixteen are written out once. */
/* clang-format off: it folds the list differently each time */
#define SIXTEEN(M, ...)                                                                                                \
    M(__VA_ARGS__, o)                                                                                                  \
    M(__VA_ARGS__, no)                                                                                                 \
    M(__VA_ARGS__, b)                                                                                                  \
    M(__VA_ARGS__, nb)                                                                                                 \
    M(__VA_ARGS__, z)                                                                                                  \
    M(__VA_ARGS__, nz)                                                                                                 \
    M(__VA_ARGS__, be)                                                                                                 \
    M(__VA_ARGS__, nbe)                                                                                                \
    M(__VA_ARGS__, s)                                                                                                  \
    M(__VA_ARGS__, ns)                                                                                                 \
    M(__VA_ARGS__, p)                                                                                                  \
    M(__VA_ARGS__, np)                                                                                                 \
    M(__VA_ARGS__, l)                                                                                                  \
    M(__VA_ARGS__, nl)                                                                                                 \
    M(__VA_ARGS__, le)                                                                                                 \
    M(__VA_ARGS__, nle)
/* clang-format on */

#define DEFINE_FUSED_REG(name, body)    SIXTEEN(FUSED_REG, name, body)
#define DEFINE_FUSED_MEM(name, T, body) SIXTEEN(FUSED_MEM, name, T, body)
FUSED_REGS(DEFINE_FUSED_REG)
FUSED_MEMS(DEFINE_FUSED_MEM)

static const struct {
    insn_fn *general, *hot[16]; /* by condition */
} fused[] = {
#define CONDITION(name, cc) fused_##name##_##cc,
#define ENTRY(name, ...)    {sem_##name, {SIXTEEN(CONDITION, name)}},
    FUSED_REGS(ENTRY) FUSED_MEMS(ENTRY)
#undef ENTRY
#undef CONDITION
};

static enum form form_of(const struct insn *i)
{
    if (i->seg == SEG_FS || i->seg == SEG_GS)
        return FORM_S;
    return i->index == REG_ZERO ? FORM_B : FORM_X;
}

static insn_fn *lookup_memory(const struct insn *i)
{
    for (size_t n = 0; n < ARRAY_SIZE(memory_forms); n++) {
        if (memory_forms[n].general == i->fn)
            return memory_forms[n].hot[form_of(i)];
    }
    bool indexed = i->index != REG_ZERO;
    if (i->fn == sem_lea_64)
        return indexed ? hot_lea_64_X : hot_lea_64_B;
    if (i->fn == sem_lea_32)
        return indexed ? hot_lea_32_X : hot_lea_32_B;
    return i->fn;
}

static insn_fn *lookup_branch(struct insn *i)
{
    for (size_t n = 0; n < ARRAY_SIZE(branches); n++) {
        if (branches[n].general != i->fn)
            continue;
        i->disp = (i64)(i->off + i->len + i->imm);
        return branches[n].hot;
    }
    return i->fn == sem_ret_64 ? hot_ret : i->fn;
}

static insn_fn *lookup_register(const struct insn *i)
{
    for (size_t n = 0; n < ARRAY_SIZE(register_forms); n++) {
        if (register_forms[n].general == i->fn)
            return register_forms[n].hot;
    }
    return i->fn;
}

insn_fn *hot_lookup(struct insn *i)
{
    bool mode64 = i->mode == ISA_64;
    if (isa_rows[i->row].treat == TREAT_BRANCH)
        return mode64 && !i->mem ? lookup_branch(i) : i->fn;
    if (i->mem && i->fn != sem_nop)
        return mode64 && i->ashift == 0 ? lookup_memory(i) : i->fn;
    if (mode64 && i->fn == sem_push_Zv_64)
        return hot_push;
    if (mode64 && i->fn == sem_pop_Zv_64)
        return hot_pop;
    return lookup_register(i);
}

bool hot_fuse(struct insn *i)
{
    const struct insn *jcc = i + 1;
    if (i->mode != ISA_64 || jcc->row < INSN_JO_Jb || jcc->row > INSN_JNLE_Jz)
        return false;
    if (i->mem && (i->ashift != 0 || form_of(i) != FORM_B))
        return false;
    insn_fn *general = sem_lookup(i);
    for (size_t n = 0; n < ARRAY_SIZE(fused); n++) {
        if (fused[n].general != general)
            continue;
        i->fn = fused[n].hot[jcc->opcode & 15];
        i->len += jcc->len;
        return true;
    }
    return false;
}
