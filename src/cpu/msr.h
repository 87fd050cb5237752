/*
 * Model-specific registers. SDM volume 4 chapter 2 (architectural ones); the table is in cpu/msr.c.
 */
#ifndef CPU_MSR_H
#define CPU_MSR_H

#include "cpu/cpu.h"

/* RDMSR and WRMSR, CPL checked by the caller. #GP(0) where the register does not exist or does not take the value. */
u64 cpu_read_msr(struct cpu *c, u32 msr);
void cpu_write_msr(struct cpu *c, u32 msr, u64 value);

/* The same without a fault, for debuggers and tests: 0 or -EPERM. */
int cpu_msr_get(struct cpu *c, u32 msr, u64 *value) MUST_CHECK;
int cpu_msr_set(struct cpu *c, u32 msr, u64 value) MUST_CHECK;

#endif
