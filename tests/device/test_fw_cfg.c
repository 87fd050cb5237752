/* fw_cfg through its ports and by DMA, with descriptors that mean harm. */
#include "ports.h"

#include <stdio.h>

#include "dev/pc/fw_cfg.h"

struct fixture {
    struct board b;
    struct fw_cfg *fw;
    unsigned selected;
};

static const u8 blob[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

static void on_select(void *opaque)
{
    ((struct fixture *)opaque)->selected++;
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    board_open(&f->b);
    loop_lock(f->b.loop);
    f->fw = fw_cfg_create(&(struct fw_cfg_config){f->b.mem}, NULL);
    loop_unlock(f->b.loop);
    assert_non_null(f->fw);
    assert_int_equal(fw_cfg_add_int(f->fw, FW_CFG_NB_CPUS, 3, 2), 0);
    assert_int_equal(fw_cfg_add_file(f->fw, "etc/blob", blob, sizeof(blob)), 0);
    assert_int_equal(fw_cfg_add_file_int(f->fw, "etc/number", 0x1122334455667788, 8), 0);
    fw_cfg_on_select(f->fw, "etc/b", on_select, f);
}

static void teardown(struct fixture *f)
{
    board_destroy_dev(&f->b, f->fw);
    board_close(&f->b);
}

static u64 item(struct fixture *f, u16 key, unsigned size)
{
    u64 v = 0;

    outw(&f->b, 0x510, key);
    for (unsigned i = 0; i < size; i++)
        v |= (u64)inb(&f->b, 0x511) << (8 * i);
    return v;
}

static void test_ports(void **state)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(inb(&f.b, 0x511), 0); /* nothing selected */
    assert_int_equal(item(&f, FW_CFG_SIGNATURE, 4), 0x554d4551);
    assert_int_equal(item(&f, FW_CFG_ID, 4), 3);
    assert_int_equal(item(&f, FW_CFG_NB_CPUS, 2), 3);
    assert_int_equal(item(&f, FW_CFG_NB_CPUS, 8), 3); /* zeros behind the end */
    assert_int_equal(item(&f, 0x3fff, 8), 0);
    assert_int_equal(item(&f, FW_CFG_NB_CPUS | 0x4000, 2), 3);
    teardown(&f);
}

static void test_directory(void **state)
{
    struct fixture f;
    char name[FW_CFG_NAME_SIZE];
    setup(&f);
    outw(&f.b, 0x510, FW_CFG_FILE_DIR);
    u32 count = 0;
    for (unsigned i = 0; i < 4; i++)
        count = count << 8 | inb(&f.b, 0x511);
    assert_int_equal(count, 2);
    u32 size = 0;
    for (unsigned i = 0; i < 4; i++)
        size = size << 8 | inb(&f.b, 0x511);
    u16 key = (u16)(inb(&f.b, 0x511) << 8);
    key |= inb(&f.b, 0x511);
    (void)inb(&f.b, 0x511);
    (void)inb(&f.b, 0x511);
    for (unsigned i = 0; i < sizeof(name); i++)
        name[i] = (char)inb(&f.b, 0x511);
    assert_string_equal(name, "etc/blob");
    assert_int_equal(size, sizeof(blob));
    assert_int_equal(item(&f, key, 3), 0x030201);
    assert_int_equal(f.selected, 1);
    assert_int_equal(item(&f, (u16)(key + 1), 8), 0x1122334455667788);
    assert_int_equal(f.selected, 1);

    /* Other bytes for a file that is there. */
    assert_int_equal(fw_cfg_add_file(f.fw, "etc/blob", blob + 4, 2), 0);
    assert_int_equal(item(&f, key, 4), 0x0605);
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = 0;
    assert_int_equal(fw_cfg_add_file(f.fw, name, blob, 1), 0);
    assert_int_equal(fw_cfg_add_file(f.fw, "0123456789012345678901234567890123456789012345678901234567890", blob, 1),
                     -EINVAL);
    assert_int_equal(fw_cfg_add_file(f.fw, "big", blob, GiB(4)), -EFBIG);
    int status = 0;
    for (unsigned i = 0; i < 100 && !status; i++) {
        snprintf(name, sizeof(name), "file%u", i);
        status = fw_cfg_add_file(f.fw, name, blob, 1);
    }
    assert_int_equal(status, -ENOSPC);
    teardown(&f);
}

