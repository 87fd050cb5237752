/*
 * Implements check.h. What is compared and how it comes to be is here; check_report.c tells of a difference.
 *
 * The state of a processor is the part of struct cpu before `tlb`: what is declared, and what follows from it. Nothing
 * else is changed by instructions that translated code carries out, but guest memory and what caches it.
 */
#include "engine/translate/check.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/segment.h"
#include "engine/translate/check_internal.h"

#define STATE_BYTES offsetof(struct cpu, tlb)

/* Accessed and dirty bits of a paging entry, in its first byte. */
#define PTE_AD 0x60

struct check *check_create(void)
{
    return calloc(1, sizeof(struct check));
}

void check_destroy(struct check *k)
{
    free(k);
}

const struct check_stats *check_stats(const struct check *k)
{
    return &k->stats;
}

bool check_allows(const struct insn *i)
{
    return place_known(i);
}

static void state_copy(struct cpu *to, const struct cpu *from)
{
    memcpy(to, from, STATE_BYTES);
}

/* ------ stores ------ */

/* One page's part of a place. False: it is not plain RAM. */
static bool note_part(struct check *k, struct cpu *c, const struct place *p, unsigned from, unsigned size)
{
    u8 *host = mmu_plain_host(c, p->linear + from, size, p->write ? MMU_WRITE : MMU_READ);
    if (!host || (p->write && k->stores == STORES_MAX))
        return false;
    if (!p->write)
        return true;
    struct store *s = &k->store[k->stores++];
    *s = (struct store){.host = host, .linear = p->linear + from, .size = (u8)size, .insn = (u8)k->n};
    memcpy(s->before, host, size);
    return true;
}

/* Notes what instruction n is about to overwrite; false if it accesses anything that must not be accessed twice. */
static bool note_places(struct check *k, struct cpu *c, const struct insn *i)
{
    struct place place[PLACES_MAX];
    unsigned count = places_of(c, i, place), stores = k->stores;
    for (unsigned n = 0; n < count; n++) {
        const struct place *p = &place[n];
        unsigned room = MEM_PAGE_SIZE - p->linear % MEM_PAGE_SIZE, first = p->size < room ? p->size : room;
        if (p->size > STORE_BYTES || !note_part(k, c, p, 0, first) ||
            (first < p->size && !note_part(k, c, p, first, p->size - first))) {
            k->stores = stores;
            return false;
        }
    }
    return true;
}

static void stores_take(struct check *k, size_t image)
{
    for (unsigned n = 0; n < k->stores; n++)
        memcpy((u8 *)&k->store[n] + image, k->store[n].host, k->store[n].size);
}

/* The last store comes first: two may have hit the same bytes. */
static void stores_put(const struct check *k, size_t image)
{
    for (unsigned n = k->stores; n--;)
        memcpy(k->store[n].host, (const u8 *)&k->store[n] + image, k->store[n].size);
}

#define BEFORE     offsetof(struct store, before)
#define SEMANTICS  offsetof(struct store, semantics)
#define TRANSLATED offsetof(struct store, translated)

/* ------ the semantics ------ */

static void run_list(struct check *k, struct cpu *c)
{
    const struct block *b = k->block;
    k->why = CHECK_END;
    while (k->n < k->to) {
        const struct insn *i = &b->insn[k->n];
        c->gpr[REG_RIP] = b->rip;
        c->cur = i;
        k->why = CHECK_CALL;
        if (b->calls >> k->n & 1)
            return;
        k->why = CHECK_SLOW;
        if (!k->again && !note_places(k, c, i))
            return;
        k->why = CHECK_FAULT; /* unless it comes back */
        i->fn(c, i);
        k->why = CHECK_END;
        k->n++;
        if (!c->cur)
            return;
    }
}

