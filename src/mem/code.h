/*
 * How self-modifying code is seen. An engine that keeps anything derived from code bytes marks the 64-byte chunks it
 * read with mem_code_mark. A store that may hit a marked page goes the slow way (no engine keeps a write translation of
 * a page whose `code` is not 0) and calls mem_code_written, which counts up the page's code_gen if a marked chunk is
 * hit. Every entry into cached code compares the generation it was made under with the page's.
 *
 * Order: mark, make every processor drop its write translations of the page (if it was unmarked), note code_gen, then
 * read the bytes.
 */
#ifndef MEM_CODE_H
#define MEM_CODE_H

#include <stdatomic.h>

#include "mem/space.h"

/* The chunks of bytes [off, off + len) of a page, len >= 1, off + len <= 4096. */
static inline u64 mem_code_chunks(unsigned off, unsigned len)
{
    unsigned first = off / 64, last = (off + len - 1) / 64;
    return (~0ull >> (63 - (last - first))) << first;
}

/* Returns true if the page had no mark before: the caller must then have write translations of it dropped everywhere.
 */
static inline bool mem_code_mark(struct mem_page *p, unsigned off, unsigned len)
{
    return atomic_fetch_or(&p->code, mem_code_chunks(off, len)) == 0;
}

/*
 * After a store to the page. Returns true if code was hit. The marks are read by a locked operation, so that the store
 * is seen before they are: whoever marks later reads the new bytes.
 */
static inline bool mem_code_written(struct mem_page *p, unsigned off, unsigned len)
{
    if (!(atomic_fetch_or(&p->code, 0) & mem_code_chunks(off, len)))
        return false;
    atomic_fetch_add(&p->code_gen, 1);
    return true;
}

/*
 * The page holds data again: forgets the marks, and with the new generation everything made from them. Only in an
 * exclusive section: nobody may be between marking and using.
 */
static inline void mem_code_unmark(struct mem_page *p)
{
    atomic_store(&p->code, 0);
    atomic_fetch_add(&p->code_gen, 1);
}

static inline u32 mem_code_gen(const struct mem_page *p)
{
    return atomic_load_explicit(&p->code_gen, memory_order_acquire);
}

#endif
