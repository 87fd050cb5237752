/*
 * The real-time clock: the calendar in all its formats, setting, update-in-progress, the three interrupts, RAM.
 */
#include <stdio.h>

#include "bench.h"

#include "dev/pc/rtc.h"

enum { SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WDAY, MDAY, MONTH, YEAR, A, B, C, D, CENTURY = 0x32 };
#define NONE 0x02 /* register B: 24 hours, BCD */

struct bench {
    struct loop *loop;
    struct rtc *rtc;
    struct probe irq;
    bool nmi_masked;
    unsigned alarms;
};

static void count_alarm(void *opaque)
{
    ((struct bench *)opaque)->alarms++;
}

static void nmi_mask(void *opaque, bool masked)
{
    ((struct bench *)opaque)->nmi_masked = masked;
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop()};
    b.irq.loop = b.loop;
    b.rtc = rtc_create(&(struct rtc_config){
        .loop = b.loop, .irq = probe_line(&b.irq), .nmi_mask = nmi_mask, .alarm = count_alarm, .opaque = &b});
    assert_non_null(b.rtc);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    ((struct dev *)b->rtc)->cls->destroy((struct dev *)b->rtc);
    loop_destroy(b->loop);
    return 0;
}

static u8 get(struct bench *b, u8 reg)
{
    rtc_write(b->rtc, 0, reg);
    return rtc_read(b->rtc, 1);
}

static void put(struct bench *b, u8 reg, u8 v)
{
    rtc_write(b->rtc, 0, reg);
    rtc_write(b->rtc, 1, v);
}

static void check_time(struct bench *b, const char *want)
{
    char text[64];
    snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %02x:%02x:%02x day %x", get(b, CENTURY), get(b, YEAR),
             get(b, MONTH), get(b, MDAY), get(b, HOUR), get(b, MIN), get(b, SEC), get(b, WDAY));
    assert_string_equal(text, want);
}

static void test_calendar(void **state)
{
    struct bench *b = *state;
    check_time(b, "2024-02-28 23:59:58 day 4");
    loop_advance(b->loop, 2 * SECOND);
    check_time(b, "2024-02-29 00:00:00 day 5");
    loop_advance(b->loop, 86400 * SECOND);
    check_time(b, "2024-03-01 00:00:00 day 6");
    loop_advance(b->loop, 306 * 86400 * SECOND - SECOND);
    check_time(b, "2024-12-31 23:59:59 day 3");
    loop_advance(b->loop, SECOND);
    check_time(b, "2025-01-01 00:00:00 day 4");
    assert_int_equal(get(b, D), 0x80);
}

static void test_formats(void **state)
{
    struct bench *b = *state;
    put(b, B, 0x06);
    assert_int_equal(get(b, HOUR), 23);
    assert_int_equal(get(b, SEC), 58);
    assert_int_equal(get(b, CENTURY), 20);
    put(b, B, 0x00); /* 12 hours, BCD */
    assert_int_equal(get(b, HOUR), 0x91);
    loop_advance(b->loop, 2 * SECOND);
    assert_int_equal(get(b, HOUR), 0x12); /* midnight */
    loop_advance(b->loop, 12 * 3600 * SECOND);
    assert_int_equal(get(b, HOUR), 0x92); /* noon */
    put(b, B, 0x04);
    assert_int_equal(get(b, HOUR), 0x8c);
    put(b, HOUR, 0x81); /* 1 PM */
    put(b, B, 0x02);
    assert_int_equal(get(b, HOUR), 0x13);
}

static void test_set(void **state)
{
    struct bench *b = *state;
    static const u8 when[][2] = {{SEC, 0x59},  {MIN, 0x59},   {HOUR, 0x23}, {WDAY, 0x06},
                                 {MDAY, 0x31}, {MONTH, 0x12}, {YEAR, 0x99}, {CENTURY, 0x19}};
    loop_advance(b->loop, SECOND / 4);
    put(b, B, 0x80 | NONE);
    for (unsigned i = 0; i < ARRAY_SIZE(when); i++)
        put(b, when[i][0], when[i][1]);
    loop_advance(b->loop, 10 * SECOND);
    check_time(b, "1999-12-31 23:59:59 day 6");
    put(b, B, NONE);
    loop_advance(b->loop, 3 * SECOND / 4 - 1); /* the divider went on meanwhile */
    check_time(b, "1999-12-31 23:59:59 day 6");
    loop_advance(b->loop, 1);
    check_time(b, "2000-01-01 00:00:00 day 7");
    put(b, MIN, 0x30); /* without SET as well */
    check_time(b, "2000-01-01 00:30:00 day 7");
}

static void test_divider_reset(void **state)
{
    struct bench *b = *state;
    put(b, A, 0x70);
    loop_advance(b->loop, 10 * SECOND);
    check_time(b, "2024-02-28 23:59:58 day 4");
    put(b, A, 0x26); /* first update after half a second */
    loop_advance(b->loop, SECOND / 2 - 1);
    check_time(b, "2024-02-28 23:59:58 day 4");
    loop_advance(b->loop, 1);
    check_time(b, "2024-02-28 23:59:59 day 4");
}

