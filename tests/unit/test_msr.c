/*
 * MSRs, CPUID and control registers: what is refused, what is kept, and that they agree with each other.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/control.h"
#include "cpu/fault.h"
#include "cpu/model.h"
#include "cpu/msr.h"
#include "cpu/world.h"
#include "event/loop.h"

struct box {
    struct loop *loop;
    struct mem_space *mem;
    struct world *world;
    struct cpu *cpu;
};

static void box_create(struct box *b, const char *model, unsigned id, unsigned count, u64 tsc_hz)
{
    b->loop = loop_create();
    b->mem = mem_space_create(b->loop, MiB(1), MiB(1), NULL);
    b->world = world_create(1);
    assert_non_null(b->mem);
    struct cpu_config cfg = {.id = id,
                             .count = count,
                             .model = cpu_model_find(model),
                             .mem = b->mem,
                             .loop = b->loop,
                             .world = b->world,
                             .tsc_hz = tsc_hz};
    b->cpu = cpu_create(&cfg);
    assert_non_null(b->cpu);
}

static void box_destroy(struct box *b)
{
    cpu_destroy(b->cpu);
    world_destroy(b->world);
    mem_space_destroy(b->mem);
    loop_destroy(b->loop);
}

struct msr_case {
    u32 msr;
    u64 value;
    bool accepted;
};
static const struct msr_case cases[] = {
    {0xc0000100, 0x123456789abc, true},
    {0xc0000100, 1ull << 47, false},
    {0xc0000102, ~0ull << 47, true},
    {0xc0000082, 1ull << 63, false},
    {0xc0000084, 0xffffffff, true},
    {0xc0000084, 1ull << 32, false},
    {0xc0000103, 7, true},
    {0xc0000103, 1ull << 32, false},
    {0xc0000080, 0x901, true},
    {0xc0000080, 2, false},
    {0x277, 0x0007040600070406, true},
    {0x277, 2, false},
    {0x277, 8, false},
    {0x2ff, 0xc06, true},
    {0x2ff, 0x1006, false},
    {0x2ff, 0xc02, false},
    {0x200, 0x100006, true},
    {0x200, 0x100106, false},
    {0x201, 0xff00000800, true},
    {0x201, 0x10000000800, false},
    {0x26f, 0x0606060606060606, true},
    {0x26f, 7, false},
    {0x174, 0x1234, true},
    {0x176, 1ull << 50, false},
    {0x400, ~0ull, true},
    {0x400, 1, false},
    {0x401, 0, true},
    {0x401, 1, false},
    {0x402, 1ull << 47, true},
    {0x427, 5, true},
    {0x428, 0, false},
    {0x17b, ~0ull, true},
    {0x17b, 2, false},
    {0x48, 1, true},
    {0x48, 8, false},
    {0x1d9, 3, true},
    {0xfe, 0, false},
    {0x10a, 0, false},
    {0x3a, 0, false},
    {0x186, 0, false},
    {0x4b564d01, 0, false},
    {0xc001001f, 0, false},
};

static void test_msr_values(void **state)
{
    struct box b;
    box_create(&b, "x86-64-v3", 0, 1, 1000000000);
    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        u64 back = 0;
        bool accepted = cpu_msr_set(b.cpu, cases[n].msr, cases[n].value) == 0;
        if (accepted != cases[n].accepted)
            fail_msg("MSR %#x: %#llx", cases[n].msr, (unsigned long long)cases[n].value);
        if (accepted) {
            assert_int_equal(cpu_msr_get(b.cpu, cases[n].msr, &back), 0);
            assert_int_equal(back, cases[n].value);
        }
    }
    box_destroy(&b);
}

static void test_msr_absent(void **state)
{
    static const u32 absent[] = {2,     0x11,  0x186,      0x309,      0x38f,      0x480,
                                 0x606, 0x1b0, 0xc0010015, 0x40000000, 0x4b564d00, ~0u};
    struct box b;
    u64 v;
    box_create(&b, "x86-64-v3", 0, 1, 1000000000);
    for (unsigned n = 0; n < ARRAY_SIZE(absent); n++)
        assert_int_equal(cpu_msr_get(b.cpu, absent[n], &v), -EPERM);
    box_destroy(&b);
}

static void test_tsc(void **state)
{
    struct box b;
    u64 tsc, adjust;
    box_create(&b, "x86-64-v3", 0, 1, 1000000000);
    assert_int_equal(cpu_msr_set(b.cpu, 0x10, 1ull << 40), 0);
    tsc = cpu_tsc(b.cpu);
    assert_true(tsc >= 1ull << 40 && tsc < (1ull << 40) + 10000000000ull);
    assert_int_equal(cpu_msr_get(b.cpu, 0x3b, &adjust), 0);
    assert_true(adjust <= 1ull << 40 && adjust > (1ull << 40) - 10000000000ull);
    assert_int_equal(cpu_msr_set(b.cpu, 0x3b, 0), 0);
    assert_true(cpu_tsc(b.cpu) < 10000000000ull);
    box_destroy(&b);
}

static void cpuid(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    cpu_cpuid(c, leaf, sub, out);
}

static void test_cpuid(void **state)
{
    static const u64 rates[] = {1000000000, 2499999999, 2500000000, 3123456789};
    for (unsigned n = 0; n < ARRAY_SIZE(rates); n++) {
        struct box b;
        u32 r[4];
        box_create(&b, "x86-64-v3", 3, 6, rates[n]);
        cpuid(b.cpu, 0, 0, r);
        assert_memory_equal(&r[1], "Genu", 4);
        assert_memory_equal(&r[3], "ineI", 4);
        assert_int_equal(r[0], 0x16);
        cpuid(b.cpu, 1, 0, r);
        assert_int_equal(r[1] >> 24, 3);
        assert_int_equal(r[1] >> 16 & 0xff, 8);
        assert_int_equal(r[0], b.cpu->gpr[R_DX]); /* as after RESET */
        cpuid(b.cpu, 0x15, 0, r);
        assert_int_equal((u128)r[2] * r[1] / r[0], rates[n]);
        assert_int_equal((u128)r[2] * r[1] % r[0], 0);
        cpuid(b.cpu, 0xb, 1, r);
        assert_int_equal(r[0], 3);
        assert_int_equal(r[1], 6);
        assert_int_equal(r[2], 0x201);
        assert_int_equal(r[3], 3);
        cpuid(b.cpu, 0x80000008, 0, r);
        assert_int_equal(r[0], 40 | 48 << 8);
        u32 high[4];
        cpuid(b.cpu, 0x16, 0, r);
        cpuid(b.cpu, 0x17, 0, high);
        assert_memory_equal(r, high, sizeof(r));
        cpuid(b.cpu, 0x90000000, 0, high);
        assert_memory_equal(r, high, sizeof(r));
        box_destroy(&b);
    }
}

