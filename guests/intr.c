/*
 * Interrupts and exceptions in 64-bit mode: gates and their checks, error codes, IST, software interrupts, shadows,
 * single-step, breakpoints, NMI blocking, double fault (SDM volume 3 chapters 6 and 17).
 */
#include "lib/guest.h"

static volatile unsigned count;
static volatile u64 seen_rip, seen_rsp, seen_dr6, seen_cs, seen_flags;

static void note(struct regs *r)
{
    count++;
    seen_rip = r->rip, seen_rsp = r->rsp, seen_cs = r->cs, seen_flags = r->rflags;
}

static void run_bytes(void *arg)
{
    asm volatile("call *%0" : : "r"(arg) : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "memory", "cc");
}

/* A few instruction bytes that end in RET, run at CPL 0. */
#define CODE(...) ((u8[]){__VA_ARGS__, 0xc3})

static void expect(const char *what, const u8 *code, int vector, u64 error)
{
    struct fault f = try_call(run_bytes, (void *)code);
    check(f.vector == vector && (vector < 0 || f.error == error), "%s: vector %d error %lx, want %d %lx", what,
          f.vector, f.error, vector, error);
    if (vector >= 0 && vector != 3 && vector != 4 && vector != 1)
        check(f.rip == (u64)code, "%s: rip %lx, want %lx", what, f.rip, (u64)code);
}

static void plain_faults(void)
{
    expect("ud2", CODE(0x0f, 0x0b), 6, 0);
    expect("lock nop", CODE(0xf0, 0x90), 6, 0);
    expect("lock add reg", CODE(0xf0, 0x01, 0xc0), 6, 0);
    expect("push es", CODE(0x06), 6, 0);
    expect("int3", CODE(0xcc), 3, 0);
    expect("int1", CODE(0xf1), 1, 0);
    expect("mov to cr1", CODE(0x0f, 0x22, 0xc8), 6, 0);
    expect("mov to cs", CODE(0x8e, 0xc8), 6, 0);
}

/* A gate that is not usable: #NP, #GP with the index of the gate, IDT and EXT bits. */
static void bad_gates(void)
{
    struct idt_gate save = idt[0x90];
    static const u8 code[] = {0xcd, 0x90, 0xc3};
    struct fault f;

    idt[0x90].type = 0x0e;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 11 && f.error == 0x90 * 8 + 2, "gate not present: %d %lx", f.vector, f.error);
    idt[0x90].type = 0x85;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 13 && f.error == 0x90 * 8 + 2, "task gate: %d %lx", f.vector, f.error);
    idt[0x90].type = 0x86;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 13 && f.error == 0x90 * 8 + 2, "16-bit gate: %d %lx", f.vector, f.error);
    idt[0x90] = save, idt[0x90].selector = 0;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 13 && f.error == 0, "null selector: %d %lx", f.vector, f.error);
    idt[0x90].selector = SEL_DATA;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 13 && f.error == SEL_DATA, "data selector: %d %lx", f.vector, f.error);
    idt[0x90].selector = SEL_CODE32;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 13 && f.error == SEL_CODE32, "32-bit code: %d %lx", f.vector, f.error);
    idt[0x90].selector = GDT_ENTRIES * 8;
    f = try_call(run_bytes, (void *)code);
    check(f.vector == 13 && f.error == GDT_ENTRIES * 8, "beyond the GDT: %d %lx", f.vector, f.error);
    idt[0x90] = save;
}

static void user_int(void *arg)
{
    asm volatile("int $0x90");
}

static void user_int3(void *arg)
{
    asm volatile("int3");
}

static void user_hlt(void *arg)
{
    asm volatile("hlt");
}

static void user_cli(void *arg)
{
    asm volatile("cli");
}

static void user_in(void *arg)
{
    asm volatile("in $0x80,%%al" : : : "rax");
}

static void user_cr(void *arg)
{
    asm volatile("mov %%cr0,%%rax" : : : "rax");
}

