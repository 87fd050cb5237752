/*
 * Pieces ("slices") of the tables of a qcow2 file in memory, written back when told to. Not guarded.
 *
 * A slice that is not dirty may go whenever another is asked for: what cache_get returns holds until the next call.
 * Dirty slices stay, however many there are; who dirties them looks at cache_dirty now and then.
 */
#ifndef BACKEND_BLOCK_CACHE_H
#define BACKEND_BLOCK_CACHE_H

#include "backend/block/file.h"
#include "base/types.h"

struct cache;

/* `slice` is a power of two; about `slices` of them are kept. */
struct cache *cache_create(struct file *f, u32 slice, size_t slices);
void cache_destroy(struct cache *c);

u32 cache_slice(const struct cache *c);
size_t cache_dirty(const struct cache *c);
bool cache_crowded(const struct cache *c); /* half of it is dirty */

/* The slice at `offset` of the file, a multiple of the size. */
int cache_get(struct cache *c, u64 offset, u8 **out) MUST_CHECK;
u8 *cache_peek(struct cache *c, u64 offset); /* NULL if it is not in memory */
/* All zero, whatever the file has there; dirty. */
int cache_new(struct cache *c, u64 offset, u8 **out) MUST_CHECK;
/* A slice that is in memory was changed. */
void cache_touch(struct cache *c, u64 offset);

/* Writes what is dirty, in no order. What could not be written stays dirty. */
int cache_write(struct cache *c) MUST_CHECK;
/* Forgets the slices of a table that is no more. */
void cache_forget(struct cache *c, u64 offset, u64 length);

#endif
