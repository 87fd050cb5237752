/*
 * Accesses that cross a page: right bytes, faults on the page that lacks the right, nothing stored by an instruction
 * that faults, registers as they were. Also stack operations, string instructions that fault midway, LOCK across lines
 * and pages.
 */
#include "lib/guest.h"

#define TEST_VA 0x20000000000ull /* two pages; the second may be missing or read-only */
#define EDGE    (TEST_VA + PAGE)

static u8 *first, *second;

static void second_flags(u64 flags)
{
    map_page(EDGE, (u64)second, flags);
}

struct op {
    const char *name;
    unsigned size;
    bool write;
    void (*fn)(void *);
};

/* Each takes the address in rdi. Registers that an instruction must not change before it faults are checked by the
 * caller. */
#define OP(name, text)                                                                                                 \
    static void op_##name(void *p)                                                                                     \
    {                                                                                                                  \
        asm volatile(text                                                                                              \
                     :                                                                                                 \
                     : "D"(p), "a"(0x1122334455667788ull), "c"(1ull), "d"(0ull), "b"(0ull)                             \
                     : "memory", "cc", "r8");                                                                          \
    }
OP(load16, "movw (%%rdi),%%r8w")
OP(load32, "movl (%%rdi),%%r8d")
OP(load64, "movq (%%rdi),%%r8")
OP(store16, "movw %%ax,(%%rdi)")
OP(store32, "movl %%eax,(%%rdi)")
OP(store64, "movq %%rax,(%%rdi)")
OP(add32, "addl %%eax,(%%rdi)")
OP(add64, "addq %%rax,(%%rdi)")
OP(lock_add32, "lock addl %%eax,(%%rdi)")
OP(lock_add64, "lock addq %%rax,(%%rdi)")
OP(xchg64, "mov %%rax,%%r8; xchgq %%r8,(%%rdi)")
OP(cmpxchg64, "mov %%rax,%%r8; lock cmpxchgq %%r8,(%%rdi)")
OP(cmpxchg8b, "lock cmpxchg8b (%%rdi)")
OP(inc16, "incw (%%rdi)")
OP(shl32, "shll $3,(%%rdi)")
OP(bts, "lock btsl $5,(%%rdi)")
OP(not64, "notq (%%rdi)")
OP(movups_store, "movups %%xmm0,(%%rdi)")
OP(movups_load, "movups (%%rdi),%%xmm1")
OP(fstp80, "fninit; fldz; fstpt (%%rdi)")
OP(fnstenv, "fnstenv (%%rdi)")
OP(movnti, "movnti %%rax,(%%rdi)")
OP(push_mem, "pushq (%%rdi); pop %%r8")
OP(pop_mem, "push %%rax; popq (%%rdi)")
OP(sgdt, "sgdt (%%rdi)")

static const struct op ops[] = {
    {"mov r16, m", 2, false, op_load16},
    {"mov r32, m", 4, false, op_load32},
    {"mov r64, m", 8, false, op_load64},
    {"mov m, r16", 2, true, op_store16},
    {"mov m, r32", 4, true, op_store32},
    {"mov m, r64", 8, true, op_store64},
    {"add m, r32", 4, true, op_add32},
    {"add m, r64", 8, true, op_add64},
    {"lock add m, r32", 4, true, op_lock_add32},
    {"lock add m, r64", 8, true, op_lock_add64},
    {"xchg m, r64", 8, true, op_xchg64},
    {"lock cmpxchg m, r64", 8, true, op_cmpxchg64},
    {"lock cmpxchg8b", 8, true, op_cmpxchg8b},
    {"inc m16", 2, true, op_inc16},
    {"shl m32, 3", 4, true, op_shl32},
    {"lock bts m32, 5", 4, true, op_bts},
    {"not m64", 8, true, op_not64},
    {"movups m, x", 16, true, op_movups_store},
    {"movups x, m", 16, false, op_movups_load},
    {"fstp m80", 10, true, op_fstp80},
    {"fnstenv m", 28, true, op_fnstenv},
    {"movnti m, r64", 8, true, op_movnti},
    {"push m64", 8, false, op_push_mem},
    {"pop m64", 8, true, op_pop_mem},
    {"sgdt m", 10, true, op_sgdt},
};

