/*
 * What the files system_*.c share.
 */
#ifndef CPU_SEM_SYSTEM_H
#define CPU_SEM_SYSTEM_H

#include "cpu/cpu.h"

/* #GP(0) for SGDT, SIDT, SLDT, SMSW and STR of a user under CR4.UMIP. */
void system_check_umip(struct cpu *c);
/* No interrupt and no trap before the end of the next instruction. In rows marked A_END. */
void system_shadow_ss(struct cpu *c);
/* The r/m operand of Ew and RvMw: memory is always 16 bits wide. */
u16 system_load16(struct cpu *c, const struct insn *i);
void system_store(struct cpu *c, const struct insn *i, u64 v);
/* A far pointer in memory: offset by operand size, then the selector, which is returned. */
u16 system_load_far(struct cpu *c, const struct insn *i, u64 *offset);

#endif
