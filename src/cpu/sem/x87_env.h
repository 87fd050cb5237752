/*
 * The x87 part of the FXSAVE and XSAVE images: bytes 0 to 23 and 32 to 159. `i` tells the format of the pointers
 * (REX.W).
 */
#ifndef CPU_SEM_X87_ENV_H
#define CPU_SEM_X87_ENV_H

#include "cpu/sem/x87.h"

void x87_put_image(struct cpu *c, const struct insn *i, u8 *p);
void x87_get_image(struct cpu *c, const struct insn *i, const u8 *p);

#endif
