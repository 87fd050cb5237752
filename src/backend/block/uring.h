/*
 * io_uring(7) for one file, by liburing: plain reads and writes.
 *
 * The calls that a ring makes are not seen by seccomp. So the ring is made disabled, told that it will only ever read
 * and write, and only the one file that it was given, and then enabled; a host that cannot do that (Linux before 5.10)
 * gets no ring. Whoever takes over the process can do no more with the ring than with the descriptor.
 *
 * Any thread may start; uring_reap is called by one at a time.
 */
#ifndef BACKEND_BLOCK_URING_H
#define BACKEND_BLOCK_URING_H

#include <sys/uio.h>

#include "base/types.h"

struct uring;

/* Completions ring the bell (host/wait.h). -errno where the host refuses. */
int uring_create(int fd, int bell, struct uring **out) MUST_CHECK;
void uring_destroy(struct uring *u);

/* False if there is no room: somebody else has to do it. The vector stays untouched until the end. */
bool uring_start(struct uring *u, bool write, u64 offset, const struct iovec *iov, unsigned iovs, void *tag);

/* One that has ended: its tag, and the number of bytes or -errno in *result; NULL if there is none. */
void *uring_reap(struct uring *u, int *result);

#endif
