/*
 * Blocks: finding, decoding, dropping (engine/translate/translate.h).
 *
 * The order of mem/code.h: an instruction's chunks of 64 bytes are marked before the bytes that count are read.
 */
#include <string.h>

#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/sem/sem.h"
#include "cpu/world.h"
#include "engine/translate/emit.h"
#include "engine/translate/lower_plan.h"
#include "engine/translate/perf.h"
#include "engine/translate/x87.h"
#include "host/mem.h"
#include "host/thread.h"
#include "mem/code.h"

#define HASH_SIZE    (sizeof(struct block *) << HASH_BITS)
#define PAGES_SIZE   (sizeof(struct code_page *) << PAGE_BITS)
#define SLOTS_SIZE   (sizeof(struct slot_key) << SLOT_BITS)
#define BLOCKS_SIZE  (sizeof(struct block *) * BLOCKS_MAX)
#define SCRATCH_SIZE (sizeof(struct block) + BLOCK_MAX * sizeof(struct insn))
#define GOLDEN       0x9e3779b97f4a7c15ull

_Static_assert(HASH_SIZE + PAGES_SIZE + SLOTS_SIZE + sizeof(struct translator) <= BLOCKS_FIXED, "BLOCKS_FIXED");

bool blocks_create(struct translator *t)
{
    t->hash = host_table_alloc(HASH_SIZE);
    t->pages = host_table_alloc(PAGES_SIZE);
    t->slots = host_table_alloc(SLOTS_SIZE);
    t->blocks = host_table_alloc(BLOCKS_SIZE);
    t->meta = host_table_alloc(t->meta_size);
    t->scratch = host_table_alloc(SCRATCH_SIZE);
    return t->hash && t->pages && t->slots && t->blocks && t->meta && t->scratch;
}

void blocks_destroy(struct translator *t)
{
    host_table_free(t->hash, HASH_SIZE);
    host_table_free(t->pages, PAGES_SIZE);
    host_table_free(t->slots, SLOTS_SIZE);
    host_table_free(t->blocks, BLOCKS_SIZE);
    host_table_free(t->meta, t->meta_size);
    host_table_free(t->scratch, SCRATCH_SIZE);
}

int blocks_drop(struct translator *t, struct error *err)
{
    x87_save(t); /* which notes an instruction by its block */
    host_table_clear(t->hash, HASH_SIZE);
    host_table_clear(t->pages, PAGES_SIZE);
    host_table_clear(t->slots, SLOTS_SIZE);
    memset(t->jump, 0, sizeof(t->jump));
    t->meta_used = 0;
    t->count = 0;
    t->slots_used[0] = t->slots_used[1] = 0;
    t->resume = 0;
    t->stats.drops++;
    code_reset(t->area);
    if (t->windows)
        windows_drop_code(t->windows);
    int status = glue_make(&t->glue, t->area, err);
    if (!status)
        perf_glue(t);
    return status;
}

static void *meta_take(struct translator *t, u64 size)
{
    if (t->meta_used + size > t->meta_size)
        return NULL;
    void *p = t->meta + t->meta_used;
    t->meta_used += (size + 15) & ~15ull;
    return p;
}

/* One page of code may be mapped at many addresses. */
static u64 block_hash(const u8 *guest, u64 rip)
{
    return ((u64)guest ^ rip * 3) * GOLDEN >> (64 - HASH_BITS);
}

/* ------ pages ------ */

static struct code_page **page_slot(const struct translator *t, const struct mem_page *page)
{
    return &t->pages[(u64)page * GOLDEN >> (64 - PAGE_BITS)];
}

static struct code_page *page_known(const struct translator *t, const struct mem_page *page)
{
    struct code_page *p = *page_slot(t, page);
    while (p && p->page != page)
        p = p->next;
    return p;
}

