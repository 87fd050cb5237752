/*
 * Segments, far transfers, gates, tasks: cpu/segment.c, transfer.c, iret.c, deliver.c, task.c. Checks by table through
 * calls of the functions themselves; transfers and switches by guest code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/access.h"
#include "cpu/intr.h"
#include "cpu/segment.h"
#include "cpu/transfer.h"
#include "vcpu.h"

#define RAM          MiB(4)
#define RUN(v, name) vcpu_run(v, 0, name, name##_end)
#define AT_LDT       0x7000
#define AT_TSS2      0x6100
#define AT_FAR       0x2000 /* code of the other side */

/* Free places in the GDT. */
enum { S0 = 0x48, S1 = 0x50, S2 = 0x58, S3 = 0x60, S_LDT = 0x70, S_TSS2 = 0x80, S_OUTSIDE = 0x1000 };

static void put_desc(struct vm *v, u16 sel, u32 base, u32 limit, u32 access, u32 flags)
{
    u32 lo = (limit & 0xffff) | base << 16;
    u32 hi = (base >> 16 & 0xff) | access << 8 | (limit & 0xf0000) | flags << 20 | (base & 0xff000000);
    put_u64(v->ram + AT_GDT + (sel & ~7), lo | (u64)hi << 32);
}

static void put_gate(struct vm *v, u32 at, u16 sel, u32 offset, u32 access, u32 params)
{
    put_u32(v->ram + at, (offset & 0xffff) | (u32)sel << 16);
    put_u32(v->ram + at + 4, (offset & 0xffff0000) | access << 8 | params);
}

static void put_code(struct vm *v, u32 at, const u8 *code, const u8 *end)
{
    mem_write(v->mem, at, code, (u64)(end - code));
}

/* What a call raised: vector << 16 | code, or -1. */
static NOINLINE int load_result(struct cpu *c, unsigned seg, u16 sel)
{
    if (__builtin_setjmp(c->unwind))
        return c->exc.vector << 16 | (int)c->exc.code;
    seg_load(c, seg, sel);
    return -1;
}

static NOINLINE int jump_result(struct cpu *c, u16 sel, u64 ip)
{
    if (__builtin_setjmp(c->unwind))
        return c->exc.vector << 16 | (int)c->exc.code;
    far_jump(c, sel, ip, 0);
    return -1;
}

#define GP(code) (EXC_GP << 16 | (code))
#define NP(code) (EXC_NP << 16 | (code))
#define SS(code) (EXC_SS << 16 | (code))
#define OK       (-1)

/* One descriptor in place S0, loaded at a privilege level. */
struct load_case {
    u32 access;
    u8 seg, cpl, rpl;
    int result;
};
static const struct load_case load_cases[] = {
    {0x92, SEG_DS, 0, 0, OK},     {0x90, SEG_DS, 0, 0, OK},     {0x9a, SEG_DS, 0, 0, OK},
    {0x98, SEG_DS, 0, 0, GP(S0)}, {0x92, SEG_ES, 0, 3, GP(S0)}, {0x92, SEG_FS, 3, 3, GP(S0)},
    {0xf2, SEG_GS, 3, 3, OK},     {0xf2, SEG_DS, 0, 3, OK},     {0x12, SEG_DS, 0, 0, NP(S0)},
    {0x82, SEG_DS, 0, 0, GP(S0)}, {0x9e, SEG_DS, 3, 3, OK},     {0x9c, SEG_DS, 3, 3, GP(S0)},
    {0x92, SEG_SS, 0, 0, OK},     {0x90, SEG_SS, 0, 0, GP(S0)}, {0x9a, SEG_SS, 0, 0, GP(S0)},
    {0x12, SEG_SS, 0, 0, SS(S0)}, {0x92, SEG_SS, 0, 3, GP(S0)}, {0xf2, SEG_SS, 0, 0, GP(S0)},
    {0xf2, SEG_SS, 3, 3, OK},     {0x72, SEG_SS, 3, 3, SS(S0)},
};

