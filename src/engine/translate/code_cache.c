/*
 * Implements engine/translate/code_cache.h: tables, life and death of blocks.
 */
#include "engine/translate/code_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "cpu/world.h"
#include "engine/translate/learnt.h"
#include "engine/translate/lower_plan.h"
#include "engine/translate/perf.h"
#include "engine/translate/translate.h"
#include "engine/translate/twin.h"
#include "engine/translate/x87.h"
#include "host/mem.h"
#include "mem/code.h"

#define PAGES_SIZE  (sizeof(struct code_page *) << PAGE_BITS)
#define SLOTS_SIZE  (sizeof(struct slot_key) << SLOT_BITS)
#define BLOCKS_SIZE (sizeof(struct block *) * BLOCKS_MAX)
#define INT3        0xcc
#define META_LINE   64
#define META_ALIGN  16
#define META_BLOCK  768 /* bytes, about */

_Static_assert(PAGES_SIZE + SLOTS_SIZE + sizeof(struct code_cache) + sizeof(struct translator) <= CODE_CACHE_FIXED,
               "CODE_CACHE_FIXED");

/* ------ the whole ------ */

static u64 hash_size(const struct code_cache *k)
{
    return sizeof(struct block *) << k->hash_bits;
}

/* One more than there are pages. */
static u64 first_in_size(const struct code_cache *k)
{
    return (k->code_size / MEM_PAGE_SIZE + 1) * sizeof(*k->first_in);
}

/* About one place in `hash` for each block, out of the memory for blocks. */
static void size_tables(struct code_cache *k, u64 meta)
{
    while (BIT64(k->hash_bits) < meta / META_BLOCK)
        k->hash_bits++;
    k->meta_size = meta - 2 * hash_size(k) - first_in_size(k);
}

static bool make_tables(struct code_cache *k)
{
    k->hash = host_table_alloc(hash_size(k));
    k->twins = host_table_alloc(hash_size(k));
    k->pages = host_table_alloc(PAGES_SIZE);
    k->slots = host_table_alloc(SLOTS_SIZE);
    k->blocks = host_table_alloc(BLOCKS_SIZE);
    k->meta = host_table_alloc(k->meta_size);
    k->first_in = host_table_alloc(first_in_size(k));
    host_table_dense(k->hash, hash_size(k));
    host_table_dense(k->meta, k->meta_size);
    return k->hash && k->twins && k->pages && k->slots && k->blocks && k->meta && k->first_in;
}

static int make_code(struct code_cache *k, u64 size, struct error *err)
{
    k->area = code_create(size, err);
    if (k->area)
        k->code_start = (u64)code_next(k->area);
    int status = k->area ? glue_make(&k->glue, k->area, err) : -ENOMEM;
    if (status)
        return status;
    k->glue_size = code_used(k->area);
    perf_glue(k);
    return 0;
}

struct code_cache *code_cache_create(const struct code_cache_config *cfg, struct error *err)
{
    struct code_cache *k = calloc(1, sizeof(*k));
    if (!k) {
        error_set(err, -ENOMEM, "out of memory for the translator");
        return NULL;
    }
    (void)pthread_mutex_init(&k->lock, NULL);
    k->code_size = align_up(cfg->code, MEM_PAGE_SIZE);
    size_tables(k, cfg->meta);
    k->patience = cfg->patience;
    k->perf_map = cfg->perf_map;
    bool tables = make_tables(k);
    if (!tables)
        error_set(err, -ENOMEM, "out of memory for the translator's tables");
    if (tables && !make_code(k, cfg->code, err))
        return k;
    code_cache_destroy(k);
    return NULL;
}

void code_cache_destroy(struct code_cache *k)
{
    host_table_free(k->hash, hash_size(k));
    host_table_free(k->twins, hash_size(k));
    host_table_free(k->first_in, first_in_size(k));
    host_table_free(k->pages, PAGES_SIZE);
    host_table_free(k->slots, SLOTS_SIZE);
    host_table_free(k->blocks, BLOCKS_SIZE);
    host_table_free(k->meta, k->meta_size);
    code_destroy(k->area);
    (void)pthread_mutex_destroy(&k->lock);
    free(k);
}

