/*
 * Near JMP CALL RET, Jcc, JCXZ, LOOP. SDM volume 2. Far transfers are in far.c.
 */
#include "cpu/sem/branch.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/sem_list.h"
#include "cpu/sem/stack.h"

void sem_jmp(struct cpu *c, const struct insn *i)
{
    cpu_jump(c, branch_relative(c, i));
}

#define JCC(cc)                                                                                                        \
    void sem_j##cc(struct cpu *c, const struct insn *i)                                                                \
    {                                                                                                                  \
        if (FLAG_COND_##cc(c->ax_flags))                                                                               \
            cpu_jump(c, branch_relative(c, i));                                                                        \
    }
FLAG_CONDITIONS(JCC)

/* The count goes down only once the branch cannot fault any more. */
static ALWAYS_INLINE void loop_if(struct cpu *c, const struct insn *i, bool condition)
{
    u64 count = areg_get(c, i, R_CX) - 1;
    bool taken = (count << i->ashift) != 0 && condition;
    u64 target = taken ? branch_relative(c, i) : 0;

    areg_set(c, i, R_CX, count);
    if (taken)
        cpu_jump(c, target);
}

void sem_loop(struct cpu *c, const struct insn *i)
{
    loop_if(c, i, true);
}

void sem_loope(struct cpu *c, const struct insn *i)
{
    loop_if(c, i, c->ax_flags & AX_ZF);
}

void sem_loopne(struct cpu *c, const struct insn *i)
{
    loop_if(c, i, !(c->ax_flags & AX_ZF));
}

void sem_jcxz(struct cpu *c, const struct insn *i)
{
    if (areg_get(c, i, R_CX) == 0)
        cpu_jump(c, branch_relative(c, i));
}

/*
 * CALL reads its target, pushes, and only then looks whether the target can be jumped to: SP goes back if not, the
 * pushed bytes stay.
 */
#define CALL_RET(T, bits)                                                                                              \
    void sem_jmp_Ev_##bits##r(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        cpu_jump(c, branch_check(c, i, reg_get_##T(c, i->rm)));                                                        \
    }                                                                                                                  \
    void sem_jmp_Ev_##bits##m(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        cpu_jump(c, branch_check(c, i, op_load_##T(c, i)));                                                            \
    }                                                                                                                  \
    static ALWAYS_INLINE void call_##T(struct cpu *c, const struct insn *i, u64 target)                                \
    {                                                                                                                  \
        u64 sp = c->gpr[R_SP];                                                                                         \
        push_##T(c, (T)cpu_next_rip(c));                                                                               \
        if (!branch_allowed(c, i, &target)) {                                                                          \
            c->gpr[R_SP] = sp;                                                                                         \
            cpu_gp(c, 0);                                                                                              \
        }                                                                                                              \
        cpu_jump(c, target);                                                                                           \
    }                                                                                                                  \
    void sem_call_##bits(struct cpu *c, const struct insn *i)                                                          \
    {                                                                                                                  \
        call_##T(c, i, cpu_next_rip(c) + i->imm);                                                                      \
    }                                                                                                                  \
    void sem_call_Ev_##bits##r(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        call_##T(c, i, reg_get_##T(c, i->rm));                                                                         \
    }                                                                                                                  \
    void sem_call_Ev_##bits##m(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        call_##T(c, i, op_load_##T(c, i));                                                                             \
    }                                                                                                                  \
    void sem_ret_##bits(struct cpu *c, const struct insn *i)                                                           \
    {                                                                                                                  \
        u64 target = branch_check(c, i, peek_##T(c));                                                                  \
        stack_drop(c, sizeof(T));                                                                                      \
        cpu_jump(c, target);                                                                                           \
    }                                                                                                                  \
    void sem_ret_Iw_##bits(struct cpu *c, const struct insn *i)                                                        \
    {                                                                                                                  \
        u64 target = branch_check(c, i, peek_##T(c));                                                                  \
        stack_drop(c, sizeof(T) + (u16)i->imm);                                                                        \
        cpu_jump(c, target);                                                                                           \
    }
SEM_WIDE(CALL_RET)
