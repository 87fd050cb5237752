/*
 * Code that changes, and code that is not what it seems: every kind of store into code, by every mapping of the page;
 * stores that the processor makes itself (accessed and dirty bits, interrupt frames, descriptors) into pages with code;
 * pages that are code and data by turns; jumps into the middle of instructions and to where nothing can be; mappings
 * that change under the code that runs from them. SDM volume 3 section 8.1.3 (self-modifying code), 4.10.4 and 8.3
 * (INVLPG and MOV to CR serialise: what follows is fetched by the new mapping), volume 2 JMP, CALL, RET, Jcc (a target
 * that is not canonical is a fault of the branch itself).
 */
#include "lib/probe.h"

#define CODE     0x1c000000000ull
#define ALIAS    0x1d000000000ull
#define HIGH     0xffff800000000000ull
#define LOW_TOP  0x7ffffffff000ull
#define HOT      64
#define ALIASES  12
#define TSC_SANE 6000000000ull

static u8 *code;

/* mov $v, %eax; ret */
static void put_return(volatile u8 *at, u32 v)
{
    at[0] = 0xb8;
    for (unsigned n = 0; n < 4; n++)
        at[1 + n] = (u8)(v >> (8 * n));
    at[5] = 0xc3;
}

static u32 call(u64 at)
{
    u32 v;
    asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "rcx", "rdx", "rsi", "rdi");
    return v;
}

static void serialize(void)
{
    u32 r[4];
    cpuid(0, 0, r);
}

/* ------ every writer ------ */

/* RDI: where to; RSI: 64 bytes that hold what is to stand there. Each leaves bytes 0 to 5 there. */
#define WRITERS(X)                                                                                                     \
    X(bytes, "mov (%rsi),%rax; mov %al,(%rdi); shr $8,%rax; mov %eax,1(%rdi); mov 5(%rsi),%al; mov %al,5(%rdi)")       \
    X(words, "mov (%rsi),%rax; mov %ax,(%rdi); mov 2(%rsi),%eax; mov %eax,2(%rdi)")                                    \
    X(quad, "mov (%rsi),%rax; mov %rax,(%rdi)")                                                                        \
    X(movnti, "mov (%rsi),%rax; movnti %rax,(%rdi); sfence")                                                           \
    X(xchg, "mov (%rsi),%rax; xchg %rax,(%rdi)")                                                                       \
    X(xor, "mov (%rsi),%rax; xor (%rdi),%rax; xor %rax,(%rdi)")                                                        \
    X(lock_xor, "mov (%rsi),%rax; xor (%rdi),%rax; lock xor %rax,(%rdi)")                                              \
    X(xadd, "mov (%rsi),%rax; sub (%rdi),%rax; lock xadd %rax,(%rdi)")                                                 \
    X(cmpxchg, "mov (%rsi),%rcx; mov (%rdi),%rax; lock cmpxchg %rcx,(%rdi)")                                           \
    X(cmpxchg8b, "mov (%rsi),%ebx; mov 4(%rsi),%ecx; mov (%rdi),%eax; mov 4(%rdi),%edx; lock cmpxchg8b (%rdi)")        \
    X(cmpxchg16b, "mov (%rsi),%rbx; mov 8(%rsi),%rcx; mov (%rdi),%rax; mov 8(%rdi),%rdx; lock cmpxchg16b (%rdi)")      \
    X(push, "mov %rsp,%rax; lea 8(%rdi),%rsp; push (%rsi); mov %rax,%rsp")                                             \
    X(push_reg, "mov %rsp,%rax; lea 8(%rdi),%rsp; mov (%rsi),%rcx; push %rcx; mov %rax,%rsp")                          \
    X(pop, "mov %rsp,%rax; mov %rsi,%rsp; pop (%rdi); mov %rax,%rsp")                                                  \
    X(movsb, "mov $8,%ecx; rep movsb")                                                                                 \
    X(movsq, "movsq")                                                                                                  \
    X(movsw_down, "add $6,%rsi; add $6,%rdi; mov $4,%ecx; std; rep movsw; cld")                                        \
    X(stosd, "mov (%rsi),%eax; stosl; mov 4(%rsi),%eax; stosl")                                                        \
    X(stosq_down, "mov (%rsi),%rax; std; mov $1,%ecx; rep stosq; cld")                                                 \
    X(movups, "movups (%rsi),%xmm0; movups %xmm0,(%rdi)")                                                              \
    X(movntps, "movups (%rsi),%xmm0; movntps %xmm0,(%rdi); sfence")                                                    \
    X(movlps, "movlps (%rsi),%xmm0; movlps %xmm0,(%rdi)")                                                              \
    X(fistp, "fninit; fildll (%rsi); fistpll (%rdi)")                                                                  \
    X(mmx, "movq (%rsi),%mm0; movq %mm0,(%rdi); emms")                                                                 \
    X(fxsave, "fninit; fildll (%rsi); sub $32,%rdi; fxsave64 (%rdi); fninit; mov (%rsi),%rax; mov %rax,32(%rdi)")      \
    X(bit_string, "mov (%rsi),%rax; xor (%rdi),%rax; 1: bsf %rax,%rcx; jz 2f; btc %rcx,(%rdi); btc %rcx,%rax; "        \
                  "jmp 1b; 2:")                                                                                        \
    X(maskmov, "movdqu (%rsi),%xmm0; pcmpeqb %xmm1,%xmm1; maskmovdqu %xmm1,%xmm0; sfence")                             \
    X(rol, "mov (%rsi),%rax; ror $8,%rax; mov %rax,(%rdi); rolq $8,(%rdi)")                                            \
    X(movbe, "mov (%rsi),%rax; bswap %rax; movbe %rax,(%rdi)")                                                         \
    X(sgdt, "push %rdi; sgdt (%rdi); pop %rdi; mov (%rsi),%rax; mov %rax,(%rdi)")
