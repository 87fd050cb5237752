/*
 * The local APIC: registers in both modes, priorities, messages and destinations, the timer, mode changes. Three
 * processors that only take notes.
 */
#include <errno.h>

#include "bench.h"

#include "dev/pc/apic.h"
#include "dev/pc/pic.h"

#define CPUS 3
#define HZ   25000000u
#define TICK 40ull /* ns */

/* MSRs and, by >> 4, xAPIC offsets */
enum {
    BASE = 0x1b,
    DEADLINE = 0x6e0,
    ID = 0x020,
    VER = 0x030,
    TPR = 0x080,
    APR = 0x090,
    PPR = 0x0a0,
    EOI = 0x0b0,
    LDR = 0x0d0,
    DFR = 0x0e0,
    SVR = 0x0f0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR2 = 0x310,
    LVTT = 0x320,
    LVT_THERMAL = 0x330,
    LINT0 = 0x350,
    LINT1 = 0x360,
    LVTERR = 0x370,
    TMICT = 0x380,
    TMCCT = 0x390,
    TDCR = 0x3e0,
    SELF = 0x3f0,
};
#define MASKED       0x10000
#define PERIODIC     0x20000
#define TSC_DEADLINE 0x40000

struct fake_cpu {
    struct loop *loop;
    bool intr;
    unsigned nmi, smi, init, sipi;
    u8 sipi_vector;
    u64 base;
    u64 tsc_offset;
};

struct bench {
    struct loop *loop;
    struct apic_bus *bus;
    struct pic *pic;
    struct apic *apic[CPUS];
    struct fake_cpu cpu[CPUS];
    unsigned eois;
    u8 eoi_vector;
};

static void cpu_intr(void *cpu, bool level)
{
    ((struct fake_cpu *)cpu)->intr = level;
}

static void cpu_nmi(void *cpu)
{
    ((struct fake_cpu *)cpu)->nmi++;
}

static void cpu_smi(void *cpu)
{
    ((struct fake_cpu *)cpu)->smi++;
}

static void cpu_init(void *cpu)
{
    ((struct fake_cpu *)cpu)->init++;
}

static void cpu_sipi(void *cpu, u8 vector)
{
    struct fake_cpu *c = cpu;
    c->sipi++;
    c->sipi_vector = vector;
}

static void cpu_base(void *cpu, u64 base)
{
    ((struct fake_cpu *)cpu)->base = base;
}

/* A TSC of 1 GHz. */
static u64 cpu_tsc(void *cpu)
{
    struct fake_cpu *c = cpu;
    return door_time(c->loop) + c->tsc_offset;
}

static u64 cpu_tsc_to_ns(void *cpu, u64 tsc)
{
    struct fake_cpu *c = cpu;
    return tsc > c->tsc_offset ? tsc - c->tsc_offset : 0;
}

static const struct apic_cpu_ops fake_ops = {
    .set_intr = cpu_intr,
    .nmi = cpu_nmi,
    .smi = cpu_smi,
    .init = cpu_init,
    .sipi = cpu_sipi,
    .base_changed = cpu_base,
    .tsc_now = cpu_tsc,
    .tsc_to_ns = cpu_tsc_to_ns,
};

static void eoi_seen(void *opaque, u8 vector)
{
    struct bench *b = opaque;
    b->eois++;
    b->eoi_vector = vector;
}

static u32 get(struct bench *b, unsigned n, u32 off)
{
    return apic_ops.mmio_read(b->apic[n], off);
}

static void put(struct bench *b, unsigned n, u32 off, u32 v)
{
    apic_ops.mmio_write(b->apic[n], off, v);
}

static int wrmsr(struct bench *b, unsigned n, u32 msr, u64 v)
{
    return apic_ops.msr_write(b->apic[n], msr, v);
}

static u64 rdmsr(struct bench *b, unsigned n, u32 msr)
{
    u64 v = 0;
    assert_int_equal(apic_ops.msr_read(b->apic[n], msr, &v), 0);
    return v;
}

static bool rdmsr_faults(struct bench *b, unsigned n, u32 msr)
{
    u64 v;
    return apic_ops.msr_read(b->apic[n], msr, &v) == -EPERM;
}

static u32 x2(u32 off)
{
    return 0x800 + (off >> 4);
}

static int accept_vector(struct bench *b, unsigned n)
{
    return apic_ops.accept(b->apic[n]);
}

/* Takes the interrupt and ends it. */
static int take(struct bench *b, unsigned n)
{
    int v = accept_vector(b, n);
    if (v >= 0)
        put(b, n, EOI, 0);
    return v;
}

