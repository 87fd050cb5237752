/*
 * A shared folder (backend/share/share.h) that answers each message with its own bytes: at once, or when the test says
 * so.
 */
#ifndef TESTS_DEVICE_SHARE_STUB_H
#define TESTS_DEVICE_SHARE_STUB_H

#include <string.h>

#include "backend/share/share.h"
#include "base/bits.h"
#include "event/loop.h"

struct share {
    struct loop *loop;
    struct list waiting;
    bool later;
    unsigned resets, messages; /* counted */
};

static inline void share_stub_open(struct share *s, struct loop *l)
{
    *s = (struct share){.loop = l};
    list_init(&s->waiting);
}

const char *share_tag(const struct share *s)
{
    return "stub";
}

/* As much as both have, byte for byte. */
static inline u32 share_stub_echo(const struct share_request *r)
{
    u32 len = r->out_len < r->in_len ? r->out_len : r->in_len, i = 0, o = 0;
    size_t at_in = 0, at_out = 0;
    for (u32 n = 0; n < len; n++) {
        ((u8 *)r->in[i].iov_base)[at_in] = ((const u8 *)r->out[o].iov_base)[at_out];
        if (++at_in == r->in[i].iov_len) {
            at_in = 0;
            i++;
        }
        if (++at_out == r->out[o].iov_len) {
            at_out = 0;
            o++;
        }
    }
    return len;
}

u32 share_submit(struct share *s, struct share_request *r)
{
    s->messages++;
    if (!s->later)
        return share_stub_echo(r);
    list_insert(&s->waiting, &r->node);
    return 0;
}

void share_reset(struct share *s)
{
    s->resets++;
}

/* Answers the oldest one; false if there is none. Lock held. */
static inline bool share_stub_step(struct share *s)
{
    if (list_empty(&s->waiting))
        return false;
    struct share_request *r = container_of(s->waiting.next, struct share_request, node);
    list_remove(&r->node);
    r->done(r, share_stub_echo(r));
    return true;
}

void share_drain(struct share *s)
{
    loop_lock(s->loop);
    while (share_stub_step(s))
        ;
    loop_unlock(s->loop);
}

#endif
