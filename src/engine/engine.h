/*
 * An engine carries out guest code. The dispatcher (vm/) gives each virtual processor a thread and calls run in it; run
 * comes back when the processor is asked to stop.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/error.h"
#include "cpu/cpu.h"

enum engine_exit {
    ENGINE_STOPPED,  /* REQ_STOP was taken */
    ENGINE_SHUTDOWN, /* triple fault: the machine resets or ends */
};

struct engine_ops {
    const char *name; /* as --engine takes it */
    const char *text; /* one line for help */
    /* 0 if it can run here, or a negative status with the reason. */
    int (*probe)(struct error *err);
    /* Sets c->engine. */
    int (*attach)(struct cpu *c, struct error *err);
    void (*detach)(struct cpu *c);
    /* On the processor's own thread. */
    enum engine_exit (*run)(struct cpu *c);
    /* The state was changed from outside (load, reset): forget what is cached. Owner's thread or exclusive section. */
    void (*flush)(struct cpu *c);
    /* Counters as "name value" lines. */
    void (*stats)(struct cpu *c, void (*emit)(void *opaque, const char *name, u64 value), void *opaque);
};

/* In order of preference for auto; NULL-terminated. */
extern const struct engine_ops *const engines[];
const struct engine_ops *engine_find(const char *name);

#endif
