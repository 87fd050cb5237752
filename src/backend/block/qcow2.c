/*
 * Opening and closing qcow2 images, and what happens when one turns out to be damaged (qcow2.h).
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/block.h"
#include "backend/block/qcow2.h"
#include "base/bits.h"

/* What is kept of the tables, at most. Memory is taken as it is needed. */
#define SLICE           KiB(16)
#define L2_MEMORY       MiB(32)
#define REFCOUNT_MEMORY MiB(8)

int qcow2_damage(struct qcow2 *q, const char *what, u64 where)
{
    log_limited(q->im.log, &q->damage, LOG_ERROR, "%s: is damaged: %s (0x%llx); see `ring3 disk check`", q->im.path,
                what, (unsigned long long)where);
    return -EIO;
}

int qcow2_give_up(struct qcow2 *q, const char *what, u64 where)
{
    if (q->corrupt)
        return -EIO;
    q->corrupt = true;
    log_msg(q->im.log, LOG_ERROR, "%s: %s (0x%llx): nothing more is written to it; see `ring3 disk check`", q->im.path,
            what, (unsigned long long)where);
    /* If this fails too, there is nothing more that could be done. */
    int status = qcow2_header_features(q->file, &q->h, q->h.incompatible | QCOW2_INCOMPAT_CORRUPT, q->h.autoclear);
    (void)status;
    return -EIO;
}

/* Opening */

/* Tables that lie on one another, or on the header, would destroy each other. */
static int claim(struct qcow2 *q, u64 offset, u64 length, const char *what, struct error *err)
{
    u64 last = (offset + length - 1) >> q->h.cluster_bits;
    for (u64 n = offset >> q->h.cluster_bits; length && n <= last; n++) {
        int status = 0;
        if (!cluster_set_add(&q->meta, n, &status))
            return error_set(err, -EINVAL,
                             "%s: is damaged: %s lies on another table (cluster %llu); see `ring3 disk check`",
                             q->im.path, what, (unsigned long long)n);
        if (status)
            return error_set(err, status, "%s: out of memory", q->im.path);
    }
    return 0;
}

/* A table of offsets, into host byte order, and a place for the flags of its parts. */
static int read_table(struct qcow2 *q, u64 offset, u32 entries, u64 **table, u8 **dirty, struct error *err)
{
    u8 *raw = malloc((size_t)entries * 8 + 1);
    *table = calloc((size_t)entries + 1, sizeof(**table));
    *dirty = calloc((size_t)entries / 64 + 1, 1);
    int status = raw && *table && *dirty ? 0 : -ENOMEM;
    if (!status)
        status = file_read_at(q->file, offset, raw, (size_t)entries * 8);
    for (u32 i = 0; i < entries && !status; i++)
        (*table)[i] = qcow2_be64(raw + (size_t)i * 8);
    free(raw);
    return status ? error_set(err, status, "%s: its tables cannot be read: %s", q->im.path, strerror(-status)) : 0;
}

static int claim_all(struct qcow2 *q, const u64 *table, u32 entries, u64 reserved, const char *what, struct error *err)
{
    for (u32 i = 0; i < entries; i++) {
        u64 at = table[i] & QCOW2_OFFSET;
        if (table[i] & reserved || !is_aligned(at, q->cluster_size) || at >> q->h.cluster_bits >= q->end)
            return error_set(err, -EINVAL,
                             "%s: is damaged or cut off: %s (entry %u: 0x%llx) is not inside the file; see `ring3 disk "
                             "check`",
                             q->im.path, what, i, (unsigned long long)table[i]);
        int status = at ? claim(q, at, q->cluster_size, what, err) : 0;
        if (status)
            return status;
    }
    return 0;
}

static int load_tables(struct qcow2 *q, struct error *err)
{
    const struct qcow2_header *h = &q->h;
    q->l1_entries = h->l1_size;
    q->reftable_entries = (u32)((u64)h->reftable_clusters << h->cluster_bits >> 3);
    u64 reftable_bytes = (u64)q->reftable_entries * 8;
    int status = claim(q, 0, 1, "the header", err);
    if (!status)
        status = claim(q, h->l1_offset, (u64)h->l1_size * 8, "the L1 table", err);
    if (!status)
        status = claim(q, h->reftable_offset, reftable_bytes, "the refcount table", err);
    if (!status)
        status = claim(q, h->snapshots_offset, (u64)h->snapshots * 40, "the table of snapshots", err);
    if (!status)
        status = read_table(q, h->l1_offset, q->l1_entries, &q->l1, &q->l1_dirty, err);
    if (!status)
        status = read_table(q, h->reftable_offset, q->reftable_entries, &q->reftable, &q->reftable_dirty, err);
    if (!status)
        status = claim_all(q, q->l1, q->l1_entries, QCOW2_L1_RESERVED, "an L2 table", err);
    if (!status)
        status = claim_all(q, q->reftable, q->reftable_entries, ~QCOW2_OFFSET, "a refcount block", err);
    if (status)
        return status;
    u32 slice = q->cluster_size < SLICE ? q->cluster_size : (u32)SLICE;
    q->l2 = cache_create(q->file, slice, L2_MEMORY / slice);
    q->refcounts = cache_create(q->file, slice, REFCOUNT_MEMORY / slice);
    return q->l2 && q->refcounts ? 0 : error_set(err, -ENOMEM, "%s: out of memory", q->im.path);
}

