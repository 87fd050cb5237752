/*
 * From memory to the file, in the order that qcow2.h promises; and what may be reused when.
 *
 * A freed cluster is in limbo until a commit has made durable that no table points to it, and until nobody reads or
 * writes it who found it in a table before. Epochs tell the latter: a pin is counted in the epoch in which it was
 * taken, and an epoch ends when no pin of the one before is left. What was freed in epoch e is nobody's any more when
 * all living pins are younger than e.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/qcow2.h"
#include "base/bits.h"

#define LIMBO_MANY 8192 /* clusters that wait: time for a commit */
#define TABLE_UNIT 512  /* bytes of a table that are written at once */

u32 qcow2_pin(struct qcow2 *q)
{
    pthread_mutex_lock(&q->pin_lock);
    u32 pin = q->epoch & 1;
    q->pins[pin]++;
    pthread_mutex_unlock(&q->pin_lock);
    return pin;
}

void qcow2_unpin(struct image *im, u32 pin)
{
    struct qcow2 *q = qcow2_of(im);
    pthread_mutex_lock(&q->pin_lock);
    q->pins[pin]--;
    pthread_mutex_unlock(&q->pin_lock);
}

static u64 epoch_now(struct qcow2 *q)
{
    pthread_mutex_lock(&q->pin_lock);
    u64 now = q->epoch;
    pthread_mutex_unlock(&q->pin_lock);
    return now;
}

/* Ends the epoch if that is possible; the oldest one that may have pins. */
static u64 epoch_oldest(struct qcow2 *q)
{
    pthread_mutex_lock(&q->pin_lock);
    if (!q->pins[(q->epoch - 1) & 1])
        q->epoch++;
    u64 oldest = q->pins[(q->epoch - 1) & 1] ? q->epoch - 1 : q->epoch;
    pthread_mutex_unlock(&q->pin_lock);
    return oldest;
}

/* Out of memory the clusters are leaked: they count as used for good, until somebody repairs the image. */
void qcow2_free(struct qcow2 *q, u64 cluster, u64 count)
{
    for (u64 i = 0; i < count; i++) {
        if (q->limbo_count == q->limbo_room) {
            size_t room = q->limbo_room ? q->limbo_room * 2 : 64;
            struct qcow2_limbo *more = realloc(q->limbo, room * sizeof(*more));
            if (!more)
                return;
            q->limbo = more;
            q->limbo_room = room;
        }
        q->limbo[q->limbo_count++] = (struct qcow2_limbo){cluster + i, epoch_now(q)};
    }
}

/* Clusters beside each other whose space is given back to the host by one call. */
struct hole {
    u64 first, count;
};

static void punch(struct qcow2 *q, struct hole *h)
{
    file_punch(q->file, h->first << q->h.cluster_bits, h->count << q->h.cluster_bits);
    h->count = 0;
}

static void release_one(struct qcow2 *q, u64 cluster, struct hole *h)
{
    u64 left;
    if (qcow2_refcount_add(q, cluster, -1) || qcow2_refcount_get(q, cluster, &left) || left)
        return; /* a leak at worst */
    if (cluster_set_has(&q->meta, cluster)) {
        (void)qcow2_give_up(q, "a table counts as free", cluster << q->h.cluster_bits);
        return;
    }
    if (cluster < q->free_hint)
        q->free_hint = cluster;
    if (h->count && cluster == h->first + h->count) {
        h->count++;
        return;
    }
    punch(q, h);
    *h = (struct hole){cluster, 1};
}

/* The first `count` of those in limbo are in no table of the file. */
static void release(struct qcow2 *q, size_t count)
{
    struct hole h = {0};
    u64 oldest = epoch_oldest(q);
    size_t done = 0;
    if (!count)
        return;
    qcow2_forget_packed(q);
    while (done < count && q->limbo[done].epoch < oldest)
        release_one(q, q->limbo[done++].cluster, &h);
    punch(q, &h);
    memmove(q->limbo, q->limbo + done, (q->limbo_count - done) * sizeof(*q->limbo));
    q->limbo_count -= done;
    if (q->packed && done) /* its cluster may be gone */
        q->packed = 0;
}

/* The parts of a table in memory that were changed. */
static int write_table(struct qcow2 *q, const u64 *table, u32 entries, u8 *dirty, u64 offset)
{
    for (u32 unit = 0; unit * 64 < entries; unit++) {
        u8 raw[TABLE_UNIT] = {0};
        if (!dirty[unit])
            continue;
        u32 n = entries - unit * 64 < 64 ? entries - unit * 64 : 64;
        for (u32 i = 0; i < n; i++)
            qcow2_put_be64(raw + (size_t)i * 8, table[unit * 64 + i]);
        int status = file_write_at(q->file, offset + (u64)unit * TABLE_UNIT, raw, (size_t)n * 8);
        if (status)
            return status;
        dirty[unit] = 0;
    }
    return 0;
}

bool qcow2_any_dirty(const struct qcow2 *q)
{
    return cache_dirty(q->refcounts) || cache_dirty(q->l2) || q->l1_any_dirty || q->reftable_any_dirty;
}

/* Each step is durable before the next begins; a step without changes costs nothing. */
static int commit_refcounts(struct qcow2 *q)
{
    int status = cache_write(q->refcounts);
    if (!status)
        status = file_sync(q->file); /* the data too */
    if (status || !q->reftable_any_dirty)
        return status;
    status = write_table(q, q->reftable, q->reftable_entries, q->reftable_dirty, q->h.reftable_offset);
    q->reftable_any_dirty = status != 0;
    return status ? status : file_sync(q->file);
}

static int commit_tables(struct qcow2 *q)
{
    bool any = cache_dirty(q->l2);
    int status = cache_write(q->l2);
    if (!status && any)
        status = file_sync(q->file);
    if (status || !q->l1_any_dirty)
        return status;
    status = write_table(q, q->l1, q->l1_entries, q->l1_dirty, q->h.l1_offset);
    q->l1_any_dirty = status != 0;
    return status ? status : file_sync(q->file);
}

int qcow2_commit(struct qcow2 *q)
{
    size_t in_limbo = q->limbo_count;
    if (q->corrupt)
        return -EIO;
    int status = commit_refcounts(q);
    if (!status)
        status = commit_tables(q);
    if (!status)
        release(q, in_limbo);
    return status;
}

int qcow2_commit_some(struct qcow2 *q)
{
    bool due = cache_crowded(q->l2) || cache_crowded(q->refcounts) || q->limbo_count > LIMBO_MANY;
    return due ? qcow2_commit(q) : 0;
}

/* Most of what has to become durable is the guest's data: that is done first, while others may go on. */
int qcow2_flush(struct image *im)
{
    struct qcow2 *q = qcow2_of(im);
    if (im->read_only)
        return 0;
    int status = file_sync(q->file);
    if (status)
        return status;
    pthread_mutex_lock(&q->lock);
    if (qcow2_any_dirty(q) || q->limbo_count)
        status = qcow2_commit(q);
    else if (q->corrupt)
        status = -EIO;
    pthread_mutex_unlock(&q->lock);
    return status;
}
