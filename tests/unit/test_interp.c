/*
 * The interpreter end to end on a bare processor: modes, the faults and flags of paging, code that changes itself, page
 * crossings, segment limits, windows, the local APIC's page, requests, and several processors.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "event/loop.h"
#include "mem/code.h"
#include "vcpu.h"

#define RAM    MiB(8)
#define PTE_P  1ull
#define PTE_RW 2ull
#define PTE_US 4ull
#define PTE_A  0x20ull
#define PTE_D  0x40ull
#define PTE_PS 0x80ull
#define PTE_NX BIT64(63)

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

#define RUN(v, name) vcpu_run(v, 0, name, name##_end)

GUEST64(sum64, "xor %eax, %eax\n mov $1000, %ecx\n 1: add %ecx, %eax\n dec %ecx\n jnz 1b" STOP_EAX)
GUEST32(sum32, "xor %eax, %eax\n mov $1000, %ecx\n 1: add %ecx, %eax\n dec %ecx\n jnz 1b" STOP_EAX)
GUEST16(sum16, "xor %eax, %eax\n mov $1000, %ecx\n 1: add %ecx, %eax\n dec %ecx\n jnz 1b" STOP_EAX)

static void test_modes(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(RUN(v, sum64), 500500);
    vcpu_mode(v, 0, VCPU_REAL);
    assert_int_equal(RUN(v, sum16), 500500);
    for (enum vcpu_mode m = VCPU_32; m <= VCPU_PAE; m++) {
        vcpu_mode(v, 0, m);
        assert_int_equal(RUN(v, sum32), 500500);
    }
    vcpu_mode(v, 0, VCPU_64);
    vcpu_user(v, 0);
    assert_int_equal(RUN(v, sum64), 500500);
}

GUEST64(touch, "mov (%rbx), %al\n" STOP)
GUEST64(poke, "mov %rdx, (%rbx)\n" STOP)
GUEST64(enter, "jmp *%rbx")
GUEST32(touch32, "mov (%ebx), %al\n" STOP)
GUEST32(poke32, "mov %edx, (%ebx)\n" STOP)

/* The error code lies on top of the handler's stack. */
static void expect_fault(struct vm *v, u32 got, u64 cr2, u32 code)
{
    struct cpu *c = v->cpu[0];
    assert_int_equal(got, EXC_PF);
    assert_int_equal(c->cr2, cr2);
    assert_int_equal(get_u32(v->ram + c->gpr[R_SP]), code);
}

#define OK_VALUE 0x77

static void prepare(struct vm *v, enum vcpu_mode m, bool user, u64 address, u64 pte)
{
    vcpu_mode(v, 0, m);
    if (user)
        vcpu_user(v, 0);
    v->cpu[0]->gpr[R_BX] = address;
    v->ram[address] = OK_VALUE;
    memcpy(vcpu_pte(v, m, address), &pte, m == VCPU_32_PAGED ? 4 : 8);
}

