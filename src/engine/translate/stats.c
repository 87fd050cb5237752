/*
 * Implements stats.h: the counters as `--stats` and the monitor show them.
 */
#include "engine/translate/stats.h"

#include <stdio.h>

#include "cpu/mmu.h"
#include "engine/narrow.h"
#include "engine/translate/check.h"
#include "host/clock.h"

#define ROWS_SHOWN 24

typedef void emit_fn(void *opaque, const char *name, u64 value);

struct out {
    emit_fn *emit;
    void *opaque;
};

struct line {
    const char *name;
    u64 value;
};

void stats_begin(struct stats *s, bool timing)
{
    s->timing = timing;
    s->first_ns = host_clock_ns();
    s->first_tsc = s->last = __builtin_ia32_rdtsc();
}

static void put(const struct out *o, const struct line *lines, size_t count)
{
    for (size_t n = 0; n < count; n++)
        o->emit(o->opaque, lines[n].name, lines[n].value);
}

static void put_work(const struct out *o, const struct translator *t)
{
    const struct stats *s = &t->stats;
    const struct line lines[] = {
        {"instructions by semantics", t->cpu->insns},
        {"single steps", s->steps},
        {"instructions decoded", s->decoded},
        {"blocks translated", s->blocks},
        {"instructions translated", s->insns},
        {"blocks translated by copying", s->moved},
        {"exits for semantics", s->calls},
        {"exits to link", s->links},
        {"exits of indirect jumps", s->indirect},
        {"exits for faults", s->faults},
        {"exits for requests", s->requests},
        {"exits for kicks", s->kicks},
        {"blocks run as lists", s->lists},
        {"stretches of 16- and 32-bit code", s->narrow},
        {"loops within pages", s->loops},
        {"blocks dead", s->dead},
        {"exits of dead blocks", s->dead_exits},
        {"pages with changed code", s->stale},
        {"blocks made again", s->remade},
        {"cache drops", s->drops},
    };
    put(o, lines, ARRAY_SIZE(lines));
}

static void put_memory(const struct out *o, const struct translator *t)
{
    const struct code_cache *k = t->cache;
    const struct line shared[] = {
        {"bytes of code", code_used(k->area)},
        {"bytes of block tables", k->meta_used + k->count * sizeof(void *)},
    };
    const struct line own[] = {
        {"bytes of windows", windows_bytes(t->windows)},
        {"bytes of decoded 16- and 32-bit code", interp_bytes(t->narrow)},
    };
    if (t->cpu->id == 0)
        put(o, shared, ARRAY_SIZE(shared));
    put(o, own, ARRAY_SIZE(own));
}

static void put_mmu(const struct out *o, const struct translator *t)
{
    const struct window_stats *w = windows_stats(t->windows);
    const struct tlb *tlb = t->cpu->tlb;
    const struct line lines[] = {
        {"window entries filled", w->fills},
        {"window table chunks", w->chunks},
        {"window changes", w->selects},
        {"windows recycled", w->recycled},
        {"windows dropped", w->drops},
        {"window pages dropped", w->pages_dropped},
        {"window pages protected", w->protects},
        {"TLB misses", tlb->stats.misses},
        {"page walks", tlb->stats.walks},
        {"TLB flushes", tlb->stats.flushes},
        {"stores to code", tlb->stats.code_hits},
        {"code pages turned to data", tlb->stats.code_unmarks},
    };
    put(o, lines, ARRAY_SIZE(lines));
}

static void put_time(const struct out *o, const struct stats *s)
{
    u64 cycles = __builtin_ia32_rdtsc() - s->first_tsc, us = (host_clock_ns() - s->first_ns) / 1000;
    if (!s->timing || !cycles)
        return;
    double rate = (double)us / (double)cycles;
    const struct line lines[] = {
        {"microseconds in translated code", (u64)((double)s->time[TIME_CODE] * rate)},
        {"microseconds in semantics and devices", (u64)((double)s->time[TIME_SEMANTICS] * rate)},
        {"microseconds in translation", (u64)((double)s->time[TIME_TRANSLATE] * rate)},
        {"microseconds in service and waiting", (u64)((double)s->time[TIME_SERVICE] * rate)},
    };
    put(o, lines, ARRAY_SIZE(lines));
}

/* The row that was left most often of those that come after (count, row) in that order; INSN_COUNT if there is none. */
static unsigned next_row(const struct stats *s, u64 count, unsigned row)
{
    unsigned best = INSN_COUNT;
    for (unsigned n = 0; n < INSN_COUNT; n++) {
        bool after = s->left[n] < count || (s->left[n] == count && n > row);
        if (after && s->left[n] && (best == INSN_COUNT || s->left[n] > s->left[best]))
            best = n;
    }
    return best;
}

/* Why translated code was left for semantics. */
static void put_reasons(const struct out *o, const struct stats *s)
{
    u64 count = UINT64_MAX;
    unsigned row = 0, shown = 0;
    o->emit(o->opaque, "x87 state loaded", s->x87_loads);
    o->emit(o->opaque, "left to semantics: misaligned and other special cases", s->special);
    while (shown++ < ROWS_SHOWN && (row = next_row(s, count, row)) != INSN_COUNT) {
        char name[80];
        count = s->left[row];
        snprintf(name, sizeof(name), "left to semantics: %s", isa_rows[row].name);
        o->emit(o->opaque, name, count);
    }
}

static void put_check(const struct out *o, const struct check *k)
{
    const struct check_stats *s = check_stats(k);
    const struct line lines[] = {
        {"entries checked", s->entries},
        {"instructions checked", s->insns},
        {"entries left early", s->early},
    };
    put(o, lines, ARRAY_SIZE(lines));
}

void stats_emit(struct cpu *c, emit_fn *emit, void *opaque)
{
    const struct translator *t = c->engine;
    const struct out o = {emit, opaque};
    put_work(&o, t);
    put_memory(&o, t);
    put_mmu(&o, t);
    put_time(&o, &t->stats);
    put_reasons(&o, &t->stats);
    if (t->check)
        put_check(&o, t->check);
}