static struct code_cache *cache_lock(struct translator *t)
{
    pthread_mutex_lock(&t->cache->lock);
    return t->cache;
}

static void cache_unlock(struct code_cache *k)
{
    pthread_mutex_unlock(&k->lock);
}

/* What is large begins a line of the host's cache. */
void *code_cache_take_locked(struct code_cache *k, u64 size)
{
    u64 at = align_up(k->meta_used, size < META_LINE ? META_ALIGN : META_LINE);
    if (!range_inside(at, size, k->meta_size))
        return NULL;
    k->meta_used = at + size;
    return k->meta + at;
}

/* One page of code may be mapped at many addresses. */
static struct block **hash_slot(const struct code_cache *k, const u8 *guest, u64 rip)
{
    return &k->hash[code_hash((u64)guest ^ rip * 3, k->hash_bits)];
}

/* ------ dying ------ */

/* The block that jumps will ask where to. */
static void unlink_from(struct code_cache *k, const struct block *from, const struct block *to)
{
    for (unsigned n = 0; n < LINKS; n++) {
        const struct link *l = &from->link[n];
        if (!l->hole || l->slot != LINK_NONE || l->target != to->rip)
            continue;
        u32 distance = l->stub - (l->hole + 4u);
        code_patch(k->area, (const void *)(from->check + l->hole), &distance, sizeof(distance));
    }
}

static bool same_page(u64 a, u64 b)
{
    return (a ^ b) < MEM_PAGE_SIZE;
}

static void unlink_block(struct code_cache *k, const struct block *b)
{
    for (const struct block *from = b->page->first; from; from = from->page_next) {
        if (same_page(from->rip, b->rip) && from->native && !from->dead)
            unlink_from(k, from, b);
    }
}

static void kill(struct translator *t, struct block *b)
{
    struct code_cache *k = t->cache;
    if (b->dead)
        return;
    b->dead = true;
    struct block **p = hash_slot(k, b->guest, b->rip);
    while (*p && *p != b)
        p = &(*p)->next;
    if (*p)
        *p = b->next;
    twin_forget(k, b);
    if (b->native) {
        code_patch(k->area, (const void *)b->entry, &(u8){INT3}, 1);
        unlink_block(k, b);
    }
    t->stats.dead++;
}

/* Those that begin here are linked with each other alone. */
static void kill_page(struct translator *t, struct code_page *p)
{
    struct block *first = p->first, *second = p->second;
    p->first = p->second = NULL;
    for (struct block *b = first; b; b = b->page_next)
        kill(t, b);
    for (struct block *b = second; b; b = b->page2_next)
        kill(t, b);
}

static void page_settle(struct translator *t, struct code_page *p)
{
    u32 gen = mem_code_gen(p->page);
    if (p->gen == gen)
        return;
    p->gen = gen;
    t->stats.stale++;
    kill_page(t, p);
}

/* ------ pages ------ */

static struct code_page **page_slot(const struct code_cache *k, const struct mem_page *page)
{
    return &k->pages[code_hash((u64)page, PAGE_BITS)];
}

static struct code_page *page_known(const struct code_cache *k, const struct mem_page *page)
{
    struct code_page *p = *page_slot(k, page);
    while (p && p->page != page)
        p = p->next;
    return p;
}

static struct code_page *page_make(struct code_cache *k, struct mem_page *page)
{
    struct code_page **slot = page_slot(k, page), *p = code_cache_take_locked(k, sizeof(*p));
    *p = (struct code_page){.page = page, .gen = mem_code_gen(page), .next = *slot};
    *slot = p;
    return p;
}

static void each_page(struct translator *t, void (*fn)(struct translator *, struct code_page *))
{
    for (size_t n = 0; n < (size_t)1 << PAGE_BITS; n++) {
        for (struct code_page *p = t->cache->pages[n]; p; p = p->next)
            fn(t, p);
    }
}