#define DESCRIPTOR 0x1000

static u32 dma_at(struct fixture *f, u64 descriptor, u32 control, u32 length, u64 address)
{
    u8 d[16];
    u32 be[2] = {__builtin_bswap32(control), __builtin_bswap32(length)};
    u64 be_address = __builtin_bswap64(address);

    memcpy(d, be, 8);
    memcpy(d + 8, &be_address, 8);
    mem_write(f->b.mem, descriptor, d, sizeof(d));
    outl(&f->b, 0x514, __builtin_bswap32((u32)(descriptor >> 32)));
    outl(&f->b, 0x518, __builtin_bswap32((u32)descriptor));
    return __builtin_bswap32((u32)mem_io_read(f->b.mem, descriptor, 4));
}

static u32 dma(struct fixture *f, u32 control, u32 length, u64 address)
{
    return dma_at(f, DESCRIPTOR, control, length, address);
}

#define SELECT(key) ((u32)(key) << 16 | 8)
#define READ        2
#define SKIP        4
#define WRITE       0x10

static void test_dma(void **state)
{
    struct fixture f;
    u8 got[12];
    setup(&f);
    assert_int_equal(inl(&f.b, 0x514), 0x554d4551);
    assert_int_equal(inl(&f.b, 0x518), 0x47464320);

    memset(got, 0xee, sizeof(got));
    mem_write(f.b.mem, 0x2000, got, sizeof(got));
    assert_int_equal(dma(&f, SELECT(FW_CFG_FILE_FIRST) | READ, 3, 0x2000), 0);
    mem_read(f.b.mem, 0x2000, got, 4);
    assert_memory_equal(got, "\1\2\3\xee", 4);
    assert_int_equal(dma(&f, SKIP, 4, 0), 0);
    assert_int_equal(dma(&f, READ, 6, 0x2000), 0); /* three are left, then zeros */
    mem_read(f.b.mem, 0x2000, got, 7);
    assert_memory_equal(got, "\x08\x09\x0a\0\0\0\xee", 7);
    assert_int_equal(dma(&f, SELECT(FW_CFG_FILE_FIRST) | WRITE, 4, 0x2000), 1);
    assert_int_equal(dma(&f, SELECT(FW_CFG_FILE_FIRST), 0, 0), 0);
    assert_int_equal(inb(&f.b, 0x511), 1);
    teardown(&f);
}

static void test_hostile_dma(void **state)
{
    static const u64 addresses[] = {0,      0x1ffff0,        MiB(2) - 1, MiB(2),   0xfffffff0,
                                    GiB(4), 0x7fffffffffff0, ~0ull,      ~0ull - 4};
    struct fixture f;
    setup(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
        (void)dma(&f, SELECT(FW_CFG_FILE_FIRST) | READ, 0xffffffff, addresses[i]);
        (void)dma(&f, SELECT(FW_CFG_FILE_FIRST) | READ | SKIP | WRITE, 100, addresses[i]);
        (void)dma(&f, SELECT(0xffff) | SKIP, 0xffffffff, addresses[i]);
        (void)dma_at(&f, addresses[i], SELECT(FW_CFG_ID) | READ, 16, addresses[i]);
    }
    /* A transfer over its own descriptor. */
    (void)dma(&f, SELECT(FW_CFG_FILE_FIRST) | READ, 64, DESCRIPTOR);
    assert_int_equal(item(&f, FW_CFG_NB_CPUS, 2), 3);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_dma),
        cmocka_unit_test(test_hostile_dma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
