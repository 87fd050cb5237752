/* virtio-blk on a back end that finishes requests when it is told to. */
#include "bench.h"

#include "block_stub.h"
#include "dev/virtio/blk.h"
#include "virtio_driver.h"

#define V1    BIT64(VIRTIO_F_VERSION_1)
#define RO    BIT64(5)
#define FLUSH BIT64(9)
#define WCE   BIT64(11)
#define SIZE  16

enum { IN = 0, OUT = 1, SYNC = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { OK, IOERR, UNSUPP, NONE = 0xaa };

#define HEADER DRIVER_DATA
#define STATUS (DRIVER_DATA + 0x1000)
#define BUFFER (DRIVER_DATA + 0x2000)

struct fixture {
    struct driver d;
    struct driver_queue q[2];
    struct block block;
};

static void setup(struct fixture *f, bool read_only, bool packed)
{
    driver_open(&f->d);
    stub_open(&f->block, f->d.loop);
    f->block.info.read_only = read_only;
    for (unsigned i = 0; i < STUB_SIZE; i++)
        f->block.data[i] = (u8)(i / BLOCK_SECTOR + i);
    struct virtio_host host = driver_host(&f->d, packed);
    struct virtio_blk_config cfg = {.block = &f->block, .queues = 2, .serial = "disk-7"};
    driver_attach(&f->d, virtio_blk_create(&host, &cfg, NULL));
}

static void start(struct fixture *f, u64 features)
{
    assert_true(driver_agree(&f->d, features));
    for (unsigned n = 0; n < 2; n++)
        driver_queue(&f->d, &f->q[n], n, SIZE);
    driver_ok(&f->d);
    driver_msix(&f->d, 3);
}

static void teardown(struct fixture *f)
{
    block_drain(&f->block);
    driver_close(&f->d);
}

static void header(struct fixture *f, u32 type, u64 sector)
{
    put_u32(f->d.ram + HEADER, type);
    put_u32(f->d.ram + HEADER + 4, 0);
    put_u64(f->d.ram + HEADER + 8, sector);
    f->d.ram[STATUS] = NONE;
}

/* Header, data in two pieces (of which the first may be empty), status; not done yet. */
static void submit(struct fixture *f, unsigned queue, u32 type, u64 sector, u32 bytes)
{
    bool write = type == IN || type == GET_ID;
    struct driver_seg seg[4] = {{HEADER, 16, false}};
    unsigned n = 1;
    if (bytes > 100)
        seg[n++] = (struct driver_seg){BUFFER, 100, write};
    if (bytes)
        seg[n++] = (struct driver_seg){BUFFER + (bytes > 100 ? 100 : 0), bytes - (bytes > 100 ? 100 : 0), write};
    seg[n++] = (struct driver_seg){STATUS, 1, true};
    header(f, type, sector);
    (void)driver_add(&f->d, &f->q[queue], seg, n);
    driver_kick(&f->d, &f->q[queue]);
}

/* Its status. */
static u8 request(struct fixture *f, u32 type, u64 sector, u32 bytes)
{
    u16 id;
    u32 len;
    submit(f, 0, type, sector, bytes);
    block_drain(&f->block);
    assert_true(driver_take(&f->d, &f->q[0], &id, &len));
    return f->d.ram[STATUS];
}

static void test_read_write(void **state)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct fixture f;
        setup(&f, false, packed);
        start(&f, V1 | FLUSH | (packed ? BIT64(VIRTIO_F_RING_PACKED) : 0));
        for (unsigned n = 0; n < 3 * SIZE; n++) {
            assert_int_equal(request(&f, IN, n, 1024), OK);
            assert_memory_equal(f.d.ram + BUFFER, f.block.data + n * BLOCK_SECTOR, 1024);
        }
        memset(f.d.ram + BUFFER, 0x77, 1536);
        assert_int_equal(request(&f, OUT, 4, 1536), OK);
        assert_int_equal(f.block.data[4 * 512], 0x77);
        assert_int_equal(f.block.data[7 * 512 - 1], 0x77);
        assert_int_not_equal(f.block.data[7 * 512], 0x77);
        assert_int_equal(f.block.fua, 0);
        assert_int_equal(request(&f, SYNC, 0, 0), OK);
        assert_int_equal(f.block.flushes, 1);
        memset(f.d.ram + BUFFER, 0xff, 32);
        assert_int_equal(request(&f, GET_ID, 0, 20), OK);
        assert_memory_equal(f.d.ram + BUFFER, "disk-7\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        assert_int_equal(request(&f, 99, 0, 512), UNSUPP);
        assert_false(driver_broken(&f.d));
        teardown(&f);
    }
}

