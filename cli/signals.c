#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "term.h"

#define GRACE_SECONDS 2
#define PAUSE_TRIES   200 /* of a millisecond */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ring3_vm *watched; /* under lock */
static atomic_int ended_by;      /* the signal that stopped the machine, or 0 */
static struct sigaction crash_before[COUNT(crashes)];
static char crash_stack[64 * 1024];

/* On whatever stack there is. Restores the action that was there; a fault happens again on return, others are sent
 * again. */
static void crash(int sig, siginfo_t *info, void *context)
{
    (void)context;
    term_suspend();
    for (size_t i = 0; i < COUNT(crashes); i++)
        if (crashes[i] == sig)
            (void)sigaction(sig, &crash_before[i], NULL);
    if (info->si_code <= 0)
        (void)raise(sig);
}

static void crash_handlers(void)
{
    stack_t stack = {.ss_sp = crash_stack, .ss_size = sizeof(crash_stack)};
    struct sigaction act = {.sa_sigaction = crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    (void)sigaltstack(&stack, NULL);
    for (size_t i = 0; i < COUNT(crashes); i++)
        (void)sigaction(crashes[i], &act, &crash_before[i]);
}

static _Noreturn void die(int sig)
{
    sigset_t set;
    term_suspend();
    (void)signal(sig, SIG_DFL);
    (void)raise(sig); /* for this thread, where it is blocked until the next line */
    sigemptyset(&set);
    sigaddset(&set, sig);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + sig);
}

/* False if there is no machine to stop. */
static bool stop_machine(void)
{
    pthread_mutex_lock(&lock);
    bool there = watched != NULL;
    if (there)
        ring3_vm_stop(watched);
    pthread_mutex_unlock(&lock);
    return there;
}

static bool machine_is(const char *state)
{
    struct ring3_info info;
    bool same = false;
    pthread_mutex_lock(&lock);
    if (watched) {
        ring3_vm_info(watched, &info);
        same = strcmp(info.state, state) == 0;
    }
    pthread_mutex_unlock(&lock);
    return same;
}

static void steer_machine(void (*what)(struct ring3_vm *))
{
    pthread_mutex_lock(&lock);
    if (watched)
        what(watched);
    pthread_mutex_unlock(&lock);
}

/* The guest's time stands still while we do. Returns whether it was us who paused it. */
static bool stand_still(void)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    bool ours = machine_is("running");
    if (ours)
        steer_machine(ring3_vm_pause);
    for (int i = 0; ours && i < PAUSE_TRIES && machine_is("running"); i++)
        (void)nanosleep(&ms, NULL);
    term_suspend();
    (void)kill(getpid(), SIGSTOP);
    return ours;
}

static void *signal_thread(void *arg)
{
    const sigset_t *set = arg;
    const struct timespec grace = {.tv_sec = GRACE_SECONDS};
    bool paused = false;
    for (;;) {
        int sig = ended_by ? sigtimedwait(set, NULL, &grace) : sigwaitinfo(set, NULL);
        if (sig == SIGTSTP) {
            paused = stand_still();
        } else if (sig == SIGCONT) {
            term_resume();
            if (paused)
                steer_machine(ring3_vm_continue);
            paused = false;
        } else if (ended_by) {
            die(ended_by);
        } else if (sig > 0) {
            ended_by = sig;
            if (!stop_machine())
                die(sig);
        }
    }
    return NULL;
}

int signals_begin(void)
{
    static sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    for (size_t i = 0; i < COUNT(ending); i++)
        sigaddset(&set, ending[i]);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTTOU, SIG_IGN); /* so that the terminal can be put back also from the background */
    crash_handlers();
    if (pthread_create(&thread, NULL, signal_thread, &set))
        return -1;
    (void)pthread_detach(thread);
    return 0;
}

void signals_watch(struct ring3_vm *vm)
{
    pthread_mutex_lock(&lock);
    watched = vm;
    pthread_mutex_unlock(&lock);
}

void signals_end(void)
{
    if (ended_by)
        die(ended_by);
}
