/*
 * A block back end in memory (backend/block/block.h) that does nothing by itself: requests wait until the test says
 * that one, or all, are done.
 */
#ifndef TESTS_DEVICE_BLOCK_STUB_H
#define TESTS_DEVICE_BLOCK_STUB_H

#include <string.h>

#include "backend/block/block.h"
#include "base/bits.h"
#include "event/loop.h"

#define STUB_SIZE KiB(256)

struct block {
    struct loop *loop;
    struct block_info info;
    u8 data[STUB_SIZE];
    struct list waiting;
    int fail;              /* what the next ones end with */
    unsigned flushes, fua; /* counted */
    struct block_request last;
};

static inline void stub_open(struct block *b, struct loop *l)
{
    memset(b, 0, sizeof(*b));
    b->loop = l;
    b->info = (struct block_info){.size = STUB_SIZE, .cluster = 4096, .path = "stub"};
    list_init(&b->waiting);
}

void block_info(const struct block *b, struct block_info *out)
{
    *out = b->info;
}

void block_submit(struct block *b, struct block_request *r)
{
    list_insert(&b->waiting, &r->node);
}

static inline int stub_act(struct block *b, const struct block_request *r)
{
    u64 at = r->offset;
    if (!range_inside(r->offset, r->length, b->info.size))
        return -EINVAL;
    for (unsigned i = 0; i < r->iovs; at += r->iov[i++].iov_len) {
        if (!range_inside(at, r->iov[i].iov_len, b->info.size))
            return -EINVAL;
        if (r->op == BLOCK_READ)
            memcpy(r->iov[i].iov_base, b->data + at, r->iov[i].iov_len);
        else
            memcpy(b->data + at, r->iov[i].iov_base, r->iov[i].iov_len);
    }
    if (r->op == BLOCK_WRITE_ZEROES || r->op == BLOCK_DISCARD)
        memset(b->data + r->offset, 0, r->length);
    b->flushes += r->op == BLOCK_FLUSH;
    b->fua += (r->flags & BLOCK_FUA) != 0;
    return 0;
}

/* Does the oldest request; false if there is none. Lock held. */
static inline bool stub_step(struct block *b)
{
    if (list_empty(&b->waiting))
        return false;
    struct block_request *r = container_of(b->waiting.next, struct block_request, node);
    list_remove(&r->node);
    b->last = *r;
    int status = b->fail ? b->fail : stub_act(b, r);
    r->done(r, status);
    return true;
}

void block_drain(struct block *b)
{
    loop_lock(b->loop);
    while (stub_step(b))
        ;
    loop_unlock(b->loop);
}

void block_close(struct block *b)
{
    block_drain(b);
}

#endif
