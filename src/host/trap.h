/*
 * Signals as the traps of a processor: what a thread's own machine code raises, and a kick from another thread.
 *
 * A thread that runs code it made calls trap_enable with a handler. From then on SIGSEGV, SIGBUS, SIGFPE, SIGILL and
 * SIGTRAP that this thread's instructions raise, and SIGUSR2 sent by trap_kick, go to the handler first, on a stack of
 * their own (the code may use the stack pointer as it likes). What the handler does not take goes to whoever had the
 * signal before. Other threads are not concerned.
 */
#ifndef HOST_TRAP_H
#define HOST_TRAP_H

#include <pthread.h>

#include "base/error.h"
#include "base/types.h"

enum trap_kind {
    TRAP_ACCESS,     /* SIGSEGV, SIGBUS */
    TRAP_ARITHMETIC, /* SIGFPE */
    TRAP_ILLEGAL,    /* SIGILL */
    TRAP_STEP,       /* SIGTRAP of the trap flag */
    TRAP_BREAK,      /* SIGTRAP of INT3; pc is where that stands */
    TRAP_KICK,
};

struct trap {
    enum trap_kind kind;
    u64 address; /* TRAP_ACCESS: the address, 0 where the host does not tell (it was not canonical) */
    u64 pc;      /* the handler may change it */
    bool step;   /* the trap flag; the handler may change it */
};

/* True if the trap was the handler's. Runs in signal context: async-signal-safe functions only. */
typedef bool trap_fn(void *opaque, struct trap *t);

struct trap_thread;
struct trap_thread *trap_create(trap_fn *fn, void *opaque, struct error *err);
/* No thread has it enabled any more. */
void trap_destroy(struct trap_thread *t);

/* For the calling thread, until it calls trap_disable. One at a time for each thread. */
void trap_enable(struct trap_thread *t);
void trap_disable(struct trap_thread *t);

/* Any thread: raises TRAP_KICK in the thread that has `t` enabled; nothing if none has, or it is the caller. */
void trap_kick(struct trap_thread *t);

#endif
