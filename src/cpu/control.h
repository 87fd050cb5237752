/*
 * Control registers and EFER: the checks of a write and its consequences. SDM volume 3 section 2.5, 4.1, 10.8.5.
 * cpu_write_* raise #GP(0) where the value is refused, before anything has changed. Privilege is the caller's business.
 */
#ifndef CPU_CONTROL_H
#define CPU_CONTROL_H

#include "base/error.h"
#include "cpu/cpu.h"

void cpu_write_cr0(struct cpu *c, u64 value);
void cpu_write_cr3(struct cpu *c, u64 value);
void cpu_write_cr4(struct cpu *c, u64 value);
/* 0, or -EPERM with nothing changed. */
int cpu_set_efer(struct cpu *c, u64 value) MUST_CHECK;
u64 cpu_read_cr8(struct cpu *c);
void cpu_write_cr8(struct cpu *c, u64 value);

/* CR4 bits that exist on this processor. */
u64 cpu_cr4_mask(const struct cpu *c);
/* Bits of a physical address that do not exist. */
u64 cpu_physical_reserved(const struct cpu *c);

#endif
