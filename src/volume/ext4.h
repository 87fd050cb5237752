/*
 * ext2, ext3 and ext4, read only: what Linux's Documentation/filesystems/ext4 says of the layout. For finding a few
 * files on a disk that nobody writes to.
 *
 * What is taken: extents and block maps, 64-bit block numbers, meta block groups, inline data, hashed folders (read
 * from front to back), symbolic links. What is refused: compression, encryption, an external journal. Checksums are
 * not looked at, as every number is checked where it is used.
 *
 * The journal is not replayed: as for GRUB, what was changed in the last seconds before a crash may be seen by half.
 * The guest's own kernel replays it when it mounts the disk.
 *
 * Functions return 0 or -errno: -ENOENT, -ELOOP, -ENOTDIR as one knows them; -EUCLEAN: the file system is damaged;
 * -EOPNOTSUPP: it has what is refused; -EFBIG; -EIO, -ENOMEM.
 */
#ifndef VOLUME_EXT4_H
#define VOLUME_EXT4_H

#include "volume/volume.h"

#define EXT4_RAW_MAX 1024 /* bytes of an inode that are looked at */

struct ext4 {
    struct volume volume;
    u64 blocks;
    u32 block_size, first_data_block, blocks_per_group;
    u32 inodes, inodes_per_group, inode_size;
    u32 descriptor_size;
    u32 first_meta_group; /* block of descriptors from which on they are in meta groups */
    bool sparse;          /* not each group has a copy of the superblock */
    bool wide;            /* block numbers of descriptors have 64 bits */
    char uuid[40];
};

struct ext4_inode {
    u32 number, flags;
    u16 mode;
    u64 size;
    u32 raw_size;
    u8 raw[EXT4_RAW_MAX];
};

enum { EXT4_FOLDER = 0x4000, EXT4_REGULAR = 0x8000, EXT4_LINK = 0xa000, EXT4_TYPE = 0xf000 };

/* -ENODEV: it is none of the three. */
int ext4_open(const struct volume *v, struct ext4 *fs) MUST_CHECK;

/* Follows symbolic links, also at the end. Paths begin at the root. */
int ext4_find(const struct ext4 *fs, const char *path, struct ext4_inode *out) MUST_CHECK;

/* What is behind the end is -EIO. */
int ext4_read(const struct ext4 *fs, const struct ext4_inode *inode, u64 offset, void *to, size_t length) MUST_CHECK;

/* A regular file of at most `max` bytes, and a zero behind them that does not count; the caller frees *data. */
int ext4_read_file(const struct ext4 *fs, const char *path, u64 max, u8 **data, u64 *size) MUST_CHECK;

/* The names in a folder, until `each` returns false; "." and ".." too. */
typedef bool ext4_name_fn(void *opaque, const char *name, u32 inode);
int ext4_list(const struct ext4 *fs, const struct ext4_inode *folder, ext4_name_fn *each, void *opaque) MUST_CHECK;

/* --- between ext4.c and ext4_map.c ------------------------------------------------------------------------------ */

#define EXT4_I_BLOCK      0x28 /* in an inode: the map, or a short link, or inline data */
#define EXT4_I_BLOCK_SIZE 60
#define EXT4_FL_EXTENTS   0x00080000u

/* Where a block of the file is on the volume, 0: a hole; and how many (at least 1) follow each other there. */
int ext4_map(const struct ext4 *fs, const struct ext4_inode *inode, u64 block, u64 *where, u64 *run) MUST_CHECK;
int ext4_read_blocks(const struct ext4 *fs, u64 block, u32 offset, void *to, size_t length) MUST_CHECK;

#endif