static void fill(void)
{
    for (unsigned n = 0; n < PAGE; n++)
        first[n] = (u8)(n * 7 + 1), second[n] = (u8)(n * 5 + 3);
}

static bool untouched(void)
{
    for (unsigned n = 0; n < PAGE; n++)
        if (first[n] != (u8)(n * 7 + 1) || second[n] != (u8)(n * 5 + 3))
            return false;
    return true;
}

/* CR2 names a byte of the second page; which one is the processor's choice where an instruction makes several accesses
 * (FNSTENV). */
static void one_op(const struct op *op)
{
    for (unsigned before = 1; before < op->size; before++) {
        void *p = (void *)(EDGE - before);
        fill();
        second_flags(0);
        struct fault f = try_call(op->fn, p);
        check(f.vector == 14 && (f.cr2 & ~(PAGE - 1)) == EDGE, "%s, %u bytes before a missing page: %d cr2 %lx",
              op->name, before, f.vector, f.cr2);
        check(f.error == (op->write ? 2 : 0), "%s: error code %lx", op->name, f.error);
        check(untouched(), "%s: a faulting store changed memory (missing page, %u before)", op->name, before);

        second_flags(PTE_P);
        f = try_call(op->fn, p);
        if (op->write) {
            check(f.vector == 14 && (f.cr2 & ~(PAGE - 1)) == EDGE && f.error == 3,
                  "%s, %u bytes before a read-only page: %d cr2 %lx error %lx", op->name, before, f.vector, f.cr2,
                  f.error);
            check(untouched(), "%s: a faulting store changed memory (read-only page)", op->name);
        } else {
            check(f.vector == -1, "%s faulted on a readable page: %d", op->name, f.vector);
        }
        second_flags(PTE_P | PTE_W);
        check(try_call(op->fn, p).vector == -1, "%s faulted on two good pages", op->name);
    }
}

static void values(void)
{
    fill();
    second_flags(PTE_P | PTE_W);
    for (unsigned before = 1; before < 8; before++) {
        volatile u64 *p = (u64 *)(EDGE - before);
        u64 want = 0;
        for (unsigned n = 0; n < 8; n++)
            want |= (u64)(n < before ? first[PAGE - before + n] : second[n - before]) << (8 * n);
        check(*p == want, "load across the edge: %lx want %lx", *p, want);
        *p = 0x0123456789abcdefull + before;
        check(*p == 0x0123456789abcdefull + before, "store across the edge");
        u64 old = *p;
        asm volatile("lock addq %1,%0" : "+m"(*p) : "r"(0x1111111111111111ull));
        check(*p == old + 0x1111111111111111, "lock add across the edge");
    }
}

/* A string instruction that faults midway keeps what it did; the handler repairs the page and it goes on. */
static struct {
    u64 di, si, cx;
} string;
static unsigned repairs;

static void repair(struct regs *r)
{
    repairs++;
    check(r->rcx == string.cx - 10 && r->rdi == EDGE && r->rsi == string.si + 10,
          "rep movs at the fault: rcx %lx rdi %lx rsi %lx", r->rcx, r->rdi, r->rsi);
    check(r->error == 2 && read_cr2() == EDGE, "rep movs: error %lx cr2 %lx", r->error, read_cr2());
    second_flags(PTE_P | PTE_W);
}

