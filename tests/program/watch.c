/* The thread beside a running program: stops it when its time is up, and disturbs it if that is the way. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "../insn/random.h"
#include "rig.h"

struct watch {
    pthread_t thread;
    struct rig *rig;
    struct random random;
    u64 deadline;
    _Atomic bool over;
};

static u64 now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000 + (u64)t.tv_nsec / 1000;
}

/* A stop may cost more than what the program does between two of them: after this long it is left to come to its end.
 */
#define DISTURBED_US 1000000u

/* Too short for a sleep. */
static void linger(struct watch *w, u32 turns)
{
    while (turns-- && !w->over)
        __builtin_ia32_pause();
}

static void rest(void)
{
    const struct timespec t = {.tv_nsec = 200000};
    nanosleep(&t, NULL);
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    const u64 peace = now_us() + DISTURBED_US;
    while (!w->over) {
        if (w->rig->way == WAY_STOP && now_us() < peace) {
            linger(w, random_below(&w->random, 2000));
            cpu_request(w->rig->cpu, random_one_in(&w->random, 6) ? REQ_TLB : REQ_STOP);
        } else {
            rest();
        }
        if (now_us() > w->deadline) {
            w->rig->late = true;
            cpu_request(w->rig->cpu, REQ_STOP);
        }
    }
    return NULL;
}

struct watch *watch_start(struct rig *r, unsigned milliseconds, u64 seed)
{
    struct watch *w = calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->rig = r;
    w->random.state = seed | 1;
    w->deadline = now_us() + milliseconds * 1000ull;
    if (pthread_create(&w->thread, NULL, watch_main, w)) {
        free(w);
        return NULL;
    }
    return w;
}

void watch_end(struct watch *w)
{
    if (!w)
        return;
    w->over = true;
    pthread_join(w->thread, NULL);
    free(w);
}