static void test_strange_dates(void **state)
{
    struct bench *b = *state;
    for (unsigned v = 0; v < 256; v++) {
        put(b, B, v & 1 ? 0x06 : 0x00);
        for (unsigned reg = SEC; reg <= YEAR; reg++)
            put(b, (u8)reg, (u8)(v * (reg + 1)));
        put(b, CENTURY, (u8)v);
        loop_advance(b->loop, SECOND);
        for (unsigned reg = SEC; reg <= D; reg++)
            (void)get(b, (u8)reg);
    }
}

static void test_update_in_progress(void **state)
{
    struct bench *b = *state;
    assert_int_equal(get(b, A), 0x26);
    loop_advance(b->loop, SECOND - 245 * US);
    assert_int_equal(get(b, A), 0x26);
    loop_advance(b->loop, 2 * US);
    assert_int_equal(get(b, A), 0xa6);
    put(b, B, 0x80 | NONE);
    assert_int_equal(get(b, A), 0x26);
    put(b, B, NONE);
    loop_advance(b->loop, 243 * US);
    assert_int_equal(get(b, A), 0x26);
    assert_int_equal(get(b, SEC), 0x59);
}

static void test_periodic(void **state)
{
    struct bench *b = *state;
    loop_advance(b->loop, SECOND);
    assert_int_equal(get(b, C) & 0x40, 0x40); /* the flag comes without the interrupt */
    assert_int_equal(probe_take(&b->irq), 0);
    put(b, B, 0x40 | NONE);
    unsigned seen = 0;
    for (unsigned i = 0; i < 10000; i++) {
        loop_advance(b->loop, 100 * US);
        if (b->irq.level) {
            assert_int_equal(get(b, C) & 0xc0, 0xc0);
            assert_false(b->irq.level);
            seen++;
        }
    }
    assert_in_range(seen, 1023, 1025);
    loop_advance(b->loop, 10 * SECOND); /* nobody reads C: one interrupt */
    assert_in_range(probe_take(&b->irq), 1024, 1026);
    put(b, A, 0x20);
    (void)get(b, C);
    loop_advance(b->loop, SECOND);
    assert_int_equal(get(b, C) & 0x40, 0);
}

static void test_rates(void **state)
{
    struct bench *b = *state;
    static const u16 hz[16] = {0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2};
    put(b, B, 0x40 | NONE);
    for (u8 rate = 1; rate < 16; rate++) {
        put(b, A, 0x20 | rate);
        (void)get(b, C);
        (void)probe_take(&b->irq);
        unsigned seen = 0;
        for (unsigned i = 0; i < 100000; i++) {
            loop_advance(b->loop, 10 * US);
            seen += b->irq.level && get(b, C);
        }
        assert_in_range(seen, hz[rate] - 1u, hz[rate] + 1u);
    }
}

static void test_update_ended(void **state)
{
    struct bench *b = *state;
    put(b, B, 0x10 | NONE);
    loop_advance(b->loop, SECOND - 1);
    assert_false(b->irq.level);
    loop_advance(b->loop, 1);
    assert_true(b->irq.level);
    assert_int_equal(get(b, C) & 0x90, 0x90);
    put(b, B, 0x90 | NONE); /* SET clears UIE */
    assert_int_equal(get(b, B), 0x80 | NONE);
    loop_advance(b->loop, 10 * SECOND);
    assert_int_equal(get(b, C) & 0x10, 0);
}

static void test_alarm(void **state)
{
    struct bench *b = *state;
    put(b, SEC_ALARM, 0x05);
    put(b, MIN_ALARM, 0x00);
    put(b, HOUR_ALARM, 0x00);
    put(b, B, 0x20 | NONE);
    loop_advance(b->loop, 7 * SECOND - 1);
    assert_false(b->irq.level);
    loop_advance(b->loop, 1);
    assert_true(b->irq.level);
    assert_int_equal(get(b, C) & 0xa0, 0xa0);
    loop_advance(b->loop, 86400 * SECOND);
    assert_int_equal(get(b, C) & 0xa0, 0xa0);

    put(b, MIN_ALARM, 0xff); /* every minute */
    put(b, HOUR_ALARM, 0xc0);
    (void)probe_take(&b->irq);
    for (unsigned i = 0; i < 120; i++) {
        loop_advance(b->loop, SECOND);
        if (b->irq.level)
            (void)get(b, C);
    }
    assert_int_equal(probe_take(&b->irq), 2);
    put(b, SEC_ALARM, 0x75); /* never */
    loop_advance(b->loop, 86400 * SECOND);
    assert_int_equal(probe_take(&b->irq), 0);
    assert_int_equal(get(b, C) & 0x20, 0);
}

