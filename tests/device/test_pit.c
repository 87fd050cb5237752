/*
 * The 8254: six modes, binary and BCD, latches, read-back, the gate and port 0x61, IRQ0.
 */
#include "bench.h"

#include "dev/pc/pit.h"

struct bench {
    struct loop *loop;
    struct pit *pit;
    struct probe irq;
    u64 ticks; /* that have been let pass */
};

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop()};
    b.irq.loop = b.loop;
    b.pit = pit_create(&(struct pit_config){.loop = b.loop, .irq = probe_line(&b.irq)});
    assert_non_null(b.pit);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    ((struct dev *)b->pit)->cls->destroy((struct dev *)b->pit);
    loop_destroy(b->loop);
    return 0;
}

static void pass(struct bench *b, u64 ticks)
{
    b->ticks += ticks;
    loop_advance(b->loop, ticks_to_ns(b->ticks, PIT_HZ) - door_time(b->loop));
}

static void program(struct bench *b, unsigned c, u8 control, u16 count)
{
    pit_write(b->pit, 3, (u8)(c << 6 | 0x30 | control));
    pit_write(b->pit, c, (u8)count);
    pit_write(b->pit, c, (u8)(count >> 8));
}

static u16 value(struct bench *b, unsigned c)
{
    pit_write(b->pit, 3, (u8)(c << 6));
    u8 low = pit_read(b->pit, c);
    return (u16)(low | pit_read(b->pit, c) << 8);
}

static u8 status(struct bench *b, unsigned c)
{
    pit_write(b->pit, 3, (u8)(0xe0 | 2 << c));
    return pit_read(b->pit, c);
}

static bool out(struct bench *b, unsigned c)
{
    return status(b, c) & 0x80;
}

static void test_mode_0(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x0, 1000);
    assert_false(out(b, 0));
    pass(b, 400);
    assert_int_equal(value(b, 0), 600);
    pass(b, 599);
    assert_int_equal(probe_take(&b->irq), 0);
    pass(b, 1);
    assert_int_equal(probe_take(&b->irq), 1);
    assert_true(out(b, 0));
    pass(b, 1); /* goes on counting, through zero */
    assert_int_equal(value(b, 0), 0xffff);
    pass(b, 200000);
    assert_int_equal(probe_take(&b->irq), 0);
    pit_write(b->pit, 0, 10); /* the first byte stops it, output low */
    assert_false(out(b, 0));
    assert_false(b->irq.level);
    pass(b, 1000);
    pit_write(b->pit, 0, 0);
    assert_int_equal(value(b, 0), 10);
    pass(b, 10);
    assert_int_equal(probe_take(&b->irq), 1);
}

static void test_mode_0_gate(void **state)
{
    struct bench *b = *state;
    program(b, 2, 0x0, 1000);
    pass(b, 100);
    assert_int_equal(value(b, 2), 1000); /* the gate is low */
    pit_write_port61(b->pit, 1);
    pass(b, 100);
    assert_int_equal(value(b, 2), 900);
    pit_write_port61(b->pit, 0);
    pass(b, 5000);
    assert_int_equal(value(b, 2), 900);
    pit_write_port61(b->pit, 1);
    pass(b, 899);
    assert_int_equal(pit_read_port61(b->pit) & 0x2f, 0x01);
    pass(b, 1);
    assert_int_equal(pit_read_port61(b->pit) & 0x2f, 0x21);
}

static void test_mode_1(void **state)
{
    struct bench *b = *state;
    program(b, 2, 0x2, 100);
    pass(b, 500);
    assert_true(out(b, 2)); /* waits for the gate */
    pit_write_port61(b->pit, 1);
    assert_false(out(b, 2));
    pass(b, 60);
    pit_write_port61(b->pit, 0); /* only a rising gate matters */
    pit_write_port61(b->pit, 1); /* starts again */
    pass(b, 99);
    assert_false(out(b, 2));
    pass(b, 1);
    assert_true(out(b, 2));
    pit_write(b->pit, 2, 50);
    pit_write(b->pit, 2, 0); /* for the next trigger */
    assert_int_equal(status(b, 2) & 0x40, 0x40);
    pit_write_port61(b->pit, 0);
    pit_write_port61(b->pit, 1);
    pass(b, 49);
    assert_false(out(b, 2));
    pass(b, 1);
    assert_true(out(b, 2));
}

