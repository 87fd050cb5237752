/* The unlikely halves of check.h. */
#include "cpu/sem/check.h"

void check_x87_pending(struct cpu *c)
{
    if (c->cr0 & CR0_NE)
        cpu_fault(c, EXC_MF);
    if (c->ferr)
        c->ferr(c, true);
}

void check_fpu_missing(struct cpu *c, u32 attrs)
{
    bool emulated_is_ud = attrs & (A_MMX | A_SSE);

    if ((c->cr0 & CR0_EM) && emulated_is_ud)
        cpu_ud(c);
    cpu_fault(c, EXC_NM);
}
