/*
 * Exclusive sections and halting (cpu/world.h).
 *
 * One mutex guards who runs. A processor waits on its own condition for the end of an exclusive section, and for work
 * when it is halted; whoever wants an exclusive section waits on `quiet` until nobody runs.
 *
 * No wake-up is lost: a processor that halts raises `halted` before it looks at what could wake it; a waker changes
 * that first and looks at `halted` afterwards. Both in the one order of sequentially consistent atomics, so at least
 * one sees the other.
 */
#include "cpu/world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "cpu/cpu.h"

struct slot {
    struct cpu *cpu;
    pthread_cond_t wake;
    bool running;
    atomic_bool halted;
};

struct world {
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    unsigned running; /* slots that run */
    unsigned waiting; /* for an exclusive section */
    bool exclusive;   /* one is on */
    unsigned count, capacity;
    struct slot *slot;
};

struct world *world_create(unsigned cpus)
{
    struct world *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->slot = calloc(cpus ? cpus : 1, sizeof(*w->slot));
    if (!w->slot) {
        free(w);
        return NULL;
    }
    w->capacity = cpus;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->quiet, NULL);
    for (unsigned n = 0; n < cpus; n++)
        pthread_cond_init(&w->slot[n].wake, NULL);
    return w;
}

void world_destroy(struct world *w)
{
    if (!w)
        return;
    for (unsigned n = 0; n < w->capacity; n++)
        pthread_cond_destroy(&w->slot[n].wake);
    pthread_cond_destroy(&w->quiet);
    pthread_mutex_destroy(&w->lock);
    free(w->slot);
    free(w);
}

/* Processors are added in the order of their ids, before any of them runs. */
void world_add(struct world *w, struct cpu *c)
{
    if (w->count < w->capacity)
        w->slot[w->count++].cpu = c;
}

unsigned world_count(const struct world *w)
{
    return w->count;
}

struct cpu *world_cpu(struct world *w, unsigned n)
{
    return n < w->count ? w->slot[n].cpu : NULL;
}

static struct slot *slot_of(struct world *w, const struct cpu *c)
{
    return &w->slot[c->id];
}

/* The functions below that end in _locked need w->lock. */

static void wake_all_locked(struct world *w)
{
    for (unsigned n = 0; n < w->count; n++)
        pthread_cond_signal(&w->slot[n].wake);
    pthread_cond_broadcast(&w->quiet);
}

static bool may_run_locked(const struct world *w)
{
    return !w->exclusive && !w->waiting;
}

static void start_locked(struct world *w, struct slot *s)
{
    s->running = true;
    w->running++;
}

static void stop_locked(struct world *w, struct slot *s)
{
    s->running = false;
    if (--w->running == 0)
        pthread_cond_broadcast(&w->quiet);
}

static void enter_locked(struct world *w, struct slot *s)
{
    while (!may_run_locked(w))
        pthread_cond_wait(&s->wake, &w->lock);
    start_locked(w, s);
}

void world_enter(struct world *w, struct cpu *c)
{
    pthread_mutex_lock(&w->lock);
    enter_locked(w, slot_of(w, c));
    pthread_mutex_unlock(&w->lock);
}

void world_leave(struct world *w, struct cpu *c)
{
    pthread_mutex_lock(&w->lock);
    stop_locked(w, slot_of(w, c));
    pthread_mutex_unlock(&w->lock);
}

void world_park(struct world *w, struct cpu *c)
{
    struct slot *s = slot_of(w, c);
    pthread_mutex_lock(&w->lock);
    if (!may_run_locked(w)) {
        stop_locked(w, s);
        enter_locked(w, s);
    }
    pthread_mutex_unlock(&w->lock);
}

static void park_running_locked(struct world *w)
{
    for (unsigned n = 0; n < w->count; n++) {
        struct cpu *c = w->slot[n].cpu;
        if (!w->slot[n].running)
            continue;
        atomic_fetch_or(&c->request, REQ_PARK);
        if (c->kick)
            c->kick(c);
    }
}

/* A lone processor that asks for itself has nobody to wait for but another thread's section, which its own run
 * excludes. */
static bool alone(const struct world *w, const struct cpu *self)
{
    return self && w->count <= 1;
}

void world_exclusive(struct world *w, struct cpu *self)
{
    if (alone(w, self))
        return;
    pthread_mutex_lock(&w->lock);
    if (self)
        stop_locked(w, slot_of(w, self));
    w->waiting++;
    while (w->exclusive || w->running) {
        park_running_locked(w);
        pthread_cond_wait(&w->quiet, &w->lock);
    }
    w->waiting--;
    w->exclusive = true;
    pthread_mutex_unlock(&w->lock);
}

void world_exclusive_end(struct world *w, struct cpu *self)
{
    if (alone(w, self))
        return;
    pthread_mutex_lock(&w->lock);
    w->exclusive = false;
    if (self) {
        start_locked(w, slot_of(w, self));
        if (w->waiting)
            atomic_fetch_or(&self->request, REQ_PARK);
    }
    wake_all_locked(w);
    pthread_mutex_unlock(&w->lock);
}

void world_request(struct world *w, struct cpu *self, u32 req)
{
    for (unsigned n = 0; n < w->count; n++) {
        if (w->slot[n].cpu != self)
            cpu_request(w->slot[n].cpu, req);
    }
}

static bool has_work(struct cpu *c)
{
    return atomic_load(&c->request) || (atomic_load(&c->intr_line) && (c->rflags & RF_IF));
}

void world_halt(struct world *w, struct cpu *c)
{
    struct slot *s = slot_of(w, c);
    pthread_mutex_lock(&w->lock);
    atomic_store(&s->halted, true);
    if (!has_work(c)) {
        stop_locked(w, s);
        while (!has_work(c))
            pthread_cond_wait(&s->wake, &w->lock);
        enter_locked(w, s);
    }
    atomic_store(&s->halted, false);
    pthread_mutex_unlock(&w->lock);
}

void world_wake(struct world *w, struct cpu *c)
{
    struct slot *s = slot_of(w, c);
    if (!atomic_load(&s->halted))
        return;
    pthread_mutex_lock(&w->lock);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&w->lock);
}