static void test_load(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    for (unsigned n = 0; n < ARRAY_SIZE(load_cases); n++) {
        const struct load_case *t = &load_cases[n];
        vcpu_mode(v, 0, VCPU_32);
        put_desc(v, S0, 0x12345678, 0xfffff, t->access, 0xc);
        c->cpl = t->cpl;
        struct cpu_seg before = c->seg[t->seg];
        int r = load_result(c, t->seg, S0 | t->rpl);
        if (r != t->result)
            fail_msg("case %u: %#x, not %#x", n, (unsigned)r, (unsigned)t->result);
        if (r == OK) {
            assert_int_equal(c->seg[t->seg].base, 0x12345678);
            assert_int_equal(c->seg[t->seg].limit, 0xffffffff);
            assert_int_equal(v->ram[AT_GDT + S0 + 5], t->access | 1);
        } else {
            assert_memory_equal(&before, &c->seg[t->seg], sizeof(before));
            assert_int_equal(v->ram[AT_GDT + S0 + 5], t->access);
        }
    }
}

static void test_load_null(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    assert_int_equal(load_result(c, SEG_DS, 3), OK);
    assert_int_equal(load_result(c, SEG_SS, 0), GP(0));
    assert_int_equal(load_result(c, SEG_DS, S_OUTSIDE), GP(S_OUTSIDE));
    assert_int_equal(load_result(c, SEG_DS, 0x0c), GP(0x0c)); /* no LDT */
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(load_result(c, SEG_SS, 0), OK);
    assert_int_equal(load_result(c, SEG_SS, 3), GP(0));
    c->cpl = 3;
    assert_int_equal(load_result(c, SEG_SS, 3), GP(0));
}

static void test_load_ldt(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    put_desc(v, S_LDT, AT_LDT, 15, 0x82, 0);
    put_u64(v->ram + AT_LDT + 8, 0x00cf92000000ffffull);
    if (__builtin_setjmp(c->unwind))
        fail();
    ldtr_load(c, S_LDT, EXC_GP);
    assert_int_equal(load_result(c, SEG_DS, 0x0c), OK);
    assert_int_equal(load_result(c, SEG_DS, 0x14), GP(0x14));
}

static void test_real_load(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_REAL);
    c->seg[SEG_DS].limit = 0xffffffff;
    assert_int_equal(load_result(c, SEG_DS, 0xabcd), OK);
    assert_int_equal(c->seg[SEG_DS].base, 0xabcd0);
    assert_int_equal(c->seg[SEG_DS].limit, 0xffffffff); /* "unreal" mode */
}

struct jump_case {
    u32 access, flags;
    u8 cpl, rpl;
    u32 ip;
    int result;
};
static const struct jump_case jump_cases[] = {
    {0x9a, 4, 0, 0, 0xffff, OK}, {0x9a, 4, 0, 0, 0x10000, GP(0)}, {0x9a, 4, 0, 3, 0, GP(S0)},
    {0x9a, 4, 3, 3, 0, GP(S0)},  {0x9e, 4, 3, 3, 0, OK},          {0xfe, 4, 0, 0, 0, GP(S0)},
    {0x1a, 4, 0, 0, 0, NP(S0)},  {0x92, 4, 0, 0, 0, GP(S0)},      {0x82, 4, 0, 0, 0, GP(S0)},
    {0x8b, 0, 0, 0, 0, GP(S0)},  {0xfa, 4, 3, 0, 0, OK},
};

static void test_jump(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    for (unsigned n = 0; n < ARRAY_SIZE(jump_cases); n++) {
        const struct jump_case *t = &jump_cases[n];
        vcpu_mode(v, 0, VCPU_32);
        put_desc(v, S0, 0, 0xffff, t->access, t->flags);
        c->cpl = t->cpl;
        int r = jump_result(c, S0 | t->rpl, t->ip);
        if (r != t->result)
            fail_msg("case %u: %#x, not %#x", n, (unsigned)r, (unsigned)t->result);
        if (r == OK) {
            assert_int_equal(c->seg[SEG_CS].sel, S0 | t->cpl);
            assert_int_equal(cpu_rip(c), t->ip);
        }
    }
    vcpu_mode(v, 0, VCPU_64);
    put_desc(v, S0, 0, 0xfffff, 0x9a, 0xe); /* L and D */
    assert_int_equal(jump_result(c, S0, 0), GP(S0));
    assert_int_equal(jump_result(c, SEL_CODE64, 1ull << 47), GP(0));
    assert_int_equal(jump_result(c, SEL_TSS, 0), GP(SEL_TSS));
}

