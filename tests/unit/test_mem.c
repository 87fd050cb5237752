/*
 * The address space: layers, accesses of any size, shadow RAM, ports, code and dirty tracking, look-ups while it
 * changes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "mem/code.h"
#include "mem/space.h"

#define RAM_SIZE MiB(8)
#define BELOW    MiB(6)

/* A device that remembers what it was asked and answers with the offset in each byte. */
struct probe {
    struct mem_window w;
    u64 off, value;
    unsigned size, reads, writes;
};

static u64 probe_read(void *opaque, u64 off, unsigned size)
{
    struct probe *p = opaque;
    p->off = off;
    p->size = size;
    p->reads++;
    u64 v = 0;
    for (unsigned n = 0; n < size; n++)
        v |= ((off + n) & 0xff) << (8 * n);
    return v;
}

static void probe_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct probe *p = opaque;
    p->off = off;
    p->size = size;
    p->value = value;
    p->writes++;
}

static const struct mem_window_ops any_ops = {.read = probe_read, .write = probe_write};
static const struct mem_window_ops byte_ops = {.read = probe_read, .write = probe_write, .min_size = 1, .max_size = 1};
static const struct mem_window_ops dword_ops = {.read = probe_read, .write = probe_write, .min_size = 4, .max_size = 4};
static const struct mem_window_ops write_ops = {.write = probe_write};

static void probe_init(struct probe *p, const struct mem_window_ops *ops, u64 size)
{
    *p = (struct probe){.w = {.ops = ops, .opaque = p, .name = "probe", .size = size}};
}

static int setup(void **state)
{
    *state = mem_space_create(NULL, RAM_SIZE, BELOW, NULL);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    mem_space_destroy(*state);
    return 0;
}

static void test_bad_sizes(void **state)
{
    struct error err;
    assert_null(mem_space_create(NULL, 0, 0, &err));
    assert_null(mem_space_create(NULL, 4097, 4096, &err));
    assert_null(mem_space_create(NULL, GiB(8), GiB(5), &err));
    assert_non_null(strstr(err.text, "4 KiB"));
}

static void test_ram_is_split(void **state)
{
    struct mem_space *s = *state;
    u8 *host = mem_space_ram(s)->host;
    mem_io_write(s, BELOW - 4, 0x11223344, 4);
    mem_io_write(s, GiB(4), 0x55667788, 4);
    assert_int_equal(get_u32(host + BELOW - 4), 0x11223344);
    assert_int_equal(get_u32(host + BELOW), 0x55667788);
    assert_int_equal(mem_io_read(s, BELOW, 4), 0xffffffff);
    assert_int_equal(mem_io_read(s, GiB(4) + RAM_SIZE - BELOW, 2), 0xffff);
    /* Half in memory, half in nothing. */
    assert_true(mem_io_read(s, BELOW - 4, 8) == 0xffffffff11223344);
    mem_io_write(s, BELOW - 2, 0xaabbccdd, 4);
    assert_int_equal(get_u32(host + BELOW - 4), 0xccdd3344);
    assert_int_equal(get_u32(host + BELOW), 0x55667788);
    mem_io_write(s, UINT64_MAX - 3, 1, 8); /* wraps: nothing happens, nothing breaks */
}

static void test_find(void **state)
{
    struct mem_space *s = *state;
    struct mem_where w;
    struct probe p;
    probe_init(&p, &any_ops, 16);
    assert_int_equal(mem_window_map(s, &p.w, 0x5010), 0);
    mem_find(s, 0x4fff, &w);
    assert_int_equal(w.read_kind, MEM_RAM);
    assert_ptr_equal(w.host, mem_space_ram(s)->host + 0x4000);
    assert_ptr_equal(w.page, mem_space_ram(s)->pages + 4);
    assert_ptr_equal(w.read_page, w.page);
    assert_false(w.mixed);
    mem_find(s, 0x5000, &w);
    assert_true(w.mixed);
    mem_window_unmap(s, &p.w);
    mem_find(s, 0x5000, &w);
    assert_false(w.mixed);
    mem_find(s, GiB(4) + 0x123, &w);
    assert_ptr_equal(w.host, mem_space_ram(s)->host + BELOW);
    mem_find(s, BELOW, &w);
    assert_int_equal(w.read_kind, MEM_NONE);
    assert_null(w.host);
}

