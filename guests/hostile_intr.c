/*
 * Interrupts, single steps and breakpoints in hot code, at every point where they can come: the registers, the flags
 * and the memory must be what they are without them, and the saved RIP must be the start of an instruction of which
 * nothing was done (SDM volume 3 section 6.5 and 6.6: instruction boundaries, restart). STI and MOV SS shadows, code
 * under CLI, stacks that lead nowhere while interrupts have their own (6.14.5), TF and the debug registers (chapter
 * 18), an interrupt that ends an endless string instruction.
 */
#include "lib/probe.h"

#define CODE       0x1c000000000ull
#define BUFFER     0x18000000000ull /* three pages */
#define TIMER      0x60
#define MSR_FS     0xc0000100
#define MSR_GS     0xc0000101
#define MSR_GS_OUT 0xc0000102

static u8 *code, *buffer;
static u64 size; /* of the code */
static volatile u64 hits, strange;
static u8 starts[PAGE];      /* of instructions, by their offset in the code */
static unsigned half_period; /* the store is 3 bytes into each so many of the code */
static u8 saved_vectors[16][32] __attribute__((aligned(32))), junk[16][32] __attribute__((aligned(32)));

/* Registers through everything that translated code does with them. R9 counts; RDI is a buffer; the result is all. */
SNIPPET(mix, "1: add %rax,%rbx; adc %rcx,%rdx; rol $7,%rax; xor %r15,%r14; lea 5(%r14,%rbx,4),%r15; not %rcx\n"
             "imul %r10,%r11; mov %rbx,(%rdi); add (%rdi),%r12; lock xadd %r13,8(%rdi); push %rax; push %r14\n"
             "pop %r10; pop %r14; call 2f; paddd %xmm1,%xmm0; movups %xmm0,16(%rdi); movups 19(%rdi),%xmm2\n"
             "pxor %xmm2,%xmm1; mov %rbx,64(%rdi); mov %rcx,72(%rdi); mov %rdi,%rbp; lea 64(%rdi),%rsi\n"
             "add $68,%rdi; movsq; mov %rbp,%rdi; add 70(%rdi),%rax; mov %edx,%esi; and $1023,%esi\n"
             "btcq %rsi,128(%rdi); adc $3,%r8; add %r8,%r11; pushfq; pop %rsi; and $0x8d5,%esi; add %rsi,%r8\n"
             "add %gs:(%rdi),%r8; xor %fs:8,%r12; lea 96(%rdi),%rsi; lodsq; xchg %rax,%r12; mov %rbp,%rdi\n"
             "mov %r8,2045(%rdi); sub 2045(%rdi),%r13; bt $3,%r12; sbb %rsi,%rsi; enter $16,$0; leave\n"
             "dec %r9; jnz 1b; jmp 3f; 2: add $3,%r8; shl %cl,%rdx; ret; 3:");
/* Copies onto themselves: half done and begun again, they give something else. */
SNIPPET(moves, "1: mov %r9,(%rdi); mov %r8,8(%rdi); mov %rdi,%rbx; .rept 6; mov %rbx,%rsi; lea 4(%rbx),%rdi\n"
               "movsq; lea 1(%rbx),%rdi; mov %rbx,%rsi; movsl; add (%rbx),%r8; .endr; mov %rbx,%rdi\n"
               ".rept 6; lea 3(%rbx),%rdi; mov %rdi,%rsi; lodsq; add $1,%rax; stosq; xor %rax,%r8; .endr\n"
               "mov %rbx,%rdi; dec %r9; jnz 1b");
/* AVX, all registers. */
SNIPPET(vectors, "1: vpaddd %ymm0,%ymm1,%ymm2; vpxor %ymm2,%ymm3,%ymm4; vpsubq %ymm4,%ymm15,%ymm14\n"
                 "vmovups %ymm14,13(%rdi); vpaddq 5(%rdi),%ymm14,%ymm0; vpshufd $0x1b,%ymm0,%ymm3; paddd %xmm3,%xmm5\n"
                 "vperm2i128 $1,%ymm5,%ymm0,%ymm15; vpaddd %xmm7,%xmm8,%xmm9; vpaddq %ymm9,%ymm15,%ymm7\n"
                 "dec %r9; jnz 1b");
