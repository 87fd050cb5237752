/*
 * What is inside a disk: versions, the files of boot loaders, partition tables. File systems are held against those
 * that made them in tests/system/test_volume.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/types.h"
#include "volume/entry.h"
#include "volume/ext4.h"
#include "volume/kernel.h"
#include "volume/partition.h"
#include "volume/version.h"

static void test_versions(void **state)
{
    /* each is newer than the one before it */
    static const char *const order[] = {
        "vmlinuz-",    "vmlinuz-0-rescue-1f", "vmlinuz-5.10.0-9-amd64", "vmlinuz-5.10.0-28-amd64", "vmlinuz-6.1~rc2",
        "vmlinuz-6.1", "vmlinuz-6.1.0-9",     "vmlinuz-6.1.0-10",       "vmlinuz-6.1.0-0010a"};
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
            int found = version_compare(order[i], order[k]);
            assert_true(i < k ? found < 0 : i > k ? found > 0 : found == 0);
        }
    assert_int_equal(version_compare("1.0010", "1.10"), 0);
}

static void test_bls(void **state)
{
    char text[] = "title Fedora Linux (6.5.6)\n# a comment\nversion 6.5.6\nlinux /vmlinuz-6.5.6\r\n"
                  "initrd /initramfs-6.5.6.img $tuned_initrd\noptions root=UUID=aa-bb ro rhgb  $tuned_params\n"
                  "options  quiet\nid x";
    struct entry e;
    assert_true(entry_read_bls(text, &e));
    assert_string_equal(e.kernel, "/vmlinuz-6.5.6");
    assert_int_equal(e.initrds, 1);
    assert_string_equal(e.initrd[0], "/initramfs-6.5.6.img");
    assert_string_equal(e.options, "root=UUID=aa-bb ro rhgb quiet");
    char nothing[] = "title nothing\noptions x\n", bare[] = "linux", empty[] = "";
    assert_false(entry_read_bls(nothing, &e));
    assert_false(entry_read_bls(bare, &e));
    assert_false(entry_read_bls(empty, &e));
}

static void test_extlinux(void **state)
{
    char text[] = "DEFAULT l1\nTIMEOUT 5\nLABEL l0\n  LINUX /old\n  APPEND x\nlabel L1\n\tMENU LABEL one\n"
                  "\tkernel ../vmlinuz\n\tappend root=/dev/vda1 initrd=/a.img,/b.img ro\nlabel l2\n kernel /other\n";
    struct entry e;
    assert_true(entry_read_extlinux(text, &e));
    assert_string_equal(e.kernel, "/../vmlinuz");
    assert_int_equal(e.initrds, 2);
    assert_string_equal(e.initrd[1], "/b.img");
    assert_string_equal(e.options, "root=/dev/vda1 ro");
    char first[] = "label only\nlinux /k\ninitrd /i\n", missing[] = "default none\nlabel only\nlinux /k\n";
    assert_true(entry_read_extlinux(first, &e));
    assert_string_equal(e.initrd[0], "/i");
    assert_false(entry_read_extlinux(missing, &e));
}

static void test_grub(void **state)
{
    char text[] =
        "# made by grub-mkconfig\nset default=\"0\"\nfunction load_video {\n  insmod all_video\n}\n"
        "menuentry 'Debian GNU/Linux' --class debian {\n\tif [ x$feature = xy ]; then set root='hd0,gpt1'; fi\n"
        "\techo 'Loading Linux ...'\n"
        "\tlinux\t/boot/vmlinuz-6.1 root=PARTUUID=0a-01 ro \"quoted word\" a\\ b $vt_handoff # behind\n"
        "\tinitrd ($root)/boot/initrd.img-6.1\n}\nmenuentry 'other' {\n linux /boot/other\n initrd /no\n}\n";
    struct entry e;
    assert_true(entry_read_grub(text, &e));
    assert_string_equal(e.kernel, "/boot/vmlinuz-6.1");
    assert_int_equal(e.initrds, 1);
    assert_string_equal(e.initrd[0], "/boot/initrd.img-6.1");
    assert_string_equal(e.options, "root=PARTUUID=0a-01 ro quoted word a b");
    char none[] = "initrd /x\n}\nlinuxfoo /y\n", bare[] = "linux";
    assert_false(entry_read_grub(none, &e));
    assert_false(entry_read_grub(bare, &e));
}

static void test_what_does_not_fit(void **state)
{
    static char text[9000];
    struct entry e;
    memset(text, 'a', sizeof(text) - 1);
    memcpy(text, "linux /", 7);
    assert_false(entry_read_bls(text, &e)); /* the path */
    memcpy(text, "linux /k x", 10);
    assert_false(entry_read_grub(text, &e)); /* the command line */
    char many[] = "linux /k\ninitrd /1 /2 /3 /4 /5\n";
    assert_false(entry_read_bls(many, &e));
}

