/*
 * 32-bit protected mode: segment limits and types, expand-down, call gates with parameters, hardware task switches,
 * virtual-8086 mode, 32-bit and PAE paging (SDM volume 3 chapters 3 to 7 and 20).
 */
#include "lib/guest32.h"

/* --- segments --- */
static u8 area[65536] __attribute__((aligned(4096)));

struct probe {
    u16 selector;
    u32 offset;
};

static void read_through(void *arg)
{
    struct probe *p = arg;
    asm volatile("push %%es; mov %w0,%%es; mov %%es:(%1),%%eax; pop %%es"
                 :
                 : "r"((u32)p->selector), "r"(p->offset)
                 : "eax", "memory");
}

static void write_through(void *arg)
{
    struct probe *p = arg;
    asm volatile("push %%es; mov %w0,%%es; movl $0,%%es:(%1); pop %%es"
                 :
                 : "r"((u32)p->selector), "r"(p->offset)
                 : "memory");
}

static int vector_of(void (*fn)(void *), u16 selector, u32 offset)
{
    struct probe p = {selector, offset};
    return try_call(fn, &p).vector;
}

static void limits(void)
{
    set_descriptor(SEL_FREE, (u32)area, 0xfff, 0x4093);
    check(vector_of(read_through, SEL_FREE, 0xffc) == -1, "the last dword inside the limit");
    check(vector_of(read_through, SEL_FREE, 0xffd) == 13, "a dword over the limit");
    check(vector_of(read_through, SEL_FREE, 0xffffffff) == 13, "an offset that wraps");
    set_descriptor(SEL_FREE, (u32)area, 0xf, 0xc093);
    check(vector_of(read_through, SEL_FREE, 0xfffc) == -1 && vector_of(read_through, SEL_FREE, 0xfffd) == 13,
          "page granularity");
    set_descriptor(SEL_FREE, (u32)area, 0xfff, 0x4097); /* expand-down, 32-bit: valid from 0x1000 up */
    check(vector_of(read_through, SEL_FREE, 0xfff) == 13, "expand-down: the limit itself");
    check(vector_of(read_through, SEL_FREE, 0x1000) == -1, "expand-down: above the limit");
    check(vector_of(read_through, SEL_FREE, 0xfffffffd) == 13, "expand-down: over the top");
    set_descriptor(SEL_FREE, (u32)area, 0xfff, 0x0097); /* 16-bit: up to 0xffff */
    check(vector_of(read_through, SEL_FREE, 0xfffc) == -1 && vector_of(read_through, SEL_FREE, 0xfffd) == 13,
          "expand-down of 16 bits");
    set_descriptor(SEL_FREE, (u32)area, 0xfff, 0x4091);
    check(vector_of(read_through, SEL_FREE, 0) == -1 && vector_of(write_through, SEL_FREE, 0) == 13, "read-only data");
    set_descriptor(SEL_FREE, (u32)area, 0xfff, 0x409b);
    check(vector_of(read_through, SEL_FREE, 0) == -1 && vector_of(write_through, SEL_FREE, 0) == 13, "readable code");
    check(vector_of(read_through, 0, 0) == 13, "the null selector");
    check(gdt[SEL_FREE / 8] >> 40 & 1, "accessed bit");
}

/* --- call gates --- */
u32 gate_parameters[3], gate_cs, gate_old_ss;
void gate_target(void);
asm(".text\n"
    "gate_target:\n"
    "push %eax; push %ds; mov $0x10,%eax; mov %eax,%ds\n"
    "mov 12(%esp),%eax; mov %eax,gate_cs\n"
    "mov 16(%esp),%eax; mov %eax,gate_parameters\n"
    "mov 20(%esp),%eax; mov %eax,gate_parameters+4\n"
    "mov 24(%esp),%eax; mov %eax,gate_parameters+8\n"
    "mov 32(%esp),%eax; mov %eax,gate_old_ss\n"
    "pop %ds; pop %eax\n"
    "lret $12\n");
static void user_gate(void *arg)
{
    asm volatile("mov %%esp,%%ebx; push $0x33; push $0x22; push $0x11; lcall %0,$0; sub %%esp,%%ebx; mov %%ebx,%%ecx"
                 :
                 : "i"(SEL_FREE | 3)
                 : "ebx", "ecx", "memory");
}