static void test_windows_cover(void **state)
{
    struct mem_space *s = *state;
    struct probe a, b;
    probe_init(&a, &any_ops, 0x2000);
    probe_init(&b, &any_ops, 0x1000);
    assert_int_equal(mem_window_map(s, &a.w, 0x1000), 0);
    assert_int_equal(mem_window_map(s, &b.w, 0x1800), 0);
    assert_true(mem_io_read(s, 0x1010, 8) == 0x1716151413121110);
    assert_int_equal(a.reads, 1);
    assert_int_equal(mem_io_read(s, 0x1804, 4), 0x07060504);
    assert_int_equal(b.reads, 1);
    /* Across the border: one byte for each. */
    assert_int_equal(mem_io_read(s, 0x17ff, 2), 0x00ff);
    mem_io_write(s, 0x2ffe, 0x4321, 2);
    assert_int_equal(a.value, 0x4321);
    assert_int_equal(a.off, 0x1ffe);
    /* The one added last wins, and moving is adding. */
    assert_int_equal(mem_window_map(s, &a.w, 0x1000), 0);
    b.reads = 0;
    mem_io_read(s, 0x1804, 4);
    assert_int_equal(b.reads, 0);
    mem_window_unmap(s, &a.w);
    mem_window_unmap(s, &a.w);
    mem_io_read(s, 0x1804, 4);
    assert_int_equal(b.reads, 1);
    assert_int_equal(mem_io_read(s, 0x1004, 4), 0);
    mem_window_unmap(s, &b.w);
    assert_int_equal(mem_window_map(s, &b.w, UINT64_MAX - 0xffe), -EINVAL);
    assert_int_equal(mem_window_map(s, &b.w, UINT64_MAX - 0xfff), 0);
    assert_int_equal(mem_io_read(s, UINT64_MAX, 1), 0xff);
    mem_window_unmap(s, &b.w);
}

static void test_access_sizes(void **state)
{
    struct mem_space *s = *state;
    struct probe bytes, dwords;
    probe_init(&bytes, &byte_ops, 0x100);
    probe_init(&dwords, &dword_ops, 0x100);
    assert_int_equal(mem_window_map(s, &bytes.w, 0xf0000000), 0);
    assert_int_equal(mem_window_map(s, &dwords.w, 0xf0001000), 0);
    assert_int_equal(mem_io_read(s, 0xf0000010, 4), 0x13121110);
    assert_int_equal(bytes.reads, 4);
    mem_io_write(s, 0xf0000020, 0x0807060504030201, 8);
    assert_int_equal(bytes.writes, 8);
    assert_int_equal(bytes.off, 0x27);
    assert_int_equal(bytes.value, 8);
    assert_int_equal(mem_io_read(s, 0xf0001012, 1), 0x12);
    assert_int_equal(dwords.off, 0x10);
    assert_int_equal(dwords.size, 4);
    mem_io_write(s, 0xf0001022, 0xabcd, 2);
    assert_int_equal(dwords.off, 0x20);
    assert_int_equal(dwords.value, 0xabcd0000);
    assert_true(mem_io_read(s, 0xf0001000, 8) == 0x0706050403020100);
    u8 buf[11];
    mem_read(s, 0xf0000001, buf, sizeof(buf));
    for (unsigned n = 0; n < sizeof(buf); n++)
        assert_int_equal(buf[n], n + 1);
    mem_dma_read(s, 0xf0000001, buf, sizeof(buf));
    assert_int_equal(buf[3], 0xff);
    bytes.writes = 0;
    mem_dma_write(s, 0xf0000001, buf, sizeof(buf));
    assert_int_equal(bytes.writes, 0);
    mem_window_unmap(s, &bytes.w);
    mem_window_unmap(s, &dwords.w);
}

