/* virtio-console: bytes both ways, the first port alone and several, and what it waits for. */
#include "bench.h"

#include "backend/char/chardev.h"
#include "dev/virtio/console.h"
#include "virtio_driver.h"

#define V1        BIT64(VIRTIO_F_VERSION_1)
#define MULTIPORT BIT64(1)
#define SIZE      8
#define PORTS     2

enum { RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1, QUEUES };
enum { DEVICE_READY = 0, DEVICE_ADD = 1, PORT_READY = 3, CONSOLE_PORT = 4, PORT_OPEN = 6 };

/* A back end that remembers what it was given. */
struct sink {
    struct chardev cd;
    char text[64];
    size_t len;
    unsigned kicks, flushes;
    bool behind;
};

struct fixture {
    struct driver d;
    struct driver_queue q[QUEUES];
    struct sink sink[PORTS];
};

static void sink_write(struct chardev *cd, const u8 *buf, size_t len)
{
    struct sink *s = container_of(cd, struct sink, cd);
    if (len > sizeof(s->text) - 1 - s->len)
        len = sizeof(s->text) - 1 - s->len;
    memcpy(s->text + s->len, buf, len);
    s->len += len;
}

static void sink_kick(struct chardev *cd)
{
    container_of(cd, struct sink, cd)->kicks++;
}

static bool sink_is_behind(struct chardev *cd)
{
    return container_of(cd, struct sink, cd)->behind;
}

static void sink_flush(struct chardev *cd)
{
    struct sink *s = container_of(cd, struct sink, cd);
    s->behind = false;
    s->flushes++;
}

static void setup_as(struct fixture *f, bool stream)
{
    static const struct char_ops ops = {
        .write = sink_write, .kick = sink_kick, .is_behind = sink_is_behind, .flush = sink_flush};
    struct virtio_console_config cfg = {.ports = PORTS, .stream = stream};
    memset(f, 0, sizeof(*f));
    driver_open(&f->d);
    for (unsigned n = 0; n < PORTS; n++) {
        f->sink[n].cd.ops = &ops;
        cfg.chr[n] = &f->sink[n].cd;
    }
    struct virtio_host host = driver_host(&f->d, false);
    driver_attach(&f->d, virtio_console_create(&host, &cfg, NULL));
}

static void setup(struct fixture *f)
{
    setup_as(f, false);
}

static void start(struct fixture *f, u64 features)
{
    assert_true(driver_agree(&f->d, features));
    for (unsigned n = 0; n < QUEUES; n++)
        driver_queue(&f->d, &f->q[n], n, SIZE);
    driver_ok(&f->d);
}

static u64 buffer(unsigned queue)
{
    return DRIVER_DATA + queue * 0x1000ull;
}

static void give(struct fixture *f, unsigned queue, u32 len)
{
    const struct driver_seg seg = {buffer(queue), len, true};
    (void)driver_add(&f->d, &f->q[queue], &seg, 1);
    driver_kick(&f->d, &f->q[queue]);
}

static void send(struct fixture *f, unsigned queue, const void *bytes, u32 len)
{
    const struct driver_seg seg = {buffer(queue), len, false};
    u16 id;
    u32 used;
    memcpy(f->d.ram + buffer(queue), bytes, len);
    (void)driver_add(&f->d, &f->q[queue], &seg, 1);
    driver_kick(&f->d, &f->q[queue]);
    assert_true(driver_take(&f->d, &f->q[queue], &id, &used));
}

static size_t room(struct fixture *f, unsigned port)
{
    loop_lock(f->d.loop);
    size_t n = chardev_room(&f->sink[port].cd);
    loop_unlock(f->d.loop);
    return n;
}

static void type(struct fixture *f, unsigned port, const char *text)
{
    const struct char_receiver *rx = &f->sink[port].cd.rx;
    loop_lock(f->d.loop);
    rx->receive(rx->opaque, (const u8 *)text, strlen(text));
    loop_unlock(f->d.loop);
}

static void expect_text(struct fixture *f, unsigned queue, const char *text)
{
    u16 id;
    u32 len;
    assert_true(driver_take(&f->d, &f->q[queue], &id, &len));
    assert_int_equal(len, strlen(text));
    assert_memory_equal(f->d.ram + buffer(queue), text, len);
}

static void control_send(struct fixture *f, u32 port, u16 event, u16 value)
{
    u8 message[8];
    put_u32(message, port);
    put_u16(message + 4, event);
    put_u16(message + 6, value);
    send(f, CONTROL_TX, message, sizeof(message));
}

static void expect_control_value(struct fixture *f, u32 port, u16 event, u16 value)
{
    const u8 *message = f->d.ram + buffer(CONTROL_RX);
    u16 id;
    u32 len;
    give(f, CONTROL_RX, 32);
    assert_true(driver_take(&f->d, &f->q[CONTROL_RX], &id, &len));
    assert_int_equal(len, 8);
    assert_int_equal(get_u32(message), port);
    assert_int_equal(get_u16(message + 4), event);
    assert_int_equal(get_u16(message + 6), value);
}

