/*
 * Far control transfers: JMP, CALL, RET and IRET, through call gates and tasks where the selector says so.
 * SDM volume 3 sections 5.8 and 20.2, volume 2 under each instruction. All end in cpu_jump or raise a fault.
 */
#ifndef CPU_TRANSFER_H
#define CPU_TRANSFER_H

#include "cpu/cpu.h"

/* width: operand size 2, 4 or 8. next: return address. */
void far_jump(struct cpu *c, u16 sel, u64 ip, u64 next);
void far_call(struct cpu *c, u16 sel, u64 ip, unsigned width, u64 next);
void far_return(struct cpu *c, unsigned width, u16 release);
void far_iret(struct cpu *c, unsigned width, u64 next);

#endif
