/*
 * Implements host/sandbox.h.
 *
 * The table below is the whole policy, by purpose. A system call that is in no row is forbidden; one with rows that
 * look at an argument is allowed where one of the rows holds. New purposes (networks) are new rows, with a bit where
 * not every machine has them.
 *
 * What is refused with an error instead of the end of the process are openings of files to read: the C library tries
 * some on its own (the allocator looks for the number of processors and for the overcommit policy) and does well
 * without.
 */
#include "host/sandbox.h"

#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/landlock.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of SIGSYS; not in every libc's signal.h */
#endif
/* As glibc from 2.42 on asks for the mode of a terminal; <asm/termbits.h> does not go with <termios.h>. */
#define IOCTL_TCGETS2 0x802c542au
#define IOCTL_TCSETS2 0x402c542bu

/* Purposes that not every machine has. */
enum { FOLDERS_READ = 1, FOLDERS_WRITE = 2 };

#define LOW32 0xffffffffu /* the kernel reads the argument as an int */

struct rule {
    int call;
    struct scmp_arg_cmp test; /* op 0: whatever the arguments */
    bool own;                 /* argument 0 is this process */
    bool refuse;              /* fails with EACCES */
    u8 only;                  /* for which of the purposes; 0: always */
};

#define ANY(name)                                                                                                      \
    {                                                                                                                  \
        .call = SCMP_SYS(name)                                                                                         \
    }
#define OWN(name)                                                                                                      \
    {                                                                                                                  \
        .call = SCMP_SYS(name), .own = true                                                                            \
    }
#define IF(name, n, mask, val)                                                                                         \
    {                                                                                                                  \
        .call = SCMP_SYS(name), .test = { n, SCMP_CMP_MASKED_EQ, mask, val }                                           \
    }
#define REFUSE(name, n, mask, val)                                                                                     \
    {                                                                                                                  \
        .call = SCMP_SYS(name), .test = {n, SCMP_CMP_MASKED_EQ, mask, val}, .refuse = true                             \
    }

#define FOR(purpose, name)                                                                                             \
    {                                                                                                                  \
        .call = SCMP_SYS(name), .only = (purpose)                                                                      \
    }
#define FOR_IF(purpose, name, n, mask, val)                                                                            \
    {                                                                                                                  \
        .call = SCMP_SYS(name), .test = {n, SCMP_CMP_MASKED_EQ, mask, val}, .only = (purpose)                          \
    }

#define OPEN_CHANGES (O_ACCMODE | O_CREAT | O_TRUNC)