static void from_user(void)
{
    struct fault f = try_user(user_int, NULL);
    check(f.vector == 13 && f.error == 0x90 * 8 + 2, "INT n through a gate of DPL 0: %d %lx", f.vector, f.error);
    f = try_user(user_int3, NULL);
    check(f.vector == 13 && f.error == 3 * 8 + 2, "INT3 through a gate of DPL 0: %d %lx", f.vector, f.error);
    idt[0x90].type = 0xee, idt[3].type = 0xee;
    f = try_user(user_int, NULL);
    check(f.vector == 0x90 && (f.cs & 3) == 3, "INT n through a gate of DPL 3: %d", f.vector);
    f = try_user(user_int3, NULL);
    check(f.vector == 3 && f.rip == (u64)user_addr((void *)user_int3) + (f.rip & 0xfff) - ((u64)user_int3 & 0xfff),
          "INT3: %d", f.vector);
    idt[0x90].type = 0x8e, idt[3].type = 0x8e;
    check(try_user(user_hlt, NULL).vector == 13, "HLT at CPL 3");
    check(try_user(user_cli, NULL).vector == 13, "CLI at CPL 3");
    check(try_user(user_in, NULL).vector == 13, "IN at CPL 3 with the bit set");
    tss.bitmap[0x80 / 8] &= (u8)~1;
    check(try_user(user_in, NULL).vector == -1, "IN at CPL 3 with the bit clear");
    tss.bitmap[0x80 / 8] |= 1;
    check(try_user(user_cr, NULL).vector == 13, "MOV from CR0 at CPL 3");
}

/* The stack that an IST gate gives, 16-byte alignment of the frame. */
static void stacks(void)
{
    static u8 stack[4096] __attribute__((aligned(16)));
    extern char intr_entry[];
    on_vector(0x91, note);
    idt[0x91].ist = 2;
    tss.ist[1] = (u64)stack + 2048 + 8;
    asm volatile("int $0x91; intr_entry:" : : : "memory");
    check(seen_rip == (u64)intr_entry, "return address %lx", seen_rip);
    check(count == 1, "taken once");
    /* The frame began at the aligned stack: the dispatcher's r is below it. */
    idt[0x91].ist = 0;
}

/* STI and MOV SS hold interrupts back for one instruction. A self-IPI is pending before STI. */
static void shadows(void)
{
    extern char sti_next[], sti_after[];
    apic_enable();
    on_vector(0x92, note);
    idt[0x92].type = 0x8e;
    cli();
    count = 0;
    asm volatile("movl $0x40092, 0x300(%0)" : : "r"(APIC_BASE) : "memory");
    check(count == 0, "interrupt with IF 0");
    asm volatile("nop; nop; sti; sti_next: nop; sti_after: nop; cli" : : : "memory");
    check(count == 1 && seen_rip == (u64)sti_after, "after STI: count %u rip %lx want %lx", count, seen_rip,
          (u64)sti_after);
    apic_write(0xb0, 0);
    (void)sti_next;

    /* sti; cli: the interrupt is never seen. */
    count = 0;
    asm volatile("movl $0x40092, 0x300(%0); nop; sti; cli; nop" : : "r"(APIC_BASE) : "memory");
    check(count == 0, "STI; CLI let an interrupt in");
    sti();
    asm volatile("nop; nop");
    cli();
    check(count == 1, "IPI got lost");
    apic_write(0xb0, 0);

    /* HLT wakes up behind it. */
    extern char after_hlt[];
    count = 0;
    asm volatile("movl $0x40092, 0x300(%0); sti; hlt; after_hlt: cli" : : "r"(APIC_BASE) : "memory");
    check(count == 1 && seen_rip == (u64)after_hlt, "STI; HLT: count %u rip %lx", count, seen_rip);
    apic_write(0xb0, 0);
}

static u64 read_dr6(void)
{
    u64 v;
    asm volatile("mov %%dr6,%0" : "=r"(v));
    return v;
}

static void debug_handler(struct regs *r)
{
    note(r);
    seen_dr6 = read_dr6();
    asm volatile("mov %0,%%dr6" : : "r"(0xffff0ff0ull));
    if (count == 1)
        r->rflags &= ~0x100ull;
    r->rflags |= 0x10000; /* RF: go on over an instruction breakpoint */
}

static void single_step(void)
{
    extern char step_two[];
    on_vector(1, debug_handler);
    count = 0;
    asm volatile("pushfq; orl $0x100,(%%rsp); popfq; nop; step_two: nop" : : : "memory", "cc");
    check(count == 1 && seen_rip == (u64)step_two, "single-step: count %u rip %lx want %lx", count, seen_rip,
          (u64)step_two);
    check((seen_dr6 & 0x400f) == 0x4000, "DR6.BS: %lx", seen_dr6);

    /* MOV SS holds the trap back behind the next instruction. */
    extern char step_ss[];
    count = 0;
    asm volatile("mov %%ss,%%eax; pushfq; orl $0x100,(%%rsp); popfq; mov %%eax,%%ss; nop; step_ss: nop"
                 :
                 :
                 : "rax", "memory", "cc");
    check(count == 1, "single-step over MOV SS: count %u", count);
    check(seen_rip == (u64)step_ss, "single-step over MOV SS: rip %lx want %lx", seen_rip, (u64)step_ss);
}

