/*
 * x87 arithmetic, comparison, loads and stores. SDM volume 1 chapter 8, volume 2.
 *
 * Names: sem_MNEMONIC_FORM; forms m32 m64 m80 (floating-point in memory), i16 i32 i64 (integer in memory), st0_sti,
 * sti_st0, sti.
 */
#include "cpu/sem/x87.h"

#include "cpu/segment.h"
#include "cpu/sem/vec.h"
#include "cpu/sem/x87_host.h"

void x87_note(struct cpu *c, const struct insn *i)
{
    c->fip = cpu_rip(c);
}

void x87_unmasked(struct cpu *c)
{
    const struct insn *i = c->cur;
    c->fop = (u16)((i->opcode & 7) << 8 | i->modrm);
    if (i->mem)
        c->fdp = op_ea(c, i);
    x87_summary(c);
}

void x87_summary(struct cpu *c)
{
    bool was = c->fsw & FSW_ES, is = c->fsw & ~c->fcw & FSW_EXCEPTIONS;
    c->fsw = (u16)((c->fsw & ~(FSW_ES | FSW_B)) | (is ? FSW_ES | FSW_B : 0));
    if (was != is && c->ferr && (!is || !(c->cr0 & CR0_NE)))
        c->ferr(c, is);
}

bool x87_stack_fault(struct cpu *c, bool overflow)
{
    c->fsw = (u16)((c->fsw & ~FSW_C1) | FSW_IE | FSW_SF | (overflow ? FSW_C1 : 0));
    if (c->fcw & FSW_IE)
        return true;
    x87_unmasked(c);
    return false;
}

bool x87_room(struct cpu *c)
{
    if (likely(x87_empty(c, 7)))
        return true;
    if (x87_stack_fault(c, true))
        x87_push(c, x87_indefinite);
    return false;
}

/* The source register is empty: st(i) becomes the indefinite, and the stack is popped, if that is masked. */
static void underflow_to(struct cpu *c, unsigned i, bool pop)
{
    if (!x87_stack_fault(c, false))
        return;
    x87_set(c, i, x87_indefinite);
    if (pop)
        x87_pop(c);
}

/* Arithmetic */

typedef u16 x87_rr(struct f80 *a, const struct f80 *b, u16 cw);

static ALWAYS_INLINE void arith_done(struct cpu *c, unsigned to, struct f80 v, u16 sw, bool pop)
{
    x87_status(c, sw, FSW_C1);
    if (unlikely(x87_stops(c, sw, X87_STOPS_REG)))
        return;
    *x87_st(c, to) = v;
    if (pop)
        x87_pop(c);
}

/* st(to) = st(to) op st(from) */
static ALWAYS_INLINE void arith(struct cpu *c, const struct insn *i, unsigned to, unsigned from, x87_rr *op, bool pop)
{
    x87_note(c, i);
    if (unlikely(x87_empty(c, to) || x87_empty(c, from))) {
        underflow_to(c, to, pop);
        return;
    }
    struct f80 a = *x87_st(c, to);
    u16 sw = op(&a, x87_st(c, from), c->fcw);
    arith_done(c, to, a, sw, pop);
}

#define ARITH_MEM(name, form, T)                                                                                       \
    void sem_##name##_##form(struct cpu *c, const struct insn *i)                                                      \
    {                                                                                                                  \
        T v = op_load_##T(c, i);                                                                                       \
        x87_note(c, i);                                                                                                \
        if (unlikely(x87_empty(c, 0))) {                                                                               \
            underflow_to(c, 0, false);                                                                                 \
            return;                                                                                                    \
        }                                                                                                              \
        struct f80 a = *x87_st(c, 0);                                                                                  \
        u16 sw = host_##name##_##form(&a, v, c->fcw);                                                                  \
        arith_done(c, 0, a, sw, false);                                                                                \
    }