/* A function of its own, so that nothing lives in registers across the two returns of setjmp. */
static NOINLINE void run_guarded(struct cpu *c)
{
    struct translator *t = c->engine;
    memcpy(t->check->unwind, c->unwind, sizeof(c->unwind));
    if (!__builtin_setjmp(c->unwind))
        run_list(t->check, c);
    t = c->engine;
    memcpy(c->unwind, t->check->unwind, sizeof(c->unwind));
}

/* What an instruction stored before it faulted: code faults first. */
static void drop_unfinished(struct check *k)
{
    while (k->stores && k->store[k->stores - 1].insn >= k->n) {
        const struct store *s = &k->store[--k->stores];
        memcpy(s->host, s->before, s->size);
    }
}

/* Instructions from k->from up to `to`, if they come so far; k->n tells. The outcome is left where it belongs. */
static void run_semantics(struct check *k, struct cpu *c, unsigned to)
{
    k->n = k->from;
    k->to = to;
    run_guarded(c);
    if (!k->again)
        drop_unfinished(k);
    if (c->cur) /* it did not jump */
        c->gpr[REG_RIP] = block_rip(k->block, k->n);
    c->cur = NULL;
    state_copy(&k->semantics, c);
    stores_take(k, SEMANTICS);
}

static void take_back(struct check *k, struct cpu *c)
{
    stores_put(k, BEFORE);
    state_copy(c, &k->before);
}

/* ------ the code ------ */

/* The number of the instruction that begins at rip; BLOCK_MAX + 1 if none does. */
static unsigned insn_by_rip(const struct block *b, u64 rip)
{
    for (unsigned n = 0; n <= b->count; n++) {
        if (block_rip(b, n) == rip)
            return n;
    }
    return BLOCK_MAX + 1;
}

/* An indirect jump that has to fault was carried out all the same: run.c does it again, with RSP mended. */
static unsigned left_for_nowhere(struct check *k)
{
    k->translated.gpr[R_SP] = k->semantics.gpr[R_SP];
    k->translated.gpr[REG_RIP] = block_rip(k->block, k->block->count - 1u);
    return k->block->count - 1u;
}

/* The conditional jump in the middle of the block that is the n-th of them. */
static unsigned side_insn(const struct block *b, unsigned nth)
{
    unsigned n = 0;
    for (;; n++) {
        if (n + 1u == b->count || (insn_is_jcc(&b->insn[n]) && !nth--))
            return n;
    }
}

/* How far the code came, with rip set to where it goes on. */
static unsigned settle_place(struct check *k, const struct cpu *c, enum glue_reason reason)
{
    const struct block *b = k->block;
    u64 arg = c->frame[FRAME_ARG], *rip = &k->translated.gpr[REG_RIP];
    unsigned n = k->from;
    switch (reason) {
    case GLUE_CALL:
    case GLUE_FAULT:
    case GLUE_ASTRAY:
        n = arg / BLOCK_MAX == b->id ? arg % BLOCK_MAX : BLOCK_MAX + 1;
        break;
    case GLUE_LINK:
        if (arg / LINKS != b->id || arg % LINKS == LINK_CROSS) {
            n = arg / LINKS != b->id ? BLOCK_MAX + 1 : k->from;
            break;
        }
        *rip = b->link[arg % LINKS].target;
        return arg % LINKS < LINK_SIDE ? b->count : side_insn(b, arg % LINKS - LINK_SIDE) + 1;
    case GLUE_INDIRECT:
        *rip = arg;
        return addr_is_canonical(arg) ? b->count : left_for_nowhere(k);
    case GLUE_ASYNC:
        n = insn_by_rip(b, *rip);
        break;
    case GLUE_DEAD:
    case GLUE_REQUEST:
        break;
    }
    *rip = n <= b->count ? block_rip(b, n) : 0;
    return n;
}

/* ------ comparing ------ */

/* A walk for a later instruction may have marked an entry that an earlier one stored: taken over. */
static bool is_walk_mark(const struct check *k, const struct store *s, unsigned n)
{
    u8 marks = s->semantics[n] ^ s->translated[n];
    if (!k->walked || (s->linear + n) % 8 || marks & ~PTE_AD || (s->semantics[n] & marks) != marks)
        return false;
    s->host[n] |= marks;
    return true;
}