static void ipi(struct bench *b, unsigned from, u32 dest, u32 low)
{
    put(b, from, ICR2, dest << 24);
    put(b, from, ICR, low);
}

static void to_x2apic(struct bench *b, unsigned n)
{
    assert_int_equal(wrmsr(b, n, BASE, rdmsr(b, n, BASE) | 1 << 10), 0);
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop(), .bus = apic_bus_create()};
    b.pic = pic_create(&(struct pic_config){.intr = apic_bus_lint(b.bus, 0)});
    for (unsigned n = 0; n < CPUS; n++) {
        b.cpu[n].loop = b.loop;
        b.apic[n] = apic_create(&(struct apic_config){
            .bus = b.bus, .loop = b.loop, .id = n, .hz = HZ, .phys_bits = 40, .x2apic = true, .tsc_deadline = true});
        assert_non_null(b.apic[n]);
        apic_connect_cpu(b.apic[n], &fake_ops, &b.cpu[n]);
        put(&b, n, SVR, 0x1ff);
        put(&b, n, TDCR, 0xb);
    }
    apic_bus_connect_pic(b.bus, b.pic);
    apic_bus_on_eoi(b.bus, eoi_seen, &b);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    for (unsigned n = 0; n < CPUS; n++)
        ((struct dev *)b->apic[n])->cls->destroy((struct dev *)b->apic[n]);
    ((struct dev *)b->pic)->cls->destroy((struct dev *)b->pic);
    apic_bus_destroy(b->bus);
    loop_destroy(b->loop);
    return 0;
}

/* Registers */

static void test_reset_values(void **state)
{
    struct bench *b = *state;
    apic_ops.reset(b->apic[1], true);
    assert_int_equal(b->cpu[1].base, 0xfee00800);
    assert_int_equal(rdmsr(b, 0, BASE), 0xfee00900);
    assert_int_equal(get(b, 1, ID), 0x01000000);
    assert_int_equal(get(b, 1, VER), 0x01050014);
    assert_int_equal(get(b, 1, SVR), 0xff);
    assert_int_equal(get(b, 1, DFR), 0xffffffff);
    assert_int_equal(get(b, 1, LDR), 0);
    for (u32 off = LVTT; off <= LVTERR; off += 0x10)
        assert_int_equal(get(b, 1, off), MASKED);
    assert_int_equal(get(b, 1, TMCCT), 0);
}

static void test_reserved_bits_are_dropped(void **state)
{
    struct bench *b = *state;
    put(b, 0, TPR, 0xffffffff);
    assert_int_equal(get(b, 0, TPR), 0xff);
    put(b, 0, SVR, 0xffffffff);
    assert_int_equal(get(b, 0, SVR), 0x13ff);
    put(b, 0, LVTT, 0xffffffff & ~(3u << 17));
    assert_int_equal(get(b, 0, LVTT), 0x100ff);
    put(b, 0, LINT0, 0xffffffff);
    assert_int_equal(get(b, 0, LINT0), 0x1a7ff);
    put(b, 0, LVTERR, 0xffffffff);
    assert_int_equal(get(b, 0, LVTERR), 0x100ff);
    put(b, 0, TDCR, 0xffffffff);
    assert_int_equal(get(b, 0, TDCR), 0xb);
    put(b, 0, ID + 4, 0xffffffff); /* only the first four bytes of sixteen are there */
    assert_int_equal(get(b, 0, ID), 0);
    put(b, 0, DFR, 0);
    assert_int_equal(get(b, 0, DFR), 0x0fffffff);
}

static void test_error_status(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTERR, 0x33);
    (void)get(b, 0, 0x040);
    assert_int_equal(get(b, 0, ESR), 0); /* shown by a write only */
    put(b, 0, ESR, 0);
    assert_int_equal(get(b, 0, ESR), 0x80);
    assert_int_equal(take(b, 0), 0x33);
    put(b, 0, ESR, 0);
    assert_int_equal(get(b, 0, ESR), 0);
    ipi(b, 0, 1, 0x4005); /* illegal vector */
    put(b, 0, ESR, 0);
    assert_int_equal(get(b, 0, ESR), 0x20);
    assert_int_equal(take(b, 0), 0x33);
    put(b, 0, LVTERR, 0x03); /* an error about errors ends by itself */
    (void)get(b, 0, 0x040);
    put(b, 0, ESR, 0);
    assert_int_equal(get(b, 0, ESR), 0xc0);
}

