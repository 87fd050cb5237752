/*
 * A stretch of bytes that can be read: a disk, a partition of it. What is inside is hostile, and what this room makes
 * of it never trusts a number that it did not check. Pure, but for the function that reads.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include "base/bits.h"
#include "base/error.h"
#include "base/types.h"

struct volume {
    /* Bytes of the whole disk; 0 or -errno. */
    int (*read)(void *opaque, u64 offset, void *to, size_t length);
    void *opaque;
    u64 start, size; /* in the disk */
};

/* -EIO if any of it lies outside. */
int volume_read(const struct volume *v, u64 offset, void *to, size_t length) MUST_CHECK;

/* Part of a volume, cut off where that ends. */
struct volume volume_part(const struct volume *v, u64 start, u64 size);

#endif
