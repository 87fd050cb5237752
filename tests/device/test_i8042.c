/* The keyboard controller: self-tests, command byte, keyboard commands, the empty auxiliary port, A20 and reset. */
#include "ports.h"

#include "dev/pc/i8042.h"
#include "dev/pc/keyboard.h"

struct fixture {
    struct board b;
    struct probe irq1, irq12;
    struct i8042 *dev;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    board_open(&f->b);
    loop_lock(f->b.loop);
    f->dev = i8042_create(
        &(struct i8042_config){f->b.mem, probe_line(&f->irq1), probe_line(&f->irq12), board_count_reset, &f->b}, NULL);
    loop_unlock(f->b.loop);
    assert_non_null(f->dev);
}

static void teardown(struct fixture *f)
{
    board_destroy_dev(&f->b, f->dev);
    board_close(&f->b);
}

/* The next byte, which must be there. */
static u8 take(struct fixture *f)
{
    assert_true(inb(&f->b, 0x64) & 1);
    return inb(&f->b, 0x60);
}

static u8 command(struct fixture *f, u8 cmd)
{
    outb(&f->b, 0x64, cmd);
    return take(f);
}

static void command_with(struct fixture *f, u8 cmd, u8 parameter)
{
    outb(&f->b, 0x64, cmd);
    outb(&f->b, 0x60, parameter);
}

static void assert_empty(struct fixture *f)
{
    assert_int_equal(inb(&f->b, 0x64) & 1, 0);
}

static void test_controller(void **state)
{
    struct fixture f;
    setup(&f);
    assert_empty(&f);
    assert_int_equal(inb(&f.b, 0x64) & 4, 0);
    assert_int_equal(command(&f, 0xaa), 0x55);
    assert_int_equal(inb(&f.b, 0x64) & 4, 4);
    assert_int_equal(command(&f, 0xab), 0);
    assert_int_equal(command(&f, 0xa9), 0);
    command_with(&f, 0x60, 0x65);
    assert_int_equal(inb(&f.b, 0x64) & 8, 0);
    assert_int_equal(command(&f, 0x20), 0x65);
    assert_int_equal(inb(&f.b, 0x64) & 8, 8);
    outb(&f.b, 0x64, 0xad);
    assert_int_equal(command(&f, 0x20), 0x75);
    outb(&f.b, 0x64, 0xae);
    outb(&f.b, 0x64, 0xa7);
    assert_int_equal(command(&f, 0x20), 0x65);
    outb(&f.b, 0x64, 0xa8);
    assert_int_equal(command(&f, 0x20), 0x45);
    command_with(&f, 0x7f, 0x99);
    assert_int_equal(command(&f, 0x3f), 0x99);
    outb(&f.b, 0x64, 0x00); /* unknown */
    assert_empty(&f);
    teardown(&f);
}

static void test_keyboard(void **state)
{
    struct fixture f;
    setup(&f);
    command_with(&f, 0x60, 0x01); /* interrupt on, no translation */

    outb(&f.b, 0x60, 0xff);
    assert_true(f.irq1.level);
    assert_int_equal(take(&f), 0xfa);
    assert_int_equal(take(&f), 0xaa);
    assert_false(f.irq1.level);
    assert_int_equal(f.irq1.rises, 2); /* an edge for each byte */
    outb(&f.b, 0x60, 0xf2);
    assert_int_equal(take(&f), 0xfa);
    assert_int_equal(take(&f), 0xab);
    assert_int_equal(take(&f), 0x83);
    outb(&f.b, 0x60, 0xf0);
    assert_int_equal(take(&f), 0xfa);
    outb(&f.b, 0x60, 0x00);
    assert_int_equal(take(&f), 0xfa);
    assert_int_equal(take(&f), 0x02);
    outb(&f.b, 0x60, 0xed);
    assert_int_equal(take(&f), 0xfa);
    outb(&f.b, 0x60, 0x07);
    assert_int_equal(take(&f), 0xfa);
    outb(&f.b, 0x60, 0xee);
    assert_int_equal(take(&f), 0xee);
    outb(&f.b, 0x60, 0xfe);
    assert_int_equal(take(&f), 0xee);
    outb(&f.b, 0x60, 0x01);
    assert_int_equal(take(&f), 0xfe);
    assert_empty(&f);

    /* A command instead of a parameter. */
    outb(&f.b, 0x60, 0xf3);
    assert_int_equal(take(&f), 0xfa);
    outb(&f.b, 0x60, 0xf4);
    assert_int_equal(take(&f), 0xfa);
    /* Answers pass translation as they are, scan codes do not. */
    command_with(&f, 0x60, 0x41);
    outb(&f.b, 0x60, 0xf2);
    assert_int_equal(take(&f), 0xfa);
    assert_int_equal(take(&f), 0xab);
    assert_int_equal(take(&f), 0x41);
    command_with(&f, 0xd2, 0x1c);
    assert_int_equal(take(&f), 0x1e);
    teardown(&f);
}