static const struct rule rules[] = {
    /* Descriptors that are open: consoles, networks, the event loop's bell and alarm. sendto: to the peer only, for a
     * console that is a socket. */
    ANY(read),
    ANY(write),
    ANY(readv),
    ANY(writev),
    ANY(lseek),
    ANY(close),
    ANY(poll),
    ANY(ppoll),
    IF(sendto, 4, UINT64_MAX, 0),
    IF(newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH), /* fstat, as stdio does */
    ANY(fstat),
    REFUSE(open, 1, OPEN_CHANGES, O_RDONLY),
    REFUSE(openat, 2, OPEN_CHANGES, O_RDONLY),

    /* Disk images that are open (backend/block): io_uring_enter starts what was put into a ring that can only read and
     * write the one image (backend/block/uring.h); no ring is made, and none told to do more. */
    ANY(pread64),
    ANY(pwrite64),
    ANY(preadv),
    ANY(pwritev),
    ANY(fdatasync),
    ANY(io_uring_enter),
    IF(fallocate, 1, LOW32, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE),

    /* Shared folders (backend/share): below them files are opened, looked at and, unless all are read-only, changed.
     * The filter sees no path; Landlock does. Devices are not made. */
    FOR(FOLDERS_READ, openat2),
    FOR(FOLDERS_READ, newfstatat),
    FOR(FOLDERS_READ, fstatfs),
    FOR(FOLDERS_READ, readlinkat),
    FOR(FOLDERS_READ, getdents64),
    FOR(FOLDERS_READ, preadv2),
    FOR(FOLDERS_READ, fsync),
    FOR(FOLDERS_READ, fgetxattr),
    FOR(FOLDERS_READ, flistxattr),
    FOR_IF(FOLDERS_READ, getrusage, 0, LOW32, RUSAGE_THREAD),
    FOR(FOLDERS_WRITE, mkdirat),
    FOR(FOLDERS_WRITE, symlinkat),
    FOR(FOLDERS_WRITE, linkat),
    FOR(FOLDERS_WRITE, unlinkat),
    FOR(FOLDERS_WRITE, renameat),
    FOR(FOLDERS_WRITE, renameat2),
    FOR(FOLDERS_WRITE, ftruncate),
    FOR(FOLDERS_WRITE, fchmodat),
    FOR(FOLDERS_WRITE, fchownat),
    FOR(FOLDERS_WRITE, utimensat),
    FOR(FOLDERS_WRITE, fsetxattr),
    FOR(FOLDERS_WRITE, fremovexattr),
    FOR_IF(FOLDERS_WRITE, mknodat, 2, S_IFMT, S_IFREG),
    FOR_IF(FOLDERS_WRITE, mknodat, 2, S_IFMT, S_IFIFO),
    FOR_IF(FOLDERS_WRITE, mknodat, 2, S_IFMT, S_IFSOCK),

    /* The mode of the terminal. Nothing else, least of all TIOCSTI, with which it would type into the user's shell. */
    IF(ioctl, 1, LOW32, TCGETS),
    IF(ioctl, 1, LOW32, TCSETS),
    IF(ioctl, 1, LOW32, IOCTL_TCGETS2),
    IF(ioctl, 1, LOW32, IOCTL_TCSETS2),
    IF(ioctl, 1, LOW32, TIOCGPGRP),
    ANY(getpgrp),

    /* Memory, never executable: areas for code exist by now. Windows into guest memory, the allocator. */
    ANY(brk),
    IF(mmap, 2, PROT_EXEC, 0),
    IF(mprotect, 2, PROT_EXEC, 0),
    ANY(mremap),
    ANY(munmap),
    ANY(madvise),
    IF(fallocate, 1, LOW32, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),

    /* Threads that exist: their first and last steps, waiting, the base of GS. */
    ANY(futex),
    ANY(sched_yield),
    ANY(sched_getaffinity),
    ANY(membarrier),
    ANY(set_robust_list),
    ANY(rseq),
    ANY(gettid),
    ANY(getpid),
    IF(arch_prctl, 0, LOW32, ARCH_SET_GS),
    ANY(exit),

    /* Signals: as traps of guest code, to stop and to end; to no other process. */
    ANY(rt_sigaction),
    ANY(rt_sigprocmask),
    ANY(rt_sigreturn),
    ANY(rt_sigtimedwait),
    ANY(sigaltstack),
    OWN(tgkill),
    OWN(kill),

    /* Time and randomness. Clocks are here for hosts whose vDSO does not have them. */
    ANY(timerfd_settime),
    ANY(clock_gettime),
    ANY(gettimeofday),
    ANY(nanosleep),
    ANY(clock_nanosleep),
    ANY(restart_syscall),
    ANY(getrandom),

    /* The end; wait4 for the guard of the terminal. */
    ANY(wait4),
    ANY(exit_group),
};

#define NAMES     512
#define NAME_SIZE 24

/* What the handler needs, which may not allocate; written once, before the filter is there to call it. A signal has one
 * handler in a process. */
static struct sigaction earlier;
static char names[NAMES][NAME_SIZE];

static void put(char *line, size_t size, const char *text)
{
    size_t len = strlen(line);
    for (; *text && len < size - 1; text++)
        line[len++] = *text;
    line[len] = '\0';
}

static void put_number(char *line, size_t size, unsigned n)
{
    char digits[12] = "";
    char *p = digits + sizeof(digits) - 1;
    do
        *--p = (char)('0' + n % 10);
    while (n /= 10);
    put(line, size, p);
}

