/*
 * Another size for a qcow2 image (qcow2.h). Each step leaves a file that is right: the new L1 table is durable before
 * the header has it, and the header says the new size last.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "base/bits.h"

static int write_l1(struct qcow2 *q, u64 offset, u64 bytes)
{
    u8 *raw = calloc(1, bytes);
    if (!raw)
        return -ENOMEM;
    for (u32 i = 0; i < q->l1_entries; i++)
        qcow2_put_be64(raw + (size_t)i * 8, q->l1[i]);
    int status = file_write_at(q->file, offset, raw, bytes);
    free(raw);
    return status ? status : qcow2_commit(q); /* the refcounts of its clusters, and the data */
}

static int switch_l1(struct qcow2 *q, u64 offset, u32 entries)
{
    u8 header[12];
    qcow2_put_be32(header, entries);
    qcow2_put_be64(header + 4, offset);
    int status = file_write_at(q->file, QCOW2_AT_L1_SIZE, header, sizeof(header));
    return status ? status : file_sync(q->file);
}

/* Lock held. */
static int grow_l1(struct qcow2 *q, u32 entries)
{
    u64 bytes = align_up((u64)entries * 8, q->cluster_size), first;
    u64 *table = calloc(entries, sizeof(*table));
    u8 *dirty = calloc(entries / 64 + 1, 1);
    int status = table && dirty ? 0 : -ENOMEM;
    if (!status)
        status = qcow2_alloc_row(q, bytes >> q->h.cluster_bits, &first);
    if (!status)
        status = write_l1(q, first << q->h.cluster_bits, bytes);
    if (!status)
        status = switch_l1(q, first << q->h.cluster_bits, entries);
    if (status) {
        free(table);
        free(dirty);
        return status;
    }
    u64 old = q->h.l1_offset >> q->h.cluster_bits;
    u64 old_clusters = ((u64)q->h.l1_size * 8 + q->cluster_size - 1) >> q->h.cluster_bits;
    memcpy(table, q->l1, q->l1_entries * sizeof(*table));
    free(q->l1);
    free(q->l1_dirty);
    q->l1 = table;
    q->l1_dirty = dirty;
    q->l1_entries = q->h.l1_size = entries;
    q->h.l1_offset = first << q->h.cluster_bits;
    for (u64 i = 0; i < bytes >> q->h.cluster_bits; i++)
        (void)cluster_set_add(&q->meta, first + i, &status);
    for (u64 i = 0; i < old_clusters; i++)
        cluster_set_remove(&q->meta, old + i);
    qcow2_free(q, old, old_clusters ? old_clusters : 1);
    return status;
}

/* What lies behind the old end: the rest of the last cluster, which may have anything, and what an image below has. */
static int clear_behind(struct qcow2 *q, u64 old_size)
{
    u64 end = align_up(old_size, q->cluster_size);
    if (q->im.backing && q->im.backing->size > end)
        end = q->im.backing->size;
    if (end > q->im.size)
        end = q->im.size;
    return end > old_size ? qcow2_zero(&q->im, old_size, end - old_size, true) : 0;
}

static int write_size(struct qcow2 *q, u64 size)
{
    u8 raw[8];
    int status = qcow2_flush(&q->im);
    qcow2_put_be64(raw, size);
    if (!status)
        status = file_write_at(q->file, QCOW2_AT_SIZE, raw, sizeof(raw));
    if (!status)
        status = file_sync(q->file);
    if (!status)
        q->h.size = size;
    return status;
}

int qcow2_resize(struct image *im, u64 size, struct error *err)
{
    struct qcow2 *q = qcow2_of(im);
    u64 old = im->size, covered = BIT64(q->h.cluster_bits + q->l2_bits);
    u64 entries = size / covered + (size % covered != 0);
    int status = 0;
    if (q->h.snapshots)
        return error_set(err, -ENOTSUP, "%s: has snapshots inside, which keep its size; delete them with qemu-img",
                         im->path);
    if (entries > QCOW2_L1_MAX / 8)
        return error_set(err, -EFBIG, "%s: too large for its clusters of %u bytes; convert it to larger ones", im->path,
                         q->cluster_size);
    if (entries > q->l1_entries) {
        pthread_mutex_lock(&q->lock);
        status = grow_l1(q, (u32)entries);
        pthread_mutex_unlock(&q->lock);
    }
    if (!status && size > old) {
        im->size = size;
        status = clear_behind(q, old);
    } else if (!status && size < old) {
        status = qcow2_discard(im, size, old - size);
        im->size = size;
    }
    if (!status)
        status = write_size(q, size);
    return status ? error_set(err, status, "%s: cannot be changed: %s", im->path, strerror(-status)) : 0;
}
