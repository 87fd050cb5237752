/*
 * See link.h. Invariants: `held` bytes of a frame wait in the buffer for the receiver, and then the watch does not want
 * POLLIN; the watch wants POLLOUT exactly while `blocked`.
 */
#include "backend/net/link.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/net/child.h"
#include "event/door.h"
#include "event/loop.h"

#define BATCH 64 /* frames for each time that the loop wakes up */

struct net {
    struct link_config cfg;
    char *who;
    struct net_receiver rx; /* rx.receive is NULL while there is no receiver */
    struct watch watch;
    bool up, blocked;
    size_t held;
    struct net_counts counts;
    struct frame_header header;
    u8 frame[FRAME_MAX];
};

static void events_set(struct net *n)
{
    short in = n->held || !n->up ? 0 : POLLIN;
    short out = n->up && n->blocked ? POLLOUT : 0;

    if (n->watch.active)
        watch_set(&n->watch, (short)(in | out));
}

/* For good. */
static void link_down(struct net *n)
{
    if (!n->up)
        return;
    n->up = false;
    watch_remove(&n->watch);
    log_msg(n->cfg.log, LOG_WARN, "%s: %s is gone; the guest sees its link go down", n->who, n->cfg.what);
    if (n->rx.link)
        n->rx.link(n->rx.opaque);
}

/* --- to the guest ----------------------------------------------------------------------------------------------- */

/* False: there is no room. */
static bool frame_give(struct net *n)
{
    return !n->rx.receive || n->rx.receive(n->rx.opaque, &n->header, n->frame, n->held);
}

/* What the other end says is no more to be trusted than what a guest says. Looked at once: what is held, the receiver
 * may have changed. */
static bool frame_good(const struct net *n)
{
    return n->held >= FRAME_ETHERNET && frame_check(&n->header, n->frame, n->held);
}

/* The next frame, with its length in `held`; false if there is none. */
static bool frame_read(struct net *n)
{
    struct iovec iov[2] = {{&n->header, sizeof(n->header)}, {n->frame, sizeof(n->frame)}};
    size_t skip = n->cfg.header ? sizeof(n->header) : 0;
    ssize_t got = n->cfg.header ? readv(n->cfg.fd, iov, 2) : read(n->cfg.fd, n->frame, sizeof(n->frame));

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS)) {
        link_down(n);
        return false;
    }
    if (got < 0)
        return false;
    if (!skip)
        n->header = (struct frame_header){0};
    n->held = (size_t)got > skip ? (size_t)got - skip : 0;
    n->counts.received++;
    n->counts.received_bytes += n->held;
    (void)door_input(n->cfg.loop, n->frame, n->held);
    return true;
}

static void link_read(struct net *n)
{
    for (unsigned i = 0; i < BATCH && n->up && !n->held && frame_read(n); i++)
        if (!frame_good(n) || frame_give(n))
            n->held = 0;
    if (n->rx.received)
        n->rx.received(n->rx.opaque);
    events_set(n);
}

void net_kick(struct net *n)
{
    if (!n->held || !frame_give(n))
        return;
    n->held = 0;
    if (n->rx.received)
        n->rx.received(n->rx.opaque);
    events_set(n);
}

/* --- from the guest --------------------------------------------------------------------------------------------- */

bool net_send(struct net *n, const struct frame_header *h, const struct iovec *iov, unsigned iovs)
{
    struct iovec all[NET_IOVS_MAX + 1] = {{.iov_len = sizeof(*h)}};
    ssize_t done;

    if (!n->up || iovs > NET_IOVS_MAX)
        return true;
    struct frame_header copy = *h;
    all[0].iov_base = &copy;
    memcpy(all + 1, iov, iovs * sizeof(*iov));
    do
        done = writev(n->cfg.fd, n->cfg.header ? all : all + 1, (int)(n->cfg.header ? iovs + 1 : iovs));
    while (done < 0 && errno == EINTR);
    n->blocked = done < 0 && (errno == EAGAIN || errno == ENOBUFS);
    n->counts.sent += done > 0;
    n->counts.sent_bytes += done > 0 ? (u64)done - (n->cfg.header ? sizeof(copy) : 0) : 0;
    events_set(n);
    return !n->blocked;
}

static void link_ready(void *opaque, short revents)
{
    struct net *n = opaque;

    if (revents & POLLOUT) {
        bool was = n->blocked;
        n->blocked = false;
        events_set(n);
        if (was && n->rx.writable)
            n->rx.writable(n->rx.opaque);
    }
    if (revents & (POLLIN | POLLHUP | POLLERR) && n->up && !n->held)
        link_read(n);
    else if (revents & (POLLHUP | POLLERR))
        link_down(n);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

void net_attach(struct net *n, const struct net_receiver *r)
{
    n->rx = r ? *r : (struct net_receiver){0};
    n->held = 0;
    events_set(n);
}

struct net_counts net_counts(const struct net *n)
{
    return n->counts;
}

unsigned net_can(const struct net *n)
{
    return n->cfg.can;
}

bool net_is_up(const struct net *n)
{
    return n->up;
}

int link_fd(const struct net *n)
{
    return n->cfg.fd;
}

bool link_has_child(const struct net *n)
{
    return n->cfg.child != 0;
}

const char *link_who(const struct net *n)
{
    return n->who;
}

void link_start(struct net *n)
{
    if (!n->watch.active)
        watch_add(&n->watch, n->cfg.loop, n->cfg.fd, POLLIN, link_ready, n);
}

struct net *link_create(const struct link_config *cfg)
{
    struct net *n = calloc(1, sizeof(*n));

    if (n)
        n->who = strdup(cfg->who);
    if (!n || !n->who) {
        free(n);
        (void)close(cfg->fd);
        child_reap(cfg->child);
        return NULL;
    }
    n->cfg = *cfg;
    n->up = true;
    return n;
}

void net_destroy(struct net *n)
{
    if (!n)
        return;
    watch_remove(&n->watch);
    (void)close(n->cfg.fd);
    child_reap(n->cfg.child);
    free(n->who);
    free(n);
}
