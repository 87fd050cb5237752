#include "term.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct termios before, raw;
static atomic_bool begun; /* before and raw are valid */
static atomic_bool is_raw;
static pid_t guard_pid;
static int guard_pipe = -1; /* the guard sees it close when we are gone */

bool term_is_raw(void)
{
    return is_raw;
}

/* Without c_cflag, which a driver may take otherwise than it was given. */
static bool mode_equal(const struct termios *a, const struct termios *b)
{
    return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_lflag == b->c_lflag &&
           memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/* In a session of its own, so that no signal from the terminal or to our group ends it. */
static _Noreturn void guard_main(int read_end)
{
    struct termios now;
    char byte;
    (void)prctl(PR_SET_NAME, "ring3-guard");
    (void)setsid();
    (void)dup2(read_end, 1);
    (void)close_range(2, ~0u, 0);
    while (read(1, &byte, 1) > 0)
        ;
    if (tcgetattr(0, &now) == 0 && mode_equal(&now, &raw))
        (void)tcsetattr(0, TCSANOW, &before);
    _exit(0);
}

/* Without it, only SIGKILL leaves the terminal raw: no reason to fail. */
static void guard_start(void)
{
    int ends[2];
    if (pipe(ends))
        return;
    guard_pid = fork();
    if (guard_pid == 0) {
        (void)close(ends[1]);
        guard_main(ends[0]);
    }
    (void)close(ends[0]);
    guard_pipe = ends[1];
}

static void guard_end(void)
{
    if (guard_pipe >= 0)
        (void)close(guard_pipe);
    guard_pipe = -1;
    if (guard_pid > 0)
        (void)waitpid(guard_pid, NULL, 0);
    guard_pid = 0;
}

void term_begin(void)
{
    if (tcgetattr(STDIN_FILENO, &before))
        return; /* not a terminal */
    raw = before;
    cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    begun = true;
    guard_start(); /* first, so that there is no moment when the terminal is raw and nobody watches */
    term_resume();
}

void term_end(void)
{
    term_suspend();
    begun = false;
    guard_end();
}

void term_suspend(void)
{
    if (atomic_exchange(&is_raw, false))
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void term_resume(void)
{
    if (begun && !is_raw && tcgetpgrp(STDIN_FILENO) == getpgrp())
        is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}