struct code_page *page_of(struct translator *t, struct mem_page *page)
{
    struct code_page **slot = page_slot(t, page), *p = page_known(t, page);
    if (p)
        return p;
    p = meta_take(t, sizeof(*p));
    if (!p)
        return NULL;
    *p = (struct code_page){.page = page, .gen = mem_code_gen(page), .next = *slot};
    *slot = p;
    return p;
}

void block_forward(struct translator *t, const struct block *b, u64 host)
{
    struct emit e = {.buf = (u8[16]){0}, .size = 16, .run = b->entry, .ok = true, .dense = true};
    emit_jmp(&e, host);
    code_patch(t->area, (const void *)b->entry, e.buf, e.len);
}

void block_kill(struct translator *t, struct block *b)
{
    if (b->dead)
        return;
    b->dead = true;
    struct block **p = &t->hash[block_hash(b->guest, b->rip)];
    while (*p && *p != b)
        p = &(*p)->next;
    if (*p)
        *p = b->next;
    if (b->native)
        block_forward(t, b, b->end); /* its exit_dead */
    t->stats.dead++;
}

static struct misaligned *misaligned_of(struct translator *t, u64 rip)
{
    return &t->misaligned[rip * GOLDEN >> (64 - MISALIGNED_BITS)];
}

void block_misaligned(struct translator *t, struct block *b, unsigned n)
{
    /* One that crosses a page time and again stays as it is. */
    if (b->exact >> n & 1 || b->misaligned == UINT8_MAX)
        return;
    b->unaligned |= BIT64(n);
    if (++b->misaligned != UNALIGNED_MAX)
        return;
    *misaligned_of(t, b->rip) = (struct misaligned){.rip = b->rip, .insns = b->unaligned};
    b->misaligned = UINT8_MAX;
    block_kill(t, b);
    t->stats.remade++;
}

static struct barren *barren_of(struct translator *t, u64 rip)
{
    return &t->barren[rip * GOLDEN >> (64 - MISALIGNED_BITS)];
}

void block_accessed(struct translator *t, struct block *b, unsigned n, bool entry)
{
    struct barren *r = barren_of(t, b->rip);
    bool forced = b->forced >> n & 1;
    if (entry != forced || b->barren == UINT8_MAX)
        return;
    u8 doubt = r->rip == b->rip ? r->doubt : 0;
    if (++b->barren != (forced ? FRUITFUL_MAX : BARREN_MAX << doubt))
        return;
    *r = (struct barren){.rip = b->rip, .insns = b->forced ^ BIT64(n), .doubt = doubt};
    if (forced && doubt < DOUBT_MAX)
        r->doubt++;
    b->barren = UINT8_MAX;
    block_kill(t, b);
    t->stats.remade++;
}

void page_settle(struct translator *t, struct code_page *p)
{
    u32 gen = mem_code_gen(p->page);
    if (p->gen == gen)
        return;
    p->gen = gen;
    t->stats.stale++;
    for (struct block *b = p->first; b; b = b->page_next)
        block_kill(t, b);
    for (struct block *b = p->second; b; b = b->page2_next)
        block_kill(t, b);
    p->first = p->second = NULL;
}

void blocks_note(struct translator *t, struct mem_page *page)
{
    pthread_mutex_lock(&t->changed.lock);
    unsigned count = t->changed.count;
    if (count < CHANGED_MAX)
        t->changed.page[count] = page;
    if (count <= CHANGED_MAX)
        t->changed.count++;
    pthread_mutex_unlock(&t->changed.lock);
}

static void settle_all(struct translator *t)
{
    for (size_t n = 0; n < (size_t)1 << PAGE_BITS; n++) {
        for (struct code_page *p = t->pages[n]; p; p = p->next)
            page_settle(t, p);
    }
}

