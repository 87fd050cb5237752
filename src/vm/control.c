/*
 * The dispatcher: what happens when the machine, its owner or a person at the terminal wants something. One table row
 * for each thing to do, in order of importance.
 */
#include "cpu/world.h"
#include "event/clock.h"
#include "event/loop.h"
#include "host/thread.h"
#include "machine/machine.h"
#include "vm/internal.h"

void vm_todo(struct vm *vm, u32 todo, bool halt)
{
    pthread_mutex_lock(&vm->mutex);
    vm->todo |= todo;
    if (halt)
        processors_halt_locked(vm);
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
}

/* Of pause and continue, the last one counts. */
static void todo_instead(struct vm *vm, u32 old, u32 todo)
{
    pthread_mutex_lock(&vm->mutex);
    vm->todo = (vm->todo & ~old) | todo;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
}

void vm_pause(struct vm *vm)
{
    todo_instead(vm, TODO_CONTINUE, TODO_PAUSE);
}

void vm_continue(struct vm *vm)
{
    todo_instead(vm, TODO_PAUSE, TODO_CONTINUE);
}

void vm_reset(struct vm *vm)
{
    vm_todo(vm, TODO_OWNER_RESET, false);
}

void vm_stop(struct vm *vm)
{
    vm_todo(vm, TODO_STOP, false);
}

void vm_post(struct vm *vm, struct vm_work *work)
{
    pthread_mutex_lock(&vm->mutex);
    if (!work->waiting) {
        work->waiting = true;
        list_insert(&vm->work, &work->node);
        vm->todo |= TODO_WORK;
        pthread_cond_broadcast(&vm->changed);
    }
    pthread_mutex_unlock(&vm->mutex);
}

enum vm_state vm_state(struct vm *vm)
{
    pthread_mutex_lock(&vm->mutex);
    enum vm_state state = vm->state;
    pthread_mutex_unlock(&vm->mutex);
    return state;
}

static void state_set(struct vm *vm, enum vm_state state)
{
    pthread_mutex_lock(&vm->mutex);
    vm->state = state;
    pthread_mutex_unlock(&vm->mutex);
}

static void tell(struct vm *vm, enum vm_event ev)
{
    if (vm->cfg.event)
        vm->cfg.event(vm->cfg.opaque, ev);
}

static void time_stop(struct vm *vm)
{
    loop_lock(vm->loop);
    vclock_pause(loop_clock(vm->loop));
    loop_unlock(vm->loop);
}

static void time_go(struct vm *vm)
{
    loop_lock(vm->loop);
    vclock_resume(loop_clock(vm->loop));
    loop_unlock(vm->loop);
}

/* Each handler returns 0 to go on, 1 when the machine has ended, or a negative status. */
typedef int todo_fn(struct vm *vm, struct vm_end *end, struct error *err);

static int end_with(struct vm_end *end, enum vm_end_reason reason, unsigned status)
{
    *end = (struct vm_end){.reason = reason, .status = status};
    return 1;
}

static int do_debug_exit(struct vm *vm, struct vm_end *end, struct error *err)
{
    return end_with(end, VM_END_DEBUG_EXIT, vm->exit_status);
}

static int do_power_off(struct vm *vm, struct vm_end *end, struct error *err)
{
    return end_with(end, VM_END_POWER_OFF, 0);
}

static int do_stop(struct vm *vm, struct vm_end *end, struct error *err)
{
    return end_with(end, VM_END_STOPPED, 0);
}

static int do_failed(struct vm *vm, struct vm_end *end, struct error *err)
{
    return end_with(end, VM_END_FAILED, 0);
}

static int do_owner_reset(struct vm *vm, struct vm_end *end, struct error *err)
{
    struct world *world = machine_world(vm->machine);
    processors_halt(vm);
    world_exclusive(world, NULL);
    vm_drain_disks(vm);
    vm_drain_shares(vm);
    loop_lock(vm->loop);
    int status = machine_reset(vm->machine, err);
    loop_unlock(vm->loop);
    for (unsigned i = 0; i < vm->cpus; i++)
        vm->engine->flush(vm->processors[i].cpu);
    world_exclusive_end(world, NULL);
    if (status)
        return status;
    /* What the machine asked for before it was reset is void now. */
    pthread_mutex_lock(&vm->mutex);
    vm->todo &= ~(u32)(TODO_SHUTDOWN | TODO_RESET | TODO_OWNER_RESET);
    pthread_mutex_unlock(&vm->mutex);
    tell(vm, VM_EVENT_RESET);
    return 0;
}

static int do_reset(struct vm *vm, struct vm_end *end, struct error *err)
{
    if (vm->cfg.no_reboot)
        return end_with(end, VM_END_RESET, 0);
    log_limited(vm->cfg.log, &vm->reset_limit, LOG_INFO, "the guest resets the machine");
    return do_owner_reset(vm, end, err);
}

