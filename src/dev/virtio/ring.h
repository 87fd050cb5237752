/*
 * Inside of virtqueues: what split.c, packed.c and queue.c share.
 *
 * Rings are shared with processors that run at the same time. An index or a descriptor's flags are loaded with acquire
 * before what they guard is read, and stored with release after it was written; between a store and a load that must
 * not pass each other (event suppression) stands a full fence.
 */
#ifndef DEV_VIRTIO_RING_H
#define DEV_VIRTIO_RING_H

#include "base/bits.h"
#include "dev/virtio/device.h"

#define DESC_NEXT     BIT(0)
#define DESC_WRITE    BIT(1)
#define DESC_INDIRECT BIT(2)
#define DESC_SIZE     16u

/* The layout of a kind of ring. `start` has size and addresses checked for the common part only. */
struct virtq_ops {
    /* Bytes of the three areas, and how each is aligned. */
    void (*areas)(const struct virtq *q, u64 size[3], u64 align[3]);
    bool desc_written; /* the device writes to the descriptors */
    /* Fills the element but for `life`. False: none, or broken. */
    bool (*pop)(struct virtq *q, struct virtq_element *e);
    void (*unpop)(struct virtq *q, const struct virtq_element *e);
    /* While q->held: not to be seen yet. */
    void (*push)(struct virtq *q, const struct virtq_element *e, u32 written);
    void (*publish)(struct virtq *q);
    /* Does the driver want to know of the last q->pushed? */
    bool (*wanted)(const struct virtq *q);
};

extern const struct virtq_ops virtq_split, virtq_packed;

/* The device needs a reset. Returns false, as there is nothing to pop. */
bool virtq_broken(struct virtq *q, const char *why);

/* One more segment; false if the device is broken now. */
bool virtq_add(struct virtq *q, struct virtq_element *e, u64 addr, u32 len, bool write);
/* The table of an indirect descriptor on the host, NULL if the device is broken now. */
const u8 *virtq_indirect(struct virtq *q, u64 addr, u32 len);

static inline u16 ring_load(const u8 *at)
{
    return __atomic_load_n((const u16 *)(const void *)at, __ATOMIC_ACQUIRE);
}

static inline void ring_store(u8 *at, u16 value)
{
    __atomic_store_n((u16 *)(void *)at, value, __ATOMIC_RELEASE);
}

struct ring_word {
    volatile u64 v;
} __attribute__((packed, may_alias));

/* Eight bytes at any alignment, read exactly once. */
static inline u64 ring_word(const u8 *at)
{
    return ((const struct ring_word *)(const void *)at)->v;
}

/* The thread sanitizer knows no fences of the language; nothing here is for it to judge, as guests take no part. */
/* A descriptor, read once. The kinds of ring differ in the last two fields. */
struct ring_desc {
    u64 addr;
    u32 len;
    union {
        struct {
            u16 flags, next;
        } split;
        struct {
            u16 id, flags;
        } packed;
    };
};

static inline struct ring_desc ring_desc_load(const u8 *table, unsigned n)
{
    const u8 *at = table + (size_t)n * DESC_SIZE;
    u64 addr = ring_word(at), rest = ring_word(at + 8);

    return (struct ring_desc){addr, (u32)rest, .split = {(u16)(rest >> 32), (u16)(rest >> 48)}};
}

static inline void ring_fence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

/* Did the step from `old` to `new` pass the event? 2.7.7.2. */
static inline bool ring_passed(u16 event, u16 new, u16 old)
{
    return (u16)(new - event - 1) < (u16)(new - old);
}

#endif
