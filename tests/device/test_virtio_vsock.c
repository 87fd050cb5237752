/* virtio-vsock: packets both ways, data cut to the driver's buffers, resets and what a saved state leaves out. */
#include "bench.h"

#include "dev/virtio/vsock.h"
#include "net_stub.h"
#include "virtio_driver.h"

#define V1     BIT64(VIRTIO_F_VERSION_1)
#define SIZE   16
#define HEADER 44u

enum { RX, TX, EVENT, QUEUES };

struct fixture {
    struct driver d;
    struct driver_queue q[QUEUES];
    struct net net;
    unsigned offered;
    u8 packet[4096];
};

static void start(struct fixture *f)
{
    assert_true(driver_agree(&f->d, V1 | 1));
    for (unsigned n = 0; n < QUEUES; n++)
        driver_queue(&f->d, &f->q[n], n, SIZE);
    driver_ok(&f->d);
}

static struct fixture *setup(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->net.room = 1000;
    driver_open(&f->d);
    struct virtio_host host = driver_host(&f->d, false);
    loop_lock(f->d.loop);
    struct virtio_device *dev =
        virtio_vsock_create(&host, &(struct virtio_vsock_config){.net = &f->net, .cid = 0xfffffffe}, NULL);
    loop_unlock(f->d.loop);
    driver_attach(&f->d, dev);
    for (size_t i = 0; i < sizeof(f->packet); i++)
        f->packet[i] = (u8)(i * 3 + (i >> 8));
    return f;
}

static void teardown(struct fixture *f)
{
    driver_close(&f->d);
    free(f);
}

/* As Linux has them: the header in a segment of its own. */
static void offer(struct fixture *f, u32 room)
{
    u64 at = DRIVER_DATA + (f->offered++ % SIZE) * 0x800ull;
    const struct driver_seg seg[2] = {{at, HEADER, true}, {at + HEADER, room, true}};
    (void)driver_add(&f->d, &f->q[RX], seg, room ? 2 : 1);
    driver_kick(&f->d, &f->q[RX]);
}

static void give(struct fixture *f, size_t data)
{
    put_u32(f->packet + 24, (u32)data);
    loop_lock(f->d.loop);
    assert_true(stub_give(&f->net, &(struct frame_header){0}, f->packet, HEADER + data));
    loop_unlock(f->d.loop);
}

/* Bytes of data of the next packet, which continue at `from`. */
static u32 take(struct fixture *f, size_t from)
{
    u16 id = 0;
    u32 used = 0;
    assert_true(driver_take(&f->d, &f->q[RX], &id, &used));
    const u8 *p = f->d.ram + get_u64(f->d.ram + f->q[RX].desc + id * 16ull);
    assert_memory_equal(p, f->packet, 24);
    assert_memory_equal(p + 28, f->packet + 28, HEADER - 28);
    assert_int_equal(get_u32(p + 24), used - HEADER);
    assert_memory_equal(p + HEADER, f->packet + HEADER + from, used - HEADER);
    return used - HEADER;
}

static void test_receive(void **state)
{
    struct fixture *f = setup();
    assert_int_equal(driver_read(&f->d, AT_CONFIG, 4), 0xfffffffe);
    start(f);
    offer(f, 500);
    offer(f, 500);
    give(f, 1200); /* in three, of which the last one has to wait */
    assert_int_equal(take(f, 0), 500);
    assert_int_equal(take(f, 500), 500);
    assert_true(f->net.holds);
    offer(f, 500);
    assert_false(f->net.holds);
    assert_int_equal(take(f, 1000), 200);
    offer(f, 0);
    give(f, 0); /* without data */
    assert_int_equal(take(f, 0), 0);
    offer(f, 0);
    assert_false(driver_broken(&f->d));
    give(f, 1); /* there is no room for it at all */
    assert_true(driver_broken(&f->d));
    teardown(f);
}

