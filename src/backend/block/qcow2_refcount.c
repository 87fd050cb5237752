/*
 * How often each cluster of the file is used (qcow2.h): refcount table, refcount blocks, the search for free clusters.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/qcow2.h"
#include "base/bits.h"

u64 qcow2_refcount_read(const u8 *block, u64 index, u32 order)
{
    if (order < 3)
        return (block[index >> (3 - order)] >> ((index << order) & 7)) & (BIT(BIT(order)) - 1);
    u64 v = 0;
    for (u32 bytes = BIT(order - 3), i = 0; i < bytes; i++)
        v = v << 8 | block[index * bytes + i];
    return v;
}

void qcow2_refcount_store(u8 *block, u64 index, u32 order, u64 value)
{
    if (order < 3) {
        unsigned shift = (index << order) & 7, mask = (BIT(BIT(order)) - 1) << shift;
        u8 *p = &block[index >> (3 - order)];
        *p = (u8)((*p & ~mask) | ((unsigned)value << shift & mask));
        return;
    }
    for (u32 bytes = BIT(order - 3), i = bytes; i-- > 0; value >>= 8)
        block[index * bytes + i] = (u8)value;
}

/* Where the refcount of a cluster stands: the slice of its block, and the index there. */
struct place {
    u64 slice;
    u64 index;
};

static struct place place_of(const struct qcow2 *q, u64 block, u64 cluster)
{
    u64 index = cluster & (BIT64(q->block_bits) - 1);
    u64 slice = cache_slice(q->refcounts), per_slice = slice * 8 >> q->h.refcount_order;
    return (struct place){block + index / per_slice * slice, index & (per_slice - 1)};
}

/* The block of a cluster, 0 if there is none yet. */
static u64 block_of(const struct qcow2 *q, u64 cluster)
{
    u64 n = cluster >> q->block_bits;
    return n < q->reftable_entries ? q->reftable[n] : 0;
}

int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *value)
{
    u64 block = block_of(q, cluster);
    u8 *slice;
    *value = 0;
    if (!block)
        return 0;
    struct place at = place_of(q, block, cluster);
    int status = cache_get(q->refcounts, at.slice, &slice);
    if (!status)
        *value = qcow2_refcount_read(slice, at.index, q->h.refcount_order);
    return status;
}

int qcow2_refcount_add(struct qcow2 *q, u64 cluster, int delta)
{
    u64 block = block_of(q, cluster), max = BIT64(BIT(q->h.refcount_order) - 1) * 2 - 1, value;
    u8 *slice;
    if (!block)
        return qcow2_damage(q, "a cluster in use has no refcount", cluster);
    struct place at = place_of(q, block, cluster);
    int status = cache_get(q->refcounts, at.slice, &slice);
    if (status)
        return status;
    value = qcow2_refcount_read(slice, at.index, q->h.refcount_order);
    if (delta < 0 ? value < (u64)-delta : max - value < (u64)delta)
        return delta < 0 ? qcow2_damage(q, "a refcount is too low", cluster) : -ERANGE;
    qcow2_refcount_store(slice, at.index, q->h.refcount_order, value + (u64)(i64)delta);
    cache_touch(q->refcounts, at.slice);
    return 0;
}

/* A block in the cluster whose refcount it has itself, or any other that is free; counts itself if so. */
static int make_block(struct qcow2 *q, u64 at_cluster, u64 n)
{
    u64 offset = at_cluster << q->h.cluster_bits;
    int status = 0;
    for (u64 at = 0; at < q->cluster_size && !status; at += cache_slice(q->refcounts)) {
        u8 *slice;
        status = cache_new(q->refcounts, offset + at, &slice);
    }
    if (!status)
        (void)cluster_set_add(&q->meta, at_cluster, &status);
    if (status) {
        cache_forget(q->refcounts, offset, q->cluster_size);
        return status;
    }
    q->reftable[n] = offset;
    q->reftable_dirty[n / 64] = 1;
    q->reftable_any_dirty = true;
    if (q->end <= at_cluster)
        q->end = at_cluster + 1;
    return qcow2_refcount_add(q, at_cluster, 1);
}

