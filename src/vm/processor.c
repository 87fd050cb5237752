/*
 * The processors' threads. Each runs its processor in the engine while `go` is set, and waits otherwise.
 *
 * REQ_STOP is what brings a processor out. It is set and cleared under the mutex together with `go`, so that none is
 * lost between a processor that starts and a dispatcher that halts.
 */
#include <stdio.h>

#include "cpu/cpu.h"
#include "cpu/world.h"
#include "host/thread.h"
#include "machine/machine.h"
#include "vm/internal.h"

/* Waits until the processor may run; false: the thread is to end. */
static bool processor_admit(struct processor *p)
{
    struct vm *vm = p->vm;
    pthread_mutex_lock(&vm->mutex);
    while (!vm->go && !vm->quit)
        pthread_cond_wait(&vm->changed, &vm->mutex);
    bool run = !vm->quit;
    if (run) {
        p->cpu->request &= ~(u32)REQ_STOP;
        vm->inside++;
    }
    pthread_mutex_unlock(&vm->mutex);
    return run;
}

static void processor_out(struct processor *p)
{
    struct vm *vm = p->vm;
    pthread_mutex_lock(&vm->mutex);
    vm->inside--;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
}

/* Triple fault. The first processor to report is the one whose place is told. */
static void processor_shutdown(struct processor *p)
{
    const struct cpu *c = p->cpu;
    struct vm *vm = p->vm;
    pthread_mutex_lock(&vm->mutex);
    if (!(vm->todo & TODO_SHUTDOWN))
        vm->shutdown = (struct vm_shutdown){.cpu = c->id, .cs = c->seg[SEG_CS].sel, .rip = cpu_rip(c), .cr2 = c->cr2};
    pthread_mutex_unlock(&vm->mutex);
    vm_todo(vm, TODO_SHUTDOWN, true);
}

static void *processor_main(void *arg)
{
    struct processor *p = arg;
    while (processor_admit(p)) {
        enum engine_exit why = p->vm->engine->run(p->cpu);
        if (why == ENGINE_SHUTDOWN)
            processor_shutdown(p);
        else if (why == ENGINE_FAILED)
            vm_todo(p->vm, TODO_FAILED, true);
        processor_out(p);
    }
    return NULL;
}

int processors_start(struct vm *vm, struct error *err)
{
    for (unsigned i = 0; i < vm->cpus; i++) {
        struct processor *p = &vm->processors[i];
        char name[16];
        snprintf(name, sizeof(name), "cpu %u", i);
        int status = host_thread_start(&p->thread, name, processor_main, p);
        if (status)
            return error_set(err, status, "--cpus %u: cannot start a thread for processor %u", vm->cpus, i);
        p->started = true;
    }
    return 0;
}

void processors_halt_locked(struct vm *vm)
{
    vm->go = false;
    if (vm->machine)
        world_request(machine_world(vm->machine), NULL, REQ_STOP);
}

void processors_halt(struct vm *vm)
{
    pthread_mutex_lock(&vm->mutex);
    processors_halt_locked(vm);
    while (vm->inside)
        pthread_cond_wait(&vm->changed, &vm->mutex);
    pthread_mutex_unlock(&vm->mutex);
}

void processors_join(struct vm *vm)
{
    pthread_mutex_lock(&vm->mutex);
    processors_halt_locked(vm);
    vm->quit = true;
    pthread_cond_broadcast(&vm->changed);
    pthread_mutex_unlock(&vm->mutex);
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->processors[i].started)
            host_thread_join(vm->processors[i].thread);
}
