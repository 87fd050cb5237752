/*
 * x87: functions of the top of the stack, constants, and the partial remainder. SDM volume 1 sections 8.3.5 to 8.3.9,
 * volume 2.
 */
#include "cpu/sem/x87.h"
#include "cpu/sem/x87_host.h"

typedef u16 x87_r(struct f80 *a, u16 cw);
typedef u16 x87_rr(struct f80 *a, const struct f80 *b, u16 cw);
typedef u16 x87_r2(struct f80 *a, struct f80 *b, u16 cw);

/* An operand is empty. Instructions that tell something by C2 clear it. */
static void underflow(struct cpu *c, u16 cc)
{
    c->fsw &= (u16) ~(cc & FSW_C2);
    if (x87_stack_fault(c, false))
        x87_set(c, 0, x87_indefinite);
}

/* One register */

static void unary(struct cpu *c, const struct insn *i, x87_r *op, u16 cc)
{
    x87_note(c, i);
    if (unlikely(x87_empty(c, 0))) {
        underflow(c, cc);
        return;
    }
    struct f80 a = *x87_st(c, 0);
    u16 sw = op(&a, c->fcw);
    x87_status(c, sw, cc);
    if (!x87_stops(c, sw, X87_STOPS_REG))
        *x87_st(c, 0) = a;
}

#define UNARY(name, cc)                                                                                                \
    X87_HOST_R(host_##name, #name)                                                                                     \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        unary(c, i, host_##name, cc);                                                                                  \
    }
UNARY(fchs, FSW_C1)
UNARY(fabs, FSW_C1)
UNARY(fsqrt, FSW_C1)
UNARY(frndint, FSW_C1)
UNARY(f2xm1, FSW_C1)
UNARY(fsin, FSW_C1 | FSW_C2)
UNARY(fcos, FSW_C1 | FSW_C2)

/* ST(0) and ST(1), result in ST(0) */

static void binary(struct cpu *c, const struct insn *i, x87_rr *op, u16 cc)
{
    x87_note(c, i);
    if (unlikely(x87_empty(c, 0) || x87_empty(c, 1))) {
        underflow(c, cc);
        return;
    }
    struct f80 a = *x87_st(c, 0);
    u16 sw = op(&a, x87_st(c, 1), c->fcw);
    x87_status(c, sw, cc);
    if (!x87_stops(c, sw, X87_STOPS_REG))
        *x87_st(c, 0) = a;
}

#define BINARY(name, cc)                                                                                               \
    X87_HOST_RR(host_##name, #name)                                                                                    \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        binary(c, i, host_##name, cc);                                                                                 \
    }
BINARY(fscale, FSW_C1)
/* Partial remainder: C0 C3 C1 are low bits of the quotient, C2 says that there is more to do. Where there is no
 * quotient, C0 and C3 stay. */
static void partial_remainder(struct cpu *c, const struct insn *i, x87_rr *op)
{
    x87_note(c, i);
    if (unlikely(x87_empty(c, 0) || x87_empty(c, 1))) {
        underflow(c, FSW_C2);
        return;
    }
    struct f80 a = *x87_st(c, 0);
    u16 sw = op(&a, x87_st(c, 1), c->fcw);
    bool nan = (a.se & 0x7fff) == 0x7fff && a.m << 1;
    if (nan || x87_stops(c, sw, X87_STOPS_REG) || sw & FSW_IE) {
        c->fsw &= (u16) ~(FSW_C1 | FSW_C2);
        x87_status(c, sw, 0);
    } else {
        x87_status(c, sw, FSW_CC);
    }
    if (!x87_stops(c, sw, X87_STOPS_REG))
        *x87_st(c, 0) = a;
}

#define REMAINDER(name)                                                                                                \
    X87_HOST_RR(host_##name, #name)                                                                                    \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        partial_remainder(c, i, host_##name);                                                                          \
    }
REMAINDER(fprem)
REMAINDER(fprem1)

/* ST(0) and ST(1), result in ST(1), popped */

static void binary_pop(struct cpu *c, const struct insn *i, x87_rr *op)
{
    x87_note(c, i);
    if (unlikely(x87_empty(c, 0) || x87_empty(c, 1))) {
        if (x87_stack_fault(c, false)) {
            x87_set(c, 1, x87_indefinite);
            x87_pop(c);
        }
        return;
    }
    struct f80 a = *x87_st(c, 0);
    u16 sw = op(&a, x87_st(c, 1), c->fcw);
    x87_status(c, sw, FSW_C1);
    if (x87_stops(c, sw, X87_STOPS_REG))
        return;
    *x87_st(c, 1) = a;
    x87_pop(c);
}

#define BINARY_POP(name)                                                                                               \
    X87_HOST_RR(host_##name, #name)                                                                                    \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        binary_pop(c, i, host_##name);                                                                                 \
    }
BINARY_POP(fyl2x)
BINARY_POP(fyl2xp1)
BINARY_POP(fpatan)

/* One register in, a second one pushed. C2 says that the operand was out of range and nothing was done. */

static void unary_push(struct cpu *c, const struct insn *i, x87_r2 *op, u16 cc)
{
    x87_note(c, i);
    bool empty = x87_empty(c, 0);
    if (unlikely(empty || !x87_empty(c, 7))) {
        c->fsw &= (u16) ~(cc & FSW_C2);
        if (x87_stack_fault(c, !empty)) {
            x87_set(c, 0, x87_indefinite);
            x87_push(c, x87_indefinite);
        }
        return;
    }
    struct f80 a = *x87_st(c, 0), b = {0};
    u16 sw = op(&a, &b, c->fcw);
    x87_status(c, sw, cc);
    if (x87_stops(c, sw, X87_STOPS_REG) || sw & cc & FSW_C2)
        return;
    *x87_st(c, 0) = b;
    x87_push(c, a);
}

#define UNARY_PUSH(name, cc)                                                                                           \
    X87_HOST_R2(host_##name, #name)                                                                                    \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        unary_push(c, i, host_##name, cc);                                                                             \
    }
UNARY_PUSH(fptan, FSW_C1 | FSW_C2)
UNARY_PUSH(fsincos, FSW_C1 | FSW_C2)
UNARY_PUSH(fxtract, FSW_C1)

/* Constants are rounded as RC says. */

static void constant(struct cpu *c, const struct insn *i, x87_r *op)
{
    x87_note(c, i);
    if (!x87_room(c))
        return;
    struct f80 a = {0};
    x87_status(c, op(&a, c->fcw), FSW_C1);
    x87_push(c, a);
}

#define CONSTANT(name)                                                                                                 \
    X87_HOST_R(host_##name, #name)                                                                                     \
    void sem_##name(struct cpu *c, const struct insn *i)                                                               \
    {                                                                                                                  \
        constant(c, i, host_##name);                                                                                   \
    }
CONSTANT(fld1)
CONSTANT(fldl2t)
CONSTANT(fldl2e)
CONSTANT(fldpi)
CONSTANT(fldlg2)
CONSTANT(fldln2)
CONSTANT(fldz)
