/*
 * Reading and writing the guest's disk in a qcow2 image (qcow2.h).
 */
#include <stdlib.h>
#include <string.h>

#include "backend/block/qcow2.h"
#include "base/bits.h"

#define RUN_MAX MiB(16) /* bytes that are allocated at once */

/* What is below, zeroes where there is nothing. */
static int read_below(struct qcow2 *q, u64 offset, u64 length, struct vec v)
{
    struct image *below = q->im.backing;
    u64 there = below && offset < below->size ? below->size - offset : 0;
    if (there > length)
        there = length;
    int status = there ? below->ops->read(below, offset, there, v) : 0;
    if (!status)
        vec_zero(vec_after(v, there), length - there);
    return status;
}

static int read_extent(struct qcow2 *q, const struct qcow2_extent *x, u64 offset, struct vec v)
{
    switch (x->kind) {
    case QCOW2_PLAIN:
        return file_read(q->file, x->host, x->length, v);
    case QCOW2_PACKED:
        return qcow2_read_packed(q, x->entry, offset & (q->cluster_size - 1), x->length, v);
    case QCOW2_ZEROED:
        vec_zero(v, x->length);
        return 0;
    default:
        return read_below(q, offset, x->length, v);
    }
}

int qcow2_read(struct image *im, u64 offset, u64 length, struct vec v)
{
    struct qcow2 *q = qcow2_of(im);
    int status = 0;
    while (length && !status) {
        struct qcow2_extent x;
        pthread_mutex_lock(&q->lock);
        status = qcow2_look_up(q, offset, length, false, &x);
        u32 pin = status ? 0 : qcow2_pin(q);
        pthread_mutex_unlock(&q->lock);
        if (status)
            break;
        status = read_extent(q, &x, offset, v);
        qcow2_unpin(im, pin);
        v = vec_after(v, x.length);
        offset += x.length;
        length -= x.length;
    }
    return status;
}

/* Writes */

bool qcow2_wait_busy(struct qcow2 *q, u64 first, u64 last)
{
    bool waited = false;
    for (;;) {
        bool free = true;
        list_for_each(node, &q->busy)
        {
            const struct qcow2_busy *b = container_of(node, struct qcow2_busy, node);
            if (b->first <= last && first <= b->last)
                free = false;
        }
        if (free)
            return waited;
        waited = true;
        pthread_cond_wait(&q->not_busy, &q->lock);
    }
}

/* A write that has to put clusters into place. */
struct placing {
    u64 offset, length; /* of the write */
    u64 start, end;     /* the clusters around it */
    struct qcow2_extent old;
    u64 host; /* where the first goes */
    bool fresh;
    struct qcow2_busy busy;
};

/* The rest of a first or last cluster: what was there before the write. On clusters that read as zeroes anyway, only
 * what is not zero has to be copied. */
static int fill_edge(struct qcow2 *q, const struct placing *p, u64 from, u64 to)
{
    bool zero = p->old.kind == QCOW2_ZEROED || (p->old.kind == QCOW2_ABSENT && !q->im.backing);
    if (from == to || (zero && p->fresh))
        return 0;
    u8 *buffer = calloc(1, to - from);
    struct iovec iov = {buffer, to - from};
    if (!buffer)
        return -ENOMEM;
    /* The disk may end inside its last cluster. */
    u64 there = from < q->im.size ? q->im.size - from : 0;
    int status = 0;
    if (!zero && there)
        status = qcow2_read(&q->im, from, there < to - from ? there : to - from, vec_of(&iov, 1));
    if (!status)
        status = file_write_at(q->file, p->host + (from - p->start), buffer, to - from);
    free(buffer);
    return status;
}

static int fill(struct qcow2 *q, const struct placing *p, struct vec v)
{
    int status = fill_edge(q, p, p->start, p->offset);
    if (!status)
        status = file_write(q->file, p->host + (p->offset - p->start), p->length, v);
    return status ? status : fill_edge(q, p, p->offset + p->length, p->end);
}

/* Where the data goes: into the clusters that are kept for it, or into new ones, as many as lie side by side. */
static int find_place(struct qcow2 *q, struct placing *p)
{
    u64 got;
    if (p->old.kind == QCOW2_ZEROED && p->old.host && p->old.in_place) {
        p->host = p->old.host; /* one cluster: the next may be elsewhere */
        got = 1;
    } else {
        int status = qcow2_alloc(q, (p->end - p->start) >> q->h.cluster_bits, &p->host, &got, &p->fresh);
        if (status)
            return status;
        p->host <<= q->h.cluster_bits;
    }
    u64 end = p->start + (got << q->h.cluster_bits);
    if (end < p->end) {
        p->end = end;
        p->length = end - p->offset;
    }
    return 0;
}

