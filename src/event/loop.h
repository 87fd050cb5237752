/*
 * The event loop of one machine: one thread that waits for file descriptors and timers, and the machine lock.
 *
 * The machine lock guards all devices and everything that they share (irq lines, timers, the port and memory windows'
 * handlers). Every callback of the loop runs with it held; a virtual processor takes it around each device access
 * (mem/space.h does that). It is not recursive. Callbacks must not block.
 *
 * Time is the machine's virtual time (event/clock.h), in nanoseconds.
 */
#ifndef EVENT_LOOP_H
#define EVENT_LOOP_H

#include "base/error.h"
#include "base/list.h"
#include "base/types.h"

struct loop;
struct vclock;

/* Owns the clock. Returns NULL with errno set when out of memory or file descriptors. */
struct loop *loop_create(void);
void loop_destroy(struct loop *l);

struct vclock *loop_clock(struct loop *l);

void loop_lock(struct loop *l);
void loop_unlock(struct loop *l);

/* Runs until loop_quit; called by one thread, without the lock. */
void loop_run(struct loop *l);
/* Any thread, lock held or not; also safe before loop_run (which then returns at once). */
void loop_quit(struct loop *l);

/*
 * A timer: call `fire` once when virtual time reaches `deadline`. Embed it in the device. All functions need the lock.
 * `fire` may set the timer again.
 */
struct timer {
    struct list node;
    struct loop *loop;
    u64 deadline; /* virtual ns; meaningful while armed */
    bool armed;
    void (*fire)(void *opaque);
    void *opaque;
};

void timer_init(struct timer *t, struct loop *l, void (*fire)(void *opaque), void *opaque);
/* A deadline in the past fires as soon as the loop runs. */
void timer_set(struct timer *t, u64 deadline);
void timer_cancel(struct timer *t);

/*
 * A watched file descriptor. `ready` gets POLLIN, POLLOUT, POLLHUP, POLLERR bits. Embed it. All functions need the
 * lock. The descriptor stays the caller's. watch_remove may be called from `ready`. While `events` is 0 the descriptor
 * is not looked at, not even for POLLHUP: so a back end pauses one that stays readable.
 */
struct watch {
    struct list node;
    struct loop *loop;
    int fd;
    short events; /* wanted; change with watch_set */
    void (*ready)(void *opaque, short revents);
    void *opaque;
    bool active;
};

void watch_add(struct watch *w, struct loop *l, int fd, short events, void (*ready)(void *, short), void *opaque);
void watch_set(struct watch *w, short events);
void watch_remove(struct watch *w);

/*
 * Time under control, for tests, instead of loop_run: after loop_set_manual virtual time is 0 and moves only by
 * loop_advance, which fires the timers on the way in order, each at its own deadline. wall_ns is the wall-clock time at
 * virtual time 0. loop_advance takes the lock.
 */
void loop_set_manual(struct loop *l, u64 wall_ns);
void loop_advance(struct loop *l, u64 ns);

#endif
