/*
 * Blocks: finding and decoding (engine/translate/translate.h). What is found is in the cache, which knows nothing of
 * how it came to be.
 *
 * The order of mem/code.h: an instruction's chunks of 64 bytes are marked and the page's generation noted before the
 * bytes that count are read. If that generation still holds when the block is added to the cache, so do the bytes.
 */
#include <string.h>

#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/sem/sem.h"
#include "cpu/world.h"
#include "engine/translate/translate.h"
#include "host/thread.h"
#include "mem/code.h"

#define ATTEMPTS 3 /* at a block whose code changes meanwhile */

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

void blocks_settle(struct translator *t)
{
    struct mem_page *page[CHANGED_MAX];
    if (!t->changed.count)
        return;
    pthread_mutex_lock(&t->changed.lock);
    unsigned count = t->changed.count;
    t->changed.count = 0;
    memcpy(page, t->changed.page, sizeof(page));
    pthread_mutex_unlock(&t->changed.lock);
    if (count > CHANGED_MAX)
        code_cache_settle_all(t);
    for (unsigned n = 0; n < count && count <= CHANGED_MAX; n++)
        code_cache_settle(t, page[n]);
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

/* In t->scratch, which is all there is of a block that is not kept. */
static struct block *block_begin(struct translator *t, const u8 *guest)
{
    const struct cpu *c = t->cpu;
    struct block *b = t->scratch;
    *b = (struct block){.guest = guest, .rip = c->gpr[REG_RIP], .insn = b->own, .mode = c->mode, .flavour = t->flavour};
    return b;
}

struct block *blocks_single(struct translator *t)
{
    struct cpu *c = t->cpu;
    u8 buf[INSN_BYTES];
    c->cur = NULL;
    if (!limit_room(c, 0, 1))
        cpu_gp(c, 0);
    unsigned size = fetch_bytes(c, code_linear(c), buf);
    struct block *b = block_begin(t, NULL);
    enum insn_status status = insn_decode(buf, size, b->mode, &c->features, &b->insn[0]);
    if (status != INSN_OK)
        raise_status(c, status);
    insn_finish(&b->insn[0], 0);
    b->count = 1;
    b->bytes = b->insn[0].len;
    return b;
}

/* ------ the cache ------ */

/* The block at rip, whose first byte is at `host` in from[0].page, and what it was made from; NULL if it cannot be
 * kept. */
static struct block *decode(struct translator *t, const u8 *host, struct code_origin from[2])
{
    struct block *b = block_begin(t, host);
    from[0].gen = mem_code_gen(from[0].page);
    from[1].page = NULL;
    enum insn_status status = block_decode(t->cpu, b, from[0].page);
    if (status == INSN_OK)
        return b;
    if (status != INSN_SHORT)
        raise_status(t->cpu, status);
    b = block_begin(t, host);
    b->guest2 = cross_page(t, &from[1].page);
    if (!b->guest2 || !from[1].page)
        return NULL;
    from[1].gen = mem_code_gen(from[1].page);
    return cross_decode(t, b, from) ? b : NULL;
}

static struct block *block_build(struct translator *t)
{
    struct cpu *c = t->cpu;
    c->cur = NULL;
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct code_origin from[2] = {0};
        u64 pa;
        const u8 *host = mmu_fetch(c, code_linear(c), &from[0].page, &pa);
        if (!host || !from[0].page || t->cache->full)
            break;
        struct block *fresh = decode(t, host, from), *b = fresh ? code_cache_add(t, fresh, from) : NULL;
        t->stats.decoded += fresh ? fresh->count : 0;
        if (b)
            return b;
        if (!fresh)
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

static struct block_key key_now(const struct translator *t, const u8 *host)
{
    const struct cpu *c = t->cpu;
    return (struct block_key){.rip = c->gpr[REG_RIP], .guest = host, .mode = c->mode, .flavour = t->flavour};
}

/* What lies in two pages is looked for once more, now that it is known to: by its second page, which may fault. */
static struct block *look(struct translator *t, struct block_key *key)
{
    struct block *b = code_cache_look(t, key);
    struct mem_page *page;
    if (!b || !b->page2)
        return b;
    key->guest2 = cross_page(t, &page);
    return key->guest2 ? code_cache_look(t, key) : NULL;
}

static bool is_current(const struct block *b)
{
    return !b->dead && b->page->gen == mem_code_gen(b->page->page);
}

static struct block *find(struct translator *t)
{
    struct cpu *c = t->cpu;
    u64 rip = c->gpr[REG_RIP], limit = code_limit(c), linear = code_linear(c);
    if (unlikely(rip > limit))
        return blocks_single(t);
    struct block_key key = key_now(t, fetch_host(c, linear));
    struct jump *jump = &t->jump[(linear ^ linear >> JUMP_BITS) & ((1 << JUMP_BITS) - 1)];
    struct block *b = jump->rip == rip ? jump->block : NULL;
    if (likely(b && key.guest && block_has_key(b, &key) && is_current(b) && b->bytes - 1u <= limit - rip))
        return b;
    struct mem_page *page;
    u64 pa;
    if (!key.guest)
        key.guest = mmu_fetch(c, linear, &page, &pa);
    b = key.guest ? look(t, &key) : NULL;
    if (!b) {
        stats_lap(&t->stats, TIME_SEMANTICS);
        b = block_build(t);
        stats_lap(&t->stats, TIME_TRANSLATE);
    }
    if (unlikely(b->bytes - 1u > limit - rip))
        return blocks_single(t);
    bool kept = b != t->scratch && !b->page2;
    *jump = (struct jump){.rip = rip, .block = kept ? b : NULL};
    return b;
}

/* It has been run often enough for its translation to pay. */
static NOINLINE void translate_now(struct translator *t, struct block *b)
{
    stats_lap(&t->stats, TIME_SEMANTICS);
    code_cache_translate(t, b);
    stats_lap(&t->stats, TIME_TRANSLATE);
}

struct block *blocks_find(struct translator *t)
{
    struct block *b = find(t);
    bool stays = b->native || b->runs < t->cache->patience || b == t->scratch || !block_is_lowered(b);
    if (unlikely(!stays))
        translate_now(t, b);
    return b;
}