static void test_mode_2(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x4, 1000);
    assert_true(out(b, 0));
    pass(b, 998);
    assert_true(out(b, 0));
    assert_int_equal(value(b, 0), 2);
    pass(b, 1);
    assert_false(out(b, 0)); /* for one clock */
    assert_int_equal(value(b, 0), 1);
    pass(b, 1);
    assert_true(out(b, 0));
    assert_int_equal(value(b, 0), 1000);
    assert_int_equal(probe_take(&b->irq), 1);
    for (unsigned i = 0; i < 100; i++) {
        pass(b, 1000);
        assert_int_equal(probe_take(&b->irq), 1);
    }
    pass(b, 300);
    pit_write(b->pit, 0, 0xd0);
    pit_write(b->pit, 0, 0x07); /* 2000, once this period is over */
    assert_int_equal(value(b, 0), 700);
    pass(b, 700);
    assert_int_equal(probe_take(&b->irq), 1);
    assert_int_equal(value(b, 0), 2000);
    pass(b, 1999);
    assert_int_equal(probe_take(&b->irq), 0);
    pass(b, 1);
    assert_int_equal(probe_take(&b->irq), 1);
}

static void test_mode_2_gate(void **state)
{
    struct bench *b = *state;
    pit_write_port61(b->pit, 1);
    program(b, 2, 0x4, 1000);
    pass(b, 999);
    assert_false(out(b, 2));
    pit_write_port61(b->pit, 0); /* output high at once */
    assert_true(out(b, 2));
    pass(b, 100);
    pit_write_port61(b->pit, 1);
    assert_int_equal(value(b, 2), 1000); /* loaded again */
}

static void test_mode_3(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x6, 10);
    static const u8 even[] = {10, 8, 6, 4, 2, 10, 8, 6, 4, 2};
    for (unsigned i = 0; i < 20; i++, pass(b, 1)) {
        assert_int_equal(value(b, 0), even[i % 10]);
        assert_int_equal(out(b, 0), i % 10 < 5);
    }
    static const u8 odd[] = {4, 2, 0, 4, 2}; /* three clocks high, two low */
    program(b, 0, 0x6, 5);
    for (unsigned i = 0; i < 20; i++, pass(b, 1)) {
        assert_int_equal(value(b, 0), odd[i % 5]);
        assert_int_equal(out(b, 0), i % 5 < 3);
    }
    program(b, 0, 0x6, 1000);
    (void)probe_take(&b->irq);
    pass(b, 100);
    pit_write(b->pit, 0, 0xd0);
    pit_write(b->pit, 0, 0x07); /* 2000 from the end of this half on */
    pass(b, 399);
    assert_true(out(b, 0));
    pass(b, 1);
    assert_false(out(b, 0));
    pass(b, 999);
    assert_false(out(b, 0));
    assert_int_equal(probe_take(&b->irq), 0);
    pass(b, 1);
    assert_true(out(b, 0));
    assert_int_equal(probe_take(&b->irq), 1);
}

static void test_modes_4_and_5(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x8, 100);
    pass(b, 99);
    assert_true(out(b, 0));
    pass(b, 1);
    assert_false(out(b, 0));
    assert_int_equal(probe_take(&b->irq), 0);
    pass(b, 1);
    assert_true(out(b, 0));
    assert_int_equal(probe_take(&b->irq), 1);
    pass(b, 200000);
    assert_int_equal(probe_take(&b->irq), 0);

    program(b, 2, 0xa, 100);
    pass(b, 1000);
    assert_true(out(b, 2));
    pit_write_port61(b->pit, 1);
    pass(b, 100);
    assert_false(out(b, 2));
    pass(b, 1);
    assert_true(out(b, 2));
}

static void test_bcd(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x5, 0x1000);
    pass(b, 1);
    assert_int_equal(value(b, 0), 0x0999);
    pass(b, 999);
    assert_int_equal(probe_take(&b->irq), 1);
    program(b, 0, 0x1, 0); /* ten thousand */
    pass(b, 1);
    assert_int_equal(value(b, 0), 0x9999);
    pass(b, 9999);
    assert_int_equal(value(b, 0), 0);
    pass(b, 1);
    assert_int_equal(value(b, 0), 0x9999);
    program(b, 0, 0x1, 0xffff); /* not decimal: anything, but no crash */
    (void)value(b, 0);
}

