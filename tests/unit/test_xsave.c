/*
 * FXSAVE, the XSAVE family and the control side of the x87: images, headers, #GP rules, errors by #MF and FERR#. What
 * user code on the host cannot show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/fault.h"
#include "cpu/sem/sem.h"
#include "isa/encode.h"
#include "vcpu.h"

#define AREA    0x20000u
#define COMPACT BIT64(63)

static struct vm vm;
static struct cpu *c;

static int setup(void **state)
{
    if (vm_create(&vm, MiB(4), 1))
        return -1;
    vcpu_mode(&vm, 0, VCPU_64);
    c = vm.cpu[0];
    c->cr0 = (c->cr0 | CR0_NE) & ~(CR0_EM | CR0_TS);
    c->cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
    c->xcr0 = 7;
    return 0;
}

static int teardown(void **state)
{
    vm_destroy(&vm);
    return 0;
}

static NOINLINE int run(struct insn i)
{
    if (__builtin_setjmp(c->unwind))
        return c->exc.vector;
    c->cur = &i;
    sem_lookup (&i)(c, &i);
    c->cur = NULL;
    return -1;
}

/* row [rdi] with EDX:EAX = mask. */
static int at(enum isa_row_id row, u64 address, u64 mask)
{
    c->gpr[R_DI] = address;
    c->gpr[R_AX] = (u32)mask;
    c->gpr[R_DX] = mask >> 32;
    return run(insn_mem(row, 0, (struct insn_ea){.base = R_DI, .index = REG_ZERO}, true));
}

static int reg(enum isa_row_id row, u8 rm)
{
    return run(insn_reg(row, 0, rm, false));
}

static u64 area(unsigned offset)
{
    return get_u64(vm.ram + AREA + offset);
}

static void set_area(unsigned offset, u64 v)
{
    put_u64(vm.ram + AREA + offset, v);
}

/* Everything different from its initial state. */
static void fill(void)
{
    c->fcw = 0x27f;
    c->fsw = 0x3800;
    c->ftw = 0x80;
    c->fop = 0x123;
    c->fip = 0x123456789a;
    c->fdp = 0xfedcba9876;
    for (unsigned n = 0; n < 8; n++) {
        c->st[2 * n] = 0x8000000000000000 + n;
        c->st[2 * n + 1] = 0x3fff;
    }
    for (unsigned n = 0; n < 64; n++)
        c->ymm[n] = 0x0101010101010101 * (n + 1);
    c->mxcsr = 0x1fa0;
}

static void init(void)
{
    c->fcw = 0x37f;
    c->fsw = c->ftw = c->fop = 0;
    c->fip = c->fdp = 0;
    memset(c->st, 0, sizeof(c->st));
    memset(c->ymm, 0, sizeof(c->ymm));
    c->mxcsr = 0x1f80;
}

static void test_fxsave(void **state)
{
    struct cpu before;
    fill();
    memset(vm.ram + AREA, 0xee, 512);
    assert_int_equal(at(INSN_FXSAVE64_M, AREA, 0), -1);
    assert_int_equal(area(0), 0x012300803800027f);
    assert_int_equal(area(8), 0x123456789a);
    assert_int_equal(area(16), 0xfedcba9876);
    assert_int_equal(area(24), 0x0000ffff00001fa0);
    assert_int_equal(area(32), 0x8000000000000007); /* ST(0) is physical register 7 */
    assert_int_equal(area(40), 0x3fff);
    assert_int_equal(area(160 + 16 * 15), c->ymm[60]);
    assert_int_equal(area(416), 0xeeeeeeeeeeeeeeee);
    before = *c;
    init();
    assert_int_equal(at(INSN_FXRSTOR64_M, AREA, 0), -1);
    assert_memory_equal(c->st, before.st, sizeof(c->st));
    assert_int_equal(c->fsw, before.fsw);
    assert_int_equal(c->ftw, before.ftw);
    assert_int_equal(c->mxcsr, before.mxcsr);
    assert_int_equal(c->ymm[61], before.ymm[61]);
    set_area(24, 0x10000);
    assert_int_equal(at(INSN_FXRSTOR64_M, AREA, 0), EXC_GP);
    assert_int_equal(at(INSN_FXSAVE64_M, AREA + 8, 0), EXC_GP);
}