#define WRITER_SNIPPET(name, text) SNIPPET(by_##name, text "; ret");
WRITERS(WRITER_SNIPPET)

static const struct writer {
    const char *name;
    const u8 *code;
} writers[] = {
#define WRITER_ROW(name, text) {#name, by_##name},
    WRITERS(WRITER_ROW)};

static void write_by(const struct writer *w, u64 to, const void *from)
{
    asm volatile("call *%2"
                 : "+D"(to), "+S"(from)
                 : "r"((u64)w->code)
                 : "memory", "cc", "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11");
}

/* Through `via`, which is another mapping of the page of `at` or the same; serialised, so it must be seen. */
static void one_writer(const struct writer *w, u64 at, u64 via)
{
    static u8 image[64] __attribute__((aligned(16)));
    for (u32 n = 0; n < 12; n++) {
        u32 value = random32();
        put_return(image, value);
        image[6] = 0x90, image[7] = 0;
        write_by(w, via, image);
        if (via != at)
            serialize();
        u32 got = call(at);
        if (got != value) {
            check(false, "%s to %lx: code at %lx returned %x, want %x", w->name, via, at, got, value);
            return;
        }
        for (unsigned k = 0; k < 3; k++)
            check(call(at) == value, "%s: the next run", w->name);
    }
}

static void every_writer(void)
{
    for (unsigned n = 0; n < sizeof(writers) / sizeof(writers[0]); n++) {
        one_writer(&writers[n], CODE + 0x400, CODE + 0x400);
        one_writer(&writers[n], CODE + 0x400, ALIAS + 0x400);
        one_writer(&writers[n], CODE + 0x400, (u64)code + 0x400);
        one_writer(&writers[n], HIGH + 0x400, CODE + 0x400);
    }
}

/* More mappings than anybody would keep a list of, all hot for writing when the page becomes code. */
static void many_aliases(void)
{
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned n = 0; n < ALIASES; n++)
            for (unsigned k = 0; k < HOT; k++)
                *(volatile u32 *)(ALIAS + n * 0x10000000 + 0x800 + 4 * k) = k;
        put_return(code + 0x800, round);
        serialize();
        check(call(CODE + 0x800) == round, "round %u", round);
        for (unsigned n = 0; n < ALIASES; n++) {
            *(volatile u32 *)(ALIAS + n * 0x10000000 + 0x801) = n + 100;
            serialize();
            check(call(CODE + 0x800) == n + 100, "alias %u in round %u was not seen", n, round);
        }
    }
}