static void test_access_and_latches(void **state)
{
    struct bench *b = *state;
    pit_write(b->pit, 3, 0x14); /* low byte only, mode 2 */
    pit_write(b->pit, 0, 200);
    pass(b, 50);
    assert_int_equal(pit_read(b->pit, 0), 150);
    assert_int_equal(pit_read(b->pit, 0), 150);
    pit_write(b->pit, 3, 0x24); /* high byte only */
    pit_write(b->pit, 0, 2);
    assert_int_equal(pit_read(b->pit, 0), 2);

    program(b, 0, 0x4, 0x1234);
    pit_write(b->pit, 3, 0x00);
    pass(b, 0x34);
    pit_write(b->pit, 3, 0x00); /* a second latch does nothing */
    assert_int_equal(pit_read(b->pit, 0), 0x34);
    assert_int_equal(pit_read(b->pit, 0), 0x12);
    assert_int_equal(pit_read(b->pit, 0), 0x00); /* unlatched: as it is */
    assert_int_equal(pit_read(b->pit, 0), 0x12);

    program(b, 2, 0x4, 0x4321);
    pit_write(b->pit, 3, 0xc0 | 0x0a); /* read-back: count and status of 0 and 2 */
    assert_int_equal(pit_read(b->pit, 0), 0xb4);
    assert_int_equal(pit_read(b->pit, 0), 0x00);
    assert_int_equal(pit_read(b->pit, 0), 0x12);
    assert_int_equal(pit_read(b->pit, 2), 0xb4);
    assert_int_equal(pit_read(b->pit, 2), 0x21);
    assert_int_equal(pit_read(b->pit, 2), 0x43);
    pit_write(b->pit, 3, 0x36);
    assert_int_equal(status(b, 0) & 0x7f, 0x76); /* null count */
}

static void test_port61(void **state)
{
    struct bench *b = *state;
    pit_write_port61(b->pit, 0xff);
    assert_int_equal(pit_read_port61(b->pit) & 0xcf, 0x0f);
    unsigned toggles = 0;
    u8 last = pit_read_port61(b->pit) & 0x10;
    for (unsigned i = 0; i < 3000; i++) {
        loop_advance(b->loop, US);
        u8 now = pit_read_port61(b->pit) & 0x10;
        toggles += now != last;
        last = now;
    }
    assert_in_range(toggles, 195, 201); /* every 15 us */
}

static void test_fast_and_late(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x4, 2); /* 600 kHz: held back */
    loop_advance(b->loop, SECOND / 10);
    assert_in_range(probe_take(&b->irq), 1000, 2100);
    program(b, 0, 0x4, 1);
    loop_advance(b->loop, SECOND / 10);
    assert_int_equal(probe_take(&b->irq), 0);
}

static void test_disconnect(void **state)
{
    struct bench *b = *state;
    program(b, 0, 0x4, 1000);
    pass(b, 1000);
    assert_true(b->irq.level);
    (void)probe_take(&b->irq);
    pit_connect_irq(b->pit, false);
    assert_false(b->irq.level);
    pass(b, 5000);
    assert_int_equal(probe_take(&b->irq), 0);
    pit_connect_irq(b->pit, true);
    pass(b, 1000);
    assert_int_equal(probe_take(&b->irq), 1);
}

static void test_state(void **state)
{
    struct bench *b = *state;
    struct probe irq = {0};
    struct pit *other = pit_create(&(struct pit_config){.loop = b->loop, .irq = probe_line(&irq)});
    program(b, 0, 0x4, 1000);
    pass(b, 100);
    bench_copy_state((struct dev *)b->pit, (struct dev *)other);
    pass(b, 900);
    assert_int_equal(probe_take(&irq), 1);
    ((struct dev *)other)->cls->destroy((struct dev *)other);
}

#define PIT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PIT_TEST(test_mode_0),        PIT_TEST(test_mode_0_gate),   PIT_TEST(test_mode_1),
        PIT_TEST(test_mode_2),        PIT_TEST(test_mode_2_gate),   PIT_TEST(test_mode_3),
        PIT_TEST(test_modes_4_and_5), PIT_TEST(test_bcd),           PIT_TEST(test_access_and_latches),
        PIT_TEST(test_port61),        PIT_TEST(test_fast_and_late), PIT_TEST(test_disconnect),
        PIT_TEST(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
