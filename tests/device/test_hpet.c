/*
 * The HPET: counter, one-shot and periodic comparators in 32 and 64 bits, edge and level, legacy replacement.
 */
#include "bench.h"

#include "dev/pc/hpet.h"

#define TICK (SECOND / HPET_HZ)

enum { ID = 0x00, CONF = 0x10, STATUS = 0x20, COUNTER = 0xf0, T0 = 0x100, T1 = 0x120, T2 = 0x140, CMP = 8 };
enum { LEVEL = 2, ENABLE = 4, PERIODIC = 8, VAL_SET = 0x40, MODE32 = 0x100 };
#define PIN(n) ((n) << 9)

struct bench {
    struct loop *loop;
    struct hpet *hpet;
    struct probe legacy[2], pin[HPET_PINS];
    unsigned routed;
    bool route;
};

static void legacy_route(void *opaque, bool on)
{
    struct bench *b = opaque;
    b->routed++;
    b->route = on;
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop()};
    struct hpet_config cfg = {.loop = b.loop, .route_cap = 0x00f00004, .legacy_route = legacy_route, .opaque = &b};
    for (unsigned n = 0; n < HPET_PINS; n++)
        cfg.pin[n] = probe_line(&b.pin[n]);
    for (unsigned n = 0; n < 2; n++)
        cfg.legacy[n] = probe_line(&b.legacy[n]);
    b.hpet = hpet_create(&cfg);
    assert_non_null(b.hpet);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    ((struct dev *)b->hpet)->cls->destroy((struct dev *)b->hpet);
    loop_destroy(b->loop);
    return 0;
}

static u64 get(struct bench *b, u32 off)
{
    return hpet_read(b->hpet, off, 8);
}

static void put(struct bench *b, u32 off, u64 v)
{
    hpet_write(b->hpet, off, v, 8);
}

static void put32(struct bench *b, u32 off, u32 v)
{
    hpet_write(b->hpet, off, v, 4);
}

static void pass(struct bench *b, u64 ticks)
{
    loop_advance(b->loop, ticks * TICK);
}

static void test_identity_and_counter(void **state)
{
    struct bench *b = *state;
    assert_int_equal(get(b, ID), 0x009896808086a201);
    assert_int_equal(hpet_read(b->hpet, ID + 4, 4), 10000000); /* femtoseconds */
    pass(b, 1000);
    assert_int_equal(get(b, COUNTER), 0);
    put(b, COUNTER, 0xfffffff0);
    put(b, CONF, 1);
    pass(b, 0x20);
    assert_int_equal(get(b, COUNTER), 0x100000010);
    assert_int_equal(hpet_read(b->hpet, COUNTER + 4, 4), 1);
    put(b, CONF, 0);
    pass(b, 1000);
    assert_int_equal(get(b, COUNTER), 0x100000010);
    put32(b, COUNTER + 4, 5);
    assert_int_equal(get(b, COUNTER), 0x500000010);
    put(b, CONF, ~0ull);
    assert_int_equal(get(b, CONF), 3);
    assert_int_equal(get(b, T0), 0x00f0000400000030);
    put(b, T1, ~0ull);
    assert_int_equal(get(b, T1), 0x00f0000400003f7e);
    assert_int_equal(get(b, T0 + 0x10), 0);
    assert_int_equal(get(b, 0x3f8), 0);
}

static void test_one_shot(void **state)
{
    struct bench *b = *state;
    put(b, T2, ENABLE | PIN(20));
    put(b, T2 + CMP, 1000);
    put(b, CONF, 1);
    pass(b, 999);
    assert_int_equal(b->pin[20].rises, 0);
    pass(b, 1);
    assert_int_equal(probe_take(&b->pin[20]), 1);
    assert_false(b->pin[20].level);
    pass(b, 100000);
    assert_int_equal(probe_take(&b->pin[20]), 0);
    put(b, T2 + CMP, get(b, COUNTER) + 50);
    pass(b, 50);
    assert_int_equal(probe_take(&b->pin[20]), 1);
    put(b, T2 + CMP, get(b, COUNTER) - 1); /* just missed: 64 bits away */
    pass(b, 100000000000);
    assert_int_equal(probe_take(&b->pin[20]), 0);
    put(b, T2, ENABLE | PIN(5)); /* not a pin it can have */
    put(b, T2 + CMP, get(b, COUNTER) + 50);
    pass(b, 50);
    assert_int_equal(b->pin[5].rises, 0);
}

static void test_32_bits_wrap(void **state)
{
    struct bench *b = *state;
    put(b, COUNTER, 0x1fffffff0);
    put(b, T0, ENABLE | MODE32 | PIN(2));
    put(b, T0 + CMP, 0x10);
    put(b, CONF, 1);
    pass(b, 0x1f);
    assert_int_equal(probe_take(&b->pin[2]), 0);
    pass(b, 1);
    assert_int_equal(probe_take(&b->pin[2]), 1);
    pass(b, 1ull << 32); /* comes round again */
    assert_int_equal(probe_take(&b->pin[2]), 1);
}

static void test_periodic(void **state)
{
    struct bench *b = *state;
    put(b, T0, ENABLE | PERIODIC | VAL_SET | PIN(2));
    put(b, T0 + CMP, 5000);
    assert_int_equal(get(b, T0) & VAL_SET, 0);
    put(b, T0 + CMP, 10000); /* the period alone */
    put(b, CONF, 1);
    pass(b, 4999);
    assert_int_equal(probe_take(&b->pin[2]), 0);
    pass(b, 1);
    assert_int_equal(probe_take(&b->pin[2]), 1);
    assert_int_equal(get(b, T0 + CMP), 15000);
    for (unsigned i = 0; i < 100; i++) {
        pass(b, 10000);
        assert_int_equal(probe_take(&b->pin[2]), 1);
    }
    put(b, T0, PERIODIC | PIN(2)); /* no interrupt, but the comparator moves */
    pass(b, 25000);
    assert_int_equal(get(b, T0 + CMP), 5000 + 103 * 10000);
    assert_int_equal(probe_take(&b->pin[2]), 0);
}