static void test_software_disable(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, 0x40);
    put(b, 0, LINT1, 0x400);
    put(b, 0, SVR, 0xff);
    assert_int_equal(get(b, 0, LVTT), MASKED | 0x40);
    assert_int_equal(get(b, 0, LINT1), MASKED | 0x400);
    put(b, 0, LVTT, 0x40); /* cannot be unmasked now */
    assert_int_equal(get(b, 0, LVTT), MASKED | 0x40);
    ipi(b, 1, 0, 0x4050);
    assert_false(b->cpu[0].intr);
    ipi(b, 1, 0, 0x4400); /* NMIs still come */
    assert_int_equal(b->cpu[0].nmi, 1);
    put(b, 0, SVR, 0x1ff);
    assert_int_equal(get(b, 0, LVTT), MASKED | 0x40);
}

/* Priorities */

static void test_priorities(void **state)
{
    struct bench *b = *state;
    ipi(b, 1, 0, 0x4051);
    ipi(b, 1, 0, 0x4062);
    assert_true(b->cpu[0].intr);
    assert_int_equal(get(b, 0, IRR + 0x20), 1 << 17);
    assert_int_equal(accept_vector(b, 0), 0x62);
    assert_int_equal(get(b, 0, ISR + 0x30), 4);
    assert_int_equal(get(b, 0, PPR), 0x60);
    assert_false(b->cpu[0].intr); /* 0x51 waits */
    assert_int_equal(accept_vector(b, 0), -1);
    ipi(b, 1, 0, 0x406f); /* same class */
    assert_false(b->cpu[0].intr);
    ipi(b, 1, 0, 0x4071);
    assert_int_equal(accept_vector(b, 0), 0x71);
    put(b, 0, EOI, 0);
    put(b, 0, EOI, 0);
    assert_int_equal(take(b, 0), 0x6f);
    assert_int_equal(take(b, 0), 0x51);
    put(b, 0, EOI, 0); /* nothing in service */
    assert_int_equal(b->eois, 0);
}

static void test_task_priority(void **state)
{
    struct bench *b = *state;
    apic_ops.set_cr8(b->apic[0], 5);
    assert_int_equal(get(b, 0, TPR), 0x50);
    ipi(b, 1, 0, 0x405f);
    assert_false(b->cpu[0].intr);
    assert_int_equal(get(b, 0, PPR), 0x50);
    assert_int_equal(get(b, 0, APR), 0x50);
    put(b, 0, TPR, 0x4f);
    assert_int_equal(apic_ops.get_cr8(b->apic[0]), 4);
    assert_int_equal(get(b, 0, PPR), 0x4f);
    assert_true(b->cpu[0].intr);
    assert_int_equal(take(b, 0), 0x5f);
}

/* Messages */

static void test_destinations(void **state)
{
    struct bench *b = *state;
    ipi(b, 0, 2, 0x4040);
    assert_int_equal(take(b, 2), 0x40);
    ipi(b, 0, 0xff, 0x4041); /* broadcast */
    for (unsigned n = 0; n < CPUS; n++)
        assert_int_equal(take(b, n), 0x41);
    ipi(b, 0, 0, 0x44042); /* self */
    assert_int_equal(take(b, 0), 0x42);
    ipi(b, 0, 0, 0x84043); /* all */
    ipi(b, 0, 0, 0xc4044); /* others */
    assert_int_equal(take(b, 0), 0x43);
    assert_int_equal(take(b, 1), 0x44);
    assert_int_equal(take(b, 1), 0x43);
    ipi(b, 0, 9, 0x4040);
    for (unsigned n = 0; n < CPUS; n++)
        assert_int_equal(take(b, n), n == 2 ? 0x44 : -1);
}

static void test_logical_flat_and_cluster(void **state)
{
    struct bench *b = *state;
    for (unsigned n = 0; n < CPUS; n++)
        put(b, n, LDR, 1u << (24 + n));
    ipi(b, 0, 0x06, 0x4840);
    assert_int_equal(take(b, 0), -1);
    assert_int_equal(take(b, 1), 0x40);
    assert_int_equal(take(b, 2), 0x40);
    for (unsigned n = 0; n < CPUS; n++) {
        put(b, n, DFR, 0);
        put(b, n, LDR, (n == 2 ? 0x21u : 0x11u << n) << 24); /* clusters 1, 2, 2: members 1, 2, 1 */
    }
    ipi(b, 0, 0x22, 0x4841);
    assert_int_equal(take(b, 0), -1);
    assert_int_equal(take(b, 1), 0x41);
    assert_int_equal(take(b, 2), -1);
    ipi(b, 0, 0xf1, 0x4842); /* member 1 of all clusters */
    assert_int_equal(take(b, 0), 0x42);
    assert_int_equal(take(b, 1), -1);
    assert_int_equal(take(b, 2), 0x42);
}

