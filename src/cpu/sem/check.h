/*
 * Checks that depend on the state of the processor and on the row's attributes, made before the semantics: mode,
 * privilege, CR0.EM and TS, CR4.OSFXSR and OSXSAVE, XCR0, pending x87 errors, alignment of vector operands. SDM volume
 * 2 section 2.4 and 3.1.1, volume 3 section 2.5.
 *
 * sem_check is made for constant `attrs`: each wrapper of table.c keeps the tests of its row only.
 */
#ifndef CPU_SEM_CHECK_H
#define CPU_SEM_CHECK_H

#include "cpu/access.h"

/* Attributes that ask for a wrapper. */
#define CHECK_ATTRS (A_CPL0 | A_PROT | A_X87 | A_MMX | A_SSE | A_AVX | A_ALIGN)

#define FSW_ES  BIT(7) /* an unmasked exception is pending */
#define FSW_TOP (7u << 11)

/* Raises #MF for a pending x87 error; with CR0.NE clear tells the board instead (FERR#), whose interrupt is what the
 * program waits for. */
void check_x87_pending(struct cpu *c);
/* #NM, or #UD where EM means that. */
_Noreturn void check_fpu_missing(struct cpu *c, u32 attrs);

/* SSE and AVX alignment: 16 bytes, or 32 with VEX.256. */
static ALWAYS_INLINE void check_alignment(struct cpu *c, const struct insn *i)
{
    u64 linear = c->seg_base[i->seg] + op_ea(c, i);
    if (unlikely(linear & ((16u << i->vl) - 1)))
        cpu_gp(c, 0);
}

static ALWAYS_INLINE void sem_check(struct cpu *c, const struct insn *i, u32 attrs)
{
    if ((attrs & A_PROT) && unlikely(cpu_real_mode(c) || cpu_v86(c)))
        cpu_ud(c);
    if ((attrs & A_CPL0) && unlikely(c->cpl != 0))
        cpu_gp(c, 0);
    if ((attrs & A_AVX) && unlikely(!(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & 6) != 6))
        cpu_ud(c);
    if ((attrs & A_SSE) && unlikely(!(c->cr4 & CR4_OSFXSR)))
        cpu_ud(c);
    if ((attrs & A_AVX) && unlikely(c->cr0 & CR0_TS))
        cpu_fault(c, EXC_NM);
    if ((attrs & (A_X87 | A_MMX | A_SSE)) && unlikely(c->cr0 & (CR0_EM | CR0_TS)))
        check_fpu_missing(c, attrs);
    if ((attrs & (A_X87 | A_MMX)) && !(attrs & A_NOWAIT) && unlikely(c->fsw & FSW_ES))
        check_x87_pending(c);
    if ((attrs & A_ALIGN) && i->mem)
        check_alignment(c, i);
}

/* An MMX instruction makes all registers valid and the first one the top. SDM volume 3 section 13.2. */
static ALWAYS_INLINE void sem_enter_mmx(struct cpu *c)
{
    c->ftw = 0xff;
    c->fsw &= (u16)~FSW_TOP;
}

#endif
