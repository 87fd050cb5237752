/*
 * The virtio library and its PCI transport, with virtio-rng behind them: negotiation, both kinds of ring, interrupts
 * and their suppression, resets, saved state, and rings made wrong in every way there is.
 */
#include "bench.h"

#include "dev/virtio/rng.h"
#include "virtio_driver.h"

#define V1       BIT64(VIRTIO_F_VERSION_1)
#define PACKED   BIT64(VIRTIO_F_RING_PACKED)
#define EVENT    BIT64(VIRTIO_F_EVENT_IDX)
#define INDIRECT BIT64(VIRTIO_F_INDIRECT_DESC)
#define RESET    BIT64(VIRTIO_F_RING_RESET)
#define SIZE     8

static const u64 kinds[] = {V1,
                            V1 | PACKED,
                            V1 | EVENT,
                            V1 | PACKED | EVENT,
                            V1 | EVENT | INDIRECT,
                            V1 | INDIRECT,
                            V1 | PACKED | EVENT | INDIRECT};

struct fixture {
    struct driver d;
    struct driver_queue q;
};

static void setup(struct fixture *f)
{
    driver_open(&f->d);
    struct virtio_host host = driver_host(&f->d, true);
    driver_attach(&f->d, virtio_rng_create(&host, NULL));
}

/* Ready with one queue. */
static void start(struct fixture *f, u64 features)
{
    assert_true(driver_agree(&f->d, features));
    driver_queue(&f->d, &f->q, 0, SIZE);
    f->q.indirect = features & INDIRECT;
    driver_ok(&f->d);
    assert_false(driver_broken(&f->d));
}

static bool all_zero(const u8 *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i])
            return false;
    return true;
}

static void expect_served(struct fixture *f, u32 want)
{
    u16 id;
    u32 len;
    assert_true(driver_take(&f->d, &f->q, &id, &len));
    assert_int_equal(len, want);
    assert_false(driver_take(&f->d, &f->q, &id, &len));
}

/* One request of 64 bytes; works, or the fixture is broken. */
static void request(struct fixture *f)
{
    const struct driver_seg seg = {DRIVER_DATA, 64, true};
    memset(f->d.ram + DRIVER_DATA, 0, 64);
    (void)driver_add(&f->d, &f->q, &seg, 1);
    driver_kick(&f->d, &f->q);
    expect_served(f, 64);
    assert_false(all_zero(f->d.ram + DRIVER_DATA, 64));
}

static void test_identity(void **state)
{
    struct fixture f;
    setup(&f);
    const u8 *config = f.d.bus.func[DRIVER_SLOT]->s->config;
    assert_int_equal(get_u16(config + PCI_VENDOR_ID), 0x1af4);
    assert_int_equal(get_u16(config + PCI_DEVICE_ID), 0x1044);
    assert_int_equal(config[PCI_REVISION], 1);
    unsigned types = 0;
    for (unsigned cap = config[PCI_CAPABILITIES]; cap; cap = config[cap + 1])
        if (config[cap] == 9)
            types |= BIT(config[cap + 3]);
    assert_int_equal(types, BIT(1) | BIT(2) | BIT(3) | BIT(5)); /* no configuration of its own */
    assert_int_equal(driver_read(&f.d, R_QUEUES, 2), 1);
    assert_true(driver_offered(&f.d) & V1);
    driver_write(&f.d, R_SELECT, 1, 2);
    assert_int_equal(driver_read(&f.d, R_SIZE, 2), 0);
    driver_close(&f.d);
}

static void test_negotiation(void **state)
{
    struct fixture f;
    setup(&f);
    assert_false(driver_agree(&f.d, 0)); /* a driver for the old interface */
    driver_ok(&f.d);
    assert_false(driver_status(&f.d) & VIRTIO_DRIVER_OK);
    assert_false(driver_agree(&f.d, V1 | BIT64(50)));
    assert_true(driver_agree(&f.d, V1));
    driver_write(&f.d, R_DRIVER_SELECT, 0, 4);
    driver_write(&f.d, R_DRIVER, 1u << 29, 4); /* too late */
    assert_int_equal(driver_read(&f.d, R_DRIVER, 4), 0);
    driver_write(&f.d, R_STATUS, VIRTIO_ACKNOWLEDGE, 1); /* bits stay until a reset */
    assert_true(driver_status(&f.d) & VIRTIO_FEATURES_OK);
    driver_write(&f.d, R_STATUS, 0, 1);
    assert_int_equal(driver_status(&f.d), 0);
    driver_close(&f.d);
}

