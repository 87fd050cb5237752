/*
 * Making and unmaking a virtual machine (vm.h).
 */
#include "vm/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/model.h"
#include "cpu/world.h"
#include "event/clock.h"
#include "event/loop.h"
#include "host/perf_map.h"
#include "machine/machine.h"
#include "vm/internal.h"

#define DISK_QUEUES_PRESET 4
_Static_assert(MACHINE_MAX_DISKS >= VM_LIST_MAX, "disks");

/* Machine lock held, any thread. */
static void machine_event(void *opaque, enum machine_event ev, unsigned value)
{
    static const u32 todo[] = {
        [MACHINE_POWER_OFF] = TODO_POWER_OFF,
        [MACHINE_RESET] = TODO_RESET,
        [MACHINE_DEBUG_EXIT] = TODO_DEBUG_EXIT,
    };
    struct vm *vm = opaque;
    if (ev == MACHINE_DEBUG_EXIT) {
        pthread_mutex_lock(&vm->mutex);
        if (!(vm->todo & TODO_DEBUG_EXIT))
            vm->exit_status = value;
        pthread_mutex_unlock(&vm->mutex);
    }
    vm_todo(vm, todo[ev], true);
}

static int choose_model(const char *name, const struct cpu_model **out, struct error *err)
{
    *out = cpu_model_find(name);
    if (*out)
        return cpu_model_check(*out, err);
    char list[200] = "";
    for (unsigned i = 0; cpu_model_at(i); i++) {
        size_t len = strlen(list);
        snprintf(list + len, sizeof(list) - len, "%s%s", i ? " or " : "", cpu_model_at(i)->name);
    }
    return error_set(err, -EINVAL, "--cpu %s: no such processor model; give %s", name, list);
}

static void take_disks(const struct vm *vm, struct machine_config *mc)
{
    for (unsigned n = 0; n < vm->disks; n++) {
        const struct vm_disk *d = &vm->disk[n];
        unsigned queues = vm->cfg.cpus < DISK_QUEUES_PRESET ? vm->cfg.cpus : DISK_QUEUES_PRESET;
        mc->disk[mc->disks++] = (struct machine_disk){.block = d->block,
                                                      .queues = d->queues ? d->queues : queues,
                                                      .packed = d->packed,
                                                      .serial = d->serial[0] ? d->serial : NULL};
    }
}

static void take_nets(const struct vm *vm, struct machine_config *mc)
{
    for (unsigned n = 0; n < vm->nets; n++) {
        const struct vm_net *net = &vm->net[n];
        struct machine_net *to = &mc->net[mc->nets++];
        *to = (struct machine_net){.net = net->net, .mtu = net->mtu, .packed = net->packed};
        memcpy(to->mac, net->mac, sizeof(to->mac));
    }
}

static int open_machine(struct vm *vm, struct error *err)
{
    const struct vm_config *cfg = &vm->cfg;
    struct machine_config mc = {
        .ram_size = cfg->ram_size,
        .cpus = cfg->cpus,
        .kernel = cfg->kernel,
        .initramfs = cfg->initramfs,
        .cmdline = cfg->cmdline ? cfg->cmdline : vm->found_cmdline,
        .loaded = vm->loaded.kernel ? &vm->loaded : NULL,
        .firmware = cfg->firmware,
        .unpack = cfg->unpack,
        .debug_exit = cfg->debug_exit,
        .testdev = cfg->testdev,
        .rng = cfg->rng,
        .balloon = cfg->balloon,
        .virtio_mmio = cfg->virtio_mmio,
        .vsock = vm->vsock,
        .vsock_cid = vm->vsock_cid,
        .serial = vm->serial,
        .console = vm->debugcon,
        .no_firmware_log = !cfg->debugcon,
        .archive = vm->root.archive.data,
        .archive_size = vm->root.archive.size,
        .loop = vm->loop,
        .log = cfg->log,
        .event = machine_event,
        .opaque = vm,
    };
    int status = choose_model(cfg->cpu_model, &mc.model, err);
    if (status)
        return status;
    take_disks(vm, &mc);
    take_nets(vm, &mc);
    for (unsigned n = 0; n < cfg->share.count; n++)
        mc.share[mc.shares++] = vm->share[n];
    for (unsigned n = 0; n < MACHINE_STREAMS; n++)
        mc.stream[n] = vm->root.stream[n];
    for (unsigned n = 0; n < cfg->port.count; n++)
        mc.port[mc.ports++] = vm->port[n];
    vm->machine = machine_create(&mc, err);
    return vm->machine ? 0 : -EINVAL;
}

static int attach_engine(struct vm *vm, struct error *err)
{
    struct world *world = machine_world(vm->machine);
    const struct engine_config cfg = {.check = vm->cfg.check,
                                      .timing = vm->cfg.timing,
                                      .perf_map = vm->perf_map,
                                      .memory = vm->cfg.engine_memory,
                                      .translate_after = vm->cfg.translate_after};
    vm->cpus = world_count(world);
    vm->processors = calloc(vm->cpus, sizeof(*vm->processors));
    if (!vm->processors)
        return error_set(err, -ENOMEM, "--cpus %u: out of memory", vm->cpus);
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct processor *p = &vm->processors[i];
        *p = (struct processor){.vm = vm, .cpu = world_cpu(world, i)};
        int status = vm->engine->attach(p->cpu, &cfg, err);
        if (status)
            return status;
        p->attached = true;
    }
    return 0;
}

