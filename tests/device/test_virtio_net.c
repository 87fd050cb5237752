/* virtio-net: frames both ways, with all kinds of rings and buffers, offloads, the control queue, and what goes wrong.
 */
#include "bench.h"

#include "dev/virtio/net.h"
#include "net_stub.h"
#include "virtio_driver.h"

#define V1     BIT64(VIRTIO_F_VERSION_1)
#define PACKED BIT64(VIRTIO_F_RING_PACKED)
#define EVENT  BIT64(VIRTIO_F_EVENT_IDX)
#define MRG    BIT64(15)
#define CTRL   (BIT64(17) | BIT64(18) | BIT64(19) | BIT64(20) | BIT64(23))
#define GUEST  (BIT64(1) | BIT64(7) | BIT64(8) | BIT64(9) | BIT64(2))
#define HOST   (BIT64(0) | BIT64(11) | BIT64(12) | BIT64(13))
#define SIZE   64
#define HEADER 12u
#define MSS    500u

enum { RX, TX, CONTROL, QUEUES };

struct fixture {
    struct driver d;
    struct driver_queue q[QUEUES];
    struct net net;
    unsigned offered;
    u8 frame[FRAME_MAX];
};

static const u8 mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static struct fixture *setup(u64 features)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct virtio_net_config cfg = {.net = &f->net, .mtu = 1400};
    memcpy(cfg.mac, mac, sizeof(mac));
    f->net.can = FRAME_CAN_ALL;
    f->net.room = 1000;
    driver_open(&f->d);
    struct virtio_host host = driver_host(&f->d, true);
    loop_lock(f->d.loop);
    struct virtio_device *dev = virtio_net_create(&host, &cfg, NULL);
    loop_unlock(f->d.loop);
    driver_attach(&f->d, dev);
    driver_msix(&f->d, QUEUES + 1);
    assert_true(driver_agree(&f->d, V1 | features));
    for (unsigned n = 0; n < QUEUES; n++)
        driver_queue(&f->d, &f->q[n], n, SIZE);
    driver_ok(&f->d);
    return f;
}

static void teardown(struct fixture *f)
{
    driver_close(&f->d);
    free(f);
}

static u64 buffer(unsigned n)
{
    return DRIVER_DATA + n * 0x800ull;
}

/* `count` buffers of `len` bytes to receive into, each one segment. */
static void offer(struct fixture *f, unsigned count, u32 len)
{
    for (unsigned n = 0; n < count; n++) {
        const struct driver_seg seg = {buffer(f->offered++ % SIZE), len, true};
        (void)driver_add(&f->d, &f->q[RX], &seg, 1);
    }
    driver_kick(&f->d, &f->q[RX]);
}

static void give(struct fixture *f, const struct frame_header *h, size_t len)
{
    loop_lock(f->d.loop);
    assert_true(stub_give(&f->net, h, f->frame, len));
    loop_unlock(f->d.loop);
}

static void give_plain(struct fixture *f, size_t len)
{
    give(f, &(struct frame_header){0}, len);
}

static void fill(u8 *p, size_t len)
{
    memcpy(p, mac, 6);
    memset(p + 6, 0, 8);
    p[6] = 2;
    for (size_t i = 14; i < len; i++)
        p[i] = (u8)(i * 5 + (i >> 8));
}

/* TCP over IPv4, to be cut. */
static struct frame_header fill_gso(u8 *p, size_t payload)
{
    size_t len = 54 + payload;
    struct frame_layout l;
    fill(p, len);
    memset(p + 12, 0, 42);
    p[12] = 8;
    p[14] = 0x45;
    p[16] = (u8)((len - 14) >> 8);
    p[17] = (u8)(len - 14);
    p[23] = FRAME_TCP;
    p[46] = 0x50;
    assert_true(frame_parse(p, len, &l));
    put_u16(p + 50, frame_pseudo_sum(p, &l, len - 34));
    return (struct frame_header){FRAME_NEEDS_CSUM, FRAME_GSO_TCPV4, 54, MSS, 34, 16};
}

