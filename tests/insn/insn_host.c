/*
 * Every instruction row against the host processor: random operands, flags and memory, run natively and by our decoder
 * and semantics; registers, flags, memory, faults compared bit by bit. Also what manuals leave undefined: our
 * arithmetic flags come from the host.
 *
 *     insn_host [--rows PATTERN] [--count N] [--seed S] [--list]
 *
 * --rows takes a shell pattern on row names; --count is the number of cases for each row and kind of code; --list says
 * which rows are skipped, and why. The seed is printed, and with it a run can be repeated. Exit status 1 if anything
 * differed.
 */
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../seed.h"
#include "build.h"
#include "cpu/fault.h"
#include "guest.h"
#include "native.h"
#include "report.h"
#include "setup.h"

struct options {
    const char *rows;
    unsigned count;
    u64 seed;
    bool list;
};

struct run {
    struct random random;
    struct isa_features features;
    bool avx;
    bool split_locks_cost; /* the host traps locked accesses that cross a cache line, and makes them slow or deadly */
    unsigned cases, rows, skipped, failed_rows;
};

static const struct {
    const char *pattern, *why;
} skips[] = {
#define SKIP(pattern, why) {pattern, why},
#include "skip.def"
#undef SKIP
};

static const struct {
    const char *pattern;
    unsigned mask;
    const char *why;
} masks[] = {
#define MASK(pattern, mask, why) {pattern, mask, why},
#include "mask.def"
#undef MASK
};

static unsigned mask_of(const struct insn *i)
{
    for (unsigned n = 0; i->len && n < ARRAY_SIZE(masks); n++)
        if (!fnmatch(masks[n].pattern, isa_rows[i->row].name, 0))
            return masks[n].mask;
    return 0;
}

static const char *skip_reason(const struct run *run, unsigned row)
{
    if (!isa_has(&run->features, isa_rows[row].feature))
        return "the host does not have it";
    for (unsigned n = 0; n < ARRAY_SIZE(skips); n++)
        if (!fnmatch(skips[n].pattern, isa_rows[row].name, 0))
            return skips[n].why;
    return NULL;
}

/* By the names of Linux in /proc/cpuinfo, which are those of our table. */
static bool host_features(struct isa_features *f, bool *split_lock_detect)
{
    static const char *const names[] = {
#define FEATURE(name, text) [FEAT_##name] = text,
#include "isa/table/feature.def"
#undef FEATURE
    };
    char line[8192], *save = NULL;
    FILE *in = fopen("/proc/cpuinfo", "r");
    bool found = false;

    if (!in)
        return false;
    memset(f, 0, sizeof(*f));
    isa_set(f, FEAT_BASE);
    while (!found && fgets(line, sizeof(line), in)) {
        found = !strncmp(line, "flags", 5);
        for (char *word = strtok_r(line, " \t\n", &save); found && word; word = strtok_r(NULL, " \t\n", &save)) {
            *split_lock_detect |= !strcmp(word, "split_lock_detect");
            for (unsigned n = 0; n < ARRAY_SIZE(names); n++)
                if (!strcmp(word, names[n]))
                    isa_set(f, n);
        }
    }
    fclose(in);
    return found;
}

/*
 * What no two processors do alike. 66 before MOVBE with REX.W has no meaning, and Intel's microcode then moves bytes
 * one by one: no alignment check, and half a store where the second page faults.
 */
static bool is_peculiar(const struct insn *i)
{
    return i->len && !strcmp(isa_rows[i->row].mnemonic, "movbe") && i->rex_w && i->prefix66;
}

/* False if no bytes could be made. */
static bool make_case(struct run *run, unsigned row, struct test_case *t, struct insn *i)
{
    struct random *r = &run->random;
    u64 target = setup_target(r, t->kind, isa_rows[row].attrs & A_ALIGN);

    if (run->split_locks_cost && (isa_rows[row].attrs & A_LOCK))
        target &= ~15ull;
    setup_state(r, t, run->avx);
    if (!build_insn(r, row, t, &run->features, target, i) || is_peculiar(i))
        return false;
    if (i->len)
        setup_operands(r, t, i, target);
    else
        for (unsigned n = 0; t->kind != CODE_64 && n < 16; n++)
            t->before.gpr[n] = (u32)t->before.gpr[n];
    if (isa_rows[row].treat == TREAT_BRANCH) { /* not into itself: that would never end */
        u64 to = t->before.rip + i->len + i->imm;
        if (to - t->before.rip < i->len || i->opsize == 2)
            return i->opsize == 2 && (u16)(to - t->before.rip) >= i->len;
    }
    return true;
}