void code_cache_settle(struct translator *t, const struct mem_page *page)
{
    struct code_cache *k = cache_lock(t);
    struct code_page *p = page_known(k, page);
    if (p)
        page_settle(t, p);
    cache_unlock(k);
}

void code_cache_settle_all(struct translator *t)
{
    struct code_cache *k = cache_lock(t);
    each_page(t, page_settle);
    cache_unlock(k);
}

void code_cache_kill_all(struct translator *t)
{
    each_page(t, kill_page);
}

/* ------ slots ------ */

static u32 slot_new(struct code_cache *k, u64 target)
{
    unsigned half = target >> 47 & 1;
    if (k->slots_used[half] == WIN_SLOTS / 2)
        return LINK_NONE;
    return k->slots_used[half]++ + half * WIN_SLOTS / 2;
}

static struct slot_key *slot_place(const struct code_cache *k, u64 target)
{
    u32 mask = (1u << SLOT_BITS) - 1, n = (u32)code_hash(target, SLOT_BITS);
    while (k->slots[n].slot && k->slots[n].target != target)
        n = (n + 1) & mask;
    return &k->slots[n];
}

u32 code_cache_slot_known(struct translator *t, u64 target)
{
    struct code_cache *k = cache_lock(t);
    u32 slot = slot_place(k, target)->slot;
    cache_unlock(k);
    return slot ? slot - 1 : LINK_NONE;
}

u32 code_cache_slot_locked(struct code_cache *k, u64 target)
{
    struct slot_key *s = slot_place(k, target);
    if (s->slot)
        return s->slot - 1;
    u32 slot = slot_new(k, target);
    if (slot != LINK_NONE)
        *s = (struct slot_key){.target = target, .slot = slot + 1};
    return slot;
}

/* ------ making again ------ */

static void make_again(struct translator *t, struct block *b)
{
    kill(t, b);
    t->stats.remade++;
}

void code_cache_strayed(struct translator *t, struct block *b, unsigned n)
{
    struct code_cache *k = cache_lock(t);
    if (learnt_stray(k, b, n))
        make_again(t, b);
    cache_unlock(k);
}

void code_cache_accessed(struct translator *t, struct block *b, unsigned n, bool entry)
{
    if (entry != (b->forced >> n & 1))
        return;
    struct code_cache *k = cache_lock(t);
    if (learnt_access(k, b, n))
        make_again(t, b);
    cache_unlock(k);
}

/* ------ looking up ------ */

static struct block *look(struct translator *t, const struct block_key *key)
{
    struct block *b = *hash_slot(t->cache, key->guest, key->rip);
    while (b && !block_has_key(b, key))
        b = b->next;
    if (!b)
        return NULL;
    page_settle(t, b->page);
    if (b->page2)
        page_settle(t, b->page2);
    return b->dead ? NULL : b;
}

/* The last block that begins at or before `host` is among these. */
static void narrow(const struct code_cache *k, u64 host, u32 *low, u32 *high)
{
    u32 count = atomic_load_explicit(&k->count, memory_order_acquire);
    u64 page = (host - k->code_start) / MEM_PAGE_SIZE;
    u32 first = k->first_in[page], after = k->first_in[page + 1];
    while (!first && page)
        first = k->first_in[--page];
    *low = first > 1 ? first - 2 : 0;
    *high = after && after <= count ? after - 1 : count;
}

struct block *code_cache_by_code(const struct code_cache *k, u64 host)
{
    u32 low, high;
    if (!code_holds(k->area, host))
        return NULL;
    narrow(k, host, &low, &high);
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (k->blocks[middle]->check <= host)
            low = middle + 1;
        else
            high = middle;
    }
    struct block *b = low ? k->blocks[low - 1] : NULL;
    return b && host < b->end ? b : NULL;
}

/* ------ adding ------ */

