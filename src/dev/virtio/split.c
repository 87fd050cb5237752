/*
 * Split rings: descriptors, an available ring that the driver writes, a used ring that the device writes. VIRTIO 1.2,
 * section 2.7.
 */
#include "dev/virtio/ring.h"

/* struct virtq_avail: flags, idx, ring[size], used_event. struct virtq_used: flags, idx, ring[size], avail_event. */
enum { AVAIL_FLAGS = 0, AVAIL_IDX = 2, AVAIL_RING = 4, AVAIL_ENTRY = 2 };
enum { USED_IDX = 2, USED_RING = 4, USED_ENTRY = 8 };
#define AVAIL_NO_INTERRUPT BIT(0)

static void split_areas(const struct virtq *q, u64 size[3], u64 align[3])
{
    u64 n = q->s->size, event = virtio_has(q->dev, VIRTIO_F_EVENT_IDX) ? 2 : 0;

    size[0] = n * DESC_SIZE;
    size[1] = AVAIL_RING + n * AVAIL_ENTRY + event;
    size[2] = USED_RING + n * USED_ENTRY + event;
    align[0] = DESC_SIZE;
    align[1] = 2;
    align[2] = 4;
}

/*
 * From `head` on. A chain of the ring has no more descriptors than the ring; the last of them may be an indirect table,
 * which is a chain of its own and has no further one. That a table's chain loops is found by the number of segments.
 */
static bool chain_walk(struct virtq *q, struct virtq_element *e, u16 head)
{
    const u8 *table = q->desc;
    unsigned entries = q->s->size, n = head;
    bool indirect = false;

    for (unsigned steps = 0;; steps++) {
        if (n >= entries)
            return virtq_broken(q, "a descriptor's number is too large");
        if (!indirect && steps == q->s->size)
            return virtq_broken(q, "a chain loops");
        struct ring_desc d = ring_desc_load(table, n);
        if (d.split.flags & DESC_INDIRECT) {
            if (indirect || (d.split.flags & DESC_NEXT))
                return virtq_broken(q, "an indirect descriptor is not the last, or in a table");
            table = virtq_indirect(q, d.addr, d.len);
            if (!table)
                return false;
            indirect = true;
            entries = d.len / DESC_SIZE;
            n = 0;
            continue;
        }
        if (!virtq_add(q, e, d.addr, d.len, d.split.flags & DESC_WRITE))
            return false;
        if (!(d.split.flags & DESC_NEXT))
            return true;
        n = d.split.next;
    }
}

/* Asks for a notification of the next buffer. */
static void event_set(struct virtq *q)
{
    u8 *event = q->device + USED_RING + (size_t)q->s->size * USED_ENTRY;

    if (!virtio_has(q->dev, VIRTIO_F_EVENT_IDX))
        return;
    ring_store(event, q->s->avail);
    mem_dma_done(q->dev->mem, event, 2);
    ring_fence();
}

static bool split_pop(struct virtq *q, struct virtq_element *e)
{
    struct virtq_state *s = q->s;
    u16 idx = ring_load(q->driver + AVAIL_IDX);

    if (idx == s->avail) {
        event_set(q);
        idx = ring_load(q->driver + AVAIL_IDX);
        if (idx == s->avail)
            return false;
    }
    if ((u16)(idx - s->avail) > s->size)
        return virtq_broken(q, "the available index is too far ahead");
    u16 head = ring_load(q->driver + AVAIL_RING + (size_t)(s->avail % s->size) * AVAIL_ENTRY);
    e->id = head;
    e->ring = 1;
    if (!chain_walk(q, e, head))
        return false;
    s->avail++;
    return true;
}

static void split_unpop(struct virtq *q, const struct virtq_element *e)
{
    q->s->avail--;
}

static void split_publish(struct virtq *q)
{
    ring_store(q->device + USED_IDX, q->s->used);
    mem_dma_done(q->dev->mem, q->device + USED_IDX, 2);
}

static void split_push(struct virtq *q, const struct virtq_element *e, u32 written)
{
    struct virtq_state *s = q->s;
    u8 *at = q->device + USED_RING + (size_t)(s->used % s->size) * USED_ENTRY;

    put_u32(at, e->id);
    put_u32(at + 4, written);
    s->used++;
    mem_dma_done(q->dev->mem, at, USED_ENTRY);
    if (!q->held)
        split_publish(q);
}

static bool split_wanted(const struct virtq *q)
{
    const struct virtq_state *s = q->s;

    if (!virtio_has(q->dev, VIRTIO_F_EVENT_IDX))
        return !(ring_load(q->driver + AVAIL_FLAGS) & AVAIL_NO_INTERRUPT);
    u16 event = ring_load(q->driver + AVAIL_RING + (size_t)s->size * AVAIL_ENTRY);
    return ring_passed(event, s->used, (u16)(s->used - q->pushed));
}

const struct virtq_ops virtq_split = {
    .areas = split_areas,
    .pop = split_pop,
    .unpop = split_unpop,
    .push = split_push,
    .publish = split_publish,
    .wanted = split_wanted,
};
