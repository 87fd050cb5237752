/*
 * Makes network back ends from their text (spec.h). Machine lock held.
 *
 * A network may have a process of its own (nat, the first machine on a switch), which is forked in net_open: with no
 * memory of a guest if that comes later, with no descriptor but its own, and in a sandbox of its own.
 */
#ifndef BACKEND_NET_OPEN_H
#define BACKEND_NET_OPEN_H

#include "backend/net/child.h"
#include "backend/net/net.h"
#include "backend/net/spec.h"
#include "base/log.h"

struct loop;

struct net_host {
    struct loop *loop;
    const struct log *log; /* outlives the back end */
    enum child_confine confine;
};

/* `who`, copied, is for messages. *out is NULL for `none`. Free it with net_destroy. */
int net_open(const struct net_host *host, const char *who, const struct net_spec *spec, struct net **out,
             struct error *err) MUST_CHECK;

/* The machine is made: waits until a process that was forked is ready, and says why it is not. Frames come from now on.
 */
int net_start(struct net *n, struct error *err) MUST_CHECK;

#endif
