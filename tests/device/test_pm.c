/*
 * ACPI fixed hardware: status and enable bits, the SCI, sleep, the PM timer and its overflow, general-purpose events.
 */
#include "bench.h"

#include "dev/pc/pm.h"

struct bench {
    struct loop *loop;
    struct mem_space *mem;
    struct pm *pm;
    struct probe sci;
    unsigned power_offs;
};

enum { STS, EN = 2, CNT = 4, TIMER = 8, GPE_STS = 12, GPE_EN = 14 };
enum { TMR = 1, PWRBTN = 0x100, RTC = 0x400, WAK = 0x8000, SCI_EN = 1 };

static void power_off(void *opaque)
{
    ((struct bench *)opaque)->power_offs++;
}

static struct pm *make(struct bench *b, bool timer32)
{
    return pm_create(&(struct pm_config){.mem = b->mem,
                                         .loop = b->loop,
                                         .sci = probe_line(&b->sci),
                                         .timer32 = timer32,
                                         .s5_type = 0,
                                         .power_off = power_off,
                                         .opaque = b});
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop()};
    b.mem = bench_mem(b.loop);
    b.pm = make(&b, false);
    assert_non_null(b.pm);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    ((struct dev *)b->pm)->cls->destroy((struct dev *)b->pm);
    mem_space_destroy(b->mem);
    loop_destroy(b->loop);
    return 0;
}

static void test_power_button(void **state)
{
    struct bench *b = *state;
    pm_write(b->pm, EN, PWRBTN, 2);
    pm_power_button(b->pm);
    assert_int_equal(pm_read(b->pm, STS, 2), PWRBTN);
    assert_false(b->sci.level); /* legacy mode */
    pm_acpi_mode(b->pm, true);
    assert_true(b->sci.level);
    pm_write(b->pm, STS, 0, 2);
    assert_true(b->sci.level);
    pm_write(b->pm, STS + 1, 1, 1); /* bytes too */
    assert_false(b->sci.level);
    assert_int_equal(pm_read(b->pm, STS, 2), 0);
    pm_power_button(b->pm);
    pm_write(b->pm, EN, 0, 2);
    assert_false(b->sci.level);
}

static void test_rtc_alarm(void **state)
{
    struct bench *b = *state;
    pm_acpi_mode(b->pm, true);
    pm_rtc_alarm(b->pm);
    assert_int_equal(pm_read(b->pm, STS, 2), RTC);
    assert_false(b->sci.level);
    pm_write(b->pm, EN, RTC, 2);
    assert_true(b->sci.level);
    pm_write(b->pm, STS, RTC, 2);
    assert_false(b->sci.level);
}

static void test_sleep(void **state)
{
    struct bench *b = *state;
    pm_write(b->pm, CNT, 0x3000 | SCI_EN, 2); /* SLP_TYP 4: not offered */
    assert_int_equal(b->power_offs, 0);
    assert_int_equal(pm_read(b->pm, STS, 2), WAK);
    assert_int_equal(pm_read(b->pm, CNT, 2), 0x1000 | SCI_EN); /* SLP_EN reads as 0 */
    pm_write(b->pm, CNT, 0x0001, 2);
    assert_int_equal(b->power_offs, 0);
    pm_write(b->pm, CNT, 0x2001, 2);
    assert_int_equal(b->power_offs, 1);
    pm_write(b->pm, CNT, 0x1001, 2);
    pm_write(b->pm, CNT + 1, 0x20, 1); /* type 0 and SLP_EN by the upper byte */
    assert_int_equal(b->power_offs, 2);
}

