/*
 * What stands between instructions: single-step, breakpoints, interrupt shadows, NMI, interrupts; fast system calls.
 * cpu/intr.c, debug.c, deliver.c, syscall.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/access.h"
#include "cpu/debug.h"
#include "cpu/intr.h"
#include "vcpu.h"

#define RAM          MiB(4)
#define RUN(v, name) vcpu_run(v, 0, name, name##_end)
#define AT_HANDLER   0x2000
#define AT_LOG       0xa000

static void put_handler(struct vm *v, unsigned vector, const u8 *code, const u8 *end, u32 at)
{
    u8 *gate = v->ram + AT_IDT + 16 * vector;
    mem_write(v->mem, at, code, (u64)(end - code));
    put_u32(gate, (at & 0xffff) | SEL_CODE64 << 16);
    put_u32(gate + 4, 0xee00);
    put_u64(gate + 8, 0);
}

/* Notes RIP and DR6 at R15, which starts as AT_LOG, and goes on with DR6 clear. */
GUEST64(log_db, "push %rax\n mov 8(%rsp), %rax\n mov %rax, (%r15)\n mov %dr6, %rax\n mov %rax, 8(%r15)\n xor %eax, "
                "%eax\n mov %rax, %dr6\n"
                " add $16, %r15\n pop %rax\n iretq")
/* The same, with RF set for the way back. */
GUEST64(log_db_rf, "push %rax\n mov 8(%rsp), %rax\n mov %rax, (%r15)\n mov %dr6, %rax\n mov %rax, 8(%r15)\n xor %eax, "
                   "%eax\n mov %rax, %dr6\n"
                   " add $16, %r15\n orl $0x10000, 24(%rsp)\n pop %rax\n iretq")

static struct cpu *begin(struct vm *v)
{
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_64);
    put_handler(v, EXC_DB, log_db, log_db_end, AT_HANDLER);
    memset(v->ram + AT_LOG, 0, 0x400);
    c->gpr[15] = AT_LOG;
    return c;
}

static void check_log(struct vm *v, const u32 (*want)[2], unsigned count)
{
    assert_int_equal(v->cpu[0]->gpr[15], AT_LOG + 16 * count);
    for (unsigned n = 0; n < count; n++) {
        assert_int_equal(get_u64(v->ram + AT_LOG + 16 * n), AT_CODE + want[n][0]);
        assert_int_equal(get_u64(v->ram + AT_LOG + 16 * n + 8) & 0xe00f, want[n][1]);
    }
}

/* TF works from the instruction after POPF to the POPF that clears it. */
GUEST64(step,
        "pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n rep movsb\n pushfq\n andl $~0x100, (%rsp)\n popfq\n nop" STOP)

static void test_single_step(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    c->gpr[R_CX] = 2;
    c->gpr[R_SI] = c->gpr[R_DI] = 0x8000;
    (void)RUN(v, step);
    /* nop at 9, rep movsb at 10 twice, pushfq at 12, andl at 13 (7 bytes), popfq at 20. */
    static const u32 want[][2] = {{10, 0x4000}, {10, 0x4000}, {12, 0x4000}, {13, 0x4000}, {20, 0x4000}, {21, 0x4000}};
    check_log(v, want, ARRAY_SIZE(want));
}

/* MOV SS puts the trap off by one instruction; INT n is entered without one. */
GUEST64(step_ss, "mov %ss, %eax\n pushfq\n orl $0x100, (%rsp)\n popfq\n mov %eax, %ss\n nop\n int $0x41\n pushfq\n "
                 "andl $~0x100, (%rsp)\n"
                 " popfq" STOP)
GUEST64(just_return, "iretq")

static void test_step_shadow(void **state)
{
    struct vm *v = *state;
    (void)begin(v);
    put_handler(v, 0x41, just_return, just_return_end, 0x2800);
    (void)RUN(v, step_ss);
    /* mov ss at 11, nop at 13, int at 14, pushfq at 16, andl at 17, popfq at 24. */
    static const u32 want[][2] = {{14, 0x4000}, {17, 0x4000}, {24, 0x4000}, {25, 0x4000}};
    check_log(v, want, ARRAY_SIZE(want));
}

GUEST64(three_nops, "nop\n nop\n nop" STOP)
GUEST64(rep_stos, "nop\n rep stosb\n nop" STOP)

