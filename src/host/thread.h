/*
 * Host threads with a name that tools show.
 */
#ifndef HOST_THREAD_H
#define HOST_THREAD_H

#include <pthread.h>

#include "base/types.h"

/*
 * Starts a thread. `name` has at most 15 characters. All signals are blocked in it: they are for the thread that the
 * program started with. 0 or a negative errno value.
 */
int host_thread_start(pthread_t *t, const char *name, void *(*run)(void *arg), void *arg) MUST_CHECK;
void host_thread_join(pthread_t t);
/* Lets another thread run that waits for this core. */
void host_thread_yield(void);

/* How often the calling thread has lost its core so far: it had to wait for something, or another was put there. */
struct host_thread_use {
    u64 waits, displaced;
};
struct host_thread_use host_thread_use(void);

#endif