/* At CPL 0 alone: what kernels do. */
SNIPPET(kernel, "1: swapgs; add %gs:0,%rax; swapgs; add %gs:0,%rbx; cli; mov %rax,(%rdi); sti; add (%rdi),%rdx\n"
                "pushfq; cli; add $1,%r8; popfq; pushfq; pop %rsi; and $0x200,%esi; add %rsi,%r8; stac; clac\n"
                "mov %ds,%esi; mov %esi,%ds; mov %cr8,%rsi; add %rsi,%r10; dec %r9; jnz 1b");

static void arm(u32 count)
{
    apic_write(0x380, count);
}

static void timer(struct regs *r)
{
    u64 off = r->rip - CODE;
    hits++;
    if (off <= size && !starts[off])
        strange = r->rip;
    if (half_period && off < size && off % half_period == 3 && *(volatile u8 *)r->rdi == 1)
        strange = r->rip;
    probe_save_vectors(saved_vectors);
    probe_load_vectors(junk);
    probe_load_vectors(saved_vectors);
    apic_write(0xb0, 0);
    arm(1000 + random32() % 12000);
}

static void note_start(struct regs *r)
{
    if (r->rip - CODE < PAGE)
        starts[r->rip - CODE] = 1;
}

static void fill_buffer(void)
{
    for (unsigned n = 0; n < 3 * PAGE; n++)
        buffer[n] = (u8)(n * 11 + 3);
}

static u64 sum_buffer(void)
{
    u64 sum = 0;
    for (unsigned n = 0; n < 3 * PAGE; n += 8)
        sum = sum * 31 + *(u64 *)(buffer + n);
    return sum;
}

static u64 run_with(struct probe *p, u64 count, u64 rflags)
{
    fill_buffer();
    wrmsr(MSR_FS, BUFFER + 512);
    wrmsr(MSR_GS, 256);
    wrmsr(MSR_GS_OUT, BUFFER + 1024);
    p->r.r9 = count;
    p->r.rip = CODE;
    p->r.rflags |= rflags;
    probe_run(p);
    check(p->r.vector == NO_FAULT, "vector %lu error %lx rip %lx cr2 %lx", p->r.vector, p->r.error, p->r.rip, p->cr2);
    return sum_buffer();
}

/* Where instructions start is found by stepping; then with and without interrupts, and single-stepped. */
static void undisturbed(const char *name, const u8 *from, const u8 *end, bool user, u64 count)
{
    struct probe start, quiet, loud;
    size = probe_put(code, from, end);
    for (unsigned n = 0; n < PAGE; n++)
        starts[n] = 0;
    starts[0] = 1;
    probe_fill(&start, user);
    start.r.rdi = BUFFER;
    quiet = start, loud = start;
    u64 quiet_sum = run_with(&quiet, 40, 0);
    probe_divert(1, note_start);
    u64 loud_sum = run_with(&loud, 40, RFLAGS_TF);
    probe_divert(1, NULL);
    check(quiet_sum == loud_sum && probe_same(&quiet, &loud, 0), "%s, cpl %u: single steps changed the result", name,
          user ? 3 : 0);
    quiet = start, loud = start;
    quiet_sum = run_with(&quiet, count, 0);
    hits = strange = 0;
    for (unsigned turn = 0; turn < 100 && hits < 20; turn++) {
        loud = start;
        arm(500);
        loud_sum = run_with(&loud, count, RFLAGS_IF);
        arm(0);
        check(quiet_sum == loud_sum && probe_same(&quiet, &loud, 0), "%s, cpl %u: %lu interrupts changed the result",
              name, user ? 3 : 0, hits);
    }
    check(!strange, "%s: an interrupt within an instruction: %lx", name, strange);
    check(hits >= 20, "%s: only %lu interrupts", name, hits);
}

