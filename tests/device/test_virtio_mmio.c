/* The MMIO transport with virtio-rng behind it: registers, a request, the interrupt line, resets, saved state. */
#include "bench.h"

#include "dev/virtio/mmio.h"
#include "dev/virtio/rng.h"

#define BASE 0xfed10000ull
#define RAM  MiB(2)
#define SIZE 8
#define DESC 0x10000ull
#define DATA 0x20000ull

enum { FEATURES_SEL = 0x14, FEATURES = 0x10, DRIVER = 0x20, DRIVER_SEL = 0x24, SEL = 0x30, NUM_MAX = 0x34, NUM = 0x38 };
enum { READY = 0x44, NOTIFY = 0x50, INTERRUPT = 0x60, ACK = 0x64, STATUS = 0x70, CONFIG = 0x100 };

struct fixture {
    struct loop *loop;
    struct mem_space *mem;
    u8 *ram;
    struct probe line;
    struct virtio_device *dev;
    struct virtio_mmio *mmio;
    u16 next;
};

static u32 rd(struct fixture *f, u64 off)
{
    return (u32)mem_io_read(f->mem, BASE + off, 4);
}

static void wr(struct fixture *f, u64 off, u32 value)
{
    mem_io_write(f->mem, BASE + off, value, 4);
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->loop = bench_loop();
    f->mem = bench_mem(f->loop);
    f->ram = mem_space_ram(f->mem)->host;
    loop_lock(f->loop);
    f->dev = virtio_rng_create(&(struct virtio_host){.mem = f->mem, .loop = f->loop}, NULL);
    f->mmio = virtio_mmio_create(&(struct virtio_mmio_config){BASE, probe_line(&f->line), f->dev}, NULL);
    loop_unlock(f->loop);
    assert_non_null(f->mmio);
}

static void teardown(struct fixture *f)
{
    loop_lock(f->loop);
    ((struct dev *)f->mmio)->cls->destroy((struct dev *)f->mmio);
    f->dev->dev.cls->destroy(&f->dev->dev);
    loop_unlock(f->loop);
    mem_space_destroy(f->mem);
    loop_destroy(f->loop);
}

static void start(struct fixture *f)
{
    wr(f, STATUS, 0);
    wr(f, STATUS, 3);
    wr(f, DRIVER_SEL, 1);
    wr(f, DRIVER, 1);
    wr(f, STATUS, 11);
    assert_int_equal(rd(f, STATUS), 11);
    memset(f->ram + DESC, 0, 0x3000);
    wr(f, SEL, 0);
    wr(f, NUM, SIZE);
    for (unsigned n = 0; n < 3; n++)
        wr(f, 0x80 + 0x10 * n, (u32)DESC + n * 0x1000);
    wr(f, READY, 1);
    assert_int_equal(rd(f, READY), 1);
    wr(f, STATUS, 15);
    f->next = 0;
}

static void request(struct fixture *f)
{
    u8 *desc = f->ram + DESC + f->next % SIZE * 16;
    put_u64(desc, DATA);
    put_u32(desc + 8, 64);
    put_u16(desc + 12, 2);
    put_u16(f->ram + DESC + 0x1000 + 4 + 2 * (f->next % SIZE), f->next % SIZE);
    put_u16(f->ram + DESC + 0x1000 + 2, ++f->next);
    wr(f, NOTIFY, 0);
    assert_int_equal(get_u16(f->ram + DESC + 0x2000 + 2), f->next);
}

static void test_registers(void **state)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(rd(&f, 0), 0x74726976);
    assert_int_equal(rd(&f, 4), 2);
    assert_int_equal(rd(&f, 8), 4);
    assert_int_equal(rd(&f, 0xb0), UINT32_MAX); /* no shared memory */
    assert_int_equal(rd(&f, NUM_MAX), 64);
    wr(&f, SEL, 1);
    assert_int_equal(rd(&f, NUM_MAX), 0);
    wr(&f, READY, 1);
    assert_int_equal(rd(&f, READY), 0);
    wr(&f, FEATURES_SEL, 1);
    assert_true(rd(&f, FEATURES) & 1);
    wr(&f, FEATURES_SEL, 2);
    assert_int_equal(rd(&f, FEATURES), 0);
    assert_int_equal(mem_io_read(f.mem, BASE, 1), 0); /* words only */
    assert_int_equal(rd(&f, CONFIG), 0);
    teardown(&f);
}

static void test_requests(void **state)
{
    struct fixture f;
    setup(&f);
    for (unsigned round = 0; round < 3; round++) {
        start(&f);
        for (unsigned n = 0; n < 20; n++) {
            request(&f);
            assert_true(f.line.level);
            assert_int_equal(rd(&f, INTERRUPT), 1);
            wr(&f, ACK, 1);
            assert_false(f.line.level);
        }
    }
    wr(&f, SEL, 0);
    wr(&f, READY, 0);
    assert_int_equal(rd(&f, READY), 0);
    wr(&f, NOTIFY, 0);
    wr(&f, NOTIFY, 77);
    start(&f);
    put_u16(f.ram + DESC + 0x1000 + 2, 100); /* too far */
    wr(&f, NOTIFY, 0);
    assert_true(rd(&f, STATUS) & VIRTIO_NEEDS_RESET);
    assert_int_equal(rd(&f, INTERRUPT), 2);
    wr(&f, STATUS, 0);
    assert_false(f.line.level);
    assert_int_equal(rd(&f, STATUS), 0);
    teardown(&f);
}

static void test_state(void **state)
{
    struct fixture a, b;
    setup(&a);
    setup(&b);
    start(&a);
    for (unsigned n = 0; n < SIZE + 3; n++)
        request(&a);
    memcpy(b.ram, a.ram, RAM);
    loop_lock(a.loop);
    loop_lock(b.loop);
    bench_copy_state(&a.dev->dev, &b.dev->dev);
    bench_copy_state((struct dev *)a.mmio, (struct dev *)b.mmio);
    loop_unlock(b.loop);
    loop_unlock(a.loop);
    b.next = a.next;
    assert_true(b.line.level);
    request(&b);
    teardown(&a);
    teardown(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