/* Room for a block, its pages and what its translation notes. */
static bool has_room(const struct code_cache *k)
{
    u64 most = BLOCK_BYTES(BLOCK_MAX) + 4 * (BLOCK_MAX + 1) * sizeof(u16) + 2 * sizeof(struct code_page) +
               FIXES_MAX * sizeof(struct fix) + 8 * META_LINE;
    bool slots = k->slots_used[0] < WIN_SLOTS / 2 - LINKS && k->slots_used[1] < WIN_SLOTS / 2 - LINKS;
    return k->meta_used + most <= k->meta_size && k->count < BLOCKS_MAX && slots;
}

/* False if code has changed since it was read. */
static bool origin_page(struct translator *t, const struct code_origin *from, struct code_page **out)
{
    struct code_page *p = page_known(t->cache, from->page);
    if (!p)
        p = page_make(t->cache, from->page);
    page_settle(t, p);
    *out = p;
    return p->gen == from->gen;
}

/* The notes of its translation come right behind it. */
static u16 *notes_take(struct code_cache *k, const struct block *b)
{
    return code_cache_take_locked(k, (b->count + 1u) * sizeof(u16));
}

static bool make_code_of(struct translator *t, struct block *b)
{
    struct code_cache *k = t->cache;
    const struct block *model = twin_moves(b->rip) ? twin_model(k, b->guest, b->mode, b->flavour) : NULL;
    if (model && twin_translate(t, b, model))
        return true;
    b->at = notes_take(k, b);
    b->commit = notes_take(k, b);
    if (b->at && plan_is_loop(b)) {
        b->loop_at = notes_take(k, b);
        b->loop_commit = notes_take(k, b);
    }
    return b->at && b->commit && lower_block(t, b);
}

static void note_place(struct code_cache *k, const struct block *b)
{
    _Atomic u32 *first = &k->first_in[(b->check - k->code_start) / MEM_PAGE_SIZE];
    if (!*first)
        *first = b->id + 1;
}

static bool translate(struct translator *t, struct block *b)
{
    struct code_cache *k = t->cache;
    u32 count = k->count;
    b->id = count;
    b->check = (u64)code_next(k->area);
    if (count == BLOCKS_MAX || !make_code_of(t, b))
        return false;
    k->blocks[count] = b;
    note_place(k, b);
    twin_offer(k, b);
    atomic_store_explicit(&k->count, count + 1, memory_order_release);
    atomic_store_explicit(&b->native, true, memory_order_release);
    t->stats.blocks++;
    t->stats.insns += b->count;
    perf_block(t, b);
    return true;
}

static void keep(struct code_cache *k, struct block *b)
{
    struct block **slot = hash_slot(k, b->guest, b->rip);
    b->next = *slot;
    *slot = b;
    b->page_next = b->page->first;
    b->page->first = b;
    if (b->page2) {
        b->page2_next = b->page2->second;
        b->page2->second = b;
    }
    twin_offer(k, b);
}

/* A block for these bytes by what is known of them from another address. Unlike a fresh one it needs no translation
 * to pay: that is copied. */
static struct block *add_twin(struct translator *t, const struct block_key *key)
{
    struct code_cache *k = t->cache;
    struct block *model = k->full || !twin_moves(key->rip) ? NULL : twin_model(k, key->guest, key->mode, key->flavour);
    if (!model || !has_room(k))
        return NULL;
    page_settle(t, model->page);
    struct block *b = model->dead ? NULL : code_cache_take_locked(k, sizeof(*b));
    if (!b)
        return NULL;
    twin_begin(b, model, key->rip);
    learnt_apply(k, b);
    if ((model->native || !k->patience) && block_is_lowered(b) && !translate(t, b)) {
        code_cache_fill(t);
        return NULL;
    }
    keep(k, b);
    return b;
}

/* There is room. */
static struct block *copy(struct code_cache *k, const struct block *fresh, struct code_page *page,
                          struct code_page *page2)
{
    struct block *b = code_cache_take_locked(k, BLOCK_BYTES(fresh->count));
    memcpy(b, fresh, BLOCK_BYTES(fresh->count));
    b->insn = b->own;
    b->page = page;
    b->page2 = page2;
    learnt_apply(k, b);
    if (page2)
        b->link[LINK_CROSS].slot = slot_new(k, b->link[LINK_CROSS].target);
    return b;
}