/* A store must not be there while its instruction still counts as not begun. */
SNIPPET(half_stos, "1: .rept 16; movb $0,(%rdi); stosb; dec %rdi; .endr; dec %r9; jnz 1b");
SNIPPET(half_movs, "1: .rept 16; movb $0,(%rdi); movsb; dec %rdi; dec %rsi; .endr; dec %r9; jnz 1b");
static const bool half_done_open[2] = {true, true};
static void half_done(const u8 *from, const u8 *end, const char *name)
{
    struct probe p;
    size = probe_put(code, from, end);
    for (unsigned n = 0; n < PAGE; n++)
        starts[n] = 1;
    probe_fill(&p, false);
    p.r.rax = 1;
    p.r.rdi = BUFFER;
    p.r.rsi = BUFFER + 64;
    half_period = (unsigned)(end - from - 5) / 16;
    hits = strange = 0;
    arm(2000);
    fill_buffer();
    buffer[64] = 1;
    p.r.rip = CODE;
    p.r.r9 = 60000;
    p.r.rflags |= RFLAGS_IF;
    probe_run(&p);
    arm(0);
    half_period = 0;
    check(!strange, "%s was done when an interrupt came before it", name);
}

/* ------ where no interrupt may come ------ */

SNIPPET(shadows, "1: sti; nop; nop; cli; nop; nop; pushfq; orl $0x200,(%rsp); popfq; nop; cli; nop\n"
                 "sti; mov %ds,%eax; cli; mov %ss,%eax; sti; mov %eax,%ss; nop; cli; dec %r9; jnz 1b; sti; nop");
static u8 allowed[64];
static void shadow_timer(struct regs *r)
{
    u64 off = r->rip - CODE;
    hits++;
    if (off < sizeof(allowed) && !allowed[off])
        strange = r->rip;
    apic_write(0xb0, 0);
    arm(200 + random32() % 8000);
}

/* By offset: sti 0, nop 1, nop 2, cli 3, nop 4, 5, pushfq 6, or 7, popfq 14, nop 15, cli 16, nop 17, sti 18, mov 19,
 * cli 21, mov 22, sti 24, mov ss 25, nop 27, cli 28, dec 29, jnz 32, sti 34, nop 35. */
static void shadow(void)
{
    static const u8 may[] = {2, 3, 15, 16, 21, 28, 36};
    for (unsigned n = 0; n < sizeof(may); n++)
        allowed[may[n]] = 1;
    struct probe p;
    probe_put(code, shadows, shadows_end);
    check(shadows_end - shadows == 36, "the offsets are wrong: %lu", (u64)(shadows_end - shadows));
    probe_fill(&p, false);
    on_vector(TIMER, shadow_timer);
    p.r.rip = CODE;
    p.r.r9 = 100000;
    hits = strange = 0;
    arm(200);
    probe_run(&p);
    arm(0);
    on_vector(TIMER, timer);
    check(p.r.vector == NO_FAULT && hits > 5, "shadows: vector %lu, %lu interrupts", p.r.vector, hits);
    check(!strange, "an interrupt where none may be: %lx", strange);
}

/* ------ stacks that lead nowhere ------ */

