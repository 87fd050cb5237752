/*
 * A machine of RAM and one processor that carries out programs on one engine, in one of several ways. All ways must
 * come to the same end.
 */
#ifndef TESTS_PROGRAM_RIG_H
#define TESTS_PROGRAM_RIG_H

#include "engine/engine.h"
#include "program.h"

enum rig_way {
    WAY_PLAIN,
    WAY_STEP, /* a breakpoint that is never met makes the engine go by single instructions */
    WAY_STOP, /* another thread stops it at random moments */
};

struct rig {
    const struct engine_ops *engine;
    enum rig_way way;
    struct loop *loop;
    struct world *world;
    struct mem_space *mem;
    struct cpu *cpu;
    u8 *ram;
    struct mem_window stop_port, irq_port;
    u32 irqs;      /* requested: bit for each from IRQ_FIRST */
    bool shutdown; /* how the last program ended */
    bool failed;   /* by the engine itself, which found its code wrong */
    _Atomic bool ended, late;
    u64 stops;
};

/* NULL with a message on stderr if the machine cannot be made. */
struct rig *rig_create(const struct engine_ops *engine, enum rig_way way, const struct isa_features *f);
void rig_destroy(struct rig *r);
/* False if the program did not come to its end in that time. */
bool rig_run(struct rig *r, const struct program *p, unsigned milliseconds);

/* By the thread that watches: see watch.c. */
struct watch;
struct watch *watch_start(struct rig *r, unsigned milliseconds, u64 seed);
void watch_end(struct watch *w);

#endif