static struct block *add(struct translator *t, const struct block *fresh, const struct code_origin from[2])
{
    struct code_cache *k = t->cache;
    struct code_page *page, *page2 = NULL;
    struct block_key key = {fresh->rip, fresh->guest, fresh->guest2, fresh->mode, fresh->flavour};
    if (!has_room(k)) {
        code_cache_fill(t);
        return NULL;
    }
    if (!origin_page(t, &from[0], &page) || (from[1].page && !origin_page(t, &from[1], &page2)))
        return NULL;
    struct block *b = look(t, &key);
    if (b)
        return b;
    u64 mark = k->meta_used;
    b = copy(k, fresh, page, page2);
    if (!k->patience && block_is_lowered(b) && !translate(t, b)) {
        k->meta_used = mark;
        code_cache_fill(t);
        return NULL;
    }
    keep(k, b);
    return b;
}

struct block *code_cache_look(struct translator *t, const struct block_key *key)
{
    struct code_cache *k = cache_lock(t);
    struct block *b = look(t, key);
    if (!b)
        b = add_twin(t, key);
    cache_unlock(k);
    return b;
}

struct block *code_cache_add(struct translator *t, const struct block *fresh, const struct code_origin from[2])
{
    struct code_cache *k = cache_lock(t);
    struct block *b = k->full ? NULL : add(t, fresh, from);
    cache_unlock(k);
    return b;
}

void code_cache_translate(struct translator *t, struct block *b)
{
    struct code_cache *k = cache_lock(t);
    if (!k->full && !b->native && !b->dead && !(has_room(k) && translate(t, b)))
        code_cache_fill(t);
    cache_unlock(k);
}

void code_cache_link(struct translator *t, struct block *from, unsigned link, const struct block *to)
{
    struct code_cache *k = cache_lock(t);
    bool same = from->page == to->page && from->flavour == to->flavour && from->mode == to->mode;
    u64 hole = from->check + from->link[link].hole;
    u32 distance = (u32)(to->entry - (hole + 4));
    if (same && !from->dead && !to->dead)
        code_patch(k->area, (const void *)hole, &distance, sizeof(distance));
    cache_unlock(k);
}

/* ------ dropping ------ */

void code_cache_fill(struct translator *t)
{
    t->cache->full = true;
    cpu_request_own(t->cpu, REQ_BLOCK);
}

static struct translator *translator_number(const struct translator *t, unsigned n)
{
    return translator_of(world_cpu(t->cpu->world, n));
}

static bool all_quiet(const struct translator *t)
{
    bool quiet = true;
    for (unsigned n = 0; n < world_count(t->cpu->world); n++) {
        const struct translator *other = translator_number(t, n);
        quiet &= !other || other->quiet;
    }
    return quiet;
}

static void drop(struct translator *t)
{
    struct code_cache *k = t->cache;
    host_table_clear(k->hash, hash_size(k));
    host_table_clear(k->twins, hash_size(k));
    host_table_clear(k->first_in, first_in_size(k));
    host_table_clear(k->pages, PAGES_SIZE);
    host_table_clear(k->slots, SLOTS_SIZE);
    k->meta_used = 0;
    k->count = 0;
    k->slots_used[0] = k->slots_used[1] = 0;
    k->full = false;
    code_reset(k->area, k->glue_size);
    for (unsigned n = 0; n < world_count(t->cpu->world); n++) {
        struct translator *other = translator_number(t, n);
        if (other)
            translate_forget(other);
    }
    t->stats.drops++;
}

void code_cache_drop_if_full(struct translator *t)
{
    struct cpu *c = t->cpu;
    if (!t->cache->full)
        return;
    x87_save(t); /* which notes an instruction by its block */
    world_exclusive(c->world, c);
    if (t->cache->full && all_quiet(t))
        drop(t);
    else if (t->cache->full)
        cpu_request_own(c, REQ_BLOCK);
    world_exclusive_end(c->world, c);
}