static void test_xsave_standard(void **state)
{
    struct cpu before;
    fill();
    memset(vm.ram + AREA, 0, 1024);
    assert_int_equal(at(INSN_XSAVE64_M, AREA, ~0ull), -1);
    assert_int_equal(area(512), 7);
    assert_int_equal(area(520), 0);
    assert_int_equal(area(576), c->ymm[2]);
    assert_int_equal(area(576 + 16 * 15 + 8), c->ymm[63]);
    before = *c;
    init();
    assert_int_equal(at(INSN_XRSTOR64_M, AREA, 7), -1);
    assert_memory_equal(c->ymm, before.ymm, sizeof(c->ymm));
    assert_memory_equal(c->st, before.st, sizeof(c->st));
    assert_int_equal(c->mxcsr, before.mxcsr);
    assert_int_equal(c->fip, before.fip);

    /* Only what is asked for; bits of the others stay in XSTATE_BV. */
    memset(vm.ram + AREA, 0, 1024);
    set_area(512, 5);
    assert_int_equal(at(INSN_XSAVE64_M, AREA, 2), -1);
    assert_int_equal(area(512), 7);
    assert_int_equal(area(0), 0);
    assert_int_equal(area(576), 0);
    assert_int_equal(area(160), c->ymm[0]);

    /* A clear bit means the initial state; MXCSR is loaded nevertheless. */
    set_area(512, 0);
    set_area(24, 0x3f80);
    assert_int_equal(at(INSN_XRSTOR64_M, AREA, 6), -1);
    assert_int_equal(c->ymm[0] | c->ymm[3] | c->ymm[63], 0);
    assert_int_equal(c->mxcsr, 0x3f80);
    assert_int_equal(c->fcw, before.fcw);
}

static void test_xsave_optimised(void **state)
{
    fill();
    memset(c->ymm, 0, sizeof(c->ymm));
    memset(vm.ram + AREA, 0x55, 1024);
    assert_int_equal(at(INSN_XSAVEOPT64_M, AREA, 7), -1);
    assert_int_equal(area(512), (0x5555555555555555 & ~7ull) | 1);
    assert_int_equal(area(160), 0x5555555555555555);
    assert_int_equal(area(576), 0x5555555555555555);
    assert_int_equal(area(24), 0x0000ffff00001fa0);
}

static void test_xsavec(void **state)
{
    struct cpu before;
    fill();
    memset(vm.ram + AREA, 0x55, 512);
    memset(vm.ram + AREA + 512, 0, 512);
    assert_int_equal(at(INSN_XSAVEC64_M, AREA, 7), -1);
    assert_int_equal(area(512), 7);
    assert_int_equal(area(520), 7 | COMPACT);
    before = *c;
    init();
    assert_int_equal(at(INSN_XRSTOR64_M, AREA, 7), -1);
    assert_memory_equal(c->ymm, before.ymm, sizeof(c->ymm));
    assert_int_equal(c->mxcsr, before.mxcsr);

    /* All in the initial state: nothing but the header is written, MXCSR alone brings in SSE. */
    init();
    memset(vm.ram + AREA, 0x55, 1024);
    assert_int_equal(at(INSN_XSAVES64_M, AREA, 7), -1);
    assert_int_equal(area(512), 0);
    assert_int_equal(area(520), 7 | COMPACT);
    assert_int_equal(area(24), 0x5555555555555555);
    assert_int_equal(area(528), 0x5555555555555555);
    c->mxcsr = 0x1f81;
    assert_int_equal(at(INSN_XSAVEC64_M, AREA, 6), -1);
    assert_int_equal(area(512), 2);
    assert_int_equal(area(520), 6 | COMPACT);

    /* Compacted and SSE left out: MXCSR gets its initial value. */
    memset(vm.ram + AREA + 512, 0, 64);
    set_area(520, 7 | COMPACT);
    fill();
    assert_int_equal(at(INSN_XRSTORS64_M, AREA, 7), -1);
    assert_int_equal(c->mxcsr, 0x1f80);
    assert_int_equal(c->fcw, 0x37f);
}