/*
 * The table is too short for the image's end. The new one, and the blocks for itself, go to the clusters that the first
 * missing block will count: nothing counts them as used, so they are free. They are written and made durable before the
 * header points to them, and the old table counts as free after that.
 */
struct growth {
    u64 *table;
    u8 *dirty;
    u32 clusters, entries;
    u64 first;  /* cluster */
    u64 blocks; /* for the new clusters */
};

static int growth_plan(struct qcow2 *q, struct growth *g)
{
    u64 per_block = BIT64(q->block_bits), per_cluster = q->cluster_size / 8, old = q->reftable_entries;
    u64 want = old + old / 2 + 1;
    g->first = old << q->block_bits;
    for (g->blocks = 1;; g->blocks++) {
        u64 entries = want > old + g->blocks ? want : old + g->blocks;
        u64 clusters = (entries + per_cluster - 1) / per_cluster;
        if (clusters << q->h.cluster_bits > QCOW2_REFTABLE_MAX)
            return -EFBIG;
        g->clusters = (u32)clusters;
        if (g->blocks * per_block > g->blocks + clusters)
            break;
    }
    g->entries = (u32)(g->clusters * per_cluster);
    g->table = calloc(g->entries, sizeof(*g->table));
    g->dirty = calloc(g->entries / 64 + 1, 1);
    if (!g->table || !g->dirty)
        return -ENOMEM;
    memcpy(g->table, q->reftable, old * sizeof(*g->table));
    return 0;
}

static int write_new_table(struct qcow2 *q, const struct growth *g)
{
    u64 bytes = (u64)g->clusters << q->h.cluster_bits;
    u8 *raw = malloc(bytes);
    if (!raw)
        return -ENOMEM;
    for (u64 i = 0; i < bytes / 8; i++)
        qcow2_put_be64(raw + i * 8, g->table[i]);
    int status = file_write_at(q->file, (g->first + g->blocks) << q->h.cluster_bits, raw, bytes);
    free(raw);
    if (!status)
        status = cache_write(q->refcounts);
    return status ? status : file_sync(q->file);
}

/* The blocks and the table, all counted; the header does not know of them yet. */
static int growth_make(struct qcow2 *q, const struct growth *g, u64 old_entries)
{
    int status = 0;
    for (u64 i = 0; i < g->blocks && !status; i++)
        status = make_block(q, g->first + i, old_entries + i);
    for (u64 i = 0; i < g->clusters && !status; i++) {
        (void)cluster_set_add(&q->meta, g->first + g->blocks + i, &status);
        if (!status)
            status = qcow2_refcount_add(q, g->first + g->blocks + i, 1);
    }
    return status ? status : write_new_table(q, g);
}

static void growth_undo(struct qcow2 *q, const struct growth *g)
{
    for (u64 i = 0; i < g->blocks + g->clusters; i++) {
        cluster_set_remove(&q->meta, g->first + i);
        cache_forget(q->refcounts, (g->first + i) << q->h.cluster_bits, q->cluster_size);
    }
}

static int growth_switch(struct qcow2 *q, const struct growth *g)
{
    u8 header[12];
    u64 offset = (g->first + g->blocks) << q->h.cluster_bits, old = q->h.reftable_offset >> q->h.cluster_bits;
    u32 old_clusters = q->h.reftable_clusters;
    qcow2_put_be64(header, offset);
    qcow2_put_be32(header + 8, g->clusters);
    int status = file_write_at(q->file, QCOW2_AT_REFTABLE_OFFSET, header, sizeof(header));
    if (!status)
        status = file_sync(q->file);
    if (status) /* which of the two tables the file has now, nobody knows */
        return qcow2_give_up(q, "the refcount table could not be replaced", offset);
    q->h.reftable_offset = offset;
    q->h.reftable_clusters = g->clusters;
    if (q->end < g->first + g->blocks + g->clusters)
        q->end = g->first + g->blocks + g->clusters;
    q->reftable_any_dirty = false;
    memset(q->reftable_dirty, 0, g->entries / 64 + 1);
    for (u32 i = 0; i < old_clusters; i++)
        cluster_set_remove(&q->meta, old + i);
    qcow2_free(q, old, old_clusters);
    return 0;
}

