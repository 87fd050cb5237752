/*
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT: flat code and stack segments without descriptors. SDM volume 3
 * section 5.8.7, 5.8.8.
 */
#ifndef CPU_SYSCALL_H
#define CPU_SYSCALL_H

#include "cpu/cpu.h"

void cpu_syscall(struct cpu *c, u64 next);
/* width: 8 back to 64-bit code, else to compatibility mode. */
void cpu_sysret(struct cpu *c, unsigned width);
void cpu_sysenter(struct cpu *c);
void cpu_sysexit(struct cpu *c, unsigned width);

/* CS and SS as SYSCALL leaves them, and as SYSRET to 64-bit code does. */
void cpu_syscall_segs(const struct cpu *c, struct cpu_seg *cs, struct cpu_seg *ss);
void cpu_sysret_segs(const struct cpu *c, struct cpu_seg *cs, struct cpu_seg *ss);

#endif