struct header_case {
    u64 bv, comp;
    unsigned poke;       /* offset of a byte set to 1, or 0 */
    bool fault, fault_s; /* XRSTOR, XRSTORS */
};

static void test_headers(void **state)
{
    static const struct header_case cases[] = {
        {7, 0, 0, false, true},
        {8, 0, 0, true, true},
        {1, 1, 0, true, true},
        {1, 0, 528, true, true},
        {1, 0, 540, false, true},
        {7, 7 | COMPACT, 0, false, false},
        {7, 3 | COMPACT, 0, true, true},
        {1, 9 | COMPACT, 0, true, true},
        {1, 7 | COMPACT, 540, true, true},
        {1, 7 | COMPACT, 528, true, true},
    };
    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        const struct header_case *k = &cases[n];
        memset(vm.ram + AREA, 0, 1024);
        set_area(512, k->bv);
        set_area(520, k->comp);
        if (k->poke)
            vm.ram[AREA + k->poke] = 1;
        assert_int_equal(at(INSN_XRSTOR64_M, AREA, 7), k->fault ? EXC_GP : -1);
        assert_int_equal(at(INSN_XRSTORS64_M, AREA, 7), k->fault_s ? EXC_GP : -1);
    }
}

static void test_xsave_faults(void **state)
{
    assert_int_equal(at(INSN_XSAVE64_M, AREA + 16, 7), EXC_GP);
    c->cr0 |= CR0_TS;
    assert_int_equal(at(INSN_XSAVE64_M, AREA, 7), EXC_NM);
    c->cr4 &= ~CR4_OSXSAVE;
    assert_int_equal(at(INSN_XSAVE64_M, AREA, 7), EXC_UD);
    assert_int_equal(reg(INSN_XGETBV, 0), EXC_UD);
    c->cr4 |= CR4_OSXSAVE;
    c->cr0 &= ~CR0_TS;
}

static int xsetbv(u32 index, u64 v)
{
    c->gpr[R_CX] = index;
    c->gpr[R_AX] = (u32)v;
    c->gpr[R_DX] = v >> 32;
    return reg(INSN_XSETBV, 0);
}

static void test_xcr0(void **state)
{
    assert_int_equal(xsetbv(0, 3), -1);
    assert_int_equal(c->xcr0, 3);
    assert_int_equal(xsetbv(0, 2), EXC_GP);
    assert_int_equal(xsetbv(0, 5), EXC_GP);
    assert_int_equal(xsetbv(0, 15), EXC_GP);
    assert_int_equal(xsetbv(0, BIT64(32) | 1), EXC_GP);
    assert_int_equal(xsetbv(1, 7), EXC_GP);
    assert_int_equal(xsetbv(0, 7), -1);
    init();
    c->ymm[5] = 1;
    c->gpr[R_CX] = 1;
    assert_int_equal(reg(INSN_XGETBV, 0), -1);
    assert_int_equal(c->gpr[R_AX], 2);
    c->gpr[R_CX] = 2;
    assert_int_equal(reg(INSN_XGETBV, 0), EXC_GP);
}

static unsigned ferr_raised, ferr_cleared;

static void ferr(struct cpu *cpu, bool level)
{
    *(level ? &ferr_raised : &ferr_cleared) += 1;
}

