/*
 * File systems and partition tables: a small disk of our own making, damaged by the input, is searched for a kernel and
 * listed.
 *
 * The first byte of the input says whether the disk has a partition table; then come pieces of {place, length, bytes}
 * that are put over it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "volume/ext4.h"
#include "volume/kernel.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define BLOCK 1024u
#define DISK  KiB(96)
#define SHIFT KiB(16) /* where the partition is */

/* Blocks of the file system. */
enum { SUPER = 1, DESCRIPTORS, TABLE, ROOT = 8, BOOT, GRUB, TEXT, KERNEL, NODE, INDIRECT };
/* Inodes. */
enum { I_ROOT = 2, I_BOOT = 12, I_GRUB, I_TEXT, I_KERNEL, I_LINK, I_INITRD };

static u8 bytes[DISK];

static int read_bytes(void *opaque, u64 offset, void *to, size_t length)
{
    if (!range_inside(offset, length, DISK))
        abort();
    memcpy(to, bytes + offset, length);
    return 0;
}

static u8 *inode_at(u8 *fs, u32 number, u16 mode, u32 size)
{
    u8 *inode = fs + TABLE * BLOCK + (size_t)(number - 1) * 256;
    put_u16(inode, mode);
    put_u32(inode + 4, size);
    return inode;
}

static void put_extent(u8 *node, u16 depth, u32 block)
{
    put_u16(node, 0xf30a);
    put_u16(node + 2, 1);
    put_u16(node + 4, 4);
    put_u16(node + 6, depth);
    if (depth)
        put_u32(node + 16, block);
    put_u16(node + 16, depth ? (u16)block : 1);
    if (!depth)
        put_u32(node + 20, block);
}

static void put_name(u8 **at, u32 inode, const char *name, u16 step)
{
    put_u32(*at, inode);
    put_u16(*at + 4, step);
    (*at)[6] = (u8)strlen(name);
    memcpy(*at + 8, name, strlen(name));
    *at += step;
}

static void make(u8 *fs)
{
    static const char grub[] = "linux /boot/vmlinuz root=/dev/vda\ninitrd /boot/initrd.img\n";
    u8 *s = fs + BLOCK, *at;
    put_u32(s, 32);
    put_u32(s + 4, 64);
    put_u32(s + 0x14, 1);
    put_u32(s + 0x20, 8192);
    put_u32(s + 0x28, 32);
    put_u16(s + 0x38, 0xef53);
    put_u32(s + 0x4c, 1);
    put_u16(s + 0x58, 256);
    put_u32(s + 0x60, 0x8042);
    put_u32(fs + DESCRIPTORS * BLOCK + 8, TABLE);
    at = inode_at(fs, I_ROOT, EXT4_FOLDER, BLOCK);
    put_u32(at + 0x28, ROOT);
    at = inode_at(fs, I_BOOT, EXT4_FOLDER, BLOCK);
    put_u32(at + 0x20, EXT4_FL_EXTENTS);
    put_extent(at + 0x28, 0, BOOT);
    at = inode_at(fs, I_GRUB, EXT4_FOLDER, 60);
    put_u32(at + 0x20, 0x10000000); /* inline */
    put_u32(at + 0x28, I_BOOT);
    at += 0x2c;
    put_name(&at, I_TEXT, "grub.cfg", 56);
    at = inode_at(fs, I_TEXT, EXT4_REGULAR, sizeof(grub) - 1);
    put_u32(at + 0x28, TEXT);
    memcpy(fs + TEXT * BLOCK, grub, sizeof(grub) - 1);
    at = inode_at(fs, I_KERNEL, EXT4_REGULAR, 3000);
    put_u32(at + 0x20, EXT4_FL_EXTENTS);
    put_extent(at + 0x28, 1, NODE);
    put_extent(fs + NODE * BLOCK, 0, KERNEL);
    at = inode_at(fs, I_INITRD, EXT4_REGULAR, 14 * BLOCK);
    put_u32(at + 0x28, KERNEL);
    put_u32(at + 0x28 + 12 * 4, INDIRECT);
    put_u32(fs + INDIRECT * BLOCK, KERNEL);
    at = inode_at(fs, I_LINK, EXT4_LINK, 12);
    memcpy(at + 0x28, "boot/vmlinuz", 12);
    at = fs + ROOT * BLOCK;
    put_name(&at, I_ROOT, "..", 12);
    put_name(&at, I_LINK, "vmlinuz", 16);
    put_name(&at, I_BOOT, "boot", (u16)(BLOCK - 28));
    at = fs + BOOT * BLOCK;
    put_name(&at, I_GRUB, "grub", 12);
    put_name(&at, I_INITRD, "initrd.img", 20);
    put_name(&at, I_KERNEL, "vmlinuz", (u16)(BLOCK - 32));
}

static bool visit(void *opaque, const char *name, u32 inode)
{
    unsigned *left = opaque;
    return strlen(name) < 256 && --*left;
}

static void look(void)
{
    static const char *const paths[] = {"/", "/boot/grub/../grub", "/vmlinuz", "/boot/initrd.img"};
    struct volume disk = {.read = read_bytes, .size = DISK};
    struct volume_kernel k;
    struct error err = {0};
    struct ext4 fs;
    if (volume_find_kernel(&disk, &k, &err) == 0)
        volume_kernel_free(&k);
    else if (!err.text[0])
        abort(); /* a refusal says why */
    if (ext4_open(&disk, &fs))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        struct ext4_inode inode;
        unsigned left = 1000;
        u8 some[100];
        if (ext4_find(&fs, paths[i], &inode))
            continue;
        (void)!ext4_list(&fs, &inode, visit, &left);
        (void)!ext4_read(&fs, &inode, inode.size / 2, some, sizeof(some));
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    memset(bytes, 0, sizeof(bytes));
    bool table = size && data[0] & 1;
    make(bytes + (table ? SHIFT : 0));
    if (table) {
        bytes[446 + 4] = 0x83;
        put_u32(bytes + 446 + 8, SHIFT / 512);
        put_u32(bytes + 446 + 12, (DISK - SHIFT) / 512);
        put_u16(bytes + 510, 0xaa55);
    }
    for (size_t at = 1; at + 4 < size;) {
        u32 place = get_u16(data + at) * 2u + (data[at + 2] & 1), length = data[at + 2] >> 4;
        at += 3;
        for (; length && at < size && place < DISK; length--)
            bytes[place++] = data[at++];
    }
    look();
    return 0;
}