/* Into the tables; what they had before is given back. */
static int settle(struct qcow2 *q, const struct placing *p)
{
    int status = 0;
    for (u64 at = p->start; at < p->end && !status; at += q->cluster_size) {
        u64 entry = 0, host = p->host + (at - p->start);
        status = qcow2_get_entry(q, at, &entry);
        if (!status)
            status = qcow2_set_entry(q, at, host | QCOW2_COPIED);
        if (!status && (entry & QCOW2_COMPRESSED || (entry & QCOW2_OFFSET) != host))
            qcow2_free_entry(q, entry);
    }
    return status;
}

/* Lock held, and let go meanwhile. p->offset, length and old are set; length is what was written after. */
static int place(struct qcow2 *q, struct placing *p, struct vec v)
{
    p->start = align_down(p->offset, q->cluster_size);
    if (p->length > RUN_MAX)
        p->length = RUN_MAX;
    p->end = align_up(p->offset + p->length, q->cluster_size);
    if (p->old.kind == QCOW2_PACKED)
        p->end = p->start + q->cluster_size;
    int status = qcow2_own_table(q, p->start);
    if (!status)
        status = find_place(q, p);
    if (status)
        return status;
    p->busy = (struct qcow2_busy){.first = p->start >> q->h.cluster_bits, .last = (p->end - 1) >> q->h.cluster_bits};
    list_insert(&q->busy, &p->busy.node);
    pthread_mutex_unlock(&q->lock);
    status = fill(q, p, v);
    pthread_mutex_lock(&q->lock);
    if (!status)
        status = settle(q, p);
    else if (p->host != p->old.host)
        qcow2_free(q, p->host >> q->h.cluster_bits, (p->end - p->start) >> q->h.cluster_bits);
    list_remove(&p->busy.node);
    pthread_cond_broadcast(&q->not_busy);
    return status;
}

/* One step of a write, as far as it goes: *done bytes. */
static int write_step(struct qcow2 *q, u64 offset, u64 length, struct vec v, u64 *done)
{
    struct placing p = {.offset = offset};
    pthread_mutex_lock(&q->lock);
    u64 last = offset + (length < RUN_MAX ? length : RUN_MAX) - 1;
    (void)qcow2_wait_busy(q, offset >> q->h.cluster_bits, last >> q->h.cluster_bits);
    int status = q->corrupt ? -EIO : qcow2_commit_some(q);
    if (!status)
        status = qcow2_look_up(q, offset, length, false, &p.old);
    if (!status && p.old.kind == QCOW2_PLAIN && p.old.in_place) {
        u32 pin = qcow2_pin(q);
        pthread_mutex_unlock(&q->lock);
        status = file_write(q->file, p.old.host, p.old.length, v);
        qcow2_unpin(&q->im, pin);
        *done = p.old.length;
        return status;
    }
    p.length = p.old.length;
    if (!status)
        status = place(q, &p, v);
    pthread_mutex_unlock(&q->lock);
    *done = p.length;
    return status;
}

int qcow2_write(struct image *im, u64 offset, u64 length, struct vec v)
{
    struct qcow2 *q = qcow2_of(im);
    int status = 0;
    while (length && !status) {
        u64 done = 0;
        status = write_step(q, offset, length, v, &done);
        v = vec_after(v, done);
        offset += done;
        length -= done;
    }
    return status;
}

/* Others */

static int map(struct image *im, u64 offset, u64 length, bool write, struct image_place *out)
{
    struct qcow2 *q = qcow2_of(im);
    struct qcow2_extent x = {.kind = QCOW2_PLAIN, .in_place = true};
    if (pthread_mutex_trylock(&q->lock))
        return -EAGAIN;
    int status = length ? qcow2_look_up(q, offset, length, true, &x) : 0;
    if (!status && (x.kind != QCOW2_PLAIN || x.length < length || (write && !x.in_place)))
        status = -EAGAIN;
    if (!status)
        *out = (struct image_place){.file = q->file, .offset = x.host, .pin = qcow2_pin(q)};
    pthread_mutex_unlock(&q->lock);
    return status;
}

static int kind(struct image *im, u64 offset, u64 length, enum image_kind *out, u64 *run)
{
    static const enum image_kind kinds[] = {
        [QCOW2_ABSENT] = IMAGE_ABSENT,
        [QCOW2_ZEROED] = IMAGE_ZERO,
        [QCOW2_PLAIN] = IMAGE_DATA,
        [QCOW2_PACKED] = IMAGE_DATA,
    };
    struct qcow2 *q = qcow2_of(im);
    struct qcow2_extent x;
    pthread_mutex_lock(&q->lock);
    int status = qcow2_look_up(q, offset, length, false, &x);
    pthread_mutex_unlock(&q->lock);
    if (status)
        return status;
    *out = kinds[x.kind];
    *run = x.length;
    return 0;
}

const struct image_ops qcow2_ops = {
    .format = "qcow2",
    .read = qcow2_read,
    .write = qcow2_write,
    .zero = qcow2_zero,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .map = map,
    .unmap = qcow2_unpin,
    .kind = kind,
    .write_compressed = qcow2_write_compressed,
    .close = qcow2_close,
};
