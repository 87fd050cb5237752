/*
 * Implements qcow2_count.h.
 */
#include "backend/block/qcow2_count.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "host/mem.h"

#define CLUSTERS_MAX BIT64(28) /* a table of 1 GiB, of which memory is used as needed */
#define L1_ALL_MAX   GiB(1)    /* of all snapshots together */
#define LINES_MAX    100
#define SNAPSHOT     40 /* bytes of its fixed part */
#define BITMAP       24 /* likewise */
#define BITMAPS_MAX  65535

void qcow2_count_say(struct qcow2_count *c, const char *fmt, ...)
{
    char line[160];
    va_list ap;
    if (!c->report || c->lines++ > LINES_MAX)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    c->report(c->opaque, c->lines > LINES_MAX ? "(and so on)" : line);
}

void qcow2_count_error(struct qcow2_count *c, const char *what, u64 where)
{
    c->result->errors++;
    qcow2_count_say(c, "error: %s (0x%llx)", what, (unsigned long long)where);
}

/* `times` uses of a part of the file. The last cluster of the file may be cut short. False if it is not inside. */
static bool use(struct qcow2_count *c, u64 offset, u64 length, u32 times, const char *what)
{
    u32 bits = c->q->h.cluster_bits;
    u64 end;
    if (!length)
        return true;
    if (__builtin_add_overflow(offset, length - 1, &end) || end >> bits >= c->clusters) {
        qcow2_count_error(c, what, offset);
        return false;
    }
    for (u64 n = offset >> bits; n <= end >> bits; n++)
        if (__builtin_add_overflow(c->refs[n], times, &c->refs[n]))
            c->refs[n] = UINT32_MAX;
    if (end + 1 > c->result->end)
        c->result->end = end + 1;
    return true;
}

static bool use_table(struct qcow2_count *c, u64 offset, u64 length, const char *what)
{
    if (is_aligned(offset, c->q->cluster_size) && (offset || !length))
        return use(c, offset, length, 1, what);
    qcow2_count_error(c, what, offset);
    return false;
}

int qcow2_count_words(struct qcow2_count *c, u64 table, u64 at, u64 *n, u64 entries)
{
    *n = c->q->cluster_size / 8;
    if (*n > entries - at)
        *n = entries - at;
    return file_read_at(c->q->file, table + at * 8, c->cluster, *n * 8);
}

/* L1 tables: of the disk, and of each snapshot. Their L2 tables are looked at later. */
static int count_l1(struct qcow2_count *c, u64 offset, u64 entries)
{
    if (!use_table(c, offset, entries * 8, "an L1 table is not inside the file"))
        return 0;
    for (u64 at = 0, n; at < entries; at += n) {
        int status = qcow2_count_words(c, offset, at, &n, entries);
        if (status)
            return status;
        for (u64 i = 0; i < n; i++) {
            u64 entry = qcow2_be64(c->cluster + i * 8), table = entry & QCOW2_OFFSET;
            if (entry & QCOW2_L1_RESERVED)
                qcow2_count_error(c, "an L1 entry has reserved bits set", entry);
            else if (table && use_table(c, table, c->q->cluster_size, "an L2 table is not inside the file"))
                c->tables[table >> c->q->h.cluster_bits]++; /* as often as refs, which saturates; so does this */
        }
    }
    return 0;
}

static void count_entry(struct qcow2_count *c, u64 entry, u32 times)
{
    u64 offset = entry & QCOW2_OFFSET, length = c->q->cluster_size;
    if (entry & QCOW2_COMPRESSED) {
        qcow2_packed_place(c->q, entry, &offset, &length);
        c->result->packed++;
        (void)use(c, offset, length, times, "a compressed cluster is not inside the file");
    } else if (entry & QCOW2_L2_RESERVED || (entry & QCOW2_ZERO && c->q->h.version < 3)) {
        qcow2_count_error(c, "an L2 entry has reserved bits set", entry);
        return;
    } else if (!offset) {
        return;
    } else if (!is_aligned(offset, c->q->cluster_size)) {
        qcow2_count_error(c, "an L2 entry is not aligned", entry);
    } else {
        (void)use(c, offset, length, times, "an L2 entry points outside the file");
    }
    c->result->used++;
}

static int count_l2(struct qcow2_count *c)
{
    u64 entries = c->q->cluster_size / 8;
    for (u64 n = 0; n < c->clusters; n++) {
        u64 got;
        if (!c->tables[n])
            continue;
        int status = qcow2_count_words(c, n << c->q->h.cluster_bits, 0, &got, entries);
        if (status)
            return status;
        for (u64 i = 0; i < entries; i++)
            count_entry(c, qcow2_be64(c->cluster + i * 8), c->tables[n]);
    }
    return 0;
}

