/*
 * What stands in windows (window.h): filling entries, slots and jumps, and all that takes them away.
 */
#include "cpu/segment.h"
#include "engine/translate/window_pool.h"

static u64 number_of(const struct windows *ws, const struct window *w, unsigned side)
{
    return side && w->seen ? HALF_SHARED : 2 * (u64)(w - ws->pool) + side;
}

/* Distances from the guard page to a page of RAM, by its two mappings. */
static u64 to_writable(const struct windows *ws, u64 off)
{
    return (u64)ws->ram->host + off - guard_of(ws);
}

static u64 to_read_only(const struct windows *ws, u64 off)
{
    return (u64)ws->ram->read_only + off - guard_of(ws);
}

/* The half and page of a place in `writers`. */
static struct half *writer_half(const struct windows *ws, u64 place, u64 *page)
{
    *page = place & (HALF_PAGES - 1);
    return half_by_number(ws, place >> 36);
}

static bool writer_stands(const struct windows *ws, u64 place, u64 distance)
{
    u64 page;
    const struct half *h = place ? writer_half(ws, place, &page) : NULL;
    return h && half_get(h, page) == distance;
}

static void note_writer(const struct windows *ws, u64 off, u64 place)
{
    struct writers *r = &ws->writers[off / MEM_PAGE_SIZE];
    if (r->at[0] == WRITERS_MANY)
        return;
    for (unsigned n = 0; n < WRITERS; n++) {
        if (r->at[n] == place || !writer_stands(ws, r->at[n], to_writable(ws, off))) {
            r->at[n] = place;
            return;
        }
    }
    r->at[0] = WRITERS_MANY;
}

/* A page that the supervisor may access with SMAP off or not in force only has no place in what both share. */
static bool may_share(const struct windows *ws, unsigned facts)
{
    return !(facts & TLB_USER && ws->cpu->cr4 & CR4_SMAP);
}

void windows_fill(struct windows *ws, u64 linear)
{
    struct cpu *c = ws->cpu;
    struct window *w = window_now(ws);
    const struct tlb_entry *e = &c->tlb->set[c->mmu_index][mmu_slot(linear)];
    unsigned facts = c->tlb->page[c->mmu_index][mmu_slot(linear)], side = side_of(linear);
    u64 base = linear & MEM_PAGE_MASK, tag = base | c->tlb->asid, off = base + e->addend - (u64)ws->ram->host;
    if (!w || c->mmu_index == MMU_CHECKED || !addr_is_canonical(linear) || e->read != tag || off >= ws->ram->size)
        return;
    struct half *h = w->half[side];
    u64 page = page_in_half(linear);
    if ((side && w->seen && !may_share(ws, facts)) || !chunk_make(ws, h, page / CHUNK_PAGES))
        return;
    bool write = e->write == tag;
    half_put(h, page, write ? to_writable(ws, off) : to_read_only(ws, off), facts);
    if (write)
        note_writer(ws, off, number_of(ws, w, side) << 36 | BIT64(35) | page);
    ws->stats.fills++;
}

bool windows_allow(const struct windows *ws, u64 linear, bool write)
{
    const struct window *w = window_now(ws);
    u64 page = page_in_half(linear);
    unsigned side = side_of(linear);
    if (!w || !addr_is_canonical(linear) || (side && w->seen && !w->seen->chunk[page / CHUNK_PAGES]))
        return false;
    u64 distance = half_get(w->half[side], page);
    return distance && (!write || distance - to_writable(ws, 0) < ws->ram->size);
}

/* ---- Code ---- */

/* What is known of the page that the processor just fetched from; false if it has no translation. */
static bool fetch_facts(const struct windows *ws, u64 target, unsigned *facts)
{
    const struct cpu *c = ws->cpu;
    unsigned index = c->cpl == 3 ? MMU_USER : MMU_SUPER;
    *facts = c->tlb->page[index][mmu_slot(target)];
    return c->tlb->set[index][mmu_slot(target)].exec == ((target & MEM_PAGE_MASK) | c->tlb->asid);
}

static void set_word(struct windows *ws, u32 word, u64 target, u64 code)
{
    unsigned facts;
    struct window *w = window_now(ws);
    if (!w || !fetch_facts(ws, target, &facts))
        return;
    struct half *h = w->half[side_of(target)];
    if (!half_has_room(h))
        windows_drop(ws);
    if (half_has_room(h))
        half_set_word(h, word, page_in_half(target), code, facts);
}

void windows_set_slot(struct windows *ws, unsigned slot, u64 target, u64 code)
{
    if (slot / HALF_SLOTS == side_of(target))
        set_word(ws, slot % HALF_SLOTS, target, code);
}

void windows_set_jump(struct windows *ws, u64 target, u64 code)
{
    set_word(ws, HALF_SLOTS + (u32)(target & WIN_JUMP_MASK & (HALF_JUMPS - 1)), target, code);
}

void windows_drop_code(struct windows *ws)
{
    for (u64 n = 0; n <= HALF_SHARED; n++) {
        struct half *h = half_by_number(ws, n);
        if (h)
            half_drop_words(h);
    }
}

/* ---- What takes entries away ---- */

static void watch_page(void *opaque, u64 linear)
{
    struct windows *ws = opaque;
    unsigned side = side_of(linear);
    for (u64 n = side; n < HALF_SHARED; n += 2) {
        struct half *h = ws->pool[n / 2].key == KEY_NONE ? NULL : half_by_number(ws, n);
        if (h)
            half_drop_page(h, page_in_half(linear));
    }
    if (side)
        half_drop_page(ws->shared, page_in_half(linear));
    ws->stats.pages_dropped++;
}

void forget_keys(struct windows *ws)
{
    for (unsigned n = 0; n < POOL_MAX; n++)
        ws->pool[n].key = KEY_NONE;
    ws->key = KEY_NONE;
    ws->shared_asid = ASID_NONE;
}

static void watch_all(void *opaque)
{
    struct windows *ws = opaque;
    forget_keys(ws);
    half_reset(ws->shared);
    ws->stats.drops++;
}

static void watch_renumber(void *opaque)
{
    struct windows *ws = opaque;
    forget_keys(ws);
    half_drop_local(ws->shared);
}

static void protect_all(const struct windows *ws, u64 off)
{
    for (u64 n = 0; n <= HALF_SHARED; n++) {
        struct half *h = half_by_number(ws, n);
        if (h)
            half_redirect_all(h, to_writable(ws, off), to_read_only(ws, off));
    }
}

static void watch_protect(void *opaque, const u8 *host_page)
{
    struct windows *ws = opaque;
    u64 off = (u64)(host_page - ws->ram->host), page;
    if (off >= ws->ram->size || !ws->writers[off / MEM_PAGE_SIZE].at[0])
        return;
    struct writers *r = &ws->writers[off / MEM_PAGE_SIZE];
    ws->stats.protects++;
    if (r->at[0] == WRITERS_MANY)
        protect_all(ws, off);
    for (unsigned n = 0; r->at[0] != WRITERS_MANY && n < WRITERS; n++) {
        struct half *h = r->at[n] ? writer_half(ws, r->at[n], &page) : NULL;
        if (h)
            half_redirect(h, page, to_writable(ws, off), to_read_only(ws, off));
    }
    *r = (struct writers){0};
}

const struct tlb_watch_ops windows_watch_ops = {
    .page = watch_page,
    .all = watch_all,
    .renumber = watch_renumber,
    .protect = watch_protect,
};