static void test_cache(void **state)
{
    struct fixture f;
    setup(&f, false, false);
    start(&f, V1); /* cannot flush: each write has to be on the disk */
    assert_int_equal(request(&f, OUT, 0, 512), OK);
    assert_int_equal(f.block.last.flags, BLOCK_FUA);
    start(&f, V1 | FLUSH | WCE);
    assert_int_equal(driver_read(&f.d, AT_CONFIG + 32, 1), 1);
    assert_int_equal(request(&f, OUT, 0, 512), OK);
    assert_int_equal(f.block.last.flags, 0);
    driver_write(&f.d, AT_CONFIG + 32, 0, 1);
    assert_int_equal(driver_read(&f.d, AT_CONFIG + 32, 1), 0);
    assert_int_equal(request(&f, OUT, 0, 512), OK);
    assert_int_equal(f.block.last.flags, BLOCK_FUA);
    start(&f, V1 | FLUSH | WCE);
    assert_int_equal(driver_read(&f.d, AT_CONFIG + 32, 1), 1);
    teardown(&f);
}

static void range(struct fixture *f, unsigned n, u64 sector, u32 count, u32 flags)
{
    u8 *at = f->d.ram + BUFFER + 16 * n;
    put_u64(at, sector);
    put_u32(at + 8, count);
    put_u32(at + 12, flags);
}

static void test_ranges(void **state)
{
    struct fixture f;
    setup(&f, false, false);
    start(&f, V1 | FLUSH);
    range(&f, 0, 8, 8, 0);
    range(&f, 1, 24, 8, 1);
    assert_int_equal(request(&f, ZEROES, 0, 32), OK);
    assert_int_equal(f.block.data[9 * 512 + 7], 0);
    assert_int_equal(f.block.data[25 * 512 + 7], 0);
    assert_int_not_equal(f.block.data[17 * 512 + 7], 0);
    assert_int_equal(f.block.last.flags, BLOCK_UNMAP);
    range(&f, 0, 40, 8, 0);
    assert_int_equal(request(&f, DISCARD, 0, 16), OK);
    assert_int_equal(f.block.last.op, BLOCK_DISCARD);
    range(&f, 0, 40, 8, 1); /* for zeroes only */
    assert_int_equal(request(&f, DISCARD, 0, 16), UNSUPP);
    range(&f, 0, 40, 8, 2);
    assert_int_equal(request(&f, ZEROES, 0, 16), UNSUPP);
    range(&f, 0, STUB_SIZE / 512 - 1, 2, 0);
    assert_int_equal(request(&f, ZEROES, 0, 16), IOERR);
    range(&f, 0, UINT64_MAX, 2, 0);
    assert_int_equal(request(&f, ZEROES, 0, 16), IOERR);
    range(&f, 0, 0, UINT32_MAX, 0);
    assert_int_equal(request(&f, DISCARD, 0, 16), IOERR);
    assert_int_equal(request(&f, DISCARD, 0, 15), IOERR);
    assert_int_equal(request(&f, DISCARD, 0, 0), IOERR);
    assert_int_equal(request(&f, DISCARD, 0, 17 * 16), IOERR);
    teardown(&f);
}

static void test_errors(void **state)
{
    const u64 end = STUB_SIZE / BLOCK_SECTOR;
    struct fixture f;
    setup(&f, false, false);
    start(&f, V1 | FLUSH);
    assert_int_equal(driver_read(&f.d, AT_CONFIG, 4), end);
    assert_int_equal(request(&f, IN, end, 512), IOERR);
    assert_int_equal(request(&f, IN, end - 1, 1024), IOERR);
    assert_int_equal(request(&f, IN, UINT64_MAX, 512), IOERR);
    assert_int_equal(request(&f, OUT, UINT64_MAX / 512, 512), IOERR);
    assert_int_equal(request(&f, IN, 0, 511), IOERR);
    assert_int_equal(request(&f, OUT, 0, 0), IOERR);
    f.block.fail = -EIO;
    assert_int_equal(request(&f, IN, 0, 512), IOERR);
    assert_int_equal(request(&f, SYNC, 0, 0), IOERR);
    teardown(&f);

    setup(&f, true, false);
    assert_true(driver_offered(&f.d) & RO);
    start(&f, V1 | FLUSH | RO);
    assert_int_equal(request(&f, OUT, 0, 512), IOERR);
    assert_int_equal(request(&f, IN, 0, 512), OK);
    teardown(&f);
}

/* A chain without a header, or with no room for the status, has nowhere to put an answer. */
static void test_no_request(void **state)
{
    const struct driver_seg small[] = {{HEADER, 15, false}, {STATUS, 1, true}}, mute = {HEADER, 16, false};
    struct fixture f;
    setup(&f, false, false);
    start(&f, V1);
    header(&f, IN, 0);
    (void)driver_add(&f.d, &f.q[1], small, 2);
    driver_kick(&f.d, &f.q[1]);
    assert_true(driver_broken(&f.d));
    start(&f, V1);
    (void)driver_add(&f.d, &f.q[0], &mute, 1);
    driver_kick(&f.d, &f.q[0]);
    assert_true(driver_broken(&f.d));
    start(&f, V1);
    assert_int_equal(request(&f, IN, 0, 512), OK);
    teardown(&f);
}

