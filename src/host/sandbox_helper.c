/*
 * The sandboxes of helpers (host/sandbox.h): a table for each. A helper of our own that makes a call which is in no row
 * of its table is ended by the kernel; there is nobody who could read a message, and the monitor notices. In the NAT
 * process, where libraries of others run that may try this and that (glib, when it has something to say), such a call
 * fails.
 *
 * The one file that the NAT process may read, libslirp opens by name again and again: that call is answered by a
 * handler that gives out a copy of a descriptor, and no file is ever opened.
 */
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "host/sandbox.h"

#define LOW32     0xffffffffu /* the kernel reads the argument as an int */
#define TYPE_MASK 0xfu        /* of a socket, without its flags */

struct rule {
    int call;
    unsigned tests;
    struct scmp_arg_cmp test[2];
};

#define ANY(name)                                                                                                      \
    {                                                                                                                  \
        .call = SCMP_SYS(name)                                                                                         \
    }
#define IF(name, n, mask, val)                                                                                         \
    {                                                                                                                  \
        .call = SCMP_SYS(name), .tests = 1, .test = { {n, SCMP_CMP_MASKED_EQ, mask, val} }                             \
    }
#define SOCKET(family, type)                                                                                           \
    {                                                                                                                  \
        .call = SCMP_SYS(socket), .tests = 2, .test = {                                                                \
            {0, SCMP_CMP_MASKED_EQ, LOW32, family},                                                                    \
            {1, SCMP_CMP_MASKED_EQ, TYPE_MASK, type}                                                                   \
        }                                                                                                              \
    }

/* What any program needs: memory, never executable, clocks, and an end. */
static const struct rule common[] = {
    ANY(read),
    ANY(write),
    ANY(readv),
    ANY(writev),
    ANY(close),
    ANY(poll),
    ANY(ppoll),
    ANY(brk),
    IF(mmap, 2, PROT_EXEC, 0),
    IF(mprotect, 2, PROT_EXEC, 0),
    ANY(mremap),
    ANY(munmap),
    ANY(madvise),
    ANY(futex),
    ANY(clock_gettime),
    ANY(gettimeofday),
    ANY(getrandom),
    ANY(restart_syscall),
    ANY(rt_sigreturn),
    ANY(rt_sigprocmask),
    ANY(exit_group),
};

/* Sockets of the internet: streams, datagrams and the echo sockets that ping needs; no raw ones, whoever runs it, and
 * none of this host's own services. stat: whether the list of name servers has changed. */
static const struct rule nat[] = {
    SOCKET(AF_INET, SOCK_STREAM),
    SOCKET(AF_INET, SOCK_DGRAM),
    SOCKET(AF_INET6, SOCK_STREAM),
    SOCKET(AF_INET6, SOCK_DGRAM),
    ANY(bind),
    ANY(listen),
    ANY(accept),
    ANY(accept4),
    ANY(connect),
    ANY(shutdown),
    ANY(sendto),
    ANY(sendmsg),
    ANY(recvfrom),
    ANY(recvmsg),
    ANY(getsockname),
    ANY(getpeername),
    ANY(getsockopt),
    ANY(setsockopt),
    IF(ioctl, 1, LOW32, FIONREAD),
    IF(ioctl, 1, LOW32, FIONBIO),
    ANY(fcntl),
    ANY(lseek),
    ANY(fstat),
    ANY(stat),
    ANY(newfstatat),
};

/* Connections that come in, the lock on the folder, and the frames. */
static const struct rule hub[] = {
    ANY(accept4),
    ANY(flock),
    IF(sendto, 4, UINT64_MAX, 0),
    IF(recvfrom, 4, UINT64_MAX, 0),
};

/* Unix streams: which of them, the kernel's filter cannot see. */
static const struct rule vsock[] = {
    SOCKET(AF_UNIX, SOCK_STREAM),
    ANY(connect),
    ANY(accept4),
    ANY(shutdown),
    ANY(recvmsg),
    IF(sendto, 4, UINT64_MAX, 0),
    IF(recvfrom, 4, UINT64_MAX, 0),
};

/* For the handler, which may not allocate; written once, before the filter is there to call it. */
static int broker_file;

/* openat of anything gives the one file from its beginning, if it is to be read. */
static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    int fd = -1;

    if (info->si_syscall != SCMP_SYS(openat) && info->si_syscall != SCMP_SYS(open))
        _exit(128 + SIGSYS);
    long long flags =
        info->si_syscall == SCMP_SYS(open) ? c->uc_mcontext.gregs[REG_RSI] : c->uc_mcontext.gregs[REG_RDX];
    if ((flags & O_ACCMODE) == O_RDONLY && lseek(broker_file, 0, SEEK_SET) == 0)
        fd = fcntl(broker_file, F_DUPFD_CLOEXEC, 3);
    c->uc_mcontext.gregs[REG_RAX] = fd < 0 ? -EACCES : fd;
}

static const struct {
    const struct rule *rules;
    size_t count;
    bool broker;
    uint32_t otherwise;
} helpers[] = {
    [SANDBOX_NAT] = {nat, ARRAY_SIZE(nat), true, SCMP_ACT_ERRNO(EPERM)},
    [SANDBOX_SWITCH] = {hub, ARRAY_SIZE(hub), false, SCMP_ACT_KILL_PROCESS},
    [SANDBOX_VSOCK] = {vsock, ARRAY_SIZE(vsock), false, SCMP_ACT_KILL_PROCESS},
    [SANDBOX_FILE] = {NULL, 0, true, SCMP_ACT_ALLOW},
};

static int add_rules(scmp_filter_ctx filter, const struct rule *rules, size_t count)
{
    int status = 0;

    for (size_t i = 0; i < count && !status; i++)
        status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, rules[i].tests, rules[i].test);
    return status;
}

static int add_broker(scmp_filter_ctx filter, int file)
{
    struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};

    broker_file = file;
    sigemptyset(&act.sa_mask);
    if (sigaction(SIGSYS, &act, NULL))
        return -errno;
    int status = seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(openat), 0);
    return status ? status : seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(open), 0);
}

int sandbox_enter_helper(enum sandbox_helper kind, int file, struct error *err)
{
    scmp_filter_ctx filter = seccomp_init(helpers[kind].otherwise);

    if (!filter)
        return error_set(err, -ENOMEM, "out of memory for the filter of system calls");
    int status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (!status && kind != SANDBOX_FILE)
        status = add_rules(filter, common, ARRAY_SIZE(common));
    if (!status)
        status = add_rules(filter, helpers[kind].rules, helpers[kind].count);
    if (!status && helpers[kind].broker)
        status = add_broker(filter, file);
    if (!status)
        status = seccomp_load(filter);
    seccomp_release(filter);
    if (status)
        return error_set(err, status, "the host takes no filter of system calls (seccomp): %s", strerror(-status));
    return 0;
}