static void test_rom_and_shadow(void **state)
{
    struct mem_space *s = *state;
    static u8 image[0x4000];
    struct mem_where w;
    memset(image, 0x5a, sizeof(image));
    u8 *rom = mem_rom_add(s, 0xfc000, image, sizeof(image));
    assert_non_null(rom);
    assert_null(mem_rom_add(s, 0x10, image, sizeof(image)));
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 0x5a5a5a5a);
    mem_io_write(s, 0xfc000, 0, 4);
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 0x5a5a5a5a);

    mem_shadow_set(s, 0xf0000, 0x10000, false, true);
    mem_io_write(s, 0xfc000, 0x12345678, 4);
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 0x5a5a5a5a);
    assert_int_equal(mem_io_read(s, 0xf8000, 4), 0xffffffff);
    mem_find(s, 0xfc000, &w);
    assert_int_equal(w.read_kind, MEM_ROM);
    assert_int_equal(w.write_kind, MEM_RAM);
    assert_ptr_not_equal(w.host, w.host_write);
    assert_ptr_not_equal(w.page, w.read_page);

    mem_shadow_set(s, 0xf0000, 0x10000, true, false);
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 0x12345678);
    mem_io_write(s, 0xfc000, 0, 4);
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 0x12345678);
    mem_find(s, 0xfc000, &w);
    assert_null(w.page);
    assert_ptr_equal(w.read_page, mem_space_ram(s)->pages + 0xfc);

    mem_shadow_set(s, 0xf0000, 0x10000, true, true);
    mem_io_write(s, 0xfc000, 7, 4);
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 7);
    mem_shadow_set(s, 0xf0000, 0x10000, false, false);
    assert_int_equal(mem_io_read(s, 0xfc000, 4), 0x5a5a5a5a);
    mem_shadow_set(s, UINT64_MAX - 0xfff, UINT64_MAX, false, false);

    /* Flash: reads from memory, writes to a window over it. */
    struct probe flash;
    probe_init(&flash, &write_ops, sizeof(image));
    assert_int_equal(mem_window_map(s, &flash.w, 0xfc000), 0);
    assert_int_equal(mem_io_read(s, 0xfd000, 1), 0x5a);
    mem_io_write(s, 0xfd000, 0x90, 1);
    assert_int_equal(flash.value, 0x90);
    mem_window_unmap(s, &flash.w);

    mem_find(s, 0xfc000, &w);
    mem_code_mark(w.read_page, 0, 16);
    u32 gen = mem_code_gen(w.read_page);
    rom[64] = 1;
    mem_rom_written(s, rom + 64, 1);
    assert_int_equal(mem_code_gen(w.read_page), gen);
    mem_rom_written(s, rom + 15, MEM_PAGE_SIZE);
    assert_int_equal(mem_code_gen(w.read_page), gen + 1);
}

static void test_ports(void **state)
{
    struct mem_space *s = *state;
    struct probe a, b;
    probe_init(&a, &any_ops, 8);
    probe_init(&b, &byte_ops, 2);
    assert_int_equal(mem_port_map(s, &a.w, 0x100), 0);
    assert_int_equal(mem_port_map(s, &b.w, 0x104), 0);
    assert_int_equal(mem_port_map(s, &a.w, 0xfffd), -EINVAL);
    assert_int_equal(mem_port_read(s, 0x100, 4), 0x03020100);
    assert_int_equal(a.reads, 1);
    assert_int_equal(mem_port_read(s, 0x102, 4), 0x01000302);
    assert_int_equal(mem_port_read(s, 0x200, 2), 0xffff);
    mem_port_write(s, 0x104, 0xbeef, 2);
    assert_int_equal(b.writes, 2);
    assert_int_equal(b.value, 0xbe);
    assert_int_equal(mem_port_map(s, &a.w, 0xfff8), 0);
    assert_int_equal(mem_port_read(s, 0xfffe, 4), 0xffff0706);
    mem_port_write(s, 0xffff, 0x12345678, 4);
    assert_int_equal(a.value, 0x78);
    mem_port_unmap(s, &a.w);
    mem_port_unmap(s, &b.w);
    assert_int_equal(mem_port_read(s, 0x104, 1), 0xff);
}

