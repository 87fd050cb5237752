/*
 * Implements window.h: the pool of windows, and which of them is current.
 *
 * A window is keyed by (address-space number, mmu_index). Numbers are never used twice between two renumberings
 * (cpu/mmu.h), so the content of a window with another number is out of date or waits for its space to come back. One
 * whose space cannot come back is the first to be taken for a new space, the last used before the others: its chunks
 * are where a similar program has them.
 */
#include <stdlib.h>

#include "engine/translate/window_pool.h"
#include "host/gs.h"

#define PROCESS_POOL 200u   /* windows that fit into a process's address space */
#define PIECES       28000u /* for all processors: each may cost two of the 65,530 mappings that a process may have */
#define PIECES_MAX   8192u
#define PIECES_MIN   256u
#define CANONICAL    0xffff800000000000ull /* the first address with bit 47 set */

/* Where the kernel half stands in the memory that the supervisor windows share. */
#define SHARED_SLOTS (HALF_PAGES * 8)
#define SHARED_JUMPS (SHARED_SLOTS + HALF_SLOTS * 8)
#define SHARED_SIZE  (SHARED_JUMPS + HALF_JUMPS * 8)

static u64 writers_size(const struct windows *ws)
{
    return ws->ram->size / MEM_PAGE_SIZE * sizeof(struct writers);
}

/* ---- Making windows ---- */

static void where_private(const struct windows *ws, const struct window *w, unsigned side, struct half_where *at)
{
    *at = (struct half_where){
        .table = (u64 *)(void *)(w->base + WIN_TABLE) + side * HALF_PAGES,
        .slots = (u64 *)(void *)(w->base + WIN_SLOT) + side * HALF_SLOTS,
        .jumps = (u64 *)(void *)(w->base + WIN_JUMP) + side * HALF_JUMPS,
        .first = side ? CANONICAL : 0,
        .guard = guard_of(ws),
        .miss_slot = ws->miss_slot,
        .miss_jump = ws->miss_jump,
    };
}

static struct half *private_half(const struct windows *ws, const struct window *w, unsigned side)
{
    struct half_where at;
    where_private(ws, w, side, &at);
    return half_create(&at);
}

static struct half *shared_half(struct windows *ws)
{
    u8 *base = ws->shared_ram.base;
    struct half_where at = {
        .table = (u64 *)(void *)base,
        .slots = (u64 *)(void *)(base + SHARED_SLOTS),
        .jumps = (u64 *)(void *)(base + SHARED_JUMPS),
        .first = CANONICAL,
        .guard = guard_of(ws),
        .miss_slot = ws->miss_slot,
        .miss_jump = ws->miss_jump,
        .ram = &ws->shared_ram,
    };
    return half_create(&at);
}

static bool share_piece(const struct windows *ws, void *piece, u64 size, u64 offset)
{
    return host_piece_share(piece, size, ws->shared_ram.fd, offset);
}

/* The table stays closed until its chunks are needed. */
static bool share_half(const struct windows *ws, struct window *w)
{
    struct half_where at;
    where_private(ws, w, 1, &at);
    w->seen = host_table_alloc(sizeof(*w->seen));
    w->half[1] = ws->shared;
    return w->seen && share_piece(ws, at.table, SHARED_SLOTS, 0) &&
           share_piece(ws, at.slots, HALF_SLOTS * 8, SHARED_SLOTS) && host_piece_open(at.slots, HALF_SLOTS * 8) &&
           share_piece(ws, at.jumps, HALF_JUMPS * 8, SHARED_JUMPS) && host_piece_open(at.jumps, HALF_JUMPS * 8);
}

static void window_destroy(const struct windows *ws, struct window *w)
{
    half_destroy(w->half[0]);
    if (w->half[1] != ws->shared)
        half_destroy(w->half[1]);
    host_table_free(w->seen, sizeof(*w->seen));
    host_space_release(w->base, WIN_SIZE);
    *w = (struct window){.key = KEY_NONE};
}

static u64 *peers_of(const struct window *w)
{
    return (u64 *)(void *)(w->base + WIN_PEERS);
}

