/*
 * The two 8259A as their data sheet describes them: priorities, ends of interrupt, rotation, masks, modes, spurious
 * requests.
 */
#include "bench.h"

#include "dev/pc/pic.h"

struct bench {
    struct loop *loop;
    struct mem_space *mem;
    struct pic *pic;
    struct probe intr;
};

enum { MASTER = 0x20, SLAVE = 0xa0 };

static void out(struct bench *b, u16 port, u8 v)
{
    mem_port_write(b->mem, port, v, 1);
}

static u8 in(struct bench *b, u16 port)
{
    return (u8)mem_port_read(b->mem, port, 1);
}

static void line(struct bench *b, unsigned n, bool level)
{
    struct irq_line l = pic_line(b->pic, n);
    irq_set(&l, level);
}

static void pulse(struct bench *b, unsigned n)
{
    line(b, n, true);
    line(b, n, false);
}

static void program(struct bench *b, u8 icw4)
{
    static const u16 base[2] = {MASTER, SLAVE};
    for (unsigned chip = 0; chip < 2; chip++) {
        out(b, base[chip], 0x11);
        out(b, base[chip] + 1, chip ? 0x28 : 0x20);
        out(b, base[chip] + 1, chip ? 2 : 4);
        out(b, base[chip] + 1, icw4);
        out(b, base[chip] + 1, 0);
    }
}

static u8 isr(struct bench *b, u16 chip)
{
    out(b, chip, 0x0b);
    return in(b, chip);
}

static u8 irr(struct bench *b, u16 chip)
{
    out(b, chip, 0x0a);
    return in(b, chip);
}

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = bench_loop()};
    b.mem = bench_mem(b.loop);
    b.pic = pic_create(&(struct pic_config){.mem = b.mem, .intr = probe_line(&b.intr)});
    assert_non_null(b.pic);
    program(&b, 0x01);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    struct dev *d = (struct dev *)b->pic;
    d->cls->destroy(d);
    mem_space_destroy(b->mem);
    loop_destroy(b->loop);
    return 0;
}

static void test_priority_and_eoi(void **state)
{
    struct bench *b = *state;
    pulse(b, 4);
    pulse(b, 1);
    assert_true(b->intr.level);
    assert_int_equal(irr(b, MASTER), 0x12);
    assert_int_equal(pic_ack(b->pic), 0x21);
    assert_false(b->intr.level); /* 4 is below 1 */
    assert_int_equal(isr(b, MASTER), 0x02);
    pulse(b, 0); /* above 1 */
    assert_int_equal(pic_ack(b->pic), 0x20);
    out(b, MASTER, 0x20); /* non-specific: ends 0 */
    assert_int_equal(isr(b, MASTER), 0x02);
    out(b, MASTER, 0x61); /* specific: ends 1 */
    assert_int_equal(isr(b, MASTER), 0);
    assert_int_equal(pic_ack(b->pic), 0x24);
}

static void test_cascade(void **state)
{
    struct bench *b = *state;
    pulse(b, 8);
    pulse(b, 14);
    assert_int_equal(pic_ack(b->pic), 0x28);
    assert_int_equal(isr(b, MASTER), 0x04);
    assert_int_equal(isr(b, SLAVE), 0x01);
    assert_false(b->intr.level);
    out(b, SLAVE, 0x20);
    out(b, MASTER, 0x20);
    assert_true(b->intr.level);
    assert_int_equal(pic_ack(b->pic), 0x2e);
    line(b, 2, true); /* the cascade input is not a device's */
    assert_int_equal(irr(b, MASTER) & 4, 0);
}

static void test_special_fully_nested(void **state)
{
    struct bench *b = *state;
    program(b, 0x11);
    pulse(b, 12);
    assert_int_equal(pic_ack(b->pic), 0x2c);
    pulse(b, 5); /* lower on the master: waits */
    assert_false(b->intr.level);
    pulse(b, 9); /* higher on the slave: comes through though IR2 is in service */
    assert_true(b->intr.level);
    assert_int_equal(pic_ack(b->pic), 0x29);
    program(b, 0x01);
    pulse(b, 12);
    assert_int_equal(pic_ack(b->pic), 0x2c);
    pulse(b, 9);
    assert_false(b->intr.level);
}

static void test_mask(void **state)
{
    struct bench *b = *state;
    out(b, MASTER + 1, 0x08);
    assert_int_equal(in(b, MASTER + 1), 0x08);
    pulse(b, 3);
    assert_false(b->intr.level);
    assert_int_equal(irr(b, MASTER), 0x08);
    out(b, MASTER + 1, 0);
    assert_int_equal(pic_ack(b->pic), 0x23);
}

static void test_special_mask(void **state)
{
    struct bench *b = *state;
    pulse(b, 1);
    assert_int_equal(pic_ack(b->pic), 0x21);
    pulse(b, 5);
    assert_false(b->intr.level);
    out(b, MASTER + 1, 0x02);
    out(b, MASTER, 0x68); /* special mask mode: 1 is in service but masked, so lower ones come */
    assert_int_equal(pic_ack(b->pic), 0x25);
    out(b, MASTER, 0x20); /* must not end the masked one */
    assert_int_equal(isr(b, MASTER), 0x02);
    out(b, MASTER, 0x48);
    pulse(b, 6);
    assert_false(b->intr.level);
}

