/*
 * The x87 stack, tags, status word and exceptions: what the files of the x87 share. SDM volume 1 chapter 8.
 *
 * Register ST(i) is physical register (TOP + i) & 7: c->st[2n] is its significand, the low half of c->st[2n + 1] its
 * sign and exponent. Bit n of c->ftw is set when it is not empty.
 *
 * Arithmetic runs on the host's x87 under the guest's control word (x87_host.h). With an exception unmasked, the host
 * leaves undone what the guest's processor would leave undone, and traps only at the next waiting instruction, before
 * which the status is read and cleared.
 *
 * As CPUID says (leaf 7, EBX bits 6 and 13): the selectors of the last instruction and operand are 0, and the operand's
 * offset and the opcode are those of the last instruction that raised an unmasked exception. SDM volume 1
 * section 8.1.8.
 */
#ifndef CPU_SEM_X87_H
#define CPU_SEM_X87_H

#include "cpu/sem/check.h"
#include "cpu/sem/operand.h"
#include "cpu/sem/sem_list.h"

#define FSW_IE         BIT(0)
#define FSW_DE         BIT(1)
#define FSW_ZE         BIT(2)
#define FSW_OE         BIT(3)
#define FSW_UE         BIT(4)
#define FSW_PE         BIT(5)
#define FSW_EXCEPTIONS 0x3fu
#define FSW_SF         BIT(6)
#define FSW_C0         BIT(8)
#define FSW_C1         BIT(9)
#define FSW_C2         BIT(10)
#define FSW_C3         BIT(14)
#define FSW_CC         (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)
#define FSW_B          BIT(15)

#define FCW_RESET 0x37fu
/* FLDCW keeps these; bit 6 always reads as 1. */
#define FCW_VALID 0x1f3fu
#define FCW_ONE   0x0040u

/* Unmasked, these leave the destination register, or the destination in memory, as it was. */
#define X87_STOPS_REG (FSW_IE | FSW_DE | FSW_ZE)
#define X87_STOPS_MEM (FSW_IE | FSW_OE | FSW_UE)

/* An 80-bit value as the guest's registers and the host's FLD and FSTP see it. */
struct f80 {
    u64 m;
    u64 se; /* low 16 bits */
};

static const struct f80 x87_indefinite = {0xc000000000000000ull, 0xffff};

static ALWAYS_INLINE unsigned x87_phys(const struct cpu *c, unsigned i)
{
    return ((c->fsw >> 11) + i) & 7;
}

static ALWAYS_INLINE struct f80 *x87_st(struct cpu *c, unsigned i)
{
    return (struct f80 *)&c->st[2 * x87_phys(c, i)];
}

static ALWAYS_INLINE bool x87_empty(const struct cpu *c, unsigned i)
{
    return !(c->ftw >> x87_phys(c, i) & 1);
}

static ALWAYS_INLINE void x87_set_empty(struct cpu *c, unsigned i)
{
    c->ftw &= (u8)~BIT(x87_phys(c, i));
}

static ALWAYS_INLINE void x87_set(struct cpu *c, unsigned i, struct f80 v)
{
    *x87_st(c, i) = v;
    c->ftw |= (u8)BIT(x87_phys(c, i));
}

static ALWAYS_INLINE void x87_move_top(struct cpu *c, unsigned by)
{
    c->fsw = (u16)((c->fsw & ~FSW_TOP) | ((c->fsw + (by << 11)) & FSW_TOP));
}

static ALWAYS_INLINE void x87_push(struct cpu *c, struct f80 v)
{
    x87_move_top(c, 7);
    x87_set(c, 0, v);
}

static ALWAYS_INLINE void x87_pop(struct cpu *c)
{
    x87_set_empty(c, 0);
    x87_move_top(c, 1);
}

/* The instruction under way becomes the last non-control instruction, which FSTENV and FXSAVE tell about. Call it when
 * memory can fault no more. */
void x87_note(struct cpu *c, const struct insn *i);

/* The instruction under way raised an exception that is not masked: its opcode and operand are what FSTENV tells from
 * now on. */
void x87_unmasked(struct cpu *c);

/* ES and B follow from flags and masks; without CR0.NE they are FERR#. After every change of fsw's flags or fcw. */
void x87_summary(struct cpu *c);

/* Takes the exception flags and the condition codes in `cc` from a status word of the host. */
static ALWAYS_INLINE void x87_status(struct cpu *c, u16 sw, u16 cc)
{
    c->fsw = (u16)((c->fsw & ~cc) | (sw & (cc | FSW_EXCEPTIONS)));
    if (unlikely(c->fsw & ~c->fcw & FSW_EXCEPTIONS))
        x87_unmasked(c);
}

/* Did the host's status word bring one of `which` that the guest has not masked? */
static ALWAYS_INLINE bool x87_stops(const struct cpu *c, u16 sw, u16 which)
{
    return sw & ~c->fcw & which;
}

/* Stack overflow (C1 set) or underflow: sets the flags. True if the invalid-operation exception is masked, so that
 * there is a result. */
bool x87_stack_fault(struct cpu *c, bool overflow);

/* A new register is wanted: false if there is none and the instruction is over; a masked overflow has pushed the
 * indefinite. */
bool x87_room(struct cpu *c);

void x87_init(struct cpu *c);

#endif