static bool window_create(const struct windows *ws, struct window *w, bool supervisor)
{
    const struct host_ram *home = &ws->cpu->home;
    *w = (struct window){.key = KEY_NONE, .base = host_space_reserve(WIN_SIZE)};
    if (!w->base)
        return false;
    u8 *cpu = w->base + WIN_CPU;
    bool ok = host_piece_share(cpu, home->size, home->fd, 0) && host_piece_open(cpu, home->size) &&
              host_piece_open(peers_of(w), MEM_PAGE_SIZE) && host_piece_open(w->base + WIN_SPAN, WIN_SPAN_SIZE);
    w->half[0] = ok ? private_half(ws, w, 0) : NULL;
    if (w->half[0])
        ok = supervisor ? share_half(ws, w) : (w->half[1] = private_half(ws, w, 1)) != NULL;
    if (ok && w->half[0])
        return true;
    window_destroy(ws, w);
    return false;
}

/* ---- Peers ---- */

static void unlink_peer(struct window *w, const struct window *gone)
{
    for (unsigned index = 0; index < MMU_INDEXES; index++) {
        if (peers_of(w)[index] == (u64)gone->base)
            peers_of(w)[index] = 0;
    }
}

/* The window is about to stand for something else: nobody may come to it as a peer, nor from it. */
static void unlink_window(struct windows *ws, struct window *gone)
{
    for (struct window *w = ws->pool; w < ws->pool + POOL_MAX; w++) {
        if (w->base)
            unlink_peer(w, gone);
    }
    for (unsigned index = 0; index < MMU_INDEXES; index++)
        peers_of(gone)[index] = 0;
}

/* Windows for the same space as w's, w among them, know w and are known to it. */
static void link_peers(struct windows *ws, struct window *w)
{
    /* What the supervisor's have in common is for another space: it must be selected. */
    bool usable = ws->shared_asid == w->key >> 2;
    for (struct window *p = ws->pool; p < ws->pool + POOL_MAX; p++) {
        if (!p->base || p->key == KEY_NONE || p->key >> 2 != w->key >> 2)
            continue;
        peers_of(w)[p->key & 3] = p->seen && !usable ? 0 : (u64)p->base;
        peers_of(p)[w->key & 3] = w->seen && !usable ? 0 : (u64)w->base;
    }
}

/* ---- Choosing a window ---- */

static struct window *pool_of(struct windows *ws, bool supervisor, unsigned *count)
{
    *count = supervisor ? ws->super_max : ws->user_max;
    return supervisor ? &ws->pool[USER_MAX] : ws->pool;
}

static bool is_dead(const struct windows *ws, const struct window *w)
{
    return w->key == KEY_NONE || !mmu_space_alive(ws->cpu, w->key >> 2);
}

/* The first windows of both kinds are made at once, so there is always one. */
static struct window *window_take(struct windows *ws, bool supervisor)
{
    unsigned count;
    struct window *pool = pool_of(ws, supervisor, &count), *dead = NULL, *oldest = pool, *absent = NULL;
    for (struct window *w = pool; w < pool + count; w++) {
        if (!w->base)
            absent = absent ? absent : w;
        else if (is_dead(ws, w))
            dead = dead && dead->stamp > w->stamp ? dead : w;
        else
            oldest = w->stamp < oldest->stamp ? w : oldest;
    }
    if (!dead && absent && window_create(ws, absent, supervisor))
        return absent;
    struct window *w = dead ? dead : oldest;
    unlink_window(ws, w);
    half_reset(w->half[0]);
    if (!supervisor)
        half_reset(w->half[1]);
    ws->stats.recycled++;
    return w;
}

static struct window *window_find(struct windows *ws, bool supervisor, u64 key)
{
    unsigned count;
    struct window *pool = pool_of(ws, supervisor, &count);
    for (unsigned n = 0; n < count; n++) {
        if (pool[n].base && pool[n].key == key)
            return &pool[n];
    }
    struct window *w = window_take(ws, supervisor);
    w->key = key;
    return w;
}

