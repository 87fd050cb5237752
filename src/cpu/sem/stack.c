/*
 * PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE. SDM volume 2, volume 1 section 6.2; PUSHF and POPF in virtual-8086 mode:
 * volume 3 section 21.3.
 */
#include "cpu/sem/stack.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/sem_list.h"

/* Offset in the stack segment, cut to SP's width. */
static u64 stack_wrap(const struct cpu *c, u64 offset)
{
    unsigned unused = 64 - 8 * c->stack_size;
    return offset << unused >> unused;
}

static void sp_set(struct cpu *c, u64 v)
{
    gpr_set(c, R_SP, v, c->stack_size);
}

/* Linear address of a stack slot that is not at SP. */
static u64 stack_linear(struct cpu *c, u64 offset, unsigned size, enum mmu_access a)
{
    offset = stack_wrap(c, offset);
    if (c->stack_size == 8 && (u64)sign_extend(offset, 48) != offset)
        cpu_fault_code(c, EXC_SS, 0);
    return seg_linear(c, SEG_SS, offset, size, a);
}

static u64 stack_load(struct cpu *c, u64 offset, unsigned size)
{
    u64 linear = stack_linear(c, offset, size, MMU_READ);

    switch (size) {
    case 2:
        return mmu_load_u16(c, c->mmu_index, linear);
    case 4:
        return mmu_load_u32(c, c->mmu_index, linear);
    default:
        return mmu_load_u64(c, c->mmu_index, linear);
    }
}

static void stack_store(struct cpu *c, u64 offset, u64 v, unsigned size)
{
    u64 linear = stack_linear(c, offset, size, MMU_WRITE);

    switch (size) {
    case 2:
        mmu_store_u16(c, c->mmu_index, linear, (u16)v);
        break;
    case 4:
        mmu_store_u32(c, c->mmu_index, linear, (u32)v);
        break;
    default:
        mmu_store_u64(c, c->mmu_index, linear, v);
    }
}

/* POP to memory: SP is already past the value in the address computation, but not yet if the store faults. */
#define PUSH_POP(T, bits)                                                                                              \
    void sem_push_Zv_##bits(struct cpu *c, const struct insn *i)                                                       \
    {                                                                                                                  \
        push_##T(c, reg_get_##T(c, i->reg));                                                                           \
    }                                                                                                                  \
    void sem_push_I_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        push_##T(c, (T)i->imm);                                                                                        \
    }                                                                                                                  \
    void sem_push_Ev_##bits##r(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        push_##T(c, reg_get_##T(c, i->rm));                                                                            \
    }                                                                                                                  \
    void sem_push_Ev_##bits##m(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        push_##T(c, op_load_##T(c, i));                                                                                \
    }                                                                                                                  \
    void sem_pop_Zv_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        T v = peek_##T(c);                                                                                             \
        stack_drop(c, sizeof(T));                                                                                      \
        reg_set_##T(c, i->reg, v);                                                                                     \
    }                                                                                                                  \
    void sem_pop_Ev_##bits##r(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        T v = peek_##T(c);                                                                                             \
        stack_drop(c, sizeof(T));                                                                                      \
        reg_set_##T(c, i->rm, v);                                                                                      \
    }                                                                                                                  \
    void sem_pop_Ev_##bits##m(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        T v = peek_##T(c);                                                                                             \
        u64 sp = c->gpr[R_SP];                                                                                         \
        stack_drop(c, sizeof(T));                                                                                      \
        u64 ea = op_ea(c, i), popped = c->gpr[R_SP];                                                                   \
        c->gpr[R_SP] = sp;                                                                                             \
        seg_store_##T(c, i->seg, ea, v);                                                                               \
        c->gpr[R_SP] = popped;                                                                                         \
    }                                                                                                                  \
    void sem_leave_##bits(struct cpu *c, const struct insn *i)                                                         \
    {                                                                                                                  \
        u64 frame = stack_wrap(c, c->gpr[R_BP]);                                                                       \
        T v = (T)stack_load(c, frame, sizeof(T));                                                                      \
        sp_set(c, frame + sizeof(T));                                                                                  \
        reg_set_##T(c, R_BP, v);                                                                                       \
    }
SEM_WIDE(PUSH_POP)

/* A selector of operand size 4 is written as 16 bits: the upper half of the slot stays. Of size 8 it is zero-extended.
 */
static void push_selector(struct cpu *c, const struct insn *i, unsigned seg)
{
    u16 sel = c->seg[seg].sel;

    if (i->opsize == 4) {
        stack_store(c, c->gpr[R_SP] - 4, sel, 2);
        stack_add(c, -4);
    } else {
        stack_push(c, sel, i->opsize);
    }
}