static void test_alarm_across_the_day(void **state)
{
    struct bench *b = *state;
    for (unsigned t = 0; t < 86400; t += 3671) {
        u32 s = (86398 + t) % 86400; /* t seconds after the start */
        put(b, B, 0x06);
        put(b, HOUR_ALARM, (u8)(s / 3600));
        put(b, MIN_ALARM, (u8)(s / 60 % 60));
        put(b, SEC_ALARM, (u8)(s % 60));
        (void)get(b, C);
        put(b, B, 0x26);
        u64 start = door_time(b->loop) % (86400 * SECOND);
        (void)probe_take(&b->irq);
        loop_advance(b->loop, 86400 * SECOND);
        assert_int_equal(probe_take(&b->irq), 1);
        u64 took = (b->irq.last_rise + 86400 * SECOND - start) % (86400 * SECOND);
        assert_int_equal(took, (t * SECOND + 86400 * SECOND - start) % (86400 * SECOND));
        (void)get(b, C);
        put(b, B, 0x06);
    }
}

static void test_ram_and_ports(void **state)
{
    struct bench *b = *state;
    rtc_set_ram(b->rtc, 0x35, 0x5a);
    rtc_set_ram(b->rtc, 0x90, 0x77);
    rtc_set_ram(b->rtc, SEC, 0x11); /* not RAM */
    rtc_set_ram(b->rtc, 1000, 0x11);
    assert_int_equal(get(b, 0x35), 0x5a);
    assert_int_equal(get(b, SEC), 0x58);
    rtc_write(b->rtc, 2, 0x10);
    assert_int_equal(rtc_read(b->rtc, 3), 0x77);
    rtc_write(b->rtc, 3, 0x78);
    assert_int_equal(rtc_get_ram(b->rtc, 0x90), 0x78);
    put(b, 0x40, 0x99);
    assert_int_equal(rtc_get_ram(b->rtc, 0x40), 0x99);
    rtc_write(b->rtc, 0, 0x80 | 0x40);
    assert_true(b->nmi_masked);
    assert_int_equal(rtc_read(b->rtc, 1), 0x99);
    rtc_write(b->rtc, 0, 0x40);
    assert_false(b->nmi_masked);
}

static void test_reset_keeps_time(void **state)
{
    struct bench *b = *state;
    struct dev *d = (struct dev *)b->rtc;
    put(b, 0x40, 0x99);
    put(b, B, 0x70 | NONE);
    loop_advance(b->loop, SECOND);
    assert_true(b->irq.level);
    d->cls->reset(d);
    assert_false(b->irq.level);
    assert_int_equal(get(b, B), NONE);
    assert_int_equal(get(b, 0x40), 0x99);
    check_time(b, "2024-02-28 23:59:59 day 4");
}

/* What the ACPI block is told goes on while the HPET has IRQ8. */
static void test_alarm_without_line(void **state)
{
    struct bench *b = *state;
    put(b, SEC_ALARM, 0xff); /* each second */
    put(b, MIN_ALARM, 0xff);
    put(b, HOUR_ALARM, 0xff);
    put(b, B, 0x10 | NONE); /* the end of an update is no alarm */
    loop_advance(b->loop, 2 * SECOND);
    assert_int_equal(b->alarms, 0);
    (void)get(b, C);
    rtc_connect_irq(b->rtc, false);
    (void)probe_take(&b->irq);
    put(b, B, 0x30 | NONE);
    loop_advance(b->loop, 3 * SECOND);
    assert_int_equal(b->alarms, 1);
    assert_int_equal(get(b, C) & 0xa0, 0xa0);
    loop_advance(b->loop, SECOND);
    assert_int_equal(b->alarms, 2);
    assert_int_equal(probe_take(&b->irq), 0);
    rtc_connect_irq(b->rtc, true);
    assert_true(b->irq.level);
    assert_int_equal(b->alarms, 2);
    put(b, B, NONE);
    (void)get(b, C);
    loop_advance(b->loop, 3 * SECOND);
    assert_int_equal(b->alarms, 2);
}

static void test_state(void **state)
{
    struct bench *b = *state;
    struct probe irq = {0};
    struct rtc *other = rtc_create(&(struct rtc_config){.loop = b->loop, .irq = probe_line(&irq)});
    put(b, YEAR, 0x30);
    put(b, B, 0x10 | NONE);
    bench_copy_state((struct dev *)b->rtc, (struct dev *)other);
    loop_advance(b->loop, SECOND);
    assert_true(irq.level);
    rtc_write(other, 0, YEAR);
    assert_int_equal(rtc_read(other, 1), 0x30);
    ((struct dev *)other)->cls->destroy((struct dev *)other);
}

#define RTC_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RTC_TEST(test_calendar),
        RTC_TEST(test_formats),
        RTC_TEST(test_set),
        RTC_TEST(test_divider_reset),
        RTC_TEST(test_strange_dates),
        RTC_TEST(test_update_in_progress),
        RTC_TEST(test_periodic),
        RTC_TEST(test_rates),
        RTC_TEST(test_update_ended),
        RTC_TEST(test_alarm),
        RTC_TEST(test_alarm_without_line),
        RTC_TEST(test_alarm_across_the_day),
        RTC_TEST(test_ram_and_ports),
        RTC_TEST(test_reset_keeps_time),
        RTC_TEST(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