SNIPPET(no_stack, "1: add $1,%rax; add (%rdi),%rbx; mov %rbx,8(%rdi); dec %r9; jnz 1b");
static void bad_stacks(void)
{
    static const u64 sp[] = {0,
                             8,
                             ~0ull,
                             0x800000000000,
                             0x8000000000000000,
                             0xffff800000000000,
                             0x7ffffffffff9,
                             0xdeadbeefdeadbeef,
                             BUFFER + 3 * PAGE,
                             0xfee00000};
    size = probe_put(code, no_stack, no_stack_end);
    for (unsigned user = 0; user < 2; user++)
        for (unsigned n = 0; n < sizeof(sp) / sizeof(sp[0]); n++) {
            struct probe p;
            probe_fill(&p, user);
            for (unsigned k = 0; k < PAGE; k++)
                starts[k] = 1;
            p.r.rip = CODE;
            p.r.rsp = sp[n];
            p.r.rdi = BUFFER;
            p.r.rax = 0;
            p.r.r9 = 20000;
            p.r.rflags |= RFLAGS_IF;
            arm(500);
            probe_run(&p);
            arm(0);
            check(p.r.vector == NO_FAULT && p.r.rax == 20000 && p.r.rsp == sp[n], "RSP %lx: vector %lu rax %lu rsp %lx",
                  sp[n], p.r.vector, p.r.rax, p.r.rsp);
        }
}

/* ------ single steps and breakpoints ------ */

static u64 traps, dr6_seen, last_trap;
static void count_trap(struct regs *r)
{
    u64 dr6;
    asm volatile("mov %%dr6,%0; mov %1,%%dr6" : "=&r"(dr6) : "r"(0xffff0ff0ull));
    traps++;
    dr6_seen |= dr6 & 0xf00f;
    last_trap = r->rip;
    if (dr6 & 2)
        r->rflags |= RFLAGS_RF;
}

/* 3 instructions, 7 turns of REP, 2 more. */
SNIPPET(stepped, "1: mov $7,%ecx; mov %r8,%rdi; lea 64(%rdi),%rsi; rep movsb; dec %r9; jnz 1b");
static void single_steps(void)
{
    struct probe p;
    probe_put(code, stepped, stepped_end);
    for (unsigned user = 0; user < 2; user++) {
        for (unsigned hot = 0; hot < 2; hot++) {
            probe_fill(&p, user);
            p.r.rip = CODE;
            p.r.r8 = BUFFER;
            p.r.r9 = hot ? 5000 : 100;
            p.r.rflags |= hot ? 0 : RFLAGS_TF;
            traps = dr6_seen = 0;
            probe_divert(1, count_trap);
            probe_run(&p);
            probe_divert(1, NULL);
            u64 want = hot ? 0 : 100 * (3 + 7 + 2);
            check(p.r.vector == NO_FAULT && traps == want && dr6_seen == (hot ? 0 : 0x4000),
                  "single steps: %lu, want %lu, dr6 %lx", traps, want, dr6_seen);
        }
    }
}

/* The loop turns its own breakpoint on and off: RDX and RBX go to DR7. */
SNIPPET(watched, "1: mov %ecx,(%rdi); mov %rdx,%dr7; mov %ecx,(%rdi); nop; mov (%rdi),%eax; mov %ecx,4(%rdi)\n"
                 "mov %rbx,%dr7; mov %ecx,(%rdi); dec %r9; jnz 1b");
static void breakpoints(void)
{
    struct probe p;
    probe_put(code, watched, watched_end);
    static const struct {
        u64 dr7, address, per_turn, dr6;
        const char *name;
    } rows[] = {{0x400, BUFFER, 0, 0, "nothing"},
                {0xd0403, BUFFER, 1, 1, "store of 4 bytes"},
                {0xf0403, BUFFER, 2, 1, "load and store of 4 bytes"},
                {0x10403, BUFFER + 3, 1, 1, "store, its last byte"},
                {0x40c, CODE + 7, 1, 2, "instruction"}};
    for (unsigned n = 0; n < 2 * sizeof(rows) / sizeof(rows[0]); n++) {
        u64 at = rows[n / 2].address, turns = n & 1 ? 400 : 20;
        probe_fill(&p, false);
        p.r.rip = CODE;
        p.r.rdi = BUFFER;
        p.r.r9 = turns;
        p.r.rdx = rows[n / 2].dr7;
        p.r.rbx = 0x400;
        asm volatile("mov %0,%%dr0; mov %0,%%dr1" : : "r"(at));
        traps = dr6_seen = 0;
        probe_divert(1, count_trap);
        probe_run(&p);
        probe_divert(1, NULL);
        asm volatile("mov %0,%%dr7" : : "r"(0x400ull));
        check(p.r.vector == NO_FAULT && traps == turns * rows[n / 2].per_turn, "%s: %lu traps in %lu turns",
              rows[n / 2].name, traps, turns);
        check(dr6_seen == (rows[n / 2].per_turn ? rows[n / 2].dr6 : 0), "%s: DR6 %lx", rows[n / 2].name, dr6_seen);
    }
}

