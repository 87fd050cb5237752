/* System work of one process and of two: calls, signals, pipes, processes, page faults. */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void run_syscall(struct bench *b)
{
    uint64_t n = bench_count(b, 1500000), calls = 0;
    long parent = syscall(SYS_getppid);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        calls += syscall(SYS_getppid) == parent;
    bench_stop(b, calls);
}

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    signals++;
}

static void run_signal(struct bench *b)
{
    struct sigaction action = {.sa_handler = count_signal};
    uint64_t n = bench_count(b, 120000);
    if (sigaction(SIGUSR1, &action, NULL))
        bench_fail("sigaction");
    signals = 0;
    pid_t self = getpid();
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        kill(self, SIGUSR1);
    bench_stop(b, (uint64_t)signals);
}

static pid_t fork_or_fail(void)
{
    pid_t child = fork();
    if (child < 0)
        bench_fail("fork");
    return child;
}

static void wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child)
        bench_fail("waitpid");
    bench_check(status == 0, "the status of a child");
}

static uint64_t pass_on(int from, int to, uint64_t n)
{
    uint8_t byte = 0;
    uint64_t passed = 0;
    while (passed < n && read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
        passed++;
    return passed;
}

/* A byte there and back. */
static void run_pipe(struct bench *b)
{
    uint64_t n = bench_count(b, 20000);
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        bench_fail("pipe");
    pid_t child = fork_or_fail();
    if (!child)
        _exit(pass_on(there[0], back[1], n) != n);
    uint8_t byte = 1;
    bench_start(b);
    bench_check(write(there[1], &byte, 1) == 1, "write to a pipe");
    uint64_t passed = pass_on(back[0], there[1], n - 1) + (uint64_t)read(back[0], &byte, 1);
    bench_stop(b, passed);
    wait_for(child);
}

/* Two processes that yield to each other. */
static void run_yield(struct bench *b)
{
    uint64_t n = bench_count(b, 150000);
    uint32_t *run = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run == MAP_FAILED)
        bench_fail("mmap");
    *run = 1;
    pid_t child = fork_or_fail();
    while (!child && __atomic_load_n(run, __ATOMIC_RELAXED))
        sched_yield();
    if (!child)
        _exit(0);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        sched_yield();
    bench_stop(b, n);
    __atomic_store_n(run, 0, __ATOMIC_RELAXED);
    wait_for(child);
}

static void run_fork(struct bench *b)
{
    uint64_t n = bench_count(b, 1500);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        pid_t child = fork_or_fail();
        if (!child)
            _exit(0);
        wait_for(child);
    }
    bench_stop(b, n);
}

static void run_exec(struct bench *b)
{
    uint64_t n = bench_count(b, 500), sum = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        sum += 1 + bench_again("nothing");
    bench_stop(b, sum);
}

static void run_nothing(struct bench *b)
{
    _exit(0);
}

static uint8_t *map(size_t size)
{
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("mmap");
    return p;
}

/* Small pages: how many faults there are must not depend on what a kernel thinks of huge ones. */
static void run_page_touch(struct bench *b)
{
    enum { SIZE = 64 << 20, PAGE = 4096 };
    uint64_t n = bench_count(b, 4), sum = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t *p = map(SIZE);
        if (madvise(p, SIZE, MADV_NOHUGEPAGE) && errno != EINVAL)
            bench_fail("madvise");
        for (size_t at = 0; at < SIZE; at += PAGE)
            sum += p[at]++ == 0;
        munmap(p, SIZE);
    }
    bench_stop(b, sum);
}

static void run_mmap(struct bench *b)
{
    uint64_t n = bench_count(b, 40000), sum = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t *p = map(4096);
        sum += p[i & 4095]++ == 0;
        munmap(p, 4096);
    }
    bench_stop(b, sum);
}

static void run_clock(struct bench *b)
{
    uint64_t n = bench_count(b, 3000000), backwards = 0;
    struct timespec last = {0}, t;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        backwards += t.tv_sec < last.tv_sec || (t.tv_sec == last.tv_sec && t.tv_nsec < last.tv_nsec);
        last = t;
    }
    bench_stop(b, n);
    bench_check(!backwards, "the clock goes forwards");
}

const struct bench_row bench_rows[] = {
    {"system", "syscall", run_syscall},
    {"system", "signal", run_signal},
    {"system", "pipe", run_pipe, .pair = 1},
    {"system", "yield", run_yield},
    {"system", "fork", run_fork, .pair = 1},
    {"system", "exec", run_exec, .pair = 1},
    {"system", "page-touch", run_page_touch},
    {"system", "mmap", run_mmap},
    {"system", "clock", run_clock},
    {NULL, "nothing", run_nothing},
    {0},
};