static int check_backing(const struct qcow2 *q, const struct image_config *cfg, struct error *err)
{
    if (q->h.backing[0] && !cfg->backings && !cfg->metadata)
        return error_set(err, -EINVAL,
                         "%s: is incomplete without its backing file, %.200s, which is opened only if it is named too: "
                         "give backing=PATH (`ring3 disk`: --backing PATH)",
                         cfg->path, q->h.backing);
    if (!q->h.backing[0] && cfg->backings)
        return error_set(err, -EINVAL, "%s: has no backing file; leave out backing=%s", cfg->path, cfg->backing[0]);
    return 0;
}

/* Refcounts that are behind their tables, because somebody (not ring3) put off writing them and died. */
static int make_clean(struct qcow2 *q, struct error *err)
{
    struct qcow2_result result;
    int status = qcow2_check(&q->im, QCOW2_REPAIR_ALL, NULL, NULL, &result, err);
    if (!status && result.errors)
        return error_set(err, -EINVAL,
                         "%s: was not closed by who wrote it last, and cannot be repaired; readonly=on still opens it",
                         q->im.path);
    if (!status)
        log_msg(q->im.log, LOG_WARN, "%s: was not closed by who wrote it last: its refcounts were made anew",
                q->im.path);
    return status;
}

/* With snapshots inside, clusters are shared: one that wrongly counts as ours alone would be written to in both. */
static int check_shared(struct qcow2 *q, struct error *err)
{
    struct qcow2_result result;
    int status = qcow2_check(&q->im, QCOW2_REPAIR_NONE, NULL, NULL, &result, err);
    if (!status && result.errors)
        return error_set(
            err, -EINVAL,
            "%s: has snapshots and its refcounts are wrong; repair it with `ring3 disk check --repair all`, "
            "or give readonly=on",
            q->im.path);
    return status;
}

/* What has to be right, and to be said in the file, before the first write. */
static int prepare_writing(struct qcow2 *q, struct error *err)
{
    int status = 0;
    if (q->h.incompatible & QCOW2_INCOMPAT_CORRUPT)
        return error_set(
            err, -EINVAL,
            "%s: is marked as damaged; repair it with `ring3 disk check --repair all`, or give readonly=on",
            q->im.path);
    if (q->h.incompatible & QCOW2_INCOMPAT_DIRTY)
        status = make_clean(q, err);
    if (!status && q->h.snapshots)
        status = check_shared(q, err);
    if (status || !q->h.autoclear)
        return status;
    /* What it says is right about bitmaps and the like will not be so from now on. */
    status = qcow2_header_features(q->file, &q->h, q->h.incompatible, 0);
    return status ? error_set(err, status, "%s: its header cannot be written: %s", q->im.path, strerror(-status)) : 0;
}

static int set_up(struct qcow2 *q, const struct image_config *cfg, struct error *err)
{
    int status = qcow2_header_read(q->file, cfg->path, &q->h, err);
    if (!status)
        status = check_backing(q, cfg, err);
    if (status)
        return status;
    q->cluster_size = BIT(q->h.cluster_bits);
    q->l2_bits = q->h.cluster_bits - 3;
    q->block_bits = q->h.cluster_bits + 3 - q->h.refcount_order;
    q->im.size = align_up(q->h.size, BLOCK_SECTOR);
    q->im.cluster = q->cluster_size;
    if (!cfg->read_only && !cfg->metadata)
        status = prepare_writing(q, err);
    q->end = (file_size_now(q->file) + q->cluster_size - 1) >> q->h.cluster_bits;
    return status || cfg->metadata ? status : load_tables(q, err);
}

static void destroy(struct qcow2 *q)
{
    cache_destroy(q->l2);
    cache_destroy(q->refcounts);
    cluster_set_free(&q->meta);
    free(q->l1);
    free(q->l1_dirty);
    free(q->reftable);
    free(q->reftable_dirty);
    free(q->limbo);
    for (size_t i = 0; i < QCOW2_UNPACKED; i++)
        free(q->unpacked[i].data);
    file_close(q->file);
    image_fini(&q->im);
    (void)pthread_mutex_destroy(&q->lock);
    (void)pthread_mutex_destroy(&q->pin_lock);
    (void)pthread_mutex_destroy(&q->unpack_lock);
    (void)pthread_cond_destroy(&q->not_busy);
    free(q);
}

int qcow2_open(const struct image_config *cfg, struct file *file, struct image **out, struct error *err)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q || image_init(&q->im, &qcow2_ops, cfg)) {
        free(q);
        file_close(file);
        return error_set(err, -ENOMEM, "%s: out of memory", cfg->path);
    }
    q->file = file;
    q->epoch = 1;
    list_init(&q->busy);
    (void)pthread_mutex_init(&q->lock, NULL); /* these cannot fail without attributes */
    (void)pthread_mutex_init(&q->pin_lock, NULL);
    (void)pthread_mutex_init(&q->unpack_lock, NULL);
    (void)pthread_cond_init(&q->not_busy, NULL);
    int status = set_up(q, cfg, err);
    if (status)
        destroy(q);
    else
        *out = &q->im;
    return status;
}

/* Twice: what the first flush sets free is counted by the second, so that an orderly end leaves no leaks. */
int qcow2_close(struct image *im)
{
    struct qcow2 *q = qcow2_of(im);
    int status = 0;
    for (int i = 0; i < 2 && !status && q->l2 && !im->read_only; i++)
        status = qcow2_flush(im);
    destroy(q);
    return status;
}
