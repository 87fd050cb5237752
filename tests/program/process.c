/* See process.h. */
#include "process.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 1u

static int wait_for(pid_t pid, const u64 *alive, unsigned silence)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
    u64 last = __atomic_load_n(alive, __ATOMIC_RELAXED);
    unsigned silent = 0;
    int status;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        nanosleep(&tick, NULL);
        u64 now = __atomic_load_n(alive, __ATOMIC_RELAXED);
        silent = now == last ? silent + TICK_MS : 0;
        last = now;
        if (silent > silence) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return PROCESS_SILENT;
        }
    }
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    printf("  ended by signal %d\n", WTERMSIG(status));
    return PROCESS_CRASHED;
}

int process_run(int (*function)(void *opaque), void *opaque, const u64 *alive, unsigned silence)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        return PROCESS_FAILED;
    if (pid == 0) {
        int status = function(opaque);
        fflush(stdout);
        _exit(status);
    }
    return wait_for(pid, alive, silence);
}