static void test_instruction_breakpoint(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    put_handler(v, EXC_DB, log_db_rf, log_db_rf_end, AT_HANDLER);
    c->dr[1] = AT_CODE + 1;
    c->dr[7] |= 1 << 3;
    cpu_derive(c);
    (void)RUN(v, three_nops);
    static const u32 want[][2] = {{1, 2}};
    check_log(v, want, 1);
    /* Once for a repeated instruction, not for each iteration. */
    c = begin(v);
    put_handler(v, EXC_DB, log_db_rf, log_db_rf_end, AT_HANDLER);
    c->dr[1] = AT_CODE + 1;
    c->dr[7] |= 1 << 3;
    cpu_derive(c);
    c->gpr[R_CX] = 5;
    c->gpr[R_DI] = 0x8000;
    (void)RUN(v, rep_stos);
    assert_int_equal(c->gpr[R_CX], 0);
    check_log(v, want, 1);
}

GUEST64(write_byte, "movb $1, (%rbx)\n nop" STOP)
GUEST64(ss_watch_int1, "mov (%rbx), %ss\n .byte 0xf1\n nop" STOP)

static void test_data_traps(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    c->dr[0] = c->gpr[R_BX] = 0x8000;
    c->dr[7] |= 1 | 1 << 16;
    mmu_flush_all(c);
    (void)RUN(v, write_byte);
    static const u32 one[][2] = {{3, 1}};
    check_log(v, one, 1);
    /* Held back by MOV SS, it comes with INT1 as one exception. */
    c = begin(v);
    put_u16(v->ram + 0x8000, SEL_DATA);
    c->dr[0] = c->gpr[R_BX] = 0x8000;
    c->dr[7] |= 1 | 3 << 16 | 1 << 18;
    mmu_flush_all(c);
    (void)RUN(v, ss_watch_int1);
    check_log(v, one, 1);
}

GUEST64(touch_dr, "mov %dr0, %rax\n nop" STOP)

static void test_general_detect(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    c->dr[7] |= DR7_GD;
    (void)RUN(v, touch_dr);
    static const u32 want[][2] = {{0, 0x2000}};
    check_log(v, want, 1);
    assert_int_equal(c->dr[7] & DR7_GD, 0);
}

/* An interrupt controller with one vector. */
static int pending_vector = -1;

static int fake_accept(void *apic)
{
    struct cpu *c = apic;
    int vector = pending_vector;
    pending_vector = -1;
    c->intr_line = false;
    return vector;
}
static u8 fake_get_cr8(void *apic)
{
    return 0;
}
static void fake_set_cr8(void *apic, u8 value)
{
}
static int fake_msr_read(void *apic, u32 msr, u64 *value)
{
    *value = 0;
    return 0;
}
static int fake_msr_write(void *apic, u32 msr, u64 value)
{
    return 0;
}
static void fake_reset(void *apic, bool cold)
{
}
static const struct apic_ops fake_apic = {.accept = fake_accept,
                                          .get_cr8 = fake_get_cr8,
                                          .set_cr8 = fake_set_cr8,
                                          .msr_read = fake_msr_read,
                                          .msr_write = fake_msr_write,
                                          .reset = fake_reset};

/* The handler notes where it came from, and goes on. */
GUEST64(log_rip, "mov (%rsp), %r14\n inc %r13\n iretq")
GUEST64(sti_shadow, "sti\n nop\n nop\n cli" STOP)
GUEST64(popf_window, "sti\n nop\n nop\n nop\n cli\n mov $0x50, %al\n out %al, $0xf4\n pushq $0x202\n popfq\n cli" STOP)
GUEST64(sti_hlt, "sti\n hlt\n nop\n cli" STOP)

