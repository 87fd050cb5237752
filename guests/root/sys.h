/*
 * The system calls of Linux x86-64 that init.c makes, with the few constants that go with them: each returns what the
 * kernel does, -errno included.
 */
#ifndef GUESTS_ROOT_SYS_H
#define GUESTS_ROOT_SYS_H

#include <stddef.h>

enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_NOCTTY = 0400, O_NONBLOCK = 04000 };
enum { ENOENT = 2, EINTR = 4, ECHILD = 10, EAGAIN = 11 };
enum { MS_RDONLY = 1, MS_MOVE = 8192 };
enum { POLLIN = 1, POLLOUT = 4, POLLHUP = 16 };
enum { SIGKILL = 9, SIGPIPE = 13 };
enum { TIOCSCTTY = 0x540e, SIOCSIFFLAGS = 0x8914, MODULE_INIT_COMPRESSED_FILE = 4 };

struct pollfd {
    int fd;
    short events, revents;
};

static inline long sys_call(long n, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long sys_read(int fd, void *to, size_t len)
{
    return sys_call(0, fd, (long)to, (long)len, 0, 0);
}

static inline long sys_write(int fd, const void *from, size_t len)
{
    return sys_call(1, fd, (long)from, (long)len, 0, 0);
}

static inline int sys_open(const char *path, int flags)
{
    return (int)sys_call(2, (long)path, flags, 0, 0, 0);
}

static inline void sys_close(int fd)
{
    (void)sys_call(3, fd, 0, 0, 0, 0);
}

static inline int sys_poll(struct pollfd *p, unsigned count, int ms)
{
    return (int)sys_call(7, (long)p, count, ms, 0, 0);
}

/* The kernel's struct sigaction: handler (1: ignore), flags, restorer, mask. */
static inline void sys_ignore_sigpipe(void)
{
    const unsigned long action[4] = {1, 0, 0, 0};
    (void)sys_call(13, SIGPIPE, (long)action, 0, 8, 0);
}

static inline void sys_default_sigpipe(void)
{
    const unsigned long action[4] = {0, 0, 0, 0};
    (void)sys_call(13, SIGPIPE, (long)action, 0, 8, 0);
}

static inline int sys_ioctl(int fd, unsigned what, void *arg)
{
    return (int)sys_call(16, fd, what, (long)arg, 0, 0);
}

static inline int sys_pipe(int fd[2])
{
    return (int)sys_call(22, (long)fd, 0, 0, 0, 0);
}

static inline int sys_dup2(int from, int to)
{
    return (int)sys_call(33, from, to, 0, 0, 0);
}

static inline void sys_sleep(long ns)
{
    const long span[2] = {0, ns};
    (void)sys_call(35, (long)span, 0, 0, 0, 0);
}

static inline int sys_socket(void)
{
    return (int)sys_call(41, 2 /* AF_INET */, 2 /* SOCK_DGRAM */, 0, 0, 0);
}

static inline int sys_fork(void)
{
    return (int)sys_call(57, 0, 0, 0, 0, 0);
}

static inline long sys_execve(const char *path, char **arg, char **env)
{
    return sys_call(59, (long)path, (long)arg, (long)env, 0, 0);
}

static inline _Noreturn void sys_exit(int status)
{
    for (;;)
        (void)sys_call(231, status, 0, 0, 0, 0);
}

static inline long sys_wait(int *status)
{
    return sys_call(61, -1, (long)status, 0, 0, 0);
}

static inline int sys_kill(int pid, int signal)
{
    return (int)sys_call(62, pid, signal, 0, 0, 0);
}

static inline void sys_nonblock(int fd)
{
    (void)sys_call(72, fd, 4 /* F_SETFL */, O_NONBLOCK, 0, 0);
}

static inline int sys_chdir(const char *path)
{
    return (int)sys_call(80, (long)path, 0, 0, 0, 0);
}

static inline int sys_mkdir(const char *path, int mode)
{
    return (int)sys_call(83, (long)path, mode, 0, 0, 0);
}

static inline int sys_symlink(const char *to, const char *path)
{
    return (int)sys_call(88, (long)to, (long)path, 0, 0, 0);
}

static inline int sys_setsid(void)
{
    return (int)sys_call(112, 0, 0, 0, 0, 0);
}

static inline int sys_chroot(const char *path)
{
    return (int)sys_call(161, (long)path, 0, 0, 0, 0);
}

static inline void sys_sync(void)
{
    (void)sys_call(162, 0, 0, 0, 0, 0);
}

static inline int sys_mount(const char *what, const char *where, const char *type, int flags, const char *options)
{
    return (int)sys_call(165, (long)what, (long)where, (long)type, flags, (long)options);
}

/* Off: where there is no debug exit. */
static inline void sys_reboot(void)
{
    (void)sys_call(169, (int)0xfee1dead, 672274793, 0x4321fedc, 0, 0);
}

static inline int sys_sethostname(const char *name, size_t len)
{
    return (int)sys_call(170, (long)name, (long)len, 0, 0, 0);
}

static inline int sys_iopl(int level)
{
    return (int)sys_call(172, level, 0, 0, 0, 0);
}

static inline int sys_finit_module(int fd, int flags)
{
    return (int)sys_call(313, fd, (long)"", flags, 0, 0);
}

static inline int sys_pidfd_open(int pid)
{
    return (int)sys_call(434, pid, 0, 0, 0, 0);
}

static inline void sys_close_from(unsigned fd)
{
    (void)sys_call(436, fd, 0xffffffffl, 0, 0, 0);
}

#endif
