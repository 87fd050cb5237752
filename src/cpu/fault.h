/*
 * Exceptions raised by an instruction. These do not return: they leave the instruction through c->unwind, and the
 * engine's loop then delivers the exception with cpu_deliver_exception (cpu/intr.h) at cpu_rip() for faults.
 * SDM volume 3 chapter 6.
 */
#ifndef CPU_FAULT_H
#define CPU_FAULT_H

#include "cpu/cpu.h"

enum {
    EXC_DE = 0,
    EXC_DB = 1,
    EXC_NMI = 2,
    EXC_BP = 3,
    EXC_OF = 4,
    EXC_BR = 5,
    EXC_UD = 6,
    EXC_NM = 7,
    EXC_DF = 8,
    EXC_TS = 10,
    EXC_NP = 11,
    EXC_SS = 12,
    EXC_GP = 13,
    EXC_PF = 14,
    EXC_MF = 16,
    EXC_AC = 17,
    EXC_MC = 18,
    EXC_XM = 19,
};

#define EXC_NONE 0xff /* in c->exc.vector: cpu_unwind, nothing to deliver */

/* A fault without an error code (#DE #BR #UD #NM #MF #XM), or with one (#TS #NP #SS #GP #AC). */
_Noreturn void cpu_fault(struct cpu *c, u8 vector);
_Noreturn void cpu_fault_code(struct cpu *c, u8 vector, u16 code);
/* #PF: sets CR2. `code` as the error code of SDM volume 3 section 4.7. */
_Noreturn void cpu_fault_page(struct cpu *c, u64 linear, u32 code);

/* Leaves the instruction without an exception: the engine starts again at gpr[REG_RIP] (cpu_jump was called), looking
 * at c->request first. For semantics that delivered an exception or interrupt themselves, and for tests. */
_Noreturn void cpu_unwind(struct cpu *c);

static inline _Noreturn void cpu_gp(struct cpu *c, u16 code)
{
    cpu_fault_code(c, EXC_GP, code);
}

static inline _Noreturn void cpu_ud(struct cpu *c)
{
    cpu_fault(c, EXC_UD);
}

#endif
