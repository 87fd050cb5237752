/*
 * Self-modifying code: a store must be seen by the very next instruction fetched from there (SDM volume 3 section 11.6:
 * on the same processor without serialisation, as all processors since the Pentium do when the linear address is the
 * same).
 */
#include "lib/guest.h"

static u8 *code;

static u32 run(void)
{
    u32 v;
    asm volatile("call *%1" : "=a"(v) : "r"(code) : "memory", "rcx", "rdx", "rdi", "rsi");
    return v;
}

/* mov $v, %eax; ret */
static void put_return(u8 *at, u32 v)
{
    at[0] = 0xb8;
    __builtin_memcpy(at + 1, &v, 4);
    at[5] = 0xc3;
}

static void rewritten_between_calls(void)
{
    for (u32 n = 0; n < 1000; n++) {
        put_return(code, n * 0x10001);
        check(run() == n * 0x10001, "call %u ran old code", n);
    }
}

/* Rewrites the immediate of the instruction that follows the store. */
static void next_instruction(void)
{
    extern u8 smc_next[], smc_next_imm[];
    asm volatile(".pushsection .data.code, \"aw\"\n"
                 "smc_next: movl %%edi, smc_next_imm(%%rip)\n"
                 ".byte 0xb8\n"
                 "smc_next_imm: .long 0x11111111\n"
                 "ret\n"
                 ".popsection" ::
                     : "memory");
    for (u32 n = 1; n < 100; n++) {
        u32 v;
        asm volatile("call smc_next" : "=a"(v) : "D"(n) : "memory");
        check(v == n, "the next instruction was stale: %x for %x", v, n);
    }
    (void)smc_next, (void)smc_next_imm;
}

/* A loop whose body rewrites an instruction already passed, which runs in the next turn. */
static void loop_behind(void)
{
    u32 sum;
    asm volatile("xor %%eax,%%eax\n mov $50,%%ecx\n"
                 "call smc_loop"
                 : "=a"(sum)
                 :
                 : "rcx", "rdx", "memory");
    asm volatile(".pushsection .data.code, \"aw\"\n"
                 "smc_loop:\n"
                 "1: .byte 0x05\n"
                 "2: .long 0\n" /* add $imm, %eax */
                 "incl 2b(%%rip)\n"
                 "dec %%ecx\n jnz 1b\n"
                 "movl $0, 2b(%%rip)\n"
                 "ret\n.popsection" ::
                     : "memory");
    check(sum == 49 * 50 / 2, "loop summed %u", sum);
}

static void through_alias(void)
{
    map_page(0x10000000000ull, (u64)code, PTE_P | PTE_W);
    u8 *alias = (u8 *)0x10000000000ull;
    for (u32 n = 0; n < 100; n++) {
        put_return(alias, n ^ 0x5a5a5a5a);
        asm volatile("cpuid" : : "a"(0) : "rbx", "rcx", "rdx", "memory");
        check(run() == (n ^ 0x5a5a5a5a), "store through another mapping was not seen (%u)", n);
    }
}

/* An instruction that lies across two pages, changed in its second half, then its first. */
static void across_pages(void)
{
    u8 *start = code;
    code = start + PAGE - 3;
    for (u32 n = 0; n < 100; n++) {
        put_return(code, n << 8);
        check(run() == n << 8, "crossing instruction, %u", n);
        start[PAGE] = (u8)n; /* bits 16..23 */
        check(run() == ((n << 8 & 0xff00ffff) | n << 16), "second half, %u", n);
        start[PAGE - 2] = (u8)n;
        check((run() & 0xff) == n, "first half, %u", n);
    }
    code = start;
}

/* rep movsb, rep stosb, push, xchg, lock ops, call's return address and movups as writers. */
static void by_every_writer(void)
{
    u8 image[16];
    for (u32 n = 0; n < 20; n++) {
        put_return(image, n);
        void *d = code, *s = image;
        u64 count = 6;
        asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(count) : : "memory");
        check(run() == n, "rep movsb");

        u32 v = n + 1000;
        asm volatile("xchg %0,(%1)" : "+r"(v) : "r"(code + 1) : "memory");
        check(run() == n + 1000, "xchg");

        asm volatile("lock addl %0,(%1)" : : "r"(n), "r"(code + 1) : "memory");
        check(run() == 2 * n + 1000, "lock add");

        u64 word, word2;
        put_return(image, n + 77);
        __builtin_memcpy(&word, image, 8);
        word2 = word;
        asm volatile("mov %%rsp,%%rdx\n lea 8(%1),%%rsp\n push %0\n mov %%rdx,%%rsp"
                     :
                     : "r"(word2), "r"(code)
                     : "rdx", "memory");
        check(run() == n + 77, "push");

        u32 old = n + 77, new = n + 99;
        asm volatile("lock cmpxchg %1,(%2)" : "+a"(old) : "r"(new), "r"(code + 1) : "memory");
        check(run() == n + 99, "cmpxchg");

        put_return(image, n + 5);
        asm volatile("movups (%0),%%xmm0\n movups %%xmm0,(%1)" : : "r"(image), "r"(code) : "memory");
        check(run() == n + 5, "movups");

        void *di = code + 1;
        u64 one = 4;
        asm volatile("rep stosb" : "+D"(di), "+c"(one) : "a"(n) : "memory");
        check(run() == n * 0x01010101, "rep stosb");
    }
}

/* Data beside code in one 64-byte chunk, and far from it on the same page. */
static void data_beside_code(void)
{
    put_return(code, 7);
    volatile u32 *near = (u32 *)(code + 32), *far = (u32 *)(code + 2048);
    for (u32 n = 0; n < 5000; n++) {
        *near = n;
        *far = n;
        if (run() != 7 || *near != n || *far != n) {
            check(false, "data beside code, %u", n);
            break;
        }
    }
}

void test(void)
{
    code = page_alloc();
    page_alloc();
    rewritten_between_calls();
    next_instruction();
    loop_behind();
    through_alias();
    across_pages();
    by_every_writer();
    data_beside_code();
}