static void test_lowest_priority(void **state)
{
    struct bench *b = *state;
    struct msi_sink msi = apic_bus_msi(b->bus);
    for (unsigned n = 0; n < CPUS; n++)
        put(b, n, LDR, 1u << (24 + n));
    put(b, 0, TPR, 0x20);
    put(b, 2, TPR, 0x20);
    msi_send(&msi, 0xfee07004, 0x150);
    assert_int_equal(take(b, 1), 0x50);
    put(b, 0, TPR, 0);
    put(b, 2, TPR, 0);
    unsigned got[CPUS] = {0};
    for (unsigned i = 0; i < 6; i++) {
        msi_send(&msi, 0xfee0700c, 0x51); /* fixed, but with the redirection hint */
        for (unsigned n = 0; n < CPUS; n++)
            got[n] += take(b, n) == 0x51;
    }
    for (unsigned n = 0; n < CPUS; n++)
        assert_int_equal(got[n], 2);
    put(b, 1, SVR, 0xff); /* takes no part */
    msi_send(&msi, 0xfee02004, 0x150);
    assert_int_equal(take(b, 1), -1);
}

static void test_init_sipi_nmi_smi(void **state)
{
    struct bench *b = *state;
    ipi(b, 0, 1, 0x4500);
    assert_int_equal(b->cpu[1].init, 1);
    ipi(b, 0, 1, 0x8500); /* INIT level de-assert */
    assert_int_equal(b->cpu[1].init, 1);
    ipi(b, 0, 1, 0x4608);
    assert_int_equal(b->cpu[1].sipi, 1);
    assert_int_equal(b->cpu[1].sipi_vector, 8);
    ipi(b, 0, 0, 0xc4400);
    assert_int_equal(b->cpu[0].nmi, 0);
    assert_int_equal(b->cpu[1].nmi, 1);
    assert_int_equal(b->cpu[2].nmi, 1);
    ipi(b, 0, 2, 0x4200);
    assert_int_equal(b->cpu[2].smi, 1);
    put(b, 1, LDR, 0x55000000);
    apic_ops.reset(b->apic[1], false);
    assert_int_equal(get(b, 1, SVR), 0xff);
    assert_int_equal(get(b, 1, LDR), 0);
    assert_int_equal(get(b, 1, ID), 0x01000000);
}

static void test_level_and_eoi(void **state)
{
    struct bench *b = *state;
    struct msi_sink msi = apic_bus_msi(b->bus);
    msi_send(&msi, 0xfee00000, 0xc061);
    assert_int_equal(get(b, 0, TMR + 0x30), 2);
    assert_int_equal(take(b, 0), 0x61);
    assert_int_equal(b->eois, 1);
    assert_int_equal(b->eoi_vector, 0x61);
    put(b, 0, SVR, 0x11ff); /* the guest tells the I/O APIC itself */
    msi_send(&msi, 0xfee00000, 0xc061);
    assert_int_equal(take(b, 0), 0x61);
    assert_int_equal(b->eois, 1);
    msi_send(&msi, 0xfee00000, 0x61); /* edge: TMR follows */
    assert_int_equal(get(b, 0, TMR + 0x30), 0);
    msi_send(&msi, 0xfee00000, 0x8061); /* level de-asserted: nothing */
    assert_int_equal(take(b, 0), 0x61);
    assert_int_equal(take(b, 0), -1);
    msi_send(&msi, 0xfed00000, 0x61); /* not the range of interrupts */
    assert_int_equal(take(b, 0), -1);
}

/* Lines */

static void test_extint(void **state)
{
    struct bench *b = *state;
    struct irq_line irq3 = pic_line(b->pic, 3);
    put(b, 0, LINT0, 0x8700);
    irq_set(&irq3, true);
    assert_true(b->cpu[0].intr);
    assert_false(b->cpu[1].intr); /* masked there */
    apic_ops.set_cr8(b->apic[0], 15);
    assert_true(b->cpu[0].intr); /* no matter for ExtINT */
    assert_int_equal(accept_vector(b, 0), 3);
    assert_int_equal(get(b, 0, PPR), 0xf0); /* nothing in service here */
    assert_int_equal(accept_vector(b, 0), -1);

    assert_int_equal(wrmsr(b, 2, BASE, 0xfee00000), 0); /* disabled: LINT0 is the INTR pin */
    irq_set(&irq3, false);
    struct irq_line irq0 = pic_line(b->pic, 0);
    irq_set(&irq0, true);
    assert_true(b->cpu[2].intr);
    put(b, 0, LINT0, MASKED | 0x700);
    assert_false(b->cpu[0].intr);
    assert_int_equal(accept_vector(b, 2), 0);
}