static void test_aux(void **state)
{
    struct fixture f;
    setup(&f);
    command_with(&f, 0x60, 0x03);
    command_with(&f, 0xd3, 0x5a);
    assert_int_equal(inb(&f.b, 0x64) & 0x21, 0x21);
    assert_true(f.irq12.level);
    assert_false(f.irq1.level);
    assert_int_equal(take(&f), 0x5a);
    assert_false(f.irq12.level);
    command_with(&f, 0xd4, 0xf2);
    assert_int_equal(inb(&f.b, 0x64) & 0x61, 0x61); /* nobody there: time-out */
    assert_int_equal(take(&f), 0xfe);
    assert_empty(&f);
    teardown(&f);
}

static void test_a20(void **state)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(mem_a20_mask(f.b.mem), ~0ull);
    assert_int_equal(command(&f, 0xd0) & 3, 3);
    command_with(&f, 0xd1, 0xdd);
    assert_int_equal(mem_a20_mask(f.b.mem), ~(u64)BIT(20));
    assert_int_equal(inb(&f.b, 0x92) & 2, 0);
    outb(&f.b, 0x92, 2);
    assert_int_equal(mem_a20_mask(f.b.mem), ~0ull);
    assert_int_equal(command(&f, 0xd0) & 3, 3);
    outb(&f.b, 0x64, 0xdd);
    assert_int_equal(mem_a20_mask(f.b.mem), ~(u64)BIT(20));
    outb(&f.b, 0x64, 0xdf);
    assert_int_equal(mem_a20_mask(f.b.mem), ~0ull);
    assert_int_equal(f.b.resets, 0);
    teardown(&f);
}

static void test_reset(void **state)
{
    struct fixture f;
    setup(&f);
    outb(&f.b, 0x64, 0xff); /* pulses nothing */
    assert_int_equal(f.b.resets, 0);
    outb(&f.b, 0x64, 0xfe);
    assert_int_equal(f.b.resets, 1);
    command_with(&f, 0xd1, 0x02);
    assert_int_equal(f.b.resets, 2);
    outb(&f.b, 0x92, 0x03);
    assert_int_equal(f.b.resets, 3);
    teardown(&f);
}

/* More answers than anybody reads do no harm. */
static void test_flood(void **state)
{
    struct fixture f;
    setup(&f);
    for (unsigned i = 0; i < 1000; i++)
        outb(&f.b, 0x60, 0xf2);
    for (unsigned i = 0; i < 1000; i++)
        outb(&f.b, 0x64, 0xab);
    unsigned count = 0;
    while (inb(&f.b, 0x64) & 1) {
        (void)inb(&f.b, 0x60);
        assert_true(++count < 100);
    }
    assert_int_equal(command(&f, 0xaa), 0x55);
    teardown(&f);
}

static void test_state_copy(void **state)
{
    struct fixture from, to;
    setup(&from);
    setup(&to);
    command_with(&from, 0x60, 0x01);
    outb(&from.b, 0x92, 0);
    outb(&from.b, 0x60, 0xf2);
    bench_copy_state((struct dev *)from.dev, (struct dev *)to.dev);
    assert_int_equal(mem_a20_mask(to.b.mem), ~(u64)BIT(20));
    assert_true(to.irq1.level);
    assert_int_equal(take(&to), 0xfa);
    assert_int_equal(take(&to), 0xab);
    teardown(&from);
    teardown(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller), cmocka_unit_test(test_keyboard), cmocka_unit_test(test_aux),
        cmocka_unit_test(test_a20),        cmocka_unit_test(test_reset),    cmocka_unit_test(test_flood),
        cmocka_unit_test(test_state_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
