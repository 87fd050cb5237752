#include "volume/partition.h"

#include <stdio.h>
#include <string.h>

#define SECTOR 512

/* GPT header, and an entry. */
#define GPT_ENTRIES_LBA 72
#define GPT_COUNT       80
#define GPT_ENTRY_SIZE  84
#define GPT_ENTRIES_MAX 1024
#define ENTRY_GUID      16
#define ENTRY_FIRST     32
#define ENTRY_LAST      40

/* MBR. */
#define MBR_ID         440
#define MBR_TABLE      446
#define MBR_SIGNATURE  510
#define MBR_ENTRY_SIZE 16
#define MBR_ENTRIES    4
#define LOGICAL_FIRST  5 /* number of the first logical partition */

struct listing {
    const struct volume *disk;
    struct partition *out;
    unsigned count, max;
};

static struct partition *add(struct listing *l, u64 sector, u64 sectors)
{
    if (l->count == l->max || !sectors || sector >= l->disk->size / SECTOR)
        return NULL;
    struct partition *p = &l->out[l->count++];
    u64 most = l->disk->size / SECTOR - sector;
    *p =
        (struct partition){.volume = volume_part(l->disk, sector * SECTOR, (sectors < most ? sectors : most) * SECTOR)};
    return p;
}

/* The first three fields are little-endian. */
static void guid_text(const u8 *g, char out[40])
{
    (void)snprintf(out, 40, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", get_u32(g), get_u16(g + 4),
                   get_u16(g + 6), g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

static bool list_gpt(struct listing *l)
{
    static const u8 unused[16];
    u8 header[92], entry[48];
    if (volume_read(l->disk, SECTOR, header, sizeof(header)) || memcmp(header, "EFI PART", 8) != 0)
        return false;
    u64 lba = get_u64(header + GPT_ENTRIES_LBA);
    u32 count = get_u32(header + GPT_COUNT), size = get_u32(header + GPT_ENTRY_SIZE);
    if (lba > l->disk->size / SECTOR || size < 128 || size > 4096)
        return true;
    for (u32 i = 0; i < count && i < GPT_ENTRIES_MAX; i++) {
        if (volume_read(l->disk, lba * SECTOR + (u64)i * size, entry, sizeof(entry)))
            break;
        u64 first = get_u64(entry + ENTRY_FIRST), last = get_u64(entry + ENTRY_LAST);
        if (memcmp(entry, unused, sizeof(unused)) == 0 || last < first)
            continue;
        /* The last sector counts; of a partition as large as 2^64 sectors one is not missed. */
        struct partition *p = add(l, first, last - first == UINT64_MAX ? last : last - first + 1);
        if (p)
            guid_text(entry + ENTRY_GUID, p->uuid);
    }
    return true;
}

static bool is_extended(u8 type)
{
    return type == 0x05 || type == 0x0f || type == 0x85;
}

static void add_mbr(struct listing *l, const u8 *entry, u64 base, unsigned number, u32 id)
{
    struct partition *p = add(l, base + get_u32(entry + 8), get_u32(entry + 12));
    if (p)
        (void)snprintf(p->uuid, sizeof(p->uuid), "%08x-%02x", id, number);
}

/* A chain of tables of one partition each: no longer than we have room for, whatever it leads to. */
static void list_logical(struct listing *l, u64 extended, u32 id)
{
    u8 sector[SECTOR];
    u64 at = extended;
    for (unsigned n = LOGICAL_FIRST; n < LOGICAL_FIRST + PARTITION_MAX; n++) {
        if (volume_read(l->disk, at * SECTOR, sector, sizeof(sector)) || get_u16(sector + MBR_SIGNATURE) != 0xaa55)
            return;
        const u8 *own = sector + MBR_TABLE, *next = own + MBR_ENTRY_SIZE;
        add_mbr(l, own, at, n, id);
        if (!is_extended(next[4]) || !get_u32(next + 8))
            return;
        at = extended + get_u32(next + 8);
    }
}

static void list_mbr(struct listing *l)
{
    u8 sector[SECTOR];
    if (volume_read(l->disk, 0, sector, sizeof(sector)) || get_u16(sector + MBR_SIGNATURE) != 0xaa55)
        return;
    u32 id = get_u32(sector + MBR_ID);
    for (unsigned i = 0; i < MBR_ENTRIES; i++) {
        const u8 *entry = sector + MBR_TABLE + i * MBR_ENTRY_SIZE;
        if (is_extended(entry[4]))
            list_logical(l, get_u32(entry + 8), id);
        else if (entry[4])
            add_mbr(l, entry, 0, i + 1, id);
    }
}

unsigned partition_list(const struct volume *disk, struct partition *out, unsigned max)
{
    struct listing l = {.disk = disk, .out = out, .max = max};
    if (!list_gpt(&l))
        list_mbr(&l);
    return l.count;
}