static void test_rotation(void **state)
{
    struct bench *b = *state;
    pulse(b, 3);
    assert_int_equal(pic_ack(b->pic), 0x23);
    out(b, MASTER, 0xa0); /* rotate on non-specific: 3 is lowest, 4 highest */
    pulse(b, 3);
    pulse(b, 4);
    pulse(b, 0);
    assert_int_equal(pic_ack(b->pic), 0x24);
    out(b, MASTER, 0x20);
    assert_int_equal(pic_ack(b->pic), 0x20);
    out(b, MASTER, 0x20);
    assert_int_equal(pic_ack(b->pic), 0x23);
    out(b, MASTER, 0x20);
    out(b, MASTER, 0xc7); /* set priority: 7 lowest, back to normal */
    pulse(b, 5);
    pulse(b, 1);
    assert_int_equal(pic_ack(b->pic), 0x21);
    out(b, MASTER, 0xe1); /* rotate on specific */
    pulse(b, 1);
    pulse(b, 2);
    assert_int_equal(pic_ack(b->pic), 0x25);
}

static void test_automatic_eoi(void **state)
{
    struct bench *b = *state;
    program(b, 0x03);
    pulse(b, 3);
    assert_int_equal(pic_ack(b->pic), 0x23);
    assert_int_equal(isr(b, MASTER), 0);
    out(b, MASTER, 0x80); /* rotate in automatic EOI */
    pulse(b, 3);
    assert_int_equal(pic_ack(b->pic), 0x23);
    pulse(b, 3);
    pulse(b, 6);
    assert_int_equal(pic_ack(b->pic), 0x26);
}

static void test_level(void **state)
{
    struct bench *b = *state;
    out(b, 0x4d0, 0xff);
    out(b, 0x4d1, 0xff);
    assert_int_equal(in(b, 0x4d0), 0xf8);
    assert_int_equal(in(b, 0x4d1), 0xde);
    line(b, 5, true);
    assert_int_equal(pic_ack(b->pic), 0x25);
    assert_int_equal(irr(b, MASTER), 0x20); /* still there */
    out(b, MASTER, 0x20);
    assert_true(b->intr.level);
    line(b, 5, false);
    assert_false(b->intr.level);
    assert_int_equal(pic_ack(b->pic), 0x27); /* gone: spurious, nothing in service */
    assert_int_equal(isr(b, MASTER), 0);
}

static void test_spurious_slave(void **state)
{
    struct bench *b = *state;
    out(b, 0x4d1, 0x04);
    line(b, 10, true);
    out(b, SLAVE + 1, 0xff); /* masked before the acknowledge, while the master has latched the cascade */
    assert_int_equal(pic_ack(b->pic), 0x2f);
    assert_int_equal(isr(b, SLAVE), 0);
    assert_int_equal(isr(b, MASTER), 0x04);
}

static void test_edge_needs_to_rise_again(void **state)
{
    struct bench *b = *state;
    line(b, 6, true);
    assert_int_equal(pic_ack(b->pic), 0x26);
    out(b, MASTER, 0x20);
    line(b, 6, true);
    assert_false(b->intr.level);
    program(b, 0x01); /* ICW1 forgets edges, and a line that is high does not make one */
    assert_false(b->intr.level);
    line(b, 6, false);
    line(b, 6, true);
    assert_true(b->intr.level);
}

static void test_poll(void **state)
{
    struct bench *b = *state;
    pulse(b, 9);
    pulse(b, 6);
    out(b, MASTER, 0x0c);
    assert_int_equal(in(b, MASTER), 0x82);
    assert_int_equal(isr(b, MASTER), 0x04);
    out(b, SLAVE, 0x0c);
    assert_int_equal(in(b, SLAVE), 0x81);
    out(b, SLAVE, 0x0c);
    assert_int_equal(in(b, SLAVE), 0);
    assert_int_equal(isr(b, SLAVE), 0x02); /* the poll was for one read only */
}

static void test_intr_is_an_edge_after_every_acknowledge(void **state)
{
    struct bench *b = *state;
    program(b, 0x03);
    pulse(b, 3);
    pulse(b, 4);
    assert_int_equal(probe_take(&b->intr), 1);
    assert_int_equal(pic_ack(b->pic), 0x23);
    assert_int_equal(probe_take(&b->intr), 1);
    assert_true(b->intr.level);
}

static void test_initialisation_without_icw3_and_icw4(void **state)
{
    struct bench *b = *state;
    program(b, 0x02);
    out(b, MASTER, 0x12); /* single, no ICW4 */
    out(b, MASTER + 1, 0x47);
    out(b, MASTER + 1, 0xfe); /* OCW1 already */
    assert_int_equal(in(b, MASTER + 1), 0xfe);
    pulse(b, 0);
    assert_int_equal(pic_ack(b->pic), 0x40);
    assert_int_equal(isr(b, MASTER), 0x01); /* ICW4 functions are off: no automatic EOI */
}

#define PIC_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PIC_TEST(test_priority_and_eoi),
        PIC_TEST(test_cascade),
        PIC_TEST(test_special_fully_nested),
        PIC_TEST(test_mask),
        PIC_TEST(test_special_mask),
        PIC_TEST(test_rotation),
        PIC_TEST(test_automatic_eoi),
        PIC_TEST(test_level),
        PIC_TEST(test_spurious_slave),
        PIC_TEST(test_edge_needs_to_rise_again),
        PIC_TEST(test_poll),
        PIC_TEST(test_intr_is_an_edge_after_every_acknowledge),
        PIC_TEST(test_initialisation_without_icw3_and_icw4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