/* As Linux programs it: halted, 32 bits, two writes of the lower half. */
static void test_periodic_32(void **state)
{
    struct bench *b = *state;
    put(b, COUNTER, 0xffffff00);
    put32(b, T0, ENABLE | PERIODIC | VAL_SET | MODE32 | PIN(2));
    put32(b, T0 + CMP, 0xffffff00u + 10000);
    put32(b, T0 + CMP, 10000);
    put(b, CONF, 1);
    pass(b, 10000);
    assert_int_equal(probe_take(&b->pin[2]), 1);
    assert_int_equal(get(b, T0 + CMP), (u32)(0xffffff00u + 20000));
    pass(b, 100000);
    assert_int_equal(probe_take(&b->pin[2]), 10);
}

static void test_periodic_64_by_halves(void **state)
{
    struct bench *b = *state;
    put(b, COUNTER, 0x200000000);
    put(b, T0, ENABLE | PERIODIC | VAL_SET | PIN(2));
    put32(b, T0 + CMP, 1000);
    put32(b, T0 + CMP + 4, 2); /* VAL_SET holds for both halves */
    put32(b, T0 + CMP, 10000);
    put32(b, T0 + CMP + 4, 0);
    put(b, CONF, 1);
    assert_int_equal(get(b, T0 + CMP), 0x200000000 + 1000);
    pass(b, 11000);
    assert_int_equal(probe_take(&b->pin[2]), 2);
}

static void test_level(void **state)
{
    struct bench *b = *state;
    put(b, T1, ENABLE | LEVEL | PIN(21));
    put(b, T1 + CMP, 100);
    put(b, CONF, 1);
    pass(b, 100);
    assert_true(b->pin[21].level);
    assert_int_equal(get(b, STATUS), 2);
    put(b, STATUS, 1);
    assert_true(b->pin[21].level);
    put(b, STATUS, 2);
    assert_false(b->pin[21].level);
    assert_int_equal(get(b, STATUS), 0);
    put(b, T1, LEVEL | PIN(21)); /* status without interrupt */
    put(b, T1 + CMP, get(b, COUNTER) + 100);
    pass(b, 100);
    assert_int_equal(get(b, STATUS), 2);
    assert_false(b->pin[21].level);
    put(b, T1, ENABLE | LEVEL | PIN(22));
    assert_true(b->pin[22].level);
    put(b, T1, ENABLE | PIN(22)); /* edge: status has no meaning */
    assert_false(b->pin[22].level);
    assert_int_equal(get(b, STATUS), 0);
}

static void test_legacy(void **state)
{
    struct bench *b = *state;
    assert_int_equal(b->routed, 0);
    put(b, T0, ENABLE | PIN(2));
    put(b, T0 + CMP, 100);
    put(b, T1, ENABLE | PIN(2));
    put(b, T1 + CMP, 200);
    put(b, T2, ENABLE | PIN(2));
    put(b, T2 + CMP, 300);
    put(b, CONF, 3);
    assert_true(b->route);
    pass(b, 250);
    assert_int_equal(b->legacy[0].rises, 1);
    assert_int_equal(b->legacy[1].rises, 1);
    assert_int_equal(b->pin[2].rises, 0);
    pass(b, 50);
    assert_int_equal(b->pin[2].rises, 1);
    put(b, CONF, 1);
    assert_false(b->route);
    assert_int_equal(b->routed, 2);
}

static void test_storm(void **state)
{
    struct bench *b = *state;
    put(b, T0, ENABLE | PERIODIC | VAL_SET | PIN(2));
    put(b, T0 + CMP, 1); /* 100 MHz */
    put(b, CONF, 1);
    loop_advance(b->loop, 10 * MS);
    assert_in_range(probe_take(&b->pin[2]), 100, 600);
    put(b, T0, ENABLE | PERIODIC | VAL_SET | PIN(2));
    put(b, T0 + CMP, 0); /* no period: once a turn */
    loop_advance(b->loop, 10 * MS);
    assert_in_range(probe_take(&b->pin[2]), 0, 1);
}

static void test_state(void **state)
{
    struct bench *b = *state;
    struct hpet_config cfg = {.loop = b->loop, .route_cap = 4};
    struct probe pin = {0};
    cfg.pin[2] = probe_line(&pin);
    struct hpet *other = hpet_create(&cfg);
    put(b, T0, ENABLE | PERIODIC | VAL_SET | PIN(2));
    put(b, T0 + CMP, 10000);
    put(b, CONF, 1);
    pass(b, 15000);
    bench_copy_state((struct dev *)b->hpet, (struct dev *)other);
    pass(b, 5000);
    assert_int_equal(pin.rises, 1);
    assert_int_equal(hpet_read(other, COUNTER, 8), get(b, COUNTER));
    ((struct dev *)other)->cls->destroy((struct dev *)other);
}

#define HPET_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HPET_TEST(test_identity_and_counter),
        HPET_TEST(test_one_shot),
        HPET_TEST(test_32_bits_wrap),
        HPET_TEST(test_periodic),
        HPET_TEST(test_periodic_32),
        HPET_TEST(test_periodic_64_by_halves),
        HPET_TEST(test_level),
        HPET_TEST(test_legacy),
        HPET_TEST(test_storm),
        HPET_TEST(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
