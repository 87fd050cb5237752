/*
 * The same code at many addresses, as a library is in many processes. What it computes from where it is (RIP-relative
 * operands, return addresses, tables of jumps) must be that of the address at which it was called; and it may change,
 * or give way to other code, at any of them.
 */
#include "lib/guest.h"

#define ALIASES 48
#define ROUNDS  6
#define WORDS   64 /* that the loop sums up */

/* Two pages of code; a third one, of data, follows, which each alias has of its own. */
extern u8 al_code[], al_here[], al_short[], al_word[], al_count[], al_call[], al_far[], al_jump[], al_sum[],
    al_vector[], al_push[], al_bit[], al_straddle[], al_x87[], al_high[], al_tsc[], al_patch[], al_patched[],
    al_string[];
asm(".pushsection .data.aliases, \"aw\"\n"
    ".balign 4096\n"
    ".equ al_data, al_code + 8192\n"
    "al_code:\n"
    "al_here:   lea al_here(%rip), %rax\n"
    "           ret\n"
    "al_word:   mov al_data(%rip), %rax\n"
    "           add al_data + 8(%rip), %rax\n"
    "           lea al_data(%rip), %rdx\n"
    "           add 16(%rdx), %rax\n"
    "           xor al_data + 24(%rip), %r15\n"
    "           mov %r15, %rcx\n"
    "           sub %rcx, %r15\n"
    "           ret\n"
    "al_short:  leal al_short(%rip), %eax\n"
    "           lea al_data(%eip), %rdx\n"
    "           sub %edx, %eax\n"
    "           ret\n"
    "al_count:  add %rdi, al_data + 32(%rip)\n"
    "           incq al_data + 32(%rip)\n"
    "           mov al_data + 32(%rip), %rax\n"
    "           ret\n"
    "al_call:   call 1f\n"
    "           ret\n"
    "1:         mov (%rsp), %rax\n"
    "           ret\n"
    "al_far:    test %rdi, %rdi\n"
    "           jz al_far_zero\n"
    "           dec %rdi\n"
    "           jmp al_far_back\n"
    "al_jump:   lea 2f(%rip), %rdx\n"
    "           and $3, %edi\n"
    "           movslq (%rdx,%rdi,4), %rax\n"
    "           add %rdx, %rax\n"
    "           jmp *%rax\n"
    "2:         .long 3f - 2b, 4f - 2b, 5f - 2b, 3f - 2b\n"
    "3:         mov $3, %eax\n"
    "           ret\n"
    "4:         lea 4b(%rip), %rax\n"
    "           ret\n"
    "5:         mov al_data + 8(%rip), %rax\n"
    "           ret\n"
    "al_sum:    lea al_data + 512(%rip), %rsi\n"
    "           mov $64, %ecx\n"
    "           xor %eax, %eax\n"
    "6:         add (%rsi), %rax\n"
    "           add $8, %rsi\n"
    "           sub $1, %rcx\n"
    "           jnz 6b\n"
    "           ret\n"
    "al_vector: movaps al_data(%rip), %xmm3\n"
    "           paddq al_data + 16(%rip), %xmm3\n"
    "           movq %xmm3, %rax\n"
    "           ret\n"
    "al_push:   pushq al_data(%rip)\n"
    "           pop %rax\n"
    "           push $0x1234\n"
    "           pop %rdx\n"
    "           add %rdx, %rax\n"
    "           ret\n"
    "al_bit:    xor %eax, %eax\n"
    "           bt %rdi, al_data(%rip)\n"
    "           setc %al\n"
    "           ret\n"
    "al_x87:    fildq al_data(%rip)\n"
    "           fld1\n"
    "           faddp\n"
    "           fistpq al_data + 40(%rip)\n"
    "           mov al_data + 40(%rip), %rax\n"
    "           ret\n"
    "al_high:   mov al_data(%rip), %ecx\n"
    "           xor %eax, %eax\n"
    "           and $0x7f, %ch\n"
    "           test $0x10, %ch\n"
    "           setnz %al\n"
    "           mov %al, %ch\n"
    "           movzbl %ch, %edx\n"
    "           mov %ecx, %eax\n"
    "           ret\n"
    "al_tsc:    rdtsc\n"
    "           lea al_tsc(%rip), %rax\n"
    "           ret\n"
    "al_string: lea al_data(%rip), %rsi\n"
    "           lea al_data + 1024(%rip), %rdi\n"
    "           mov $32, %ecx\n"
    "           cld\n"
    "           rep movsb\n"
    "           mov al_data + 1024(%rip), %rax\n"
    "           ret\n"
    "           .balign 16\n"
    "al_patch:  .byte 0xb8\n"
    "al_patched:.long 0\n"
    "           ret\n"
    "           .fill al_code + 4096 - 5 - ., 1, 0x90\n"
    "al_straddle: movabs $0x1122334455667788, %rax\n" /* its last five bytes are the next page's */
    "           lea al_straddle(%rip), %rdx\n"
    "           xor %rdx, %rax\n"
    "           ret\n"
    "al_far_back: lea al_far_back(%rip), %rax\n"
    "           jmp al_far\n"
    "al_far_zero: mov al_data + 16(%rip), %rdx\n"
    "           add %rdx, %rax\n"
    "           ret\n"
    "           .balign 4096\n"
    ".popsection\n");
extern u8 al_far_back[];

static u8 *data[ALIASES];

static u64 base_of(unsigned k)
{
    if (k < 4) /* where programs that are not put at random are */
        return 0x10000400000 + k * 0x40000000ull;
    if (k < 16)
        return 0x555500000000 + k * 0x123456000ull;
    if (k < ALIASES - 2)
        return 0x7f0000000000 + k * 0x2bcdef000ull;
    return 0xffffc90000000000 + k * 0x12345000ull;
}