/* Takes the next frame; its number of buffers. */
static unsigned take(struct fixture *f, struct frame_header *h, u8 *out, size_t *len)
{
    unsigned count = 1;
    *len = 0;
    for (unsigned n = 0; n < count; n++) {
        u16 id;
        u32 used;
        if (!driver_take(&f->d, &f->q[RX], &id, &used))
            return 0;
        u64 at = get_u64(f->d.ram + f->q[RX].desc + id * 16ull); /* a split ring leaves it there, and a packed one */
        const u8 *p = f->d.ram + at;
        u32 skip = n ? 0 : HEADER;
        if (n == 0) {
            memcpy(h, p, sizeof(*h));
            count = get_u16(p + 10);
        }
        memcpy(out + *len, p + skip, used - skip);
        *len += used - skip;
    }
    return count;
}

static void send(struct fixture *f, const struct frame_header *h, const u8 *frame, size_t len, unsigned pieces)
{
    struct driver_seg seg[8];
    u8 *ram = f->d.ram + DRIVER_DATA + 0x40000;
    u16 id;
    u32 used;
    memset(ram, 0, HEADER);
    memcpy(ram, h, sizeof(*h));
    memcpy(ram + HEADER, frame, len);
    u32 all = (u32)len + HEADER, part = all / pieces, done = 0;
    for (unsigned n = 0; n < pieces; n++, done += part)
        seg[n] = (struct driver_seg){DRIVER_DATA + 0x40000 + done, n + 1 == pieces ? all - done : part, false};
    (void)driver_add(&f->d, &f->q[TX], seg, pieces);
    driver_kick(&f->d, &f->q[TX]);
    (void)driver_take(&f->d, &f->q[TX], &id, &used);
}

