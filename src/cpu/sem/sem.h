/*
 * Instruction semantics: the interface of cpu/sem to the engines.
 *
 * Each function carries out one decoded instruction: void sem_NAME(struct cpu *c, const struct insn *i). On entry
 * c->cur == i. See cpu/cpu.h for the rules about rip, faults and flags. Which function a row uses stands in the row
 * (isa/insn.h).
 */
#ifndef CPU_SEM_SEM_H
#define CPU_SEM_SEM_H

#include "cpu/cpu.h"

/* The function for this instruction: by row, operand size, and memory or register form. */
insn_fn *sem_lookup(const struct insn *i);

/*
 * Checks that depend on the state of the processor and not on the operands: CPL, real mode, CR0.EM/TS, OSFXSR, XCR0.
 * Engines call the checked function where the row's attributes ask for one; sem_lookup already returns a wrapper that
 * does both for such rows, so that engines need not care.
 */

#endif
