/*
 * Decoding code into blocks, and the cache of them (engine/interp/interp.h).
 *
 * The order of mem/code.h: an instruction's chunks of 64 bytes are marked before the bytes that count are read. How
 * long it is, only a first decoding tells; so where that touches unmarked chunks, they are marked and the instruction
 * is decoded again.
 */
#include "engine/interp/interp.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/sem/hot.h"
#include "cpu/world.h"
#include "host/mem.h"
#include "host/thread.h"
#include "mem/code.h"

#define SENTINEL     sizeof(insn_fn *) /* the start of one more instruction, which stops */
#define SCRATCH_SIZE (sizeof(struct block) + sizeof(struct insn))
#define HASH_SIZE    (sizeof(struct block *) << INTERP_HASH_BITS)

struct interp *interp_create(u64 arena)
{
    struct interp *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->size = arena;
    e->hash = host_table_alloc(HASH_SIZE);
    e->arena = host_table_alloc(arena);
    e->scratch = host_table_alloc(SCRATCH_SIZE);
    if (e->hash && e->arena && e->scratch)
        return e;
    interp_destroy(e);
    return NULL;
}

void interp_destroy(struct interp *e)
{
    if (!e)
        return;
    host_table_free(e->hash, HASH_SIZE);
    host_table_free(e->arena, e->size);
    host_table_free(e->scratch, SCRATCH_SIZE);
    free(e);
}

u64 interp_bytes(const struct interp *e)
{
    return e->used;
}

void interp_drop(struct interp *e)
{
    memset(e->hash, 0, HASH_SIZE);
    memset(e->jump, 0, sizeof(e->jump));
    e->used = 0;
    e->epoch++;
    e->stats.drops++;
}

static struct block **hash_slot(struct interp *e, const u8 *host)
{
    return &e->hash[(u64)host * 0x9e3779b97f4a7c15ull >> (64 - INTERP_HASH_BITS)];
}

/* Room for the largest block. What it does not use is given back by block_keep. */
static struct block *block_room(struct interp *e)
{
    if (e->used + sizeof(struct block) + BLOCK_MAX * sizeof(struct insn) + SENTINEL > e->size)
        interp_drop(e);
    return (struct block *)(void *)(e->arena + e->used);
}

static void block_keep(struct interp *e, struct block *b)
{
    e->used += (sizeof(*b) + b->insns * sizeof(struct insn) + SENTINEL + 15) & ~15ull;
    struct block **slot = hash_slot(e, b->host);
    /* A dead one of the same key would only lengthen the chain. */
    for (struct block **p = slot; *p; p = &(*p)->next) {
        if ((*p)->host == b->host && (*p)->mode == b->mode) {
            *p = (*p)->next;
            break;
        }
    }
    b->next = *slot;
    *slot = b;
}

/* A processor that spins lets the one it waits for run. */
static void interp_pause(struct cpu *c, const struct insn *i)
{
    if (world_count(c->world) > 1)
        host_thread_yield();
}

/* What the decoder leaves to the engine. `off` is the instruction's offset in its block, from whose start rip is
 * counted. */
static void insn_finish(struct insn *i, unsigned off)
{
    i->off = (u8)off;
    if (i->mem && i->base == REG_RIP)
        i->disp += off + i->len;
    i->fn = i->row == INSN_PAUSE ? interp_pause : sem_lookup(i);
}

static bool insn_ends(const struct insn *i)
{
    return isa_rows[i->row].attrs & A_END;
}

/* Near branches, and anything that merely runs on. Only a direct branch is worth a link: others go to many places. */
static bool insn_near(const struct insn *i)
{
    if (!insn_ends(i))
        return true;
    return isa_rows[i->row].treat == TREAT_BRANCH && (isa_rows[i->row].attrs & A_NTZ);
}

static _Noreturn void raise_status(struct cpu *c, enum insn_status status)
{
    if (status == INSN_UD)
        cpu_ud(c);
    cpu_gp(c, 0);
}

/* Bytes that may be fetched at rip + off under the segment's limit, at most `size`. */
static unsigned limit_room(const struct cpu *c, unsigned off, unsigned size)
{
    u64 rip = c->gpr[REG_RIP] + off, limit = block_limit(c);
    if (rip > limit)
        return 0;
    return limit - rip < size ? (unsigned)(limit - rip + 1) : size;
}