static void test_fault_codes(void **state)
{
    struct vm *v = *state;
    const u64 at = 0x50000;
    prepare(v, VCPU_64, false, at, at | PTE_RW);
    expect_fault(v, RUN(v, touch), at, 0);
    prepare(v, VCPU_64, false, at, 0);
    expect_fault(v, RUN(v, poke), at, 2);
    prepare(v, VCPU_64, false, at, at | PTE_P);
    expect_fault(v, RUN(v, poke), at, 3);
    v->cpu[0]->cr0 &= ~CR0_WP;
    prepare(v, VCPU_64, false, at, at | PTE_P);
    v->cpu[0]->cr0 &= ~CR0_WP;
    assert_int_not_equal(RUN(v, poke), EXC_PF);
    prepare(v, VCPU_64, true, at, at | PTE_P | PTE_RW);
    expect_fault(v, RUN(v, touch), at, 5);
    prepare(v, VCPU_64, true, at, at | PTE_P | PTE_US);
    expect_fault(v, RUN(v, poke), at, 7);
    prepare(v, VCPU_64, true, at, at | PTE_P | PTE_US | PTE_NX);
    expect_fault(v, RUN(v, enter), at, 0x15);
    prepare(v, VCPU_64, true, at, at | PTE_P | PTE_US | PTE_NX);
    assert_int_equal(RUN(v, touch), OK_VALUE);
    prepare(v, VCPU_64, false, at, at | PTE_P | BIT64(45));
    expect_fault(v, RUN(v, touch), at, 9);
    prepare(v, VCPU_64, false, at, at | PTE_P | PTE_NX);
    v->cpu[0]->efer &= ~EFER_NX;
    expect_fault(v, RUN(v, touch), at, 9);
    prepare(v, VCPU_64, false, at, at | PTE_P | PTE_US);
    v->cpu[0]->cr4 |= CR4_SMEP;
    /* The test's own code must be a supervisor page then. */
    *(u64 *)vcpu_pte(v, VCPU_64, AT_CODE) &= ~PTE_US;
    *(u64 *)vcpu_pte(v, VCPU_64, AT_STUBS) &= ~PTE_US;
    expect_fault(v, RUN(v, enter), at, 0x11);
}

static void test_smap(void **state)
{
    struct vm *v = *state;
    const u64 at = 0x50000, pte = at | PTE_P | PTE_US | PTE_RW;
    for (unsigned ac = 0; ac < 2; ac++) {
        prepare(v, VCPU_64, false, at, pte);
        for (u64 p = 0; p < 0x10000; p += 0x1000)
            *(u64 *)vcpu_pte(v, VCPU_64, p) &= ~PTE_US;
        v->cpu[0]->cr4 |= CR4_SMAP;
        v->cpu[0]->rflags |= ac ? RF_AC : 0;
        cpu_derive(v->cpu[0]);
        u32 got = RUN(v, touch);
        if (ac)
            assert_int_equal(got, OK_VALUE);
        else
            expect_fault(v, got, at, 1);
    }
}

static void test_accessed_and_dirty(void **state)
{
    struct vm *v = *state;
    const u64 at = 0x50000;
    static const enum vcpu_mode modes[] = {VCPU_32_PAGED, VCPU_PAE, VCPU_64};
    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        enum vcpu_mode m = modes[n];
        u64 size = m == VCPU_32_PAGED ? ~0u : ~0ull;
        prepare(v, m, false, at, at | PTE_P | PTE_RW);
        assert_int_equal(m == VCPU_64 ? RUN(v, touch) : RUN(v, touch32), OK_VALUE);
        assert_true((*(u64 *)vcpu_pte(v, m, at) & size) == (at | PTE_P | PTE_RW | PTE_A));
        prepare(v, m, false, at, at | PTE_P | PTE_RW);
        assert_int_not_equal(m == VCPU_64 ? RUN(v, poke) : RUN(v, poke32), EXC_PF);
        assert_true((*(u64 *)vcpu_pte(v, m, at) & size) == (at | PTE_P | PTE_RW | PTE_A | PTE_D));
        /* Not if it faults. */
        prepare(v, m, false, at, at | PTE_P);
        assert_int_equal(m == VCPU_64 ? RUN(v, poke) : RUN(v, poke32), EXC_PF);
        assert_true((*(u64 *)vcpu_pte(v, m, at) & size) == (at | PTE_P));
    }
    /* The tables above: code and stack have set A there. */
    assert_true(get_u64(v->ram + AT_TABLES) & PTE_A);
    assert_true(get_u64(v->ram + AT_TABLES + 0x2000) & PTE_A);
    assert_false(get_u64(v->ram + AT_TABLES + 0x2000) & PTE_D);
}

/* First a read, which gives the page a tag without D; then a write must still set it. */
GUEST64(read_then_write, "mov (%rbx), %al\n mov (%rbx), %al\n mov %al, (%rbx)" STOP)

static void test_dirty_after_read(void **state)
{
    struct vm *v = *state;
    prepare(v, VCPU_64, false, 0x50000, 0x50000 | PTE_P | PTE_RW);
    assert_int_equal(RUN(v, read_then_write), OK_VALUE);
    assert_true(*(u64 *)vcpu_pte(v, VCPU_64, 0x50000) & PTE_D);
}

