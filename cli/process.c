#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "message.h"
#include "status.h"

#define TICK 200 /* milliseconds between two looks at the time */

bool process_find(const char *name, char *path, size_t size)
{
    static const char more[] = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
    const char *lists[] = {getenv("PATH"), more};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (const char *p = lists[i]; p && *p; p += strcspn(p, ":"), p += *p == ':') {
            int n = snprintf(path, size, "%.*s/%s", (int)strcspn(p, ":"), p, name);
            if (n > 0 && (size_t)n < size && path[0] == '/' && access(path, X_OK) == 0)
                return true;
        }
    return false;
}

/* In a group of its own: what a terminal sends is passed on by us, once. It ends with us in any case. */
static _Noreturn void child(const struct process *p, const char *path, int pipe_end)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(p->output >= 0 ? p->output : pipe_end, STDOUT_FILENO) < 0 ||
        dup2(pipe_end, STDERR_FILENO) < 0)
        _exit(127);
    (void)execv(path, (char *const *)(uintptr_t)p->argv);
    _exit(127);
}

struct reading {
    const struct process *p;
    int log;
    char line[500];
    size_t length;
};

static void take(struct reading *r, const char *bytes, size_t count)
{
    if (r->log >= 0 && write(r->log, bytes, count) < 0)
        r->log = -1; /* it can do without */
    for (size_t i = 0; i < count; i++) {
        bool end = bytes[i] == '\n' || bytes[i] == '\r';
        if (!end && r->length < sizeof(r->line) - 1)
            r->line[r->length++] = bytes[i];
        if (!end || !r->length)
            continue;
        r->line[r->length] = '\0';
        r->length = 0;
        if (r->p->line)
            r->p->line(r->p->opaque, r->line);
    }
}

/* Until the pipe is closed by all that have it. */
static void follow(struct reading *r, int pipe_end, pid_t pid)
{
    char bytes[4096];
    bool told = false;
    for (;;) {
        struct pollfd wait = {.fd = pipe_end, .events = POLLIN};
        if (status_signal() && !told) {
            (void)kill(-pid, status_signal());
            told = true;
        }
        status_show(NULL);
        if (poll(&wait, 1, TICK) <= 0)
            continue;
        ssize_t n = read(pipe_end, bytes, sizeof(bytes));
        if (n == 0 || (n < 0 && errno != EINTR))
            return;
        if (n > 0)
            take(r, bytes, (size_t)n);
    }
}

static int wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) && !status_signal() ? WEXITSTATUS(status) : -1;
}

int process_run(const struct process *p)
{
    char path[4096];
    int ends[2];
    struct reading r = {.p = p, .log = -1};
    if (!process_find(p->argv[0], path, sizeof(path)) || pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    if (p->log)
        r.log = open(p->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    pid_t pid = fork();
    if (pid == 0)
        child(p, path, ends[1]);
    (void)close(ends[1]);
    if (pid > 0) {
        (void)setpgid(pid, pid); /* here too: whoever of the two comes first */
        follow(&r, ends[0], pid);
    }
    (void)close(ends[0]);
    if (r.log >= 0)
        (void)close(r.log);
    return pid > 0 ? wait_for(pid) : -1;
}
