#include "volume/seed.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#define SECTOR 2048u
#define LABEL  "CIDATA"

/* Where things are, in sectors: each of them fits into one, but for the files. */
enum { PRIMARY = 16, SECOND, TERMINATOR, PATHS, PATHS_SECOND = PATHS + 2, ROOT = PATHS_SECOND + 2, ROOT_SECOND, DATA };

enum { IS_FOLDER = 2, MODE_FOLDER = 040555, MODE_FILE = 0100444 };

static void put_be32(u8 *p, u32 v)
{
    put_u32(p, __builtin_bswap32(v));
}

/* Most numbers stand there in both byte orders. */
static void both16(u8 *p, u16 v)
{
    put_u16(p, v);
    put_u16(p + 2, __builtin_bswap16(v));
}

static void both32(u8 *p, u32 v)
{
    put_u32(p, v);
    put_be32(p + 4, v);
}

static void put_wide(u8 *p, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        p[2 * i] = 0;
        p[2 * i + 1] = (u8)text[i];
    }
}

/* A directory record without what Rock Ridge adds; its length. */
static u8 put_record(u8 *p, u32 sector, u32 size, u8 flags, const u8 *name, u8 length)
{
    static const u8 date[7] = {100, 1, 1, 0, 0, 0, 0}; /* the first day of 2000: the same files give the same bytes */
    u8 total = (u8)align_up(33u + length, 2);
    p[0] = total;
    both32(p + 2, sector);
    both32(p + 10, size);
    memcpy(p + 18, date, sizeof(date));
    p[25] = flags;
    both16(p + 28, 1);
    p[32] = length;
    memcpy(p + 33, name, length);
    return total;
}

static u8 *put_mode(u8 *p, u32 mode, u32 links)
{
    memcpy(p, "PX\x24\x01", 4);
    both32(p + 4, mode);
    both32(p + 12, links);
    return p + 36;
}

/* "." says that there is Rock Ridge, and by which rules. */
static u8 *put_marks(u8 *p)
{
    static const u8 marks[] = "SP\x07\x01\xbe\xef\0"
                              "ER\x12\x01\x0a\0\0\x01RRIP_1991A";
    memcpy(p, marks, sizeof(marks) - 1);
    return p + sizeof(marks) - 1;
}

static u8 *put_name(u8 *p, const char *name, size_t length)
{
    memcpy(p, "NM", 2);
    p[2] = (u8)(5 + length);
    p[3] = 1;
    memcpy(p + 5, name, length);
    return p + 5 + length;
}

/* The record and what was put behind it, whose length has to be even. */
static u8 *close_record(u8 *record, const u8 *end)
{
    record[0] = (u8)align_up((u64)(end - record), 2);
    return record + record[0];
}

/* As systems without extensions see it: "USER_DAT.;1". */
static u8 plain_name(u8 *to, const char *name)
{
    u8 n = 0;
    for (; n < 8 && name[n]; n++) {
        char c = name[n];
        to[n] = (u8)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_');
    }
    memcpy(to + n, ".;1", 3);
    return n + 3;
}

static void put_root(u8 *image, const struct seed_file *files, const u32 *sector, unsigned count)
{
    u8 *p = image + (size_t)ROOT * SECTOR, name[16];
    u8 *end = put_mode(p + put_record(p, ROOT, SECTOR, IS_FOLDER, (const u8 *)"", 1), MODE_FOLDER, 2);
    memmove(p + 34 + 25, p + 34, 36); /* the first thing is SP */
    (void)put_marks(p + 34);
    p = close_record(p, end + 25);
    p = close_record(p, put_mode(p + put_record(p, ROOT, SECTOR, IS_FOLDER, (const u8 *)"\1", 1), MODE_FOLDER, 2));
    for (unsigned i = 0; i < count; i++) {
        u8 length = plain_name(name, files[i].name);
        end = p + put_record(p, sector[i], (u32)files[i].size, 0, name, length);
        end = put_name(put_mode(end, MODE_FILE, 1), files[i].name, strlen(files[i].name));
        p = close_record(p, end);
    }
}

static void put_root_second(u8 *image, const struct seed_file *files, const u32 *sector, unsigned count)
{
    u8 *p = image + (size_t)ROOT_SECOND * SECTOR, name[64];
    p += put_record(p, ROOT_SECOND, SECTOR, IS_FOLDER, (const u8 *)"", 1);
    p += put_record(p, ROOT_SECOND, SECTOR, IS_FOLDER, (const u8 *)"\1", 1);
    for (unsigned i = 0; i < count; i++) {
        size_t length = strlen(files[i].name);
        put_wide(name, files[i].name, length);
        p += put_record(p, sector[i], (u32)files[i].size, 0, name, (u8)(2 * length));
    }
}

/* One folder, the root, in each byte order. */
static void put_paths(u8 *image, u32 at, u32 root)
{
    u8 *p = image + (size_t)at * SECTOR;
    p[0] = p[SECTOR] = 1;
    put_u32(p + 2, root);
    put_be32(p + SECTOR + 2, root);
    p[6] = p[SECTOR + 7] = 1;
}

static void put_descriptor(u8 *image, bool second, u32 sectors)
{
    u32 root = second ? ROOT_SECOND : ROOT, paths = second ? PATHS_SECOND : PATHS;
    u8 *p = image + (size_t)(second ? SECOND : PRIMARY) * SECTOR;
    memset(p, ' ', 883);
    p[0] = second ? 2 : 1;
    memcpy(p + 1, "CD001\x01\0", 7);
    if (second)
        for (size_t i = 8; i < 813; i += 2) /* texts of two bytes a letter; numbers are put over them below */
            p[i] = 0, p[i + 1] = ' ';
    if (second)
        put_wide(p + 40, LABEL, sizeof(LABEL) - 1);
    else
        memcpy(p + 40, LABEL, sizeof(LABEL) - 1);
    memset(p + 72, 0, 118);
    both32(p + 80, sectors);
    if (second)
        memcpy(p + 88, "%/E", 3); /* UCS-2, level 3 */
    both16(p + 120, 1);
    both16(p + 124, 1);
    both16(p + 128, SECTOR);
    both32(p + 132, 10); /* bytes of the path table */
    put_u32(p + 140, paths);
    put_be32(p + 148, paths + 1);
    (void)put_record(p + 156, root, SECTOR, IS_FOLDER, (const u8 *)"", 1);
    for (unsigned i = 0; i < 4; i++) { /* dates that are not given */
        memset(p + 813 + 17 * i, '0', 16);
        p[813 + 17 * i + 16] = 0;
    }
    p[881] = 1;
    p[882] = 0;
}

u8 *seed_build(const struct seed_file *files, unsigned count, u64 *size)
{
    u32 sector[SEED_FILES_MAX], next = DATA;
    for (unsigned i = 0; i < count; i++) {
        sector[i] = next;
        next += (u32)(align_up(files[i].size, SECTOR) / SECTOR);
    }
    u8 *image = calloc(next, SECTOR);
    if (!image)
        return NULL;
    put_descriptor(image, false, next);
    put_descriptor(image, true, next);
    memcpy(image + (size_t)TERMINATOR * SECTOR,
           "\xff"
           "CD001\x01",
           7);
    put_paths(image, PATHS, ROOT);
    put_paths(image, PATHS_SECOND, ROOT_SECOND);
    put_root(image, files, sector, count);
    put_root_second(image, files, sector, count);
    for (unsigned i = 0; i < count; i++)
        memcpy(image + (size_t)sector[i] * SECTOR, files[i].data, files[i].size);
    *size = (u64)next * SECTOR;
    return image;
}