static void test_requests(void **state)
{
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct fixture f;
        setup(&f);
        start(&f, kinds[k]);
        for (unsigned n = 0; n < 5 * SIZE; n++) /* several times round */
            request(&f);
        driver_close(&f.d);
    }
}

/* Chains of several segments, several at once, all round the ring. */
static void test_chains(void **state)
{
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct fixture f;
        setup(&f);
        start(&f, kinds[k]);
        for (unsigned round = 0; round < 20; round++) {
            const struct driver_seg seg[] = {{DRIVER_DATA, 5, true}, {DRIVER_DATA + 100, 3, true}, {8191, 4, true}};
            u16 id[2], got;
            u32 len;
            memset(f.d.ram + DRIVER_DATA, 0, 200);
            id[0] = driver_add(&f.d, &f.q, seg, 3);
            id[1] = driver_add(&f.d, &f.q, seg, 1);
            driver_kick(&f.d, &f.q);
            assert_true(driver_take(&f.d, &f.q, &got, &len));
            assert_int_equal(got, id[0]);
            assert_int_equal(len, 12);
            assert_true(driver_take(&f.d, &f.q, &got, &len));
            assert_int_equal(got, id[1]);
            assert_int_equal(len, 5);
            assert_true(all_zero(f.d.ram + DRIVER_DATA + 5, 95));
            assert_true(all_zero(f.d.ram + DRIVER_DATA + 103, 97));
        }
        assert_false(driver_broken(&f.d));
        driver_close(&f.d);
    }
}

static void test_interrupts(void **state)
{
    struct fixture f;
    setup(&f);
    start(&f, V1);
    request(&f);
    assert_true(f.d.intx);
    assert_int_equal(driver_read(&f.d, AT_ISR, 1), 1);
    assert_false(f.d.intx);
    assert_int_equal(driver_read(&f.d, AT_ISR, 1), 0);
    driver_msix(&f.d, 2);
    request(&f);
    assert_int_equal(driver_msis(&f.d), 1);
    assert_int_equal(f.d.msi_data, 0x41);
    assert_false(f.d.intx);
    put_u16(f.d.ram + f.q.avail, 1); /* VIRTQ_AVAIL_F_NO_INTERRUPT */
    request(&f);
    assert_int_equal(driver_msis(&f.d), 0);
    driver_write(&f.d, R_VECTOR, 7, 2); /* there are two */
    assert_int_equal(driver_read(&f.d, R_VECTOR, 2), VIRTQ_NO_VECTOR);
    driver_close(&f.d);
}

/* With event indexes an interrupt comes when the used position passes the one asked for, and only then. */
static void test_events(void **state)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct fixture f;
        setup(&f);
        start(&f, V1 | EVENT | (packed ? PACKED : 0));
        driver_msix(&f.d, 2);
        unsigned total = 0;
        for (unsigned n = 0; n < 6 * SIZE; n++) {
            unsigned want = (n + 4) / 5 * 5; /* after every fifth */
            u16 position = (u16)(packed ? want % SIZE : want);
            driver_event(&f.d, &f.q, position, want / SIZE % 2 == 0);
            request(&f);
            unsigned got = driver_msis(&f.d);
            assert_int_equal(got, n == want);
            total += got;
        }
        assert_int_equal(total, 10);
        driver_close(&f.d);
    }
}

static void test_suppression_packed(void **state)
{
    struct fixture f;
    setup(&f);
    start(&f, V1 | PACKED);
    driver_msix(&f.d, 2);
    put_u16(f.d.ram + f.q.avail + 2, 1);
    request(&f);
    assert_int_equal(driver_msis(&f.d), 0);
    put_u16(f.d.ram + f.q.avail + 2, 0);
    request(&f);
    assert_int_equal(driver_msis(&f.d), 1);
    driver_close(&f.d);
}