static bool store_same(const struct check *k, const struct store *s)
{
    if (!memcmp(s->semantics, s->translated, s->size))
        return true;
    for (unsigned n = 0; n < s->size; n++) {
        if (s->semantics[n] != s->translated[n] && !is_walk_mark(k, s, n))
            return false;
    }
    return true;
}

static bool outcome_same(const struct check *k)
{
    bool same = k->reached == k->n && !memcmp(&k->semantics, &k->translated, STATE_BYTES);
    for (unsigned n = 0; n < k->stores && same; n++)
        same = store_same(k, &k->store[n]);
    return same;
}

/* The code came as far as it should and its next access faulted on the host: because the window does not let it
 * through, or because it went elsewhere? */
static bool fault_explained(const struct check *k, const struct windows *ws)
{
    struct cpu at = k->semantics;
    struct place place[PLACES_MAX];
    at.gpr[REG_RIP] = k->block->rip;
    unsigned count = places_of(&at, &k->block->insn[k->reached], place);
    for (unsigned n = 0; n < count; n++) {
        const struct place *p = &place[n];
        if (!windows_allow(ws, p->linear, p->write) || !windows_allow(ws, p->linear + p->size - 1, p->write))
            return true;
    }
    return false;
}

static enum glue_reason fail(struct translator *t, enum glue_reason reason)
{
    struct check *k = t->check;
    t->failed = true;
    check_report(t, reason);
    cpu_request_own(t->cpu, REQ_STOP);
    t->cpu->gpr[REG_RIP] = block_rip(k->block, k->from);
    return GLUE_REQUEST;
}

/* The code left before the end: the semantics once more, just as far. */
static void run_again(struct check *k, struct cpu *c)
{
    k->again = true;
    k->stats.early++;
    take_back(k, c);
    run_semantics(k, c, k->reached);
    stores_put(k, TRANSLATED);
    state_copy(c, &k->translated);
}

/* A kick finds an instruction that can be begun anew, perhaps with a part of it done. Carried out now, it must give
 * what it gives the semantics; that is then the state to go on with. */
static bool begun_same(struct check *k, struct cpu *c)
{
    unsigned from = k->from;
    k->from = k->reached;
    run_semantics(k, c, k->reached + 1);
    state_copy(&k->translated, &k->semantics);
    stores_take(k, TRANSLATED);
    k->from = from;
    take_back(k, c);
    run_semantics(k, c, ++k->reached);
    return outcome_same(k);
}

enum glue_reason check_enter(struct translator *t, u64 host)
{
    struct check *k = t->check;
    struct cpu *c = t->cpu;
    k->block = code_cache_by_code(t->cache, host);
    k->from = insn_by_rip(k->block, c->gpr[REG_RIP]);
    k->again = false;
    k->stores = 0;
    c->cur = NULL;
    u64 upper = c->frame[FRAME_UPPER], walks = c->tlb->stats.walks;
    state_copy(&k->before, c);
    run_semantics(k, c, k->block->count);
    k->walked = c->tlb->stats.walks != walks;
    take_back(k, c);
    c->frame[FRAME_UPPER] = upper;

    enum glue_reason reason = glue_enter(&t->cache->glue, c, host);
    state_copy(&k->translated, c);
    stores_take(k, TRANSLATED);
    k->reached = settle_place(k, c, reason);
    bool early = k->reached < k->n && k->reached >= k->from;
    if (early)
        run_again(k, c);
    k->stats.entries++;
    k->stats.insns += k->n - k->from;
    bool same = outcome_same(k) || (early && reason == GLUE_ASYNC && begun_same(k, c));
    k->elsewhere = same && early && reason == GLUE_FAULT && !fault_explained(k, t->windows);
    return same && !k->elsewhere ? reason : fail(t, reason);
}