/* Two dwords of parameters through a 32-bit gate from CPL 3; the callee takes them off both stacks. */
GUEST32(gate_user, "mov %esp, %ebp\n push $0x11111111\n push $0x22222222\n lcall $0x4b, $0\n"
                   " sub %esp, %ebp\n mov %ebp, %edi\n mov %cs, %ecx" STOP)
GUEST32(gate_kernel,
        "mov 8(%esp), %eax\n sub 12(%esp), %eax\n mov 20(%esp), %edx\n mov %cs, %ebx\n mov %ss, %esi\n lret $8")

static void test_call_gate(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    vcpu_user(v, 0);
    put_gate(v, AT_GDT + S0, SEL_CODE32, AT_FAR, 0xec, 2);
    put_code(v, AT_FAR, gate_kernel, gate_kernel_end);
    c->gpr[R_SP] = 0x8000;
    (void)RUN(v, gate_user);
    assert_int_equal((u32)c->gpr[R_AX], 0x11111111);
    assert_int_equal(c->gpr[R_DX], SEL_UDATA);
    assert_int_equal(c->gpr[R_BX], SEL_CODE32);
    assert_int_equal(c->gpr[R_SI], SEL_DATA);
    assert_int_equal(c->gpr[R_CX], SEL_UCODE32);
    assert_int_equal(c->gpr[R_DI], 0);
    assert_int_equal(c->cpl, 3);
}

GUEST64(gate64_user, "lcall *(%rbx)\n mov %cs, %ecx" STOP)
GUEST64(gate64_kernel, "mov %cs, %edx\n mov %ss, %esi\n mov (%rsp), %rdi\n lretq")

static void test_call_gate64(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_64);
    vcpu_user(v, 0);
    put_gate(v, AT_GDT + S0, SEL_CODE64, AT_FAR, 0xec, 0);
    put_u64(v->ram + AT_GDT + S0 + 8, 0);
    put_code(v, AT_FAR, gate64_kernel, gate64_kernel_end);
    put_u32(v->ram + AT_DATA, 0);
    put_u16(v->ram + AT_DATA + 4, S0 | 3);
    c->gpr[R_BX] = AT_DATA;
    c->gpr[R_SP] = 0x8000;
    (void)RUN(v, gate64_user);
    assert_int_equal(c->gpr[R_DX], SEL_CODE64);
    assert_int_equal(c->gpr[R_SI], 0);
    assert_int_equal(c->gpr[R_DI], AT_CODE + 2);
    assert_int_equal(c->gpr[R_CX], SEL_UCODE64);
    assert_int_equal(c->gpr[R_SP], 0x8000);
}

GUEST16(real_int, "mov $0x1234, %ax\n sti\n stc\n int $0x40\n pushf\n pop %bx" STOP)
GUEST16(real_handler, "pushf\n pop %cx\n inc %ax\n iret")

static void test_real_int(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_REAL);
    put_u32(v->ram + AT_IDT + 4 * 0x40, 0x0100 << 16 | (AT_FAR - 0x1000));
    put_code(v, AT_FAR, real_handler, real_handler_end);
    (void)RUN(v, real_int);
    assert_int_equal((u16)c->gpr[R_AX], 0x1235);
    assert_int_equal(c->gpr[R_CX] & (RF_IF | FL_CF), FL_CF);
    assert_int_equal(c->gpr[R_BX] & (RF_IF | FL_CF), RF_IF | FL_CF);
    assert_int_equal(c->gpr[R_SP], AT_STACK);
}

/* In virtual-8086 mode at 200:0: INT 40h with IOPL 3 goes to the protected-mode handler, which sees the 8086 frame. */
GUEST16(v86_code, "mov $0xbeef, %ax\n int $0x40\n hlt")
GUEST32(v86_handler,
        "mov (%esp), %eax\n mov 4(%esp), %ebx\n mov 12(%esp), %ecx\n mov 16(%esp), %edx\n mov 32(%esp), %edi\n"
        " mov %ds, %esi" STOP)

static void enter_v86(struct vm *v, u32 flags)
{
    vcpu_mode(v, 0, VCPU_32);
    put_code(v, 0x2000, v86_code, v86_code_end);
    v->cpu[0]->gpr[R_AX] = flags;
    put_gate(v, AT_IDT + 8 * 0x40, SEL_CODE32, 0x2800, 0xee, 0);
    put_code(v, 0x2800, v86_handler, v86_handler_end);
}

