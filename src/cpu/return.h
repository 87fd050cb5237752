/*
 * What far RET and IRET share: the way back to an outer or equal privilege level. transfer.c, iret.c.
 */
#ifndef CPU_RETURN_H
#define CPU_RETURN_H

#include "cpu/segment.h"

void return_check(struct cpu *c, u16 sel, struct desc *d);
void return_stack(struct cpu *c, const struct desc *cs, u16 sel, struct desc *ss);
void return_set(struct cpu *c, const struct desc *cs, const struct desc *ss, u64 ip, u64 sp);

#endif
