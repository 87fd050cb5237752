/*
 * What the translator counts, and where its time goes. The owner counts; others read in exclusive sections.
 *
 * Time is the host's TSC, read where one kind of work turns into another, and only if it was asked for
 * (engine_config.timing): two reads for each entry into translated code.
 */
#ifndef ENGINE_TRANSLATE_STATS_H
#define ENGINE_TRANSLATE_STATS_H

#include "isa/insn.h"

struct cpu;

enum stats_time {
    TIME_CODE,      /* translated code, and the way in and out */
    TIME_SEMANTICS, /* instructions by semantics, devices included, and all that is not below */
    TIME_TRANSLATE, /* decoding and translating blocks */
    TIME_SERVICE,   /* interrupts, halting and other waiting */
    TIME_KINDS
};

struct stats {
    u64 blocks, insns, calls, links, indirect, dead, dead_exits, requests, faults, kicks, steps, drops, stale, remade,
        lists, narrow, loops, moved, decoded;
    u64 x87_loads;
    u64 special; /* of calls: instructions that have host code, where it cannot be used: misaligned and so on */
    u64 left[INSN_COUNT]; /* calls by row */
    bool timing;
    u64 last; /* TSC */
    u64 time[TIME_KINDS];
    u64 first_tsc, first_ns; /* when the engine was made */
};

void stats_begin(struct stats *s, bool timing);

/* What was done since the last call was of this kind. */
static inline void stats_lap(struct stats *s, enum stats_time kind)
{
    if (likely(!s->timing))
        return;
    u64 now = __builtin_ia32_rdtsc();
    s->time[kind] += now - s->last;
    s->last = now;
}

/* engine_ops.stats */
void stats_emit(struct cpu *c, void (*emit)(void *opaque, const char *name, u64 value), void *opaque);

#endif