static void strings(void)
{
    fill();
    second_flags(0);
    string.di = EDGE - 10, string.si = (u64)first, string.cx = 200;
    on_vector(14, repair);
    u64 di = string.di, si = string.si, cx = string.cx;
    asm volatile("rep movsb" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    on_vector(14, NULL);
    check(repairs == 1 && cx == 0 && di == string.di + 200 && si == string.si + 200, "rep movsb: %u faults, rcx %lx",
          repairs, cx);
    for (unsigned n = 0; n < 200; n++)
        check(((volatile u8 *)string.di)[n] == (u8)(n * 7 + 1), "rep movsb: byte %u", n);

    /* Overlapping copies, forward and backward, by byte: the well-known propagation. */
    fill();
    first[0] = 0x5a;
    di = TEST_VA + 1, si = TEST_VA, cx = 300;
    asm volatile("rep movsb" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    for (unsigned n = 0; n <= 300; n++)
        check(first[n] == 0x5a, "propagating copy: byte %u is %x", n, first[n]);
    fill();
    di = EDGE + 99, si = EDGE + 98, cx = 150;
    asm volatile("std; rep movsb; cld" : "+D"(di), "+S"(si), "+c"(cx) : : "memory");
    for (unsigned n = 0; n < 99; n++)
        check(second[n + 1] == (u8)(n * 5 + 3), "backward copy: byte %u", n);
    fill();
    di = EDGE - 3, cx = 5;
    asm volatile("rep stosq" : "+D"(di), "+c"(cx) : "a"(0x0807060504030201ull) : "memory");
    for (unsigned n = 0; n < 40; n++)
        check(((volatile u8 *)EDGE)[(int)n - 3] == n % 8 + 1, "rep stosq across the edge: byte %u", n);
}

static void push_at(void *sp)
{
    asm volatile("mov %%rsp,%%rbx; mov %0,%%rsp; push $-2; mov %%rbx,%%rsp" : : "r"(sp) : "rbx", "memory");
}

static void pop_at(void *sp)
{
    asm volatile("mov %%rsp,%%rbx; mov %0,%%rsp; pop %%rcx; mov %%rbx,%%rsp" : : "r"(sp) : "rbx", "rcx", "memory");
}

static void call_at(void *sp)
{
    asm volatile("mov %%rsp,%%rbx; mov %0,%%rsp; call 1f; 1: mov %%rbx,%%rsp" : : "r"(sp) : "rbx", "memory");
}

/* Stack accesses that fault leave RSP alone. The handler's own stack is IST 1. */
static void stack(void)
{
    static const struct {
        const char *name;
        void (*fn)(void *);
        bool write;
    } ops[] = {{"push", push_at, true}, {"pop", pop_at, false}, {"call", call_at, true}};
    fill();
    second_flags(0);
    idt[14].ist = 1;
    for (unsigned n = 0; n < 3; n++) {
        u64 sp = EDGE - 4 + (ops[n].write ? 8 : 0);
        struct fault f = try_call(ops[n].fn, (void *)sp);
        check(f.vector == 14 && f.rsp == sp && f.cr2 == EDGE, "%s: vector %d rsp %lx want %lx cr2 %lx", ops[n].name,
              f.vector, f.rsp, sp, f.cr2);
        check(untouched(), "%s: a faulting instruction changed memory", ops[n].name);
    }
    idt[14].ist = 0;
    second_flags(PTE_P | PTE_W);
    u64 sp;
    asm volatile("push %%rsp; pop %0" : "=r"(sp));
    u64 here;
    asm volatile("mov %%rsp,%0" : "=r"(here));
    check(sp == here, "PUSH RSP pushed %lx, RSP is %lx", sp, here);
    u64 value;
    asm volatile("mov %%rsp,%%rbx; push $1; push $2; push $3; popq 8(%%rsp); mov 8(%%rsp),%0; mov %%rbx,%%rsp"
                 : "=r"(value)
                 :
                 : "rbx", "memory");
    check(value == 3, "POP m with RSP as base uses RSP after the increment: %lx", value);
}

void test(void)
{
    first = page_alloc(), second = page_alloc();
    map_page(TEST_VA, (u64)first, PTE_P | PTE_W);
    map_page(EDGE, (u64)second, PTE_P | PTE_W);
    for (unsigned n = 0; n < sizeof(ops) / sizeof(ops[0]); n++)
        one_op(&ops[n]);
    values();
    strings();
    stack();
}
