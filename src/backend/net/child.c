/* See child.h. */
#include "backend/net/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/types.h"

#define FIRST  3
#define NAP_NS 1000000
#define NAPS   500
#define BUFFER (1 << 20) /* asked for; the host may have a bound below that */

static bool descriptors_keep(const int *keep, unsigned count)
{
    int high[8];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || count > ARRAY_SIZE(high))
        return false;
    for (int fd = 0; fd < FIRST; fd++)
        if (dup2(null, fd) < 0)
            return false;
    for (unsigned i = 0; i < count; i++) {
        high[i] = fcntl(keep[i], F_DUPFD, FIRST + (int)count);
        if (high[i] < 0)
            return false;
    }
    for (unsigned i = 0; i < count; i++)
        if (dup2(high[i], FIRST + (int)i) < 0)
            return false;
    return close_range(FIRST + count, ~0u, 0) == 0;
}

bool child_begin(const char *name, const int *keep, unsigned count)
{
    sigset_t none;

    for (int n = 1; n < SIGRTMIN; n++)
        if (n != SIGKILL && n != SIGSTOP)
            (void)signal(n, n == SIGPIPE ? SIG_IGN : SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_NAME, name);
    (void)setsid();
    return descriptors_keep(keep, count);
}

void child_end_with_parent(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void child_reap(pid_t child)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};

    for (unsigned n = 0; child && n < NAPS && waitpid(child, NULL, WNOHANG) == 0; n++)
        (void)nanosleep(&nap, NULL);
}

int child_sockets(int pair[2])
{
    static const int size = BUFFER;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return -errno;
    for (unsigned i = 0; i < 2; i++)
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return 0;
}