GUEST64(remap, "mov (%rbx), %al\n mov %rdx, (%rdi)\n invlpg (%rbx)\n mov (%rbx), %al" STOP)

static void test_invlpg(void **state)
{
    struct vm *v = *state;
    prepare(v, VCPU_64, false, 0x50000, 0x50000 | PTE_P);
    v->ram[0x51000] = 0x33;
    v->cpu[0]->gpr[R_DX] = 0x51000 | PTE_P;
    v->cpu[0]->gpr[R_DI] = (u64)((u8 *)vcpu_pte(v, VCPU_64, 0x50000) - v->ram);
    assert_int_equal(RUN(v, remap), 0x33);
}

static void test_large_pages(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    /* A 2 MiB page at 4 MiB to 4 MiB, changed to 2 MiB: INVLPG of another address in it must do. */
    vcpu_mode(v, 0, VCPU_64);
    u8 *pde = v->ram + AT_TABLES + 0x2000 + 16;
    put_u64(pde, MiB(4) | PTE_P | PTE_RW | PTE_PS);
    v->ram[MiB(4) + 0x12345] = 1;
    v->ram[MiB(6) + 0x12345] = 2;
    c->gpr[R_BX] = MiB(4) + 0x12345;
    assert_int_equal(RUN(v, touch), 1);
    put_u64(pde, MiB(6) | PTE_P | PTE_RW | PTE_PS);
    mmu_flush_page(c, MiB(4) + 0x100000);
    assert_int_equal(RUN(v, touch), 2);
    put_u64(pde, MiB(6) | PTE_P | PTE_RW | PTE_PS | BIT64(13));
    mmu_flush_all(c);
    expect_fault(v, RUN(v, touch), c->gpr[R_BX], 9);
    /* 1 GiB: itself at 1 GiB. */
    vcpu_mode(v, 0, VCPU_64);
    put_u64(v->ram + AT_TABLES + 0x1008, PTE_P | PTE_PS);
    c->gpr[R_BX] = GiB(1) + MiB(6) + 0x12345;
    assert_int_equal(RUN(v, touch), 2);
    /* 4 MiB by PSE, with an address above 4 GiB by PSE-36. */
    vcpu_mode(v, 0, VCPU_32_PAGED);
    put_u32(v->ram + AT_TABLES + 4 * 2, MiB(4) | PTE_P | PTE_PS);
    c->gpr[R_BX] = MiB(8) + 0x12345;
    assert_int_equal(RUN(v, touch32), 1);
    put_u32(v->ram + AT_TABLES + 4 * 2, MiB(4) | 1 << 13 | PTE_P | PTE_PS);
    mmu_flush_all(c);
    assert_int_equal(RUN(v, touch32), 0xff);
    put_u32(v->ram + AT_TABLES + 4 * 2, MiB(4) | 1 << 21 | PTE_P | PTE_PS);
    mmu_flush_all(c);
    expect_fault(v, RUN(v, touch32), c->gpr[R_BX], 9);
}

static void test_pae_pdptes(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_PAE);
    u8 *pdpt = v->ram + AT_TABLES + 0x1000;
    put_u64(pdpt + 8, 2); /* not present: anything goes */
    assert_true(mmu_load_pdptes(c, c->cr3));
    put_u64(pdpt + 8, 3);
    assert_false(mmu_load_pdptes(c, c->cr3));
    put_u64(pdpt + 8, 1 | BIT64(50));
    assert_false(mmu_load_pdptes(c, c->cr3));
    put_u64(pdpt + 8, 1 | BIT64(63));
    assert_false(mmu_load_pdptes(c, c->cr3));
    c->gpr[R_BX] = GiB(1);
    expect_fault(v, RUN(v, touch32), GiB(1), 0);
    /* The registers count, not memory. */
    put_u64(pdpt, 0);
    v->ram[0x50000] = OK_VALUE;
    c->gpr[R_BX] = 0x50000;
    mmu_flush_all(c);
    assert_int_equal(RUN(v, touch32), OK_VALUE);
}