static u64 code_linear(const struct cpu *c)
{
    u64 linear = c->gpr[REG_RIP] + c->seg_base[SEG_CS];
    return c->mode == ISA_64 ? linear : (u32)linear;
}

static u64 next_page(const struct cpu *c, u64 linear)
{
    u64 next = (linear & MEM_PAGE_MASK) + MEM_PAGE_SIZE;
    return c->mode == ISA_64 ? next : (u32)next;
}

/*
 * Decodes and re-decodes until the instruction's chunks were marked before its bytes were read. The decoder gets a
 * copy: another processor may be changing the bytes, and what is looked at twice must be the same twice.
 */
static enum insn_status decode_marked(struct cpu *c, struct block *b, const u8 *p, unsigned room, u64 *marked,
                                      struct insn *i)
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
        mmu_mark_code(c, b->page, p - page_off, page_off, i->len);
        if (!*marked)
            b->gen = mem_code_gen(b->page);
        *marked |= need;
    }
}

/* Instructions up to the end of the block, of the page or of the segment. The status is that of the first instruction.
 */
static enum insn_status block_decode(struct cpu *c, struct block *b)
{
    u64 marked = 0;
    unsigned off = 0, in_page = MEM_PAGE_SIZE - (u64)b->host % MEM_PAGE_SIZE;
    b->near = true;
    while (b->count < BLOCK_MAX && off < in_page && off < 256 - INSN_BYTES) {
        struct insn *i = &b->insn[b->count];
        unsigned room = limit_room(c, off, in_page - off < INSN_BYTES ? in_page - off : INSN_BYTES);
        enum insn_status status = room ? decode_marked(c, b, b->host + off, room, &marked, i) : INSN_SHORT;
        if (status != INSN_OK) {
            if (!b->count)
                return status;
            break;
        }
        insn_finish(i, off);
        i->fn = hot_lookup(i);
        off += i->len;
        b->count++;
        if (insn_ends(i)) {
            b->near = insn_near(i);
            break;
        }
    }
    b->bytes = (u16)off;
    b->insns = b->count;
    b->insn[b->count].fn = hot_stop;
    if (b->count >= 2 && hot_fuse(&b->insn[b->count - 2]))
        b->count--;
    return INSN_OK;
}

static void block_init(const struct cpu *c, struct block *b, const u8 *host, struct mem_page *page)
{
    *b = (struct block){.host = host, .page = page, .mode = c->mode};
}

