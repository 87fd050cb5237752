/*
 * What the files of window*.c share: a processor's windows as they are kept. See window.h for what they are, and
 * window_half.h for what one is made of.
 *
 * A write may have been let through to a page of RAM before code is translated from it. `writers` knows for each page
 * where, up to a number of places; beyond it, all entries are looked at. A place may be out of date; no entry that lets
 * writes through is missing.
 */
#ifndef ENGINE_TRANSLATE_WINDOW_POOL_H
#define ENGINE_TRANSLATE_WINDOW_POOL_H

#include "engine/translate/window_half.h"

#define KEY_NONE     (~0ull)
#define ASID_NONE    (~0ull)
#define USER_MAX     8u
#define SUPER_MAX    16u
#define POOL_MAX     (USER_MAX + SUPER_MAX)
#define HALF_SHARED  (2 * POOL_MAX)
#define GUARD_SPACE  KiB(64)
#define GUARD_OFFSET KiB(16)
#define WRITERS      2
#define WRITERS_MANY (~0ull)

/* Which chunks of the shared half this window has mapped. */
struct seen {
    u32 count;
    u32 list[LIST_MAX];
    u8 chunk[HALF_CHUNKS];
};

struct window {
    u8 *base;
    u64 key;   /* asid << 2 | mmu_index, or KEY_NONE */
    u64 stamp; /* when it was selected last */
    struct half *half[2];
    struct seen *seen; /* supervisor windows, whose half[1] is the shared one */
};

struct writers {
    u64 at[WRITERS]; /* half << 36 | page | BIT64(35), 0 for none; WRITERS_MANY in the first */
};

struct windows {
    struct cpu *cpu;
    const struct mem_ram *ram;
    struct tlb_watch watch;
    u64 miss_slot, miss_jump;
    u8 *guard_space;
    u64 key; /* of the current window; KEY_NONE if none is */
    struct window *current;
    struct window pool[POOL_MAX]; /* user windows, then supervisor windows */
    unsigned user_max, super_max;
    u64 clock;
    struct host_ram shared_ram;
    struct half *shared;
    u64 shared_asid; /* what in the shared half depends on the address space belongs to this one */
    struct writers *writers;
    u64 pieces_max;
    struct window_stats stats;
};

static inline u64 guard_of(const struct windows *ws)
{
    return (u64)ws->guard_space + GUARD_OFFSET;
}

static inline u64 key_now(const struct windows *ws)
{
    return ws->cpu->tlb->asid << 2 | ws->cpu->mmu_index;
}

static inline bool is_supervisor(unsigned index)
{
    return index == MMU_SUPER || index == MMU_SUPER_SMAP;
}

static inline u64 page_in_half(u64 linear)
{
    return linear >> 12 & (HALF_PAGES - 1);
}

static inline unsigned side_of(u64 linear)
{
    return linear >> 47 & 1;
}

/* The current window, if it stands for the processor's present state. */
static inline struct window *window_now(const struct windows *ws)
{
    return ws->key == key_now(ws) ? ws->current : NULL;
}

/* Halves by number: those of the windows, and last the shared one. NULL where there is none. */
static inline struct half *half_by_number(const struct windows *ws, u64 number)
{
    if (number == HALF_SHARED)
        return ws->shared;
    const struct window *w = &ws->pool[number / 2];
    return w->base && !(number % 2 && w->seen) ? w->half[number % 2] : NULL;
}

/* window_table.c: gives the chunk memory if it has none, possibly after taking it from all others. False if the host
 * refuses. */
bool chunk_make(struct windows *ws, struct half *h, u64 chunk) MUST_CHECK;
/* How many chunks have memory; `seen_too`: mappings of the shared ones are counted each. */
u64 count_chunks(const struct windows *ws, bool seen_too);

/* window_fill.c: no window's content will be found again; it is cleared when the window is taken. */
void forget_keys(struct windows *ws);
extern const struct tlb_watch_ops windows_watch_ops;

#endif