GUEST64(noncanonical_ss, "mov $0x800000000000, %rbp\n mov (%rbp), %al" STOP)

static void test_canonical(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_64);
    v->cpu[0]->gpr[R_BX] = 0x800000000000;
    assert_int_equal(RUN(v, touch), EXC_GP);
    vcpu_mode(v, 0, VCPU_64);
    v->cpu[0]->gpr[R_BX] = 0xffff7fffffffffff;
    assert_int_equal(RUN(v, poke), EXC_GP);
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(RUN(v, noncanonical_ss), EXC_SS);
}

/* The store crosses into a page that may not be written. */
static void test_crossing(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    const u64 at = 0x50ffc;
    prepare(v, VCPU_64, false, 0x51000, 0x51000 | PTE_P);
    u64 *first = vcpu_pte(v, VCPU_64, 0x50000);
    c->gpr[R_BX] = at;
    c->gpr[R_DX] = 0x1122334455667788;
    put_u64(v->ram + at, 0);
    expect_fault(v, RUN(v, poke), 0x51000, 3);
    assert_true(get_u64(v->ram + at) == 0);
    assert_false(*first & PTE_D);
    /* Both absent: the first is reported. */
    prepare(v, VCPU_64, false, 0x51000, 0);
    *(u64 *)vcpu_pte(v, VCPU_64, 0x50000) = 0;
    c->gpr[R_BX] = at;
    expect_fault(v, RUN(v, poke), at, 2);
    /* Pages that are not neighbours. */
    prepare(v, VCPU_64, false, 0x51000, 0x60000 | PTE_P | PTE_RW);
    c->gpr[R_BX] = at;
    c->gpr[R_DX] = 0x1122334455667788;
    RUN(v, poke);
    assert_int_equal(get_u32(v->ram + at), 0x55667788);
    assert_int_equal(get_u32(v->ram + 0x60000), 0x11223344);
    assert_true(*(u64 *)vcpu_pte(v, VCPU_64, 0x51000) & PTE_D);
    assert_int_equal(RUN(v, touch), 0x88);
}

/* An instruction of five bytes at the end of a page, in a loop, with its second half replaced between two rounds. */
GUEST64(crossing_code, "mov $0x2ffd, %rbx\n movb $0xb8, (%rbx)\n movl $1, 1(%rbx)\n movl $0xc3, 5(%rbx)\n"
                       "xor %esi, %esi\n mov $100, %ecx\n"
                       "1: call *%rbx\n add %eax, %esi\n incb 3(%rbx)\n dec %ecx\n jnz 1b\n mov %esi, %eax" STOP_EAX)

static void test_crossing_instruction(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_64);
    /* mov $1 + (n << 16), %eax for n from 0 to 99. The GDT behind it is not needed. */
    assert_int_equal(RUN(v, crossing_code), 100 + (4950u << 16));
    /* Its second page goes away: the fault is for that page, the return address is the instruction. */
    vcpu_mode(v, 0, VCPU_64);
    static const u8 mov[] = {0xb8, 1, 2, 3, 4};
    memcpy(v->ram + 0x52ffd, mov, sizeof(mov));
    *(u64 *)vcpu_pte(v, VCPU_64, 0x53000) = 0;
    v->cpu[0]->gpr[R_BX] = 0x52ffd;
    expect_fault(v, RUN(v, enter), 0x53000, 0x10);
    assert_int_equal(get_u64(v->ram + v->cpu[0]->gpr[R_SP] + 8), 0x52ffd);
    /* One that ends with the page does not touch the next. */
    vcpu_mode(v, 0, VCPU_64);
    v->ram[0x52fff] = 0xc3;
    *(u64 *)vcpu_pte(v, VCPU_64, 0x53000) = 0;
    v->cpu[0]->gpr[R_BX] = 0x52fff;
    v->cpu[0]->gpr[R_SP] -= 8;
    put_u64(v->ram + v->cpu[0]->gpr[R_SP], AT_STUBS + 16 * 31);
    assert_int_equal(RUN(v, enter), 31);
}