/* Done in another order than they were asked for, on both queues, each with its interrupt. */
static void test_order(void **state)
{
    struct fixture f;
    u16 id;
    u32 len;
    setup(&f, false, false);
    start(&f, V1 | FLUSH);
    submit(&f, 0, IN, 1, 512);
    submit(&f, 0, IN, 2, 512);
    submit(&f, 1, IN, 3, 512);
    assert_int_equal(driver_msis(&f.d), 0);
    struct list *last = f.block.waiting.prev;
    list_remove(last);
    list_insert(f.block.waiting.next, last); /* to the front */
    loop_lock(f.d.loop);
    assert_true(stub_step(&f.block));
    loop_unlock(f.d.loop);
    assert_int_equal(f.d.msi_data, 0x42);
    assert_false(driver_take(&f.d, &f.q[0], &id, &len));
    assert_true(driver_take(&f.d, &f.q[1], &id, &len));
    block_drain(&f.block);
    assert_int_equal(driver_msis(&f.d), 3);
    assert_true(driver_take(&f.d, &f.q[0], &id, &len));
    assert_int_equal(len, 513);
    assert_true(driver_take(&f.d, &f.q[0], &id, &len));
    teardown(&f);
}

/* A reset waits for what the back end may still write; the old rings are not touched after it. */
static void test_reset_busy(void **state)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct fixture f;
        u8 ring[3 * 0x1000];
        setup(&f, false, packed);
        start(&f, V1 | (packed ? BIT64(VIRTIO_F_RING_PACKED) : 0));
        submit(&f, 0, IN, 1, 512);
        submit(&f, 1, IN, 2, 512);
        memcpy(ring, f.d.ram + DRIVER_RING, sizeof(ring));
        driver_write(&f.d, R_STATUS, 0, 1);
        assert_int_not_equal(driver_status(&f.d), 0);
        submit(&f, 0, IN, 3, 512); /* nobody looks any more */
        memcpy(ring, f.d.ram + DRIVER_RING, sizeof(ring));
        loop_lock(f.d.loop);
        assert_true(stub_step(&f.block));
        loop_unlock(f.d.loop);
        assert_int_not_equal(driver_status(&f.d), 0);
        loop_lock(f.d.loop);
        assert_true(stub_step(&f.block));
        assert_false(stub_step(&f.block));
        loop_unlock(f.d.loop);
        assert_int_equal(driver_status(&f.d), 0);
        assert_memory_equal(ring, f.d.ram + DRIVER_RING, sizeof(ring));
        assert_int_equal(driver_msis(&f.d), 0);
        start(&f, V1);
        assert_int_equal(request(&f, IN, 5, 512), OK);
        teardown(&f);
    }
}

/* The same for one queue, while the other goes on. */
static void test_queue_reset_busy(void **state)
{
    struct fixture f;
    u16 id;
    u32 len;
    setup(&f, false, false);
    start(&f, V1 | FLUSH | BIT64(VIRTIO_F_RING_RESET));
    submit(&f, 1, IN, 1, 512);
    driver_write(&f.d, R_SELECT, 1, 2);
    driver_write(&f.d, R_RESET, 1, 2);
    assert_int_equal(driver_read(&f.d, R_RESET, 2), 1);
    driver_write(&f.d, R_ENABLE, 1, 2); /* too early */
    submit(&f, 0, IN, 2, 512);
    block_drain(&f.block);
    assert_true(driver_take(&f.d, &f.q[0], &id, &len));
    assert_int_equal(get_u16(f.d.ram + f.q[1].used + 2), 0);
    driver_write(&f.d, R_SELECT, 1, 2);
    assert_int_equal(driver_read(&f.d, R_RESET, 2), 0);
    driver_queue(&f.d, &f.q[1], 1, SIZE);
    submit(&f, 1, IN, 1, 512);
    block_drain(&f.block);
    assert_true(driver_take(&f.d, &f.q[1], &id, &len));
    teardown(&f);
}

/* The machine is reset and the device broken while requests are under way: nobody is told, nothing is lost. */
static void test_power_busy(void **state)
{
    struct fixture f;
    setup(&f, false, false);
    start(&f, V1);
    submit(&f, 0, IN, 1, 512);
    loop_lock(f.d.loop);
    f.d.dev->dev.cls->reset(&f.d.dev->dev);
    ((struct dev *)f.d.pci)->cls->reset((struct dev *)f.d.pci);
    loop_unlock(f.d.loop);
    driver_place(&f.d);
    start(&f, V1);
    block_drain(&f.block);
    assert_int_equal(f.d.ram[STATUS], NONE);
    assert_int_equal(get_u16(f.d.ram + f.q[0].used + 2), 0);
    assert_int_equal(driver_msis(&f.d), 0);
    submit(&f, 0, IN, 1, 512);
    const struct driver_seg bad = {DRIVER_RAM, 16, false};
    (void)driver_add(&f.d, &f.q[1], &bad, 1);
    driver_kick(&f.d, &f.q[1]);
    assert_true(driver_broken(&f.d));
    block_drain(&f.block);
    start(&f, V1);
    assert_int_equal(request(&f, IN, 1, 512), OK);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_write), cmocka_unit_test(test_cache),
        cmocka_unit_test(test_ranges),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_no_request), cmocka_unit_test(test_order),
        cmocka_unit_test(test_reset_busy), cmocka_unit_test(test_queue_reset_busy),
        cmocka_unit_test(test_power_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
