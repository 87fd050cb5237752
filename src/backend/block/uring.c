/*
 * Implements uring.h.
 */
#include "backend/block/uring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/thread.h"

#define DEPTH  256
#define IOVECS 1024 /* the kernel's limit for one call */

struct uring {
    struct io_uring ring;
    pthread_mutex_t lock; /* submission */
    atomic_uint under_way;
};

/* liburing has functions for these two calls, but Debian 12's shared library does not export them. */
static int ring_call(const struct io_uring *ring, unsigned what, void *arg, unsigned count)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, what, arg, count) < 0 ? -errno : 0;
}

/* Reads and writes of registered files; no other operation, and nothing more is registered. */
static int restrict_ring(const struct io_uring *ring)
{
    struct io_uring_restriction rules[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV},
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE},
        {.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_FIXED_FILE},
    };
    return ring_call(ring, IORING_REGISTER_RESTRICTIONS, rules, ARRAY_SIZE(rules));
}

static int prepare(struct io_uring *ring, int fd, int bell)
{
    int status = io_uring_register_files(ring, &fd, 1);
    if (!status)
        status = io_uring_register_eventfd(ring, bell);
    if (!status)
        status = restrict_ring(ring);
    if (!status)
        status = ring_call(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return status < 0 ? status : 0;
}

/* Reads nothing, once: a host may let a ring be made and refuse its use. */
static int try_out(struct io_uring *ring)
{
    struct iovec none = {NULL, 0};
    struct io_uring_cqe *cqe = NULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (!sqe)
        return -ENOSPC;
    io_uring_prep_readv(sqe, 0, &none, 1, 0);
    sqe->flags |= IOSQE_FIXED_FILE;
    int status = io_uring_submit(ring);
    if (status >= 0)
        status = io_uring_wait_cqe(ring, &cqe);
    if (status < 0)
        return status;
    status = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return status < 0 ? status : 0;
}

int uring_create(int fd, int bell, struct uring **out)
{
    struct uring *u = calloc(1, sizeof(*u));
    if (!u)
        return -ENOMEM;
    int status = io_uring_queue_init(DEPTH, &u->ring, IORING_SETUP_R_DISABLED);
    if (status < 0) {
        free(u);
        return status;
    }
    status = prepare(&u->ring, fd, bell);
    if (!status)
        status = try_out(&u->ring);
    if (status) {
        io_uring_queue_exit(&u->ring);
        free(u);
        return status;
    }
    (void)pthread_mutex_init(&u->lock, NULL); /* cannot fail without attributes */
    *out = u;
    return 0;
}

void uring_destroy(struct uring *u)
{
    if (!u)
        return;
    io_uring_queue_exit(&u->ring);
    (void)pthread_mutex_destroy(&u->lock);
    free(u);
}

/* Refused is only what the kernel has no memory for at the moment: completions always have room, as no more than DEPTH
 * are under way. Nobody else would come to start it, so it is tried until it goes. */
static void submit(struct uring *u)
{
    while (io_uring_submit(&u->ring) < 0)
        host_thread_yield();
}

bool uring_start(struct uring *u, bool write, u64 offset, const struct iovec *iov, unsigned iovs, void *tag)
{
    bool started = false;
    if (iovs > IOVECS)
        return false;
    pthread_mutex_lock(&u->lock);
    struct io_uring_sqe *sqe = u->under_way < DEPTH ? io_uring_get_sqe(&u->ring) : NULL;
    if (sqe) {
        if (write)
            io_uring_prep_writev(sqe, 0, iov, iovs, offset);
        else
            io_uring_prep_readv(sqe, 0, iov, iovs, offset);
        sqe->flags |= IOSQE_FIXED_FILE;
        io_uring_sqe_set_data(sqe, tag);
        u->under_way++;
        submit(u);
        started = true;
    }
    pthread_mutex_unlock(&u->lock);
    return started;
}

void *uring_reap(struct uring *u, int *result)
{
    struct io_uring_cqe *cqe;
    if (io_uring_peek_cqe(&u->ring, &cqe) < 0 || !cqe)
        return NULL;
    void *tag = io_uring_cqe_get_data(cqe);
    *result = cqe->res;
    io_uring_cqe_seen(&u->ring, cqe);
    u->under_way--;
    return tag;
}