/* The store changes the very next instruction, which is in the same block. */
GUEST64(next_changed,
        "lea 1f(%rip), %rbx\n mov $5, %ecx\n xor %esi, %esi\n"
        "2: movb %cl, 1(%rbx)\n 1: mov $0x40, %al\n movzbl %al, %eax\n add %eax, %esi\n dec %ecx\n jnz 2b\n"
        "mov %esi, %eax" STOP_EAX)
/* Data in the same page as the code, written in a loop: becomes fast, stays right. */
GUEST64(data_near_code, "lea 1f(%rip), %rbx\n mov $10000, %ecx\n 2: incl (%rbx)\n dec %ecx\n jnz 2b\n"
                        "mov (%rbx), %eax" STOP_EAX "\n .balign 64\n 1: .long 0")

static void test_self_modifying(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(RUN(v, next_changed), 15);
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(RUN(v, data_near_code), 10000);
    for (unsigned n = 0; n < 20; n++) {
        vcpu_mode(v, 0, VCPU_64);
        assert_int_equal(RUN(v, n & 1 ? next_changed : sum64) && 1, 1);
    }
}

/* Code at 0x50000 as a function, rewritten through another mapping and called again. */
GUEST64(alias, "mov $0x50000, %ebx\n mov $0x51000, %edx\n movl $0xc301b0, (%rdx)\n xor %esi, %esi\n mov $200, %ecx\n"
               "1: call *%rbx\n movzbl %al, %eax\n add %eax, %esi\n xorb $3, 1(%rdx)\n dec %ecx\n jnz 1b\n mov %esi, "
               "%eax" STOP_EAX)

static void test_aliased_code(void **state)
{
    struct vm *v = *state;
    prepare(v, VCPU_64, false, 0x51000, 0x50000 | PTE_P | PTE_RW);
    assert_int_equal(RUN(v, alias), 300);
}

/* A page of code that is filled with data: the marks go, and code put there later is seen. */
GUEST64(
    page_reuse,
    "mov $3, %r8d\n xor %esi, %esi\n 3: mov $0x50000, %ebx\n movl $0xc301b0, (%rbx)\n call *%rbx\n movzbl %al, %eax\n"
    "add %eax, %esi\n mov $4096, %ecx\n mov %rbx, %rdi\n 1: movb $0x90, (%rdi)\n inc %rdi\n dec %ecx\n jnz 1b\n"
    "dec %r8d\n jnz 3b\n mov %esi, %eax" STOP_EAX)

static void test_page_reuse(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_64);
    u64 unmarks = v->cpu[0]->tlb->stats.code_unmarks;
    assert_int_equal(RUN(v, page_reuse), 3);
    assert_int_equal(mem_space_ram(v->mem)->pages[0x50].code, 0);
    assert_true(v->cpu[0]->tlb->stats.code_unmarks > unmarks);
}

GUEST16(limit16, "mov $0xfffe, %bx\n jmp *%bx")

static void test_segment_limit(void **state)
{
    struct vm *v = *state;
    /* Two bytes fit; the next instruction would begin at 10000h. */
    vcpu_mode(v, 0, VCPU_REAL);
    v->ram[0xfffe] = v->ram[0xffff] = 0x90;
    assert_int_equal(RUN(v, limit16), EXC_GP);
    /* And one that does not fit. */
    vcpu_mode(v, 0, VCPU_REAL);
    v->ram[0xfffe] = 0xb8;
    assert_int_equal(RUN(v, limit16), EXC_GP);
    /* A block decoded under a large limit, then met under a small one. */
    vcpu_mode(v, 0, VCPU_32);
    assert_int_equal(RUN(v, sum32), 500500);
    v->cpu[0]->seg[SEG_CS].limit = AT_CODE + 3;
    v->cpu[0]->gpr[R_SP] = AT_STACK;
    v->cpu[0]->idtr[0].limit = 0; /* no handler: the fault ends in a shutdown */
    cpu_derive(v->cpu[0]);
    assert_int_equal(RUN(v, sum32), ~0u);
}

