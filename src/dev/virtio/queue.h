/*
 * Virtqueues: the device's side of split and packed rings. Virtual I/O Device (VIRTIO) 1.2, sections 2.6 to 2.8.
 *
 * A device takes a chain of buffers from a queue (virtq_pop), reads its `out` segments, fills its `in` segments, gives
 * it back (virtq_push) and, once for all that it gave back, lets the driver know (virtq_notify). Each element that was
 * popped is given back by virtq_push or virtq_unpop, soon or late: until then it counts as busy, and a reset of the
 * device is not done.
 *
 * What stands in a ring is hostile and may change at any time. Each descriptor is read once, into a copy, and the copy
 * is checked: segments lie in RAM (mem_dma_map), in bounded number, readable ones first, none empty, no chain loops.
 * Anything else breaks the device: it needs a reset, which the driver is told, and its queues stand still until then.
 * An element holds host addresses, so nothing in guest memory can change where it leads.
 *
 * All functions need the machine lock.
 */
#ifndef DEV_VIRTIO_QUEUE_H
#define DEV_VIRTIO_QUEUE_H

#include "base/types.h"
#include "state/state.h"

struct virtio_device;
struct virtq;

#define VIRTQ_MAX       256 /* entries of a ring, and segments of a chain */
#define VIRTQ_NO_VECTOR 0xffff

/* `avail` and `used` are where the device stands: running indexes of a split ring, positions in a packed one. */
#define VIRTQ_STATE(F, A, S)                                                                                           \
    F(bool, enabled, 1)                                                                                                \
    F(u16, size, 1)                                                                                                    \
    F(u16, vector, 1)                                                                                                  \
    F(u64, desc, 1)                                                                                                    \
    F(u64, driver, 1)                                                                                                  \
    F(u64, device, 1)                                                                                                  \
    F(u16, avail, 1)                                                                                                   \
    F(u16, used, 1)                                                                                                    \
    F(bool, avail_wrap, 1)                                                                                             \
    F(bool, used_wrap, 1)
STATE_DECLARE(virtq_state, VIRTQ_STATE)

struct virtq_seg {
    u8 *host;
    u32 len;
};

struct virtq_element {
    u16 id;        /* by which the driver knows the chain */
    u16 ring;      /* descriptors of the ring that it takes */
    u16 outs, ins; /* segments to read, and behind them those to write */
    u32 out_len, in_len;
    u32 life; /* of the queue when it was popped */
    struct virtq_seg seg[VIRTQ_MAX];
};

struct virtq_ops;

struct virtq {
    struct virtio_device *dev;
    struct virtq_state *s;
    const struct virtq_ops *ops;
    u16 index, max; /* which of the device's queues; its largest size */
    u16 pushed;     /* since the driver was last told */
    u16 busy;       /* elements that are out, of this life */
    bool stopping;  /* a reset of the queue waits for them */
    bool held;      /* between virtq_hold and virtq_publish */
    u8 *held_at;    /* packed: flags that are not stored yet, and where */
    u16 held_flags;
    u32 life;                   /* counts resets */
    u8 *desc, *driver, *device; /* the three areas on the host; NULL while not enabled */
};

/* False if there is none, and then the driver will notify when there is. */
bool virtq_pop(struct virtq *q, struct virtq_element *e);
/* The first `written` bytes of the `in` segments were, or may have been, written. */
void virtq_push(struct virtq *q, struct virtq_element *e, u32 written);
/* As if the last virtq_pop had not been. */
void virtq_unpop(struct virtq *q, struct virtq_element *e);
/* What is pushed between these two, the driver sees all at once. */
void virtq_hold(struct virtq *q);
void virtq_publish(struct virtq *q);
/* Interrupts the driver for what was pushed, if it wants that. */
void virtq_notify(struct virtq *q);

/* The queue was not reset since it was popped. */
static inline bool virtq_is_current(const struct virtq *q, const struct virtq_element *e)
{
    return e->life == q->life;
}

/* Copies between an element and a buffer from byte `from` on; how many bytes there were. */
u32 virtq_read(const struct virtq_element *e, u32 from, void *buf, u32 len);
u32 virtq_write(const struct virtq_element *e, u32 from, const void *buf, u32 len);

/* For device.c. Start: with state as the driver set it; breaks the device if the rings cannot be. */
void virtq_start(struct virtq *q);
void virtq_reset(struct virtq *q);
/* After the state was loaded. */
void virtq_loaded(struct virtq *q);

#endif
