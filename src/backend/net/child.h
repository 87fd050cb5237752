/*
 * Processes of a network: forked from the monitor before it enters its sandbox, alive as long as somebody holds the
 * other ends of their descriptors.
 */
#ifndef BACKEND_NET_CHILD_H
#define BACKEND_NET_CHILD_H

#include <sys/types.h>

#include "base/types.h"

/* Is the process put into its sandbox (host/sandbox.h)? TRY: if the host can. */
enum child_confine { CHILD_FREE, CHILD_TRY, CHILD_MUST };

/*
 * In the child, first of all: a name that tools show, a session of its own, signals as they are for a new program,
 * standard input and output that lead nowhere; and of all other descriptors only those in `keep`, which become 3, 4 and
 * so on. False: the host would not.
 */
bool child_begin(const char *name, const int *keep, unsigned count) MUST_CHECK;

/* In a child that is forked once: the kernel ends it when the thread that forked it ends. */
void child_end_with_parent(void);

/* In the parent, when the child's descriptor was closed: waits for its end, but not for one that goes on against the
 * rules, which cannot outlive us. 0 is no child. */
void child_reap(pid_t child);

/* The first message of a child. `text`: what is wrong; with status 0, nothing. */
struct child_ready {
    i32 status;
    char text[400];
};

/* A pair of sockets that carries whole frames, of the longest kind several of them. 0 or a negative errno value. */
int child_sockets(int pair[2]) MUST_CHECK;

#endif
