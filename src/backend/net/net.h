/*
 * Network back ends: where the Ethernet frames of a network card go and come from. A device sees only this. Behind it
 * is always a descriptor that carries whole frames: a tap, a socket of somebody, of the switch, of the NAT process.
 *
 * Frames have a header (frame.h) with offloads. A back end says which of them it takes (net_can); the receiver is given
 * whatever comes, checked, and cuts what it cannot take (frame_split_begin).
 *
 * All functions and callbacks need the machine lock.
 */
#ifndef BACKEND_NET_NET_H
#define BACKEND_NET_NET_H

#include <sys/uio.h>

#include "backend/net/frame.h"
#include "base/types.h"

struct net;

#define NET_IOVS_MAX 257 /* of a frame that is sent */

/* What a device offers to a back end. */
struct net_receiver {
    /* A frame; the receiver may write to it. False: there is no room now. Then the same frame comes again, unchanged
     * but for what the receiver did to it, after net_kick. */
    bool (*receive)(void *opaque, const struct frame_header *h, u8 *frame, size_t len);
    /* For now, that was the last one. */
    void (*received)(void *opaque);
    /* After net_send said no: it is worth another try. Not called any more when the other end is gone. */
    void (*writable)(void *opaque);
    /* The other end came, or is gone for good. */
    void (*link)(void *opaque);
    void *opaque;
};

/* One receiver; NULL takes it away. */
void net_attach(struct net *n, const struct net_receiver *r);
/* The receiver has room again. */
void net_kick(struct net *n);
/* What net_send takes, FRAME_CAN_*. */
unsigned net_can(const struct net *n);
bool net_is_up(const struct net *n);

/*
 * Sends a frame; never blocks. Its header passed frame_header_good and needs nothing beyond net_can. False: nothing was
 * taken, as the host has no room; `writable` follows. What cannot be sent at all is dropped, as on a wire.
 */
bool net_send(struct net *n, const struct frame_header *h, const struct iovec *iov, unsigned iovs) MUST_CHECK;

/* Since it was made: frames and their bytes, without headers of ours. */
struct net_counts {
    u64 sent, sent_bytes, received, received_bytes;
};
struct net_counts net_counts(const struct net *n);

void net_destroy(struct net *n);

#endif
