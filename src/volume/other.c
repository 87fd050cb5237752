#include "volume/other.h"

#include <string.h>

#define MARK_MAX 8

struct mark {
    u32 offset;
    const char *bytes;
    const char *name;
};

/* In the order in which they are looked for: FAT's is text that says nothing where another mark stands. */
static const struct mark marks[] = {
    {0, "XFSB", "XFS"},          {0x10040, "_BHRfS_M", "Btrfs"}, {0x400, "\x10\x20\xf5\xf2", "F2FS"},
    {0, "LUKS\xba\xbe", "LUKS"}, {0x200, "LABELONE", "LVM"},     {0x8001, "CD001", "ISO 9660"},
    {0, "hsqs", "SquashFS"},     {3, "NTFS    ", "NTFS"},        {0x36, "FAT12   ", "FAT"},
    {0x36, "FAT16   ", "FAT"},   {0x52, "FAT32   ", "FAT"},
};

static bool has_mark(const struct volume *v, const struct mark *m)
{
    u8 bytes[MARK_MAX];
    size_t length = strlen(m->bytes);
    return volume_read(v, m->offset, bytes, length) == 0 && memcmp(bytes, m->bytes, length) == 0;
}

const char *other_find(const struct volume *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        if (has_mark(v, &marks[i]))
            return marks[i].name;
    return NULL;
}
