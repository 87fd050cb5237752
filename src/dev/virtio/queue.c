/* What split and packed rings have in common. See queue.h and ring.h. */
#include "dev/virtio/queue.h"

#include <string.h>

#include "dev/virtio/ring.h"

STATE_DEFINE(virtq_state, VIRTQ_STATE, 1)

bool virtq_broken(struct virtq *q, const char *why)
{
    virtio_broken(q->dev, q->index, why);
    return false;
}

bool virtq_add(struct virtq *q, struct virtq_element *e, u64 addr, u32 len, bool write)
{
    u32 *total = write ? &e->in_len : &e->out_len;
    unsigned n = e->outs + e->ins;

    if (n == VIRTQ_MAX)
        return virtq_broken(q, "a chain has too many descriptors, or loops");
    if (!len)
        return virtq_broken(q, "a descriptor has length 0");
    if (!write && e->ins)
        return virtq_broken(q, "a readable descriptor follows a writable one");
    if (__builtin_add_overflow(*total, len, total))
        return virtq_broken(q, "a chain is longer than 4 GiB");
    u8 *host = mem_dma_map(q->dev->mem, addr, len, write);
    if (!host)
        return virtq_broken(q, "a descriptor points outside RAM");
    e->seg[n] = (struct virtq_seg){host, len};
    if (write)
        e->ins++;
    else
        e->outs++;
    return true;
}

const u8 *virtq_indirect(struct virtq *q, u64 addr, u32 len)
{
    const u8 *table = NULL;

    if (!virtio_has(q->dev, VIRTIO_F_INDIRECT_DESC))
        (void)virtq_broken(q, "an indirect descriptor was not negotiated");
    else if (!len || len % DESC_SIZE)
        (void)virtq_broken(q, "an indirect table has a bad length");
    else if (!(table = mem_dma_map(q->dev->mem, addr, len, false)))
        (void)virtq_broken(q, "an indirect table lies outside RAM");
    return table;
}

bool virtq_pop(struct virtq *q, struct virtq_element *e)
{
    if (!q->desc || q->stopping || !virtio_running(q->dev))
        return false;
    e->outs = e->ins = 0;
    e->out_len = e->in_len = 0;
    e->life = q->life;
    if (!q->ops->pop(q, e))
        return false;
    q->busy++;
    return true;
}

static void element_back(struct virtq *q)
{
    q->busy--;
    if (!q->busy)
        virtio_idle(q->dev, q);
}

void virtq_unpop(struct virtq *q, struct virtq_element *e)
{
    if (!virtq_is_current(q, e))
        return;
    if (q->desc)
        q->ops->unpop(q, e);
    element_back(q);
}

/* What was stored is made known in any case. An element of an earlier life is nobody's any more, and one that a reset
 * of the queue or of the device waits for is of no interest to the driver. */
void virtq_push(struct virtq *q, struct virtq_element *e, u32 written)
{
    u32 left = written < e->in_len ? written : e->in_len;

    written = left;
    for (unsigned i = e->outs; left; i++) {
        u32 n = left < e->seg[i].len ? left : e->seg[i].len;
        mem_dma_done(q->dev->mem, e->seg[i].host, n);
        left -= n;
    }
    if (!virtq_is_current(q, e))
        return;
    if (q->desc && !q->stopping && virtio_running(q->dev)) {
        q->ops->push(q, e, written);
        q->pushed = (u16)(q->pushed + (q->ops == &virtq_packed ? e->ring : 1));
    }
    element_back(q);
}

void virtq_hold(struct virtq *q)
{
    q->held = true;
    q->held_at = NULL;
}

void virtq_publish(struct virtq *q)
{
    q->held = false;
    if (q->desc && virtio_running(q->dev))
        q->ops->publish(q);
    q->held_at = NULL;
}

void virtq_notify(struct virtq *q)
{
    if (!q->pushed || !q->desc || !virtio_running(q->dev))
        return;
    ring_fence();
    if (q->ops->wanted(q))
        virtio_interrupt(q->dev, q);
    q->pushed = 0;
}

/* What lies in one piece from byte `from` of the segments on, at most `len`; empty behind their end. */
static struct virtq_seg piece_at(const struct virtq_seg *seg, unsigned count, u32 from, u32 len)
{
    for (unsigned i = 0; i < count; i++) {
        if (from < seg[i].len) {
            u32 left = seg[i].len - from;
            return (struct virtq_seg){seg[i].host + from, left < len ? left : len};
        }
        from -= seg[i].len;
    }
    return (struct virtq_seg){0};
}

u32 virtq_read(const struct virtq_element *e, u32 from, void *buf, u32 len)
{
    u32 done = 0;

    for (struct virtq_seg p; done < len; done += p.len) {
        p = piece_at(e->seg, e->outs, from + done, len - done);
        if (!p.len)
            break;
        memcpy((u8 *)buf + done, p.host, p.len);
    }
    return done;
}

u32 virtq_write(const struct virtq_element *e, u32 from, const void *buf, u32 len)
{
    u32 done = 0;

    for (struct virtq_seg p; done < len; done += p.len) {
        p = piece_at(e->seg + e->outs, e->ins, from + done, len - done);
        if (!p.len)
            break;
        memcpy(p.host, (const u8 *)buf + done, p.len);
    }
    return done;
}

static bool areas_map(struct virtq *q)
{
    const struct virtq_state *s = q->s;
    struct mem_space *mem = q->dev->mem;
    u64 size[3], align[3];

    q->ops->areas(q, size, align);
    if (!is_aligned(s->desc, align[0]) || !is_aligned(s->driver, align[1]) || !is_aligned(s->device, align[2]))
        return false;
    q->desc = mem_dma_map(mem, s->desc, size[0], q->ops->desc_written);
    q->driver = mem_dma_map(mem, s->driver, size[1], false);
    q->device = mem_dma_map(mem, s->device, size[2], true);
    return q->desc && q->driver && q->device;
}

static bool size_good(const struct virtq *q)
{
    u16 size = q->s->size;

    return size && size <= q->max && (q->ops == &virtq_packed || is_power_of_two(size));
}

static void rings_open(struct virtq *q)
{
    q->ops = virtio_has(q->dev, VIRTIO_F_RING_PACKED) ? &virtq_packed : &virtq_split;
    if (size_good(q) && areas_map(q))
        return;
    q->desc = q->driver = q->device = NULL;
    (void)virtq_broken(q, size_good(q) ? "a ring is not aligned or not in RAM" : "the queue has a bad size");
}

void virtq_start(struct virtq *q)
{
    q->s->enabled = true;
    q->s->avail = q->s->used = 0;
    q->s->avail_wrap = q->s->used_wrap = true;
    q->pushed = 0;
    rings_open(q);
}

void virtq_reset(struct virtq *q)
{
    q->life++;
    q->busy = q->pushed = 0;
    q->stopping = false;
    q->desc = q->driver = q->device = NULL;
    *q->s = (struct virtq_state){.size = q->max, .vector = VIRTQ_NO_VECTOR};
}

void virtq_loaded(struct virtq *q)
{
    q->life++;
    q->busy = q->pushed = 0;
    q->stopping = false;
    q->desc = q->driver = q->device = NULL;
    if (!q->s->enabled)
        return;
    rings_open(q);
    if (q->ops == &virtq_packed && q->desc && (q->s->avail >= q->s->size || q->s->used >= q->s->size)) {
        q->desc = NULL;
        (void)virtq_broken(q, "a saved state has a position outside the ring");
    }
}
