/*
 * An engine carries out guest code. The dispatcher (vm/) gives each virtual processor a thread and calls run in it; run
 * comes back when the processor is asked to stop.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/error.h"
#include "cpu/cpu.h"

struct perf_map;

enum engine_exit {
    ENGINE_STOPPED,  /* REQ_STOP was taken */
    ENGINE_SHUTDOWN, /* triple fault: the machine resets or ends */
    ENGINE_FAILED,   /* the engine found itself wrong (engine_config.check, or by chance), which is logged: the machine
                        ends */
};

/* What is asked of an engine beside its work. Pointers outlive the engine's processors. */
struct engine_config {
    bool check;                /* hold each stretch of guest code against the semantics of its instructions */
    bool timing;               /* measure where the time goes, for stats */
    struct perf_map *perf_map; /* where to name code that is made (host/perf_map.h); NULL: nowhere */
    u8 translate_after;        /* run code so often by its instructions' semantics before it is translated */
    u64 memory;                /* bytes of host memory for all processors together; 0: the engine's own choice */
};

struct engine_ops {
    const char *name; /* as --engine takes it */
    const char *text; /* one line for help */
    /* 0 if it can run here, or a negative status with the reason. */
    int (*probe)(struct error *err);
    /* Sets c->engine. Fails for what it cannot do of what is asked. */
    int (*attach)(struct cpu *c, const struct engine_config *cfg, struct error *err);
    void (*detach)(struct cpu *c);
    /* On the processor's own thread. */
    enum engine_exit (*run)(struct cpu *c);
    /* The state was changed from outside (load, reset): forget what is cached. Owner's thread or exclusive section. */
    void (*flush)(struct cpu *c);
    /* Counters as "name value" lines. */
    void (*stats)(struct cpu *c, void (*emit)(void *opaque, const char *name, u64 value), void *opaque);
    /* What was made of the guest code at linear address `rip`, as lines for a person. In an exclusive section. NULL
     * where nothing is made. */
    void (*show_code)(struct cpu *c, u64 rip, void (*line)(void *opaque, const char *text), void *opaque);
};

/* In order of preference for auto; NULL-terminated. */
extern const struct engine_ops *const engines[];
const struct engine_ops *engine_find(const char *name);

#endif