/* ------ stores within the block that runs ------ */

/* The store's target is the immediate that follows it, in the same straight run. */
SNIPPET(self_next, "mov %edi,1f+1(%rip); 1: mov $0x11111111,%eax; ret");
SNIPPET(self_far, "mov %edi,1f+1(%rip); .rept 40; nop; .endr; 1: mov $0x11111111,%eax; ret");
SNIPPET(self_push, "mov %rsp,%rcx; lea 1f+9(%rip),%rsp; mov 1f+5(%rip),%edx; shl $32,%rdx; or %rdi,%rdx; push %rdx; "
                   "mov %rcx,%rsp; 1: mov $0x11111111,%eax; ret; nop; nop; nop");
SNIPPET(self_stos, "mov %edi,%eax; lea 1f+1(%rip),%rdi; stosl; 1: mov $0x11111111,%eax; ret");
SNIPPET(self_rep, "mov %edi,%eax; lea 1f+1(%rip),%rdi; mov $1,%ecx; rep stosl; 1: mov $0x11111111,%eax; ret");
SNIPPET(self_lock, "sub 1f+1(%rip),%edi; lock add %edi,1f+1(%rip); 1: mov $0x11111111,%eax; ret");
SNIPPET(self_xmm, "movd %edi,%xmm0; movss %xmm0,1f+1(%rip); 1: mov $0x11111111,%eax; ret");
SNIPPET(self_jump, "mov %edi,1f+1(%rip); jmp 1f; ud2; 1: mov $0x11111111,%eax; ret");
SNIPPET(self_call, "call 2f; 1: mov $0x11111111,%eax; ret; 2: mov %edi,1b+1(%rip); ret");

static void within_block(void)
{
    static const struct {
        const char *name;
        const u8 *code, *end;
    } rows[] = {
        {"next", self_next, self_next_end}, {"far", self_far, self_far_end},    {"push", self_push, self_push_end},
        {"stos", self_stos, self_stos_end}, {"rep", self_rep, self_rep_end},    {"lock", self_lock, self_lock_end},
        {"xmm", self_xmm, self_xmm_end},    {"jump", self_jump, self_jump_end}, {"call", self_call, self_call_end}};
    for (unsigned n = 0; n < sizeof(rows) / sizeof(rows[0]); n++)
        for (unsigned off = 0x600; off < 0x600 + 5 * 61; off += 61) {
            probe_put(code + off, rows[n].code, rows[n].end);
            for (u32 k = 1; k < 30; k++) {
                u32 v, want = k * 0x01010101;
                asm volatile("call *%2" : "=a"(v), "+D"(want) : "r"(CODE + off) : "memory", "cc", "rcx", "rdx");
                if (v != k * 0x01010101)
                    check(false, "%s at %x: %x for %x", rows[n].name, off, v, k * 0x01010101);
            }
        }
}

/* ------ the processor's own stores ------ */

/*
 * A page-table page that is run as code: the low byte of an entry is the immediate of mov $imm8, %al; its second byte
 * is RET (the frame is chosen so). Accesses through the entry set its accessed and dirty bits, in the code.
 */
