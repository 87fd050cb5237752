/*
 * The interpreter as an engine (engine/engine.h): making, dropping, counters.
 */
#include "engine/interp/interp.h"

#include <stdlib.h>

#include "cpu/mmu.h"

static int probe(struct error *err)
{
    return 0;
}

/* Any thread: the map of memory changed. */
static void map_changed(void *opaque)
{
    cpu_request(opaque, REQ_TLB);
}

static int attach(struct cpu *c, const struct engine_config *cfg, struct error *err)
{
    if (cfg->check)
        return error_set(err, -EINVAL,
                         "--check: the interpreter is what others are held against; give --engine translate");
    if (cfg->memory)
        return error_set(err, -EINVAL, "--engine-memory: the interpreter needs little; give --engine translate");
    struct interp *e = interp_create(INTERP_ARENA);
    if (!e)
        return error_set(err, -ENOMEM, "out of memory for the interpreter of processor %u", c->id);
    c->engine = e;
    e->listener = (struct mem_listener){.changed = map_changed, .opaque = c};
    mem_on_change(c->mem, &e->listener);
    return 0;
}

static void detach(struct cpu *c)
{
    struct interp *e = c->engine;
    if (!e)
        return;
    mem_on_change_remove(c->mem, &e->listener);
    interp_destroy(e);
    c->engine = NULL;
}

static void flush(struct cpu *c)
{
    interp_drop(c->engine);
    mmu_flush_all(c);
}

static void stats(struct cpu *c, void (*emit)(void *opaque, const char *name, u64 value), void *opaque)
{
    const struct interp *e = c->engine;
    const struct {
        const char *name;
        u64 value;
    } list[] = {
        {"instructions", c->insns},
        {"single steps", e->stats.steps},
        {"block links followed", e->stats.links},
        {"block look-ups", e->stats.lookups},
        {"blocks decoded", e->stats.built},
        {"block cache drops", e->stats.drops},
        {"TLB misses", c->tlb->stats.misses},
        {"page walks", c->tlb->stats.walks},
        {"TLB flushes", c->tlb->stats.flushes},
        {"stores to code", c->tlb->stats.code_hits},
        {"code pages turned to data", c->tlb->stats.code_unmarks},
    };
    for (size_t n = 0; n < ARRAY_SIZE(list); n++)
        emit(opaque, list[n].name, list[n].value);
}

const struct engine_ops interp_engine = {
    .name = "interp",
    .text = "interpreter: runs everywhere, one instruction at a time",
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .run = interp_run,
    .flush = flush,
    .stats = stats,
};