#define PUSH_SELECTOR(name, seg)                                                                                       \
    void sem_push_##name(struct cpu *c, const struct insn *i)                                                          \
    {                                                                                                                  \
        push_selector(c, i, seg);                                                                                      \
    }
PUSH_SELECTOR(es, SEG_ES)
PUSH_SELECTOR(cs, SEG_CS)
PUSH_SELECTOR(ss, SEG_SS)
PUSH_SELECTOR(ds, SEG_DS)
PUSH_SELECTOR(fs, SEG_FS)
PUSH_SELECTOR(gs, SEG_GS)

void sem_pusha(struct cpu *c, const struct insn *i)
{
    u64 sp = c->gpr[R_SP];

    for (unsigned n = 0; n < 8; n++)
        stack_store(c, sp - (n + 1) * i->opsize, c->gpr[n], i->opsize);
    sp_set(c, sp - 8 * i->opsize);
}

/* Registers loaded before a fault keep what they got, as on processors; SP stays. The slot of SP is passed over. */
void sem_popa(struct cpu *c, const struct insn *i)
{
    u64 sp = c->gpr[R_SP];

    for (unsigned n = 0; n < 8; n++) {
        u64 v = stack_load(c, sp + n * i->opsize, i->opsize);
        if (n != 7 - R_SP) /* that one is read, which may fault, and dropped */
            gpr_set(c, 7 - n, v, i->opsize);
    }
    sp_set(c, sp + 8 * i->opsize);
}

/*
 * The frame pointers of outer levels are copied through rBP, counting down; nothing is changed until the new top of the
 * stack is known to be writable.
 */
void sem_enter(struct cpu *c, const struct insn *i)
{
    unsigned size = i->opsize, level = i->imm2 & 31;
    u64 sp = c->gpr[R_SP] - size, bp = c->gpr[R_BP];
    u64 frame = stack_wrap(c, sp);

    stack_store(c, sp, bp, size);
    for (unsigned n = 1; n < level; n++) {
        bp -= size;
        sp -= size;
        stack_store(c, sp, stack_load(c, bp, size), size);
    }
    if (level > 0) {
        sp -= size;
        stack_store(c, sp, frame, size);
    }
    sp -= (u16)i->imm;
    mmu_probe(c, c->mmu_index, stack_linear(c, sp, size, MMU_WRITE), size, MMU_WRITE);
    sp_set(c, sp);
    gpr_set(c, R_BP, frame, size);
}

#define RF_IOPL (3u << RF_IOPL_SHIFT)

/* Virtual-8086 mode with IOPL below 3: #GP, or with CR4.VME and 16 bits VIF stands in for IF. */
static bool flags_virtual(struct cpu *c, const struct insn *i)
{
    if (!cpu_v86(c) || cpu_iopl(c) == 3)
        return false;
    if (!(c->cr4 & CR4_VME) || i->opsize != 2)
        cpu_gp(c, 0);
    return true;
}

void sem_pushf(struct cpu *c, const struct insn *i)
{
    u64 v = cpu_rflags(c) & ~(u64)(RF_VM | RF_RF);

    if (flags_virtual(c, i)) {
        v = (v & ~(u64)RF_IF) | RF_IOPL;
        if (c->rflags & RF_VIF)
            v |= RF_IF;
    }
    stack_push(c, v, i->opsize);
}

/* RFLAGS that POPF may change outside the virtual case. */
static u64 popf_mask(const struct cpu *c, const struct insn *i)
{
    u64 mask = FL_OSZAPC | RF_TF | RF_DF | RF_NT | RF_AC | RF_ID;

    if (c->cpl == 0)
        mask |= RF_IOPL;
    if (c->cpl <= cpu_iopl(c))
        mask |= RF_IF;
    return i->opsize == 2 ? mask & 0xffff : mask;
}

static void popf_virtual(struct cpu *c, const struct insn *i)
{
    const u64 mask = FL_OSZAPC | RF_TF | RF_DF | RF_NT;
    u64 v = stack_peek(c, 0, i->opsize);
    u64 flags = cpu_rflags(c);

    if ((v & RF_TF) || ((v & RF_IF) && (flags & RF_VIP)))
        cpu_gp(c, 0);
    stack_add(c, i->opsize);
    flags = (flags & ~(mask | RF_VIF | RF_RF)) | (v & mask);
    if (v & RF_IF)
        flags |= RF_VIF;
    cpu_set_rflags(c, flags);
}

void sem_popf(struct cpu *c, const struct insn *i)
{
    if (flags_virtual(c, i)) {
        popf_virtual(c, i);
        return;
    }
    u64 mask = popf_mask(c, i);
    u64 v = stack_peek(c, 0, i->opsize);
    stack_add(c, i->opsize);
    cpu_set_rflags(c, (cpu_rflags(c) & ~(mask | RF_RF)) | (v & mask));
}