/* Real mode: IP wraps for a jump with a 16-bit operand. */
GUEST16(wrap16, "mov $3, %cx\n .byte 0xe9\n .word 0xf000 - 6 - 0x1000")

static void test_ip_wrap(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_REAL);
    static const u8 back[] = {0xe9, 0xfd, 0x2f}; /* at F000h: to 2000h */
    static const u8 stop[] = {0xb0, 0x42, 0xe6, STOP_PORT};
    memcpy(v->ram + 0xf000, back, sizeof(back));
    memcpy(v->ram + 0x2000, stop, sizeof(stop));
    assert_int_equal(RUN(v, wrap16), 0x42);
}

struct device {
    struct mem_window w;
    u64 value, off;
    unsigned size, count;
};

static u64 device_read(void *opaque, u64 off, unsigned size)
{
    struct device *d = opaque;
    d->off = off;
    d->size = size;
    d->count++;
    return 0x1122334455667788;
}

static void device_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct device *d = opaque;
    d->off = off;
    d->size = size;
    d->value = value;
    d->count++;
}

static const struct mem_window_ops device_ops = {.read = device_read, .write = device_write};

GUEST64(mmio, "mov (%rbx), %rax\n mov %ax, 6(%rbx)\n addl $1, 0x10(%rbx)\n movl %eax, 0x20(%rbx)\n movl %eax, "
              "0x20(%rbx)" STOP_EAX)

static void test_window(void **state)
{
    struct vm *v = *state;
    struct device d = {.w = {.ops = &device_ops, .name = "device", .size = 0x800}};
    d.w.opaque = &d;
    vcpu_mode(v, 0, VCPU_64);
    loop_lock(v->loop);
    assert_int_equal(mem_window_map(v->mem, &d.w, 0x50000), 0);
    loop_unlock(v->loop);
    v->cpu[0]->gpr[R_BX] = 0x50000;
    assert_int_equal(RUN(v, mmio), 0x55667788);
    assert_int_equal(d.count, 6);
    assert_int_equal(d.off, 0x20);
    assert_int_equal(d.size, 4);
    /* Moved away: RAM shows, and the processor has heard of it. */
    loop_lock(v->loop);
    mem_window_unmap(v->mem, &d.w);
    loop_unlock(v->loop);
    assert_true(v->cpu[0]->request & REQ_TLB);
    v->ram[0x50000] = 9;
    assert_int_equal(RUN(v, touch), 9);
    assert_int_equal(d.count, 6);
}

static u32 apic_mmio_read(void *apic, u32 off)
{
    return off + 1;
}

static void apic_mmio_write(void *apic, u32 off, u32 value)
{
    *(u32 *)apic = off + value;
}

GUEST64(apic, "mov $0xfee00000, %ebx\n movl $5, 0xb0(%rbx)\n movb $5, 0xc0(%rbx)\n mov 0x20(%rbx), %eax\n add "
              "0x30(%rbx), %al" STOP_EAX)

static void test_apic_page(void **state)
{
    struct vm *v = *state;
    static const struct apic_ops ops = {.mmio_read = apic_mmio_read, .mmio_write = apic_mmio_write};
    u32 written = 0;
    vcpu_mode(v, 0, VCPU_64);
    put_u64(v->ram + AT_TABLES + 0x1018, 0xc0000000 | PTE_P | PTE_RW | PTE_PS);
    cpu_connect_apic(v->cpu[0], &ops, &written);
    v->cpu[0]->apic_base = 0xfee00900;
    assert_int_equal(RUN(v, apic), 0x21 + 0x31);
    assert_int_equal(written, 0xb5);
    cpu_connect_apic(v->cpu[0], NULL, NULL);
    v->cpu[0]->apic_base = 0;
}