static u64 linear(unsigned k, const u8 *label)
{
    return base_of(k) + (u64)(label - al_code);
}

static u64 word(unsigned k, unsigned n)
{
    return ((u64 *)data[k])[n];
}

static u64 run(unsigned k, const u8 *label, u64 arg)
{
    u64 v, to = linear(k, label);
    asm volatile("call *%2"
                 : "=a"(v), "+D"(arg)
                 : "r"(to), "a"(0)
                 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r15", "memory", "cc");
    return v;
}

static void fill(unsigned k)
{
    for (unsigned n = 0; n < PAGE / 8; n++)
        ((u64 *)data[k])[n] = (u64)k << 40 | (u64)random32() >> 4;
}

static void map(unsigned k)
{
    map_page(base_of(k), (u64)al_code, PTE_P | PTE_W);
    map_page(base_of(k) + PAGE, (u64)al_code + PAGE, PTE_P | PTE_W);
    map_page(base_of(k) + 2 * PAGE, (u64)data[k], PTE_P | PTE_W);
}

static u64 sum(unsigned k)
{
    u64 v = 0;
    for (unsigned n = 0; n < WORDS; n++)
        v += word(k, 64 + n);
    return v;
}

static u32 high(unsigned k)
{
    u32 v = (u32)word(k, 0);
    return (v & 0xffff00ff) | (v >> 12 & 1) << 8;
}

static void equal(unsigned k, const char *what, u64 got, u64 want)
{
    check(got == want, "%s at %lx: %lx, not %lx", what, base_of(k), got, want);
}

static void use(unsigned k)
{
    equal(k, "lea", run(k, al_here, 0), linear(k, al_here));
    equal(k, "words", run(k, al_word, 0), word(k, 0) + word(k, 1) + word(k, 2));
    equal(k, "short addresses", run(k, al_short, 0), (u32)(al_short - al_code - 2 * (int)PAGE));
    u64 count = word(k, 4);
    equal(k, "count", run(k, al_count, 5), count + 6);
    equal(k, "return address", run(k, al_call, 0), linear(k, al_call) + 5);
    equal(k, "other page", run(k, al_far, 3), linear(k, al_far_back) + word(k, 2));
    equal(k, "table", run(k, al_jump, 0), 3);
    check(run(k, al_jump, 1) - base_of(k) < PAGE, "table leads away from %lx", base_of(k));
    equal(k, "table", run(k, al_jump, 2), word(k, 1));
    equal(k, "sum", run(k, al_sum, 0), sum(k));
    equal(k, "vector", run(k, al_vector, 0), word(k, 0) + word(k, 2));
    equal(k, "push", run(k, al_push, 0), word(k, 0) + 0x1234);
    equal(k, "bit", run(k, al_bit, 70), word(k, 1) >> 6 & 1);
    equal(k, "two pages", run(k, al_straddle, 0), 0x1122334455667788 ^ linear(k, al_straddle));
    equal(k, "x87", run(k, al_x87, 0), word(k, 0) + 1);
    equal(k, "CH", run(k, al_high, 0), high(k));
    equal(k, "after RDTSC", run(k, al_tsc, 0), linear(k, al_tsc));
    equal(k, "string", run(k, al_string, 0), word(k, 0));
}

static void use_all(void)
{
    for (unsigned k = 0; k < ALIASES; k++)
        use(k);
}

static void patch(u8 *at, u32 v)
{
    __builtin_memcpy(at, &v, sizeof(v));
    asm volatile("cpuid" : : "a"(0) : "rbx", "rcx", "rdx", "memory");
}

/* A store by one alias is seen at all. */
static void change(u32 round)
{
    for (unsigned k = 0; k < ALIASES; k += 7) {
        u32 v = round << 16 | k;
        patch((u8 *)linear(k, al_patched), v);
        for (unsigned n = 0; n < ALIASES; n++)
            equal(n, "changed code", run(n, al_patch, 0), v);
    }
}

/* Other code at an alias's address, and back: the translation alone says what is there. */
static void replace(unsigned k)
{
    static u8 *other;
    if (!other)
        other = page_alloc();
    __builtin_memcpy(other, al_code, PAGE);
    /* mov %rdi, %rax; ret */
    __builtin_memcpy(other + (al_here - al_code), "\x48\x89\xf8\xc3", 4);
    map_page(base_of(k), (u64)other, PTE_P | PTE_W);
    invlpg((void *)base_of(k));
    equal(k, "other code", run(k, al_here, 77), 77);
    equal(k, "a copy of the code", run(k, al_call, 0), linear(k, al_call) + 5);
    map(k);
    invlpg((void *)base_of(k));
    use(k);
}

/* Data pages change places: an alias's operands are where its third page is now. */
static void exchange(unsigned a, unsigned b)
{
    u8 *page = data[a];
    data[a] = data[b];
    data[b] = page;
    map(a);
    map(b);
    invlpg((void *)(base_of(a) + 2 * PAGE));
    invlpg((void *)(base_of(b) + 2 * PAGE));
    use(a);
    use(b);
}

void test(void)
{
    asm volatile("fninit");
    for (unsigned k = 0; k < ALIASES; k++) {
        data[k] = page_alloc();
        fill(k);
        map(k);
    }
    for (u32 round = 0; round < ROUNDS; round++) {
        use_all();
        change(round);
        replace(round % ALIASES);
        exchange(round, ALIASES - 1 - round);
    }
    use_all();
}