static void gates(void)
{
    set_call_gate(SEL_FREE, SEL_CODE, (u32)gate_target, 3, 0xec);
    struct fault f = try_user(user_gate, NULL);
    check(f.vector == -1, "call gate: %d %x eip %x", f.vector, f.error, f.eip);
    check(gate_parameters[0] == 0x11 && gate_parameters[1] == 0x22 && gate_parameters[2] == 0x33, "parameters %x %x %x",
          gate_parameters[0], gate_parameters[1], gate_parameters[2]);
    check(gate_cs == SEL_USER_CODE && gate_old_ss == SEL_USER_DATA, "frame: cs %x ss %x", gate_cs, gate_old_ss);
    set_call_gate(SEL_FREE, SEL_CODE, (u32)gate_target, 3, 0x6c);
    f = try_user(user_gate, NULL);
    check(f.vector == 11 && f.error == SEL_FREE, "gate not present: %d %x", f.vector, f.error);
    set_call_gate(SEL_FREE, SEL_DATA, (u32)gate_target, 3, 0xec);
    f = try_user(user_gate, NULL);
    check(f.vector == 13 && f.error == SEL_DATA, "gate to data: %d %x", f.vector, f.error);
}

/* --- hardware tasks --- */
static struct tss32 task;
static u8 task_stack[4096] __attribute__((aligned(16)));
static volatile u32 task_runs, task_saw_link, task_eflags, task_error;
static void task_body(void)
{
    for (;;) {
        task_runs++;
        task_saw_link = task.link;
        asm volatile("pushfl; pop %0" : "=r"(task_eflags));
        asm volatile("iretl" : : : "memory");
    }
}

static void make_task(void (*entry)(void))
{
    task = (struct tss32){.eip = (u32)entry,
                          .eflags = 2,
                          .esp = (u32)(task_stack + sizeof(task_stack) - 16),
                          .cs = SEL_CODE,
                          .ss = SEL_DATA,
                          .ds = SEL_DATA,
                          .es = SEL_DATA,
                          .fs = SEL_DATA,
                          .gs = SEL_DATA,
                          .iomap = sizeof(task),
                          .ebx = 0x12345678,
                          .cr3 = read_cr3()};
    set_descriptor(SEL_FREE + 8, (u32)&task, sizeof(task) - 1, 0x0089);
}

static void task_call(void *arg)
{
    asm volatile("lcall %0,$0" : : "i"(SEL_FREE + 8) : "memory");
}

static void task_switches(void)
{
    make_task(task_body);
    for (u32 n = 1; n <= 3; n++) {
        struct fault f = try_call(task_call, NULL);
        check(f.vector == -1 && task_runs == n, "CALL to a TSS: %d error %x runs %u", f.vector, f.error, task_runs);
        check(task_saw_link == SEL_TSS && (task_eflags & 0x4000), "link %x eflags %x", task_saw_link, task_eflags);
        check((gdt[(SEL_FREE + 8) / 8] >> 40 & 0xf) == 9 && (gdt[SEL_TSS / 8] >> 40 & 0xf) == 0xb,
              "busy bits after the return");
        check(read_cr0() & 8, "CR0.TS after a task switch");
        asm volatile("clts");
    }
    check(task.ebx == 0x12345678, "the task's EBX was saved: %x", task.ebx);

    /* An interrupt through a task gate. */
    set_gate(0x82, 0, SEL_FREE + 8, 0x85);
    u32 runs = task_runs;
    asm volatile("int $0x82" : : : "memory");
    asm volatile("clts");
    check(task_runs == runs + 1, "task gate: %u", task_runs);

    gdt[(SEL_FREE + 8) / 8] |= 2ull << 40; /* busy */
    struct fault f = try_call(task_call, NULL);
    check(f.vector == 13 && f.error == SEL_FREE + 8, "CALL to a busy TSS: %d %x", f.vector, f.error);
    set_descriptor(SEL_FREE + 8, (u32)&task, 0x66, 0x0089);
    f = try_call(task_call, NULL);
    check(f.vector == 10 && f.error == SEL_FREE + 8, "TSS too short: %d %x", f.vector, f.error);
    set_descriptor(SEL_FREE + 8, (u32)&task, sizeof(task) - 1, 0x0009);
    f = try_call(task_call, NULL);
    check(f.vector == 11 && f.error == SEL_FREE + 8, "TSS not present: %d %x", f.vector, f.error);
}

