/*
 * Random programs on two engines: registers, memory, events and everything else must come out the same.
 *
 *     random_program [--seed S] [--count N] [--kinds LIST] [--length N] [--reference SIDE] [--against SIDE]
 *                    [--failures N] [--no-shrink] [--ignore-x87-pointers] [--strict-flags] [--stats] [--list]
 *
 * A SIDE is an engine's name, and perhaps +step (one instruction at a time) or +stop (stopped and begun anew at random
 * moments, from another thread). The reference is "interp"; against it run, if nothing is said, all other engines that
 * can run here, N programs each. LIST is of kinds with commas between, or of kinds to leave out if it begins with '-'.
 *
 * A fault or an interrupt may show anything as arithmetic flags that the code overwrites before it reads them, and so
 * they are left out, unless there is --strict-flags.
 *
 * A program is a function of its seed, of --kinds and --length, of whether a side is interrupted (+step, +stop), and of
 * what the host's processor has. On a difference the program is made as small as
 * possible and printed, with the command that repeats it; --failures says after how many the test ends. Exit status: 1
 * if anything differed, 77 if there is nothing to compare.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../seed.h"
#include "compare.h"
#include "cpu/model.h"
#include "gen.h"
#include "trial.h"

#define ATTEMPTS 24 /* to meet again what depends on the moment of a stop */

struct options {
    u64 seed, count, failures;
    const char *kinds, *reference, *against;
    bool shrink, list;
    struct trial trial;
};

static bool parse_side(const char *text, struct side *s)
{
    char name[32];
    const char *plus = strchr(text, '+');
    snprintf(name, sizeof(name), "%.*s", plus ? (int)(plus - text) : 31, text);
    s->engine = engine_find(name);
    s->way = !plus ? WAY_PLAIN : !strcmp(plus, "+step") ? WAY_STEP : WAY_STOP;
    if (s->engine && (!plus || s->way == WAY_STEP || !strcmp(plus, "+stop")))
        return true;
    fprintf(stderr, "random_program: %s: no such engine or way\n", text);
    return false;
}

static bool parse_kinds(const char *text, u32 *set)
{
    char copy[256], *save = NULL;
    bool without = text[0] == '-';
    u32 named = 0;
    snprintf(copy, sizeof(copy), "%s", text + without);
    for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        unsigned k = 0;
        while (k < KIND_COUNT && strcmp(kind_name(k), name))
            k++;
        if (k == KIND_COUNT) {
            fprintf(stderr, "random_program: %s: no such kind; --list names them\n", name);
            return false;
        }
        named |= BIT(k);
    }
    *set = without ? (BIT(KIND_COUNT) - 1) & ~named : named;
    return *set;
}