/* The instruction at rip, from up to two pages. Returns how many of its bytes may be looked at. */
static unsigned fetch_bytes(struct cpu *c, u64 linear, u8 *buf, bool *limited)
{
    unsigned size = limit_room(c, 0, INSN_BYTES), first = MEM_PAGE_SIZE - linear % MEM_PAGE_SIZE;
    *limited = size < INSN_BYTES;
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

/* With the general functions: single-stepped code is what the faster ones are tested against. */
struct block *block_single(struct cpu *c, struct interp *e)
{
    struct block *b = e->scratch;
    u8 buf[INSN_BYTES];
    bool limited;
    c->cur = NULL;
    if (!limit_room(c, 0, 1))
        cpu_gp(c, 0);
    unsigned size = fetch_bytes(c, code_linear(c), buf, &limited);
    block_init(c, b, NULL, NULL);
    enum insn_status status = insn_decode(buf, size, b->mode, &c->features, &b->insn[0]);
    if (status != INSN_OK)
        raise_status(c, status);
    insn_finish(&b->insn[0], 0);
    b->count = b->insns = 1;
    b->bytes = b->insn[0].len;
    return b;
}

/* A block of an instruction that begins in one page and ends in the next. */
static struct block *block_crossing(struct cpu *c, struct interp *e, const u8 *host, struct mem_page *page)
{
    u64 linear = code_linear(c), pa;
    unsigned first = MEM_PAGE_SIZE - linear % MEM_PAGE_SIZE, size = limit_room(c, 0, INSN_BYTES);
    if (size <= first)
        return block_single(c, e);
    struct mem_page *page2;
    const u8 *host2 = mmu_fetch(c, next_page(c, linear), &page2, &pa);
    if (!host2)
        return block_single(c, e);
    mmu_mark_code(c, page, host - (u64)host % MEM_PAGE_SIZE, (u64)host % MEM_PAGE_SIZE, first);
    mmu_mark_code(c, page2, host2, 0, size - first);

    struct block *b = block_room(e);
    block_init(c, b, host, page);
    b->crosses = true;
    b->host2 = host2;
    b->page2 = page2;
    b->gen = mem_code_gen(page);
    b->gen2 = mem_code_gen(page2);
    u8 buf[INSN_BYTES];
    mmu_fetch_bytes(c, linear, buf, first);
    mmu_fetch_bytes(c, next_page(c, linear), buf + first, size - first);
    enum insn_status status = insn_decode(buf, size, b->mode, &c->features, &b->insn[0]);
    if (status != INSN_OK)
        raise_status(c, status);
    insn_finish(&b->insn[0], 0);
    b->count = b->insns = 1;
    b->bytes = b->insn[0].len;
    block_keep(e, b);
    return b;
}

static struct block *block_build(struct cpu *c, struct interp *e, u64 linear)
{
    struct mem_page *page;
    u64 pa;
    c->cur = NULL;
    e->stats.built++;
    const u8 *host = mmu_fetch(c, linear, &page, &pa);
    if (!host || !page)
        return block_single(c, e);
    struct block *b = block_room(e);
    block_init(c, b, host, page);
    enum insn_status status = block_decode(c, b);
    if (status == INSN_SHORT)
        return block_crossing(c, e, host, page);
    if (status != INSN_OK)
        raise_status(c, status);
    block_keep(e, b);
    return b;
}

/* The host address of an address that may be fetched from, or NULL where only the slow way can tell. */
static const u8 *fetch_host(const struct cpu *c, u64 linear)
{
    unsigned index = c->cpl == 3 ? MMU_USER : MMU_SUPER;
    const struct tlb_entry *t = &c->tlb->set[index][mmu_slot(linear)];
    return likely(t->exec == ((linear & MEM_PAGE_MASK) | c->tlb->asid)) ? (const u8 *)(linear + t->addend) : NULL;
}

/* Is the second page of a crossing block still what it was? Fetching it may fault, as it should. */
static bool crossing_valid(struct cpu *c, const struct block *b, u64 linear)
{
    u64 second = next_page(c, linear), pa;
    const u8 *host = fetch_host(c, second);
    struct mem_page *page;
    c->cur = NULL;
    if (!host)
        host = mmu_fetch(c, second, &page, &pa);
    return host == b->host2 && mem_code_gen(b->page2) == b->gen2;
}

/* A cached block that may be entered at this linear address, or NULL. */
static struct block *cache_find(struct cpu *c, struct interp *e, const u8 *host, u64 linear)
{
    for (struct block *b = *hash_slot(e, host); b; b = b->next) {
        if (b->host == host && b->mode == c->mode)
            return likely(block_valid(b)) && (likely(!b->crosses) || crossing_valid(c, b, linear)) ? b : NULL;
    }
    return NULL;
}

struct block *block_find(struct cpu *c, struct interp *e)
{
    u64 rip = c->gpr[REG_RIP], limit = block_limit(c), linear = code_linear(c);
    struct mem_page *page;
    u64 pa;
    if (unlikely(rip > limit))
        return block_single(c, e);
    const u8 *host = fetch_host(c, linear);
    struct block **jump = interp_jump_slot(e, linear), *b = *jump;
    if (likely(b && b->host == host && b->mode == c->mode && !b->crosses && block_valid(b) &&
               b->bytes - 1u <= limit - rip))
        return b;
    e->stats.lookups++;
    if (unlikely(!host))
        host = mmu_fetch(c, linear, &page, &pa);
    if (unlikely(!host))
        return block_single(c, e);
    b = cache_find(c, e, host, linear);
    if (unlikely(!b))
        b = block_build(c, e, linear);
    if (unlikely(b->bytes - 1u > limit - rip))
        return block_single(c, e);
    *jump = b == e->scratch ? NULL : b;
    return b;
}