static void test_extint_message(void **state)
{
    struct bench *b = *state;
    struct msi_sink msi = apic_bus_msi(b->bus);
    struct irq_line irq1 = pic_line(b->pic, 1);
    irq_set(&irq1, true);
    assert_false(b->cpu[1].intr);
    msi_send(&msi, 0xfee01000, 0x700);
    assert_true(b->cpu[1].intr);
    assert_int_equal(accept_vector(b, 1), 1);
    assert_false(b->cpu[1].intr);
}

static void test_lint(void **state)
{
    struct bench *b = *state;
    struct irq_line nmi = apic_bus_lint(b->bus, 1);
    put(b, 0, LINT1, 0x400);
    irq_pulse(&nmi);
    irq_set(&nmi, true);
    irq_set(&nmi, true);
    assert_int_equal(b->cpu[0].nmi, 2);
    assert_int_equal(b->cpu[1].nmi, 0);
    put(b, 1, LINT1, 0x8070); /* fixed, level; the line is up */
    assert_int_equal(get(b, 1, LINT1), 0xc070);
    assert_int_equal(take(b, 1), 0x70);
    assert_int_equal(take(b, 1), 0x70); /* and still is */
    irq_set(&nmi, false);
    assert_int_equal(take(b, 1), 0x70);
    assert_int_equal(take(b, 1), -1);
    assert_int_equal(get(b, 1, LINT1), 0x8070);
    irq_set(&nmi, true);
    assert_int_equal(take(b, 1), 0x70);
}

/* Timer */

static void test_one_shot(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, 0x40);
    put(b, 0, TMICT, 1000);
    loop_advance(b->loop, 400 * TICK);
    assert_int_equal(get(b, 0, TMCCT), 600);
    loop_advance(b->loop, 599 * TICK);
    assert_false(b->cpu[0].intr);
    loop_advance(b->loop, TICK);
    assert_int_equal(take(b, 0), 0x40);
    assert_int_equal(get(b, 0, TMCCT), 0);
    assert_int_equal(get(b, 0, TMICT), 1000);
    loop_advance(b->loop, SECOND);
    assert_int_equal(take(b, 0), -1);
}

static void test_periodic_and_divider(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, PERIODIC | 0x40);
    put(b, 0, TDCR, 0x0); /* by 2 */
    put(b, 0, TMICT, 1000);
    for (unsigned i = 0; i < 5; i++) {
        loop_advance(b->loop, 2000 * TICK);
        assert_int_equal(take(b, 0), 0x40);
    }
    loop_advance(b->loop, 500 * TICK);
    assert_int_equal(get(b, 0, TMCCT), 750);
    put(b, 0, TDCR, 0xa); /* by 128: goes on from there */
    assert_int_equal(get(b, 0, TMCCT), 750);
    loop_advance(b->loop, 128 * 749 * TICK);
    assert_int_equal(get(b, 0, TMCCT), 1);
    assert_false(b->cpu[0].intr);
    loop_advance(b->loop, 128 * TICK);
    assert_int_equal(take(b, 0), 0x40);
    put(b, 0, TMICT, 0);
    loop_advance(b->loop, SECOND);
    assert_int_equal(take(b, 0), -1);
}

static void test_masked_timer(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, PERIODIC | MASKED | 0x40);
    put(b, 0, TMICT, 1000);
    loop_advance(b->loop, 10500 * TICK);
    assert_int_equal(take(b, 0), -1);
    assert_int_equal(get(b, 0, TMCCT), 500);
    put(b, 0, LVTT, PERIODIC | 0x40);
    loop_advance(b->loop, 500 * TICK);
    assert_int_equal(take(b, 0), 0x40);
}

/* As kvm-unit-tests look at it. */
static void test_timer_mode_changes(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, 0x40);
    put(b, 0, TMICT, 1000);
    loop_advance(b->loop, 700 * TICK);
    put(b, 0, LVTT, PERIODIC | 0x40);
    assert_int_equal(get(b, 0, TMCCT), 300);
    loop_advance(b->loop, 400 * TICK);
    assert_int_equal(get(b, 0, TMCCT), 900);
    assert_int_equal(take(b, 0), 0x40);
    put(b, 0, LVTT, 0x40);
    assert_int_equal(get(b, 0, TMCCT), 900);
    loop_advance(b->loop, 5000 * TICK);
    assert_int_equal(get(b, 0, TMCCT), 0);
    assert_int_equal(take(b, 0), 0x40);
    put(b, 0, LVTT, PERIODIC | 0x40); /* stands at 0 and stays there */
    loop_advance(b->loop, 5000 * TICK);
    assert_int_equal(get(b, 0, TMCCT), 0);
    assert_int_equal(take(b, 0), -1);
}