/* 1/0 unmasked: the next waiting instruction gets it, as #MF or on FERR#. */
static void test_x87_errors(void **state)
{
    init();
    assert_int_equal(reg(INSN_FLD1, 0), -1);
    assert_int_equal(reg(INSN_FLDZ, 0), -1);
    c->fcw = 0x37b;
    assert_int_equal(reg(INSN_FDIVP_STi_ST0, 1), -1);
    assert_int_equal(c->fsw & 0xb884, 0xb084); /* ES, B, ZE; not popped */
    assert_int_equal(reg(INSN_FNSTSW_AX, 0), -1);
    assert_int_equal(reg(INSN_FWAIT, 0), EXC_MF);
    assert_int_equal(reg(INSN_FLD1, 0), EXC_MF);
    assert_int_equal(reg(INSN_PXOR_Pq_Qq, 0), EXC_MF);
    assert_int_equal(reg(INSN_FNCLEX, 0), -1);
    assert_int_equal(c->fsw & 0x80ff, 0);
    assert_int_equal(reg(INSN_FWAIT, 0), -1);

    c->cr0 &= ~CR0_NE;
    c->ferr = ferr;
    assert_int_equal(reg(INSN_FDIVP_STi_ST0, 1), -1);
    assert_int_equal(ferr_raised, 1);
    assert_int_equal(reg(INSN_FNCLEX, 0), -1);
    assert_int_equal(ferr_cleared, 1);
    c->ferr = NULL;
    c->cr0 |= CR0_NE;
    assert_int_equal(reg(INSN_FNINIT, 0), -1);
}

static void test_x87_missing(void **state)
{
    c->cr0 |= CR0_TS;
    assert_int_equal(reg(INSN_FLD1, 0), EXC_NM);
    assert_int_equal(reg(INSN_FNSTSW_AX, 0), EXC_NM);
    c->cr0 &= ~CR0_MP;
    assert_int_equal(reg(INSN_FWAIT, 0), -1);
    c->cr0 |= CR0_MP;
    assert_int_equal(reg(INSN_FWAIT, 0), EXC_NM);
    c->cr0 = (c->cr0 | CR0_EM) & ~CR0_TS;
    assert_int_equal(reg(INSN_FLD1, 0), EXC_NM);
    assert_int_equal(reg(INSN_PXOR_Pq_Qq, 0), EXC_UD);
    assert_int_equal(reg(INSN_FWAIT, 0), -1);
    c->cr0 &= ~CR0_EM;
}

/* The 16-bit environment in real mode: linear pointers. */
static void test_real_environment(void **state)
{
    init();
    c->fip = 0xf1234;
    c->fdp = 0x10010;
    c->fop = 0x155;
    c->ftw = 0x01;
    c->st[1] = 0x3fff;
    c->st[0] = BIT64(63);
    u64 cr0 = c->cr0;
    c->cr0 &= ~(CR0_PE | CR0_PG);
    c->gpr[R_DI] = AREA;
    struct insn i = insn_mem(INSN_FNSTENV_M, 0, (struct insn_ea){.base = R_DI, .index = REG_ZERO}, false);
    i.opsize = 2;
    assert_int_equal(run(i), -1);
    static const u16 want[7] = {0x037f, 0x0000, 0xfffc, 0x1234, 0xf155, 0x0010, 0x1000};
    assert_memory_equal(vm.ram + AREA, want, sizeof(want));
    i.row = INSN_FLDENV_M;
    c->fip = c->fdp = c->fop = 0;
    assert_int_equal(run(i), -1);
    assert_int_equal(c->fip, 0xf1234);
    assert_int_equal(c->fdp, 0x10010);
    assert_int_equal(c->fop, 0x155);
    assert_int_equal(c->ftw, 1);
    c->cr0 = cr0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fxsave),
        cmocka_unit_test(test_xsave_standard),
        cmocka_unit_test(test_xsave_optimised),
        cmocka_unit_test(test_xsavec),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_xsave_faults),
        cmocka_unit_test(test_xcr0),
        cmocka_unit_test(test_x87_errors),
        cmocka_unit_test(test_x87_missing),
        cmocka_unit_test(test_real_environment),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