static void breakpoints(void)
{
    static volatile u64 data[2];
    extern char bp_insn[], bp_after_write[];
    /* Instruction breakpoint: a fault before the instruction. */
    count = 0;
    asm volatile("mov %0,%%dr0; mov %1,%%dr7" : : "r"((u64)bp_insn), "r"(0x402ull));
    asm volatile("nop; bp_insn: nop; nop" : : : "memory");
    check(count == 1 && seen_rip == (u64)bp_insn && (seen_dr6 & 0xf) == 1, "breakpoint: count %u rip %lx dr6 %lx",
          count, seen_rip, seen_dr6);
    /* Data write breakpoint, 4 bytes: a trap after the store. */
    count = 0;
    asm volatile("mov %0,%%dr1; mov %1,%%dr7" : : "r"((u64)data), "r"(0x400ull | 8 | 0xdull << 20));
    (void)data[0];
    check(count == 0, "a write breakpoint fired on a read");
    asm volatile("movl $1,%0; bp_after_write: nop" : "=m"(data[0]) : : "memory");
    check(count == 1 && seen_rip == (u64)bp_after_write && (seen_dr6 & 0xf) == 2,
          "watch: count %u rip %lx want %lx dr6 %lx", count, seen_rip, (u64)bp_after_write, seen_dr6);
    data[1] = 1;
    check(count == 1, "watch fired outside its range");
    asm volatile("movb $1,%0" : "=m"(*((volatile u8 *)data + 3)) : : "memory");
    check(count == 2, "watch missed a byte inside its range");
    asm volatile("mov %0,%%dr7" : : "r"(0x400ull));
    on_vector(1, NULL);
}

/* DR7.GD: any access to a debug register faults, with GD cleared on entry. */
static void general_detect(void)
{
    on_vector(1, debug_handler);
    count = 0;
    asm volatile("mov %0,%%dr7" : : "r"(0x2400ull));
    count = 1; /* the handler must not touch TF here */
    asm volatile("mov %%dr0,%%rax" : : : "rax");
    check(count == 2 && (seen_dr6 & 0x2000), "DR7.GD: count %u dr6 %lx", count, seen_dr6);
    asm volatile("mov %0,%%dr7" : : "r"(0x400ull));
    on_vector(1, NULL);
}

/* #DF: a #NP while #GP is delivered, by an IDT gate for 13 that is not present. Error code 0. */
static void double_fault(void)
{
    struct idt_gate save = idt[13];
    idt[13].type = 0x0e;
    struct fault f = try_call(run_bytes, CODE(0x0f, 0x22, 0xd0)); /* mov rax, cr2: harmless */
    check(f.vector == -1, "harmless code faulted");
    f = try_call(run_bytes, CODE(0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x8a, 0x00)); /* mov al, [0x1000000000000000] */
    check(f.vector == 8 && f.error == 0, "double fault: %d %lx", f.vector, f.error);
    idt[13] = save;
}

static void nmi_handler(struct regs *r)
{
    note(r);
    if (count == 1) {
        /* Another NMI now must wait until IRET. */
        apic_write(0x300, 0x40400);
        for (volatile int n = 0; n < 1000; n++)
            ;
        check(count == 1, "NMI inside an NMI handler");
    }
}

static void nmi(void)
{
    on_vector(2, nmi_handler);
    count = 0;
    apic_write(0x300, 0x40400);
    for (volatile int n = 0; n < 1000 && count < 2; n++)
        ;
    check(count == 2, "two NMIs, seen %u", count);
    on_vector(2, NULL);
}

/* IRET to a non-canonical rip: #GP(0) at the IRET itself. POPF and IRET with every flag. */
static void iret_checks(void)
{
    struct fault f = try_call(run_bytes, CODE(0x48, 0x89, 0xe0,                            /* mov rax, rsp */
                                              0x6a, 0x10, 0x50,                            /* push 0x10; push rax */
                                              0x9c, 0x6a, 0x08,                            /* pushf; push 8 */
                                              0x48, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x51, /* push non-canonical */
                                              0x48, 0xcf));
    check(f.vector == 13 && f.error == 0, "IRET to a non-canonical address: %d %lx", f.vector, f.error);
    u64 flags;
    asm volatile("pushfq; pop %%rbx; push $0x240cd5; popfq; pushfq; pop %0; push %%rbx; popfq"
                 : "=r"(flags)
                 :
                 : "rbx", "memory", "cc");
    check((flags & 0x247fd5) == 0x240cd5, "POPF/PUSHF: %lx", flags);
}

void test(void)
{
    plain_faults();
    bad_gates();
    from_user();
    stacks();
    shadows();
    single_step();
    breakpoints();
    general_detect();
    double_fault();
    nmi();
    iret_checks();
}