/* A double fault taken on a stack of its own through a task gate. */
static volatile u32 df_error = 1, df_taken;
static u32 df_return_eip;
static void double_fault_task(void)
{
    asm volatile("pop %0" : "=r"(task_error));
    df_error = task_error;
    df_taken++;
    /* Back to the interrupted task, at a place where its stack is good again. */
    tss.eip = df_return_eip;
    tss.esp = tss.ebp;
    tss.ss = SEL_DATA;
    asm volatile("iretl");
    __builtin_unreachable();
}

static void double_fault(void)
{
    make_task(double_fault_task);
    u64 save8 = idt[8], save12 = idt[12], save14 = idt[13];
    set_gate(8, 0, SEL_FREE + 8, 0x85);
    set_gate(13, 0, SEL_CODE, 0x0e); /* not present */
    asm volatile("push %%ebp; mov %%esp,%%ebp; movl $1f,%0; mov $0xfff8,%%eax; mov %%eax,%%es; 1: pop %%ebp"
                 : "=m"(df_return_eip)
                 :
                 : "eax", "ebx", "ecx", "edx", "esi", "edi", "memory");
    asm volatile("clts; mov %0,%%es" : : "r"(SEL_DATA));
    idt[8] = save8, idt[12] = save12, idt[13] = save14;
    check(df_taken == 1 && df_error == 0, "double fault task: taken %u error %x", df_taken, df_error);
}

/* --- virtual-8086 --- */
/* Real-mode code is put at 0x2000:0; whatever traps leaves through the caught fault. */
#define V86_CODE 0x20000
static void v86_enter(void *arg)
{
    asm volatile("pushl $0x4444; pushl $0x3333; pushl $0x2222; pushl $0x1111; pushl $0x3000; pushl $0x1000\n"
                 "push %0; pushl $0x2000; pushl $0; iretl"
                 :
                 : "r"((u32)arg)
                 : "memory");
}

static struct fault v86_run(const u8 *code, unsigned size, u32 eflags)
{
    for (unsigned n = 0; n < size; n++)
        ((volatile u8 *)V86_CODE)[n] = code[n];
    return try_call(v86_enter, (void *)(eflags | 0x20002));
}
#define V86(flags, ...) v86_run((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}), flags)

static void virtual_8086(void)
{
    struct fault f = V86(0x200, 0x90, 0xf4); /* HLT: privileged */
    check(f.vector == 13 && f.error == 0 && f.eip == 1 && f.cs == 0x2000 && (f.eflags & 0x20000),
          "HLT in v86: %d eip %x cs %x eflags %x", f.vector, f.eip, f.cs, f.eflags);
    f = V86(0x200, 0xcd, 0x20);
    check(f.vector == 13 && f.eip == 0, "INT n with IOPL 0: %d", f.vector);
    f = V86(0x3200, 0xcd, 0x81);
    check(f.vector == 0x81 && f.eip == 2, "INT n with IOPL 3: %d eip %x", f.vector, f.eip);
    f = V86(0x200, 0xfa);
    check(f.vector == 13, "CLI with IOPL 0: %d", f.vector);
    f = V86(0x3200, 0xfa, 0x9c, 0x58, 0xcd, 0x81); /* cli; pushf; pop ax; int */
    check(f.vector == 0x81 && !(f.eflags & 0x200), "CLI with IOPL 3: %d eflags %x", f.vector, f.eflags);
    f = V86(0x200, 0x0f, 0x00, 0xd0); /* LLDT */
    check(f.vector == 6, "LLDT in v86: %d", f.vector);
    /* mov ax,0x1234; mov ds,ax; mov [0],ax; mov bx,[0]; cmp: segments work as in real mode */
    f = V86(0x3200, 0xb8, 0x00, 0x28, 0x8e, 0xd8, 0xa3, 0x10, 0x00, 0x3b, 0x06, 0x10, 0x00, 0xcd, 0x81);
    check(f.vector == 0x81 && (f.eflags & 0x40), "DS load in v86: %d eflags %x", f.vector, f.eflags);
    check(*(volatile u16 *)0x28010 == 0x2800, "store through DS in v86: %x", *(volatile u16 *)0x28010);
    f = V86(0x200, 0x67, 0x66, 0xa1, 0x00, 0x00, 0x01, 0x00); /* mov eax,[0x10000]: over the limit */
    check(f.vector == 13, "offset over 64 KiB in v86: %d", f.vector);
    f = V86(0x200, 0xe4, 0x80);
    check(f.vector == 13, "IN in v86 without a bitmap: %d", f.vector);
}