static void test_timer(void **state)
{
    struct bench *b = *state;
    loop_advance(b->loop, SECOND);
    assert_int_equal(pm_read(b->pm, TIMER, 4), 3579545);
    assert_int_equal(pm_read(b->pm, TIMER, 2), 3579545 & 0xffff);
    assert_int_equal(pm_read(b->pm, TIMER + 1, 2), 3579545 >> 8 & 0xffff);
    pm_write(b->pm, TIMER, 0, 4);
    assert_int_equal(pm_read(b->pm, TIMER, 4), 3579545);
    assert_int_equal(pm_read(b->pm, STS, 2), 0);
    loop_advance(b->loop, 4 * SECOND);
    assert_int_equal(pm_read(b->pm, TIMER, 4), 5 * 3579545 & 0xffffff);
    assert_int_equal(pm_read(b->pm, STS, 2), TMR);
    assert_int_equal(b->sci.rises, 0);
}

static void test_timer_overflow(void **state)
{
    struct bench *b = *state;
    u64 half = ticks_to_ns(1 << 23, PM_HZ);
    pm_acpi_mode(b->pm, true);
    pm_write(b->pm, EN, TMR, 2);
    loop_advance(b->loop, half - 1);
    assert_false(b->sci.level);
    loop_advance(b->loop, 1);
    assert_true(b->sci.level);
    pm_write(b->pm, STS, TMR, 2);
    assert_false(b->sci.level);
    loop_advance(b->loop, 10 * half); /* nobody looks: one */
    assert_int_equal(probe_take(&b->sci), 2);
    pm_write(b->pm, STS, 0xffff, 2);
    loop_advance(b->loop, 2 * half);
    assert_int_equal(probe_take(&b->sci), 1);
}

static void test_timer_32(void **state)
{
    struct bench *b = *state;
    struct pm *pm = make(b, true);
    loop_advance(b->loop, 10 * SECOND);
    assert_int_equal(pm_read(pm, TIMER, 4), 35795450);
    assert_int_equal(pm_read(pm, STS, 2), 0);
    loop_advance(b->loop, 600 * SECOND);
    assert_int_equal(pm_read(pm, STS, 2), TMR);
    ((struct dev *)pm)->cls->destroy((struct dev *)pm);
}

static void test_general_purpose_events(void **state)
{
    struct bench *b = *state;
    pm_acpi_mode(b->pm, true);
    pm_gpe(b->pm, 3);
    assert_int_equal(pm_read(b->pm, GPE_STS, 2), 8);
    assert_false(b->sci.level);
    pm_write(b->pm, GPE_EN, 8, 1);
    assert_true(b->sci.level);
    pm_write(b->pm, GPE_STS, 0x000800ff, 4); /* status and enable at once */
    assert_false(b->sci.level);
    assert_int_equal(pm_read(b->pm, GPE_STS, 4), 0x00080000);
}

static void test_ports(void **state)
{
    struct bench *b = *state;
    assert_int_equal(mem_port_read(b->mem, 0x604, 2), 0xffff);
    assert_int_equal(pm_map(b->pm, 0x600), 0);
    mem_port_write(b->mem, 0x602, PWRBTN, 2);
    assert_int_equal(mem_port_read(b->mem, 0x602, 2), PWRBTN);
    assert_int_equal(pm_map(b->pm, 0xb000), 0);
    assert_int_equal(mem_port_read(b->mem, 0x602, 2), 0xffff);
    assert_int_equal(mem_port_read(b->mem, 0xb002, 2), PWRBTN);
    loop_advance(b->loop, SECOND);
    assert_int_equal(mem_port_read(b->mem, 0xb008, 4), 3579545);
    (void)mem_port_read(b->mem, 0xb03e, 4);
    assert_int_equal(pm_map(b->pm, 0), 0);
    assert_int_equal(mem_port_read(b->mem, 0xb002, 2), 0xffff);
    assert_int_not_equal(pm_map(b->pm, 0xffd0), 0);
}

#define PM_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PM_TEST(test_power_button),
        PM_TEST(test_rtc_alarm),
        PM_TEST(test_sleep),
        PM_TEST(test_timer),
        PM_TEST(test_timer_overflow),
        PM_TEST(test_timer_32),
        PM_TEST(test_general_purpose_events),
        PM_TEST(test_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
