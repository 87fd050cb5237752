#include "fake_machine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/char/char.h"
#include "cpu/cpu.h"
#include "cpu/model.h"
#include "cpu/world.h"
#include "engine/engine.h"
#include "event/door.h"
#include "machine/machine.h"

struct fake_counts fake_counts;

struct machine {
    struct machine_config cfg;
    struct world *world;
    _Atomic bool triple_fault;
};

struct world {
    unsigned count;
    struct cpu *cpus[MACHINE_MAX_CPUS];
    struct machine *machine;
};

/* cpu/ */

unsigned world_count(const struct world *w)
{
    return w->count;
}

struct cpu *world_cpu(struct world *w, unsigned n)
{
    return w->cpus[n];
}

void world_enter(struct world *w, struct cpu *c)
{
}

void world_leave(struct world *w, struct cpu *c)
{
}

void world_exclusive(struct world *w, struct cpu *self)
{
}

void world_exclusive_end(struct world *w, struct cpu *self)
{
}

void world_request(struct world *w, struct cpu *self, u32 req)
{
    for (unsigned i = 0; i < w->count; i++)
        cpu_request(w->cpus[i], req);
}

void cpu_request(struct cpu *c, u32 req)
{
    c->request |= req;
}

static const struct cpu_model model = {.name = "fake", .brand = "no processor"};

const struct cpu_model *cpu_model_find(const char *name)
{
    return cpu_model_at(0);
}

const struct cpu_model *cpu_model_at(unsigned n)
{
    return n ? NULL : &model;
}

int cpu_model_check(const struct cpu_model *m, struct error *err)
{
    return 0;
}

/* engine/ */

static int fake_attach(struct cpu *c, const struct engine_config *cfg, struct error *err)
{
    return 0;
}

static void fake_detach(struct cpu *c)
{
}

static enum engine_exit fake_run(struct cpu *c)
{
    struct machine *m = c->world->machine;
    enum engine_exit why = ENGINE_STOPPED;
    fake_counts.running++;
    while (!(c->request & REQ_STOP)) {
        if (c->id == 0 && m->triple_fault) {
            why = ENGINE_SHUTDOWN;
            m->triple_fault = false;
            break;
        }
        usleep(200);
    }
    fake_counts.running--;
    return why;
}

static void fake_flush(struct cpu *c)
{
    fake_counts.flushes++;
}

static const struct engine_ops fake_engine = {.name = "fake",
                                              .text = "does nothing",
                                              .attach = fake_attach,
                                              .detach = fake_detach,
                                              .run = fake_run,
                                              .flush = fake_flush};
const struct engine_ops *const engines[] = {&fake_engine, NULL};

const struct engine_ops *engine_find(const char *name)
{
    return strcmp(name, "fake") == 0 ? &fake_engine : NULL;
}

/* machine/ */

void fake_key(struct machine *m, u8 key)
{
    const struct machine_config *cfg = &m->cfg;
    if (key == 'o')
        cfg->event(cfg->opaque, MACHINE_POWER_OFF, 0);
    else if (key == 'r')
        cfg->event(cfg->opaque, MACHINE_RESET, 0);
    else if (key == 'd')
        cfg->event(cfg->opaque, MACHINE_DEBUG_EXIT, 11);
    else if (key == 't')
        m->triple_fault = true;
    else
        char_write(cfg->serial, &key, 1);
}

static size_t serial_room(void *opaque)
{
    return 16;
}

static void serial_receive(void *opaque, const u8 *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        fake_key(opaque, buf[i]);
}

struct machine *machine_create(const struct machine_config *cfg, struct error *err)
{
    if (cfg->kernel && strcmp(cfg->kernel, "bad") == 0) {
        (void)error_set(err, -EINVAL, "--kernel bad: it is bad");
        return NULL;
    }
    struct machine *m = calloc(1, sizeof(*m));
    m->cfg = *cfg;
    m->world = calloc(1, sizeof(*m->world));
    m->world->machine = m;
    m->world->count = cfg->cpus;
    for (unsigned i = 0; i < cfg->cpus; i++) {
        m->world->cpus[i] = calloc(1, sizeof(struct cpu));
        m->world->cpus[i]->id = i;
        m->world->cpus[i]->world = m->world;
    }
    const struct char_receiver rx = {.room = serial_room, .receive = serial_receive, .opaque = m};
    if (cfg->serial)
        char_attach(cfg->serial, &rx);
    return m;
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->world->count; i++)
        free(m->world->cpus[i]);
    free(m->world);
    free(m);
}

int machine_reset(struct machine *m, struct error *err)
{
    fake_counts.resets++;
    return 0;
}

struct world *machine_world(struct machine *m)
{
    return m->world;
}

struct mem_space *machine_mem(struct machine *m)
{
    return NULL;
}

struct dev *machine_dev(struct machine *m, unsigned n)
{
    return NULL;
}