static void test_tsc_deadline(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, 0x40);
    assert_int_equal(wrmsr(b, 0, DEADLINE, 5000), 0); /* ignored outside the mode */
    assert_int_equal(rdmsr(b, 0, DEADLINE), 0);
    put(b, 0, TMICT, 1000);
    put(b, 0, LVTT, TSC_DEADLINE | 0x40); /* disarms */
    assert_int_equal(get(b, 0, TMICT), 0);
    put(b, 0, TMICT, 1000);
    assert_int_equal(get(b, 0, TMICT), 0);
    assert_int_equal(get(b, 0, TMCCT), 0);

    b->cpu[0].tsc_offset = 1000000;
    u64 deadline = cpu_tsc(&b->cpu[0]) + 5000;
    assert_int_equal(wrmsr(b, 0, DEADLINE, deadline), 0);
    assert_int_equal(rdmsr(b, 0, DEADLINE), deadline);
    loop_advance(b->loop, 4999);
    assert_int_equal(rdmsr(b, 0, DEADLINE), deadline);
    assert_false(b->cpu[0].intr);
    loop_advance(b->loop, 1);
    assert_int_equal(rdmsr(b, 0, DEADLINE), 0);
    assert_int_equal(take(b, 0), 0x40);

    assert_int_equal(wrmsr(b, 0, DEADLINE, 1), 0); /* in the past: at once */
    assert_int_equal(take(b, 0), 0x40);
    assert_int_equal(rdmsr(b, 0, DEADLINE), 0);

    assert_int_equal(wrmsr(b, 0, DEADLINE, cpu_tsc(&b->cpu[0]) + 5000), 0);
    assert_int_equal(wrmsr(b, 0, DEADLINE, 0), 0); /* disarms */
    loop_advance(b->loop, 10000);
    assert_int_equal(take(b, 0), -1);

    assert_int_equal(wrmsr(b, 0, DEADLINE, cpu_tsc(&b->cpu[0]) + 5000), 0);
    put(b, 0, LVTT, PERIODIC | 0x40); /* leaving the mode disarms */
    put(b, 0, LVTT, TSC_DEADLINE | 0x40);
    assert_int_equal(rdmsr(b, 0, DEADLINE), 0);
}

static void test_tsc_deadline_masked_and_moved(void **state)
{
    struct bench *b = *state;
    put(b, 0, LVTT, TSC_DEADLINE | MASKED | 0x40);
    assert_int_equal(wrmsr(b, 0, DEADLINE, 5000), 0);
    loop_advance(b->loop, 10000);
    assert_int_equal(rdmsr(b, 0, DEADLINE), 0);
    put(b, 0, LVTT, TSC_DEADLINE | 0x40);
    assert_int_equal(take(b, 0), -1);

    u64 deadline = cpu_tsc(&b->cpu[0]) + 5000;
    assert_int_equal(wrmsr(b, 0, DEADLINE, deadline), 0);
    b->cpu[0].tsc_offset += 4000; /* the guest writes its TSC */
    apic_ops.tsc_changed(b->apic[0]);
    loop_advance(b->loop, 1000);
    assert_int_equal(take(b, 0), 0x40);
    deadline = cpu_tsc(&b->cpu[0]) + 5000;
    assert_int_equal(wrmsr(b, 0, DEADLINE, deadline), 0);
    b->cpu[0].tsc_offset -= 4000; /* back, and nobody says so */
    loop_advance(b->loop, 8999);
    assert_int_equal(take(b, 0), -1);
    loop_advance(b->loop, 1);
    assert_int_equal(take(b, 0), 0x40);
}

/* x2APIC and the base register */

