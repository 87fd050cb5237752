/*
 * Host threads (host/thread.h).
 */
#include "host/thread.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

int host_thread_start(pthread_t *t, const char *name, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    /* What the processor itself reports must reach the thread at fault, as must the sandbox's verdict and the answer to
     * a background process that reads from its terminal: blocked, the read would fail instead of stopping us. */
    static const int direct[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGTTIN};
    for (size_t i = 0; i < ARRAY_SIZE(direct); i++)
        sigdelset(&all, direct[i]);

    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(t, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status)
        return -status;
    (void)pthread_setname_np(*t, name);
    return 0;
}

void host_thread_join(pthread_t t)
{
    (void)pthread_join(t, NULL);
}

void host_thread_yield(void)
{
    (void)sched_yield();
}

struct host_thread_use host_thread_use(void)
{
    struct rusage r;
    (void)getrusage(RUSAGE_THREAD, &r); /* fails on invalid arguments only */
    return (struct host_thread_use){(u64)r.ru_nvcsw, (u64)r.ru_nivcsw};
}
