/*
 * Compatibility mode and the ways between rings and code sizes under long mode: far jumps, calls and returns, 64-bit
 * call gates, SYSCALL and SYSRET, SYSENTER and SYSEXIT, 16- and 32-bit code with limits and wrap-around, LAR, LSL,
 * VERR, VERW, FS and GS bases, SWAPGS.
 */
#include "lib/guest.h"

#define MSR_STAR      0xc0000081
#define MSR_LSTAR     0xc0000082
#define MSR_CSTAR     0xc0000083
#define MSR_SFMASK    0xc0000084
#define MSR_FS_BASE   0xc0000100
#define MSR_GS_BASE   0xc0000101
#define MSR_KERNEL_GS 0xc0000102
#define EFER          0xc0000080

/* Runs 32- or 16-bit code at `code` (below 4 GiB) by a far call from 64-bit code; it comes back by a 32-bit far return
 * with an operand size as the frame has. Returns EAX. */
static u32 far_call(u16 selector, const void *code, u32 argument)
{
    struct {
        u32 offset;
        u16 selector;
    } __attribute__((packed)) target = {(u32)(u64)code, selector};
    u32 result;
    asm volatile("lcall *%1"
                 : "=a"(result)
                 : "m"(target), "a"(argument)
                 : "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
    return result;
}

/* 32-bit code ends with "lret" to a 32-bit frame: lcall with a 32-bit operand pushed 4-byte CS and EIP. */
static void code32(void)
{
    static const u8 inc_is_inc[] = {0x40, 0x40, 0xcb}; /* inc eax; inc eax: REX prefixes in 64-bit code */
    static const u8 ea_wraps[] = {0xbb, 0xff, 0xff, 0xff, 0xff, 0x8d, 0x43, 0x02, 0xcb}; /* lea eax,[ebx+2] */
    static const u8 pushes[] = {0x68, 0x44, 0x33, 0x22, 0x11, 0x58, 0xcb};               /* push imm32; pop eax */
    static const u8 das[] = {0x04, 0x0c, 0x27, 0xcb};                                    /* add al,12; daa */
    check(far_call(SEL_CODE32, inc_is_inc, 5) == 7, "INC in 32-bit code");
    check(far_call(SEL_CODE32, ea_wraps, 0) == 1, "32-bit address wraps");
    check(far_call(SEL_CODE32, pushes, 0) == 0x11223344, "PUSH and POP in 32-bit code");
    check((far_call(SEL_CODE32, das, 0) & 0xff) == 0x12, "DAA in 32-bit code");
}

/* 16-bit code: base in the descriptor, offsets of 16 bits. lret with operand size 32 (66 cb). */
static u8 code16_area[65536 + 64] __attribute__((aligned(16)));
static void set_descriptor(unsigned selector, u32 base, u32 limit, u32 attr)
{
    gdt[selector / 8] = (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xf0ff) << 40 |
                        (u64)(limit >> 16 & 15) << 48 | (u64)(base >> 24) << 56;
}

static void code16(void)
{
    u32 base = (u32)(u64)code16_area;
    set_descriptor(SEL_FREE, base, 0xffff, 0x9b);
    static const u8 body[] = {0xb8, 0x34, 0x12, 0x05, 0x01, 0x00,
                              0x66, 0x0f, 0xb7, 0xc0, 0x66, 0xcb}; /* mov ax; add ax,1; movzx eax,ax; lret */
    for (unsigned n = 0; n < sizeof(body); n++)
        code16_area[0x100 + n] = body[n];
    check(far_call(SEL_FREE, (void *)0x100, 0) == 0x1235, "16-bit code");
}

static void beyond_limit(void *arg)
{
    far_call(SEL_FREE, arg, 0);
}

static void limits(void)
{
    u32 base = (u32)(u64)code16_area;
    set_descriptor(SEL_FREE, base, 0x1ff, 0x409b);
    code16_area[0x1ff] = 0x90, code16_area[0x200] = 0xcb; /* the NOP is inside, the RET is not */
    struct fault f = try_call(beyond_limit, (void *)0x1ff);
    check(f.vector == 13 && f.error == 0 && f.rip == 0x200, "running over the limit: %d %lx rip %lx", f.vector, f.error,
          f.rip);
    f = try_call(beyond_limit, (void *)0x200);
    check(f.vector == 13 && f.error == 0, "far call beyond the limit: %d %lx", f.vector, f.error);
}

/* Loads of segment registers that must fault, with the selector as error code. */
static void load_ds(void *arg)
{
    asm volatile("mov %0,%%ds" : : "r"((u16)(u64)arg));
}

static void load_ss(void *arg)
{
    asm volatile("mov %0,%%ss" : : "r"((u16)(u64)arg));
}

static void bad_loads(void)
{
    struct fault f;
    set_descriptor(SEL_FREE, 0, 0xfffff, 0xc013); /* not present data */
    f = try_call(load_ds, (void *)SEL_FREE);
    check(f.vector == 11 && f.error == SEL_FREE, "DS not present: %d %lx", f.vector, f.error);
    f = try_call(load_ss, (void *)SEL_FREE);
    check(f.vector == 12 && f.error == SEL_FREE, "SS not present: %d %lx", f.vector, f.error);
    f = try_call(load_ds, (void *)(u64)(GDT_ENTRIES * 8));
    check(f.vector == 13 && f.error == GDT_ENTRIES * 8, "DS beyond the table: %d %lx", f.vector, f.error);
    f = try_call(load_ds, (void *)(u64)SEL_TSS);
    check(f.vector == 13 && f.error == SEL_TSS, "DS of a TSS: %d %lx", f.vector, f.error);
    set_descriptor(SEL_FREE, 0, 0xfffff, 0xc099); /* execute-only code */
    f = try_call(load_ds, (void *)SEL_FREE);
    check(f.vector == 13 && f.error == SEL_FREE, "DS of execute-only code: %d %lx", f.vector, f.error);
    f = try_call(load_ss, (void *)(u64)SEL_USER_DATA);
    check(f.vector == 13 && f.error == (SEL_USER_DATA & ~3u), "SS of DPL 3 at CPL 0: %d %lx", f.vector, f.error);
    check(try_call(load_ds, NULL).vector == -1, "null DS");
    check(try_call(load_ss, NULL).vector == -1, "null SS at CPL 0 in 64-bit mode");
    asm volatile("mov %0,%%ds; mov %0,%%ss" : : "r"(SEL_DATA));
}

static void segment_queries(void)
{
    u32 v;
    bool z;
    asm volatile("lar %2,%0; setz %1" : "=r"(v), "=qm"(z) : "r"((u32)SEL_DATA) : "cc");
    check(z && (v & 0xf0fe00) == 0xc09200, "LAR data: %x", v);
    asm volatile("lsl %2,%0; setz %1" : "=r"(v), "=qm"(z) : "r"((u32)SEL_DATA) : "cc");
    check(z && v == 0xffffffff, "LSL data: %x", v);
    asm volatile("lar %2,%0; setz %1" : "=r"(v), "=qm"(z) : "r"(0u) : "cc");
    check(!z, "LAR null");
    asm volatile("verr %w1; setz %0" : "=qm"(z) : "r"(SEL_DATA) : "cc");
    check(z, "VERR data");
    asm volatile("verw %w1; setz %0" : "=qm"(z) : "r"(SEL_CODE64) : "cc");
    check(!z, "VERW code");
    asm volatile("lsl %2,%0; setz %1" : "=r"(v), "=qm"(z) : "r"((u32)SEL_TSS) : "cc");
    check(z && v == sizeof(tss) - 1, "LSL of the TSS: %x", v);
}

/* 64-bit call gate from CPL 3: stack from the TSS, CS:RIP and SS:RSP pushed, far return drops back. */
static volatile u64 gate_rsp, gate_frame[4];
void gate_target(void);
asm(".text\n"
    "gate_target:\n"
    "mov %rsp, gate_rsp(%rip)\n"
    "mov (%rsp), %rax\n mov %rax, gate_frame(%rip)\n"
    "mov 8(%rsp), %rax\n mov %rax, gate_frame+8(%rip)\n"
    "mov 24(%rsp), %rax\n mov %rax, gate_frame+24(%rip)\n"
    "lretq\n");

/* A far pointer through the gate, of which only the selector counts. */
static const struct {
    u32 offset;
    u16 selector;
} __attribute__((packed)) gate_pointer = {0, SEL_FREE | 3};

static void set_gate_target(void)
{
    u64 a = (u64)gate_target;
    gdt[SEL_FREE / 8] = (a & 0xffff) | (u64)SEL_CODE64 << 16 | 0xecull << 40 | (a >> 16 & 0xffff) << 48;
    gdt[SEL_FREE / 8 + 1] = a >> 32;
}

static void user_gate(void *arg)
{
    asm volatile("lcall *%0" : : "m"(gate_pointer) : "rax", "memory");
}

static void call_gate(void)
{
    set_gate_target();
    struct fault f = try_user(user_gate, NULL);
    check(f.vector == -1, "call gate: vector %d error %lx rip %lx", f.vector, f.error, f.rip);
    check(gate_frame[1] == SEL_USER_CODE64 && gate_frame[3] == SEL_USER_DATA, "gate's frame: cs %lx ss %lx",
          gate_frame[1], gate_frame[3]);
    check(gate_rsp == tss.rsp[0] - 32, "gate's stack %lx, TSS %lx", gate_rsp, tss.rsp[0]);
    gdt[SEL_FREE / 8] &= ~(3ull << 45); /* DPL 0 */
    f = try_user(user_gate, NULL);
    check(f.vector == 13 && f.error == SEL_FREE, "call gate of DPL 0: %d %lx", f.vector, f.error);
}

/* Null selectors may have any RPL until a return to an outer ring makes them 0. */
static volatile struct {
    u64 ds, es, fs, gs;
} null_seen;

#define LOAD_NULLS "mov %0,%%ds; mov %1,%%es; mov %2,%%fs; mov %3,%%gs;"
#define SEE_NULLS                                                                                                      \
    "mov %%ds,%%rax; mov %%rax,(%4); mov %%es,%%rax; mov %%rax,8(%4);"                                                 \
    "mov %%fs,%%rax; mov %%rax,16(%4); mov %%gs,%%rax; mov %%rax,24(%4);"
#define NULLS "r"(3), "r"(2), "r"(1), "r"(3), "r"(arg)

static void user_nulls(void *arg)
{
    asm volatile(LOAD_NULLS SEE_NULLS : : NULLS : "rax", "memory");
}

static void user_nulls_iret(void *arg)
{
    asm volatile(LOAD_NULLS "ud2;" SEE_NULLS : : NULLS : "rax", "memory");
}

static void user_nulls_lret(void *arg)
{
    asm volatile(LOAD_NULLS "lcall *%5;" SEE_NULLS : : NULLS, "m"(gate_pointer) : "rax", "memory");
}

static void skip_ud2(struct regs *r)
{
    r->rip += 2;
}

static void check_nulls(void (*fn)(void *), const char *what, u64 ds, u64 es, u64 fs, u64 gs)
{
    struct fault f = try_user(fn, user_addr(&null_seen));
    check(f.vector == -1, "%s: vector %d error %lx rip %lx", what, f.vector, f.error, f.rip);
    check(null_seen.ds == ds && null_seen.es == es && null_seen.fs == fs && null_seen.gs == gs,
          "%s: ds %lx es %lx fs %lx gs %lx", what, null_seen.ds, null_seen.es, null_seen.fs, null_seen.gs);
}

static void null_selectors(void)
{
    set_gate_target();
    check_nulls(user_nulls, "null selectors as loaded", 3, 2, 1, 3);
    check_nulls(user_nulls_lret, "null selectors after a far return", 0, 0, 0, 0);
    on_vector(6, skip_ud2);
    check_nulls(user_nulls_iret, "null selectors after IRET", 0, 0, 0, 0);
    on_vector(6, NULL);
    asm volatile("mov %0,%%ds; mov %0,%%es; mov %1,%%fs; mov %1,%%gs" : : "r"(SEL_DATA), "r"(0));
}

/* SYSCALL from CPL 3 and SYSRET back. */
static volatile u64 syscall_seen[3];
void syscall_target(void);
asm(".text\n"
    "syscall_target:\n"
    "mov %rcx, syscall_seen(%rip)\n"
    "mov %r11, syscall_seen+8(%rip)\n"
    "pushfq\n pop syscall_seen+16(%rip)\n"
    "sysretq\n");

static void user_syscall(void *arg)
{
    asm volatile("mov $0x1234,%%eax; syscall" : : : "rax", "rcx", "r11", "memory");
}

/* Intel processors have it, and say so, in 64-bit code only. */
static void syscall_is_said(void)
{
    static const u8 code[] = {0xb8, 0x01, 0x00, 0x00, 0x80,
                              0x0f, 0xa2, 0x89, 0xd0, 0xcb}; /* cpuid; mov eax,edx; lret */
    u32 r[4];
    cpuid(0x80000001, 0, r);
    check(r[3] & 1 << 11, "CPUID in 64-bit code: SYSCALL");
    check(!(far_call(SEL_CODE32, code, 0) & 1 << 11), "CPUID in 32-bit code: no SYSCALL");
}

static void syscall32(void *arg)
{
    static const u8 code[] = {0x0f, 0x05, 0xcb}; /* syscall; lret */
    far_call(SEL_CODE32, code, 0);
}

static void syscall(void)
{
    u64 efer = rdmsr(EFER);
    wrmsr(EFER, efer & ~1ull);
    check(try_user(user_syscall, NULL).vector == 6, "SYSCALL with EFER.SCE 0");
    wrmsr(EFER, efer | 1);
    /* SYSRET takes CS from STAR[63:48] + 16 and SS from + 8: 0x33 + 16 = 0x43 code64, + 8 = 0x3b data. */
    wrmsr(MSR_STAR, (u64)SEL_USER_CODE32 << 48 | (u64)SEL_CODE64 << 32);
    wrmsr(MSR_LSTAR, (u64)syscall_target);
    wrmsr(MSR_SFMASK, 0x200);
    struct fault f = try_user(user_syscall, NULL);
    check(f.vector == -1, "SYSCALL and SYSRET: %d error %lx rip %lx", f.vector, f.error, f.rip);
    check((syscall_seen[1] & 0x200) && !(syscall_seen[2] & 0x200), "R11 %lx, flags inside %lx", syscall_seen[1],
          syscall_seen[2]);
    check(syscall_seen[0] > USER_BASE, "RCX %lx", syscall_seen[0]);
    syscall_is_said();
    wrmsr(MSR_CSTAR, (u64)syscall_target);
    f = try_call(syscall32, NULL);
    check(f.vector == 6, "SYSCALL in 32-bit code, as on Intel processors: %d", f.vector);
    wrmsr(EFER, efer);
}

static void wrmsr_bad(void *arg)
{
    wrmsr(MSR_LSTAR, (u64)arg);
}

static void bases(void)
{
    static u64 here = 0x1111, there = 0x2222;
    u64 v;
    wrmsr(MSR_FS_BASE, (u64)&here);
    asm volatile("mov %%fs:0,%0" : "=r"(v));
    check(v == 0x1111, "FS base");
    wrmsr(MSR_GS_BASE, (u64)&here), wrmsr(MSR_KERNEL_GS, (u64)&there);
    asm volatile("swapgs; mov %%gs:0,%0" : "=r"(v));
    check(v == 0x2222 && rdmsr(MSR_KERNEL_GS) == (u64)&here && rdmsr(MSR_GS_BASE) == (u64)&there, "SWAPGS");
    check(try_call(wrmsr_bad, (void *)0x800000000000).vector == 13, "LSTAR not canonical");
    wrmsr(MSR_FS_BASE, 0), wrmsr(MSR_GS_BASE, 0);
    u32 r[4];
    cpuid(7, 0, r);
    if (r[1] & 1) {
        write_cr4(read_cr4() | 1ull << 16);
        asm volatile("wrfsbase %1; rdfsbase %0" : "=r"(v) : "r"((u64)&there));
        check(v == (u64)&there, "WRFSBASE");
        write_cr4(read_cr4() & ~(1ull << 16));
        asm volatile("mov %0,%%fs" : : "r"(0));
    }
}

/* What becomes of the upper halves: 32-bit results clear them in 64-bit code. */
static void upper_halves(void)
{
    u64 v = ~0ull;
    asm volatile("mov %k0,%k0" : "+r"(v));
    check(v == 0xffffffff, "mov r32,r32");
    v = ~0ull;
    asm volatile("mov $0,%%ecx; shl %%cl,%k0" : "+r"(v) : : "rcx");
    check(v == 0xffffffff, "shift by 0: %lx", v);
    v = 0xffffffff00000000ull;
    asm volatile("cmp %%eax,%%eax; cmovne %%ebx,%k0" : "+r"(v));
    check(v == 0, "cmov that does not move: %lx", v);
    v = 0x1122334455667788;
    asm volatile("movb $0,%b0" : "+q"(v));
    check(v == 0x1122334455667700, "8-bit result");
}

void test(void)
{
    code32();
    code16();
    limits();
    bad_loads();
    segment_queries();
    call_gate();
    null_selectors();
    syscall();
    bases();
    upper_halves();
}