static void test_words(void **state)
{
    const char *line = "root=/dev/vda1 console=ttyS0,115200 rootwait";
    assert_true(entry_has_word(line, "root="));
    assert_true(entry_has_word(line, "console=ttyS0"));
    assert_true(entry_has_word(line, "rootwait"));
    assert_false(entry_has_word(line, "console=ttyS"));
    assert_false(entry_has_word(line, "wait"));
    assert_false(entry_has_word("", "ro"));
}

/* A disk in memory. */
static u8 bytes[64 * 1024];

static int read_bytes(void *opaque, u64 offset, void *to, size_t length)
{
    assert_true(range_inside(offset, length, sizeof(bytes)));
    memcpy(to, bytes + offset, length);
    return 0;
}

static const struct volume disk = {.read = read_bytes, .size = sizeof(bytes)};

static void put_mbr(unsigned sector, unsigned slot, u8 type, u32 first, u32 count)
{
    u8 *entry = bytes + (size_t)sector * 512 + 446 + (size_t)slot * 16;
    entry[4] = type;
    put_u32(entry + 8, first);
    put_u32(entry + 12, count);
    put_u16(bytes + (size_t)sector * 512 + 510, 0xaa55);
}

static void test_mbr(void **state)
{
    struct partition p[PARTITION_MAX];
    memset(bytes, 0, sizeof(bytes));
    put_u32(bytes + 440, 0x1234abcd);
    put_mbr(0, 0, 0x83, 2, 8);
    put_mbr(0, 1, 0x83, 5000, 8); /* outside */
    put_mbr(0, 2, 0x05, 20, 60);
    put_mbr(0, 3, 0x83, 120, 0xffffffff); /* cut off */
    put_mbr(20, 0, 0x83, 1, 4);
    put_mbr(20, 1, 0x05, 10, 10);
    put_mbr(30, 0, 0x83, 2, 4);
    assert_int_equal(partition_list(&disk, p, PARTITION_MAX), 4);
    assert_int_equal(p[0].volume.start, 1024);
    assert_int_equal(p[0].volume.size, 4096);
    assert_string_equal(p[0].uuid, "1234abcd-01");
    assert_int_equal(p[1].volume.start, 21 * 512);
    assert_string_equal(p[1].uuid, "1234abcd-05");
    assert_int_equal(p[2].volume.start, 32 * 512);
    assert_string_equal(p[2].uuid, "1234abcd-06");
    assert_int_equal(p[3].volume.size, 8 * 512);
    put_mbr(30, 1, 0x05, 10, 10); /* a chain that leads back to itself */
    assert_int_equal(partition_list(&disk, p, PARTITION_MAX), PARTITION_MAX);
}

static void test_gpt(void **state)
{
    static const u8 guid[16] = {0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 8, 9, 10, 11, 12, 13, 14, 15};
    struct partition p[PARTITION_MAX];
    memset(bytes, 0, sizeof(bytes));
    put_mbr(0, 0, 0xee, 1, 127);
    memcpy(bytes + 512, "EFI PART", 8);
    put_u64(bytes + 512 + 72, 2);
    put_u32(bytes + 512 + 80, 4);
    put_u32(bytes + 512 + 84, 128);
    u8 *entry = bytes + 1024 + 128;
    memcpy(entry, guid, 16);
    memcpy(entry + 16, guid, 16);
    put_u64(entry + 32, 10);
    put_u64(entry + 40, 19);
    assert_int_equal(partition_list(&disk, p, PARTITION_MAX), 1);
    assert_string_equal(p[0].uuid, "00112233-4455-6677-0809-0a0b0c0d0e0f");
    assert_int_equal(p[0].volume.start, 5120);
    assert_int_equal(p[0].volume.size, 5120);
    put_u64(entry + 40, UINT64_MAX);
    assert_int_equal(partition_list(&disk, p, PARTITION_MAX), 1);
    assert_int_equal(p[0].volume.size, sizeof(bytes) - 5120);
    put_u64(entry + 40, 9);
    assert_int_equal(partition_list(&disk, p, PARTITION_MAX), 0);
    put_u64(bytes + 512 + 72, UINT64_MAX - 1);
    assert_int_equal(partition_list(&disk, p, PARTITION_MAX), 0);
}

static void test_nothing(void **state)
{
    struct volume_kernel k;
    struct error err;
    struct ext4 fs;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(ext4_open(&disk, &fs), -ENODEV);
    assert_int_equal(volume_find_kernel(&disk, &k, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no ext2, ext3 or ext4 file system"));
    put_u16(bytes + 1024 + 0x38, 0xef53);
    put_u32(bytes + 1024 + 0x4c, 1);
    assert_int_equal(ext4_open(&disk, &fs), -EUCLEAN); /* sizes of zero */
    assert_int_equal(volume_find_kernel(&disk, &k, &err), -EUCLEAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions), cmocka_unit_test(test_bls),   cmocka_unit_test(test_extlinux),
        cmocka_unit_test(test_grub),     cmocka_unit_test(test_words), cmocka_unit_test(test_what_does_not_fit),
        cmocka_unit_test(test_mbr),      cmocka_unit_test(test_gpt),   cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