/* Hot and untouched; then a breakpoint is set from outside, and taken away again. */
SNIPPET(plain_loop, "1: mov %ecx,(%rdi); add $1,%ecx; dec %r9; jnz 1b");
static void breakpoint_in_hot_code(void)
{
    struct probe p;
    probe_put(code, plain_loop, plain_loop_end);
    for (unsigned n = 0; n < 12; n++) {
        bool on = n & 1;
        probe_fill(&p, n & 2);
        p.r.rip = CODE;
        p.r.rdi = BUFFER;
        p.r.r9 = on ? 50 : 5000;
        traps = dr6_seen = 0;
        asm volatile("mov %0,%%dr0; mov %1,%%dr7" : : "r"(BUFFER), "r"(on ? 0xd0403ull : 0x400ull));
        probe_divert(1, count_trap);
        probe_run(&p);
        probe_divert(1, NULL);
        asm volatile("mov %0,%%dr7" : : "r"(0x400ull));
        check(traps == (on ? 50 : 0), "round %u: %lu traps", n, traps);
        check(!on || last_trap == CODE + 2, "the trap came at %lx", last_trap);
    }
}

/* ------ an endless string instruction ------ */

SNIPPET(endless, "rep lodsb (%esi),%al");
static volatile bool ended;
static void end_it(struct regs *r)
{
    ended = true;
    r->rcx = 1;
    r->rsi = BUFFER;
    r->rip = CODE + 3;
    apic_write(0xb0, 0);
}

static void endless_string(void)
{
    struct probe p;
    unsigned n = probe_put(code, endless, endless_end);
    check(n == 3, "a REP LODSB of %u bytes", n);
    probe_fill(&p, false);
    p.r.rip = CODE;
    p.r.rsi = 0;
    p.r.rcx = ~0ull;
    p.r.rflags |= RFLAGS_IF;
    on_vector(TIMER, end_it);
    ended = false;
    arm(200000);
    probe_run(&p);
    on_vector(TIMER, timer);
    check(ended && p.r.vector == NO_FAULT, "nothing ended REP LODSB: vector %lu", p.r.vector);
}

void test(void)
{
    probe_init();
    apic_enable();
    apic_write(0x3e0, 0xb);
    apic_write(0x320, TIMER);
    code = page_alloc();
    buffer = page_alloc();
    page_alloc(), page_alloc();
    map_page(CODE, (u64)code, PTE_P | PTE_W | PTE_U);
    for (unsigned n = 0; n < 3; n++)
        map_page(BUFFER + n * PAGE, (u64)buffer + n * PAGE, PTE_P | PTE_W | PTE_U);
    tss.ist[1] = (u64)page_alloc() + PAGE;
    idt[TIMER].ist = 2;
    on_vector(TIMER, timer);
    for (unsigned user = 0; user < 2; user++) {
        undisturbed("mix", mix, mix_end, user, 60000);
        undisturbed("moves", moves, moves_end, user, 2000);
        if (probe_has(7, 1, 5))
            undisturbed("vectors", vectors, vectors_end, user, 300000);
    }
    if (probe_has(7, 1, 20))
        undisturbed("kernel", kernel, kernel_end, false, 40000);
    if (!half_done_open[0])
        half_done(half_stos, half_stos_end, "STOS");
    if (!half_done_open[1])
        half_done(half_movs, half_movs_end, "MOVS");
    shadow();
    bad_stacks();
    single_steps();
    breakpoints();
    breakpoint_in_hot_code();
    endless_string();
}