GUEST32(
    v86_start,
    "push $5\n push $4\n push $3\n push $2\n push $0x100\n push $0x1000\n pushl %eax\n push $0x200\n push $0\n iret")

static void test_v86(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    enter_v86(v, RF_VM | 3 << RF_IOPL_SHIFT | 2);
    (void)RUN(v, v86_start);
    assert_int_equal(c->gpr[R_AX], 5);      /* next IP */
    assert_int_equal(c->gpr[R_BX], 0x200);  /* CS */
    assert_int_equal(c->gpr[R_CX], 0x1000); /* SP */
    assert_int_equal(c->gpr[R_DX], 0x100);  /* SS */
    assert_int_equal(c->gpr[R_DI], 5);      /* GS */
    assert_int_equal(c->gpr[R_SI], 0);      /* DS is null */
    assert_int_equal(c->cpl, 0);
    assert_false(cpu_v86(c));
    /* Without the privilege it is #GP(0). */
    enter_v86(v, RF_VM | 2);
    assert_int_equal(RUN(v, v86_start), EXC_GP);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), 0);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP] + 4), 3);
}

/* CR4.VME with the bitmap's bit clear: the 8086 program's own handler, IOPL 0, VIF for IF. */
GUEST16(v86_own, "pop %dx\n pop %bx\n pop %cx\n hlt")

static void test_vme(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    enter_v86(v, RF_VM | RF_VIF | 2);
    c->cr4 |= CR4_VME;
    c->tr[0].limit = 0x100;
    put_u16(v->ram + AT_TSS + 0x66, 0x88);
    memset(v->ram + AT_TSS + 0x68, 0, 32);
    put_u32(v->ram + 4 * 0x40, 0x0200 << 16 | 0x40);
    put_code(v, 0x2040, v86_own, v86_own_end);
    assert_int_equal(RUN(v, v86_start), EXC_GP); /* by HLT */
    assert_int_equal((u16)c->gpr[R_DX], 5);
    assert_int_equal((u16)c->gpr[R_BX], 0x200);
    assert_int_equal(c->gpr[R_CX] & (RF_IF | 3 << RF_IOPL_SHIFT), RF_IF | 3 << RF_IOPL_SHIFT);
    /* The other way, the bitmap's bit set: method 3. */
    enter_v86(v, RF_VM | RF_VIF | 2);
    c->cr4 |= CR4_VME;
    c->tr[0].limit = 0x100;
    v->ram[AT_TSS + 0x68 + 8] = 1;
    assert_int_equal(RUN(v, v86_start), EXC_GP);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP] + 4), 3);
}

/* CALL to a TSS, NT and back link, IRET, and the task's own EIP where it left off. */
GUEST32(task_main, "mov $1, %ecx\n lcall $0x80, $0xf4f4f4f4\n mov %edx, %esi\n lcall $0x80, $0\n pushf\n pop %edi" STOP)
GUEST32(task_other,
        "1: inc %edx\n pushf\n pop %ebx\n mov %edx, 0xa000\n mov %ebx, 0xa004\n mov %esp, 0xa008\n iret\n jmp 1b")

static void put_tss2(struct vm *v, u32 ip)
{
    memset(v->ram + AT_TSS2, 0, 0x68);
    put_desc(v, S_TSS2, AT_TSS2, 0x67, 0x89, 0);
    put_desc(v, SEL_TSS, AT_TSS, 0x67, 0x8b, 0);
    put_u32(v->ram + AT_TSS2 + 0x20, ip);
    put_u32(v->ram + AT_TSS2 + 0x24, 2);
    put_u32(v->ram + AT_TSS2 + 0x38, 0x7f00);
    for (unsigned n = 0; n < 6; n++)
        put_u32(v->ram + AT_TSS2 + 0x48 + 4 * n, n == SEG_CS ? SEL_CODE32 : SEL_DATA);
}