static void test_sti_shadow(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    const struct apic_cpu_ops *wires = cpu_connect_apic(c, &fake_apic, c);
    put_handler(v, 0x50, log_rip, log_rip_end, 0x2800);
    pending_vector = 0x50;
    wires->set_intr(c, true);
    (void)RUN(v, sti_shadow);
    assert_int_equal(c->gpr[14], AT_CODE + 2);
    c = begin(v);
    put_handler(v, 0x50, log_rip, log_rip_end, 0x2800);
    c->gpr[13] = 0;
    pending_vector = 0x50;
    wires->set_intr(c, true);
    (void)RUN(v, sti_hlt);
    assert_int_equal(c->gpr[14], AT_CODE + 2);
    assert_int_equal(c->gpr[13], 1);
    /* POPF has no shadow, and what an earlier STI left is over. */
    c = begin(v);
    put_handler(v, 0x50, log_rip, log_rip_end, 0x2800);
    c->gpr[13] = 0;
    assert_int_equal(RUN(v, popf_window), 0x50);
    pending_vector = 0x50;
    wires->set_intr(c, true);
    (void)vcpu_go(v, 0);
    assert_int_equal(c->gpr[13], 1);
    assert_int_equal(c->gpr[14], AT_CODE + 15);
}

/* A second NMI waits for the first handler's IRET. */
GUEST64(nmi_main, "nop\n nop\n nop" STOP)

static void test_nmi(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    const struct apic_cpu_ops *wires = cpu_connect_apic(c, &fake_apic, c);
    put_handler(v, EXC_NMI, log_rip, log_rip_end, 0x2800);
    c->gpr[13] = 0;
    c->nmi_blocked = true;
    wires->nmi(c);
    (void)RUN(v, nmi_main);
    assert_int_equal(c->gpr[13], 0);
    c = begin(v);
    put_handler(v, EXC_NMI, log_rip, log_rip_end, 0x2800);
    c->gpr[13] = 0;
    wires->nmi(c);
    (void)RUN(v, nmi_main);
    assert_int_equal(c->gpr[13], 1);
    assert_false(c->nmi_blocked);
}

/* INIT and SIPI start a processor at the page of the vector. */
GUEST16(real_stop, "mov %cs, %ax\n out %ax, $0xf4")

static void test_init_sipi(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[1];
    const struct apic_cpu_ops *wires = cpu_connect_apic(c, &fake_apic, c);
    vcpu_mode(v, 1, VCPU_64);
    mem_write(v->mem, 0x6000, real_stop, (u64)(real_stop_end - real_stop));
    wires->sipi(c, 0x33); /* before INIT: for nobody */
    wires->init(c);
    wires->sipi(c, 0x06);
    assert_int_equal(vcpu_go(v, 1), 0x600);
    assert_true(cpu_real_mode(c));
}

/* SYSCALL and SYSRET: masks, selectors, and single-step by the new flags. */
GUEST64(do_sysret, "sysretq")
GUEST64(user_syscall, "stc\n syscall")
GUEST64(kernel_entry, "mov %cs, %eax\n mov %ss, %ebx\n pushfq\n pop %rdx" STOP)

static void test_syscall(void **state)
{
    struct vm *v = *state;
    struct cpu *c = begin(v);
    c->efer |= EFER_SCE;
    c->star = (u64)SEL_CODE64 << 32 | (u64)0x1b << 48; /* SYSRET: SS 23h, CS 2bh */
    c->lstar = AT_HANDLER + 0x400;
    c->sfmask = RF_IF | FL_CF;
    mem_write(v->mem, c->lstar, kernel_entry, (u64)(kernel_entry_end - kernel_entry));
    mem_write(v->mem, 0x2800, user_syscall, (u64)(user_syscall_end - user_syscall));
    c->gpr[R_CX] = 0x2800;
    c->gpr[11] = RF_IF | 2;
    (void)RUN(v, do_sysret);
    assert_int_equal(c->gpr[R_AX] & ~0xffull, 0);
    assert_int_equal(c->gpr[R_BX], SEL_DATA);
    assert_int_equal(c->gpr[R_DX] & (RF_IF | FL_CF), 0);
    assert_int_equal(c->gpr[11] & (RF_IF | FL_CF), RF_IF | FL_CF);
    assert_int_equal(c->gpr[R_CX], 0x2800 + 3);
    assert_int_equal(c->cpl, 0);
}

static int setup(void **state)
{
    static struct vm v;
    *state = &v;
    return vm_create(&v, RAM, 2);
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
        T(test_single_step), T(test_step_shadow),    T(test_instruction_breakpoint),
        T(test_data_traps),  T(test_general_detect), T(test_sti_shadow),
        T(test_nmi),         T(test_init_sipi),      T(test_syscall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
