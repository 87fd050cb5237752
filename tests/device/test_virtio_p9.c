/*
 * virtio-9p: what goes from the ring to the share and back, and what a reset does meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dev/virtio/p9.h"
#include "share_stub.h"
#include "virtio_driver.h"

#define OUT  DRIVER_DATA
#define IN   (DRIVER_DATA + 0x8000)
#define TEXT "a message of the guest, and some more of it"

struct rig {
    struct driver d;
    struct driver_queue q;
    struct share share;
};

static void rig_start(struct rig *r, bool packed)
{
    u64 kind = packed ? BIT64(VIRTIO_F_RING_PACKED) : 0;
    assert_true(driver_agree(&r->d, BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_INDIRECT_DESC) |
                                        BIT64(VIRTIO_F_RING_RESET) | BIT64(0) | kind));
    driver_queue(&r->d, &r->q, 0, 16);
    driver_ok(&r->d);
}

static void rig_open(struct rig *r, bool packed)
{
    driver_open(&r->d);
    share_stub_open(&r->share, r->d.loop);
    struct virtio_host host = driver_host(&r->d, true);
    loop_lock(r->d.loop);
    struct virtio_device *device = virtio_p9_create(&host, &r->share, NULL);
    loop_unlock(r->d.loop);
    driver_attach(&r->d, device);
    driver_msix(&r->d, 2);
    rig_start(r, packed);
    memcpy(r->d.ram + OUT, TEXT, sizeof(TEXT));
    memset(r->d.ram + IN, 0, 256);
}

static void rig_close(struct rig *r)
{
    share_drain(&r->share);
    driver_close(&r->d);
}

/* A message in two pieces, with room in two pieces. */
static u16 send(struct rig *r)
{
    static const struct driver_seg seg[] = {
        {OUT, 7, false}, {OUT + 7, sizeof(TEXT) - 7, false}, {IN, 11, true}, {IN + 11, 200, true}};
    u16 id = driver_add(&r->d, &r->q, seg, ARRAY_SIZE(seg));
    driver_kick(&r->d, &r->q);
    return id;
}

static void step(struct rig *r)
{
    loop_lock(r->d.loop);
    assert_true(share_stub_step(&r->share));
    loop_unlock(r->d.loop);
}

static void test_config(void **state)
{
    struct rig r;
    rig_open(&r, false);
    assert_int_equal(r.d.bus.func[DRIVER_SLOT]->s->config[2], 0x49); /* 0x1040 + 9 */
    assert_int_equal(driver_read(&r.d, AT_CONFIG, 2), 4);
    assert_int_equal(driver_read(&r.d, AT_CONFIG + 2, 4), get_u32("stub"));
    assert_int_equal(driver_read(&r.d, AT_CONFIG + 6, 4), 0);
    assert_int_equal(driver_read(&r.d, R_QUEUES, 2), 1);
    assert_true(driver_offered(&r.d) & 1);
    rig_close(&r);
}

static void test_message(void **state)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig r;
        u16 id;
        u32 len;
        rig_open(&r, packed);
        (void)driver_msis(&r.d);
        u16 sent = send(&r);
        assert_true(driver_take(&r.d, &r.q, &id, &len));
        assert_int_equal(id, sent);
        assert_int_equal(len, sizeof(TEXT));
        assert_memory_equal(r.d.ram + IN, TEXT, sizeof(TEXT));
        assert_int_equal(driver_msis(&r.d), 1);

        r.share.later = true;
        (void)send(&r);
        (void)send(&r);
        assert_false(driver_take(&r.d, &r.q, &id, &len));
        assert_int_equal(driver_msis(&r.d), 0);
        step(&r);
        assert_int_equal(driver_msis(&r.d), 1);
        assert_true(driver_take(&r.d, &r.q, &id, &len));
        assert_false(driver_take(&r.d, &r.q, &id, &len));
        step(&r);
        assert_true(driver_take(&r.d, &r.q, &id, &len));
        rig_close(&r);
    }
}

/* Several in one notification, one interrupt. */
static void test_batch(void **state)
{
    struct rig r;
    u16 id;
    u32 len;
    static const struct driver_seg seg[] = {{OUT, 20, false}, {IN, 100, true}};
    rig_open(&r, false);
    (void)driver_msis(&r.d);
    for (unsigned n = 0; n < 8; n++)
        (void)driver_add(&r.d, &r.q, seg, 2);
    driver_kick(&r.d, &r.q);
    for (unsigned n = 0; n < 8; n++)
        assert_true(driver_take(&r.d, &r.q, &id, &len));
    assert_int_equal(driver_msis(&r.d), 1);
    rig_close(&r);
}

/* The device is reset when the last reply is there, and then the share is told; the old ring stays as it was. */
static void test_reset(void **state)
{
    struct rig r;
    u16 id;
    u32 len;
    rig_open(&r, false);
    unsigned resets = r.share.resets;
    r.share.later = true;
    (void)send(&r);
    (void)send(&r);
    driver_write(&r.d, R_STATUS, 0, 1);
    assert_int_not_equal(driver_status(&r.d), 0);
    step(&r);
    assert_int_not_equal(driver_status(&r.d), 0);
    assert_int_equal(r.share.resets, resets);
    step(&r);
    assert_int_equal(driver_status(&r.d), 0);
    assert_int_equal(r.share.resets, resets + 1);
    assert_false(driver_take(&r.d, &r.q, &id, &len));
    rig_start(&r, false);
    r.share.later = false;
    (void)send(&r);
    assert_true(driver_take(&r.d, &r.q, &id, &len));
    rig_close(&r);
}

static void test_bad(void **state)
{
    static const struct driver_seg bad[][2] = {
        {{OUT, 6, false}, {IN, 100, true}},  /* no header */
        {{OUT, 30, false}, {IN, 10, true}},  /* no room for an error */
        {{OUT, 30, false}, {IN, 10, false}}, /* no room at all */
        {{OUT, 30, true}, {IN, 100, true}},  /* nothing to read */
    };
    for (size_t n = 0; n < ARRAY_SIZE(bad); n++) {
        struct rig r;
        rig_open(&r, false);
        (void)driver_add(&r.d, &r.q, bad[n], 2);
        driver_kick(&r.d, &r.q);
        assert_true(driver_broken(&r.d));
        assert_int_equal(r.share.messages, 0);
        rig_start(&r, false);
        (void)send(&r);
        assert_int_equal(r.share.messages, 1);
        rig_close(&r);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config), cmocka_unit_test(test_message), cmocka_unit_test(test_batch),
        cmocka_unit_test(test_reset),  cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
