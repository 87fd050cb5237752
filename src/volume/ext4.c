/* See ext4.h: superblock, inodes, folders, paths. */
#include "volume/ext4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUPER_AT    1024
#define SUPER_SIZE  1024
#define SUPER_MAGIC 0xef53
#define ROOT_INODE  2

#define INCOMPAT_REFUSED 0x9u /* compression; a file system that is another one's journal */
#define INCOMPAT_META_BG 0x10u
#define INCOMPAT_64BIT   0x80u
#define RO_SPARSE_SUPER  0x1u

#define FL_ENCRYPT 0x800u
#define FL_INLINE  0x10000000u

#define FOLDER_MAX   MiB(64)
#define LINKS_MAX    40
#define PATH_ROOM    4096
#define XATTR_MAGIC  0xea020000u
#define XATTR_SYSTEM 7 /* the names "system." */

/* --- superblock and descriptors --------------------------------------------------------------------------------- */

static bool super_good(const struct ext4 *fs, u32 log)
{
    return log <= 6 && fs->blocks_per_group && fs->inodes_per_group && fs->inodes_per_group <= fs->block_size * 8 &&
           fs->inode_size >= 128 && fs->inode_size <= fs->block_size && is_power_of_two(fs->inode_size) &&
           fs->descriptor_size >= 32 && fs->descriptor_size <= fs->block_size && is_power_of_two(fs->descriptor_size);
}

int ext4_open(const struct volume *v, struct ext4 *fs)
{
    u8 s[SUPER_SIZE];
    if (volume_read(v, SUPER_AT, s, sizeof(s)) || get_u16(s + 0x38) != SUPER_MAGIC)
        return -ENODEV;
    bool old = get_u32(s + 0x4c) == 0; /* revision 0: no words of features */
    u32 incompat = old ? 0 : get_u32(s + 0x60), log = get_u32(s + 0x18);
    if (incompat & INCOMPAT_REFUSED)
        return -EOPNOTSUPP;
    bool wide = incompat & INCOMPAT_64BIT;
    *fs = (struct ext4){
        .volume = *v,
        .block_size = 1024u << (log & 7),
        .first_data_block = get_u32(s + 0x14),
        .blocks = get_u32(s + 4) | (wide ? (u64)get_u32(s + 0x150) << 32 : 0),
        .blocks_per_group = get_u32(s + 0x20),
        .inodes = get_u32(s),
        .inodes_per_group = get_u32(s + 0x28),
        .inode_size = old ? 128 : get_u16(s + 0x58),
        .descriptor_size = wide ? get_u16(s + 0xfe) : 32,
        .first_meta_group = incompat & INCOMPAT_META_BG ? get_u32(s + 0x104) : UINT32_MAX,
        .sparse = !old && get_u32(s + 0x64) & RO_SPARSE_SUPER,
        .wide = wide,
    };
    const u8 *id = s + 0x68; /* as it stands, unlike a GUID of a GPT */
    (void)snprintf(fs->uuid, sizeof(fs->uuid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10], id[11], id[12], id[13],
                   id[14], id[15]);
    return super_good(fs, log) ? 0 : -EUCLEAN;
}

static bool is_power(u64 n, u64 of)
{
    while (n > 1 && n % of == 0)
        n /= of;
    return n == 1;
}

/* Does the group begin with a copy of the superblock? */
static bool has_super(const struct ext4 *fs, u64 group)
{
    return !fs->sparse || group <= 1 || is_power(group, 3) || is_power(group, 5) || is_power(group, 7);
}

/* The block with the descriptor of a group: behind the superblock, or in the group's own meta group. */
static u64 descriptor_block(const struct ext4 *fs, u32 index, u32 each)
{
    u64 super = SUPER_AT / fs->block_size; /* not always the first block of data: with 1 KiB and bigalloc that is 0 */
    if (index < fs->first_meta_group || !index)
        return super + 1 + index;
    u64 group = (u64)index * each;
    return fs->first_data_block + group * fs->blocks_per_group + has_super(fs, group);
}

static int inode_table(const struct ext4 *fs, u32 group, u64 *block)
{
    u8 d[64] = {0};
    u32 each = fs->block_size / fs->descriptor_size, size = fs->descriptor_size < 64 ? 32 : 64;
    int status =
        ext4_read_blocks(fs, descriptor_block(fs, group / each, each), group % each * fs->descriptor_size, d, size);
    *block = get_u32(d + 8) | (fs->wide ? (u64)get_u32(d + 0x28) << 32 : 0);
    return status;
}

/* --- inodes ----------------------------------------------------------------------------------------------------- */