/* The answer to a command. */
static u8 control(struct fixture *f, u8 class, u8 command, const void *data, u32 len)
{
    u8 *ram = f->d.ram + DRIVER_DATA + 0x60000;
    const struct driver_seg seg[3] = {
        {DRIVER_DATA + 0x60000, 2, false}, {DRIVER_DATA + 0x60002, len, false}, {DRIVER_DATA + 0x61000, 1, true}};
    u16 id;
    u32 used;
    ram[0] = class;
    ram[1] = command;
    memcpy(ram + 2, data, len);
    ram[0x1000] = 0xee;
    (void)driver_add(&f->d, &f->q[CONTROL], seg, 3);
    driver_kick(&f->d, &f->q[CONTROL]);
    assert_true(driver_take(&f->d, &f->q[CONTROL], &id, &used));
    return ram[0x1000];
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void test_config(void **state)
{
    struct fixture *f = setup(0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(driver_read(&f->d, AT_CONFIG + i, 1), mac[i]);
    assert_int_equal(driver_read(&f->d, AT_CONFIG + 6, 2), 1);
    assert_int_equal(driver_read(&f->d, AT_CONFIG + 10, 2), 1400);
    assert_int_equal(driver_offered(&f->d) & (MRG | CTRL | GUEST | HOST), MRG | CTRL | GUEST | HOST);
    (void)driver_msis(&f->d);
    u8 generation = (u8)driver_read(&f->d, R_GENERATION, 1);
    loop_lock(f->d.loop);
    f->net.down = true;
    f->net.rx.link(f->net.rx.opaque);
    loop_unlock(f->d.loop);
    assert_int_equal(driver_read(&f->d, AT_CONFIG + 6, 2), 0);
    assert_int_not_equal(driver_read(&f->d, R_GENERATION, 1), generation);
    teardown(f);
}

static void both_ways(u64 features)
{
    struct fixture *f = setup(features);
    struct frame_header h = {0};
    u8 *got = malloc(FRAME_MAX);
    size_t len;
    assert_non_null(got);
    for (unsigned n = 0; n < 200; n++) { /* several times round */
        fill(f->frame, 60 + n);
        send(f, &h, f->frame, 60 + n, 1 + n % 4);
        assert_int_equal(f->net.sent, n + 1);
        assert_int_equal(f->net.len, 60 + n);
        assert_memory_equal(f->net.frame, f->frame, 60 + n);
        offer(f, 1, 0x800);
        give_plain(f, 60 + n);
        assert_int_equal(take(f, &h, got, &len), 1);
        assert_int_equal(len, 60 + n);
        assert_memory_equal(got, f->frame, len);
        memset(&h, 0, sizeof(h));
    }
    assert_true(driver_msis(&f->d) > 0);
    free(got);
    teardown(f);
}

static void test_both_ways(void **state)
{
    both_ways(0);
    both_ways(EVENT | MRG | CTRL | GUEST | HOST);
    both_ways(PACKED);
    both_ways(PACKED | EVENT | MRG | GUEST | HOST);
}

/* A frame in several buffers, all of them or none; one that has to wait for more. */
static void merged(u64 features)
{
    struct fixture *f = setup(MRG | GUEST | features);
    struct frame_header h = fill_gso(f->frame, 5000), out;
    u8 *got = malloc(FRAME_MAX);
    size_t len;
    assert_non_null(got);
    for (unsigned n = 0; n < 30; n++) {
        offer(f, 3, 1500);
        give(f, &h, 5054);
        assert_int_equal(take(f, &out, got, &len), 0);
        assert_true(f->net.holds);
        offer(f, 1, 1500); /* the kick has it come again */
        assert_false(f->net.holds);
        assert_int_equal(take(f, &out, got, &len), 4);
        assert_int_equal(len, 5054);
        assert_memory_equal(got, f->frame, len);
        assert_memory_equal(&out, &h, sizeof(h));
        assert_int_equal(take(f, &out, got, &len), 0);
    }
    free(got);
    teardown(f);
}

static void test_merged(void **state)
{
    merged(0);
    merged(EVENT);
    merged(PACKED);
    merged(PACKED | EVENT);
}

/* A driver without offloads gets pieces; they go on where they stopped. */
static void test_receive_cut(void **state)
{
    struct fixture *f = setup(0);
    struct frame_header h = fill_gso(f->frame, 2100), out;
    struct frame_layout l;
    u8 got[2048];
    size_t len, done = 0;
    give(f, &h, 2154);
    for (unsigned n = 0; n < 5; n++) {
        assert_true(f->net.holds);
        offer(f, 1, 0x800);
        assert_int_equal(take(f, &out, got, &len), 1);
        assert_int_equal(frame_needs(&out), 0);
        assert_true(frame_parse(got, len, &l));
        assert_int_equal(frame_sum(got + 34, len - 34, frame_pseudo_sum(got, &l, len - 34)), 0xffff);
        assert_memory_equal(got + 54, f->frame + 54 + done, len - 54);
        done += len - 54;
    }
    assert_int_equal(done, 2100);
    assert_false(f->net.holds);
    /* In the midst of another one the driver goes; nothing of that is left. */
    h = fill_gso(f->frame, 2100);
    offer(f, 1, 0x800);
    give(f, &h, 2154);
    assert_true(f->net.holds);
    driver_write(&f->d, R_STATUS, 0, 1);
    assert_false(f->net.holds);
    teardown(f);
}

/* A back end without offloads is given pieces; one that is full, later. */
static void test_transmit_cut(void **state)
{
    struct fixture *f = setup(HOST);
    struct frame_header h = fill_gso(f->frame, 2100);
    send(f, &h, f->frame, 2154, 3);
    assert_int_equal(f->net.sent, 1); /* whole */
    assert_memory_equal(&f->net.header, &h, sizeof(h));
    assert_memory_equal(f->net.frame, f->frame, 2154);
    f->net.can = FRAME_CAN_CSUM;
    f->net.room = 2;
    send(f, &h, f->frame, 2154, 3);
    assert_int_equal(f->net.sent, 3);
    fill(f->frame, 100);
    send(f, &(struct frame_header){0}, f->frame, 100, 1); /* has to wait behind it */
    assert_int_equal(f->net.sent, 3);
    loop_lock(f->d.loop);
    stub_room(&f->net, 1);
    stub_room(&f->net, 100);
    loop_unlock(f->d.loop);
    assert_int_equal(f->net.sent, 7);
    assert_int_equal(f->net.len, 100);
    teardown(f);
}

/* What waited for room goes nowhere when the other end is gone, and does not wait for ever. */
static void test_gone(void **state)
{
    struct fixture *f = setup(HOST);
    f->net.room = 0;
    fill(f->frame, 100);
    send(f, &(struct frame_header){0}, f->frame, 100, 1);
    send(f, &(struct frame_header){0}, f->frame, 100, 1);
    assert_int_equal(get_u16(f->d.ram + f->q[TX].used + 2), 0);
    loop_lock(f->d.loop);
    f->net.down = true;
    f->net.rx.link(f->net.rx.opaque);
    loop_unlock(f->d.loop);
    assert_int_equal(get_u16(f->d.ram + f->q[TX].used + 2), 2);
    teardown(f);
}

/* What makes no sense is not sent, and hurts nobody. */
static void test_lies(void **state)
{
    struct fixture *f = setup(HOST);
    struct frame_header h;
    fill(f->frame, 100);
    h = (struct frame_header){.flags = FRAME_NEEDS_CSUM, .csum_start = 99, .csum_offset = 0};
    send(f, &h, f->frame, 100, 2);
    h = (struct frame_header){.flags = FRAME_NEEDS_CSUM, .gso_type = FRAME_GSO_TCPV4, .gso_size = 0};
    send(f, &h, f->frame, 100, 2);
    h = (struct frame_header){.gso_type = 0x77, .gso_size = 100};
    send(f, &h, f->frame, 100, 2);
    send(f, &(struct frame_header){0}, f->frame, 13, 1);
    send(f, &(struct frame_header){0}, f->frame, 0, 1);
    f->net.can = 0;
    h = (struct frame_header){FRAME_NEEDS_CSUM, FRAME_GSO_TCPV6, 0xffff, 1, 34, 16};
    send(f, &h, f->frame, 100, 2);
    assert_int_equal(f->net.sent, 0);
    assert_false(driver_broken(&f->d));
    const struct driver_seg seg = {DRIVER_DATA, HEADER - 1, false};
    (void)driver_add(&f->d, &f->q[TX], &seg, 1);
    driver_kick(&f->d, &f->q[TX]);
    assert_true(driver_broken(&f->d));
    teardown(f);
    f = setup(MRG);
    offer(f, 12, HEADER - 1);
    fill(f->frame, 100);
    give_plain(f, 100);
    assert_true(driver_broken(&f->d));
    teardown(f);
    f = setup(0);
    offer(f, 1, 50); /* too small for it: lost, and the buffer is still there */
    give_plain(f, 100);
    assert_false(f->net.holds);
    give_plain(f, 38);
    assert_int_equal(get_u16(f->d.ram + f->q[RX].used + 2), 1);
    teardown(f);
}

static bool arrives(struct fixture *f)
{
    u8 got[2048];
    struct frame_header h;
    size_t len;
    offer(f, 1, 0x800);
    give_plain(f, 100);
    if (take(f, &h, got, &len))
        return true;
    f->q[RX].next--; /* takes the buffer back */
    f->q[RX].free = (u16)((f->q[RX].free + SIZE - 1) % SIZE);
    put_u16(f->d.ram + f->q[RX].avail + 2, f->q[RX].next);
    return false;
}

static void test_filter(void **state)
{
    static const u8 off = 0, on = 1, table[] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 7};
    struct fixture *f = setup(CTRL);
    fill(f->frame, 100);
    f->frame[5] ^= 1;
    assert_true(arrives(f)); /* promiscuous until told otherwise */
    assert_int_equal(control(f, 0, 0, &off, 1), 0);
    assert_false(arrives(f));
    f->frame[5] ^= 1;
    assert_true(arrives(f));
    assert_int_equal(control(f, 0, 4, &on, 1), 0); /* no unicast */
    assert_false(arrives(f));
    assert_int_equal(control(f, 0, 4, &off, 1), 0);
    assert_int_equal(control(f, 1, 0, table, sizeof(table)), 0);
    memcpy(f->frame, table + 4, 6);
    assert_true(arrives(f));
    memcpy(f->frame, table + 14, 6);
    assert_true(arrives(f));
    f->frame[5]++;
    assert_false(arrives(f));
    assert_int_equal(control(f, 0, 1, &on, 1), 0); /* all multicast */
    assert_true(arrives(f));
    memset(f->frame, 0xff, 6);
    assert_true(arrives(f));
    assert_int_equal(control(f, 0, 5, &on, 1), 0); /* no broadcast */
    assert_false(arrives(f));
    assert_int_equal(control(f, 1, 1, "\x02\x22\x22\x22\x22\x22", 6), 0); /* another address */
    memcpy(f->frame, "\x02\x22\x22\x22\x22\x22", 6);
    assert_true(arrives(f));
    memcpy(f->frame + 12, "\x81\x00\x20\x05", 4); /* VLAN 5 */
    assert_false(arrives(f));
    assert_int_equal(control(f, 2, 0, "\x05\x00", 2), 0);
    assert_true(arrives(f));
    assert_int_equal(control(f, 2, 1, "\x05\x00", 2), 0);
    assert_false(arrives(f));
    teardown(f);
}

static void test_bad_commands(void **state)
{
    static const u8 huge[] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, offloads[8] = {0x80};
    struct fixture *f = setup(CTRL | BIT64(1) | BIT64(2));
    assert_int_equal(control(f, 0, 6, "\1", 1), 1);
    assert_int_equal(control(f, 9, 0, "\1", 1), 1);
    assert_int_equal(control(f, 4, 0, "\1\0", 2), 1); /* more pairs of queues */
    assert_int_equal(control(f, 1, 0, huge, sizeof(huge)), 1);
    assert_int_equal(control(f, 1, 0, "\0\0\0\0\1", 5), 1);
    assert_int_equal(control(f, 1, 1, "\2\2", 2), 1);
    assert_int_equal(control(f, 2, 0, "\xff\xff", 2), 1);
    assert_int_equal(control(f, 3, 0, "\0", 1), 1);
    assert_int_equal(control(f, 5, 0, offloads, 8), 1); /* TSO was not agreed on */
    assert_int_equal(control(f, 5, 0, "\2\0\0\0\0\0\0\0", 8), 0);
    assert_false(driver_broken(&f->d));
    teardown(f);
}

/* What was chosen is there after loading, and the driver is asked to make itself known. */
static void test_state(void **state)
{
    struct fixture *a = setup(CTRL | BIT64(21)), *b = setup(0);
    static const u8 off = 0;
    assert_int_equal(control(a, 0, 0, &off, 1), 0);
    assert_int_equal(control(a, 1, 1, "\x02\x22\x22\x22\x22\x22", 6), 0);
    memcpy(b->d.ram, a->d.ram, DRIVER_RAM);
    memcpy(b->q, a->q, sizeof(a->q));
    loop_lock(b->d.loop);
    bench_copy_state(&a->d.dev->dev, &b->d.dev->dev);
    loop_unlock(b->d.loop);
    assert_int_equal(driver_read(&b->d, AT_CONFIG, 2), 0x2202);
    assert_int_equal(driver_read(&b->d, AT_CONFIG + 6, 2), 3);
    fill(b->frame, 100);
    assert_false(arrives(b));
    memcpy(b->frame, "\x02\x22\x22\x22\x22\x22", 6);
    assert_true(arrives(b));
    assert_int_equal(control(b, 3, 0, &off, 1), 0);
    assert_int_equal(driver_read(&b->d, AT_CONFIG + 6, 2), 1);
    teardown(a);
    teardown(b);
}

/* Nobody is there: what comes is lost, not kept. */
static void test_no_driver(void **state)
{
    struct fixture *f = setup(0);
    driver_write(&f->d, R_STATUS, 0, 1);
    fill(f->frame, 100);
    give_plain(f, 100);
    assert_false(f->net.holds);
    teardown(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),      cmocka_unit_test(test_both_ways),    cmocka_unit_test(test_merged),
        cmocka_unit_test(test_receive_cut), cmocka_unit_test(test_transmit_cut), cmocka_unit_test(test_lies),
        cmocka_unit_test(test_gone),        cmocka_unit_test(test_filter),       cmocka_unit_test(test_bad_commands),
        cmocka_unit_test(test_state),       cmocka_unit_test(test_no_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
