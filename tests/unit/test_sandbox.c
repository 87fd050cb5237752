/*
 * The sandbox, each time in a child: what is forbidden ends it with SIGSYS and a line that names the call, in every
 * thread; what a machine needs goes on.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <seccomp.h>

#include "host/clock.h"
#include "host/random.h"
#include "host/sandbox.h"
#include "host/thread.h"

#define FINE 0
#define FAR  7 /* the child got past what should have ended it */

struct outcome {
    int status; /* of waitpid */
    char text[400];
};

/* Runs `act` in a child whose standard error is read. */
static void child(void (*act)(void), struct outcome *out)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)signal(SIGSYS, SIG_DFL); /* cmocka's handlers would go on with the next test */
        (void)signal(SIGSEGV, SIG_DFL);
        (void)alarm(20);
        act();
        _exit(FAR);
    }
    (void)close(ends[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], out->text + len, sizeof(out->text) - 1 - len)) > 0;)
        len += (size_t)n;
    out->text[len] = '\0';
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &out->status, 0), pid);
}

static void enter(void)
{
    struct error err = {0};
    if (sandbox_enter(NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        _exit(1);
    }
}

static void call_socket(void)
{
    enter();
    (void)socket(AF_INET, SOCK_STREAM, 0);
}

static void call_execve(void)
{
    char *argv[] = {NULL};
    enter();
    (void)execve("/bin/true", argv, argv);
}

static void call_create(void)
{
    enter();
    (void)open("/tmp/never-made", O_WRONLY | O_CREAT, 0600);
}

static void call_open_write(void)
{
    enter();
    (void)open("/dev/null", O_RDWR);
}

static void call_fork(void)
{
    enter();
    (void)fork();
}

static void call_mmap(void)
{
    enter();
    (void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void call_mprotect(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    enter();
    (void)mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static void call_kill(void)
{
    enter();
    (void)kill(getppid(), 0);
}

static void call_kill_parent(void)
{
    pid_t parent = getppid();
    enter();
    (void)kill(parent, 0);
}

static void call_kill_all(void)
{
    enter();
    (void)kill(-1, 0);
}

static void call_type_ahead(void)
{
    char key = 'x';
    enter();
    (void)ioctl(STDIN_FILENO, TIOCSTI, &key);
}

static void call_sendto(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    enter();
    (void)sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to));
}

static void call_prctl(void)
{
    enter();
    (void)prctl(PR_SET_DUMPABLE, 1);
}

static void call_x32(void)
{
    enter();
    (void)syscall(0x40000000 | SYS_getpid);
}

static void call_unknown(void)
{
    enter();
    (void)syscall(100000);
}

static void call_i386(void)
{
    long result = 20; /* getpid; number 20 of ours is writev, which is allowed */
    enter();
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
}

static int bell[2];

static void *thread_calls(void *arg)
{
    char byte;
    if (read(bell[0], &byte, 1) == 1)
        (void)socket(AF_INET, SOCK_STREAM, 0);
    return NULL;
}

/* A thread that was there before, with the mask of host/thread.h. */
static void call_in_thread(void)
{
    pthread_t t;
    if (pipe(bell) || host_thread_start(&t, "caller", thread_calls, NULL))
        _exit(1);
    enter();
    if (write(bell[1], "x", 1) == 1)
        host_thread_join(t);
}

static void earlier_handler(int signal, siginfo_t *info, void *context)
{
    ssize_t n = write(STDERR_FILENO, "first\n", 6);
    (void)n;
}

/* What the owner of the terminal does comes before the line. */
static void call_with_handler(void)
{
    struct sigaction act = {.sa_sigaction = earlier_handler, .sa_flags = SA_SIGINFO};
    (void)sigaction(SIGSYS, &act, NULL);
    enter();
    (void)socket(AF_INET, SOCK_STREAM, 0);
}

static void test_forbidden(void **state)
{
    static const struct {
        void (*act)(void);
        const char *says;
    } cases[] = {
        {call_socket, "system call 41 (socket) is forbidden here"},
        {call_execve, "59 (execve)"},
        {call_create, "(openat)"},
        {call_open_write, "(openat)"},
        {call_fork, "(clone"},
        {call_mmap, "(mmap)"},
        {call_mprotect, "(mprotect)"},
        {call_kill, "(getppid)"},
        {call_kill_parent, "(kill)"},
        {call_kill_all, "(kill)"},
        {call_type_ahead, "(ioctl)"},
        {call_sendto, "(sendto)"},
        {call_prctl, "(prctl)"},
        {call_x32, "system call 1073741863 is"},
        {call_unknown, "system call 100000 is"},
        {call_in_thread, "(socket)"},
        {call_with_handler, "first\nring3: sandbox: system call 41"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct outcome out;
        child(cases[i].act, &out);
        if (!strstr(out.text, cases[i].says))
            fail_msg("case %zu: status %#x, said: %s", i, (unsigned)out.status, out.text);
        assert_true(WIFSIGNALED(out.status));
        assert_int_equal(WTERMSIG(out.status), SIGSYS);
        const char *end = strchr(strstr(out.text, "ring3: "), '\n');
        assert_true(end && !end[1]); /* one line, the last one */
    }
}

/* A kernel without 32-bit programs answers with SIGSEGV. */
static void test_i386(void **state)
{
    struct outcome out;
    child(call_i386, &out);
    assert_true(WIFSIGNALED(out.status));
    assert_true(WTERMSIG(out.status) == SIGSEGV || strstr(out.text, "(of 32-bit programs)"));
}

static _Atomic unsigned arrived;

/* Each thread gets an arena of the allocator, which looks at the host's processors from the ninth on; the large piece
 * makes it shrink again. */
static void *thread_allocates(void *arg)
{
    char byte;
    if (read(bell[0], &byte, 1) != 1)
        return NULL;
    char *block[256];
    for (size_t i = 0; i < ARRAY_SIZE(block); i++)
        block[i] = malloc(100000);
    for (size_t i = 0; i < ARRAY_SIZE(block); i++)
        free(block[i]);
    arrived++;
    return NULL;
}

static void allow_threads(void)
{
    pthread_t t[24];
    if (pipe(bell))
        _exit(1);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        if (host_thread_start(&t[i], "worker", thread_allocates, NULL))
            _exit(1);
    enter();
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        if (write(bell[1], "x", 1) != 1)
            _exit(1);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        host_thread_join(t[i]);
    _exit(arrived == ARRAY_SIZE(t) ? FINE : FAR);
}

static void allow_reading_fails(void)
{
    enter();
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    _exit(fd < 0 && errno == EACCES ? FINE : FAR);
}

static void note_signal(int number)
{
    arrived++;
}

static void allow_the_rest(void)
{
    static char random[16], stack[65536];
    stack_t s = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction act = {.sa_handler = note_signal, .sa_flags = SA_ONSTACK};
    enter();
    host_random(random, sizeof(random));
    void *p = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool good = host_clock_ns() && p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_WRITE) == 0;
    good = good && madvise(p, 4096, MADV_DONTNEED) == 0 && munmap(p, 8192) == 0;
    good = good && sigaltstack(&s, NULL) == 0 && sigaction(SIGUSR2, &act, NULL) == 0;
    good = good && raise(SIGUSR2) == 0 && kill(getpid(), SIGUSR2) == 0 && arrived == 2;
    _exit(good ? FINE : FAR);
}

/* As on a host that has no seccomp: we go on, and may go on without. */
static void allow_no_seccomp(void)
{
    struct error err = {0};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(seccomp), 0) || seccomp_load(filter))
        _exit(1);
    bool good = sandbox_enter(NULL, &err) < 0 && strstr(err.text, "seccomp");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    _exit(good && fd >= 0 ? FINE : FAR);
}

static void test_allowed(void **state)
{
    static void (*const acts[])(void) = {allow_threads, allow_reading_fails, allow_the_rest, allow_no_seccomp};
    for (size_t i = 0; i < ARRAY_SIZE(acts); i++) {
        struct outcome out;
        child(acts[i], &out);
        if (!WIFEXITED(out.status) || WEXITSTATUS(out.status) != FINE)
            fail_msg("case %zu: status %#x, said: %s", i, (unsigned)out.status, out.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_i386),
        cmocka_unit_test(test_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