static void test_a20(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_32);
    v->ram[0x50000] = 1;
    v->ram[0x150000] = 2;
    v->cpu[0]->gpr[R_BX] = 0x150000;
    assert_int_equal(RUN(v, touch32), 2);
    mem_a20_set(v->mem, false);
    assert_int_equal(RUN(v, touch32), 1);
    mem_a20_set(v->mem, true);
    assert_int_equal(RUN(v, touch32), 2);
}

/* MOV to CR3 with a PCID keeps translations if asked to, and INVPCID drops them. */
static void test_pcid(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_64);
    c->cr4 |= CR4_PCIDE;
    c->cr3 |= 1;
    mmu_flush_all(c);
    u64 first = c->tlb->asid;
    c->cr3 ^= 3;
    mmu_cr3_loaded(c, true);
    assert_int_not_equal(c->tlb->asid, first);
    c->cr3 ^= 3;
    mmu_cr3_loaded(c, true);
    assert_int_equal(c->tlb->asid, first);
    mmu_cr3_loaded(c, false);
    assert_int_not_equal(c->tlb->asid, first);
    u64 now = c->tlb->asid;
    mmu_invpcid(c, MMU_INVPCID_SINGLE, 2, 0);
    assert_int_equal(c->tlb->asid, now);
    mmu_invpcid(c, MMU_INVPCID_SINGLE, 1, 0);
    assert_int_not_equal(c->tlb->asid, now);
    /* Numbers run out: nothing old may match. */
    v->ram[0x50000] = OK_VALUE;
    c->gpr[R_BX] = 0x50000;
    for (unsigned n = 0; n < 10000; n++) {
        mmu_cr3_loaded(c, false);
        assert_true(c->tlb->asid < 0xfff);
    }
    assert_int_equal(RUN(v, touch), OK_VALUE);
}

GUEST64(unaligned, "mov 1(%rbx), %ax" STOP)

static void test_alignment_check(void **state)
{
    struct vm *v = *state;
    for (unsigned on = 0; on < 2; on++) {
        vcpu_mode(v, 0, VCPU_64);
        vcpu_user(v, 0);
        v->cpu[0]->cr0 |= CR0_AM;
        v->cpu[0]->rflags |= on ? RF_AC : 0;
        cpu_derive(v->cpu[0]);
        v->cpu[0]->gpr[R_BX] = 0x50000;
        put_u16(v->ram + 0x50001, OK_VALUE);
        assert_int_equal(RUN(v, unaligned), on ? EXC_AC : OK_VALUE);
    }
}

GUEST64(watched, "movb $1, (%rbx)\n movb $2, 8(%rbx)\n movb $3, 4(%rbx)\n movb $4, 5(%rbx)" STOP)

static void test_data_breakpoint(void **state)
{
    struct vm *v = *state;
    struct cpu *c = v->cpu[0];
    vcpu_mode(v, 0, VCPU_64);
    c->dr[1] = 0x50004;
    c->dr[7] = 0x400 | 1 << 3 | 1 << 20 | 0 << 22; /* DR1, global, write, one byte */
    memset(v->ram + 0x50000, 0, 16);
    c->gpr[R_BX] = 0x50000;
    mmu_flush_all(c);
    cpu_request(c, REQ_DEBUG);
    assert_int_equal(RUN(v, watched), EXC_DB);
    assert_int_equal(c->dr[6] & 15, 2);
    assert_int_equal(v->ram[0x50004], 3); /* a trap: the store is done */
    assert_int_equal(v->ram[0x50005], 0);
}

GUEST64(spin, "1: jmp 1b")

static void *stop_later(void *arg)
{
    usleep(20000);
    cpu_request(arg, REQ_STOP);
    return NULL;
}

static void test_endless_loop(void **state)
{
    struct vm *v = *state;
    pthread_t t;
    vcpu_mode(v, 0, VCPU_64);
    pthread_create(&t, NULL, stop_later, v->cpu[0]);
    RUN(v, spin);
    assert_int_equal(v->cpu[0]->gpr[REG_RIP], AT_CODE);
    pthread_join(t, NULL);
}

GUEST64(undefined, "nop\n nop\n ud2")
GUEST64(too_long,
        ".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90")