static int do_shutdown(struct vm *vm, struct vm_end *end, struct error *err)
{
    const struct vm_shutdown *s = &vm->shutdown;
    log_limited(vm->cfg.log, &vm->reset_limit, LOG_WARN,
                "processor %u: triple fault at %04x:%016llx (CR2 %016llx); the machine %s", s->cpu, s->cs,
                (unsigned long long)s->rip, (unsigned long long)s->cr2, vm->cfg.no_reboot ? "stops" : "resets");
    if (vm->cfg.no_reboot)
        return end_with(end, VM_END_SHUTDOWN, 0);
    return do_owner_reset(vm, end, err);
}

static int do_pause(struct vm *vm, struct vm_end *end, struct error *err)
{
    if (vm_state(vm) != VM_RUNNING)
        return 0;
    processors_halt(vm);
    time_stop(vm);
    state_set(vm, VM_PAUSED);
    tell(vm, VM_EVENT_PAUSED);
    return 0;
}

static int do_continue(struct vm *vm, struct vm_end *end, struct error *err)
{
    if (vm_state(vm) != VM_PAUSED)
        return 0;
    state_set(vm, VM_RUNNING);
    time_go(vm);
    tell(vm, VM_EVENT_RUNNING);
    return 0;
}

static struct vm_work *work_take(struct vm *vm)
{
    struct vm_work *work = NULL;
    pthread_mutex_lock(&vm->mutex);
    if (!list_empty(&vm->work)) {
        work = container_of(vm->work.next, struct vm_work, node);
        list_remove(&work->node);
        work->waiting = false;
    }
    pthread_mutex_unlock(&vm->mutex);
    return work;
}

static int do_work(struct vm *vm, struct vm_end *end, struct error *err)
{
    for (struct vm_work *work; (work = work_take(vm));)
        work->run(work->opaque);
    return 0;
}

static const struct {
    u32 todo;
    todo_fn *act;
} acts[] = {
    {TODO_FAILED, do_failed},           {TODO_DEBUG_EXIT, do_debug_exit},
    {TODO_POWER_OFF, do_power_off},     {TODO_STOP, do_stop},
    {TODO_SHUTDOWN, do_shutdown},       {TODO_RESET, do_reset},
    {TODO_OWNER_RESET, do_owner_reset}, {TODO_PAUSE, do_pause},
    {TODO_CONTINUE, do_continue},       {TODO_WORK, do_work},
};

/* The next thing to do, taken; waits for one. */
static todo_fn *todo_take(struct vm *vm)
{
    todo_fn *act = NULL;
    pthread_mutex_lock(&vm->mutex);
    while (!vm->todo)
        pthread_cond_wait(&vm->changed, &vm->mutex);
    for (size_t i = 0; i < ARRAY_SIZE(acts) && !act; i++)
        if (vm->todo & acts[i].todo) {
            vm->todo &= ~acts[i].todo;
            act = acts[i].act;
        }
    pthread_mutex_unlock(&vm->mutex);
    return act;
}

/* After each thing done, unless the machine is paused or more is waiting that took the processors out. */
static void processors_resume(struct vm *vm)
{
    const u32 needs_them_out = TODO_FAILED | TODO_DEBUG_EXIT | TODO_POWER_OFF | TODO_SHUTDOWN | TODO_RESET;
    pthread_mutex_lock(&vm->mutex);
    if (vm->state == VM_RUNNING && !(vm->todo & needs_them_out)) {
        vm->go = true;
        pthread_cond_broadcast(&vm->changed);
    }
    pthread_mutex_unlock(&vm->mutex);
}

static int dispatch(struct vm *vm, struct vm_end *end, struct error *err)
{
    int status;
    do {
        status = todo_take(vm)(vm, end, err);
        if (!status)
            processors_resume(vm);
    } while (!status);
    return status;
}

static void *loop_main(void *arg)
{
    loop_run(arg);
    return NULL;
}

int vm_run(struct vm *vm, struct vm_end *end, struct error *err)
{
    int status = host_thread_start(&vm->loop_thread, "events", loop_main, vm->loop);
    if (status)
        return error_set(err, status, "cannot start a thread");
    status = processors_start(vm, err);
    if (!status)
        status = vm_confine(vm, err);
    if (!status) {
        pthread_mutex_lock(&vm->mutex);
        if (!(vm->todo & TODO_PAUSE))
            vm->todo |= TODO_CONTINUE;
        pthread_mutex_unlock(&vm->mutex);
        status = dispatch(vm, end, err);
    }
    processors_join(vm);
    if (vm_state(vm) == VM_RUNNING)
        time_stop(vm);
    loop_quit(vm->loop);
    host_thread_join(vm->loop_thread);
    state_set(vm, VM_ENDED);
    return status < 0 ? status : 0;
}