static int inode_read(const struct ext4 *fs, u32 number, struct ext4_inode *out)
{
    u64 table;
    if (!number || number > fs->inodes)
        return -EUCLEAN;
    u32 group = (number - 1) / fs->inodes_per_group, index = (number - 1) % fs->inodes_per_group;
    int status = inode_table(fs, group, &table);
    if (status)
        return status;
    u64 at = (u64)index * fs->inode_size;
    out->number = number;
    out->raw_size = fs->inode_size < EXT4_RAW_MAX ? fs->inode_size : EXT4_RAW_MAX;
    status = ext4_read_blocks(fs, table + at / fs->block_size, (u32)(at % fs->block_size), out->raw, out->raw_size);
    if (status)
        return status;
    out->mode = get_u16(out->raw);
    out->flags = get_u32(out->raw + 0x20);
    out->size = get_u32(out->raw + 4);
    if ((out->mode & EXT4_TYPE) == EXT4_REGULAR || out->flags & EXT4_FL_EXTENTS)
        out->size |= (u64)get_u32(out->raw + 0x6c) << 32;
    return out->flags & FL_ENCRYPT ? -EOPNOTSUPP : 0;
}

static bool is_type(const struct ext4_inode *inode, u16 type)
{
    return (inode->mode & EXT4_TYPE) == type;
}

/* What does not fit into the map of an inline file is an attribute behind the inode's fields, system.data. */
static const u8 *inline_rest(const struct ext4_inode *inode, u32 *size)
{
    const u8 *raw = inode->raw;
    u32 end = inode->raw_size, first = inode->raw_size > 128 ? 128u + get_u16(raw + 0x80) + 4 : end;
    *size = 0;
    if (first + 16 > end || get_u32(raw + first - 4) != XATTR_MAGIC)
        return NULL;
    for (u32 at = first; at + 16 <= end && raw[at];) {
        u32 name = raw[at], offset = get_u16(raw + at + 2), length = get_u32(raw + at + 8);
        if (raw[at + 1] == XATTR_SYSTEM && name == 4 && at + 20 <= end && memcmp(raw + at + 16, "data", 4) == 0) {
            if (get_u32(raw + at + 4) || !range_inside(first + offset, length, end))
                return NULL;
            *size = length;
            return raw + first + offset;
        }
        at += 16 + (u32)align_up(name, 4);
    }
    return NULL;
}

static int read_inline(const struct ext4_inode *inode, u64 offset, u8 *to, size_t length)
{
    u32 more;
    const u8 *rest = inline_rest(inode, &more);
    for (size_t i = 0; i < length; i++) {
        u64 at = offset + i;
        if (at < EXT4_I_BLOCK_SIZE)
            to[i] = inode->raw[EXT4_I_BLOCK + at];
        else if (at - EXT4_I_BLOCK_SIZE < more)
            to[i] = rest[at - EXT4_I_BLOCK_SIZE];
        else
            return -EUCLEAN;
    }
    return 0;
}

int ext4_read(const struct ext4 *fs, const struct ext4_inode *inode, u64 offset, void *to, size_t length)
{
    u8 *out = to;
    if (!range_inside(offset, length, inode->size))
        return -EIO;
    if (inode->flags & FL_INLINE)
        return read_inline(inode, offset, out, length);
    while (length) {
        u64 where, run, skip = offset % fs->block_size, bytes;
        int status = ext4_map(fs, inode, offset / fs->block_size, &where, &run);
        if (status)
            return status;
        if (__builtin_mul_overflow(run, fs->block_size, &bytes) || bytes - skip > length)
            bytes = skip + length;
        if (!where)
            memset(out, 0, bytes - skip);
        else
            status = ext4_read_blocks(fs, where, (u32)skip, out, bytes - skip);
        if (status)
            return status;
        out += bytes - skip;
        offset += bytes - skip;
        length -= bytes - skip;
    }
    return 0;
}

/* --- folders ---------------------------------------------------------------------------------------------------- */

/* The entries of one block (or of an inline folder's part). False in *more: `each` has seen enough. */
static int list_block(const u8 *block, u32 size, ext4_name_fn *each, void *opaque, bool *more)
{
    char name[256];
    for (u32 at = 0, step; size - at >= 8; at += step) {
        const u8 *entry = block + at;
        u32 length = entry[6];
        step = get_u16(entry + 4);
        if (step >= 0xfffc || step == 0) /* of a block of 64 KiB, whose size does not fit */
            step = size;
        if (step < 8 || step % 4 || step > size - at || length + 8 > step)
            return -EUCLEAN;
        u32 inode = get_u32(entry);
        if (!inode || !length)
            continue;
        memcpy(name, entry + 8, length);
        name[length] = '\0';
        if (!each(opaque, name, inode)) {
            *more = false;
            return 0;
        }
    }
    return 0;
}

/* "." is not kept, ".." as a bare number, and then come entries in both parts. */
static int list_inline(const struct ext4_inode *folder, ext4_name_fn *each, void *opaque)
{
    u32 more_size;
    const u8 *rest = inline_rest(folder, &more_size);
    bool more = each(opaque, "..", get_u32(folder->raw + EXT4_I_BLOCK));
    int status = 0;
    if (more)
        status = list_block(folder->raw + EXT4_I_BLOCK + 4, EXT4_I_BLOCK_SIZE - 4, each, opaque, &more);
    if (!status && more && rest)
        status = list_block(rest, more_size, each, opaque, &more);
    return status;
}

