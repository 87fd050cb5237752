/*
 * Hardware task switching. SDM volume 3 chapter 8.
 */
#ifndef CPU_TASK_H
#define CPU_TASK_H

#include "cpu/cpu.h"

enum task_source { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT };

/*
 * Switches to the task of the TSS that `sel` names; `next` and `flags` are where and how the old task
 * goes on. TASK_CALL and TASK_INT nest. The
 * privilege checks are the caller's. Faults before the switch is committed leave the old task as it was; later ones are
 * raised in the new one.
 */
void task_switch(struct cpu *c, u16 sel, enum task_source source, u64 next, u64 flags);

/* IRET with NT: back along the link of the current TSS. */
void task_return(struct cpu *c, u64 next);

#endif
