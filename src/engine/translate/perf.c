/*
 * Implements engine/translate/perf.h.
 */
#include "engine/translate/perf.h"

#include <stdio.h>

#include "host/perf_map.h"

void perf_glue(const struct code_cache *k)
{
    if (k->perf_map)
        perf_map_add(k->perf_map, k->glue.enter, k->glue.end - k->glue.enter, "ring3_glue");
}

void perf_block(const struct translator *t, const struct block *b)
{
    const struct code_cache *k = t->cache;
    char name[40];
    if (!k->perf_map)
        return;
    snprintf(name, sizeof(name), "guest_0x%llx_%s", (unsigned long long)b->rip, t->cpu->cpl == 3 ? "user" : "kernel");
    perf_map_add(k->perf_map, b->check, (u64)code_next(k->area) - b->check, name);
}
