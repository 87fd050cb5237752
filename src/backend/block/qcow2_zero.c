/*
 * Zeroes and discards: whole clusters by their entries, parts of clusters by writing (qcow2.h).
 */
#include "backend/block/qcow2.h"
#include "base/bits.h"

#define ZEROES KiB(64)

/* What a whole cluster becomes. */
enum wish { WISH_ZERO, WISH_ZERO_UNMAP, WISH_DISCARD };

/* A part of a cluster. Zeroes over zeroes are left out. */
static int zero_part(struct qcow2 *q, u64 offset, u64 length)
{
    static const u8 zeroes[ZEROES];
    int status = 0;
    while (length && !status) {
        struct qcow2_extent x;
        pthread_mutex_lock(&q->lock);
        (void)qcow2_wait_busy(q, offset >> q->h.cluster_bits, offset >> q->h.cluster_bits);
        status = qcow2_look_up(q, offset, length < ZEROES ? length : ZEROES, false, &x);
        pthread_mutex_unlock(&q->lock);
        if (status)
            break;
        struct iovec iov = {(void *)(uintptr_t)zeroes, x.length}; /* only read */
        if (x.kind != QCOW2_ZEROED && (x.kind != QCOW2_ABSENT || q->im.backing))
            status = qcow2_write(&q->im, offset, x.length, vec_of(&iov, 1));
        offset += x.length;
        length -= x.length;
    }
    return status;
}

/* The entry that fulfils the wish; the old one if nothing has to change. */
static u64 new_entry(const struct qcow2 *q, u64 old, enum wish wish)
{
    bool below = q->im.backing != NULL;
    bool has_zero = q->h.version >= 3, kept = !(old & QCOW2_COMPRESSED) && old & QCOW2_OFFSET && old & QCOW2_COPIED;
    if (!has_zero && below)
        return old; /* it would show what is below; qcow2_zero does not come here */
    if (wish == WISH_DISCARD && !(old & (QCOW2_OFFSET | QCOW2_COMPRESSED)))
        return old; /* no space to give back */
    if (wish == WISH_ZERO && kept && has_zero)
        return old | QCOW2_ZERO;
    return below || (old & QCOW2_ZERO && has_zero) ? QCOW2_ZERO : 0;
}

static int change_entry(struct qcow2 *q, u64 offset, enum wish wish)
{
    u64 old;
    int status = qcow2_get_entry(q, offset, &old);
    u64 entry = status ? 0 : new_entry(q, old, wish);
    if (status || entry == old)
        return status;
    status = qcow2_own_table(q, offset);
    if (!status)
        status = qcow2_set_entry(q, offset, entry);
    if (!status && (entry & QCOW2_OFFSET) == 0)
        qcow2_free_entry(q, old);
    return status;
}

/* Clusters of one kind. Where all is as wished, whole tables are passed over at once. */
static int change_run(struct qcow2 *q, u64 offset, u64 length, enum wish wish, u64 *done)
{
    struct qcow2_extent x;
    int status = qcow2_look_up(q, offset, length, false, &x);
    if (status)
        return status;
    *done = align_up(x.length, q->cluster_size);
    if (x.kind == QCOW2_ABSENT && (!q->im.backing || wish == WISH_DISCARD))
        return 0;
    u64 table = BIT64(q->l2_bits + q->h.cluster_bits);
    u64 left = table - (offset & (table - 1));
    if (*done > left)
        *done = left;
    for (u64 at = 0; at < *done && !status; at += q->cluster_size)
        status = change_entry(q, offset + at, wish);
    return status;
}

/* Whole clusters, or up to the end of the disk. */
static int change_range(struct qcow2 *q, u64 offset, u64 length, enum wish wish)
{
    int status = 0;
    while (length && !status) {
        u64 done = 0, covered = BIT64(q->l2_bits + q->h.cluster_bits);
        u64 part = length < covered ? length : covered;
        pthread_mutex_lock(&q->lock);
        (void)qcow2_wait_busy(q, offset >> q->h.cluster_bits, (offset + part - 1) >> q->h.cluster_bits);
        status = q->corrupt ? -EIO : qcow2_commit_some(q);
        if (!status)
            status = change_run(q, offset, part, wish, &done);
        pthread_mutex_unlock(&q->lock);
        offset += done;
        length -= done < length ? done : length;
    }
    return status;
}

/* The whole clusters inside a range: [*first, *last). The last one of the disk may be short. */
static void whole_clusters(const struct qcow2 *q, u64 offset, u64 length, u64 *first, u64 *last)
{
    u64 end = offset + length;
    *first = align_up(offset, q->cluster_size);
    *last = end == q->im.size ? end : align_down(end, q->cluster_size);
    if (*first > *last)
        *first = *last = end;
}

int qcow2_zero(struct image *im, u64 offset, u64 length, bool unmap)
{
    struct qcow2 *q = qcow2_of(im);
    u64 first, last;
    whole_clusters(q, offset, length, &first, &last);
    if (q->h.version < 3 && im->backing)
        first = last = offset + length; /* has no zero clusters */
    int status = zero_part(q, offset, first - offset);
    if (!status)
        status = change_range(q, first, last - first, unmap ? WISH_ZERO_UNMAP : WISH_ZERO);
    return status ? status : zero_part(q, last, offset + length - last);
}

int qcow2_discard(struct image *im, u64 offset, u64 length)
{
    struct qcow2 *q = qcow2_of(im);
    u64 first, last;
    whole_clusters(q, offset, length, &first, &last);
    return change_range(q, first, last - first, WISH_DISCARD);
}
