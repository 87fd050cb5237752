/*
 * Where the blocks of a file are: extents (Documentation/filesystems/ext4/ifork.rst), or the maps of ext2.
 */
#include <string.h>

#include "volume/ext4.h"

#define EXTENT_MAGIC     0xf30a
#define EXTENT_NODE      12 /* bytes of the header, and of each entry */
#define EXTENT_DEPTH_MAX 5
#define EXTENT_INIT_MAX  32768 /* longer ones are allocated and not written: they read as zeroes */
#define NODE_PIECE       (EXTENT_NODE * 64)

#define DIRECT 12

int ext4_read_blocks(const struct ext4 *fs, u64 block, u32 offset, void *to, size_t length)
{
    u64 at;
    if (!block || block >= fs->blocks || __builtin_mul_overflow(block, fs->block_size, &at) ||
        __builtin_add_overflow(at, offset, &at))
        return -EUCLEAN;
    return volume_read(&fs->volume, at, to, length);
}

/* A node of the tree: in the inode, or a block that is read piece by piece. */
struct node {
    const u8 *inside; /* NULL: `block` */
    u64 block;
    u32 entries, depth;
};

static int node_bytes(const struct ext4 *fs, const struct node *n, u32 offset, u8 *to, u32 length)
{
    if (!n->inside)
        return ext4_read_blocks(fs, n->block, offset, to, length);
    memcpy(to, n->inside + offset, length);
    return 0;
}

static int node_open(const struct ext4 *fs, struct node *n)
{
    u8 header[EXTENT_NODE];
    u32 room = n->inside ? EXT4_I_BLOCK_SIZE : fs->block_size;
    int status = node_bytes(fs, n, 0, header, sizeof(header));
    if (status)
        return status;
    n->entries = get_u16(header + 2);
    n->depth = get_u16(header + 6);
    if (get_u16(header) != EXTENT_MAGIC || n->entries > room / EXTENT_NODE - 1 || n->depth > EXTENT_DEPTH_MAX)
        return -EUCLEAN;
    return 0;
}

/* The last entry that begins at `block` or before it into `found`, false in *any if there is none; in *next where the
 * one after it begins. */
static int node_search(const struct ext4 *fs, const struct node *n, u64 block, u8 *found, bool *any, u64 *next)
{
    u8 piece[NODE_PIECE];
    u32 held = 0, base = 0;
    *any = false;
    *next = UINT64_MAX;
    for (u32 i = 0; i < n->entries; i++) {
        if (i - base >= held) {
            base = i;
            held = n->entries - i < NODE_PIECE / EXTENT_NODE ? n->entries - i : NODE_PIECE / EXTENT_NODE;
            int status = node_bytes(fs, n, (i + 1) * EXTENT_NODE, piece, held * EXTENT_NODE);
            if (status)
                return status;
        }
        const u8 *entry = piece + (size_t)(i - base) * EXTENT_NODE;
        if (get_u32(entry) > block) {
            *next = get_u32(entry);
            return 0;
        }
        memcpy(found, entry, EXTENT_NODE);
        *any = true;
    }
    return 0;
}

static void take_extent(const u8 *entry, u64 block, u64 next, u64 *where, u64 *run)
{
    u64 first = get_u32(entry), length = get_u16(entry + 4), at = get_u32(entry + 8) | (u64)get_u16(entry + 6) << 32;
    bool written = length <= EXTENT_INIT_MAX;
    if (!written)
        length -= EXTENT_INIT_MAX;
    bool inside = block - first < length;
    *where = inside && written ? at + (block - first) : 0;
    *run = inside ? length - (block - first) : next - block;
}

static int map_extents(const struct ext4 *fs, const struct ext4_inode *inode, u64 block, u64 *where, u64 *run)
{
    struct node n = {.inside = inode->raw + EXT4_I_BLOCK};
    u8 entry[EXTENT_NODE] = {0};
    u64 end = UINT64_MAX, next;
    bool any;
    int status = node_open(fs, &n);
    while (!status) {
        status = node_search(fs, &n, block, entry, &any, &next);
        if (status)
            break;
        end = next < end ? next : end;
        if (!any) {
            *where = 0;
            *run = end - block;
            return 0;
        }
        if (!n.depth) {
            take_extent(entry, block, end, where, run);
            return 0;
        }
        u32 above = n.depth;
        n = (struct node){.block = get_u32(entry + 4) | (u64)get_u16(entry + 8) << 32};
        status = node_open(fs, &n);
        if (!status && n.depth != above - 1)
            status = -EUCLEAN;
    }
    return status;
}

/* Entries of a table of block numbers: the one at `index`, and how many behind it go on where it ends. */
static int map_table(const struct ext4 *fs, u64 table, u32 index, u64 *where, u64 *run)
{
    u8 piece[4 * 256];
    u32 count = fs->block_size / 4 - index;
    if (count > sizeof(piece) / 4)
        count = sizeof(piece) / 4;
    int status = ext4_read_blocks(fs, table, index * 4, piece, (size_t)count * 4);
    if (status)
        return status;
    u64 first = get_u32(piece);
    u32 n = 1;
    while (n < count && get_u32(piece + (size_t)n * 4) == (first ? first + n : 0))
        n++;
    *where = first;
    *run = n;
    return 0;
}

static int map_indirect(const struct ext4 *fs, const struct ext4_inode *inode, u64 block, u64 *where, u64 *run)
{
    const u8 *map = inode->raw + EXT4_I_BLOCK;
    u64 each = fs->block_size / 4, span = 1;
    *run = 1;
    if (block < DIRECT) {
        *where = get_u32(map + block * 4);
        return 0;
    }
    block -= DIRECT;
    for (u32 level = 1; level <= 3; level++, block -= span) {
        span *= each; /* blocks below a pointer of this level; at most 2^42 */
        if (block >= span)
            continue;
        u64 table = get_u32(map + (size_t)(DIRECT + level - 1) * 4);
        for (u64 below = span / each; table; below /= each) {
            u32 index = (u32)(block / below);
            int status = map_table(fs, table, index, where, run);
            if (status || below == 1)
                return status;
            block %= below;
            table = *where;
            *run = 1;
        }
        *where = 0; /* a hole; how far it goes is not told */
        return 0;
    }
    return -EFBIG;
}

int ext4_map(const struct ext4 *fs, const struct ext4_inode *inode, u64 block, u64 *where, u64 *run)
{
    int status = inode->flags & EXT4_FL_EXTENTS ? map_extents(fs, inode, block, where, run)
                                                : map_indirect(fs, inode, block, where, run);
    if (status || !*where)
        return status;
    return *where < fs->blocks && *run <= fs->blocks - *where ? 0 : -EUCLEAN;
}