static void page_table_as_code(void)
{
    const u64 window = 0x1e000000000ull, table_at = 0x1f000000000ull;
    map_page(window, 0, 0);
    u8 *table = (u8 *)((u64)page_entry(window, 1) & ~(PAGE - 1));
    map_page(table_at, (u64)table, PTE_P | PTE_W);
    u64 frame;
    do
        frame = (u64)page_alloc();
    while ((frame >> 12 & 15) != 0xc);
    u64 *entry = (u64 *)table + 64;
    entry[-1] = 0xb0ull << 56; /* mov $imm8, %al */
    volatile u8 *data = (u8 *)(window + 64 * PAGE);
    for (unsigned round = 0; round < 20; round++) {
        *entry = frame | 0x300 | PTE_P | PTE_W; /* bits 8 and 9 make it 0xc3 */
        invlpg((void *)data);
        serialize();
        for (unsigned k = 0; k < HOT; k++)
            check((call(table_at + 64 * 8 - 1) & 0xff) == 3, "the entry as code");
        (void)*data;
        serialize();
        u32 v = call(table_at + 64 * 8 - 1) & 0xff;
        check(v == 0x23, "after a read the entry's code returns %x: the accessed bit was not seen", v);
        *data = 1;
        serialize();
        v = call(table_at + 64 * 8 - 1) & 0xff;
        check(v == 0x63, "after a write the entry's code returns %x: the dirty bit was not seen", v);
        /* And the other way round: code that writes the entry it is. */
        *entry = 0;
        invlpg((void *)data);
    }
}

/* The interrupt stack lies in the page with the code, and the RSP that is pushed is code. */
SNIPPET(only_iret, "iretq");
static void frame_into_code(void)
{
    const u64 top = CODE + 0xe00;
    tss.ist[1] = top;
    set_gate(0x60, (void (*)(void))(u64)only_iret, SEL_CODE64, 0x8e, 2);
    for (u32 n = 0; n < 30; n++) {
        u64 image = 0xb8 | (u64)n << 8 | 0xc3ull << 40;
        put_return(code + 0xe00 - 16, ~n);
        for (unsigned k = 0; k < HOT; k++)
            check(call(top - 16) == ~n, "before the frame");
        asm volatile("mov %%rsp,%%rbx; mov %0,%%rsp; int $0x60; mov %%rbx,%%rsp" : : "r"(image) : "rbx", "memory");
        u32 v = call(top - 16);
        check(v == n, "an interrupt frame in the code was not seen: %x for %x", v, n);
    }
}

/* ------ roles that change ------ */

static void thrash(void)
{
    u64 start = rdtsc();
    volatile u8 *page = code;
    for (u32 n = 0; n < 20000; n++) {
        put_return(page + 0xc00, n);
        if (call(CODE + 0xc00) != n) {
            check(false, "thrashing page returned old code in round %u", n);
            return;
        }
        *(volatile u64 *)(page + 0xd00) = n;
    }
    u64 time = rdtsc() - start;
    check(time < TSC_SANE, "20000 changes of code took %lu cycles", time);
}

/* Code that was changed once, called from another page ever after. */
SNIPPET(caller, "mov %rdi,%rcx; 1: call *%rsi; dec %rcx; jnz 1b; ret");
static u64 time_calls(u64 count)
{
    u64 start = rdtsc(), to = CODE + 0x40;
    asm volatile("call *%2" : "+D"(count), "+S"(to) : "r"((u64)caller) : "memory", "cc", "rax", "rcx");
    return rdtsc() - start;
}

static void changed_once(void)
{
    put_return(code + 0x40, 1);
    time_calls(10000);
    u64 before = time_calls(200000);
    put_return(code + 0x40, 2);
    time_calls(10000);
    u64 after = time_calls(200000);
    print("calls before a change: %lu cycles, after: %lu\n", before / 200000, after / 200000);
}

/* ------ jumps to odd places ------ */

/* mov $0x11111105, %eax; from its second byte on, add $0x90111111, %eax: two streams share their bytes. */
static void into_the_middle(void)
{
    static const u8 bytes[] = {0xb8, 0x05, 0x11, 0x11, 0x11, 0x90, 0xc3};
    for (unsigned n = 0; n < sizeof(bytes); n++)
        code[0x100 + n] = bytes[n];
    for (unsigned n = 0; n < HOT * 4; n++) {
        u32 v = 1;
        u64 at = CODE + 0x100 + (n & 1);
        asm volatile("call *%1" : "+a"(v) : "r"(at) : "memory", "cc", "rdx");
        check(v == (n & 1 ? 0x90111112 : 0x11111105), "stream %u: %x", n & 1, v);
    }
    /* A store into the shared bytes changes both. */
    for (u32 n = 0; n < 30; n++) {
        code[0x102] = (u8)n;
        u32 v = 0;
        asm volatile("call *%1" : "+a"(v) : "r"(CODE + 0x101) : "memory", "cc");
        check(v == 0x90111100 + n, "the inner stream after a change: %x", v);
    }
}

