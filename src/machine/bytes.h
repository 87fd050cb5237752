/*
 * A growing run of bytes, for tables that are built piece by piece. Running out of memory is remembered and told once,
 * at the end: bytes_ok. Offsets stay valid while it grows, pointers do not. Zero-initialise; the owner frees.
 */
#ifndef MACHINE_BYTES_H
#define MACHINE_BYTES_H

#include "base/bits.h"
#include "base/types.h"

struct bytes {
    u8 *data;
    size_t size, capacity;
    bool failed;
};

void bytes_free(struct bytes *b);
static inline bool bytes_ok(const struct bytes *b)
{
    return !b->failed;
}

/* Appends `len` zero bytes; where they start, NULL when out of memory. */
u8 *bytes_grow(struct bytes *b, size_t len);
void bytes_add(struct bytes *b, const void *data, size_t len);
void bytes_align(struct bytes *b, size_t power_of_two);
/* Opens a gap of `len` zero bytes at `at`. */
void bytes_insert(struct bytes *b, size_t at, size_t len);

void bytes_u8(struct bytes *b, u8 v);
void bytes_u16(struct bytes *b, u16 v);
void bytes_u32(struct bytes *b, u32 v);
void bytes_u64(struct bytes *b, u64 v);

/* Overwrites a field; does nothing after a failure. */
void bytes_patch(struct bytes *b, size_t at, u64 value, unsigned size);

/* What makes the bytes of [p, p + len) add up to 0, given that the checksum's own byte is 0 now. */
u8 checksum8(const u8 *p, size_t len);

#endif
