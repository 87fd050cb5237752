/*
 * The translator as an engine (engine/engine.h): making, dropping, counters.
 */
#include "engine/translate/translate.h"

#include <cpuid.h>
#include <stdlib.h>

#include "cpu/mmu.h"

/* BMI2 and AVX2 (SDM volume 2, CPUID leaf 7), which processors have since 2013. */
#define LEAF7_AVX2 BIT(5)
#define LEAF7_BMI2 BIT(8)

static int probe(struct error *err)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & (LEAF7_AVX2 | LEAF7_BMI2)) != (LEAF7_AVX2 | LEAF7_BMI2))
        return error_set(err, -ENOTSUP, "this host's processor has no AVX2 and BMI2, which the translator needs");
    return 0;
}

/* Any thread: the map of memory changed. */
static void map_changed(void *opaque)
{
    cpu_request(opaque, REQ_TLB);
}

/* Any thread: somebody wrote to code. */
static void code_written(void *opaque, struct mem_page *page)
{
    struct cpu *c = opaque;
    blocks_note(c->engine, page);
    cpu_request(c, REQ_BLOCK);
}

static void kick(struct cpu *c)
{
    struct translator *t = c->engine;
    trap_kick(t->trap);
}

static void release(struct translator *t)
{
    blocks_destroy(t);
    windows_destroy(t->windows);
    code_destroy(t->area);
    trap_destroy(t->trap);
    (void)pthread_mutex_destroy(&t->changed.lock);
    free(t);
}

static int prepare(struct translator *t, struct error *err)
{
    t->area = code_create(CODE_BYTES, err);
    if (!t->area)
        return -ENOMEM;
    if (!blocks_create(t))
        return error_set(err, -ENOMEM, "out of memory for the translator of processor %u", t->cpu->id);
    int status = blocks_drop(t, err);
    if (status)
        return status;
    t->windows = windows_create(t->cpu, t->glue.exit_link, t->glue.exit_indirect, err);
    t->trap = t->windows ? trap_create(translate_trap, t, err) : NULL;
    return t->trap ? 0 : -ENOMEM;
}

static int attach(struct cpu *c, struct error *err)
{
    struct translator *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(err, -ENOMEM, "out of memory for the translator of processor %u", c->id);
    t->cpu = c;
    (void)pthread_mutex_init(&t->changed.lock, NULL);
    int status = prepare(t, err);
    if (status) {
        release(t);
        return status;
    }
    glue_init_frame(c);
    c->engine = t;
    c->kick = kick;
    t->listener = (struct mem_listener){.changed = map_changed, .code_written = code_written, .opaque = c};
    mem_on_change(c->mem, &t->listener);
    return 0;
}

static void detach(struct cpu *c)
{
    struct translator *t = c->engine;
    if (!t)
        return;
    mem_on_change_remove(c->mem, &t->listener);
    c->kick = NULL;
    c->engine = NULL;
    release(t);
}

static void flush(struct cpu *c)
{
    struct translator *t = c->engine;
    struct error err;
    (void)blocks_drop(t, &err);
    mmu_flush_all(c);
    c->frame[FRAME_UPPER] = 1;
}

static void stats(struct cpu *c, void (*emit)(void *opaque, const char *name, u64 value), void *opaque)
{
    const struct translator *t = c->engine;
    const struct window_stats *w = windows_stats(t->windows);
    const struct {
        const char *name;
        u64 value;
    } list[] = {
        {"instructions by semantics", c->insns},
        {"single steps", t->stats.steps},
        {"blocks translated", t->stats.blocks},
        {"instructions translated", t->stats.insns},
        {"bytes of code", code_used(t->area)},
        {"exits for semantics", t->stats.calls},
        {"exits to link", t->stats.links},
        {"exits of indirect jumps", t->stats.indirect},
        {"exits for faults", t->stats.faults},
        {"exits of dead blocks", t->stats.dead_exits},
        {"exits for requests", t->stats.requests},
        {"exits for kicks", t->stats.kicks},
        {"blocks run as lists", t->stats.lists},
        {"blocks dead", t->stats.dead},
        {"pages with changed code", t->stats.stale},
        {"blocks made again", t->stats.remade},
        {"cache drops", t->stats.drops},
        {"window entries filled", w->fills},
        {"window table chunks", w->chunks},
        {"window changes", w->selects},
        {"windows recycled", w->recycled},
        {"windows dropped", w->drops},
        {"window pages dropped", w->pages_dropped},
        {"window pages protected", w->protects},
        {"TLB misses", c->tlb->stats.misses},
        {"page walks", c->tlb->stats.walks},
        {"TLB flushes", c->tlb->stats.flushes},
        {"stores to code", c->tlb->stats.code_hits},
        {"code pages turned to data", c->tlb->stats.code_unmarks},
    };
    for (size_t n = 0; n < ARRAY_SIZE(list); n++)
        emit(opaque, list[n].name, list[n].value);
}

const struct engine_ops translate_engine = {
    .name = "translate",
    .text = "binary translation: near native speed without virtualization hardware",
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .run = translate_run,
    .flush = flush,
    .stats = stats,
};