static void test_mode_transitions(void **state)
{
    struct bench *b = *state;
    static const u64 xapic = 0xfee00900, x2apic = 0xfee00d00, off = 0xfee00100, invalid = 0xfee00500;
    assert_int_equal(wrmsr(b, 0, BASE, invalid), -EPERM);
    assert_int_equal(wrmsr(b, 0, BASE, xapic | 1), -EPERM);
    assert_int_equal(wrmsr(b, 0, BASE, xapic | 1ull << 40), -EPERM);
    assert_int_equal(wrmsr(b, 0, BASE, off), 0);
    assert_int_equal(wrmsr(b, 0, BASE, x2apic), -EPERM);
    assert_int_equal(wrmsr(b, 0, BASE, xapic), 0);
    assert_int_equal(get(b, 0, SVR), 0xff); /* a disabled APIC forgets */
    assert_int_equal(wrmsr(b, 0, BASE, x2apic), 0);
    assert_int_equal(b->cpu[0].base, x2apic);
    assert_int_equal(wrmsr(b, 0, BASE, xapic), -EPERM);
    assert_int_equal(wrmsr(b, 0, BASE, invalid), -EPERM);
    assert_int_equal(wrmsr(b, 0, BASE, x2apic), 0);
    assert_int_equal(wrmsr(b, 0, BASE, off), 0);
    assert_int_equal(wrmsr(b, 0, BASE, xapic | 0x100000), 0); /* and may move */
    assert_int_equal(rdmsr(b, 0, BASE), xapic | 0x100000);
    assert_true(rdmsr_faults(b, 0, x2(ID)));
    assert_int_equal(wrmsr(b, 0, x2(TPR), 0), -EPERM);
}

static void test_x2apic_registers(void **state)
{
    struct bench *b = *state;
    static const u32 no_read[] = {APR, EOI, 0x0c0, DFR, ICR2, SELF, 0x000, 0x040, 0x3a0, 0x400, 0xff0};
    static const u32 no_write[] = {ID, VER, PPR, LDR, DFR, ISR, TMR, IRR, ICR2, TMCCT, 0x040, 0x400};
    to_x2apic(b, 2);
    assert_int_equal(rdmsr(b, 2, x2(ID)), 2);
    assert_int_equal(rdmsr(b, 2, x2(LDR)), 4);
    for (unsigned i = 0; i < ARRAY_SIZE(no_read); i++)
        assert_true(rdmsr_faults(b, 2, x2(no_read[i])));
    for (unsigned i = 0; i < ARRAY_SIZE(no_write); i++)
        assert_int_equal(wrmsr(b, 2, x2(no_write[i]), 0), -EPERM);

    assert_int_equal(wrmsr(b, 2, x2(TPR), 0x100), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(TPR), 1ull << 32), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(TPR), 0x20), 0);
    assert_int_equal(wrmsr(b, 2, x2(EOI), 1), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(EOI), 0), 0);
    assert_int_equal(wrmsr(b, 2, x2(ESR), 1), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(SVR), 0x2ff), 0);
    assert_int_equal(wrmsr(b, 2, x2(SVR), 0x4ff), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(SVR), 0x1ff), 0);
    assert_int_equal(wrmsr(b, 2, x2(LVTT), 0x80000), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(ICR), 0x2040), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(ICR), 0x100040), -EPERM);
    assert_int_equal(wrmsr(b, 2, x2(SELF), 0x140), -EPERM);
}

static void test_x2apic_messages(void **state)
{
    struct bench *b = *state;
    for (unsigned n = 0; n < CPUS; n++)
        to_x2apic(b, n);
    assert_int_equal(wrmsr(b, 0, x2(TPR), 0), 0);
    assert_int_equal(wrmsr(b, 0, x2(SELF), 0x55), 0);
    assert_int_equal(accept_vector(b, 0), 0x55);
    assert_int_equal(wrmsr(b, 0, x2(EOI), 0), 0);
    assert_int_equal(wrmsr(b, 0, x2(ICR), 2ull << 32 | 0x4041), 0);
    assert_int_equal(rdmsr(b, 0, x2(ICR)), 2ull << 32 | 0x4041);
    assert_int_equal(accept_vector(b, 2), 0x41);
    assert_int_equal(wrmsr(b, 2, x2(EOI), 0), 0);
    assert_int_equal(wrmsr(b, 0, x2(ICR), 6ull << 32 | 0x4842), 0); /* logical, cluster 0, members 1 and 2 */
    assert_false(b->cpu[0].intr);
    assert_true(b->cpu[1].intr && b->cpu[2].intr);
    assert_int_equal(wrmsr(b, 0, x2(ICR), 0x10006ull << 32 | 0x4843), 0); /* cluster 1 is empty */
    assert_int_equal(wrmsr(b, 0, x2(ICR), 0xffull << 32 | 0x4044), 0);    /* nobody */
    assert_false(b->cpu[0].intr);
    assert_int_equal(wrmsr(b, 1, x2(ICR), 0xffffffffull << 32 | 0x4045), 0); /* everybody */
    for (unsigned n = 0; n < CPUS; n++)
        assert_int_equal(accept_vector(b, n), 0x45);
    struct msi_sink msi = apic_bus_msi(b->bus);
    msi_send(&msi, 0xfeeff000, 0x77); /* eight bits of ones are a broadcast here too */
    for (unsigned n = 0; n < CPUS; n++)
        assert_int_equal(accept_vector(b, n), 0x77);
}