static void test_task(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    put_tss2(v, AT_FAR);
    put_code(v, AT_FAR, task_other, task_other_end);
    c->gpr[R_DX] = 0x55;
    (void)RUN(v, task_main);
    assert_int_equal(get_u32(v->ram + 0xa000), 2);
    assert_int_equal(get_u32(v->ram + 0xa004) & RF_NT, RF_NT);
    assert_int_equal(get_u32(v->ram + 0xa008), 0x7f00);
    assert_int_equal(c->gpr[R_SI], 0x55);
    assert_int_equal(c->gpr[R_DI] & RF_NT, 0);
    assert_int_equal(c->tr[0].sel, SEL_TSS);
    assert_int_equal(v->ram[AT_GDT + S_TSS2 + 5], 0x89);
    assert_int_equal(v->ram[AT_GDT + SEL_TSS + 5], 0x8b);
    assert_int_equal(get_u16(v->ram + AT_TSS2), SEL_TSS);
    assert_true(c->cr0 & CR0_TS);
    /* A busy one will not do. */
    vcpu_mode(v, 0, VCPU_32);
    put_tss2(v, AT_FAR);
    put_desc(v, S_TSS2, AT_TSS2, 0x67, 0x8b, 0);
    assert_int_equal(RUN(v, task_main), EXC_GP);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), S_TSS2);
    /* A short one is #TS. */
    put_desc(v, S_TSS2, AT_TSS2, 0x66, 0x89, 0);
    vcpu_mode(v, 0, VCPU_32);
    assert_int_equal(RUN(v, task_main), EXC_TS);
}

/* A fault through a task gate: the error code is on the new task's stack; the saved EIP is the instruction's. */
GUEST32(task_fault, "mov %bx, %ds\n 1: jmp 1b")
GUEST32(task_handler, "mov (%esp), %eax" STOP)

static void test_task_gate(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    put_tss2(v, AT_FAR);
    put_code(v, AT_FAR, task_handler, task_handler_end);
    put_gate(v, AT_IDT + 8 * EXC_GP, S_TSS2, 0, 0x85, 0);
    c->gpr[R_BX] = S_OUTSIDE;
    assert_int_equal(RUN(v, task_fault) & 0xffff, S_OUTSIDE & 0xff);
    assert_int_equal((u32)c->gpr[R_AX], S_OUTSIDE);
    assert_int_equal(get_u32(v->ram + AT_TSS + 0x20), AT_CODE);
    assert_int_equal(get_u32(v->ram + AT_TSS + 0x24) & RF_RF, RF_RF);
}

/* Loading CS of the new task fails there: #TS in its context, the old one complete. */
static void test_task_late_fault(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    put_tss2(v, AT_FAR);
    put_u32(v->ram + AT_TSS2 + 0x48 + 4 * SEG_DS, SEL_CODE32 | 3);
    put_code(v, AT_FAR, task_other, task_other_end);
    assert_int_equal(RUN(v, task_main), EXC_TS);
    assert_int_equal(c->tr[0].sel, S_TSS2);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), SEL_CODE32);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP] + 4), AT_FAR);
    assert_int_equal(get_u32(v->ram + AT_TSS + 0x20), AT_CODE + 5 + 7);
}

/* Double fault by #GP in #GP's delivery; triple fault where #DF has no gate either. */
GUEST32(gp, "mov %bx, %ds")

static void test_double_fault(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    c->gpr[R_BX] = S_OUTSIDE;
    put_gate(v, AT_IDT + 8 * EXC_GP, S_OUTSIDE, 0, 0x8e, 0);
    assert_int_equal(RUN(v, gp), EXC_DF);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), 0);
    vcpu_mode(v, 0, VCPU_32);
    c->gpr[R_BX] = S_OUTSIDE;
    put_gate(v, AT_IDT + 8 * EXC_GP, S_OUTSIDE, 0, 0x8e, 0);
    put_gate(v, AT_IDT + 8 * EXC_DF, SEL_CODE32, 0, 0x0e, 0);
    assert_int_equal(RUN(v, gp), ~0u);
    assert_int_equal(c->activity, CPU_SHUTDOWN);
}

/* A gate that is not there raises #NP with the vector; EXT only for what is not INT n. */
GUEST32(int_np, "int $0x41")