static void test_cpuid_state(void **state)
{
    struct box b;
    u32 r[4];
    box_create(&b, "x86-64-v3", 0, 1, 1000000000);
    cpuid(b.cpu, 1, 0, r);
    assert_int_equal(r[2] & BIT(27), 0);
    b.cpu->cr4 |= CR4_OSXSAVE;
    cpuid(b.cpu, 1, 0, r);
    assert_int_equal(r[2] & BIT(27), BIT(27));
    cpuid(b.cpu, 13, 0, r);
    assert_int_equal(r[1], 576);
    assert_int_equal(r[2], 832);
    b.cpu->xcr0 = 7;
    cpuid(b.cpu, 13, 0, r);
    assert_int_equal(r[1], 832);
    assert_int_equal(cpu_msr_set(b.cpu, 0x1a0, 1ull << 34), 0);
    cpuid(b.cpu, 0x80000001, 0, r);
    assert_int_equal(r[3] & BIT(20), 0);
    box_destroy(&b);
    box_create(&b, "x86-64-v2", 0, 1, 1000000000);
    cpuid(b.cpu, 1, 0, r);
    assert_int_equal(r[2] & (BIT(26) | BIT(28)), 0);
    cpuid(b.cpu, 13, 0, r);
    assert_int_equal(r[0], 0);
    box_destroy(&b);
}

