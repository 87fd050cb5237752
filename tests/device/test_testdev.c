/* pc-testdev, the debug ports, the DMA controllers' and the display's registers and the FERR# latch. */
#include "ports.h"

#include "backend/char/chardev.h"
#include "dev/pc/crtc.h"
#include "dev/pc/debug_port.h"
#include "dev/pc/dma8237.h"
#include "dev/pc/ferr.h"
#include "dev/pc/testdev.h"

static void test_latch(void **state)
{
    struct board b;
    struct probe line[TESTDEV_LINES] = {0};
    struct testdev_config cfg;
    board_open(&b);
    cfg.mem = b.mem;
    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        cfg.line[i] = probe_line(&line[i]);
    struct testdev *t = testdev_create(&cfg, NULL);
    assert_non_null(t);

    outl(&b, 0xe0, 0x11223344);
    assert_int_equal(inl(&b, 0xe0), 0x11223344);
    assert_int_equal(inw(&b, 0xe1), 0x2233);
    assert_int_equal(inb(&b, 0xe3), 0x11);
    outw(&b, 0xe2, 0xaabb);
    outb(&b, 0xe1, 0xcc);
    assert_int_equal(inl(&b, 0xe0), 0xaabbcc44);
    assert_int_equal(inl(&b, 0xe8), 0xaabbcc44);
    outw(&b, 0xe9, 0x5566);
    assert_int_equal(inl(&b, 0xe0), 0xaa556644);

    mem_io_write(b.mem, 0x5000, 0x99, 1);
    outl(&b, 0xe4, 0x5000);
    outl(&b, 0xe4, 0xfffff000);
    assert_int_equal(mem_io_read(b.mem, 0x5000, 1), 0x99);

    outb(&b, 0x2000 + 14, 1);
    assert_true(line[14].level);
    outb(&b, 0x2000 + 23, 0x80);
    assert_true(line[23].level);
    outb(&b, 0x2000 + 14, 0);
    assert_false(line[14].level);
    board_reset_dev(&b, t);
    assert_false(line[23].level);

    mem_io_write(b.mem, 0xff000000 + 3, 0x0102030405060708, 8);
    assert_int_equal(mem_io_read(b.mem, 0xff000000 + 4, 4), 0x04050607);
    assert_int_equal(mem_io_read(b.mem, 0xff00ffff, 1), 0);
    mem_io_write(b.mem, 0xff00fffe, 0xaabbccdd, 4); /* half of it lands */
    assert_int_equal(mem_io_read(b.mem, 0xff00fffe, 2), 0xccdd);
    board_destroy_dev(&b, t);
    board_close(&b);
}

static void tape_write(struct chardev *cd, const u8 *buf, size_t len)
{
    char *text = (char *)(cd + 1);

    memcpy(text + strlen(text), buf, len);
}

static void note_exit(void *opaque, unsigned status)
{
    *(unsigned *)opaque = status;
}

static void test_debug_ports(void **state)
{
    static const struct char_ops ops = {.write = tape_write};
    struct {
        struct chardev cd;
        char text[32];
    } tape = {.cd.ops = &ops};
    struct board b;
    unsigned status = 0;
    board_open(&b);
    struct debugcon *con = debugcon_create(&(struct debugcon_config){b.mem, &tape.cd}, NULL);
    struct debug_exit *ex = debug_exit_create(&(struct debug_exit_config){b.mem, note_exit, &status}, NULL);
    assert_true(con && ex);

    assert_int_equal(inb(&b, 0xe9), 0xe9);
    assert_int_equal(inb(&b, 0x402), 0xe9);
    outb(&b, 0xe9, 'o');
    outb(&b, 0x402, 'k');
    assert_string_equal(tape.text, "ok");
    outl(&b, 0xf4, 0x10);
    assert_int_equal(status, 0x21);
    outb(&b, 0xf4, 0);
    assert_int_equal(status, 1);
    board_destroy_dev(&b, ex);
    board_destroy_dev(&b, con);
    board_close(&b);
}

static void test_dma_registers(void **state)
{
    struct board b;
    board_open(&b);
    struct dma8237 *d = dma8237_create(&(struct dma8237_config){b.mem}, NULL);
    assert_non_null(d);
    outb(&b, 0x0c, 0);
    outb(&b, 0x02, 0x34);
    outb(&b, 0x02, 0x12);
    assert_int_equal(inb(&b, 0x02), 0x34);
    assert_int_equal(inb(&b, 0x02), 0x12);
    outb(&b, 0xc4, 0x78);
    outb(&b, 0xc4, 0x56);
    outb(&b, 0xd8, 0);
    assert_int_equal(inb(&b, 0xc4), 0x78);
    assert_int_equal(inb(&b, 0xc4), 0x56);
    assert_int_equal(inb(&b, 0x0f), 0xff);
    outb(&b, 0x0a, 0x02);
    assert_int_equal(inb(&b, 0x0f), 0xfb);
    outb(&b, 0x0e, 0);
    assert_int_equal(inb(&b, 0x0f), 0xf0);
    outb(&b, 0x0d, 0);
    assert_int_equal(inb(&b, 0x0f), 0xff);
    assert_int_equal(inb(&b, 0x08), 0);
    outb(&b, 0x80, 0x42);
    outb(&b, 0x87, 0x24);
    assert_int_equal(inb(&b, 0x80), 0x42);
    assert_int_equal(inb(&b, 0x87), 0x24);
    board_destroy_dev(&b, d);
    board_close(&b);
}

static void test_crtc(void **state)
{
    struct board b;
    board_open(&b);
    struct crtc *c = crtc_create(&(struct crtc_config){b.mem}, NULL);
    assert_non_null(c);
    outw(&b, 0x3d4, 0x070e); /* index and data in one */
    outb(&b, 0x3d4, 15);
    outb(&b, 0x3d5, 0xcf);
    assert_int_equal(inb(&b, 0x3d5), 0xcf);
    outb(&b, 0x3d4, 14);
    assert_int_equal(inb(&b, 0x3d5), 0x07);
    outb(&b, 0x3d4, 0xff);
    outb(&b, 0x3d5, 1);
    assert_int_equal(inb(&b, 0x3d5), 0);
    board_destroy_dev(&b, c);
    board_close(&b);
}

static void test_ferr(void **state)
{
    struct board b;
    struct probe irq = {0};
    board_open(&b);
    struct ferr *f = ferr_create(&(struct ferr_config){b.mem, probe_line(&irq)}, NULL);
    assert_non_null(f);
    ferr_set(f, false);
    assert_false(irq.level);
    ferr_set(f, true);
    ferr_set(f, false);
    assert_true(irq.level);
    outb(&b, 0xf0, 0);
    assert_false(irq.level);
    board_destroy_dev(&b, f);
    board_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latch), cmocka_unit_test(test_debug_ports), cmocka_unit_test(test_dma_registers),
        cmocka_unit_test(test_crtc),  cmocka_unit_test(test_ferr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
