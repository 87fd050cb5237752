/*
 * Far JMP, CALL, RET, IRET, software interrupts and fast system calls. The work is done in cpu/transfer.c, iret.c,
 * deliver.c and syscall.c.
 */
#include "cpu/fault.h"
#include "cpu/intr.h"
#include "cpu/sem/sem_list.h"
#include "cpu/sem/system.h"
#include "cpu/syscall.h"
#include "cpu/transfer.h"

#define AX_OF BIT(0) /* OF in the form of ax_flags */

/* The offset of an immediate far pointer is as wide as the operand size. */
static u64 far_offset(const struct insn *i)
{
    return i->opsize == 2 ? (u16)i->imm : (u32)i->imm;
}

void sem_call_Ap(struct cpu *c, const struct insn *i)
{
    far_call(c, i->imm2, far_offset(i), i->opsize, cpu_next_rip(c));
}

void sem_call_Mp(struct cpu *c, const struct insn *i)
{
    u64 offset;
    u16 sel = system_load_far(c, i, &offset);
    far_call(c, sel, offset, i->opsize, cpu_next_rip(c));
}

void sem_jmp_Ap(struct cpu *c, const struct insn *i)
{
    far_jump(c, i->imm2, far_offset(i), cpu_next_rip(c));
}

void sem_jmp_Mp(struct cpu *c, const struct insn *i)
{
    u64 offset;
    u16 sel = system_load_far(c, i, &offset);
    far_jump(c, sel, offset, cpu_next_rip(c));
}

void sem_retf(struct cpu *c, const struct insn *i)
{
    far_return(c, i->opsize, 0);
}

void sem_retf_Iw(struct cpu *c, const struct insn *i)
{
    far_return(c, i->opsize, (u16)i->imm);
}

void sem_iret(struct cpu *c, const struct insn *i)
{
    far_iret(c, i->opsize, cpu_next_rip(c));
}

void sem_int_Ib(struct cpu *c, const struct insn *i)
{
    cpu_interrupt(c, (u8)i->imm, INTR_SOFTWARE, false, 0, cpu_next_rip(c));
}

void sem_int3(struct cpu *c, const struct insn *i)
{
    cpu_interrupt(c, EXC_BP, INTR_INT3, false, 0, cpu_next_rip(c));
}

void sem_int1(struct cpu *c, const struct insn *i)
{
    cpu_interrupt(c, EXC_DB, INTR_INT1, false, 0, cpu_next_rip(c));
}

void sem_into(struct cpu *c, const struct insn *i)
{
    if (c->ax_flags & AX_OF)
        cpu_interrupt(c, EXC_OF, INTR_INT3, false, 0, cpu_next_rip(c));
}

void sem_syscall(struct cpu *c, const struct insn *i)
{
    cpu_syscall(c, cpu_next_rip(c));
}

void sem_sysret(struct cpu *c, const struct insn *i)
{
    cpu_sysret(c, i->opsize);
}

void sem_sysenter(struct cpu *c, const struct insn *i)
{
    cpu_sysenter(c);
}

void sem_sysexit(struct cpu *c, const struct insn *i)
{
    cpu_sysexit(c, i->opsize);
}
