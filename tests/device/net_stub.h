/*
 * A network back end that the test is: it defines what backend/net/net.h declares. What is sent is kept, the last frame
 * whole; frames for the guest are handed over by stub_give, and kept while there is no room.
 */
#ifndef TESTS_DEVICE_NET_STUB_H
#define TESTS_DEVICE_NET_STUB_H

#include <string.h>

#include "backend/net/net.h"

struct net {
    struct net_receiver rx;
    unsigned can, sent, room; /* room: frames that are taken before it says no */
    bool down, holds;
    struct frame_header header, held_header;
    u8 frame[FRAME_MAX], held[FRAME_MAX];
    size_t len, held_len;
};

void net_attach(struct net *n, const struct net_receiver *r)
{
    n->rx = r ? *r : (struct net_receiver){0};
}

unsigned net_can(const struct net *n)
{
    return n->can;
}

bool net_is_up(const struct net *n)
{
    return !n->down;
}

bool net_send(struct net *n, const struct frame_header *h, const struct iovec *iov, unsigned iovs)
{
    if (n->down)
        return true;
    if (!n->room)
        return false;
    n->room--;
    n->sent++;
    n->header = *h;
    n->len = 0;
    for (unsigned i = 0; i < iovs; i++) {
        memcpy(n->frame + n->len, iov[i].iov_base, iov[i].iov_len);
        n->len += iov[i].iov_len;
    }
    return true;
}

void net_kick(struct net *n)
{
    if (!n->holds || (n->rx.receive && !n->rx.receive(n->rx.opaque, &n->held_header, n->held, n->held_len)))
        return;
    n->holds = false;
    if (n->rx.received)
        n->rx.received(n->rx.opaque);
}

/* False: one is held already. What a back end would not let through is not. */
static inline bool stub_give(struct net *n, const struct frame_header *h, const u8 *frame, size_t len)
{
    if (n->holds || !n->rx.receive)
        return false;
    memcpy(n->held, frame, len);
    n->held_header = *h;
    n->held_len = len;
    n->holds = frame_check(h, n->held, len);
    net_kick(n);
    return true;
}

/* It has room again. */
static inline void stub_room(struct net *n, unsigned room)
{
    n->room = room;
    if (n->rx.writable)
        n->rx.writable(n->rx.opaque);
}

#endif