/* It leads to itself, by what happened to lie on the stack: the host would run it again. */
static bool comes_back(const struct test_case *t)
{
    return t->guest.vector == NO_FAULT && t->guest.rip - t->before.rip < t->len;
}

/* Ours first: it shows where a wild address goes, before the host goes there. */
static bool run_case(struct run *run, struct test_case *t, const struct insn *i, bool quiet)
{
    static const u8 int3[16] = {0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,
                                0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc};
    u64 at = t->before.rip + code_base(t->kind);
    struct memory_image *before = report_snapshot();
    bool same = true;

    setup_poke(at, t->bytes, t->len);
    guest_run(t);
    bool wild = (t->guest.vector == EXC_PF && native_owns(t->guest.cr2)) || comes_back(t);
    if (!wild) {
        native_run(t);
        same = report_same(t, mask_of(i));
        run->cases++;
    }
    setup_poke(at, int3, t->len);
    if (!same && !quiet)
        report_difference(t, i, before);
    if (!same || wild)
        report_resync();
    return same;
}

static void run_row(struct run *run, const struct options *o, unsigned row)
{
    unsigned made = 0, failed = 0;
    struct test_case t;
    struct insn i;

    for (unsigned k = 0; k < CODE_KINDS; k++) {
        if (!native_has(k))
            continue;
        unsigned count = k == CODE_64 ? o->count : (o->count + 3) / 4, tries = 64 + 8 * count;
        for (unsigned n = 0; n < count && tries; tries--) {
            t.kind = k;
            if (!make_case(run, row, &t, &i))
                continue;
            n++;
            made++;
            failed += !run_case(run, &t, &i, failed >= 3);
        }
    }
    if (!made)
        printf("%s: no bytes could be made\n", isa_rows[row].name);
    if (failed)
        printf("%s: %u of %u cases differ\n", isa_rows[row].name, failed, made);
    run->rows++;
    run->failed_rows += failed || !made;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"rows", required_argument, NULL, 'r'},
                                          {"count", required_argument, NULL, 'n'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"list", no_argument, NULL, 'l'},
                                          {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'r')
            o->rows = optarg;
        else if (c == 'n')
            o->count = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 's')
            o->seed = strtoull(optarg, NULL, 0);
        else if (c == 'l')
            o->list = true;
        else
            return false;
    }
    return optind == argc && o->count && o->seed;
}

int main(int argc, char **argv)
{
    static struct run run;
    struct options o = {.rows = "*", .count = 280, .seed = seed_choose() | 1};

    if (!parse_options(argc, argv, &o)) {
        fprintf(stderr, "usage: insn_host [--rows PATTERN] [--count N] [--seed S] [--list]\n");
        return 2;
    }
    if (!host_features(&run.features, &run.split_locks_cost) || !native_init() || !guest_init(&run.features))
        return 2;
    run.random.state = o.seed;
    run.avx = isa_has(&run.features, FEAT_AVX);
    setup_memory(&run.random);
    if (!native_has(CODE_16_LDT))
        printf("insn_host: no LDT on this host: 16-bit code and segment limits are not tried\n");
    printf("insn_host: seed %llu\n", (unsigned long long)o.seed);
    for (unsigned row = 0; row < INSN_COUNT; row++) {
        if (fnmatch(o.rows, isa_rows[row].name, 0))
            continue;
        const char *why = skip_reason(&run, row);
        if (why && o.list)
            printf("%s: skipped: %s\n", isa_rows[row].name, why);
        if (why)
            run.skipped++;
        else
            run_row(&run, &o, row);
    }
    printf("insn_host: %u rows, %u cases, %u rows skipped (--list says why), %u rows differ\n", run.rows, run.cases,
           run.skipped, run.failed_rows);
    guest_exit();
    return run.failed_rows ? 1 : 0;
}