void blocks_settle(struct translator *t)
{
    struct mem_page *page[CHANGED_MAX];
    pthread_mutex_lock(&t->changed.lock);
    unsigned count = t->changed.count;
    t->changed.count = 0;
    memcpy(page, t->changed.page, sizeof(page));
    pthread_mutex_unlock(&t->changed.lock);
    if (count > CHANGED_MAX)
        settle_all(t);
    for (unsigned n = 0; n < count && count <= CHANGED_MAX; n++) {
        struct code_page *p = page_known(t, page[n]);
        if (p)
            page_settle(t, p);
    }
    t->resume = 0;
}

/* ------ slots ------ */

u32 block_slot_new(struct translator *t, u64 target)
{
    unsigned half = target >> 47 & 1;
    if (t->slots_used[half] == WIN_SLOTS / 2)
        return LINK_NONE;
    return t->slots_used[half]++ + half * WIN_SLOTS / 2;
}

static u32 slot_place(const struct translator *t, u64 target)
{
    u32 mask = (1u << SLOT_BITS) - 1, n = (u32)(target * GOLDEN >> (64 - SLOT_BITS));
    while (t->slots[n].slot && t->slots[n].target != target)
        n = (n + 1) & mask;
    return n;
}

u32 block_slot_known(const struct translator *t, u64 target)
{
    u32 n = slot_place(t, target);
    return t->slots[n].slot ? t->slots[n].slot - 1 : LINK_NONE;
}

u32 block_slot(struct translator *t, u64 target)
{
    u32 n = slot_place(t, target);
    if (t->slots[n].slot)
        return t->slots[n].slot - 1;
    u32 slot = block_slot_new(t, target);
    if (slot != LINK_NONE)
        t->slots[n] = (struct slot_key){.target = target, .slot = slot + 1};
    return slot;
}

/* ------ decoding ------ */

/* A processor that spins lets the one it waits for run. */
static void pause(struct cpu *c, const struct insn *i)
{
    if (world_count(c->world) > 1)
        host_thread_yield();
}

/* `off` is the instruction's offset in its block, from whose start rip is counted. */
void insn_finish(struct insn *i, unsigned off)
{
    i->off = (u8)off;
    if (i->mem && i->base == REG_RIP)
        i->disp += off + i->len;
    i->fn = i->row == INSN_PAUSE ? pause : sem_lookup(i);
}

/* A string instruction ends a block only because a repeated one may stop half way. */
bool block_ends(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    return row->attrs & A_END && (row->treat != TREAT_STRING || i->rep);
}

/* A conditional jump forward: likely enough not taken, or soon back. */
static bool is_forward(const struct insn *i)
{
    return insn_is_jcc(i) && (i64)i->imm > 0;
}

_Noreturn void raise_status(struct cpu *c, enum insn_status status)
{
    if (status == INSN_UD)
        cpu_ud(c);
    cpu_gp(c, 0);
}

/* The last byte of the code segment that may be fetched. */
static u64 code_limit(const struct cpu *c)
{
    return c->mode == ISA_64 ? UINT64_MAX : c->seg[SEG_CS].limit;
}

/* Bytes that may be fetched at rip + off under the segment's limit, at most `size`. */
unsigned limit_room(const struct cpu *c, unsigned off, unsigned size)
{
    u64 rip = c->gpr[REG_RIP] + off, limit = code_limit(c);
    if (rip > limit)
        return 0;
    return limit - rip < size ? (unsigned)(limit - rip + 1) : size;
}

u64 code_linear(const struct cpu *c)
{
    u64 linear = c->gpr[REG_RIP] + c->seg_base[SEG_CS];
    return c->mode == ISA_64 ? linear : (u32)linear;
}

u64 next_page(const struct cpu *c, u64 linear)
{
    u64 next = (linear & MEM_PAGE_MASK) + MEM_PAGE_SIZE;
    return c->mode == ISA_64 ? next : (u32)next;
}

/*
 * Decodes and re-decodes until the instruction's chunks were marked before its bytes were read. The decoder gets a
 * copy: another processor may be changing the bytes.
 */
