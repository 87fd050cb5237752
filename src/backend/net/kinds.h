/*
 * The kinds of network, for open.c: each gives a non-blocking descriptor that carries frames (link.h), or a negative
 * errno value and a message.
 */
#ifndef BACKEND_NET_KINDS_H
#define BACKEND_NET_KINDS_H

#include <sys/types.h>

#include "backend/net/child.h"
#include "backend/net/spec.h"
#include "base/error.h"

/* tap.c: by name or descriptor; *header as link_config has it, *can what it takes. */
int tap_open(const char *who, const struct net_spec *spec, bool *header, unsigned *can, struct error *err) MUST_CHECK;

/* switch.c: a port of the switch at the path. If there is none yet, its process is made. */
int switch_open(const char *who, const char *path, enum child_confine confine, struct error *err) MUST_CHECK;

/* nat.c: our end of the process's socket. */
int nat_open(const char *who, const struct net_spec *spec, enum child_confine confine, pid_t *child,
             struct error *err) MUST_CHECK;

#endif
