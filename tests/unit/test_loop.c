/*
 * The event loop: timers in order, watches that come and go, the clock under pause and under control, quit from any
 * thread.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "event/clock.h"
#include "event/door.h"
#include "event/loop.h"
#include "host/clock.h"

#define MS 1000000ull

struct bench {
    struct loop *loop;
    struct timer t[3];
    struct watch w[2];
    char order[16];
    unsigned fired;
    u64 at[16];
    int pipe[2];
    unsigned ready;
};

static int setup(void **state)
{
    static struct bench b;
    b = (struct bench){.loop = loop_create()};
    *state = &b;
    return b.loop && !pipe(b.pipe) ? 0 : -1;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    loop_destroy(b->loop);
    close(b->pipe[0]);
    close(b->pipe[1]);
    return 0;
}

static void note(struct bench *b, char c)
{
    if (b->fired < ARRAY_SIZE(b->at)) {
        b->at[b->fired] = door_time(b->loop);
        b->order[b->fired++] = c;
    }
}

static void fire_a(void *opaque)
{
    note(opaque, 'a');
}

static void fire_b(void *opaque)
{
    note(opaque, 'b');
}

static void fire_quit(void *opaque)
{
    struct bench *b = opaque;
    note(b, 'q');
    loop_quit(b->loop);
}

static void init_timers(struct bench *b)
{
    timer_init(&b->t[0], b->loop, fire_a, b);
    timer_init(&b->t[1], b->loop, fire_b, b);
    timer_init(&b->t[2], b->loop, fire_quit, b);
}

static void test_timer_order(void **state)
{
    struct bench *b = *state;
    init_timers(b);
    loop_lock(b->loop);
    u64 now = door_time(b->loop);
    timer_set(&b->t[2], now + 30 * MS);
    timer_set(&b->t[1], now + 20 * MS);
    timer_set(&b->t[0], now + 10 * MS);
    loop_unlock(b->loop);
    loop_run(b->loop);
    assert_string_equal(b->order, "abq");
    for (unsigned i = 0; i < 3; i++)
        assert_true(b->at[i] >= now + (i + 1) * 10 * MS);
}

static void test_timer_past_and_cancel(void **state)
{
    struct bench *b = *state;
    init_timers(b);
    loop_lock(b->loop);
    timer_set(&b->t[0], 0);
    timer_set(&b->t[1], 1);
    timer_cancel(&b->t[1]);
    timer_cancel(&b->t[1]);
    assert_false(b->t[1].armed);
    timer_set(&b->t[2], door_time(b->loop) + 5 * MS);
    loop_unlock(b->loop);
    loop_run(b->loop);
    assert_string_equal(b->order, "aq");
}

static void fire_again(void *opaque)
{
    struct bench *b = opaque;
    note(b, 'r');
    if (b->fired < 10)
        timer_set(&b->t[0], 0);
    timer_cancel(&b->t[1]); /* due as well, and taken back at the last moment */
}

static void test_timer_sets_itself_to_the_past(void **state)
{
    struct bench *b = *state;
    init_timers(b);
    timer_init(&b->t[0], b->loop, fire_again, b);
    loop_lock(b->loop);
    timer_set(&b->t[0], 0);
    timer_set(&b->t[1], 0);
    timer_set(&b->t[2], 0);
    loop_unlock(b->loop);
    loop_run(b->loop);
    assert_string_equal(b->order, "rq"); /* the second round of r comes after q, which ended the loop */
}

static void test_manual_time(void **state)
{
    struct bench *b = *state;
    loop_set_manual(b->loop, 1000);
    init_timers(b);
    timer_set(&b->t[0], 100);
    timer_set(&b->t[1], 50);
    loop_advance(b->loop, 49);
    assert_int_equal(b->fired, 0);
    loop_advance(b->loop, 1);
    assert_string_equal(b->order, "b");
    loop_advance(b->loop, 1000);
    assert_string_equal(b->order, "ba");
    assert_int_equal(b->at[0], 50);
    assert_int_equal(b->at[1], 100);
    assert_int_equal(door_time(b->loop), 1050);
    assert_int_equal(door_wall_time(b->loop), 2050);
}

static void test_pause(void **state)
{
    struct bench *b = *state;
    struct vclock *c = loop_clock(b->loop);
    loop_lock(b->loop);
    vclock_pause(c);
    vclock_pause(c);
    u64 stood = vclock_now(c), host = host_clock_ns();
    init_timers(b);
    timer_set(&b->t[2], stood + 1);
    loop_unlock(b->loop);
    usleep(20000);
    assert_int_equal(vclock_now(c), stood);
    vclock_resume(c);
    assert_int_equal(vclock_now(c), stood);
    vclock_resume(c);
    u64 after = vclock_now(c);
    assert_true(after >= stood && after - stood < host_clock_ns() - host);
    loop_run(b->loop);
    assert_string_equal(b->order, "q");
}