static enum insn_status decode_marked(struct cpu *c, struct block *b, struct mem_page *page, const u8 *p, unsigned room,
                                      u64 *marked, struct insn *i)
{
    unsigned page_off = (u64)p % MEM_PAGE_SIZE;
    for (;;) {
        u8 buf[INSN_BYTES];
        mmu_host_read(buf, p, room);
        enum insn_status status = insn_decode(buf, room, b->mode, &c->features, i);
        if (status != INSN_OK)
            return status;
        u64 need = mem_code_chunks(page_off, i->len);
        if ((*marked & need) == need)
            return status;
        mmu_mark_code(c, page, p - page_off, page_off, i->len);
        *marked |= need;
    }
}

/* Instructions up to the end of the block, of the page or of the segment. The status is the first instruction's. */
static enum insn_status block_decode(struct cpu *c, struct block *b, struct mem_page *page)
{
    u64 marked = 0;
    unsigned sides = 0, off = 0, in_page = MEM_PAGE_SIZE - (u64)b->guest % MEM_PAGE_SIZE;
    while (b->count < BLOCK_MAX && off < in_page && off < 256 - INSN_BYTES) {
        struct insn *i = &b->insn[b->count];
        unsigned room = limit_room(c, off, in_page - off < INSN_BYTES ? in_page - off : INSN_BYTES);
        enum insn_status status = room ? decode_marked(c, b, page, b->guest + off, room, &marked, i) : INSN_SHORT;
        if (status != INSN_OK) {
            if (!b->count)
                return status;
            break;
        }
        insn_finish(i, off);
        off += i->len;
        b->count++;
        if (block_ends(i) && !(is_forward(i) && LINK_SIDE + sides++ < LINKS))
            break;
    }
    b->bytes = (u16)off;
    b->runs_on = !block_ends(&b->insn[b->count - 1]);
    return INSN_OK;
}

/* The instruction at rip, from up to two pages. Returns how many of its bytes may be looked at. */
static unsigned fetch_bytes(struct cpu *c, u64 linear, u8 *buf)
{
    unsigned size = limit_room(c, 0, INSN_BYTES), first = MEM_PAGE_SIZE - linear % MEM_PAGE_SIZE;
    if (first > size)
        first = size;
    mmu_fetch_bytes(c, linear, buf, first);
    struct insn i;
    /* The second page is touched only if the instruction goes on there. */
    if (first == size || insn_decode(buf, first, c->mode, &c->features, &i) != INSN_SHORT)
        return first;
    mmu_fetch_bytes(c, next_page(c, linear), buf + first, size - first);
    return size;
}

static void block_init(struct translator *t, struct block *b, const u8 *guest)
{
    const struct cpu *c = t->cpu;
    const struct misaligned *m = misaligned_of(t, c->gpr[REG_RIP]);
    const struct barren *r = barren_of(t, c->gpr[REG_RIP]);
    *b = (struct block){.guest = guest, .rip = c->gpr[REG_RIP], .mode = c->mode, .flavour = t->flavour};
    if (m->rip == b->rip)
        b->unaligned = b->exact = m->insns;
    if (r->rip == b->rip)
        b->forced = r->insns;
    if (b->unaligned | b->forced)
        b->runs = t->patience; /* it was translated before */
}

struct block *blocks_single(struct translator *t)
{
    struct cpu *c = t->cpu;
    struct block *b = t->scratch;
    u8 buf[INSN_BYTES];
    c->cur = NULL;
    if (!limit_room(c, 0, 1))
        cpu_gp(c, 0);
    unsigned size = fetch_bytes(c, code_linear(c), buf);
    block_init(t, b, NULL);
    enum insn_status status = insn_decode(buf, size, b->mode, &c->features, &b->insn[0]);
    if (status != INSN_OK)
        raise_status(c, status);
    insn_finish(&b->insn[0], 0);
    b->count = 1;
    b->bytes = b->insn[0].len;
    return b;
}