/* --- paging --- */
#define CR0_PG 0x80000000u
#define CR0_WP 0x10000u
static u32 *dir, *table;
#define PVA 0x40000000u

static void paged_read(void *arg)
{
    (void)*(volatile u8 *)PVA;
}

static void paged_write(void *arg)
{
    *(volatile u8 *)PVA = 1;
}

static void paging32(void)
{
    dir = page_alloc(), table = page_alloc();
    write_cr4(read_cr4() | 0x10); /* PSE */
    for (u32 n = 0; n < 256; n++)
        dir[n] = n << 22 | 0x87;
    u8 *page = page_alloc();
    page[0] = 0x42;
    dir[PVA >> 22] = (u32)table | 7;
    table[0] = (u32)page | 7;
    write_cr3((u32)dir);
    write_cr0(read_cr0() | CR0_PG | CR0_WP);
    check(*(volatile u8 *)PVA == 0x42, "32-bit paging");
    check((table[0] & 0x60) == 0x20 && (dir[PVA >> 22] & 0x20), "A and D after a read: %x", table[0]);
    paged_write(NULL);
    check(table[0] & 0x40, "D after a write");
    table[0] = (u32)page | 5;
    write_cr3((u32)dir);
    struct fault f = try_call(paged_write, NULL);
    check(f.vector == 14 && f.error == 3 && f.cr2 == PVA, "write to a read-only page: %d %x", f.vector, f.error);
    f = try_user(paged_write, NULL);
    check(f.vector == 14 && f.error == 7, "user write: %d %x", f.vector, f.error);
    table[0] = (u32)page | 3;
    write_cr3((u32)dir);
    f = try_user(paged_read, NULL);
    check(f.vector == 14 && f.error == 5, "user read of a supervisor page: %d %x", f.vector, f.error);
    table[0] = 0;
    write_cr3((u32)dir);
    f = try_call(paged_read, NULL);
    check(f.vector == 14 && f.error == 0, "missing page: %d %x", f.vector, f.error);
    write_cr0(read_cr0() & ~CR0_PG);
}

static void load_cr3(void *arg)
{
    write_cr3((u32)arg);
}

static void paging_pae(void)
{
    u64 *pdpt = page_alloc(), *pd = page_alloc(), *pd1 = page_alloc(), *pt = page_alloc();
    u8 *page = page_alloc();
    page[0] = 0x99;
    for (u32 n = 0; n < 512; n++)
        pd[n] = (u64)n << 21 | 0x87;
    pdpt[0] = (u32)pd | 1, pdpt[1] = (u32)pd1 | 1;
    pd1[0] = (u32)pt | 7, pt[0] = (u32)page | 7;
    write_cr4(read_cr4() | 0x20);
    write_cr3((u32)pdpt);
    write_cr0(read_cr0() | CR0_PG);
    check(*(volatile u8 *)PVA == 0x99, "PAE paging");
    /* The four entries are read when CR3 is loaded, and not after. */
    pdpt[1] = 0;
    check(*(volatile u8 *)PVA == 0x99, "PDPTE was read again");
    asm volatile("invlpg (%0)" : : "r"(PVA));
    check(try_call(paged_read, NULL).vector == -1, "PDPTE was read again after INVLPG");
    pdpt[1] = 1ull << 62 | 1;
    struct fault f = try_call(load_cr3, pdpt);
    check(f.vector == 13 && f.error == 0, "reserved bit in a PDPTE: %d %x", f.vector, f.error);
    write_cr0(read_cr0() & ~CR0_PG);
    write_cr4(read_cr4() & ~0x30u);
}

void test(void)
{
    limits();
    gates();
    task_switches();
    double_fault();
    virtual_8086();
    paging32();
    paging_pae();
}
