/*
 * A place in a scatter list: what is left of it from here on. Passed by value; the list stays the caller's.
 */
#ifndef BACKEND_BLOCK_VEC_H
#define BACKEND_BLOCK_VEC_H

#include <sys/uio.h>

#include "base/types.h"

struct vec {
    const struct iovec *iov;
    unsigned count;
    size_t skip; /* bytes of iov[0] that are behind us */
};

static inline struct vec vec_of(const struct iovec *iov, unsigned count)
{
    return (struct vec){.iov = iov, .count = count};
}

/* The place `length` bytes further on, or the end. */
struct vec vec_after(struct vec v, u64 length);

/* Up to `max` pieces of the next `length` bytes into `out`; how many, and in *covered how many bytes they hold. */
unsigned vec_pieces(struct vec v, u64 length, struct iovec *out, unsigned max, u64 *covered);

void vec_zero(struct vec v, u64 length);
void vec_put(struct vec v, const void *from, u64 length);
void vec_get(struct vec v, void *to, u64 length);

/* Are all pieces of the next `length` bytes, address and size, multiples of `align`? */
bool vec_aligned(struct vec v, u64 length, u32 align);

#endif