static void test_init_keeps_x2apic(void **state)
{
    struct bench *b = *state;
    to_x2apic(b, 1);
    apic_ops.reset(b->apic[1], false);
    assert_int_equal(rdmsr(b, 1, BASE), 0xfee00c00);
    assert_int_equal(rdmsr(b, 1, x2(ID)), 1);
    apic_ops.reset(b->apic[1], true);
    assert_int_equal(rdmsr(b, 1, BASE), 0xfee00800);
}

static void test_without_features(void **state)
{
    struct bench *b = *state;
    struct apic_config cfg = {.bus = b->bus, .loop = b->loop, .id = 5, .hz = HZ, .phys_bits = 36};
    assert_null(apic_create(&(struct apic_config){.bus = b->bus, .loop = b->loop, .id = 2}));
    assert_null(apic_create(&(struct apic_config){.bus = b->bus, .loop = b->loop, .id = APIC_BUS_MAX}));
    struct apic *a = apic_create(&cfg);
    u64 v;
    assert_int_equal(apic_ops.msr_write(a, BASE, 0xfee00c00), -EPERM);
    assert_int_equal(apic_ops.msr_write(a, BASE, 0xfee00800 | 1ull << 36), -EPERM);
    assert_int_equal(apic_ops.msr_write(a, DEADLINE, 0), -EPERM);
    assert_int_equal(apic_ops.msr_read(a, DEADLINE, &v), -EPERM);
    apic_ops.mmio_write(a, SVR, 0x1ff);
    apic_ops.mmio_write(a, LVTT, TSC_DEADLINE | 0x40);
    assert_int_equal(apic_ops.mmio_read(a, LVTT), 0x40);
    ((struct dev *)a)->cls->destroy((struct dev *)a);
}

static void test_virtual_wire(void **state)
{
    struct bench *b = *state;
    apic_ops.reset(b->apic[0], true);
    apic_virtual_wire(b->apic[0]);
    struct irq_line irq3 = pic_line(b->pic, 3);
    irq_set(&irq3, true);
    assert_int_equal(accept_vector(b, 0), 3);
    struct irq_line nmi = apic_bus_lint(b->bus, 1);
    irq_pulse(&nmi);
    assert_int_equal(b->cpu[0].nmi, 1);
}

static void test_state(void **state)
{
    struct bench *b = *state;
    ipi(b, 0, 0, 0x4051);
    put(b, 0, LVTT, PERIODIC | 0x40);
    put(b, 0, TMICT, 1000);
    loop_advance(b->loop, 300 * TICK);
    bench_copy_state((struct dev *)b->apic[0], (struct dev *)b->apic[1]);
    assert_true(b->cpu[1].intr);
    assert_int_equal(take(b, 1), 0x51);
    assert_int_equal(get(b, 1, TMCCT), 700);
    loop_advance(b->loop, 700 * TICK);
    assert_int_equal(take(b, 1), 0x40);
}

#define APIC_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        APIC_TEST(test_reset_values),
        APIC_TEST(test_reserved_bits_are_dropped),
        APIC_TEST(test_error_status),
        APIC_TEST(test_software_disable),
        APIC_TEST(test_priorities),
        APIC_TEST(test_task_priority),
        APIC_TEST(test_destinations),
        APIC_TEST(test_logical_flat_and_cluster),
        APIC_TEST(test_lowest_priority),
        APIC_TEST(test_init_sipi_nmi_smi),
        APIC_TEST(test_level_and_eoi),
        APIC_TEST(test_extint),
        APIC_TEST(test_extint_message),
        APIC_TEST(test_lint),
        APIC_TEST(test_one_shot),
        APIC_TEST(test_periodic_and_divider),
        APIC_TEST(test_masked_timer),
        APIC_TEST(test_timer_mode_changes),
        APIC_TEST(test_tsc_deadline),
        APIC_TEST(test_tsc_deadline_masked_and_moved),
        APIC_TEST(test_mode_transitions),
        APIC_TEST(test_x2apic_registers),
        APIC_TEST(test_x2apic_messages),
        APIC_TEST(test_init_keeps_x2apic),
        APIC_TEST(test_without_features),
        APIC_TEST(test_virtual_wire),
        APIC_TEST(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