static void list_kinds(void)
{
#define KIND(name, text, weight, help) printf("%-8s %s\n", text, help);
#include "kind.def"
#undef KIND
    for (unsigned n = 0; engines[n]; n++)
        printf("engine %s: %s\n", engines[n]->name, engines[n]->text);
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
                                          {"count", required_argument, NULL, 'n'},
                                          {"kinds", required_argument, NULL, 'k'},
                                          {"length", required_argument, NULL, 'L'},
                                          {"reference", required_argument, NULL, 'r'},
                                          {"against", required_argument, NULL, 'a'},
                                          {"failures", required_argument, NULL, 'f'},
                                          {"no-shrink", no_argument, NULL, 'q'},
                                          {"ignore-x87-pointers", no_argument, NULL, 'x'},
                                          {"strict-flags", no_argument, NULL, 'S'},
                                          {"stats", no_argument, NULL, 't'},
                                          {"list", no_argument, NULL, 'l'},
                                          {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            o->seed = strtoull(optarg, NULL, 0);
            break;
        case 'n':
            o->count = strtoull(optarg, NULL, 0);
            break;
        case 'k':
            o->kinds = optarg;
            break;
        case 'L':
            o->trial.program.length = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'r':
            o->reference = optarg;
            break;
        case 'a':
            o->against = optarg;
            break;
        case 'f':
            o->failures = strtoull(optarg, NULL, 0);
            break;
        case 'q':
            o->shrink = false;
            break;
        case 'x':
            o->trial.ignore |= IGNORE_X87_POINTERS;
            break;
        case 'S':
            o->trial.program.strict_flags = true;
            break;
        case 't':
            o->trial.stats = true;
            break;
        case 'l':
            o->list = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

/* The host may punish locked accesses that cross cache lines. */
static bool split_locks_cost(void)
{
    char line[8192];
    bool found = false;
    FILE *in = fopen("/proc/cpuinfo", "r");
    while (in && !found && fgets(line, sizeof(line), in))
        found = strstr(line, "split_lock_detect");
    if (in)
        fclose(in);
    return found;
}

static unsigned count_items(const struct trial *t, u64 seed)
{
    struct program p = {.ram = malloc(RAM_SIZE)};
    if (p.ram)
        program_generate(&p, seed, &t->program);
    free(p.ram);
    return p.items;
}

static void report(struct options *o, const char *name, u64 seed, int result)
{
    static const char *const what[] = {[TRIAL_DIFFERS] = "differs", [TRIAL_CRASH] = "crashes", [TRIAL_HANG] = "hangs"};
    struct trial *t = &o->trial;
    unsigned items = count_items(t, seed), left = 0;

    printf("random_program: seed %llu: %s %s\n", (unsigned long long)seed, name, what[result]);
    t->attempts = t->side[1].way == WAY_STOP || t->side[0].way == WAY_STOP ? ATTEMPTS : 1;
    t->stats = false; /* of all programs, not of the attempts to shrink one */
    if (o->shrink && result != TRIAL_HANG)
        trial_shrink(t, seed, result, items);
    for (unsigned n = 0; n < items; n++)
        left += !t->blank[n];
    printf(" %u of %u items:\n", left, items);
    trial_print(t, seed);
    printf("repeat: random_program --against %s --seed %llu --count 1", name, (unsigned long long)seed);
    if (o->kinds)
        printf(" --kinds %s", o->kinds);
    if (t->program.length)
        printf(" --length %u", t->program.length);
    if (t->ignore & IGNORE_X87_POINTERS)
        printf(" --ignore-x87-pointers");
    if (t->program.strict_flags)
        printf(" --strict-flags");
    printf("\n");
}

static bool choose_sides(struct options *o, const char *name)
{
    struct trial *t = &o->trial;
    if (!parse_side(o->reference, &t->side[0]) || !parse_side(name, &t->side[1]))
        return false;
    if (t->side[0].way == WAY_STEP || t->side[1].way == WAY_STEP)
        t->ignore |= IGNORE_DEBUG_REGISTERS;
    t->program.interrupted = t->side[0].way != WAY_PLAIN || t->side[1].way != WAY_PLAIN;
    return true;
}

/* All seeds, or until there are enough failures. True if there was none. */
static bool run_against(struct options *o, const char *name, struct progress *progress)
{
    u64 failures = 0, end = o->seed + o->count;
    memset(progress, 0, sizeof(*progress));
    if (!choose_sides(o, name))
        return false;
    for (u64 seed = o->seed; seed < end && failures < o->failures; seed = progress->seed + 1) {
        memset(o->trial.blank, 0, sizeof(o->trial.blank));
        o->trial.attempts = o->count == 1 ? ATTEMPTS : 1;
        int result = trial_run(&o->trial, seed, end - seed, progress);
        if (result == TRIAL_SETUP)
            return false;
        if (result == TRIAL_SAME || result == TRIAL_ENDLESS)
            break;
        failures++;
        report(o, name, progress->seed, result);
    }
    printf("random_program: %s against %s: %llu programs, %llu of them endless, %llu events, %llu stops; %llu fail\n",
           o->reference, name, (unsigned long long)progress->done, (unsigned long long)progress->endless,
           (unsigned long long)progress->events, (unsigned long long)progress->stops, (unsigned long long)failures);
    return failures == 0;
}

/* Every other engine that can run here. */
static int run_all(struct options *o, struct progress *progress)
{
    unsigned ran = 0;
    for (unsigned n = 0; engines[n]; n++) {
        struct error err;
        if (!strcmp(engines[n]->name, o->reference))
            continue;
        if (engines[n]->probe && engines[n]->probe(&err) < 0) {
            printf("random_program: %s: %s\n", engines[n]->name, err.text);
            continue;
        }
        ran++;
        if (!run_against(o, engines[n]->name, progress))
            return 1;
    }
    if (!ran)
        printf("skipped: there is no engine to compare with %s\n", o->reference);
    return ran ? 0 : 77;
}

int main(int argc, char **argv)
{
    static struct options o = {.count = 2000, .failures = 1, .reference = "interp", .shrink = true};
    o.seed = seed_choose() * 1000000;
    o.trial.program.kinds = BIT(KIND_COUNT) - 1;
    if (!parse_options(argc, argv, &o)) {
        fprintf(stderr, "usage: random_program [--seed S] [--count N] [--kinds LIST] [--length N] [--reference SIDE] "
                        "[--against SIDE] [--failures N] [--no-shrink] [--ignore-x87-pointers] [--strict-flags] "
                        "[--stats] [--list]\n");
        return 2;
    }
    if (o.list) {
        list_kinds();
        return 0;
    }
    if (o.kinds && !parse_kinds(o.kinds, &o.trial.program.kinds))
        return 2;
    struct program_options *p = &o.trial.program;
    cpu_model_find("host")->features(&p->features);
    isa_set(&p->features, FEAT_BASE);
    p->no_split_locks = split_locks_cost();
    rows_init(&p->features);
    struct progress *progress =
        mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED)
        return 2;
    printf("random_program: seed %llu\n", (unsigned long long)o.seed);
    if (o.against)
        return run_against(&o, o.against, progress) ? 0 : 1;
    return run_all(&o, progress);
}