int ext4_list(const struct ext4 *fs, const struct ext4_inode *folder, ext4_name_fn *each, void *opaque)
{
    if (!is_type(folder, EXT4_FOLDER))
        return -ENOTDIR;
    if (folder->flags & FL_INLINE)
        return list_inline(folder, each, opaque);
    if (folder->size > FOLDER_MAX)
        return -EFBIG;
    u8 *block = malloc(fs->block_size);
    if (!block)
        return -ENOMEM;
    bool more = true;
    int status = 0;
    for (u64 at = 0; at < folder->size && more && !status; at += fs->block_size) {
        u64 left = folder->size - at;
        u32 size = left < fs->block_size ? (u32)left : fs->block_size;
        status = ext4_read(fs, folder, at, block, size);
        if (!status)
            status = list_block(block, size, each, opaque, &more);
    }
    free(block);
    return status;
}

/* --- paths ------------------------------------------------------------------------------------------------------ */

struct wanted {
    const char *name;
    u32 inode;
};

static bool is_wanted(void *opaque, const char *name, u32 inode)
{
    struct wanted *w = opaque;
    if (strcmp(name, w->name) != 0)
        return true;
    w->inode = inode;
    return false;
}

/* One step of a path; *at is the folder, and then what it led to. */
static int step_into(const struct ext4 *fs, const char *name, struct ext4_inode *at)
{
    struct wanted w = {.name = name};
    int status = strcmp(name, ".") == 0 ? 0 : ext4_list(fs, at, is_wanted, &w);
    if (status || strcmp(name, ".") == 0)
        return status;
    return w.inode ? inode_read(fs, w.inode, at) : -ENOENT;
}

/* What a link leads to, before what is left of the path behind it. */
static int follow(const struct ext4 *fs, const struct ext4_inode *link, char *rest)
{
    char joined[PATH_ROOM];
    size_t length = link->size < PATH_ROOM ? (size_t)link->size : PATH_ROOM, left = strlen(rest);
    if (!length)
        return -EUCLEAN;
    if (length + left + 2 > PATH_ROOM)
        return -ENAMETOOLONG;
    int status = 0;
    if (length < EXT4_I_BLOCK_SIZE && !(link->flags & FL_INLINE))
        memcpy(joined, link->raw + EXT4_I_BLOCK, length);
    else
        status = ext4_read(fs, link, 0, joined, length);
    if (status)
        return status;
    if (memchr(joined, '\0', length))
        return -EUCLEAN;
    joined[length] = '/';
    memcpy(joined + length + 1, rest, left + 1);
    memcpy(rest, joined, length + left + 2);
    return 0;
}

/* Cuts the first name off a path; false if there is none. */
static bool take_name(char *rest, char name[256], int *status)
{
    size_t skip = strspn(rest, "/"), length = strcspn(rest + skip, "/");
    if (!length)
        return false;
    *status = length < 256 ? 0 : -ENAMETOOLONG;
    if (!*status) {
        memcpy(name, rest + skip, length);
        name[length] = '\0';
        memmove(rest, rest + skip + length, strlen(rest + skip + length) + 1);
    }
    return true;
}

int ext4_find(const struct ext4 *fs, const char *path, struct ext4_inode *out)
{
    char rest[PATH_ROOM], name[256];
    struct ext4_inode folder;
    if (strlen(path) >= sizeof(rest))
        return -ENAMETOOLONG;
    strcpy(rest, path); /* fits */
    int status = inode_read(fs, ROOT_INODE, out);
    for (unsigned links = 0; !status && take_name(rest, name, &status);) {
        folder = *out;
        if (!status)
            status = step_into(fs, name, out);
        if (status || !is_type(out, EXT4_LINK))
            continue;
        status = ++links > LINKS_MAX ? -ELOOP : follow(fs, out, rest);
        if (status)
            continue;
        if (rest[0] == '/')
            status = inode_read(fs, ROOT_INODE, out);
        else
            *out = folder;
    }
    return status;
}

int ext4_read_file(const struct ext4 *fs, const char *path, u64 max, u8 **data, u64 *size)
{
    struct ext4_inode inode;
    int status = ext4_find(fs, path, &inode);
    if (status)
        return status;
    if (!is_type(&inode, EXT4_REGULAR))
        return is_type(&inode, EXT4_FOLDER) ? -EISDIR : -EINVAL;
    if (inode.size > max)
        return -EFBIG;
    u8 *bytes = malloc(inode.size + 1);
    if (!bytes)
        return -ENOMEM;
    status = ext4_read(fs, &inode, 0, bytes, inode.size);
    if (status) {
        free(bytes);
        return status;
    }
    bytes[inode.size] = '\0';
    *data = bytes;
    *size = inode.size;
    return 0;
}