/* Where a branch faults: at the branch (SDM volume 2: the target is checked before RIP changes). */
struct branch {
    const char *name;
    const u8 *code, *end;
    unsigned flags; /* RFLAGS before */
    bool open;
};
SNIPPET(jmp_short, "1: jmp 1b+0x7f");
SNIPPET(jmp_near, ".byte 0xe9; .long 0x1000");
SNIPPET(jz_short, "1: jz 1b+0x7f");
SNIPPET(jz_near, ".byte 0x0f,0x84; .long 0x1000");
SNIPPET(call_near, ".byte 0xe8; .long 0x1000");
SNIPPET(loop_short, "1: loop 1b+0x7f");
SNIPPET(jrcxz_short, "1: jrcxz 1b+0x7f");
SNIPPET(jmp_reg, "jmp *%rax");
SNIPPET(jmp_reg14, "jmp *%r14");
SNIPPET(call_reg, "call *%rax");
SNIPPET(jmp_mem, "jmp *(%rsi)");
SNIPPET(call_mem, "call *(%rsi)");
SNIPPET(ret_near, "ret");
SNIPPET(ret_imm, "ret $0x38");
static const struct branch relative[] = {
    {"jmp rel8", jmp_short, jmp_short_end, 0, true},   {"jmp rel32", jmp_near, jmp_near_end, 0, true},
    {"jz rel8", jz_short, jz_short_end, 0x40, true},   {"jz rel32", jz_near, jz_near_end, 0x40, true},
    {"call rel32", call_near, call_near_end, 0, true}, {"loop", loop_short, loop_short_end, 0, true},
    {"jrcxz", jrcxz_short, jrcxz_short_end, 0, true},
};
static const struct branch indirect[] = {
    {"jmp reg", jmp_reg, jmp_reg_end, 0, false},    {"jmp r14", jmp_reg14, jmp_reg14_end, 0, false},
    {"call reg", call_reg, call_reg_end, 0, false}, {"jmp mem", jmp_mem, jmp_mem_end, 0, false},
    {"call mem", call_mem, call_mem_end, 0, false}, {"ret", ret_near, ret_near_end, 0, false},
    {"ret imm", ret_imm, ret_imm_end, 0, false},
};

/* The stack is hot, so that CALL can push. */
SNIPPET(use_stack, "push %rax; pop %rax");
static void warm_stack(bool user)
{
    struct probe p;
    probe_put(code, use_stack, use_stack_end);
    probe_fill(&p, user);
    p.r.rip = CODE;
    probe_run(&p);
}

static void branch_faults(const struct branch *b, u64 at, u64 target, bool user)
{
    static u64 word[32];
    struct probe p, before;
    u64 off = at & (PAGE - 1);
    warm_stack(user);
    probe_put(code + off, b->code, b->end);
    for (unsigned n = 0; n < 6; n++) {
        probe_fill(&p, user);
        p.r.rip = at;
        p.r.rflags = RFLAGS_FIXED | b->flags;
        p.r.rax = p.r.r14 = target;
        p.r.rcx = b->code == jrcxz_short ? 0 : 5;
        word[0] = target;
        p.r.rsi = user ? (u64)user_addr(word) : (u64)word;
        if (b->code == ret_near || b->code == ret_imm)
            p.r.rsp = p.r.rsi;
        else /* whether CALL pushes before it faults is nobody's business: it would push what stands there */
            *(u64 *)(p.r.rsp - 8 - (user ? USER_BASE : 0)) = at + (u64)(b->end - b->code);
        before = p;
        probe_run(&p);
        check(p.r.vector == 13 && p.r.error == 0 && p.r.rip == at,
              "%s at %lx to %lx, cpl %u: vector %lu error %lx rip %lx", b->name, at, target, user ? 3 : 0, p.r.vector,
              p.r.error, p.r.rip);
        check(probe_same(&before, &p, 0), "%s at %lx: registers", b->name, at);
    }
}