static void test_idt_codes(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    put_gate(v, AT_IDT + 8 * 0x41, SEL_CODE32, AT_FAR, 0x0e, 0);
    assert_int_equal(RUN(v, int_np), EXC_NP);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), 0x41 * 8 + 2);
    vcpu_mode(v, 0, VCPU_32);
    put_gate(v, AT_IDT + 8 * EXC_UD, SEL_CODE32, AT_FAR, 0x0e, 0);
    static const u8 ud2[] = {0x0f, 0x0b};
    assert_int_equal(vcpu_run(v, 0, ud2, ud2 + 2), EXC_NP);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), EXC_UD * 8 + 3);
    /* From CPL 3 a gate of DPL 0 is closed to INT n. */
    vcpu_mode(v, 0, VCPU_32);
    vcpu_user(v, 0);
    put_gate(v, AT_IDT + 8 * 0x41, SEL_CODE32, AT_FAR, 0x8e, 0);
    assert_int_equal(RUN(v, int_np), EXC_GP);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), 0x41 * 8 + 2);
}

GUEST64(ud64, "mov %rsp, %r8\n ud2")

static void test_ist(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_64);
    c->gpr[R_SP] = AT_STACK - 3; /* aligned before the frame is pushed */
    assert_int_equal(RUN(v, ud64), EXC_UD);
    assert_int_equal(c->gpr[R_SP], ((AT_STACK - 3) & ~15) - 40);
    assert_int_equal(get_u64(v->ram + c->gpr[R_SP] + 24), AT_STACK - 3);
    assert_int_equal(c->seg[SEG_SS].sel, SEL_DATA);
    vcpu_mode(v, 0, VCPU_64);
    v->ram[AT_IDT + 16 * EXC_UD + 4] = 2;
    put_u64(v->ram + AT_TSS + 0x24 + 8, 0x7f08);
    assert_int_equal(RUN(v, ud64), EXC_UD);
    assert_int_equal(c->gpr[R_SP], 0x7f00 - 40);
}

GUEST32(lar_lsl, "mov %ebx, %eax\n lar %ebx, %ecx\n setz %dl\n lsl %ebx, %esi\n setz %dh\n verr %bx\n setz %al\n verw "
                 "%bx\n setz %ah" STOP)

static void test_lar(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_32);
    put_desc(v, S0, 0x1000, 0x12345, 0xf2, 0x8);
    c->gpr[R_BX] = S0;
    (void)RUN(v, lar_lsl);
    assert_int_equal(c->gpr[R_CX], 0x80f200);
    assert_int_equal(c->gpr[R_SI], 0x12345fff);
    assert_int_equal((u16)c->gpr[R_DX], 0x101);
    assert_int_equal((u16)c->gpr[R_AX], 0x101);
    put_gate(v, AT_GDT + S0, SEL_CODE32, 0, 0xec, 0); /* a call gate has rights but no limit */
    vcpu_mode(v, 0, VCPU_32);
    c->gpr[R_BX] = S0;
    (void)RUN(v, lar_lsl);
    assert_int_equal((u16)c->gpr[R_DX], 0x001);
    assert_int_equal((u16)c->gpr[R_AX], 0);
}

/* Expand-down: what lies above the limit, up to 64 KiB or 4 GiB. */
static void test_expand_down(void **state)
{
    struct cpu_seg s = {.limit = 0xfff, .attr = DA_P | DA_S | DA_WRITE | DA_EXPAND};
    assert_false(seg_holds(&s, 0xfff, 1));
    assert_true(seg_holds(&s, 0x1000, 4));
    assert_true(seg_holds(&s, 0xfffc, 4));
    assert_false(seg_holds(&s, 0xfffd, 4));
    s.attr |= DA_DB;
    assert_true(seg_holds(&s, 0xfffffffc, 4));
    assert_false(seg_holds(&s, 0xfffffffd, 4));
    s.attr &= ~DA_EXPAND;
    assert_true(seg_holds(&s, 0xffc, 4));
    assert_false(seg_holds(&s, 0xffd, 4));
    assert_false(seg_holds(&s, 0xffffffff, 4));
}

static int setup(void **state)
{
    static struct vm v;
    *state = &v;
    return vm_create(&v, RAM, 1);
}

static int teardown(void **state)
{
    vm_destroy(*state);
    return 0;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_load),      T(test_load_null),   T(test_load_ldt),        T(test_real_load),    T(test_jump),
        T(test_call_gate), T(test_call_gate64), T(test_real_int),        T(test_v86),          T(test_vme),
        T(test_task),      T(test_task_gate),   T(test_task_late_fault), T(test_double_fault), T(test_idt_codes),
        T(test_ist),       T(test_lar),         T(test_expand_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
