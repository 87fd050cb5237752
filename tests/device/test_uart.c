/* The 16550A as a driver sees it: detection, FIFO, the interrupts and their priorities, loopback, and when it takes
 * input. */
#include "ports.h"

#include "backend/char/chardev.h"
#include "dev/pc/uart16550.h"

#define COM 0x3f8
enum { RBR = 0, THR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

/* A back end in memory: keeps what was sent, hands out what is waiting. */
struct tape {
    struct chardev cd;
    u8 sent[1024];
    size_t sent_size;
    const char *waiting;
};

struct fixture {
    struct board b;
    struct tape tape;
    struct probe irq;
    struct uart *uart;
};

static void tape_write(struct chardev *cd, const u8 *buf, size_t len)
{
    struct tape *t = (struct tape *)cd;

    for (size_t i = 0; i < len && t->sent_size < sizeof(t->sent); i++)
        t->sent[t->sent_size++] = buf[i];
}

static void tape_kick(struct chardev *cd)
{
    struct tape *t = (struct tape *)cd;

    while (t->waiting && *t->waiting && chardev_room(cd)) {
        cd->rx.receive(cd->rx.opaque, (const u8 *)t->waiting, 1);
        t->waiting++;
    }
}

static void tape_destroy(struct chardev *cd)
{
}

static void setup(struct fixture *f)
{
    static const struct char_ops ops = {.write = tape_write, .kick = tape_kick, .destroy = tape_destroy};

    memset(f, 0, sizeof(*f));
    board_open(&f->b);
    f->tape.cd.ops = &ops;
    loop_lock(f->b.loop);
    f->uart = uart_create(&(struct uart_config){f->b.mem, f->b.loop, &f->tape.cd, probe_line(&f->irq), COM}, NULL);
    loop_unlock(f->b.loop);
    assert_non_null(f->uart);
}

static void teardown(struct fixture *f)
{
    board_destroy_dev(&f->b, f->uart);
    board_close(&f->b);
}

static u8 rd(struct fixture *f, unsigned reg)
{
    return inb(&f->b, (u16)(COM + reg));
}

static void wr(struct fixture *f, unsigned reg, u8 v)
{
    outb(&f->b, (u16)(COM + reg), v);
}

/* What the tape has is offered again. */
static void kick(struct fixture *f, const char *text)
{
    if (text)
        f->tape.waiting = text;
    loop_lock(f->b.loop);
    tape_kick(&f->tape.cd);
    loop_unlock(f->b.loop);
}

/* The steps by which drivers tell a 16550A from its relatives. */
static void test_detection(void **state)
{
    struct fixture f;
    setup(&f);
    wr(&f, IER, 0x0f);
    assert_int_equal(rd(&f, IER), 0x0f);
    wr(&f, IER, 0xf0);
    assert_int_equal(rd(&f, IER), 0);
    wr(&f, SCR, 0xa5);
    assert_int_equal(rd(&f, SCR), 0xa5);
    assert_int_equal(rd(&f, IIR), 0x01);
    wr(&f, FCR, 0x01);
    assert_int_equal(rd(&f, IIR), 0xc1);
    wr(&f, FCR, 0x00);
    assert_int_equal(rd(&f, IIR), 0x01);
    wr(&f, LCR, 0x83);
    wr(&f, 0, 0x01);
    wr(&f, 1, 0x02);
    assert_int_equal(rd(&f, 0), 0x01);
    assert_int_equal(rd(&f, 1), 0x02);
    wr(&f, LCR, 0x03);
    assert_int_equal(rd(&f, IER), 0);
    assert_int_equal(rd(&f, LSR), 0x60);
    assert_int_equal(rd(&f, MSR), 0xb0);
    teardown(&f);
}

static void test_loopback(void **state)
{
    struct fixture f;
    setup(&f);
    wr(&f, MCR, 0x10 | 0x0a);
    assert_int_equal(rd(&f, MSR) & 0xf0, 0x90);
    wr(&f, MCR, 0x1f);
    assert_int_equal(rd(&f, MSR) & 0xf0, 0xf0);
    wr(&f, THR, 'x');
    assert_int_equal(f.tape.sent_size, 0);
    assert_int_equal(rd(&f, LSR) & 1, 1);
    assert_int_equal(rd(&f, RBR), 'x');
    (void)rd(&f, MSR);
    wr(&f, MCR, 0x1b); /* OUT1 falls: trailing edge of RI */
    assert_int_equal(rd(&f, MSR), 0xb4);
    assert_int_equal(rd(&f, MSR), 0xb0);
    wr(&f, LCR, 0x43);
    assert_int_equal(rd(&f, LSR) & 0x11, 0x11);
    assert_int_equal(rd(&f, LSR) & 0x11, 0x01);
    teardown(&f);
}

static void test_send(void **state)
{
    struct fixture f;
    setup(&f);
    wr(&f, MCR, 0x0b);
    for (const char *p = "hello"; *p; p++) {
        assert_int_equal(rd(&f, LSR) & 0x60, 0x60); /* polled: always ready */
        wr(&f, THR, (u8)*p);
    }
    assert_int_equal(f.tape.sent_size, 5);
    assert_memory_equal(f.tape.sent, "hello", 5);

    /* Interrupts: at once when switched on with an empty transmitter, and each time it is. */
    assert_false(f.irq.level);
    wr(&f, IER, 2);
    assert_true(f.irq.level);
    assert_int_equal(rd(&f, IIR), 0x02);
    assert_false(f.irq.level);
    assert_int_equal(rd(&f, IIR), 0x01);
    wr(&f, IER, 0);
    wr(&f, IER, 2);
    assert_int_equal(rd(&f, IIR), 0x02);

    /* A refill from the handler: the next interrupt comes at once. */
    for (unsigned i = 0; i < 16; i++)
        wr(&f, THR, 'a');
    assert_true(f.irq.level);
    assert_int_equal(rd(&f, LSR) & 0x60, 0x60);
    assert_int_equal(f.tape.sent_size, 21);
    teardown(&f);
}

/* One refill of the FIFO by a handler, as it follows on another. Whether the transmitter is ready for more. */
static bool refill(struct fixture *f)
{
    if (rd(f, IIR) != 0x02)
        return false;
    wr(f, THR, 'a');
    return rd(f, LSR) & 0x20;
}

static void test_long_output(void **state)
{
    struct fixture f;
    setup(&f);
    wr(&f, MCR, 0x0b);
    wr(&f, IER, 2);
    /* A page goes without a pause, so that nothing of it is unsent when the guest turns itself off. */
    for (unsigned i = 0; i < 255; i++)
        assert_true(refill(&f));
    /* Then the handler finds nothing to do for a moment, and leaves. */
    assert_false(refill(&f));
    assert_false(f.irq.level);
    assert_int_equal(rd(&f, IIR), 0x01);
    assert_int_equal(rd(&f, LSR) & 0x60, 0);
    loop_advance(f.b.loop, MS);
    assert_true(f.irq.level);
    for (unsigned i = 0; i < 255; i++)
        assert_true(refill(&f));
    assert_false(refill(&f));
    /* A console that prints with interrupts off does not wait, and what follows is a new page. */
    wr(&f, IER, 0);
    assert_int_equal(rd(&f, LSR) & 0x60, 0x60);
    wr(&f, IER, 2);
    assert_true(refill(&f));
    assert_int_equal(f.tape.sent_size, 513);
    teardown(&f);
}

static void test_receive(void **state)
{
    struct fixture f;
    setup(&f);
    kick(&f, "0123456789abcdefXYZ");
    assert_int_equal(rd(&f, LSR) & 1, 0); /* nobody listens */
    wr(&f, FCR, 0x81);                    /* trigger at 8 */
    wr(&f, MCR, 0x0b);
    assert_string_equal(f.tape.waiting, "XYZ");
    assert_int_equal(rd(&f, LSR) & 1, 1);
    wr(&f, IER, 1);
    assert_true(f.irq.level);
    assert_int_equal(rd(&f, IIR), 0xc4);
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(rd(&f, RBR), "0123456789abcdef"[i]);
    assert_string_equal(f.tape.waiting, "");
    assert_false(f.irq.level); /* 7 are left, below the trigger */
    loop_advance(f.b.loop, 10 * MS);
    assert_true(f.irq.level);
    assert_int_equal(rd(&f, IIR), 0xcc);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(rd(&f, RBR), "cdefXYZ"[i]);
    assert_false(f.irq.level);
    assert_int_equal(rd(&f, LSR) & 1, 0);
    loop_advance(f.b.loop, 10 * MS);
    assert_int_equal(rd(&f, IIR), 0xc1);
    teardown(&f);
}

/* Bytes wait in the back end until somebody can be expected to read them. */
static void test_listening(void **state)
{
    struct fixture f;
    setup(&f);
    kick(&f, "abc");
    for (unsigned i = 0; i < 20; i++) { /* a console that polls before it prints */
        (void)rd(&f, LSR);
        wr(&f, THR, '.');
    }
    assert_string_equal(f.tape.waiting, "abc");
    for (unsigned i = 0; i < 16; i++)
        (void)rd(&f, LSR);
    assert_int_equal(rd(&f, RBR), 'a');

    board_reset_dev(&f.b, f.uart);
    kick(&f, "abc");
    wr(&f, IER, 1); /* receive interrupts alone: believed after a while */
    kick(&f, NULL);
    assert_string_equal(f.tape.waiting, "abc");
    loop_advance(f.b.loop, 20 * MS);
    assert_string_equal(f.tape.waiting, "bc");
    teardown(&f);
}

static void test_priorities(void **state)
{
    struct fixture f;
    setup(&f);
    wr(&f, FCR, 0x01);
    wr(&f, IER, 0x0f);
    (void)rd(&f, MSR);
    wr(&f, MCR, 0x1f); /* loopback with all lines up: RI rises, which is no event */
    wr(&f, THR, 'x');
    wr(&f, LCR, 0x43); /* a break behind it */
    wr(&f, MCR, 0x1b); /* RI falls */
    assert_int_equal(rd(&f, IIR), 0xc4);
    assert_int_equal(rd(&f, RBR), 'x');
    assert_int_equal(rd(&f, IIR), 0xc6);
    assert_int_equal(rd(&f, LSR) & 0x90, 0x90);
    assert_int_equal(rd(&f, IIR), 0xc4);
    assert_int_equal(rd(&f, RBR), 0);
    loop_advance(f.b.loop, MS);
    assert_int_equal(rd(&f, IIR), 0xc2);
    assert_int_equal(rd(&f, IIR), 0xc0);
    (void)rd(&f, MSR);
    assert_int_equal(rd(&f, IIR), 0xc1);
    assert_int_equal(f.irq.rises, 0); /* in loopback OUT2 is cut off the bus */
    teardown(&f);
}

static void test_state_copy(void **state)
{
    struct fixture from, to;
    setup(&from);
    setup(&to);
    wr(&from, FCR, 0x01);
    wr(&from, MCR, 0x0b);
    wr(&from, IER, 0x03);
    do
        wr(&from, THR, 'x');
    while (rd(&from, IIR) == 0xc2);
    kick(&from, "pq");
    bench_copy_state((struct dev *)from.uart, (struct dev *)to.uart);
    assert_int_equal(rd(&to, LSR) & 0x61, 0x01);
    loop_advance(to.b.loop, 10 * MS);
    assert_int_equal(rd(&to, LSR) & 0x61, 0x61);
    assert_int_equal(rd(&to, RBR), 'p');
    assert_int_equal(rd(&to, RBR), 'q');
    assert_true(to.irq.rises > 0);
    teardown(&from);
    teardown(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detection),   cmocka_unit_test(test_loopback),   cmocka_unit_test(test_send),
        cmocka_unit_test(test_long_output), cmocka_unit_test(test_receive),    cmocka_unit_test(test_listening),
        cmocka_unit_test(test_priorities),  cmocka_unit_test(test_state_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