static void test_decode_faults(void **state)
{
    struct vm *v = *state;
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(RUN(v, undefined), EXC_UD);
    assert_int_equal(get_u64(v->ram + v->cpu[0]->gpr[R_SP]), AT_CODE + 2);
    vcpu_mode(v, 0, VCPU_64);
    assert_int_equal(RUN(v, too_long), EXC_GP);
}

/* Pseudo-random code in a small cache: what is dropped is decoded again. */
static void test_cache_drop(void **state)
{
    struct vm *v = *state;
    for (unsigned n = 0; n < 3; n++) {
        vcpu_mode(v, 0, VCPU_64);
        engine_find("interp")->flush(v->cpu[0]);
        assert_int_equal(RUN(v, sum64), 500500);
    }
}

/* Two processors: locked and exclusive increments, and stopping by the port. */
GUEST64(count_locked,
        "mov $20000, %ecx\n 1: lock incl 0xa000\n lock incl 0xaffe\n dec %ecx\n jnz 1b\n lock incl 0xa010\n"
        "2: pause\n cmpl $2, 0xa010\n jne 2b" STOP)
/* One waits for its code to be changed by the other. */
GUEST64(wait_for_code, "test %edi, %edi\n jnz 3f\n 1: mov $0xb, %eax\n cmp $0xb, %eax\n je 1b" STOP_EAX
                       "\n 3: mov $200000, %ecx\n 4: dec %ecx\n jnz 4b\n movb $0xc, 1b + 1(%rip)\n 5: pause\n jmp 5b")

struct runner {
    struct vm *v;
    unsigned n;
};

static void *run_thread(void *arg)
{
    struct runner *r = arg;
    vcpu_go(r->v, r->n);
    return NULL;
}

static void run_pair(struct vm *v, const u8 *code, const u8 *end)
{
    pthread_t t[2];
    struct runner r[2] = {{v, 0}, {v, 1}};
    for (unsigned n = 0; n < 2; n++)
        vcpu_mode(v, n, VCPU_64);
    v->cpu[1]->gpr[R_DI] = 1;
    memset(v->ram + 0xa000, 0, 0x2000);
    mem_write(v->mem, AT_CODE, code, (u64)(end - code));
    for (unsigned n = 0; n < 2; n++)
        assert_int_equal(pthread_create(&t[n], NULL, run_thread, &r[n]), 0);
    for (unsigned n = 0; n < 2; n++)
        pthread_join(t[n], NULL);
}

static int setup_pair(void **state)
{
    static struct vm v;
    *state = &v;
    return vm_create(&v, RAM, 2);
}

static void test_locks(void **state)
{
    struct vm *v = *state;
    run_pair(v, count_locked, count_locked_end);
    assert_int_equal(get_u32(v->ram + 0xa000), 40000);
    assert_int_equal(get_u32(v->ram + 0xaffe), 40000);
}

static void test_changed_by_another(void **state)
{
    struct vm *v = *state;
    for (unsigned n = 0; n < 5; n++) {
        run_pair(v, wait_for_code, wait_for_code_end);
        assert_int_equal(v->code, 0xc);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_modes),
        T(test_fault_codes),
        T(test_smap),
        T(test_accessed_and_dirty),
        T(test_dirty_after_read),
        T(test_invlpg),
        T(test_large_pages),
        T(test_pae_pdptes),
        T(test_canonical),
        T(test_crossing),
        T(test_crossing_instruction),
        T(test_self_modifying),
        T(test_aliased_code),
        T(test_page_reuse),
        T(test_segment_limit),
        T(test_ip_wrap),
        T(test_window),
        T(test_apic_page),
        T(test_a20),
        T(test_pcid),
        T(test_alignment_check),
        T(test_data_breakpoint),
        T(test_endless_loop),
        T(test_decode_faults),
        T(test_cache_drop),
        cmocka_unit_test_setup_teardown(test_locks, setup_pair, teardown),
        cmocka_unit_test_setup_teardown(test_changed_by_another, setup_pair, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