#define ARITH(name, integer)                                                                                           \
    X87_HOST_RR(host_##name, #name " %%st(1), %%st")                                                                   \
    X87_HOST_RM(host_##name##_m32, #name "s", u32)                                                                     \
    X87_HOST_RM(host_##name##_m64, #name "l", u64)                                                                     \
    X87_HOST_RM(host_##name##_i16, #integer "s", u16)                                                                  \
    X87_HOST_RM(host_##name##_i32, #integer "l", u32)                                                                  \
    ARITH_MEM(name, m32, u32)                                                                                          \
    ARITH_MEM(name, m64, u64)                                                                                          \
    ARITH_MEM(name, i16, u16)                                                                                          \
    ARITH_MEM(name, i32, u32)                                                                                          \
    void sem_##name##_st0_sti(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        arith(c, i, 0, i->rm, host_##name, false);                                                                     \
    }                                                                                                                  \
    void sem_##name##_sti_st0(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        arith(c, i, i->rm, 0, host_##name, false);                                                                     \
    }                                                                                                                  \
    void sem_##name##p_sti_st0(struct cpu *c, const struct insn *i)                                                    \
    {                                                                                                                  \
        arith(c, i, i->rm, 0, host_##name, true);                                                                      \
    }
ARITH(fadd, fiadd)
ARITH(fmul, fimul)
ARITH(fsub, fisub)
ARITH(fsubr, fisubr)
ARITH(fdiv, fidiv)
ARITH(fdivr, fidivr)

/* Comparison */

X87_HOST_RR(host_fcom, "fcom %%st(1)")
X87_HOST_RR(host_fucom, "fucom %%st(1)")
X87_HOST_RM(host_fcom_m32, "fcoms", u32)
X87_HOST_RM(host_fcom_m64, "fcoml", u64)
X87_HOST_RM(host_fcom_i16, "ficoms", u16)
X87_HOST_RM(host_fcom_i32, "ficoml", u32)

static void pop_many(struct cpu *c, unsigned pops)
{
    while (pops--)
        x87_pop(c);
}

static void compare_done(struct cpu *c, u16 sw, unsigned pops)
{
    x87_status(c, sw, FSW_CC);
    if (!x87_stops(c, sw, FSW_IE | FSW_DE))
        pop_many(c, pops);
}

/* An operand is an empty register: unordered. */
static void compare_empty(struct cpu *c, unsigned pops)
{
    bool masked = x87_stack_fault(c, false);
    c->fsw |= FSW_C0 | FSW_C2 | FSW_C3;
    if (masked)
        pop_many(c, pops);
}

static void compare(struct cpu *c, const struct insn *i, unsigned with, x87_rr *op, unsigned pops)
{
    x87_note(c, i);
    if (unlikely(x87_empty(c, 0) || x87_empty(c, with))) {
        compare_empty(c, pops);
        return;
    }
    struct f80 a = *x87_st(c, 0);
    compare_done(c, op(&a, x87_st(c, with), c->fcw), pops);
}

#define COMPARE_MEM(name, form, T, pops)                                                                               \
    void sem_##name##_##form(struct cpu *c, const struct insn *i)                                                      \
    {                                                                                                                  \
        T v = op_load_##T(c, i);                                                                                       \
        x87_note(c, i);                                                                                                \
        if (unlikely(x87_empty(c, 0))) {                                                                               \
            compare_empty(c, pops);                                                                                    \
            return;                                                                                                    \
        }                                                                                                              \
        struct f80 a = *x87_st(c, 0);                                                                                  \
        compare_done(c, host_fcom_##form(&a, v, c->fcw), pops);                                                        \
    }
#define COMPARE(name, pops)                                                                                            \
    COMPARE_MEM(name, m32, u32, pops)                                                                                  \
    COMPARE_MEM(name, m64, u64, pops)                                                                                  \
    COMPARE_MEM(name, i16, u16, pops)                                                                                  \
    COMPARE_MEM(name, i32, u32, pops)                                                                                  \
    void sem_##name##_st0_sti(struct cpu *c, const struct insn *i)                                                     \
    {                                                                                                                  \
        compare(c, i, i->rm, host_fcom, pops);                                                                         \
    }
COMPARE(fcom, 0)
COMPARE(fcomp, 1)

void sem_fcompp(struct cpu *c, const struct insn *i)
{
    compare(c, i, 1, host_fcom, 2);
}

void sem_fucom_st0_sti(struct cpu *c, const struct insn *i)
{
    compare(c, i, i->rm, host_fucom, 0);
}

void sem_fucomp_st0_sti(struct cpu *c, const struct insn *i)
{
    compare(c, i, i->rm, host_fucom, 1);
}

void sem_fucompp(struct cpu *c, const struct insn *i)
{
    compare(c, i, 1, host_fucom, 2);
}

/* FCOMI and its kin: ZF PF CF from C3 C2 C0 of the comparison, OF SF AF clear. In the form of c->ax_flags. */
static void compare_flags(struct cpu *c, const struct insn *i, x87_rr *op, unsigned pops)
{
    x87_note(c, i);
    u16 sw;
    if (unlikely(x87_empty(c, 0) || x87_empty(c, i->rm))) {
        x87_stack_fault(c, false);
        sw = FSW_C0 | FSW_C2 | FSW_C3 | FSW_IE;
    } else {
        struct f80 a = *x87_st(c, 0);
        sw = op(&a, x87_st(c, i->rm), c->fcw);
        x87_status(c, sw, 0);
    }
    c->ax_flags = (sw & (FSW_C0 | FSW_C2 | FSW_C3)) | BIT(9); /* LAHF puts CF PF ZF where C0 C2 C3 are */
    if (!x87_stops(c, sw, FSW_IE | FSW_DE))
        pop_many(c, pops);
}

void sem_fcomi(struct cpu *c, const struct insn *i)
{
    compare_flags(c, i, host_fcom, 0);
}

void sem_fcomip(struct cpu *c, const struct insn *i)
{
    compare_flags(c, i, host_fcom, 1);
}

void sem_fucomi(struct cpu *c, const struct insn *i)
{
    compare_flags(c, i, host_fucom, 0);
}

void sem_fucomip(struct cpu *c, const struct insn *i)
{
    compare_flags(c, i, host_fucom, 1);
}

/* FTST and FXAM leave the register alone. */
X87_HOST_R(host_ftst, "ftst")
X87_HOST_R(host_fxam, "fxam")

void sem_ftst(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    if (x87_empty(c, 0)) {
        compare_empty(c, 0);
        return;
    }
    struct f80 a = *x87_st(c, 0);
    x87_status(c, host_ftst(&a, c->fcw), FSW_CC);
}

void sem_fxam(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    struct f80 a = *x87_st(c, 0);
    u16 sw = host_fxam(&a, c->fcw);
    if (x87_empty(c, 0)) /* what class, but the sign is told */
        sw = FSW_C3 | FSW_C0 | (sw & FSW_C1);
    c->fsw = (u16)((c->fsw & ~FSW_CC) | (sw & FSW_CC));
}

/* Loads */

#define LOAD_MEM(name, form, code, T)                                                                                  \
    X87_HOST_LOAD(host_##name##_##form, code, T)                                                                       \
    void sem_##name##_##form(struct cpu *c, const struct insn *i)                                                      \
    {                                                                                                                  \
        T v = op_load_##T(c, i);                                                                                       \
        x87_note(c, i);                                                                                                \
        if (!x87_room(c))                                                                                              \
            return;                                                                                                    \
        struct f80 a = {0};                                                                                            \
        u16 sw = host_##name##_##form(&a, v, c->fcw);                                                                  \
        x87_status(c, sw, FSW_C1);                                                                                     \
        if (!x87_stops(c, sw, FSW_IE))                                                                                 \
            x87_push(c, a);                                                                                            \
    }
LOAD_MEM(fld, m32, "flds", u32)
LOAD_MEM(fld, m64, "fldl", u64)
LOAD_MEM(fild, i16, "filds", u16)
LOAD_MEM(fild, i32, "fildl", u32)
LOAD_MEM(fild, i64, "fildll", u64)

/* Ten bytes are checked for alignment to eight. */
static void check_align10(struct cpu *c, u64 linear)
{
    if (c->mmu_index == MMU_CHECKED && linear & 7 && addr_is_canonical(linear))
        cpu_fault_code(c, EXC_AC, 0);
}

static struct f80 load_m80(struct cpu *c, const struct insn *i)
{
    struct f80 v = {0};
    u64 linear = op_linear(c, i, 10, MMU_READ);
    check_align10(c, linear);
    mmu_load_bytes(c, c->mmu_index, linear, &v, 10);
    return v;
}

void sem_fld_m80(struct cpu *c, const struct insn *i)
{
    struct f80 v = load_m80(c, i);
    x87_note(c, i);
    if (!x87_room(c))
        return;
    c->fsw &= (u16)~FSW_C1;
    x87_push(c, v);
}

X87_HOST_R(host_fbld, "fstp %%st(0)\n\tfbld %[a]")

void sem_fbld(struct cpu *c, const struct insn *i)
{
    struct f80 v = load_m80(c, i);
    x87_note(c, i);
    if (!x87_room(c))
        return;
    x87_status(c, host_fbld(&v, c->fcw), FSW_C1);
    v.se &= 0xffff;
    x87_push(c, v);
}

void sem_fld_sti(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    if (x87_empty(c, i->rm)) { /* even if there is no room */
        if (x87_stack_fault(c, false))
            x87_push(c, x87_indefinite);
        return;
    }
    if (!x87_room(c))
        return;
    c->fsw &= (u16)~FSW_C1;
    x87_push(c, *x87_st(c, i->rm));
}

/* Stores: nothing is popped or told of before the memory has been found writable. An unmasked exception keeps the
 * memory from being looked at. */

/* `v` is what the host made of ST(0), or the indefinite, and `sw` its status; FSW_SF in it stands for an empty
 * register. */
static ALWAYS_INLINE void store(struct cpu *c, const struct insn *i, const void *v, unsigned size, u16 sw, bool pop)
{
    bool stops = x87_stops(c, sw, X87_STOPS_MEM);
    if (likely(!stops)) {
        u64 linear = op_linear(c, i, size, MMU_WRITE);
        if (size == 10)
            check_align10(c, linear);
        vec_store(c, linear, v, size);
    }
    x87_note(c, i);
    if (unlikely(sw & FSW_SF))
        x87_stack_fault(c, false);
    else
        x87_status(c, sw, FSW_C1);
    if (pop && !stops)
        x87_pop(c);
}

#define STORE_MEM(sem, host, T, indefinite, pop)                                                                       \
    void sem_##sem(struct cpu *c, const struct insn *i)                                                                \
    {                                                                                                                  \
        T v = indefinite;                                                                                              \
        u16 sw = FSW_IE | FSW_SF;                                                                                      \
        if (likely(!x87_empty(c, 0)))                                                                                  \
            sw = host(x87_st(c, 0), &v, c->fcw) & (u16)~FSW_SF;                                                        \
        store(c, i, &v, sizeof(T), sw, pop);                                                                           \
    }
X87_HOST_STORE(host_fst_m32, "fsts", u32)
X87_HOST_STORE(host_fst_m64, "fstl", u64)
X87_HOST_STORE(host_fist_i16, "fists", u16)
X87_HOST_STORE(host_fist_i32, "fistl", u32)
X87_HOST_STORE(host_fistp_i64, "fistpll", u64)
X87_HOST_STORE(host_fisttp_i16, "fisttps", u16)
X87_HOST_STORE(host_fisttp_i32, "fisttpl", u32)
X87_HOST_STORE(host_fisttp_i64, "fisttpll", u64)
STORE_MEM(fst_m32, host_fst_m32, u32, 0xffc00000, false)
STORE_MEM(fstp_m32, host_fst_m32, u32, 0xffc00000, true)
STORE_MEM(fst_m64, host_fst_m64, u64, 0xfff8000000000000, false)
STORE_MEM(fstp_m64, host_fst_m64, u64, 0xfff8000000000000, true)
STORE_MEM(fist_i16, host_fist_i16, u16, 0x8000, false)
STORE_MEM(fistp_i16, host_fist_i16, u16, 0x8000, true)
STORE_MEM(fist_i32, host_fist_i32, u32, 0x80000000, false)
STORE_MEM(fistp_i32, host_fist_i32, u32, 0x80000000, true)
STORE_MEM(fistp_i64, host_fistp_i64, u64, 0x8000000000000000, true)
STORE_MEM(fisttp_i16, host_fisttp_i16, u16, 0x8000, true)
STORE_MEM(fisttp_i32, host_fisttp_i32, u32, 0x80000000, true)
STORE_MEM(fisttp_i64, host_fisttp_i64, u64, 0x8000000000000000, true)

X87_HOST_STORE(host_fbstp, "fbstp", struct f80)

/* Ten bytes: the 80-bit format, which never has an exception of its own, and packed decimal. */
void sem_fstp_m80(struct cpu *c, const struct insn *i)
{
    bool empty = x87_empty(c, 0);
    struct f80 v = empty ? x87_indefinite : *x87_st(c, 0);
    store(c, i, &v, 10, empty ? FSW_IE | FSW_SF : 0, true);
}

void sem_fbstp(struct cpu *c, const struct insn *i)
{
    struct f80 v = x87_indefinite; /* the same bytes as packed decimal indefinite */
    u16 sw = FSW_IE | FSW_SF;
    if (!x87_empty(c, 0))
        sw = host_fbstp(x87_st(c, 0), &v, c->fcw) & (u16)~FSW_SF;
    store(c, i, &v, 10, sw, true);
}

static void store_register(struct cpu *c, const struct insn *i, bool pop)
{
    x87_note(c, i);
    if (x87_empty(c, 0)) {
        underflow_to(c, i->rm, pop);
        return;
    }
    c->fsw &= (u16)~FSW_C1;
    x87_set(c, i->rm, *x87_st(c, 0));
    if (pop)
        x87_pop(c);
}

void sem_fst_sti(struct cpu *c, const struct insn *i)
{
    store_register(c, i, false);
}

void sem_fstp_sti(struct cpu *c, const struct insn *i)
{
    store_register(c, i, true);
}

/* The undocumented D9 D8+i: no underflow; an empty register is not stored, and only TOP moves. */
void sem_fstpnce(struct cpu *c, const struct insn *i)
{
    if (!x87_empty(c, 0)) {
        sem_fstp_sti(c, i);
        return;
    }
    x87_note(c, i);
    c->fsw &= (u16)~FSW_C1;
    x87_move_top(c, 1);
}

/* Moves between registers */

void sem_fxch(struct cpu *c, const struct insn *i)
{
    x87_note(c, i);
    if (x87_empty(c, 0) || x87_empty(c, i->rm)) {
        if (!x87_stack_fault(c, false))
            return;
        if (x87_empty(c, 0))
            x87_set(c, 0, x87_indefinite);
        if (x87_empty(c, i->rm))
            x87_set(c, i->rm, x87_indefinite);
    } else {
        c->fsw &= (u16)~FSW_C1;
    }
    struct f80 *a = x87_st(c, 0), *b = x87_st(c, i->rm), v = *a;
    *a = *b;
    *b = v;
}

static void move_if(struct cpu *c, const struct insn *i, bool condition)
{
    x87_note(c, i);
    if (x87_empty(c, 0) || x87_empty(c, i->rm)) {
        underflow_to(c, 0, false);
        return;
    }
    if (condition)
        *x87_st(c, 0) = *x87_st(c, i->rm);
}

/* Bits of c->ax_flags: as in AH after LAHF. */
#define FCMOV(cc, bits)                                                                                                \
    void sem_fcmov##cc(struct cpu *c, const struct insn *i)                                                            \
    {                                                                                                                  \
        move_if(c, i, c->ax_flags &((bits) << 8));                                                                     \
    }                                                                                                                  \
    void sem_fcmovn##cc(struct cpu *c, const struct insn *i)                                                           \
    {                                                                                                                  \
        move_if(c, i, !(c->ax_flags & ((bits) << 8)));                                                                 \
    }
FCMOV(b, FL_CF)
FCMOV(e, FL_ZF)
FCMOV(be, FL_ZC)
FCMOV(u, FL_PF)
