/*
 * The same code at many addresses, as a library is mapped in many processes: what it computes from its address must be
 * its own at each, also after a store through one of them changed it. An engine may know the code by its bytes.
 */
#include "lib/guest.h"

#define PLACES 24
#define TURNS  6

/* Two pages of code and data. In: nothing. Out: RAX, a sum of what was met, addresses counted from the start; RDX, the
 * address at which it found itself. */
extern u8 twin_code[], twin_imm[];
extern u64 twin_data[], twin_count;
asm(".pushsection .data.twins, \"aw\"\n"
    ".balign 4096\n"
    "twin_code: push %rbx\n push %r15\n"
    "lea twin_code(%rip), %rbx\n"
    "mov twin_data(%rip), %rax\n"
    ".byte 0x48, 0x83, 0xc0\n" /* add $imm, %rax */
    "twin_imm: .byte 3\n"
    "incq twin_count(%rip)\n"
    "lea twin_far(%rip), %r15\n sub %rbx, %r15\n add %r15, %rax\n"
    "call 2f\n add %rdx, %rax\n"
    "call twin_far\n add %rdx, %rax\n"
    "lea 2f(%rip), %rcx\n call *%rcx\n add %rdx, %rax\n"
    "mov twin_table(%rip), %r15\n add %rbx, %r15\n call *%r15\n add %rdx, %rax\n"
    "mov $37, %ecx\n bts %rcx, twin_data(%rip)\n adc $0, %rax\n"
    "btr %ecx, twin_data(%rip)\n adc $0, %rax\n"
    "leal twin_far(%rip), %ecx\n sub %ebx, %ecx\n add %rcx, %rax\n"
    "lea twin_data(%eip), %rcx\n sub %ebx, %ecx\n add %rcx, %rax\n"
    "push twin_table(%rip)\n pop %rcx\n add %rcx, %rax\n"
    "lea twin_data(%rip), %rsi\n lea twin_copy(%rip), %rdi\n mov $40, %ecx\n"
    "1: mov (%rsi), %rdx\n add %rdx, %rax\n mov %rax, (%rdi)\n add $8, %rsi\n add $8, %rdi\n sub $1, %ecx\n jnz 1b\n"
    "test $1, %al\n jz 3f\n add $0x1700, %rax\n"
    "3: test $2, %al\n jz 4f\n add $0x2900, %rax\n"
    "4: push %rax\n rdtsc\n pop %rax\n"
    "mov %rbx, %rdx\n pop %r15\n pop %rbx\n ret\n"
    "2: mov (%rsp), %rdx\n sub %rbx, %rdx\n ret\n"
    ".org twin_code + 4096\n"
    "twin_far: mov (%rsp), %rdx\n sub %rbx, %rdx\n add $5, %rdx\n jmp 5f\n"
    ".balign 64\n"
    "5: ret\n"
    ".balign 256\n"
    "twin_data: .fill 40, 8, 0x1234567\n"
    "twin_count: .quad 0\n"
    "twin_table: .quad twin_far - twin_code\n"
    "twin_copy: .fill 40, 8, 0\n"
    ".org twin_code + 8192\n"
    ".popsection");

static u64 places[PLACES];

/* From low ones over those of programs to those of libraries; the upper half last. */
static void map_all(void)
{
    for (unsigned n = 0; n < PLACES; n++) {
        u64 at = n < 3             ? 0x10000000000ull + n * 0x40000000ull
                 : n < 10          ? 0x555500000000ull + n * 0x123456000ull
                 : n == PLACES - 1 ? 0xffffc90000000000ull
                                   : 0x7f0000000000ull + n * 0xabcdef000ull;
        places[n] = at;
        map_page(at, (u64)twin_code, PTE_P | PTE_W);
        map_page(at + PAGE, (u64)twin_code + PAGE, PTE_P | PTE_W);
    }
}

static u64 run(u64 at)
{
    u64 sum, found;
    asm volatile("call *%2" : "=a"(sum), "=d"(found) : "r"(at) : "rcx", "rsi", "rdi", "memory", "cc");
    check(found == at, "code at %lx found itself at %lx", at, found);
    return sum;
}

static void run_all(u64 expected)
{
    for (unsigned turn = 0; turn < TURNS; turn++) {
        for (unsigned n = 0; n < PLACES; n++) {
            u64 sum = run(places[n]);
            check(sum == expected, "turn %u, place %u: %lx in place of %lx", turn, n, sum, expected);
        }
    }
}

/* In turns where it lies, which is no place that an engine may treat alike, and everywhere. */
void test(void)
{
    map_all();
    u64 expected = run((u64)twin_code);
    run_all(expected);
    check(twin_count == TURNS * PLACES + 1, "it ran %lu times", twin_count);
    for (unsigned n = 0; n < PLACES; n++) {
        *(volatile u8 *)(places[n] + (u64)(twin_imm - twin_code)) = (u8)(n + 4);
        u64 sum = run((u64)twin_code);
        check(sum != expected, "old code ran after a store");
        run_all(sum);
        expected = sum;
    }
}
