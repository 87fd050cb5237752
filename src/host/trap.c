/*
 * Implements host/trap.h. sigaction(2), sigaltstack(2) with SS_AUTODISARM: without that flag the kernel looks at the
 * stack pointer to tell whether the signal stack is in use, and in translated code the stack pointer is the guest's.
 *
 * The kernel has one handler a process and signal: ours is installed once and finds the thread's part through a
 * thread-local pointer.
 */
#include "host/trap.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

#define STACK_SIZE  (256 * 1024)
#define FLAG_TRAP   0x100
#define SIGNAL_KICK SIGUSR2

struct trap_thread {
    trap_fn *fn;
    void *opaque;
    void *stack;
    stack_t before;
    pthread_mutex_t lock; /* the rest */
    bool enabled;
    pthread_t thread;
};

static const struct {
    int signal;
    enum trap_kind kind;
} traps[] = {
    {SIGSEGV, TRAP_ACCESS}, {SIGBUS, TRAP_ACCESS}, {SIGFPE, TRAP_ARITHMETIC},
    {SIGILL, TRAP_ILLEGAL}, {SIGTRAP, TRAP_STEP},  {SIGNAL_KICK, TRAP_KICK},
};

/* Who had the signals before; written once, before any handler can run. */
static struct sigaction earlier[ARRAY_SIZE(traps)];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct trap_thread *current;

/* What the earlier owner does. The default action of a fault comes when the instruction faults again. */
static void pass_on(size_t n, int signal, siginfo_t *info, void *context)
{
    const struct sigaction *a = &earlier[n];
    if (a->sa_flags & SA_SIGINFO)
        a->sa_sigaction(signal, info, context);
    else if (a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN)
        a->sa_handler(signal);
    else if (traps[n].kind != TRAP_KICK)
        (void)sigaction(signal, a, NULL);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    greg_t *gregs = u->uc_mcontext.gregs;
    size_t n = 0;
    while (traps[n].signal != signal)
        n++;
    bool int3 = signal == SIGTRAP && info->si_code == SI_KERNEL;
    struct trap_thread *self = current;
    struct trap t = {
        .kind = int3 ? TRAP_BREAK : traps[n].kind,
        .address = traps[n].kind == TRAP_ACCESS ? (u64)info->si_addr : 0,
        .pc = (u64)gregs[REG_RIP] - int3,
        .step = gregs[REG_EFL] & FLAG_TRAP,
    };
    if (!self || !self->fn(self->opaque, &t)) {
        pass_on(n, signal, info, context);
        return;
    }
    gregs[REG_RIP] = (greg_t)t.pc;
    gregs[REG_EFL] = (gregs[REG_EFL] & ~FLAG_TRAP) | (t.step ? FLAG_TRAP : 0);
}

static void install(void)
{
    struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigfillset(&a.sa_mask);
    for (size_t n = 0; n < ARRAY_SIZE(traps); n++) {
        /* A fault inside the handler itself must end the process with its own signal. */
        if (traps[n].kind != TRAP_KICK)
            sigdelset(&a.sa_mask, traps[n].signal);
    }
    for (size_t n = 0; n < ARRAY_SIZE(traps); n++)
        (void)sigaction(traps[n].signal, &a, &earlier[n]);
}

struct trap_thread *trap_create(trap_fn *fn, void *opaque, struct error *err)
{
    struct trap_thread *t = calloc(1, sizeof(*t));
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (!t || stack == MAP_FAILED) {
        if (stack != MAP_FAILED)
            munmap(stack, STACK_SIZE);
        free(t);
        error_set(err, -ENOMEM, "out of memory for a stack for signals");
        return NULL;
    }
    t->fn = fn;
    t->opaque = opaque;
    t->stack = stack;
    pthread_mutex_init(&t->lock, NULL);
    pthread_once(&once, install);
    return t;
}

void trap_destroy(struct trap_thread *t)
{
    if (!t)
        return;
    munmap(t->stack, STACK_SIZE);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static void mask_signals(int how, bool all)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t n = 0; n < ARRAY_SIZE(traps); n++) {
        if (all || traps[n].kind == TRAP_KICK)
            sigaddset(&set, traps[n].signal);
    }
    pthread_sigmask(how, &set, NULL);
}

static void set_enabled(struct trap_thread *t, bool on)
{
    pthread_mutex_lock(&t->lock);
    t->enabled = on;
    t->thread = pthread_self();
    pthread_mutex_unlock(&t->lock);
}

void trap_enable(struct trap_thread *t)
{
    stack_t s = {.ss_sp = t->stack, .ss_size = STACK_SIZE, .ss_flags = (int)SS_AUTODISARM};
    (void)sigaltstack(&s, &t->before);
    current = t;
    mask_signals(SIG_UNBLOCK, true);
    set_enabled(t, true);
}

/* A kick that is on its way still finds `current`. */
void trap_disable(struct trap_thread *t)
{
    set_enabled(t, false);
    mask_signals(SIG_BLOCK, false);
    current = NULL;
    (void)sigaltstack(&t->before, NULL);
}

void trap_kick(struct trap_thread *t)
{
    pthread_mutex_lock(&t->lock);
    if (t->enabled && !pthread_equal(t->thread, pthread_self()))
        (void)pthread_kill(t->thread, SIGNAL_KICK);
    pthread_mutex_unlock(&t->lock);
}