static NOINLINE void select_other(struct windows *ws, u64 key)
{
    bool supervisor = is_supervisor(ws->cpu->mmu_index);
    u64 asid = ws->cpu->tlb->asid;
    struct window *w = window_find(ws, supervisor, key);
    if (supervisor && ws->shared_asid != asid) {
        half_drop_local(ws->shared);
        ws->shared_asid = asid;
    }
    w->stamp = ++ws->clock;
    link_peers(ws, w);
    ws->current = w;
    ws->key = key;
    ws->stats.selects++;
}

void windows_select(struct windows *ws)
{
    u64 key = key_now(ws);
    if (unlikely(key != ws->key))
        select_other(ws, key);
    host_gs_set((u64)ws->current->base);
}

void windows_moved(struct windows *ws)
{
    host_gs_forget();
    windows_select(ws);
}

/* ---- The whole ---- */

static u64 clamp(u64 value, u64 low, u64 high)
{
    return value < low ? low : value > high ? high : value;
}

static void set_limits(struct windows *ws)
{
    unsigned cpus = ws->cpu->count ? ws->cpu->count : 1;
    unsigned pool = (unsigned)clamp(PROCESS_POOL / cpus, 3, POOL_MAX);
    ws->user_max = pool / 3;
    ws->super_max = pool - ws->user_max;
    ws->pieces_max = clamp(PIECES / cpus, PIECES_MIN, PIECES_MAX);
}

void windows_limit(struct windows *ws, u64 bytes)
{
    unsigned pool = (unsigned)clamp(bytes / 2 / HALF_BYTES, 3, ws->user_max + ws->super_max);
    ws->user_max = pool / 3;
    ws->super_max = pool - ws->user_max;
    ws->pieces_max = clamp((bytes - bytes / 2) / CHUNK_BYTES, PIECES_MIN, ws->pieces_max);
}

/* Words are used in the lower half of user windows, and in the shared one. */
_Static_assert(PIECES_MIN *CHUNK_BYTES + 4 * HALF_BYTES <= WINDOWS_LEAST, "WINDOWS_LEAST");

static bool make_parts(struct windows *ws)
{
    ws->guard_space = host_space_reserve(GUARD_SPACE);
    ws->writers = host_table_alloc(writers_size(ws));
    if (!ws->guard_space || !ws->writers || host_ram_small(&ws->shared_ram, "windows", SHARED_SIZE, NULL) < 0)
        return false;
    ws->shared = shared_half(ws);
    return ws->shared && window_create(ws, &ws->pool[0], false) && window_create(ws, &ws->pool[USER_MAX], true);
}

struct windows *windows_create(struct cpu *c, u64 miss_slot, u64 miss_jump, struct error *err)
{
    struct windows *ws = calloc(1, sizeof(*ws));
    if (!ws) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    ws->cpu = c;
    ws->ram = mem_space_ram(c->mem);
    ws->miss_slot = miss_slot;
    ws->miss_jump = miss_jump;
    ws->shared_ram.fd = -1;
    set_limits(ws);
    forget_keys(ws);
    if (!make_parts(ws)) {
        windows_destroy(ws);
        error_set(err, -ENOMEM,
                  "the host has no address space left for processor %u: 1.25 TiB without memory behind it", c->id);
        return NULL;
    }
    ws->watch = (struct tlb_watch){.ops = &windows_watch_ops, .opaque = ws};
    c->tlb->watch = &ws->watch;
    return ws;
}

void windows_destroy(struct windows *ws)
{
    if (!ws)
        return;
    if (ws->cpu->tlb->watch == &ws->watch)
        ws->cpu->tlb->watch = NULL;
    for (unsigned n = 0; n < POOL_MAX; n++)
        window_destroy(ws, &ws->pool[n]);
    half_destroy(ws->shared);
    host_ram_unmap(&ws->shared_ram);
    host_table_free(ws->writers, writers_size(ws));
    host_space_release(ws->guard_space, GUARD_SPACE);
    free(ws);
}

u64 windows_bytes(const struct windows *ws)
{
    u64 bytes = count_chunks(ws, false) * CHUNK_BYTES;
    for (u64 n = 0; n <= HALF_SHARED; n++) {
        const struct half *h = half_by_number(ws, n);
        bytes += h ? HALF_TAKES(h) : 0;
    }
    return bytes;
}

const struct window_stats *windows_stats(const struct windows *ws)
{
    return &ws->stats;
}
