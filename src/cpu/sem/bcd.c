/*
 * AAA AAS DAA DAS AAM AAD, SALC, BOUND: not in 64-bit code, so the host cannot run them here. SDM volume 2.
 *
 * Flags that the manual leaves undefined are as processors of the P6 family and after have them: those of the last
 * addition or logical operation that the adjustment is made of.
 */
#include "cpu/fault.h"
#include "cpu/sem/flags.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

/* AF and CF of AAA and AAS say the same thing. */
static void ascii_adjust(struct cpu *c, bool subtract)
{
    bool adjust = (c->gpr[R_AX] & 0xf) > 9 || (c->ax_flags & AX_AF);
    u16 ax = reg_get_u16(c, R_AX);

    if (adjust)
        ax = subtract ? ax - 0x106 : ax + 0x106;
    flag_test_u8(c, (u8)(ax & 0xf), 0xf);
    flags_set(c, AX_AF | AX_CF, adjust);
    reg_set_u16(c, R_AX, ax & 0xff0f);
}

void sem_aaa(struct cpu *c, const struct insn *i)
{
    ascii_adjust(c, false);
}

void sem_aas(struct cpu *c, const struct insn *i)
{
    ascii_adjust(c, true);
}

static void decimal_adjust(struct cpu *c, bool subtract)
{
    u8 al = reg_get_u8(c, R_AX), by = 0;
    bool low = (al & 0xf) > 9 || (c->ax_flags & AX_AF);
    bool high = al > 0x99 || (c->ax_flags & AX_CF);
    bool carry = high;

    if (low) {
        by += 6;
        carry |= subtract ? al < 6 : al > 0xf9;
    }
    if (high)
        by += 0x60;
    al = subtract ? al - by : al + by;
    flag_test_u8(c, al, al);
    flags_set(c, AX_AF, low);
    flags_set(c, AX_CF, carry);
    reg_set_u8(c, R_AX, al);
}

void sem_daa(struct cpu *c, const struct insn *i)
{
    decimal_adjust(c, false);
}

void sem_das(struct cpu *c, const struct insn *i)
{
    decimal_adjust(c, true);
}

void sem_aam(struct cpu *c, const struct insn *i)
{
    u8 al = reg_get_u8(c, R_AX), base = (u8)i->imm;

    if (base == 0)
        cpu_fault(c, EXC_DE);
    reg_set_u16(c, R_AX, (u16)(al / base << 8 | al % base));
    flag_test_u8(c, al % base, 0xff);
}

void sem_aad(struct cpu *c, const struct insn *i)
{
    u8 al = reg_get_u8(c, R_AX), ah = (u8)(c->gpr[R_AX] >> 8);
    u8 sum = flag_add_u8(c, al, (u8)(ah * (u8)i->imm));

    reg_set_u16(c, R_AX, sum);
}

void sem_salc(struct cpu *c, const struct insn *i)
{
    reg_set_u8(c, R_AX, c->ax_flags & AX_CF ? 0xff : 0);
}

/* The bounds are signed and both inclusive. The upper one is not read where the lower one decides. */
#define BOUND(S, T, bits)                                                                                              \
    void sem_bound_##bits(struct cpu *c, const struct insn *i)                                                         \
    {                                                                                                                  \
        u64 ea = op_ea(c, i);                                                                                          \
        S index = (S)reg_get_##T(c, i->reg);                                                                           \
        if (index < (S)seg_load_##T(c, i->seg, ea))                                                                    \
            cpu_fault(c, EXC_BR);                                                                                      \
        if (index > (S)seg_load_##T(c, i->seg, (ea + sizeof(T)) << i->ashift >> i->ashift))                            \
            cpu_fault(c, EXC_BR);                                                                                      \
    }
BOUND(i16, u16, 16)
BOUND(i32, u32, 32)
BOUND(i64, u64, 64)
