/*
 * The translator as an engine (engine/engine.h): making and dropping.
 */
#include "engine/translate/check.h"
#include "engine/translate/listing.h"

#include <cpuid.h>
#include <stdlib.h>

#include "base/bits.h"

#include "cpu/mmu.h"

/* BMI2 and AVX2 (SDM volume 2, CPUID leaf 7), which processors have since 2013. */
#define LEAF7_AVX2 BIT(5)
#define LEAF7_BMI2 BIT(8)

/* Windows for one processor. */
#define PROBE_SPACE (3 * WIN_SIZE)

/* Of host memory, for each processor. */
#define MEMORY_PRESET MiB(256)
#define MEMORY_LEAST  MiB(24)
/* Jumps within it are of 32 bits. */
#define CODE_MAX      MiB(1024)

static int probe(struct error *err)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & (LEAF7_AVX2 | LEAF7_BMI2)) != (LEAF7_AVX2 | LEAF7_BMI2))
        return error_set(err, -ENOTSUP, "this host's processor has no AVX2 and BMI2, which the translator needs");
    u8 *space = host_space_reserve(PROBE_SPACE);
    if (!space)
        return error_set(err, -ENOTSUP, "this process may not reserve 1.5 TiB of addresses (ulimit -v?)");
    host_space_release(space, PROBE_SPACE);
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
    check_destroy(t->check);
    blocks_destroy(t);
    windows_destroy(t->windows);
    code_destroy(t->area);
    trap_destroy(t->trap);
    (void)pthread_mutex_destroy(&t->changed.lock);
    free(t);
}

/* Host memory of one processor. Fixed are the tables by which blocks are found. */
struct budget {
    u64 windows, code, meta;
};

static int budget_split(struct budget *b, const struct engine_config *cfg, unsigned cpus, struct error *err)
{
    u64 all = cfg->memory ? cfg->memory / cpus : MEMORY_PRESET;
    if (all < MEMORY_LEAST)
        return error_set(err, -EINVAL, "--engine-memory: too little for %u processors; give at least %lluM", cpus,
                         (unsigned long long)(cpus * MEMORY_LEAST / MiB(1)));
    b->windows = all / 4 < WINDOWS_LEAST ? WINDOWS_LEAST : all / 4;
    u64 rest = all - b->windows - BLOCKS_FIXED;
    b->code = align_down(rest / 3, 4096);
    if (b->code > CODE_MAX)
        b->code = CODE_MAX;
    b->meta = 2 * b->code;
    return 0;
}

static int prepare(struct translator *t, const struct engine_config *cfg, struct error *err)
{
    struct budget b = {0};
    int status = budget_split(&b, cfg, t->cpu->count ? t->cpu->count : 1, err);
    if (status)
        return status;
    t->meta_size = b.meta;
    t->check = cfg->check ? check_create() : NULL;
    if (cfg->check && !t->check)
        return error_set(err, -ENOMEM, "--check: out of memory");
    t->area = code_create(b.code, err);
    if (!t->area)
        return -ENOMEM;
    if (!blocks_create(t))
        return error_set(err, -ENOMEM, "out of memory for the translator of processor %u", t->cpu->id);
    status = blocks_drop(t, err);
    if (status)
        return status;
    t->windows = windows_create(t->cpu, t->glue.exit_link, t->glue.exit_indirect, err);
    if (t->windows)
        windows_limit(t->windows, b.windows);
    t->trap = t->windows ? trap_create(translate_trap, t, err) : NULL;
    return t->trap ? 0 : -ENOMEM;
}

static int attach(struct cpu *c, const struct engine_config *cfg, struct error *err)
{
    if (cfg->check && c->count > 1)
        return error_set(err, -EINVAL, "--check: stores are taken back, which others would see; give --cpus 1");
    struct translator *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(err, -ENOMEM, "out of memory for the translator of processor %u", c->id);
    t->cpu = c;
    (void)pthread_mutex_init(&t->changed.lock, NULL);
    t->perf_map = cfg->perf_map;
    t->patience = cfg->check ? 0 : cfg->translate_after;
    stats_begin(&t->stats, cfg->timing);
    glue_init_frame(c);
    int status = prepare(t, cfg, err);
    if (status) {
        release(t);
        return status;
    }
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

static void show_code(struct cpu *c, u64 rip, void (*line)(void *opaque, const char *text), void *opaque)
{
    listing_at(c->engine, rip, line, opaque);
}

const struct engine_ops translate_engine = {
    .name = "translate",
    .text = "binary translation: near native speed without virtualization hardware",
    .probe = probe,
    .attach = attach,
    .detach = detach,
    .run = translate_run,
    .flush = flush,
    .stats = stats_emit,
    .show_code = show_code,
};