static void bad_targets(void)
{
    static const u64 targets[] = {0x800000000000, 0xffff7fffffffffff, 0x8000000000000000, 0x8000000000000000 | CODE,
                                  0x1000000000000 | CODE};
    for (unsigned user = 0; user < 2; user++) {
        for (unsigned n = 0; n < sizeof(relative) / sizeof(relative[0]); n++)
            if (!relative[n].open)
                branch_faults(&relative[n], LOW_TOP + 0xfc0, LOW_TOP + PAGE, user);
        for (unsigned n = 0; n < sizeof(indirect) / sizeof(indirect[0]); n++)
            for (unsigned k = 0; k < sizeof(targets) / sizeof(targets[0]); k++)
                branch_faults(&indirect[n], CODE + 0x40, targets[k], user);
    }
}

/* ------ the mapping changes under the code ------ */

/*
 * The page that runs maps itself away: writes its own entry, then INVLPG, or loads CR3. Both serialise, and what
 * follows is fetched through the new entry. RDI: entry, RSI: new value, RDX: CODE; CR3 in RCX.
 */
SNIPPET(remap_invlpg, "mov %rsi,(%rdi); invlpg (%rdx); mov $1,%eax; ret");
SNIPPET(remap_cr3, "mov %rsi,(%rdi); mov %rcx,%cr3; mov $1,%eax; ret");
SNIPPET(remap_invpcid, "mov %rsi,(%rdi); mov $2,%eax; invpcid (%rcx),%rax; mov $1,%eax; ret");

static void remap_by(const char *name, const u8 *from, const u8 *end, bool pcid)
{
    static const u64 none[2];
    const u64 at = 0x1c800000000ull;
    u8 *a = page_alloc(), *b = page_alloc();
    unsigned size = probe_put(a + 0x20, from, end);
    probe_put(b + 0x20, from, end);
    b[0x20 + size - 5] = 2; /* the immediate */
    map_page(at, (u64)a, PTE_P | PTE_W);
    u64 *entry = page_entry(at, 1);
    for (u32 n = 0; n < 60; n++) {
        u32 v;
        u64 to = (u64)(n & 1 ? a : b) | PTE_P | PTE_W;
        asm volatile("call *%5"
                     : "=a"(v)
                     : "D"(entry), "S"(to), "d"(at), "c"(pcid ? (u64)none : read_cr3()), "r"(at + 0x20)
                     : "memory", "cc");
        u32 want = n & 1 ? 1 : 2;
        if (v != want) {
            check(false, "%s, round %u: the old page ran on: %u", name, n, v);
            return;
        }
    }
}

static void remap_self(void)
{
    remap_by("INVLPG", remap_invlpg, remap_invlpg_end, false);
    remap_by("MOV CR3", remap_cr3, remap_cr3_end, false);
    if (probe_has(7, 1, 10))
        remap_by("INVPCID", remap_invpcid, remap_invpcid_end, true);
}

/* A hot loop in one page calls into another, whose mapping a third changes; INVLPG between. */
SNIPPET(caller_near, "mov %rdi,%rcx; 1: .byte 0xe8; .long 0x1000; dec %rcx; jnz 1b; ret");
static void remap_callee(void)
{
    const u64 at = 0x1c900000000ull;
    u8 *from = page_alloc(), *to[3] = {page_alloc(), page_alloc(), page_alloc()};
    map_page(at, (u64)from, PTE_P | PTE_W);
    map_page(at + PAGE, (u64)to[0], PTE_P | PTE_W);
    probe_put(from, caller_near, caller_near_end);
    unsigned back = 3 + 5; /* after the call */
    for (u32 n = 0; n < 3; n++)
        put_return(to[n] + back, n);
    u64 *entry = page_entry(at + PAGE, 1);
    for (u32 n = 0; n < 90; n++) {
        u64 count = 50;
        u32 v;
        *entry = (u64)to[n % 3] | PTE_P | PTE_W | (n & 4 ? PTE_G : 0);
        invlpg((void *)(at + PAGE));
        asm volatile("call *%2" : "=a"(v), "+D"(count) : "r"(at) : "memory", "cc", "rcx");
        check(v == n % 3, "round %u: the callee's old page ran: %u", n, v);
    }
    /* No rights: the same call must fault there. */
    static const struct {
        u64 flags, error;
    } rights[] = {{0, ERR_I}, {PTE_P | PTE_NX, ERR_I | ERR_P}};
    for (unsigned n = 0; n < 2; n++) {
        struct probe p;
        *entry = (u64)to[0] | rights[n].flags;
        invlpg((void *)(at + PAGE));
        probe_fill(&p, false);
        p.r.rip = at;
        p.r.rdi = 50;
        probe_run(&p);
        check(p.r.vector == 14 && p.r.rip == at + PAGE + back && p.cr2 == p.r.rip && p.r.error == rights[n].error,
              "call into a page without rights: vector %lu rip %lx error %lx", p.r.vector, p.r.rip, p.r.error);
    }
}