static int open_perf_map(struct vm *vm, struct error *err)
{
    if (!vm->cfg.perf_map)
        return 0;
    if (!vm->engine->show_code)
        return error_set(err, -EINVAL, "--perf-map: engine %s makes no code; give --engine translate",
                         vm->engine->name);
    vm->perf_map = perf_map_create(err);
    return vm->perf_map ? 0 : error_prefix(err, -EEXIST, "--perf-map");
}

static int open_all(struct vm *vm, struct error *err)
{
    vm->loop = loop_create();
    if (!vm->loop)
        return error_set(err, -errno, "cannot make the event loop: %s", strerror(errno));
    loop_lock(vm->loop);
    vclock_pause(loop_clock(vm->loop));
    loop_unlock(vm->loop);

    int status = vm_choose_engine(vm, err);
    if (!status)
        status = vm_prepare_root(vm, err);
    if (!status)
        status = vm_open_nets(vm, err);
    if (!status)
        status = vm_open_consoles(vm, err);
    if (!status)
        status = vm_load_kernel(vm, err);
    if (!status)
        status = vm_open_disks(vm, err);
    if (!status)
        status = vm_open_seed(vm, err);
    if (!status)
        status = vm_open_shares(vm, err);
    if (!status)
        status = vm_build_root(vm, err);
    if (!status)
        status = open_machine(vm, err);
    if (!status)
        status = open_perf_map(vm, err);
    if (!status)
        status = attach_engine(vm, err);
    if (!status)
        status = vm_start_nets(vm, err);
    if (!status)
        status = vm_start_consoles(vm, err);
    return status;
}

int vm_create(const struct vm_config *cfg, struct vm **out, struct error *err)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return error_set(err, -ENOMEM, "out of memory");
    vm->cfg = *cfg;
    pthread_mutex_init(&vm->mutex, NULL);
    pthread_cond_init(&vm->changed, NULL);
    list_init(&vm->work);
    int status = open_all(vm, err);
    if (status) {
        vm_destroy(vm);
        return status;
    }
    *out = vm;
    return 0;
}

void vm_destroy(struct vm *vm)
{
    if (!vm)
        return;
    for (unsigned i = 0; vm->processors && i < vm->cpus; i++)
        if (vm->processors[i].attached)
            vm->engine->detach(vm->processors[i].cpu);
    free(vm->processors);
    perf_map_destroy(vm->perf_map);
    vm_drain_disks(vm);
    vm_drain_shares(vm);
    machine_destroy(vm->machine);
    vm_close_disks(vm);
    vm_close_shares(vm);
    vm_free_kernel(vm);
    if (vm->loop) {
        vm_close_nets(vm);
        vm_close_consoles(vm);
    }
    loop_destroy(vm->loop);
    pthread_cond_destroy(&vm->changed);
    pthread_mutex_destroy(&vm->mutex);
    free(vm);
}

struct machine *vm_machine(struct vm *vm)
{
    return vm->machine;
}

struct loop *vm_loop(struct vm *vm)
{
    return vm->loop;
}

struct mux *vm_mux(struct vm *vm)
{
    return vm->mux;
}

const char *vm_engine_name(const struct vm *vm)
{
    return vm->engine->name;
}

const char *vm_engine_reason(const struct vm *vm)
{
    return vm->engine_reason;
}

const char *vm_state_name(enum vm_state state)
{
    static const char *const names[] = {[VM_PAUSED] = "paused", [VM_RUNNING] = "running", [VM_ENDED] = "ended"};
    return names[state];
}

struct stats_target {
    void (*emit)(void *opaque, unsigned cpu, const char *name, u64 value);
    void *opaque;
    unsigned cpu;
};

static void stats_line(void *opaque, const char *name, u64 value)
{
    const struct stats_target *t = opaque;
    t->emit(t->opaque, t->cpu, name, value);
}

void vm_stats(struct vm *vm, void (*emit)(void *opaque, unsigned cpu, const char *name, u64 value), void *opaque)
{
    struct stats_target t = {.emit = emit, .opaque = opaque};
    struct world *world = machine_world(vm->machine);
    world_exclusive(world, NULL);
    for (t.cpu = 0; t.cpu < vm->cpus; t.cpu++)
        if (vm->engine->stats)
            vm->engine->stats(vm->processors[t.cpu].cpu, stats_line, &t);
    world_exclusive_end(world, NULL);
}

bool vm_show_code(struct vm *vm, unsigned cpu, u64 rip, void (*line)(void *opaque, const char *text), void *opaque)
{
    if (!vm->engine->show_code)
        return false;
    vm->engine->show_code(vm->processors[cpu].cpu, rip, line, opaque);
    return true;
}
