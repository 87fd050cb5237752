/* Threads: made and joined, and two that wake each other by futex. */
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *count_one(void *counter)
{
    ++*(uint64_t *)counter;
    return NULL;
}

static pthread_t start(void *(*fn)(void *), void *argument)
{
    pthread_t thread;
    errno = pthread_create(&thread, NULL, fn, argument);
    if (errno)
        bench_fail("pthread_create");
    return thread;
}

static void run_thread(struct bench *b)
{
    uint64_t n = bench_count(b, 8000), counter = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        pthread_join(start(count_one, &counter), NULL);
    bench_stop(b, counter);
}

struct ball {
    uint32_t side; /* whose turn it is */
    uint64_t rounds;
};

static void wait_turn(struct ball *ball, uint32_t side)
{
    for (;;) {
        uint32_t now = __atomic_load_n(&ball->side, __ATOMIC_ACQUIRE);
        if (now == side)
            return;
        if (syscall(SYS_futex, &ball->side, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0) && errno != EAGAIN &&
            errno != EINTR)
            bench_fail("futex");
    }
}

static void pass_turn(struct ball *ball, uint32_t side)
{
    __atomic_store_n(&ball->side, side, __ATOMIC_RELEASE);
    syscall(SYS_futex, &ball->side, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *play(void *argument)
{
    struct ball *ball = argument;
    for (uint64_t i = 0; i < ball->rounds; i++) {
        wait_turn(ball, 1);
        pass_turn(ball, 0);
    }
    return NULL;
}

static void run_futex(struct bench *b)
{
    struct ball ball = {.rounds = bench_count(b, 20000)};
    pthread_t other = start(play, &ball);
    bench_start(b);
    for (uint64_t i = 0; i < ball.rounds; i++) {
        pass_turn(&ball, 1);
        wait_turn(&ball, 0);
    }
    bench_stop(b, ball.rounds);
    pthread_join(other, NULL);
}

const struct bench_row bench_rows[] = {
    {"system", "thread", run_thread, .pair = 1},
    {"system", "futex", run_futex, .pair = 1},
    {0},
};
