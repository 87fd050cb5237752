/*
 * Shared folders: a 9P2000.L file server for one folder of the host. A device (dev/virtio/p9.c) carries its messages
 * and sees only this.
 *
 * A request is a message of the guest and room for the reply. What can be answered without waiting for the host's disk
 * is answered inside share_submit; the rest by a few threads of the share, several at a time and in any order.
 *
 * All functions but share_drain and share_close need the machine lock. `done` is called with it, on any thread, also
 * inside share_submit, but there only for requests that were submitted before. A request and the memory that it points
 * to are the share's until then.
 */
#ifndef BACKEND_SHARE_SHARE_H
#define BACKEND_SHARE_SHARE_H

#include <sys/uio.h>

#include "base/list.h"
#include "base/types.h"

struct share;

#define SHARE_TAG_MAX   60 /* bytes of a tag: what fits the configuration space of the device, with its length */
#define SHARE_REPLY_MIN 11 /* bytes that a reply needs at least: one that says what went wrong */

struct share_request {
    const struct iovec *out; /* the message */
    const struct iovec *in;  /* where the reply goes */
    unsigned outs, ins;
    u32 out_len, in_len; /* in_len is at least SHARE_REPLY_MIN */
    void (*done)(struct share_request *r, u32 written);
    void *opaque;
    /* The share's, while it is under way. */
    struct list node, todo;
    u64 number;
    u16 tag, flushes;
    bool is_flush;
};

const char *share_tag(const struct share *s);
/* The bytes of the reply if it is there, and then `done` is not called; or 0. */
u32 share_submit(struct share *s, struct share_request *r);
/* The guest's session is over: all that it has open is closed. Nothing is under way. */
void share_reset(struct share *s);

/* Waits until nothing is under way. Machine lock not held. */
void share_drain(struct share *s);
void share_close(struct share *s);

#endif