/* ------ the cache ------ */

/* Makes sure that there is room for a new block and its pages, if need be by dropping everything. */
static bool reserve(struct translator *t)
{
    u64 most = SCRATCH_SIZE + (BLOCK_MAX + 1) * 8 * sizeof(u16) + 2 * sizeof(struct code_page) + 64;
    bool slots = t->slots_used[0] < WIN_SLOTS / 2 - LINKS && t->slots_used[1] < WIN_SLOTS / 2 - LINKS;
    struct error err;
    return (t->meta_used + most <= t->meta_size && t->count < BLOCKS_MAX && slots) || !blocks_drop(t, &err);
}

/* Where the next block will be, unless more of the memory is taken before. */
static struct block *block_room(struct translator *t)
{
    return (struct block *)(void *)(t->meta + t->meta_used);
}

static void block_keep(struct translator *t, struct block *b)
{
    struct block **slot = &t->hash[block_hash(b->guest, b->rip)];
    b->next = *slot;
    *slot = b;
    b->page_next = b->page->first;
    b->page->first = b;
    if (b->page2) {
        b->page2_next = b->page2->second;
        b->page2->second = b;
    }
}

/* Is it of a kind that is translated? */
static bool is_lowered(const struct block *b)
{
    return b->mode == ISA_64 && !(b->flavour & FLAVOUR_SLOW);
}

/* Translates the block. False if there is no room for that. */
static bool block_translate(struct translator *t, struct block *b)
{
    b->at = meta_take(t, (b->count + 1u) * sizeof(u16));
    b->commit = meta_take(t, (b->count + 1u) * sizeof(u16));
    if (plan_is_loop(b)) {
        b->loop_at = meta_take(t, (b->count + 1u) * sizeof(u16));
        b->loop_commit = meta_take(t, (b->count + 1u) * sizeof(u16));
    }
    b->id = t->count;
    b->check = (u64)code_next(t->area);
    if (t->count == BLOCKS_MAX || !b->at || !b->commit || !lower_block(t, b))
        return false;
    b->native = true;
    t->blocks[t->count++] = b;
    t->stats.blocks++;
    t->stats.insns += b->count;
    perf_block(t, b);
    return true;
}

/* What was decoded into the room is made a block: tables, code, membership. NULL if the code has no room. */
static struct block *block_finish(struct translator *t, struct block *b, struct code_page *page)
{
    u64 size = sizeof(*b) + b->count * sizeof(struct insn), mark = t->meta_used;
    t->meta_used += (size + 15) & ~15ull;
    b->page = page;
    if (!t->patience && is_lowered(b) && !block_translate(t, b)) {
        t->meta_used = mark;
        return NULL;
    }
    block_keep(t, b);
    return b;
}

/* The block at rip, whose first byte is at `host`; NULL if it cannot be kept. */
static struct block *decode(struct translator *t, struct code_page *p, const u8 *host)
{
    struct block *b = block_room(t);
    block_init(t, b, host);
    enum insn_status status = block_decode(t->cpu, b, p->page);
    if (status == INSN_OK)
        return b;
    if (status != INSN_SHORT)
        raise_status(t->cpu, status);
    const u8 *host2 = NULL;
    struct code_page *p2 = cross_page(t, &host2);
    b = block_room(t);
    block_init(t, b, host);
    b->page = p;
    b->page2 = p2;
    b->guest2 = host2;
    return p2 && cross_decode(t, b) ? b : NULL;
}

static struct block *block_build(struct translator *t)
{
    struct cpu *c = t->cpu;
    struct mem_page *page;
    struct error err;
    u64 pa;
    c->cur = NULL;
    const u8 *host = mmu_fetch(c, code_linear(c), &page, &pa);
    if (!host || !page)
        return blocks_single(t);
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        struct code_page *p = reserve(t) ? page_of(t, page) : NULL;
        if (!p)
            break;
        page_settle(t, p);
        struct block *b = decode(t, p, host);
        if (!b)
            break;
        b = block_finish(t, b, p);
        if (b)
            return b;
        if (blocks_drop(t, &err))
            break;
    }
    return blocks_single(t);
}

