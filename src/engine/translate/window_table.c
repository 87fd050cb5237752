/*
 * Memory of the windows' tables (window.h): chunks, made when translated code or a fill first needs them, and taken
 * back all at once when there are too many.
 *
 * Runs in signal context: system calls and stores only.
 */
#include "engine/translate/window_pool.h"

#define KERNEL_TABLE (WIN_TABLE + HALF_PAGES * 8)

static bool unsee(struct window *w)
{
    u32 kept = 0;
    for (u32 n = 0; n < w->seen->count; n++) {
        u64 chunk = w->seen->list[n];
        if (host_piece_close(w->base + KERNEL_TABLE + chunk * CHUNK_BYTES, CHUNK_BYTES))
            w->seen->chunk[chunk] = 0;
        else
            w->seen->list[kept++] = (u32)chunk;
    }
    w->seen->count = kept;
    return !kept;
}

/* Everything is empty and without memory. The shared half keeps its own while anybody has it open: discarded memory
 * reads as 0, which is no empty entry. */
static void drop_memory(struct windows *ws)
{
    bool unseen = true;
    for (struct window *w = ws->pool; w < ws->pool + POOL_MAX; w++) {
        if (!w->base)
            continue;
        half_unmap(w->half[0]);
        if (w->seen)
            unseen &= unsee(w);
        else
            half_unmap(w->half[1]);
    }
    if (unseen)
        half_unmap(ws->shared);
    else
        half_reset(ws->shared);
    ws->stats.drops++;
}

u64 count_chunks(const struct windows *ws, bool seen_too)
{
    u64 count = ws->shared->mapped;
    for (const struct window *w = ws->pool; w < ws->pool + POOL_MAX; w++) {
        if (!w->base)
            continue;
        count += w->half[0]->mapped;
        count += !w->seen ? w->half[1]->mapped : seen_too ? w->seen->count : 0;
    }
    return count;
}

static void make_room(struct windows *ws, const struct half *h)
{
    if (!half_has_room(h) || count_chunks(ws, true) >= ws->pieces_max)
        drop_memory(ws);
}

bool chunk_make(struct windows *ws, struct half *h, u64 chunk)
{
    if (half_is_mapped(h, chunk))
        return true;
    make_room(ws, h);
    if (!half_has_room(h) || !half_map(h, chunk))
        return false;
    ws->stats.chunks++;
    return true;
}

static bool chunk_see(struct windows *ws, struct window *w, u64 chunk)
{
    struct seen *s = w->seen;
    if (s->count == LIST_MAX || count_chunks(ws, true) >= ws->pieces_max)
        drop_memory(ws);
    u8 *place = w->base + KERNEL_TABLE + chunk * CHUNK_BYTES;
    if (s->count == LIST_MAX || !chunk_make(ws, ws->shared, chunk) || !host_piece_open(place, CHUNK_BYTES))
        return false;
    s->list[s->count++] = (u32)chunk;
    s->chunk[chunk] = 1;
    return true;
}

/* The window that has this address: not always ws->current, which may be behind (ring.h). */
static struct window *window_with(struct windows *ws, u64 host_address)
{
    for (struct window *w = ws->pool; w < ws->pool + POOL_MAX; w++) {
        if (w->base && host_address - (u64)w->base < WIN_SIZE)
            return w;
    }
    return NULL;
}

static bool is_in_part(struct windows *ws, u64 host_address, u64 offset, u64 size)
{
    const struct window *w = window_with(ws, host_address);
    return w && host_address - (u64)w->base - offset < size;
}

bool windows_slot_fault(struct windows *ws, u64 host_address)
{
    return is_in_part(ws, host_address, WIN_SLOT, WIN_SLOTS * 8);
}

bool windows_jump_fault(struct windows *ws, u64 host_address)
{
    return is_in_part(ws, host_address, WIN_JUMP, WIN_JUMPS * 8);
}

bool windows_span_fault(struct windows *ws, u64 host_address)
{
    return is_in_part(ws, host_address, WIN_SPAN + WIN_SPAN_SIZE, MEM_PAGE_SIZE);
}

bool windows_table_fault(struct windows *ws, u64 host_address)
{
    struct window *w = window_with(ws, host_address);
    u64 off = w ? host_address - (u64)w->base - WIN_TABLE : ~0ull;
    if (off >= WIN_PAGES * 8)
        return false;
    unsigned side = off >= HALF_PAGES * 8;
    u64 chunk = off / CHUNK_BYTES % HALF_CHUNKS;
    if (side && w->seen)
        return !w->seen->chunk[chunk] && chunk_see(ws, w, chunk);
    return !half_is_mapped(w->half[side], chunk) && chunk_make(ws, w->half[side], chunk);
}

bool windows_is_guard(const struct windows *ws, u64 host_address)
{
    return host_address - (u64)ws->guard_space < GUARD_SPACE;
}

bool windows_may_fault(const struct windows *ws, u64 host_address)
{
    const struct mem_ram *ram = ws->ram;
    return windows_is_guard(ws, host_address) || host_address - (u64)ram->read_only < ram->size ||
           host_address - (u64)ram->host < ram->size;
}

void windows_drop(struct windows *ws)
{
    drop_memory(ws);
}
