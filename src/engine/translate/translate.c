/*
 * The translator as an engine (engine/engine.h): making and dropping.
 */
#include "engine/translate/check.h"
#include "engine/translate/listing.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#include "cpu/mmu.h"
#include "cpu/world.h"
#include "engine/narrow.h"
#include "host/mem.h"

/* BMI2 and AVX2 (SDM volume 2, CPUID leaf 7), which processors have since 2013. */
#define LEAF7_AVX2 BIT(5)
#define LEAF7_BMI2 BIT(8)

/* Windows for one processor. */
#define PROBE_SPACE (3 * WIN_SIZE)

/* Of host memory: for each processor, and for what they share. */
#define OWN_PRESET    MiB(64)
#define OWN_LEAST     (WINDOWS_LEAST + MiB(2))
#define SHARED_PRESET MiB(448)
#define SHARED_LEAST  MiB(12)
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

struct translator *translator_of(struct cpu *c)
{
    return c->kick == kick ? c->engine : NULL;
}

void translate_forget(struct translator *t)
{
    memset(t->jump, 0, sizeof(t->jump));
    t->resume = 0;
    windows_drop_code(t->windows);
}

static void release(struct translator *t)
{
    check_destroy(t->check);
    windows_destroy(t->windows);
    interp_destroy(t->narrow);
    host_table_free(t->scratch, BLOCK_BYTES(BLOCK_MAX));
    if (t->cache && !--t->cache->users)
        code_cache_destroy(t->cache);
    trap_destroy(t->trap);
    (void)pthread_mutex_destroy(&t->changed.lock);
    free(t);
}

/* Host memory: `windows` and `narrow` for each processor, the rest for all. Fixed are the tables by which blocks are
 * found. */
struct budget {
    u64 windows, narrow, code, meta;
};

static int budget_split(struct budget *b, const struct engine_config *cfg, unsigned cpus, struct error *err)
{
    u64 all = cfg->memory ? cfg->memory : SHARED_PRESET + cpus * OWN_PRESET;
    u64 least = SHARED_LEAST + cpus * OWN_LEAST;
    if (all < least)
        return error_set(err, -EINVAL, "--engine-memory: too little for %u processors; give at least %lluM", cpus,
                         (unsigned long long)(least / MiB(1)));
    u64 own = all / 8 / cpus < OWN_LEAST ? OWN_LEAST : all / 8 / cpus;
    b->windows = own / 8 * 7 < WINDOWS_LEAST ? WINDOWS_LEAST : own / 8 * 7;
    b->narrow = align_down(own - b->windows, 4096);
    u64 rest = all - own * cpus - CODE_CACHE_FIXED;
    b->code = align_down(rest / 4, 4096);
    if (b->code > CODE_MAX)
        b->code = CODE_MAX;
    b->meta = 3 * b->code;
    return 0;
}

/* The one that another processor of the machine has, or a new one. */
static int join_cache(struct translator *t, const struct code_cache_config *cfg, struct error *err)
{
    struct world *w = t->cpu->world;
    for (unsigned n = 0; n < world_count(w) && !t->cache; n++) {
        const struct translator *other = translator_of(world_cpu(w, n));
        t->cache = other ? other->cache : NULL;
    }
    if (!t->cache)
        t->cache = code_cache_create(cfg, err);
    if (!t->cache)
        return -ENOMEM;
    t->cache->users++;
    return 0;
}

static int prepare(struct translator *t, const struct engine_config *cfg, struct error *err)
{
    struct budget b = {0};
    int status = budget_split(&b, cfg, t->cpu->count ? t->cpu->count : 1, err);
    if (status)
        return status;
    t->check = cfg->check ? check_create() : NULL;
    if (cfg->check && !t->check)
        return error_set(err, -ENOMEM, "--check: out of memory");
    t->scratch = host_table_alloc(BLOCK_BYTES(BLOCK_MAX));
    t->narrow = interp_create(b.narrow);
    if (!t->scratch || !t->narrow)
        return error_set(err, -ENOMEM, "out of memory for the translator of processor %u", t->cpu->id);
    const struct code_cache_config cache = {
        .code = b.code, .meta = b.meta, .patience = cfg->check ? 0 : cfg->translate_after, .perf_map = cfg->perf_map};
    status = join_cache(t, &cache, err);
    if (status)
        return status;
    t->windows = windows_create(t->cpu, t->cache->glue.exit_link, t->cache->glue.exit_indirect, err);
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
    t->quiet = true;
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
    interp_drop(t->narrow);
    code_cache_kill_all(t);
    t->cache->full = true;
    translate_forget(t);
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