static int grow_table(struct qcow2 *q)
{
    struct growth g = {0};
    u64 *old_table = q->reftable;
    u8 *old_dirty = q->reftable_dirty;
    u32 old_entries = q->reftable_entries;
    int status = growth_plan(q, &g);
    if (!status) {
        q->reftable = g.table;
        q->reftable_dirty = g.dirty;
        q->reftable_entries = g.entries;
        status = growth_make(q, &g, old_entries);
        if (status) { /* no room on the host, say */
            growth_undo(q, &g);
            q->reftable = old_table;
            q->reftable_dirty = old_dirty;
            q->reftable_entries = old_entries;
        }
    }
    if (status) {
        free(g.table);
        free(g.dirty);
        return status;
    }
    free(old_table);
    free(old_dirty);
    return growth_switch(q, &g);
}

/* The next free cluster from `from` on. A block that is missing is made there, and the search goes on behind it. */
static int find_free(struct qcow2 *q, u64 from, u64 *found)
{
    for (u64 at = from;; at++) {
        u64 value, n = at >> q->block_bits;
        if (at > (u64)INT64_MAX >> q->h.cluster_bits || at << q->h.cluster_bits > QCOW2_OFFSET)
            return -EFBIG;
        int status = 0;
        if (n >= q->reftable_entries)
            status = grow_table(q);
        else if (!q->reftable[n])
            status = make_block(q, at, n);
        if (!status)
            status = qcow2_refcount_get(q, at, &value);
        if (status)
            return status;
        if (!value && cluster_set_has(&q->meta, at))
            return qcow2_give_up(q, "a table counts as free", at << q->h.cluster_bits);
        if (!value) {
            *found = at;
            return 0;
        }
    }
}

int qcow2_alloc(struct qcow2 *q, u64 want, u64 *first, u64 *got, bool *fresh)
{
    u64 value;
    if (q->corrupt)
        return -EIO;
    int status = find_free(q, q->free_hint, first);
    if (!status)
        status = qcow2_refcount_add(q, *first, 1);
    if (status)
        return status;
    for (*got = 1; *got < want; (*got)++) {
        u64 next = *first + *got;
        if (!block_of(q, next) || qcow2_refcount_get(q, next, &value) || value || cluster_set_has(&q->meta, next) ||
            qcow2_refcount_add(q, next, 1))
            break;
    }
    *fresh = *first >= q->end;
    q->free_hint = *first + *got;
    if (q->end < *first + *got)
        q->end = *first + *got;
    return 0;
}

/* Makes the blocks that count the row first. Each lies at the end itself, so that the row begins behind it. */
int qcow2_alloc_row(struct qcow2 *q, u64 count, u64 *first)
{
    int status = q->corrupt ? -EIO : 0;
    for (u64 i = 0; i < count && !status;) {
        u64 n = (q->end + i) >> q->block_bits;
        bool there = n < q->reftable_entries && q->reftable[n];
        if (!there)
            status = n < q->reftable_entries ? make_block(q, q->end, n) : grow_table(q);
        i = there ? i + 1 : 0;
    }
    *first = q->end;
    for (u64 i = 0; i < count && !status; i++)
        status = qcow2_refcount_add(q, *first + i, 1);
    if (!status)
        q->end = *first + count;
    return status;
}