static void test_code_tracking(void **state)
{
    struct mem_space *s = *state;
    struct mem_page *p = &mem_space_ram(s)->pages[3];
    u8 zero[256] = {0};
    assert_true(mem_code_chunks(0, 4096) == ~0ull);
    assert_true(mem_code_chunks(63, 2) == 3);
    assert_true(mem_code_mark(p, 128, 4));
    assert_false(mem_code_mark(p, 132, 1));
    u32 gen = mem_code_gen(p);
    mem_io_write(s, 0x3000 + 127, 0, 1);
    mem_io_write(s, 0x3000 + 192, 0, 8);
    assert_int_equal(mem_code_gen(p), gen);
    mem_io_write(s, 0x3000 + 127, 0, 2);
    assert_int_equal(mem_code_gen(p), gen + 1);
    mem_dma_write(s, 0x3000 - 8, zero, 136);
    assert_int_equal(mem_code_gen(p), gen + 1);
    mem_dma_write(s, 0x3000 - 8, zero, 137);
    assert_int_equal(mem_code_gen(p), gen + 2);
    mem_code_unmark(p);
    assert_int_equal(mem_code_gen(p), gen + 3);
    mem_dma_write(s, 0x3000, zero, 256);
    assert_int_equal(mem_code_gen(p), gen + 3);
}

static void test_dirty_tracking(void **state)
{
    struct mem_space *s = *state;
    mem_io_write(s, 0x1000, 1, 1);
    int a = mem_dirty_start(s), b = mem_dirty_start(s);
    assert_true(a >= 0 && b >= 0 && a != b);
    assert_false(mem_dirty_take(s, a, 1));
    mem_io_write(s, 0x1000, 1, 1);
    assert_true(mem_dirty_take(s, a, 1));
    assert_false(mem_dirty_take(s, a, 1));
    assert_true(mem_dirty_take(s, b, 1));
    assert_false(mem_dirty_take(s, a, UINT64_MAX));
    mem_io_write(s, 0x1000, 1, 1);
    mem_dirty_stop(s, a);
    assert_int_equal(mem_dirty_start(s), a);
    assert_false(mem_dirty_take(s, a, 1));
    mem_dirty_stop(s, a);
    mem_dirty_stop(s, b);
}

