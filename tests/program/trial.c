/* See trial.h. */
#include "trial.h"

#include <stdio.h>
#include <stdlib.h>

#include "compare.h"
#include "process.h"

#define REFERENCE_MS 400u   /* longer programs are dropped */
#define OTHER_MS     30000u /* the other side may be slow, or stopped all the time */
#define SILENCE_MS   60000u

struct pair {
    struct rig *rig[2];
    struct program program;
};

static bool pair_create(struct pair *pair, const struct trial *t)
{
    for (unsigned n = 0; n < 2; n++) {
        pair->rig[n] = rig_create(t->side[n].engine, t->side[n].way, &t->program.features);
        if (!pair->rig[n])
            return false;
    }
    pair->program.ram = malloc(RAM_SIZE);
    return pair->program.ram;
}

static void pair_destroy(struct pair *pair)
{
    rig_destroy(pair->rig[0]);
    rig_destroy(pair->rig[1]);
    free(pair->program.ram);
}

static int run_both(struct pair *pair, const struct trial *t)
{
    if (!rig_run(pair->rig[0], &pair->program, REFERENCE_MS))
        return TRIAL_ENDLESS;
    if (!rig_run(pair->rig[1], &pair->program, OTHER_MS))
        return TRIAL_DIFFERS;
    return compare_same(pair->rig[0], pair->rig[1], t->ignore) ? TRIAL_SAME : TRIAL_DIFFERS;
}

/* Until it differs, or as often as asked. */
static int run_attempts(struct pair *pair, const struct trial *t)
{
    int result = run_both(pair, t);
    for (unsigned n = 1; n < t->attempts && result == TRIAL_SAME; n++)
        result = run_both(pair, t);
    return result;
}

static int run_pair(struct pair *pair, const struct trial *t, u64 seed)
{
    struct program *p = &pair->program;
    program_generate(p, seed, &t->program);
    for (unsigned n = 0; n < p->items; n++)
        if (t->blank[n])
            program_blank(p, n);
    program_finish(p, &t->program, false);
    int result = run_attempts(pair, t);
    if (result == TRIAL_DIFFERS && program_rewrote_code(p, &t->program, pair->rig[0]->ram)) {
        program_finish(p, &t->program, true);
        result = run_attempts(pair, t);
    }
    return result;
}

static void print_counter(void *opaque, const char *name, u64 value)
{
    printf("  %s: %llu\n", name, (unsigned long long)value);
}

static int run_seeds(const struct trial *t, u64 seed, u64 count, struct progress *progress)
{
    static struct pair pair;
    int result = TRIAL_SAME;
    if (!pair_create(&pair, t))
        return TRIAL_SETUP;
    for (u64 n = 0; n < count && (result == TRIAL_SAME || result == TRIAL_ENDLESS); n++) {
        progress->seed = seed + n;
        result = run_pair(&pair, t, seed + n);
        progress->done++;
        progress->endless += result == TRIAL_ENDLESS;
        progress->stops += pair.rig[1]->stops;
        progress->events +=
            (((struct runtime_vars *)(pair.rig[0]->ram + PA_VARS))->log - RT_BASE - PA_LOG) / RECORD_SIZE;
    }
    if (t->stats)
        pair.rig[1]->engine->stats(pair.rig[1]->cpu, print_counter, NULL);
    pair_destroy(&pair);
    return result == TRIAL_ENDLESS && count > 1 ? TRIAL_SAME : result;
}

struct job {
    const struct trial *trial;
    u64 seed, count;
    struct progress *progress;
};

static int run_job(void *opaque)
{
    const struct job *j = opaque;
    return run_seeds(j->trial, j->seed, j->count, j->progress);
}

int trial_run(const struct trial *t, u64 seed, u64 count, struct progress *progress)
{
    struct job job = {t, seed, count, progress};
    int status = process_run(run_job, &job, &progress->done, SILENCE_MS);
    switch (status) {
    case PROCESS_FAILED:
        return TRIAL_SETUP;
    case PROCESS_CRASHED:
        return TRIAL_CRASH;
    case PROCESS_SILENT:
        return TRIAL_HANG;
    default:
        return status;
    }
}

static int print_job(void *opaque)
{
    const struct job *j = opaque;
    static struct pair pair;
    if (!pair_create(&pair, j->trial))
        return TRIAL_SETUP;
    program_generate(&pair.program, j->seed, &j->trial->program);
    compare_list(&pair.program, j->trial->blank, &j->trial->program.features);
    fflush(stdout);
    if (run_pair(&pair, j->trial, j->seed) == TRIAL_SAME)
        printf("  this time nothing differs\n");
    if (pair.rig[1]->late)
        printf("  the second did not come to its end; it was at %llx\n",
               (unsigned long long)pair.rig[1]->cpu->gpr[REG_RIP]);
    compare_print(pair.rig[0], pair.rig[1], j->trial->ignore);
    pair_destroy(&pair);
    return TRIAL_SAME;
}

void trial_print(const struct trial *t, u64 seed)
{
    struct job job = {t, seed, 1, NULL};
    const u64 never = 0;
    process_run(print_job, &job, &never, SILENCE_MS);
}

/* --- shrinking
 * ---------------------------------------------------------------------------------------------------------- */

/* Blanks [first, first + count) if the result stays. */
static bool try_blank(struct trial *t, u64 seed, int result, unsigned first, unsigned count)
{
    struct progress progress = {0}; /* of no use here: nobody shares it */
    bool old[ITEMS], any = false;
    for (unsigned n = first; n < first + count; n++) {
        old[n] = t->blank[n];
        any |= !old[n];
        t->blank[n] = true;
    }
    if (any && trial_run(t, seed, 1, &progress) == result)
        return true;
    for (unsigned n = first; n < first + count; n++)
        t->blank[n] = old[n];
    return false;
}

void trial_shrink(struct trial *t, u64 seed, int result, unsigned items)
{
    bool smaller = true;
    for (unsigned size = items / 2 ? items / 2 : 1; size;) {
        smaller = false;
        for (unsigned first = 0; first < items; first += size)
            smaller |= try_blank(t, seed, result, first, size < items - first ? size : items - first);
        if (size > 1)
            size /= 2;
        else if (!smaller)
            size = 0;
    }
}