/* ------ instructions across pages ------ */

/* mov $imm32 over the end of the page, the second page missing, not executable, changed, changed by its alias. */
static void across_pages(void)
{
    const u64 at = 0x1ca00000000ull;
    u8 *first = page_alloc(), *second = page_alloc(), *other = page_alloc();
    map_page(at, (u64)first, PTE_P | PTE_W | PTE_U);
    map_page(at + PAGE, (u64)second, PTE_P | PTE_W | PTE_U);
    u64 *entry = page_entry(at + PAGE, 1), *back = page_alloc();
    back[0] = at + 16;
    first[16] = 0xcc;
    for (unsigned in = 1; in < 6; in++) {
        for (unsigned n = 0; n < 6; n++) {
            u8 image[6];
            put_return(image, 0x44332211);
            *(n < in ? &first[PAGE - in + n] : &second[n - in]) = image[n];
        }
        for (unsigned n = 0; n < 6; n++)
            other[n] = second[n];
        if (in < 5)
            other[4 - in] = 0x77;
        for (unsigned user = 0; user < 2; user++)
            for (unsigned round = 0; round < 12; round++) {
                static const u64 flags[] = {PTE_P | PTE_U, 0, PTE_P | PTE_U, PTE_P | PTE_U | PTE_NX};
                struct probe p;
                u64 f = flags[round & 3];
                *entry = (u64)(round & 4 ? other : second) | f;
                invlpg((void *)(at + PAGE));
                probe_fill(&p, user);
                p.r.rip = at + PAGE - in;
                p.r.rsp = user ? (u64)user_addr(back) : (u64)back;
                probe_run(&p);
                if (f == (PTE_P | PTE_U)) {
                    u32 want = round & 4 && in < 5 ? 0x77332211 : 0x44332211;
                    check(p.r.vector == NO_FAULT && p.r.rax == want, "%u bytes before the end: vector %lu rax %lx", in,
                          p.r.vector, p.r.rax);
                } else {
                    u64 error = ERR_I | (user ? ERR_U : 0) | (f ? ERR_P : 0);
                    u64 rip = in == 5 ? at + PAGE : at + PAGE - in;
                    check(p.r.vector == 14 && p.cr2 == at + PAGE && p.r.error == error && p.r.rip == rip,
                          "%u bytes before the end, second page %lx: vector %lu cr2 %lx error %lx rip %lx", in, f,
                          p.r.vector, p.cr2, p.r.error, p.r.rip);
                }
            }
    }
}

void test(void)
{
    probe_init();
    code = page_alloc();
    u64 flags = PTE_P | PTE_W | PTE_U;
    map_page(CODE, (u64)code, flags);
    map_page(HIGH, (u64)code, flags);
    map_page(LOW_TOP, (u64)code, flags);
    for (unsigned n = 0; n < ALIASES; n++)
        map_page(ALIAS + n * 0x10000000ull, (u64)code, flags);
    every_writer();
    many_aliases();
    within_block();
    page_table_as_code();
    frame_into_code();
    thrash();
    changed_once();
    into_the_middle();
    bad_targets();
    remap_self();
    remap_callee();
    across_pages();
}
