/*
 * Block back ends: a disk's contents on the host. A device (dev/virtio/blk.c) sees only this.
 *
 * Requests are asynchronous. block_submit never blocks and may be called with or without the machine lock, by any
 * thread; `done` is called on the event loop's thread with the machine lock held, never from inside block_submit. A
 * request's memory (the request, the vector and what it points to) stays the caller's, untouched by it, until `done`.
 * Requests that overlap and are under way together have no order; a flush covers every request whose `done` came
 * before the flush was submitted. After block_drain returned nothing is under way.
 */
#ifndef BACKEND_BLOCK_BLOCK_H
#define BACKEND_BLOCK_BLOCK_H

#include <sys/uio.h>

#include "base/error.h"
#include "base/list.h"
#include "base/types.h"

struct loop;
struct block;

#define BLOCK_SECTOR 512

enum block_op {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,
    BLOCK_DISCARD,      /* contents are undefined after; a hint */
    BLOCK_WRITE_ZEROES, /* reads as zeroes after */
};

enum {
    BLOCK_FUA = 1,   /* BLOCK_WRITE, BLOCK_WRITE_ZEROES: on stable storage before `done` */
    BLOCK_UNMAP = 2, /* BLOCK_WRITE_ZEROES: space may be given back */
};

struct block_request {
    u8 op, flags;
    u64 offset, length; /* bytes, multiples of BLOCK_SECTOR; the vector holds exactly `length` for READ and WRITE */
    struct iovec *iov;
    unsigned iovs;
    /* status 0, or -EIO, -ENOSPC, -EROFS (written to a read-only image), -EINVAL (not inside the disk, not aligned) */
    void (*done)(struct block_request *r, int status);
    void *opaque;
    struct list node; /* the back end's, while it is under way */
    u64 private[4];   /* the back end's */
};

struct block_info {
    u64 size;    /* bytes, a multiple of BLOCK_SECTOR; does not change while it is open */
    u32 cluster; /* best granularity of discards, bytes; 0: discards do nothing */
    bool read_only;
    const char *path; /* as it was opened */
};

void block_info(const struct block *b, struct block_info *out);
void block_submit(struct block *b, struct block_request *r);
/* Waits until all that was submitted is done (their `done` is called, with the lock, on this thread or the loop's).
 * Machine lock NOT held. */
void block_drain(struct block *b);
/* Drains, flushes, unlocks, closes. Machine lock not held. */
void block_close(struct block *b);

#endif
