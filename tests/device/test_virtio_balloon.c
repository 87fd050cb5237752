/* virtio-balloon: pages given up by number and by report are zero afterwards; numbers of the guest come through. */
#include "bench.h"

#include "dev/virtio/balloon.h"
#include "mem/code.h"
#include "virtio_driver.h"

#define V1        BIT64(VIRTIO_F_VERSION_1)
#define STATS     BIT64(1)
#define REPORTING BIT64(5)
#define SIZE      8
#define PAGE      MEM_PAGE_SIZE
#define VICTIM    0x1a0000ull /* pages to give up */

struct fixture {
    struct driver d;
    struct driver_queue q[5];
};

static void setup(struct fixture *f, u64 features)
{
    driver_open(&f->d);
    struct virtio_host host = driver_host(&f->d, false);
    driver_attach(&f->d, virtio_balloon_create(&host, NULL));
    assert_true(driver_agree(&f->d, features));
    for (unsigned n = 0; n < 5; n++)
        driver_queue(&f->d, &f->q[n], n, SIZE);
    driver_ok(&f->d);
    memset(f->d.ram + VICTIM, 0x55, 8 * PAGE);
}

static void chain(struct fixture *f, unsigned queue, const struct driver_seg *seg, unsigned count)
{
    u16 id;
    u32 len;
    (void)driver_add(&f->d, &f->q[queue], seg, count);
    driver_kick(&f->d, &f->q[queue]);
    assert_true(driver_take(&f->d, &f->q[queue], &id, &len));
}

/* Which of the eight pages are zero. */
static unsigned gone(struct fixture *f)
{
    unsigned pages = 0;
    for (unsigned n = 0; n < 8; n++) {
        const u8 *p = f->d.ram + VICTIM + n * PAGE;
        if (p[0] == 0 && p[PAGE - 1] == 0)
            pages |= BIT(n);
        else
            assert_true(p[0] == 0x55 && p[PAGE - 1] == 0x55);
    }
    return pages;
}

static void test_inflate(void **state)
{
    static const u32 numbers[] = {1, 2, 3, 6, 0xffffff, UINT32_MAX};
    struct fixture f;
    setup(&f, V1);
    struct mem_page *page = &mem_space_ram(f.d.mem)->pages[VICTIM / PAGE + 2];
    (void)mem_code_mark(page, 64, 64);
    u32 gen = mem_code_gen(page);
    for (unsigned n = 0; n < ARRAY_SIZE(numbers); n++)
        put_u32(f.d.ram + DRIVER_DATA + 4 * n, n < 4 ? (u32)(VICTIM / PAGE) + numbers[n] : numbers[n]);
    const struct driver_seg seg = {DRIVER_DATA, sizeof(numbers) + 3, false};
    chain(&f, 0, &seg, 1);
    assert_int_equal(gone(&f), 0x4e);
    assert_int_not_equal(mem_code_gen(page), gen); /* what was translated from there is void */
    chain(&f, 1, &seg, 1);
    assert_false(driver_broken(&f.d));
    driver_write(&f.d, AT_CONFIG + 4, 4, 4);
    struct virtio_balloon_info info;
    (void)driver_read(&f.d, AT_ISR, 1);
    loop_lock(f.d.loop);
    virtio_balloon_set(f.d.dev, MiB(1));
    virtio_balloon_info(f.d.dev, &info);
    loop_unlock(f.d.loop);
    assert_int_equal(driver_read(&f.d, AT_CONFIG, 4), MiB(1) / PAGE);
    assert_int_equal(driver_read(&f.d, R_GENERATION, 1), 1);
    assert_int_equal(driver_read(&f.d, AT_ISR, 1), 2);
    assert_int_equal(info.actual, 4 * PAGE);
    assert_int_equal(info.wanted, MiB(1));
    driver_close(&f.d);
}

/* The reporting queue, as Linux numbers it and as the standard does. */
static void test_report(void **state)
{
    static const struct {
        u64 features;
        unsigned queue;
    } ways[] = {{0, 2}, {STATS, 3}, {STATS, 4}};
    const struct driver_seg seg[] = {{VICTIM + PAGE, 2 * PAGE, true}, {VICTIM + 5 * PAGE - 1, 2 * PAGE, true}};
    for (unsigned n = 0; n < ARRAY_SIZE(ways); n++) {
        struct fixture f;
        struct virtio_balloon_info info;
        setup(&f, V1 | REPORTING | ways[n].features);
        chain(&f, ways[n].queue, seg, 2);
        assert_int_equal(gone(&f), 0x26); /* whole pages only */
        loop_lock(f.d.loop);
        virtio_balloon_info(f.d.dev, &info);
        loop_unlock(f.d.loop);
        assert_int_equal(info.reported, 3 * PAGE);
        driver_close(&f.d);
    }
}

static void test_stats(void **state)
{
    struct virtio_balloon_info info;
    struct fixture f;
    u16 id;
    u32 len;
    setup(&f, V1 | STATS | REPORTING | BIT64(VIRTIO_F_EVENT_IDX));
    u8 *stats = f.d.ram + DRIVER_DATA;
    put_u16(stats, VIRTIO_BALLOON_FREE);
    put_u64(stats + 2, 12345);
    put_u16(stats + 10, 0x7777); /* unknown */
    put_u64(stats + 12, 1);
    const struct driver_seg seg = {DRIVER_DATA, 24, false};
    for (unsigned n = 0; n < 3 * SIZE; n++) {
        put_u64(stats + 2, 12345 + n);
        (void)driver_add(&f.d, &f.q[2], &seg, 1);
        driver_kick(&f.d, &f.q[2]);
        assert_false(driver_take(&f.d, &f.q[2], &id, &len)); /* kept */
        loop_lock(f.d.loop);
        virtio_balloon_info(f.d.dev, &info);
        loop_unlock(f.d.loop);
        assert_true(info.known[VIRTIO_BALLOON_FREE] && !info.known[VIRTIO_BALLOON_TOTAL]);
        assert_int_equal(info.stat[VIRTIO_BALLOON_FREE], 12345 + n);
        assert_true(driver_take(&f.d, &f.q[2], &id, &len)); /* and asked for again */
        assert_int_equal(get_u16(f.d.ram + f.q[2].used + 4 + 8 * SIZE), n + 1);
    }
    driver_close(&f.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_inflate), cmocka_unit_test(test_report),
                                       cmocka_unit_test(test_stats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