static void report(const siginfo_t *info)
{
    unsigned n = (unsigned)info->si_syscall;
    bool native = info->si_arch == SCMP_ARCH_X86_64;
    char line[160] = "ring3: sandbox: system call ";
    put_number(line, sizeof(line), n);
    if (native && n < NAMES && names[n][0]) {
        put(line, sizeof(line), " (");
        put(line, sizeof(line), names[n]);
        put(line, sizeof(line), ")");
    } else if (!native) {
        put(line, sizeof(line), " (of 32-bit programs)");
    }
    put(line, sizeof(line), " is forbidden here: a fault in ring3, or an attack by the guest\n");
    ssize_t done = write(STDERR_FILENO, line, strlen(line));
    (void)done;
}

/* Default action, unblocked, sent to ourselves: nothing of the code that made the call runs again. */
static _Noreturn void die(void)
{
    sigset_t set;
    struct sigaction plain = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGSYS, &plain, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    (void)raise(SIGSYS);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + SIGSYS);
}

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
    if (earlier.sa_flags & SA_SIGINFO)
        earlier.sa_sigaction(signal, info, context);
    else if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN)
        earlier.sa_handler(signal);
    if (info->si_code == SYS_SECCOMP)
        report(info);
    die();
}

static void learn_names(void)
{
    for (int i = 0; i < NAMES; i++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
        if (name)
            put(names[i], NAME_SIZE, name);
        free(name);
    }
}

static int add_rule(scmp_filter_ctx filter, const struct rule *r)
{
    uint32_t action = r->refuse ? SCMP_ACT_ERRNO(EACCES) : SCMP_ACT_ALLOW;
    struct scmp_arg_cmp test = r->test;
    if (r->own)
        test = (struct scmp_arg_cmp){0, SCMP_CMP_MASKED_EQ, LOW32, (u64)getpid()};
    return seccomp_rule_add_array(filter, action, r->call, test.op ? 1 : 0, &test);
}

/*
 * TSYNC: all threads. no_new_privs comes with libseccomp's defaults. CTL_SSB: kernels before 5.16 would slow the
 * processor down for all confined threads, against a side channel that is out of scope (docs/security.md).
 */
static int fill(scmp_filter_ctx filter, unsigned purposes)
{
    static const struct {
        enum scmp_filter_attr attr;
        uint32_t value;
    } attrs[] = {{SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP}, {SCMP_FLTATR_CTL_TSYNC, 1}, {SCMP_FLTATR_CTL_SSB, 1}};
    int status = 0;
    for (size_t i = 0; i < ARRAY_SIZE(attrs) && !status; i++)
        status = seccomp_attr_set(filter, attrs[i].attr, attrs[i].value);
    for (size_t i = 0; i < ARRAY_SIZE(rules) && !status; i++)
        if (!rules[i].only || rules[i].only & purposes)
            status = add_rule(filter, &rules[i]);
    return status;
}

/* SIGSYS is for the handler even where a thread's mask was made elsewhere: a blocked one kills without a word. */
static int load(scmp_filter_ctx filter)
{
    struct sigaction act = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&act.sa_mask);
    if (sigaction(SIGSYS, &act, &earlier) < 0)
        return -errno;
    int status = seccomp_load(filter);
    if (status)
        (void)sigaction(SIGSYS, &earlier, NULL);
    return status;
}

static unsigned purposes_of(const struct sandbox_needs *needs)
{
    unsigned purposes = needs && needs->folders ? FOLDERS_READ : 0;
    for (unsigned i = 0; needs && i < needs->folders; i++)
        purposes |= needs->folder[i].read_only ? 0 : FOLDERS_WRITE;
    return purposes;
}

static int enter_filter(unsigned purposes)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    if (!filter)
        return -ENOMEM;
    learn_names();
    int status = fill(filter, purposes);
    if (!status)
        status = load(filter);
    seccomp_release(filter);
    return status;
}

/* Landlock first: the filter would not let it. */
int sandbox_enter(const struct sandbox_needs *needs, struct error *err)
{
    struct error why = {0};
    int bounds = needs && needs->folders ? landlock_enter(needs->folder, needs->folders, &why) : 0;
    int status = enter_filter(purposes_of(needs));
    if (status)
        return error_set(err, status, "the host takes no filter of system calls (seccomp): %s", strerror(-status));
    if (!bounds)
        return 0;
    (void)error_set(err, bounds, "%s", why.text);
    return 1;
}
