/*
 * Implements engine/translate/perf.h.
 */
#include "engine/translate/perf.h"

#include <stdio.h>

#include "host/perf_map.h"

void perf_glue(const struct translator *t)
{
    if (t->perf_map)
        perf_map_add(t->perf_map, t->glue.enter, t->glue.end - t->glue.enter, "ring3_glue");
}

void perf_block(const struct translator *t, const struct block *b)
{
    char name[40];
    if (!t->perf_map || !b->native)
        return;
    snprintf(name, sizeof(name), "guest_0x%llx_%s", (unsigned long long)b->rip, t->cpu->cpl == 3 ? "user" : "kernel");
    perf_map_add(t->perf_map, b->check, (u64)code_next(t->area) - b->check, name);
}
