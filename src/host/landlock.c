/*
 * Implements host/landlock.h.
 */
#include "host/landlock.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER BIT64(13) /* with version 2: to another folder, by rename or link */
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE BIT64(14) /* with version 3 */
#endif

#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITING                                                                                                        \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                  \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                        \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)
#define NEVER (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

#define WAIT_TRIES 2000 /* of a millisecond */

static long version(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static int add_folder(int ruleset, const struct sandbox_folder *f, u64 truncate)
{
    struct landlock_path_beneath_attr rule = {.parent_fd = f->fd,
                                              .allowed_access = READING | (f->read_only ? 0 : WRITING | truncate)};
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

/* A descriptor. */
static int make_ruleset(const struct sandbox_folder *folders, unsigned count)
{
    long abi = version();
    if (abi < 2)
        return -ENOTSUP;
    u64 truncate = abi < 3 ? 0 : LANDLOCK_ACCESS_FS_TRUNCATE;
    struct landlock_ruleset_attr attr = {.handled_access_fs = READING | WRITING | NEVER | truncate};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0)
        return -errno;
    int status = 0;
    for (unsigned i = 0; i < count && !status; i++)
        status = add_folder(ruleset, &folders[i], truncate);
    if (!status)
        return ruleset;
    (void)close(ruleset);
    return status;
}

/* Each thread for itself */

struct order {
    int ruleset;
    atomic_uint done;
    atomic_int status;
};

static int restrict_thread(int ruleset)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}

static void on_order(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    if (info->si_code != SI_QUEUE || info->si_pid != getpid())
        return;
    struct order *o = info->si_value.sival_ptr;
    int before = errno, status = restrict_thread(o->ruleset);
    if (status)
        atomic_store(&o->status, status);
    atomic_fetch_add(&o->done, 1);
    errno = before;
}

/* io_uring's own threads take no signals. They do nothing but what a ring's restrictions let them. */
static bool is_kernels(int tasks, pid_t tid)
{
    char path[64], name[8] = "";
    (void)snprintf(path, sizeof(path), "%d/comm", tid);
    int fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true; /* it is gone */
    ssize_t n = read(fd, name, sizeof(name) - 1);
    (void)close(fd);
    return n <= 0 || strncmp(name, "iou-", 4) == 0;
}

static int order_thread(struct order *o, pid_t tid)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGSYS;
    info.si_code = SI_QUEUE;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_ptr = o;
    return syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGSYS, &info) < 0 ? -errno : 0;
}

/* How many were told, or -errno. */
static int order_others(struct order *o)
{
    DIR *dir = opendir("/proc/self/task");
    int told = 0, status = 0;
    if (!dir)
        return errno ? -errno : -EIO;
    for (struct dirent *e; !status && (e = readdir(dir));) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);
        if (tid <= 0 || tid == gettid() || is_kernels(dirfd(dir), tid))
            continue;
        status = order_thread(o, tid);
        if (status == -ESRCH)
            status = 0;
        else
            told++;
    }
    (void)closedir(dir);
    return status ? status : told;
}

static int wait_for(struct order *o, unsigned told)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    for (int i = 0; i < WAIT_TRIES && atomic_load(&o->done) < told; i++)
        (void)nanosleep(&ms, NULL);
    return atomic_load(&o->done) < told ? -ETIMEDOUT : atomic_load(&o->status);
}

static int restrict_all(int ruleset)
{
    struct sigaction act = {.sa_sigaction = on_order, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART}, before;
    struct order *o = calloc(1, sizeof(*o)); /* stays if a thread is late: it may still come */
    if (!o)
        return -ENOMEM;
    o->ruleset = ruleset;
    if (sigaction(SIGSYS, &act, &before) < 0) {
        free(o);
        return -errno;
    }
    int told = order_others(o), status = told < 0 ? told : wait_for(o, (unsigned)told);
    (void)sigaction(SIGSYS, &before, NULL);
    if (!status)
        status = restrict_thread(ruleset);
    if (status != -ETIMEDOUT && told >= 0)
        free(o);
    return status;
}

int landlock_enter(const struct sandbox_folder *folders, unsigned count, struct error *err)
{
    int ruleset = make_ruleset(folders, count);
    int status = ruleset < 0 ? ruleset : restrict_all(ruleset);
    if (ruleset >= 0)
        (void)close(ruleset);
    if (status == -ETIMEDOUT)
        return error_set(err, status, "a thread of this process has SIGSYS blocked, and cannot be confined");
    if (status)
        return error_set(err, status == -ENOSYS || status == -EOPNOTSUPP ? -ENOTSUP : status,
                         "the host confines no files (Landlock, Linux 5.19): %s", strerror(-status));
    return 0;
}