static void send(struct fixture *f, u32 len)
{
    const struct driver_seg seg[2] = {{DRIVER_DATA + 0x40000, HEADER, false},
                                      {DRIVER_DATA + 0x40000 + HEADER, len, false}};
    u16 id;
    u32 used;
    memcpy(f->d.ram + DRIVER_DATA + 0x40000, f->packet, HEADER + len);
    (void)driver_add(&f->d, &f->q[TX], seg, len ? 2 : 1);
    driver_kick(&f->d, &f->q[TX]);
    (void)driver_take(&f->d, &f->q[TX], &id, &used);
}

static void test_transmit(void **state)
{
    struct fixture *f = setup();
    start(f);
    unsigned before = f->net.sent;
    send(f, 0);
    send(f, 2000);
    assert_int_equal(f->net.sent, before + 2);
    assert_int_equal(f->net.len, HEADER + 2000);
    assert_memory_equal(f->net.frame, f->packet, HEADER + 2000);
    f->net.room = 0;
    send(f, 10);
    assert_int_equal(f->net.sent, before + 2);
    loop_lock(f->d.loop);
    stub_room(&f->net, 10);
    loop_unlock(f->d.loop);
    assert_int_equal(f->net.sent, before + 3);
    assert_int_equal(f->net.len, HEADER + 10);
    const struct driver_seg seg = {DRIVER_DATA, HEADER - 1, false};
    (void)driver_add(&f->d, &f->q[TX], &seg, 1);
    driver_kick(&f->d, &f->q[TX]);
    assert_true(driver_broken(&f->d));
    teardown(f);
}

/* The back end is told of a reset before anything else, also when it has no room; what was half given is let go. */
static void test_reset(void **state)
{
    struct fixture *f = setup();
    start(f);
    offer(f, 100);
    give(f, 300);
    assert_true(f->net.holds);
    unsigned before = f->net.sent;
    f->net.room = 0;
    driver_write(&f->d, R_STATUS, 0, 1);
    assert_false(f->net.holds);
    start(f);
    send(f, 10);
    assert_int_equal(f->net.sent, before);
    loop_lock(f->d.loop);
    stub_room(&f->net, 1);
    loop_unlock(f->d.loop);
    assert_int_equal(f->net.len, 1);
    loop_lock(f->d.loop);
    stub_room(&f->net, 10);
    loop_unlock(f->d.loop);
    assert_int_equal(f->net.len, HEADER + 10);
    assert_int_equal(f->net.sent, before + 2);
    offer(f, 500);
    give(f, 300);
    assert_int_equal(get_u16(f->d.ram + f->q[RX].used + 2), 1); /* whole, from its beginning */
    teardown(f);
}

static void test_state(void **state)
{
    struct fixture *a = setup(), *b = setup();
    const struct driver_seg seg = {DRIVER_DATA + 0x50000, 4, true};
    u16 id;
    u32 used;
    start(a);
    (void)driver_add(&a->d, &a->q[EVENT], &seg, 1);
    driver_kick(&a->d, &a->q[EVENT]);
    assert_false(driver_take(&a->d, &a->q[EVENT], &id, &used));
    memset(a->d.ram + DRIVER_DATA + 0x50000, 0xee, 4);
    start(b);
    memcpy(b->d.ram, a->d.ram, DRIVER_RAM);
    memcpy(b->q, a->q, sizeof(a->q));
    unsigned before = b->net.sent;
    loop_lock(b->d.loop);
    bench_copy_state(&a->d.dev->dev, &b->d.dev->dev);
    loop_unlock(b->d.loop);
    loop_advance(b->d.loop, 1);
    assert_int_equal(b->net.sent, before + 1); /* its connections are no more */
    assert_true(driver_take(&b->d, &b->q[EVENT], &id, &used));
    assert_int_equal(get_u32(b->d.ram + DRIVER_DATA + 0x50000), 0);
    teardown(a);
    teardown(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_transmit),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