/* The device asks for the next notification where it stopped. */
static void test_avail_event(void **state)
{
    struct fixture f;
    setup(&f);
    start(&f, V1 | EVENT);
    for (unsigned n = 1; n < 20; n++) {
        request(&f);
        assert_int_equal(get_u16(f.d.ram + f.q.used + 4 + 8 * SIZE), n);
    }
    start(&f, V1 | EVENT | PACKED);
    for (unsigned n = 1; n < 20; n++) {
        request(&f);
        u16 at = get_u16(f.d.ram + f.q.used);
        assert_int_equal(at & 0x7fff, n % SIZE);
        assert_int_equal(at >> 15, n / SIZE % 2 == 0);
        assert_int_equal(get_u16(f.d.ram + f.q.used + 2), 2);
    }
    driver_close(&f.d);
}

/* Buffers that were there before the driver was ready, or while the function was not bus master, are found. */
static void test_late(void **state)
{
    const struct driver_seg seg = {DRIVER_DATA, 16, true};
    struct fixture f;
    setup(&f);
    assert_true(driver_agree(&f.d, V1));
    driver_queue(&f.d, &f.q, 0, SIZE);
    (void)driver_add(&f.d, &f.q, &seg, 1);
    driver_kick(&f.d, &f.q);
    assert_int_equal(get_u16(f.d.ram + f.q.used + 2), 0);
    driver_ok(&f.d);
    expect_served(&f, 16);
    driver_config(&f.d, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    (void)driver_add(&f.d, &f.q, &seg, 1);
    driver_kick(&f.d, &f.q);
    assert_int_equal(get_u16(f.d.ram + f.q.used + 2), 1);
    driver_config(&f.d, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    expect_served(&f, 16);
    driver_close(&f.d);
}

static void test_config_access(void **state)
{
    struct fixture f;
    setup(&f);
    const u8 *config = f.d.bus.func[DRIVER_SLOT]->s->config;
    unsigned cap = config[PCI_CAPABILITIES];
    while (config[cap] != 9 || config[cap + 3] != 5)
        cap = config[cap + 1];
    driver_config(&f.d, cap + 4, 4, 1);
    driver_config(&f.d, cap + 8, R_STATUS, 4);
    driver_config(&f.d, cap + 12, 1, 4);
    driver_config(&f.d, cap + 16, VIRTIO_ACKNOWLEDGE, 1);
    assert_int_equal(driver_status(&f.d), VIRTIO_ACKNOWLEDGE);
    driver_write(&f.d, R_STATUS, VIRTIO_DRIVER, 1);
    loop_lock(f.d.loop);
    u32 seen = pci_config_read(&f.d.bus, (u32)DRIVER_SLOT << 8 | (cap + 16), 4);
    loop_unlock(f.d.loop);
    assert_int_equal(seen & 0xff, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    driver_config(&f.d, cap + 8, 0x7ffffff0, 4); /* outside: nothing happens */
    driver_config(&f.d, cap + 12, 4, 4);
    driver_config(&f.d, cap + 16, 0, 4);
    assert_int_equal(driver_status(&f.d), VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    driver_close(&f.d);
}

static void test_queue_reset(void **state)
{
    struct fixture f;
    setup(&f);
    start(&f, V1 | RESET);
    request(&f);
    driver_write(&f.d, R_SELECT, 0, 2);
    driver_write(&f.d, R_RESET, 1, 2);
    assert_int_equal(driver_read(&f.d, R_RESET, 2), 0);
    assert_int_equal(driver_read(&f.d, R_ENABLE, 2), 0);
    driver_queue(&f.d, &f.q, 0, SIZE / 2); /* another size */
    request(&f);
    driver_close(&f.d);
}

static void test_renegotiation(void **state)
{
    struct fixture f;
    setup(&f);
    for (unsigned n = 0; n < 3 * ARRAY_SIZE(kinds); n++) {
        start(&f, kinds[n * 5 % ARRAY_SIZE(kinds)]);
        for (unsigned i = 0; i < n; i++)
            request(&f);
    }
    driver_close(&f.d);
}

/* Saved in the middle of a ring and loaded into another machine with the same memory. */
static void test_state(void **state)
{
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct fixture a, b;
        setup(&a);
        setup(&b);
        start(&a, kinds[k]);
        for (unsigned n = 0; n < SIZE + 3; n++)
            request(&a);
        memcpy(b.d.ram, a.d.ram, DRIVER_RAM);
        loop_lock(a.d.loop);
        loop_lock(b.d.loop);
        bench_copy_state(&a.d.dev->dev, &b.d.dev->dev);
        bench_copy_state((struct dev *)a.d.pci, (struct dev *)b.d.pci);
        loop_unlock(b.d.loop);
        loop_unlock(a.d.loop);
        b.q = a.q;
        for (unsigned n = 0; n < SIZE + 3; n++)
            request(&b);
        driver_close(&a.d);
        driver_close(&b.d);
    }
}

/* --- rings made wrong ------------------------------------------------------------------------------------------- */

/* What can be wrong with a chain of the driver's: the first descriptor is at `at`. */
struct wrong {
    const char *what;
    u64 features;
    void (*make)(struct fixture *f, u64 at);
};

static void wrong_outside(struct fixture *f, u64 at)
{
    put_u64(f->d.ram + at, DRIVER_RAM);
}

static void wrong_device(struct fixture *f, u64 at)
{
    put_u64(f->d.ram + at, DRIVER_BAR);
}

static void wrong_end(struct fixture *f, u64 at)
{
    put_u64(f->d.ram + at, DRIVER_RAM - 10);
}

static void wrong_wrap(struct fixture *f, u64 at)
{
    put_u64(f->d.ram + at, UINT64_MAX - 10);
}

static void wrong_empty(struct fixture *f, u64 at)
{
    put_u32(f->d.ram + at + 8, 0);
}

static void wrong_huge(struct fixture *f, u64 at)
{
    put_u32(f->d.ram + at + 8, UINT32_MAX);
}

static u16 *flags_of(struct fixture *f, u64 at)
{
    return (u16 *)(void *)(f->d.ram + at + (f->q.packed ? 14 : 12));
}

static void wrong_loop(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 1;
    if (!f->q.packed)
        put_u16(f->d.ram + at + 14, (u16)((at - f->q.desc) / 16));
    for (unsigned i = 0; f->q.packed && i < SIZE; i++) { /* no end: each has a next one */
        const struct driver_seg seg = {DRIVER_DATA, 1, true};
        u16 flags = get_u16(f->d.ram + at + 14);
        driver_desc(&f->d, f->q.desc + i * 16ull, &seg, 0, flags);
    }
}

static void wrong_next(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 1;
    put_u16(f->d.ram + at + 14, SIZE);
}

static void wrong_indirect(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 4;
    put_u32(f->d.ram + at + 8, 16);
}

static void wrong_indirect_next(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 5;
    put_u32(f->d.ram + at + 8, 16);
}

static void wrong_table_length(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 4;
    put_u32(f->d.ram + at + 8, 24);
}

static void wrong_table_empty(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 4;
    put_u32(f->d.ram + at + 8, 0);
}

static void wrong_table_place(struct fixture *f, u64 at)
{
    *flags_of(f, at) |= 4;
    put_u32(f->d.ram + at + 8, 32);
    put_u64(f->d.ram + at, DRIVER_RAM - 16);
}

/* A table whose first entry is `kind`. */
static void table_with(struct fixture *f, u64 at, u64 addr, u32 len, u16 flags, u16 next, u32 size)
{
    u8 *entry = f->d.ram + DRIVER_TABLE;
    put_u64(entry, addr);
    put_u32(entry + 8, len);
    put_u16(entry + 12, f->q.packed ? 0 : flags);
    put_u16(entry + 14, f->q.packed ? flags : next);
    *flags_of(f, at) |= 4;
    put_u64(f->d.ram + at, DRIVER_TABLE);
    put_u32(f->d.ram + at + 8, size);
}

static void wrong_table_table(struct fixture *f, u64 at)
{
    table_with(f, at, DRIVER_TABLE, 16, 4, 0, 16);
}

static void wrong_table_loop(struct fixture *f, u64 at)
{
    table_with(f, at, DRIVER_DATA, 16, 3, 0, 16);
}

static void wrong_table_next(struct fixture *f, u64 at)
{
    table_with(f, at, DRIVER_DATA, 16, 3, 1, 16);
}

static void wrong_table_entry(struct fixture *f, u64 at)
{
    table_with(f, at, DRIVER_RAM, 16, 2, 0, 16);
}

/* 16 entries of 16 MiB would be more than RAM; 300 good ones are more than an element holds. */
static void wrong_table_long(struct fixture *f, u64 at)
{
    for (unsigned i = 0; i < 300; i++) {
        const struct driver_seg seg = {DRIVER_DATA, 1, true};
        if (f->q.packed)
            driver_desc(&f->d, DRIVER_TABLE + i * 16, &seg, 0, 2);
        else
            driver_desc(&f->d, DRIVER_TABLE + i * 16, &seg, i < 299 ? 3 : 2, (u16)(i + 1));
    }
    *flags_of(f, at) |= 4;
    put_u64(f->d.ram + at, DRIVER_TABLE);
    put_u32(f->d.ram + at + 8, 300 * 16);
}

static void wrong_head(struct fixture *f, u64 at)
{
    put_u16(f->d.ram + f->q.avail + 4 + 2 * ((f->q.next - 1) % SIZE), SIZE);
}

static void wrong_jump(struct fixture *f, u64 at)
{
    put_u16(f->d.ram + f->q.avail + 2, (u16)(f->q.next + SIZE));
}

static void wrong_back(struct fixture *f, u64 at)
{
    put_u16(f->d.ram + f->q.avail + 2, (u16)(f->q.next - 2));
}

#define BOTH(what, more, make)                                                                                         \
    {what, V1 | (more), make},                                                                                         \
    {                                                                                                                  \
        what ", packed", V1 | PACKED | (more), make                                                                    \
    }
static const struct wrong wrongs[] = {
    BOTH("a segment outside RAM", 0, wrong_outside),
    BOTH("a segment in a device", 0, wrong_device),
    BOTH("a segment across the end of RAM", 0, wrong_end),
    BOTH("a segment that wraps", 0, wrong_wrap),
    BOTH("an empty segment", 0, wrong_empty),
    BOTH("a huge segment", 0, wrong_huge),
    BOTH("a loop", 0, wrong_loop),
    BOTH("a table that was not negotiated", 0, wrong_indirect),
    BOTH("a table with a next", INDIRECT, wrong_indirect_next),
    BOTH("a table of odd length", INDIRECT, wrong_table_length),
    BOTH("an empty table", INDIRECT, wrong_table_empty),
    BOTH("a table across the end of RAM", INDIRECT, wrong_table_place),
    BOTH("a table in a table", INDIRECT, wrong_table_table),
    BOTH("a table's segment outside RAM", INDIRECT, wrong_table_entry),
    BOTH("a table too long", INDIRECT, wrong_table_long),
    {"a next outside the ring", V1, wrong_next},
    {"a loop in a table", V1 | INDIRECT, wrong_table_loop},
    {"a next outside the table", V1 | INDIRECT, wrong_table_next},
    {"a head outside the ring", V1, wrong_head},
    {"an index too far ahead", V1, wrong_jump},
    {"an index that went back", V1, wrong_back},
};

static void test_wrong_chains(void **state)
{
    const struct driver_seg seg = {DRIVER_DATA, 64, true};
    for (unsigned n = 0; n < ARRAY_SIZE(wrongs); n++) {
        const struct wrong *w = &wrongs[n];
        struct fixture f;
        setup(&f);
        start(&f, w->features);
        f.q.indirect = false;
        driver_msix(&f.d, 2);
        driver_write(&f.d, R_CONFIG_VECTOR, 0, 2);
        request(&f);
        (void)driver_msis(&f.d);
        u64 at = f.q.desc + (f.q.packed ? f.q.next : f.q.free) * 16ull;
        (void)driver_add(&f.d, &f.q, &seg, 1);
        w->make(&f, at);
        driver_kick(&f.d, &f.q);
        if (!driver_broken(&f.d))
            fail_msg("%s: the device goes on", w->what);
        assert_int_equal(driver_msis(&f.d), 1);
        assert_int_equal(f.d.msi_data, 0x40); /* a change of configuration */
        driver_kick(&f.d, &f.q);
        assert_int_equal(driver_msis(&f.d), 0);
        start(&f, w->features); /* a reset, and all is well */
        request(&f);
        driver_close(&f.d);
    }
}

static void test_wrong_order(void **state)
{
    const struct driver_seg seg[] = {{DRIVER_DATA, 64, true}, {DRIVER_DATA + 64, 64, false}};
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct fixture f;
        setup(&f);
        start(&f, kinds[k]);
        (void)driver_add(&f.d, &f.q, seg, 2);
        driver_kick(&f.d, &f.q);
        assert_true(driver_broken(&f.d));
        driver_close(&f.d);
    }
}

static void test_wrong_places(void **state)
{
    static const struct {
        u64 desc, avail, used;
        u16 size;
    } bad[] = {
        {DRIVER_RAM, 0x11000, 0x12000, SIZE}, {0x10008, 0x11000, 0x12000, SIZE},
        {0x10000, 0x11001, 0x12000, SIZE},    {0x10000, 0x11000, 0x12002, SIZE},
        {0x10000, 0x11000, 0x12000, 0},       {0x10000, 0x11000, 0x12000, 512},
        {0x10000, 0x11000, 0x12000, 0xffff},  {0x10000, 0x11000, ~0xfull, SIZE},
        {~0xfull, 0x11000, 0x12000, SIZE},    {0x10000, DRIVER_BAR, 0x12000, SIZE},
        {0x10000, 0x11000, DRIVER_RAM, SIZE}, {DRIVER_RAM - 16, 0x11000, 0x12000, SIZE},
    };
    for (unsigned packed = 0; packed < 2; packed++) {
        for (unsigned n = 0; n < ARRAY_SIZE(bad); n++) {
            struct fixture f;
            u64 features = V1 | (packed ? PACKED : 0);
            setup(&f);
            assert_true(driver_agree(&f.d, features));
            f.q = (struct driver_queue){
                .size = bad[n].size, .desc = bad[n].desc, .avail = bad[n].avail, .used = bad[n].used};
            driver_queue_place(&f.d, &f.q);
            driver_write(&f.d, R_ENABLE, 1, 2);
            assert_true(driver_broken(&f.d));
            driver_ok(&f.d);
            driver_kick(&f.d, &f.q);
            start(&f, features);
            request(&f);
            driver_close(&f.d);
        }
    }
}

/* A ring that its own buffers overwrite: no harm, whatever comes out. */
static void test_wrong_overlap(void **state)
{
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct fixture f;
        setup(&f);
        start(&f, kinds[k]);
        const struct driver_seg seg[] = {{f.q.avail, 64, true}, {f.q.desc, 128, true}, {f.q.used, 64, true}};
        (void)driver_add(&f.d, &f.q, seg, 3);
        driver_kick(&f.d, &f.q);
        driver_kick(&f.d, &f.q);
        start(&f, kinds[k]);
        request(&f);
        driver_close(&f.d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),      cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_requests),      cmocka_unit_test(test_chains),
        cmocka_unit_test(test_interrupts),    cmocka_unit_test(test_events),
        cmocka_unit_test(test_avail_event),   cmocka_unit_test(test_suppression_packed),
        cmocka_unit_test(test_late),          cmocka_unit_test(test_config_access),
        cmocka_unit_test(test_queue_reset),   cmocka_unit_test(test_renegotiation),
        cmocka_unit_test(test_state),         cmocka_unit_test(test_wrong_chains),
        cmocka_unit_test(test_wrong_order),   cmocka_unit_test(test_wrong_places),
        cmocka_unit_test(test_wrong_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