static int count_snapshots(struct qcow2_count *c)
{
    const struct qcow2_header *h = &c->q->h;
    u64 at = h->snapshots_offset, l1_all = 0;
    for (u32 i = 0; i < h->snapshots; i++) {
        u8 p[SNAPSHOT];
        int status = file_read_at(c->q->file, at, p, sizeof(p));
        if (status)
            return status;
        u64 l1 = qcow2_be64(p), entries = qcow2_be32(p + 8);
        u32 id = (u32)p[12] << 8 | p[13], name = (u32)p[14] << 8 | p[15];
        l1_all += entries * 8;
        if (l1_all > L1_ALL_MAX || entries * 8 > QCOW2_L1_MAX)
            return -EFBIG;
        status = count_l1(c, l1, entries);
        if (status)
            return status;
        at = align_up(at + SNAPSHOT + qcow2_be32(p + 36) + id + name, 8);
        if (at >> h->cluster_bits >= c->clusters + 1) {
            qcow2_count_error(c, "the table of snapshots is not inside the file", at);
            return 0;
        }
    }
    if (h->snapshots)
        (void)use_table(c, h->snapshots_offset, at - h->snapshots_offset, "the table of snapshots is not in the file");
    return 0;
}

/* The table of one bitmap, and the clusters that it names. */
static int count_bitmap(struct qcow2_count *c, u64 table, u64 entries)
{
    if (entries * 8 > QCOW2_L1_MAX)
        return -EFBIG;
    if (!use_table(c, table, entries * 8, "the table of a bitmap is not inside the file"))
        return 0;
    for (u64 at = 0, n; at < entries; at += n) {
        int status = qcow2_count_words(c, table, at, &n, entries);
        if (status)
            return status;
        for (u64 i = 0; i < n; i++) {
            u64 data = qcow2_be64(c->cluster + i * 8) & QCOW2_OFFSET;
            if (data)
                (void)use_table(c, data, c->q->cluster_size, "a part of a bitmap is not inside the file");
        }
    }
    return 0;
}

static int count_bitmaps(struct qcow2_count *c)
{
    const struct qcow2_header *h = &c->q->h;
    u64 at = h->bitmaps_offset, end, all = 0;
    if (!h->bitmaps)
        return 0;
    if (h->bitmaps > BITMAPS_MAX || __builtin_add_overflow(at, h->bitmaps_size, &end) ||
        !use_table(c, at, h->bitmaps_size, "the directory of bitmaps is not inside the file"))
        return 0;
    for (u32 i = 0; i < h->bitmaps && range_inside(at, BITMAP, end); i++) {
        u8 p[BITMAP];
        int status = file_read_at(c->q->file, at, p, sizeof(p));
        if (status)
            return status;
        all += (u64)qcow2_be32(p + 8) * 8;
        if (all > L1_ALL_MAX)
            return -EFBIG;
        status = count_bitmap(c, qcow2_be64(p), qcow2_be32(p + 8));
        if (status)
            return status;
        at = align_up(at + BITMAP + ((u32)p[18] << 8 | p[19]) + qcow2_be32(p + 20), 8);
    }
    return 0;
}

static int count_blocks(struct qcow2_count *c)
{
    const struct qcow2_header *h = &c->q->h;
    u64 bytes = (u64)h->reftable_clusters << h->cluster_bits;
    c->block_entries = (u32)(bytes / 8);
    c->blocks = calloc(c->block_entries, sizeof(*c->blocks));
    if (!c->blocks)
        return -ENOMEM;
    if (!use_table(c, h->reftable_offset, bytes, "the refcount table is not inside the file"))
        return 0;
    for (u64 at = 0, n; at < c->block_entries; at += n) {
        int status = qcow2_count_words(c, h->reftable_offset, at, &n, c->block_entries);
        if (status)
            return status;
        for (u64 i = 0; i < n; i++) {
            u64 block = qcow2_be64(c->cluster + i * 8);
            if (block && use_table(c, block, c->q->cluster_size, "a refcount block is not inside the file"))
                c->blocks[at + i] = block;
        }
    }
    return 0;
}

int qcow2_count(struct qcow2_count *c)
{
    const struct qcow2_header *h = &c->q->h;
    c->clusters = (file_size_now(c->q->file) + c->q->cluster_size - 1) >> h->cluster_bits;
    if (c->clusters > CLUSTERS_MAX)
        return -EFBIG;
    c->refs = host_table_alloc(c->clusters * sizeof(*c->refs));
    c->tables = host_table_alloc(c->clusters * sizeof(*c->tables));
    c->cluster = malloc(c->q->cluster_size);
    if (!c->refs || !c->tables || !c->cluster)
        return -ENOMEM;
    (void)use(c, 0, c->q->cluster_size, 1, "the header is not inside the file");
    int status = count_l1(c, h->l1_offset, h->l1_size);
    if (!status)
        status = count_snapshots(c);
    if (!status)
        status = count_l2(c);
    if (!status)
        status = count_bitmaps(c);
    return status ? status : count_blocks(c);
}

void qcow2_count_free(struct qcow2_count *c)
{
    host_table_free(c->refs, c->clusters * sizeof(*c->refs));
    host_table_free(c->tables, c->clusters * sizeof(*c->tables));
    free(c->cluster);
    free(c->blocks);
}
