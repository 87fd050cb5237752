/*
 * The two levels of tables that lead from the guest's disk to the file (qcow2.h).
 *
 * L2 tables are looked at in slices, which are what the cache keeps; a walk never crosses the end of one.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/qcow2.h"
#include "base/bits.h"

/* Where the entry for a guest offset stands. */
struct spot {
    u32 l1_index;
    u64 slice; /* offset in the file, once there is a table */
    u32 index; /* in the slice */
};

static struct spot spot_of(const struct qcow2 *q, u64 offset)
{
    u64 cluster = offset >> q->h.cluster_bits;
    u64 byte = (cluster & (BIT64(q->l2_bits) - 1)) * 8;
    u32 slice = cache_slice(q->l2);
    u32 l1_index = (u32)(cluster >> q->l2_bits);
    u64 table = l1_index < q->l1_entries ? q->l1[l1_index] & QCOW2_OFFSET : 0;
    return (struct spot){l1_index, table + align_down(byte, slice), (u32)(byte & (slice - 1)) / 8};
}

/* Entries from this one to the end of its slice. */
static u64 left_in_slice(const struct qcow2 *q, u64 offset)
{
    u64 entries = cache_slice(q->l2) / 8;
    return entries - ((offset >> q->h.cluster_bits) & (entries - 1));
}

/* The table of an L1 entry was checked when the image was opened; a damaged one only gets here when it is looked at
 * for checking. */
static int table_good(struct qcow2 *q, u64 l1_entry)
{
    u64 table = l1_entry & QCOW2_OFFSET;
    if (l1_entry & QCOW2_L1_RESERVED || !is_aligned(table, q->cluster_size) || table >> q->h.cluster_bits >= q->end)
        return qcow2_damage(q, "an entry of the L1 table points nowhere", l1_entry);
    return 0;
}

/* The slice that has the entry; NULL if there is no table. */
static int load(struct qcow2 *q, u64 offset, bool cached, struct spot *at, u8 **slice)
{
    *at = spot_of(q, offset);
    *slice = NULL;
    if (at->l1_index >= q->l1_entries)
        return -EINVAL;
    if (!(q->l1[at->l1_index] & QCOW2_OFFSET))
        return 0;
    int status = table_good(q, q->l1[at->l1_index]);
    if (status)
        return status;
    if (!cached)
        return cache_get(q->l2, at->slice, slice);
    *slice = cache_peek(q->l2, at->slice);
    return *slice ? 0 : -EAGAIN;
}

void qcow2_packed_place(const struct qcow2 *q, u64 entry, u64 *offset, u64 *length)
{
    unsigned x = 62 - (q->h.cluster_bits - 8);
    u64 sectors = bits(entry, 61, x) + 1;
    *offset = entry & (BIT64(x) - 1);
    *length = sectors * 512 - (*offset & 511);
}

static int judge_packed(struct qcow2 *q, u64 entry)
{
    u64 offset, length;
    qcow2_packed_place(q, entry, &offset, &length);
    u64 last;
    if (__builtin_add_overflow(offset, length - 1, &last) || !offset || last >> q->h.cluster_bits >= q->end)
        return qcow2_damage(q, "a compressed cluster lies outside the file", entry);
    for (u64 n = offset >> q->h.cluster_bits; n <= last >> q->h.cluster_bits; n++)
        if (cluster_set_has(&q->meta, n))
            return qcow2_damage(q, "a compressed cluster lies in a table", entry);
    return 0;
}

/* What one entry says, if it may be believed. */
static int judge(struct qcow2 *q, u64 entry, struct qcow2_extent *x)
{
    *x = (struct qcow2_extent){.entry = entry};
    if (entry & QCOW2_COMPRESSED) {
        x->kind = QCOW2_PACKED;
        return judge_packed(q, entry);
    }
    bool zero = entry & QCOW2_ZERO;
    if (entry & QCOW2_L2_RESERVED || (zero && q->h.version < 3))
        return qcow2_damage(q, "an entry of an L2 table has reserved bits set", entry);
    x->host = entry & QCOW2_OFFSET;
    x->kind = zero ? QCOW2_ZEROED : x->host ? QCOW2_PLAIN : QCOW2_ABSENT;
    if (!x->host)
        return 0;
    u64 cluster = x->host >> q->h.cluster_bits;
    if (!is_aligned(x->host, q->cluster_size) || cluster >= q->end)
        return qcow2_damage(q, "an entry of an L2 table points outside the file", entry);
    if (cluster_set_has(&q->meta, cluster))
        return qcow2_damage(q, "an entry of an L2 table points to a table", entry);
    x->in_place = entry & QCOW2_COPIED && !q->corrupt;
    return 0;
}

/* Does the next cluster go on where this extent ends? */
static bool continues(const struct qcow2_extent *x, const struct qcow2_extent *next, u64 distance)
{
    if (x->kind != next->kind || x->in_place != next->in_place || x->kind == QCOW2_PACKED)
        return false;
    if (x->kind == QCOW2_ZEROED)
        return !x->host == !next->host;
    return x->kind == QCOW2_ABSENT || next->host == x->host + distance;
}

