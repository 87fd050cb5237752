/*
 * The I/O APIC: entries, edges and levels, Remote IRR, both kinds of EOI.
 */
#include "bench.h"

#include "dev/pc/ioapic.h"

struct bench {
    struct loop *loop;
    struct mem_space *mem;
    struct ioapic *io;
    unsigned sent;
    u64 address;
    u32 data;
};

static void sent(void *opaque, u64 address, u32 data)
{
    struct bench *b = opaque;
    b->sent++;
    b->address = address;
    b->data = data;
}

static unsigned take(struct bench *b)
{
    unsigned n = b->sent;
    b->sent = 0;
    return n;
}

static u32 get(struct bench *b, u8 reg)
{
    mem_io_write(b->mem, IOAPIC_BASE, reg, 4);
    return (u32)mem_io_read(b->mem, IOAPIC_BASE + 0x10, 4);
}

static void put(struct bench *b, u8 reg, u32 v)
{
    mem_io_write(b->mem, IOAPIC_BASE, reg, 4);
    mem_io_write(b->mem, IOAPIC_BASE + 0x10, v, 4);
}

static void line(struct bench *b, unsigned n, bool level)
{
    struct irq_line l = ioapic_line(b->io, n);
    irq_set(&l, level);
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop()};
    b.mem = bench_mem(b.loop);
    b.io = ioapic_create(
        &(struct ioapic_config){.mem = b.mem, .base = IOAPIC_BASE, .id = 3, .msi = {.send = sent, .opaque = &b}});
    assert_non_null(b.io);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    struct dev *d = (struct dev *)b->io;
    d->cls->destroy(d);
    mem_space_destroy(b->mem);
    loop_destroy(b->loop);
    return 0;
}

static void test_registers(void **state)
{
    struct bench *b = *state;
    assert_int_equal(get(b, 0), 0x03000000);
    assert_int_equal(get(b, 1), 0x00170020);
    put(b, 1, 0);
    assert_int_equal(get(b, 1), 0x00170020);
    put(b, 0, 0xff000000);
    assert_int_equal(get(b, 0), 0x0f000000);
    assert_int_equal(get(b, 2), 0x0f000000);
    assert_int_equal(get(b, 0x10), 0x00010000);
    put(b, 0x3e, 0xffffffff);
    put(b, 0x3f, 0xffffffff);
    assert_int_equal(get(b, 0x3e), 0x0001afff);
    assert_int_equal(get(b, 0x3f), 0xff000000);
    assert_int_equal(get(b, 0x40), 0);
    put(b, 0x40, 0xffffffff);
    assert_int_equal(mem_io_read(b->mem, IOAPIC_BASE, 4), 0x40);
}

static void test_edge(void **state)
{
    struct bench *b = *state;
    put(b, 0x15, 0x05000000);
    put(b, 0x14, 0x0931); /* lowest priority, logical */
    line(b, 2, true);
    assert_int_equal(take(b), 1);
    assert_int_equal(b->address, 0xfee05004);
    assert_int_equal(b->data, 0x131);
    line(b, 2, true);
    assert_int_equal(take(b), 0);
    line(b, 2, false);
    put(b, 0x14, 0x10931);
    line(b, 2, true); /* masked: lost */
    put(b, 0x14, 0x0931);
    assert_int_equal(take(b), 0);
    line(b, 2, false);
    line(b, 2, true);
    assert_int_equal(take(b), 1);
}

static void test_level(void **state)
{
    struct bench *b = *state;
    put(b, 0x30, 0x8055);
    line(b, 16, true);
    assert_int_equal(take(b), 1);
    assert_int_equal(b->data, 0xc055);
    assert_int_equal(get(b, 0x30), 0xc055); /* Remote IRR */
    line(b, 16, false);
    line(b, 16, true);
    assert_int_equal(take(b), 0);
    ioapic_eoi(b->io, 0x54);
    assert_int_equal(take(b), 0);
    ioapic_eoi(b->io, 0x55); /* still high: again */
    assert_int_equal(take(b), 1);
    line(b, 16, false);
    mem_io_write(b->mem, IOAPIC_BASE + 0x40, 0x55, 4);
    assert_int_equal(take(b), 0);
    assert_int_equal(get(b, 0x30), 0x8055);
}

static void test_level_mask(void **state)
{
    struct bench *b = *state;
    put(b, 0x30, 0x18055);
    line(b, 16, true);
    assert_int_equal(take(b), 0);
    put(b, 0x30, 0x8055);
    assert_int_equal(take(b), 1);
    put(b, 0x30, 0x18055); /* Remote IRR is not software's */
    assert_int_equal(get(b, 0x30), 0x1c055);
    put(b, 0x30, 0x10055); /* but edge clears it */
    assert_int_equal(get(b, 0x30), 0x10055);
    put(b, 0x30, 0x8055);
    assert_int_equal(take(b), 1);
}

static void test_modes_that_are_edges(void **state)
{
    struct bench *b = *state;
    put(b, 0x10, 0x8700); /* ExtINT, level: is an edge all the same */
    line(b, 0, true);
    assert_int_equal(take(b), 1);
    assert_int_equal(b->data, 0x700);
    assert_int_equal(get(b, 0x10), 0x8700);
    put(b, 0x12, 0x0400);
    line(b, 1, true);
    assert_int_equal(b->data, 0x400);
}

static void test_lines_out_of_range(void **state)
{
    struct bench *b = *state;
    line(b, 24, true);
    line(b, 1000, true);
    assert_int_equal(take(b), 0);
}

#define IOAPIC_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IOAPIC_TEST(test_registers),
        IOAPIC_TEST(test_edge),
        IOAPIC_TEST(test_level),
        IOAPIC_TEST(test_level_mask),
        IOAPIC_TEST(test_modes_that_are_edges),
        IOAPIC_TEST(test_lines_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