static void *reader(void *opaque)
{
    const struct vclock *c = opaque;
    u64 last = 0;
    for (int i = 0; i < 200000; i++) {
        u64 now = vclock_now(c);
        if (now < last)
            return opaque;
        last = now;
    }
    return NULL;
}

static void test_clock_never_goes_back(void **state)
{
    struct bench *b = *state;
    struct vclock *c = loop_clock(b->loop);
    pthread_t t;
    void *bad;
    assert_int_equal(pthread_create(&t, NULL, reader, c), 0);
    for (int i = 0; i < 2000; i++) {
        loop_lock(b->loop);
        vclock_pause(c);
        vclock_resume(c);
        loop_unlock(b->loop);
    }
    pthread_join(t, &bad);
    assert_null(bad);
}

static void ready_read(void *opaque, short revents)
{
    struct bench *b = opaque;
    char c;
    assert_true(revents & (POLLIN | POLLHUP));
    if (read(b->pipe[0], &c, 1) != 1 || c == 'q')
        loop_quit(b->loop);
    b->ready++;
}

static void *writer(void *opaque)
{
    struct bench *b = opaque;
    for (int i = 0; i < 5; i++) {
        usleep(1000);
        (void)!write(b->pipe[1], i == 4 ? "q" : "x", 1);
    }
    return NULL;
}

static void test_watch(void **state)
{
    struct bench *b = *state;
    pthread_t t;
    watch_add(&b->w[0], b->loop, b->pipe[0], POLLIN, ready_read, b);
    assert_int_equal(pthread_create(&t, NULL, writer, b), 0);
    loop_run(b->loop);
    pthread_join(t, NULL);
    assert_int_equal(b->ready, 5);
    watch_remove(&b->w[0]);
    watch_remove(&b->w[0]);
}

static void ready_remove_both(void *opaque, short revents)
{
    struct bench *b = opaque;
    (void)revents;
    b->ready++;
    watch_remove(&b->w[0]);
    watch_remove(&b->w[1]);
    loop_quit(b->loop);
}

static void test_watch_removed_while_ready(void **state)
{
    struct bench *b = *state;
    int file = open("/dev/null", O_RDWR); /* always ready; epoll would refuse it */
    assert_true(file >= 0);
    watch_add(&b->w[0], b->loop, file, POLLOUT, ready_remove_both, b);
    watch_add(&b->w[1], b->loop, file, POLLOUT, ready_remove_both, b);
    loop_run(b->loop);
    assert_int_equal(b->ready, 1);
    close(file);
}

static void *set_late(void *opaque)
{
    struct bench *b = opaque;
    usleep(5000);
    loop_lock(b->loop);
    (void)!write(b->pipe[1], "q", 1);
    watch_set(&b->w[0], POLLIN);
    timer_set(&b->t[0], 0);
    loop_unlock(b->loop);
    return NULL;
}

static void test_changes_from_another_thread(void **state)
{
    struct bench *b = *state;
    pthread_t t;
    init_timers(b);
    watch_add(&b->w[0], b->loop, b->pipe[0], 0, ready_read, b);
    timer_set(&b->t[1], door_time(b->loop) + 3600 * 1000 * MS);
    assert_int_equal(pthread_create(&t, NULL, set_late, b), 0);
    loop_run(b->loop);
    pthread_join(t, NULL);
    assert_int_equal(b->ready, 1);
    assert_string_equal(b->order, "a");
    watch_remove(&b->w[0]);
}

static void test_quit_before_run(void **state)
{
    struct bench *b = *state;
    loop_quit(b->loop);
    loop_run(b->loop);
}

static void test_ticks(void **state)
{
    (void)state;
    static const u64 hz[] = {1193182, 3579545, 32768, 100000000, 1000000000, 2400000000};
    for (unsigned i = 0; i < ARRAY_SIZE(hz); i++)
        for (u64 ticks = 1; ticks < 1ull << 62; ticks = ticks * 3 + 1) {
            u64 ns = ticks_to_ns(ticks, hz[i]);
            if (ns == UINT64_MAX)
                continue;
            assert_true(ns_to_ticks(ns, hz[i]) >= ticks);
            assert_true(ns_to_ticks(ns - 1, hz[i]) < ticks);
        }
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOOP_TEST(test_timer_order),
        LOOP_TEST(test_timer_past_and_cancel),
        LOOP_TEST(test_timer_sets_itself_to_the_past),
        LOOP_TEST(test_manual_time),
        LOOP_TEST(test_pause),
        LOOP_TEST(test_clock_never_goes_back),
        LOOP_TEST(test_watch),
        LOOP_TEST(test_watch_removed_while_ready),
        LOOP_TEST(test_changes_from_another_thread),
        LOOP_TEST(test_quit_before_run),
        LOOP_TEST(test_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