/* No table: absent up to the end of what the table would have. */
static void absent(const struct qcow2 *q, u64 offset, u64 length, struct qcow2_extent *x)
{
    u64 covered = BIT64(q->l2_bits + q->h.cluster_bits);
    u64 left = covered - (offset & (covered - 1));
    *x = (struct qcow2_extent){.kind = QCOW2_ABSENT, .length = left < length ? left : length};
}

int qcow2_look_up(struct qcow2 *q, u64 offset, u64 length, bool cached, struct qcow2_extent *x)
{
    struct spot at;
    u8 *slice;
    int status = load(q, offset, cached, &at, &slice);
    if (status)
        return status;
    if (!slice) {
        absent(q, offset, length, x);
        return 0;
    }
    status = judge(q, qcow2_be64(slice + at.index * 8), x);
    if (status)
        return status;
    u64 within = offset & (q->cluster_size - 1), room = left_in_slice(q, offset);
    u64 reach = q->cluster_size; /* from the start of the first cluster */
    for (u64 n = 1; n < room && reach - within < length; n++, reach += q->cluster_size) {
        struct qcow2_extent next;
        u64 entry = qcow2_be64(slice + (at.index + n) * 8);
        if (judge(q, entry, &next) || !continues(x, &next, reach))
            break;
    }
    if (x->kind == QCOW2_PLAIN)
        x->host += within;
    x->length = reach - within < length ? reach - within : length;
    return 0;
}

void qcow2_l1_set(struct qcow2 *q, u32 index, u64 entry)
{
    q->l1[index] = entry;
    q->l1_dirty[index / 64] = 1;
    q->l1_any_dirty = true;
}

/* One slice of a new table: empty, or a copy. The old one may leave the cache as the new one comes. */
static int fill_slice(struct qcow2 *q, u64 at, u64 old, u8 *copy)
{
    u32 size = cache_slice(q->l2);
    u8 *from, *to;
    int status = old ? cache_get(q->l2, old, &from) : 0;
    if (!status && old)
        memcpy(copy, from, size);
    if (!status)
        status = cache_new(q->l2, at, &to);
    if (!status && old)
        memcpy(to, copy, size);
    return status;
}

static int fill_table(struct qcow2 *q, u64 table, u64 old)
{
    u32 size = cache_slice(q->l2);
    u8 *copy = malloc(size);
    int status = copy ? 0 : -ENOMEM;
    for (u64 at = 0; at < q->cluster_size && !status; at += size)
        status = fill_slice(q, table + at, old ? old + at : 0, copy);
    free(copy);
    return status;
}

int qcow2_own_table(struct qcow2 *q, u64 offset)
{
    struct spot at = spot_of(q, offset);
    u64 entry = q->l1[at.l1_index], old = entry & QCOW2_OFFSET, first, got;
    bool fresh;
    if (old && entry & QCOW2_COPIED)
        return table_good(q, entry);
    int status = old ? table_good(q, entry) : 0;
    if (!status)
        status = qcow2_alloc(q, 1, &first, &got, &fresh);
    if (status)
        return status;
    status = fill_table(q, first << q->h.cluster_bits, old);
    if (!status)
        (void)cluster_set_add(&q->meta, first, &status);
    if (status) {
        cache_forget(q->l2, first << q->h.cluster_bits, q->cluster_size);
        qcow2_free(q, first, 1);
        return status;
    }
    qcow2_l1_set(q, at.l1_index, first << q->h.cluster_bits | QCOW2_COPIED);
    if (old) {
        cluster_set_remove(&q->meta, old >> q->h.cluster_bits);
        cache_forget(q->l2, old, q->cluster_size);
        qcow2_free(q, old >> q->h.cluster_bits, 1);
    }
    return 0;
}

int qcow2_get_entry(struct qcow2 *q, u64 offset, u64 *entry)
{
    struct spot at;
    struct qcow2_extent x;
    u8 *slice;
    int status = load(q, offset, false, &at, &slice);
    *entry = 0;
    if (status || !slice)
        return status;
    *entry = qcow2_be64(slice + at.index * 8);
    return judge(q, *entry, &x);
}

int qcow2_set_entry(struct qcow2 *q, u64 offset, u64 entry)
{
    struct spot at;
    u8 *slice;
    int status = load(q, offset, false, &at, &slice);
    if (status || !slice)
        return status ? status : -EIO;
    qcow2_put_be64(slice + at.index * 8, entry);
    cache_touch(q->l2, at.slice);
    return 0;
}

void qcow2_free_entry(struct qcow2 *q, u64 entry)
{
    u64 offset = entry & QCOW2_OFFSET, length = 1;
    if (entry & QCOW2_COMPRESSED)
        qcow2_packed_place(q, entry, &offset, &length);
    u64 first = offset >> q->h.cluster_bits;
    if (offset)
        qcow2_free(q, first, ((offset + length - 1) >> q->h.cluster_bits) - first + 1);
}
