/*
 * One program on two engines, in a process of its own: a crash of the engine is a result like others.
 */
#ifndef TESTS_PROGRAM_TRIAL_H
#define TESTS_PROGRAM_TRIAL_H

#include "rig.h"

struct side {
    const struct engine_ops *engine;
    enum rig_way way;
};

struct trial {
    struct program_options program;
    struct side side[2]; /* the first is the reference */
    unsigned ignore;
    unsigned attempts; /* of one seed, to find what goes by chance */
    bool stats;        /* print the second engine's counters */
    bool blank[ITEMS];
};

/* Exit statuses of the process. */
enum { TRIAL_SAME = 0, TRIAL_DIFFERS = 1, TRIAL_SETUP = 2, TRIAL_ENDLESS = 3, TRIAL_CRASH = 4, TRIAL_HANG = 5 };

/* What the process tells while it runs. */
struct progress {
    u64 seed;
    u64 done, endless, events, stops;
};

/* Runs seeds from `seed` on until one is not the same; returns one of the above. In a new process, which `progress`
 * is shared with. */
int trial_run(const struct trial *t, u64 seed, u64 count, struct progress *progress);
/* Runs one program and prints what differs, in a new process. */
void trial_print(const struct trial *t, u64 seed);
/* Blanks as many items as possible while the result of the seed stays what it is. */
void trial_shrink(struct trial *t, u64 seed, int result, unsigned items);

#endif