/* The host address of an address that may be fetched from, or NULL where only the slow way can tell. */
static const u8 *fetch_host(const struct cpu *c, u64 linear)
{
    unsigned index = c->cpl == 3 ? MMU_USER : MMU_SUPER;
    const struct tlb_entry *e = &c->tlb->set[index][mmu_slot(linear)];
    return likely(e->exec == ((linear & MEM_PAGE_MASK) | c->tlb->asid)) ? (const u8 *)(linear + e->addend) : NULL;
}

static bool block_is(const struct translator *t, const struct block *b, const u8 *host)
{
    const struct cpu *c = t->cpu;
    return b->guest == host && b->rip == c->gpr[REG_RIP] && b->mode == c->mode && b->flavour == t->flavour;
}

static struct block *cache_find(struct translator *t, const u8 *host)
{
    struct block *b = t->hash[block_hash(host, t->cpu->gpr[REG_RIP])];
    while (b && !(block_is(t, b, host) && (!b->page2 || cross_is(t, b))))
        b = b->next;
    return b;
}

static struct block *find(struct translator *t)
{
    struct cpu *c = t->cpu;
    u64 rip = c->gpr[REG_RIP], limit = code_limit(c), linear = code_linear(c);
    if (unlikely(rip > limit))
        return blocks_single(t);
    const u8 *host = fetch_host(c, linear);
    struct block **jump = &t->jump[(linear ^ linear >> JUMP_BITS) & ((1 << JUMP_BITS) - 1)], *b = *jump;
    if (likely(b && host && block_is(t, b, host) && !b->dead && b->page->gen == mem_code_gen(b->page->page) &&
               b->bytes - 1u <= limit - rip))
        return b;
    struct mem_page *page;
    u64 pa;
    if (!host)
        host = mmu_fetch(c, linear, &page, &pa);
    b = host ? cache_find(t, host) : NULL;
    if (b)
        page_settle(t, b->page);
    if (!b || b->dead) {
        stats_lap(&t->stats, TIME_SEMANTICS);
        b = block_build(t);
        stats_lap(&t->stats, TIME_TRANSLATE);
    }
    if (unlikely(b->bytes - 1u > limit - rip))
        return blocks_single(t);
    *jump = b == t->scratch || b->page2 ? NULL : b;
    return b;
}

/* It has been run often enough for its translation to pay, or is another one if everything had to be dropped. */
static NOINLINE struct block *translate_now(struct translator *t, struct block *b)
{
    u64 drops = t->stats.drops;
    struct error err;
    stats_lap(&t->stats, TIME_SEMANTICS);
    bool kept = reserve(t) && drops == t->stats.drops, done = kept && block_translate(t, b);
    if (kept && !done)
        (void)blocks_drop(t, &err);
    stats_lap(&t->stats, TIME_TRANSLATE);
    return done ? b : find(t);
}

struct block *blocks_find(struct translator *t)
{
    struct block *b = find(t);
    bool stays = b->native || b->runs < t->patience || b == t->scratch || !is_lowered(b);
    return likely(stays) ? b : translate_now(t, b);
}

struct block *block_by_code(const struct translator *t, u64 host)
{
    /* The last block that begins at or before it. One without code begins where the next one does. */
    u32 low = 0, high = t->count;
    while (low < high) {
        u32 middle = low + (high - low) / 2;
        if (t->blocks[middle]->check <= host)
            low = middle + 1;
        else
            high = middle;
    }
    struct block *b = low ? t->blocks[low - 1] : NULL;
    return b && b->native && host < b->end ? b : NULL;
}