static void count_change(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void test_listeners_and_a20(void **state)
{
    struct mem_space *s = *state;
    unsigned changes = 0;
    struct mem_listener l = {.changed = count_change, .opaque = &changes};
    mem_on_change(s, &l);
    assert_true(mem_a20_mask(s) == ~0ull);
    mem_a20_set(s, true);
    assert_int_equal(changes, 0);
    mem_a20_set(s, false);
    assert_true(mem_a20_mask(s) == ~(u64)0x100000);
    mem_a20_set(s, true);
    assert_int_equal(changes, 2);
    struct probe p;
    probe_init(&p, &any_ops, 0x1000);
    assert_int_equal(mem_window_map(s, &p.w, 0), 0);
    mem_window_unmap(s, &p.w);
    assert_int_equal(changes, 4);
    mem_on_change_remove(s, &l);
    mem_shadow_set(s, 0xc0000, 0x1000, false, false);
    assert_int_equal(changes, 4);
}

#define MOVES 20000

struct race {
    struct mem_space *s;
    atomic_bool stop;
    unsigned wrong;
};

/* The page is RAM or window, at any time one or the other. */
static void *look(void *arg)
{
    struct race *r = arg;
    while (!r->stop) {
        struct mem_where w;
        mem_find(r->s, 0x7000, &w);
        if (w.read_kind == MEM_RAM ? !w.host || w.mixed : w.read_kind != MEM_WINDOW || w.host)
            r->wrong++;
        mem_find(r->s, 0x6000, &w);
        if (w.host != mem_space_ram(r->s)->host + 0x6000)
            r->wrong++;
    }
    return NULL;
}

static void test_moving_window(void **state)
{
    struct race r = {.s = *state};
    struct probe p;
    pthread_t t;
    probe_init(&p, &any_ops, 0x1000);
    assert_int_equal(pthread_create(&t, NULL, look, &r), 0);
    for (unsigned n = 0; n < MOVES; n++)
        assert_int_equal(mem_window_map(r.s, &p.w, n & 1 ? 0x7000 : 0xe0000000 + 0x1000 * (u64)n), 0);
    r.stop = true;
    pthread_join(t, NULL);
    mem_window_unmap(r.s, &p.w);
    assert_int_equal(r.wrong, 0);
}

/* By host address: only what is memory in one piece, and what was stored is known as if mem_dma_write had done it. */
static void test_dma_map(void **state)
{
    struct mem_space *s = *state;
    struct mem_ram *ram = mem_space_ram(s);
    struct probe p;
    static u8 bytes[MEM_PAGE_SIZE];

    assert_ptr_equal(mem_dma_map(s, 0x1234, 0x10000, true), ram->host + 0x1234);
    assert_ptr_equal(mem_dma_map(s, BELOW - 1, 1, false), ram->host + BELOW - 1);
    assert_ptr_equal(mem_dma_map(s, GiB(4), RAM_SIZE - BELOW, true), ram->host + BELOW);
    assert_null(mem_dma_map(s, 0x1234, 0, true));
    assert_null(mem_dma_map(s, BELOW - 1, 2, true)); /* the other piece is not the next in the guest's eyes */
    assert_null(mem_dma_map(s, BELOW, 1, false));
    assert_null(mem_dma_map(s, 0, UINT64_MAX, false));
    assert_null(mem_dma_map(s, UINT64_MAX, 2, false));
    probe_init(&p, &any_ops, 0x1000);
    assert_int_equal(mem_window_map(s, &p.w, 0x5000), 0);
    assert_null(mem_dma_map(s, 0x4fff, 2, false));
    mem_window_unmap(s, &p.w);

    mem_shadow_set(s, 0xc0000, 0x4000, true, false); /* cut, and yet one piece to read */
    assert_ptr_equal(mem_dma_map(s, 0xb0000, 0x20000, false), ram->host + 0xb0000);
    assert_null(mem_dma_map(s, 0xb0000, 0x20000, true));
    assert_non_null(mem_rom_add(s, 0xf0000, bytes, sizeof(bytes)));
    assert_non_null(mem_dma_map(s, 0xf0000, sizeof(bytes), false));
    assert_null(mem_dma_map(s, 0xf0000, 1, true));
}

static void test_dma_done(void **state)
{
    struct mem_space *s = *state;
    struct mem_ram *ram = mem_space_ram(s);
    struct mem_page *page = &ram->pages[3];

    u8 *at = mem_dma_map(s, 0x2ff8, 0x100, true);
    int client = mem_dirty_start(s);
    assert_true(client >= 0);
    (void)mem_code_mark(page, 128, 64);
    u32 gen = mem_code_gen(page);
    mem_dma_done(s, at, 8 + 128);
    assert_int_equal(mem_code_gen(page), gen);
    mem_dma_done(s, at, 8 + 129);
    assert_int_equal(mem_code_gen(page), gen + 1);
    assert_true(mem_dirty_take(s, client, 2));
    assert_true(mem_dirty_take(s, client, 3));
    assert_false(mem_dirty_take(s, client, 4));
    mem_dma_done(s, ram->host - 1, 2); /* nobody's */
    mem_dma_done(s, ram->host + RAM_SIZE - 1, 2);

    memset(ram->host + 0x2000, 0x11, 0x4000);
    assert_int_equal(mem_dma_discard(s, ram->host + 0x2001, 0x2fff), 0x2000);
    assert_int_equal(ram->host[0x2fff], 0x11);
    assert_int_equal(ram->host[0x3000], 0);
    assert_int_equal(ram->host[0x4fff], 0);
    assert_int_equal(ram->host[0x5000], 0x11);
    assert_int_equal(mem_code_gen(page), gen + 2);
    assert_true(mem_dirty_take(s, client, 3));
    assert_int_equal(mem_dma_discard(s, ram->host + 0x5001, 0xfff), 0);
    mem_dirty_stop(s, client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test_setup_teardown(test_ram_is_split, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find, setup, teardown),
        cmocka_unit_test_setup_teardown(test_windows_cover, setup, teardown),
        cmocka_unit_test_setup_teardown(test_access_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rom_and_shadow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_code_tracking, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dirty_tracking, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_map, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dma_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listeners_and_a20, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moving_window, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
