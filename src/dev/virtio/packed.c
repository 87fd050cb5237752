/*
 * Packed rings: one ring of descriptors that driver and device both write, told apart by two flags that change their
 * meaning each time round. VIRTIO 1.2, section 2.8.
 */
#include "dev/virtio/ring.h"

/* struct pvirtq_desc: addr, len, id, flags; struct pvirtq_event_suppress: desc, flags. */
enum { DESC_LEN = 8, DESC_ID = 12, DESC_FLAGS = 14 };
enum { EVENT_DESC = 0, EVENT_FLAGS = 2, EVENT_SIZE = 4 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_AT = 2 };
#define FLAG_AVAIL BIT(7)
#define FLAG_USED  BIT(15)
#define EVENT_WRAP BIT(15)

static void packed_areas(const struct virtq *q, u64 size[3], u64 align[3])
{
    size[0] = (u64)q->s->size * DESC_SIZE;
    size[1] = size[2] = EVENT_SIZE;
    align[0] = DESC_SIZE;
    align[1] = align[2] = 4;
}

static void step(const struct virtq_state *s, u16 *position, bool *wrap, u16 by)
{
    unsigned next = *position + (unsigned)by;

    if (next >= s->size) {
        next -= s->size;
        *wrap = !*wrap;
    }
    *position = (u16)next;
}

/* A table has its entries in order, and of their flags only WRITE means something. */
static bool table_walk(struct virtq *q, struct virtq_element *e, const struct ring_desc *d)
{
    const u8 *table = virtq_indirect(q, d->addr, d->len);

    if (!table)
        return false;
    for (unsigned n = 0; n < d->len / DESC_SIZE; n++) {
        struct ring_desc entry = ring_desc_load(table, n);
        if (entry.packed.flags & DESC_INDIRECT)
            return virtq_broken(q, "an indirect descriptor is in a table");
        if (!virtq_add(q, e, entry.addr, entry.len, entry.packed.flags & DESC_WRITE))
            return false;
    }
    return true;
}

static bool chain_walk(struct virtq *q, struct virtq_element *e)
{
    unsigned n = q->s->avail;

    for (e->ring = 1;; e->ring++) {
        struct ring_desc d = ring_desc_load(q->desc, n);
        e->id = d.packed.id;
        if (d.packed.flags & DESC_INDIRECT) {
            if (e->ring > 1 || (d.packed.flags & DESC_NEXT))
                return virtq_broken(q, "an indirect descriptor is in a chain");
            return table_walk(q, e, &d);
        }
        if (!virtq_add(q, e, d.addr, d.len, d.packed.flags & DESC_WRITE))
            return false;
        if (!(d.packed.flags & DESC_NEXT))
            return true;
        if (e->ring == q->s->size)
            return virtq_broken(q, "a chain loops");
        n = n + 1 == q->s->size ? 0 : n + 1;
    }
}

static bool is_available(const struct virtq *q)
{
    u16 flags = ring_load(q->desc + (size_t)q->s->avail * DESC_SIZE + DESC_FLAGS);

    return !!(flags & FLAG_AVAIL) == q->s->avail_wrap && !!(flags & FLAG_USED) != q->s->avail_wrap;
}

/* Asks for a notification of the next buffer. */
static void event_set(struct virtq *q)
{
    const struct virtq_state *s = q->s;
    bool at = virtio_has(q->dev, VIRTIO_F_EVENT_IDX);

    ring_store(q->device + EVENT_DESC, (u16)(s->avail | (s->avail_wrap ? EVENT_WRAP : 0)));
    ring_store(q->device + EVENT_FLAGS, at ? EVENT_AT : EVENT_ENABLE);
    mem_dma_done(q->dev->mem, q->device, EVENT_SIZE);
    ring_fence();
}

static bool packed_pop(struct virtq *q, struct virtq_element *e)
{
    if (!is_available(q)) {
        event_set(q);
        if (!is_available(q))
            return false;
    }
    if (!chain_walk(q, e))
        return false;
    step(q->s, &q->s->avail, &q->s->avail_wrap, e->ring);
    return true;
}

static void packed_unpop(struct virtq *q, const struct virtq_element *e)
{
    struct virtq_state *s = q->s;

    if (s->avail < e->ring) {
        s->avail_wrap = !s->avail_wrap;
        s->avail = (u16)(s->avail + s->size);
    }
    s->avail = (u16)(s->avail - e->ring);
}

static void packed_push(struct virtq *q, const struct virtq_element *e, u32 written)
{
    struct virtq_state *s = q->s;
    u8 *at = q->desc + (size_t)s->used * DESC_SIZE;
    u16 flags = (u16)((s->used_wrap ? FLAG_AVAIL | FLAG_USED : 0) | (written ? DESC_WRITE : 0));

    put_u32(at + DESC_LEN, written);
    put_u16(at + DESC_ID, e->id);
    if (q->held && !q->held_at) {
        q->held_at = at;
        q->held_flags = flags;
    } else {
        ring_store(at + DESC_FLAGS, flags);
    }
    mem_dma_done(q->dev->mem, at, DESC_SIZE);
    step(s, &s->used, &s->used_wrap, e->ring);
}

/* The driver looks at one after the other: when it sees the first, the others are there. */
static void packed_publish(struct virtq *q)
{
    if (!q->held_at)
        return;
    ring_store(q->held_at + DESC_FLAGS, q->held_flags);
    mem_dma_done(q->dev->mem, q->held_at, DESC_SIZE);
}

/* Positions are made running numbers: the event's, and the last one told, may lie before the ring's last turn. */
static bool packed_wanted(const struct virtq *q)
{
    const struct virtq_state *s = q->s;
    u16 flags = ring_load(q->driver + EVENT_FLAGS) & 3, desc = ring_load(q->driver + EVENT_DESC);
    u16 event = desc & (EVENT_WRAP - 1);

    if (flags != EVENT_AT || !virtio_has(q->dev, VIRTIO_F_EVENT_IDX))
        return flags != EVENT_DISABLE;
    if (!!(desc & EVENT_WRAP) != s->used_wrap)
        event = (u16)(event - s->size);
    return ring_passed(event, s->used, (u16)(s->used - q->pushed));
}

const struct virtq_ops virtq_packed = {
    .areas = packed_areas,
    .desc_written = true,
    .pop = packed_pop,
    .unpop = packed_unpop,
    .push = packed_push,
    .publish = packed_publish,
    .wanted = packed_wanted,
};