static void expect_control(struct fixture *f, u32 port, u16 event)
{
    expect_control_value(f, port, event, 1);
}

static void test_single(void **state)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(room(&f, 0), 0);
    start(&f, V1);
    send(&f, TX0, "hello", 5);
    assert_string_equal(f.sink[0].text, "hello");
    assert_int_equal(room(&f, 0), 0);
    unsigned kicks = f.sink[0].kicks;
    give(&f, RX0, 4);
    give(&f, RX0, 10);
    assert_true(f.sink[0].kicks > kicks);
    assert_int_equal(room(&f, 0), 4);
    assert_int_equal(room(&f, 0), 4); /* looking takes nothing */
    type(&f, 0, "abcd");
    expect_text(&f, RX0, "abcd");
    type(&f, 0, "ef");
    expect_text(&f, RX0, "ef");
    assert_int_equal(room(&f, 0), 0);
    driver_write(&f.d, AT_CONFIG + 8, '!', 4); /* emergency */
    assert_string_equal(f.sink[0].text, "hello!");
    driver_close(&f.d);
}

static void test_multiport(void **state)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(driver_read(&f.d, AT_CONFIG + 4, 4), PORTS);
    start(&f, V1 | MULTIPORT);
    control_send(&f, 0, DEVICE_READY, 1);
    expect_control(&f, 0, DEVICE_ADD);
    expect_control(&f, 1, DEVICE_ADD);
    control_send(&f, 1, PORT_READY, 1);
    expect_control(&f, 1, CONSOLE_PORT);
    expect_control(&f, 1, PORT_OPEN);
    give(&f, RX1, 16);
    assert_int_equal(room(&f, 1), 0); /* closed on the guest's side */
    control_send(&f, 1, PORT_OPEN, 1);
    assert_int_equal(room(&f, 1), 16);
    type(&f, 1, "two");
    expect_text(&f, RX1, "two");
    send(&f, TX1, "too", 3);
    assert_string_equal(f.sink[1].text, "too");
    assert_int_equal(f.sink[0].len, 0);
    control_send(&f, 1, PORT_OPEN, 0);
    give(&f, RX1, 16);
    assert_int_equal(room(&f, 1), 0);
    control_send(&f, 77, PORT_OPEN, 1); /* there is none, and no such event */
    control_send(&f, 0, 99, 1);
    send(&f, CONTROL_TX, "abc", 3);
    assert_false(driver_broken(&f.d));
    start(&f, V1 | MULTIPORT); /* as if nobody had ever been there */
    give(&f, RX1, 16);
    assert_int_equal(room(&f, 1), 0);
    driver_close(&f.d);
}

/* The sink as its reader sees it: done with what there was. */
static void catch_up(struct fixture *f, unsigned port)
{
    const struct char_receiver *rx = &f->sink[port].cd.rx;
    loop_lock(f->d.loop);
    f->sink[port].behind = false;
    rx->caught_up(rx->opaque);
    loop_unlock(f->d.loop);
}

/* Ports that are no consoles: what is written waits for the reader, and the end of the input arrives, once. */
static void test_stream(void **state)
{
    struct fixture f;
    u16 id;
    u32 used;
    const struct driver_seg seg = {buffer(TX1), 3, false};
    setup_as(&f, true);
    start(&f, V1 | MULTIPORT);
    control_send(&f, 1, PORT_READY, 1);
    expect_control(&f, 1, PORT_OPEN);
    control_send(&f, 1, PORT_OPEN, 1);
    send(&f, TX1, "one", 3);
    f.sink[1].behind = true;
    (void)driver_add(&f.d, &f.q[TX1], &seg, 1);
    driver_kick(&f.d, &f.q[TX1]);
    assert_false(driver_take(&f.d, &f.q[TX1], &id, &used));
    assert_string_equal(f.sink[1].text, "one");
    catch_up(&f, 1);
    assert_true(driver_take(&f.d, &f.q[TX1], &id, &used));
    assert_string_equal(f.sink[1].text, "oneone");

    const struct char_receiver *rx = &f.sink[1].cd.rx;
    for (unsigned n = 0; n < 2; n++) {
        loop_lock(f.d.loop);
        rx->ended(rx->opaque);
        loop_unlock(f.d.loop);
    }
    expect_control_value(&f, 1, PORT_OPEN, 0);
    give(&f, CONTROL_RX, 32);
    assert_false(driver_take(&f.d, &f.q[CONTROL_RX], &id, &used));

    f.sink[1].behind = true; /* and then the machine ends */
    (void)driver_add(&f.d, &f.q[TX1], &seg, 1);
    driver_kick(&f.d, &f.q[TX1]);
    loop_lock(f.d.loop);
    virtio_console_finish(f.d.dev);
    loop_unlock(f.d.loop);
    assert_string_equal(f.sink[1].text, "oneoneone");
    assert_true(f.sink[1].flushes > 0);
    driver_close(&f.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_single), cmocka_unit_test(test_multiport),
                                       cmocka_unit_test(test_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