static NOINLINE bool refused(struct cpu *c, void (*write)(struct cpu *c, u64 v), u64 v)
{
    if (__builtin_setjmp(c->unwind))
        return c->exc.vector == EXC_GP && c->exc.code == 0;
    write(c, v);
    return false;
}

static void test_control(void **state)
{
    struct box b;
    box_create(&b, "x86-64-v3", 0, 1, 1000000000);
    struct cpu *c = b.cpu;
    assert_true(refused(c, cpu_write_cr0, CR0_PG));
    assert_true(refused(c, cpu_write_cr0, CR0_NW));
    assert_true(refused(c, cpu_write_cr0, 1ull << 32));
    assert_true(refused(c, cpu_write_cr4, BIT64(13))); /* VMXE */
    assert_true(refused(c, cpu_write_cr4, CR4_PCIDE)); /* not in long mode */
    assert_true(refused(c, cpu_write_cr3, 1ull << 40));
    assert_true(refused(c, cpu_write_cr3, 1ull << 63));
    assert_true(refused(c, cpu_write_cr8, 16));
    assert_int_equal(cpu_set_efer(c, EFER_LME), 0);
    assert_false(refused(c, cpu_write_cr0, CR0_PE));
    assert_true(refused(c, cpu_write_cr0, CR0_PE | CR0_PG)); /* LME without PAE */
    assert_false(refused(c, cpu_write_cr4, CR4_PAE));
    c->seg[SEG_CS].attr |= DA_L;
    assert_true(refused(c, cpu_write_cr0, CR0_PE | CR0_PG)); /* CS.L */
    c->seg[SEG_CS].attr &= ~DA_L;
    assert_false(refused(c, cpu_write_cr0, CR0_PE | CR0_PG));
    assert_true(cpu_long_mode(c));
    assert_true(refused(c, cpu_write_cr4, 0)); /* PAE */
    assert_int_equal(cpu_set_efer(c, 0), -EPERM);
    c->cr3 = 5;
    assert_true(refused(c, cpu_write_cr4, CR4_PAE | CR4_PCIDE));
    c->cr3 = 0;
    assert_false(refused(c, cpu_write_cr4, CR4_PAE | CR4_PCIDE));
    assert_true(refused(c, cpu_write_cr0, CR0_PE)); /* paging off with PCIDE */
    assert_false(refused(c, cpu_write_cr3, 1ull << 63 | 0x1005));
    assert_int_equal(c->cr3, 0x1005);
    box_destroy(&b);
}

/* ADX and SHA are there if the host has them; AVX2 is there. */
static void test_features_of_host(void **state)
{
    struct box b;
    u32 r[4], host[4] = {0};
    box_create(&b, "x86-64-v3", 0, 1, 1000000000);
    cpuid(b.cpu, 7, 0, r);
    __cpuid_count(7, 0, host[0], host[1], host[2], host[3]);
    u32 mask = bit_ADX | bit_SHA;
    assert_int_equal(r[1] & mask, host[1] & mask);
    assert_int_equal(r[1] & bit_AVX2, bit_AVX2);
    box_destroy(&b);
}

static void test_models(void **state)
{
    unsigned count = 0;
    struct error err;
    for (; cpu_model_at(count); count++) {
        const struct cpu_model *m = cpu_model_at(count);
        assert_ptr_equal(cpu_model_find(m->name), m);
        assert_int_equal(strlen(m->vendor), 12);
        assert_true(strlen(m->brand) < 48);
    }
    assert_int_equal(count, 3);
    assert_null(cpu_model_find("nothing"));
    assert_int_equal(cpu_model_check(cpu_model_find("host"), &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_msr_values), cmocka_unit_test(test_msr_absent),       cmocka_unit_test(test_tsc),
        cmocka_unit_test(test_cpuid),      cmocka_unit_test(test_cpuid_state),      cmocka_unit_test(test_control),
        cmocka_unit_test(test_models),     cmocka_unit_test(test_features_of_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
