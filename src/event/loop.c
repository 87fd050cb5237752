/*
 * The event loop, timers and watches (event/loop.h).
 *
 * Timers stand in a list sorted by deadline: there are a few for each processor and device, and most are set close to
 * one end. The alarm of the host is set lazily: it is moved when an earlier deadline comes, never when the earliest one
 * goes away, because a guest that sets its timer again and again would otherwise pay a system call each time. The loop
 * then wakes once too often and sets it right.
 *
 * Invariants, all under the lock:
 *   - unless the loop thread is in its callbacks, alarm_at <= deadline of the first timer;
 *   - polled[i] is the watch that fds[i] was made from, NULL once it was removed: events that were collected for a
 *     watch never reach another one, nor freed memory.
 */
#include "event/loop.h"

#include <pthread.h>
#include <stdlib.h>

#include "event/vclock.h"
#include "host/wait.h"

#define NEVER UINT64_MAX

enum { SLOT_ALARM, SLOT_BELL, SLOT_WATCHES };

struct loop {
    pthread_mutex_t lock;
    struct vclock clock;
    int alarm, bell;
    u64 alarm_at; /* virtual deadline the alarm was set for */
    bool polling; /* the loop thread waits outside the lock: the bell reaches it */
    bool in_callbacks;
    _Atomic bool quit;
    struct list timers;
    struct list watches;
    size_t watch_count;
    struct pollfd *fds;
    struct watch **polled;
    size_t capacity, used;
};

/* Timers */

static struct timer *first_timer(struct loop *l)
{
    return list_empty(&l->timers) ? NULL : container_of(l->timers.next, struct timer, node);
}

static void alarm_update(struct loop *l)
{
    struct timer *t = first_timer(l);
    u64 want = t ? t->deadline : NEVER;
    if (l->clock.manual || want == l->alarm_at)
        return;
    l->alarm_at = want;
    host_alarm_set(l->alarm, vclock_to_host(&l->clock, want));
}

static void clock_changed(void *opaque)
{
    struct loop *l = opaque;
    l->alarm_at = NEVER;
    host_alarm_set(l->alarm, HOST_ALARM_OFF);
    if (!l->clock.stopped)
        alarm_update(l);
}

void timer_init(struct timer *t, struct loop *l, void (*fire)(void *opaque), void *opaque)
{
    *t = (struct timer){.loop = l, .fire = fire, .opaque = opaque};
    list_init(&t->node);
}

void timer_set(struct timer *t, u64 deadline)
{
    struct loop *l = t->loop;
    list_remove(&t->node);
    t->deadline = deadline;
    t->armed = true;

    struct list *at = l->timers.next;
    while (at != &l->timers && container_of(at, struct timer, node)->deadline <= deadline)
        at = at->next;
    list_insert(at, &t->node);
    if (deadline < l->alarm_at && !l->in_callbacks && !l->clock.stopped)
        alarm_update(l);
}

void timer_cancel(struct timer *t)
{
    list_remove(&t->node);
    t->armed = false;
}

/*
 * Fires what is due at `now`. The due ones are taken out first, so that one which sets itself to the past again waits
 * for the next round and cannot keep the loop here.
 */
static void timers_run(struct loop *l, u64 now)
{
    struct list due;
    list_init(&due);
    for (struct timer *t; (t = first_timer(l)) && t->deadline <= now;) {
        list_remove(&t->node);
        list_insert(&due, &t->node);
    }
    while (!list_empty(&due)) {
        struct timer *t = container_of(due.next, struct timer, node);
        timer_cancel(t);
        t->fire(t->opaque);
    }
}

/* Watches */

static void watches_changed(struct loop *l)
{
    if (l->polling)
        host_bell_ring(l->bell);
}

void watch_add(struct watch *w, struct loop *l, int fd, short events, void (*ready)(void *, short), void *opaque)
{
    *w = (struct watch){.loop = l, .fd = fd, .events = events, .ready = ready, .opaque = opaque, .active = true};
    list_insert(&l->watches, &w->node);
    l->watch_count++;
    watches_changed(l);
}

void watch_set(struct watch *w, short events)
{
    if (!w->active || w->events == events)
        return;
    w->events = events;
    watches_changed(w->loop);
}

void watch_remove(struct watch *w)
{
    struct loop *l = w->loop;
    if (!w->active)
        return;
    w->active = false;
    list_remove(&w->node);
    l->watch_count--;
    for (size_t i = SLOT_WATCHES; i < l->used; i++)
        if (l->polled[i] == w)
            l->polled[i] = NULL;
    watches_changed(l);
}

static int poll_grow(struct loop *l, size_t need)
{
    if (need <= l->capacity)
        return 0;
    size_t capacity = need + 16;
    struct pollfd *fds = realloc(l->fds, capacity * sizeof(*fds));
    if (fds)
        l->fds = fds;
    struct watch **polled = realloc(l->polled, capacity * sizeof(struct watch *));
    if (polled)
        l->polled = polled;
    if (!fds || !polled)
        return -ENOMEM;
    l->capacity = capacity;
    return 0;
}

/* Fills the slots. Out of memory, the watches that find no room wait until some others are gone. */
static void poll_collect(struct loop *l)
{
    (void)poll_grow(l, SLOT_WATCHES + l->watch_count);
    l->used = SLOT_WATCHES;
    list_for_each(node, &l->watches)
    {
        struct watch *w = container_of(node, struct watch, node);
        if (!w->events || l->used == l->capacity)
            continue;
        l->fds[l->used] = (struct pollfd){.fd = w->fd, .events = w->events};
        l->polled[l->used++] = w;
    }
}

static void watches_run(struct loop *l)
{
    for (size_t i = SLOT_WATCHES; i < l->used; i++) {
        struct watch *w = l->polled[i];
        short revents = l->fds[i].revents;
        if (!w || !(revents & (w->events | POLLHUP | POLLERR | POLLNVAL)))
            continue;
        if (revents & POLLNVAL) { /* closed under us: would be reported for ever */
            w->events = 0;
            revents |= POLLERR;
        }
        w->ready(w->opaque, revents);
    }
}

/* The loop */

static int loop_init(struct loop *l)
{
    list_init(&l->timers);
    list_init(&l->watches);
    l->alarm_at = NEVER;
    l->alarm = host_alarm_create();
    l->bell = host_bell_create();
    if (l->alarm < 0)
        return l->alarm;
    if (l->bell < 0)
        return l->bell;
    return poll_grow(l, SLOT_WATCHES);
}

struct loop *loop_create(void)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    pthread_mutex_init(&l->lock, NULL);
    int status = loop_init(l);
    if (status) {
        loop_destroy(l);
        errno = -status;
        return NULL;
    }
    l->fds[SLOT_ALARM] = (struct pollfd){.fd = l->alarm, .events = POLLIN};
    l->fds[SLOT_BELL] = (struct pollfd){.fd = l->bell, .events = POLLIN};
    vclock_init(&l->clock, clock_changed, l);
    return l;
}

void loop_destroy(struct loop *l)
{
    if (!l)
        return;
    host_close(l->alarm);
    host_close(l->bell);
    pthread_mutex_destroy(&l->lock);
    free(l->fds);
    free(l->polled);
    free(l);
}

struct vclock *loop_clock(struct loop *l)
{
    return &l->clock;
}

void loop_lock(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
}

void loop_unlock(struct loop *l)
{
    pthread_mutex_unlock(&l->lock);
}

/* Waits for the next event, without the lock. Returns true if there is one. */
static bool loop_wait(struct loop *l)
{
    alarm_update(l);
    poll_collect(l);
    l->polling = true;
    loop_unlock(l);
    bool some = host_poll(l->fds, l->used) > 0;
    loop_lock(l);
    l->polling = false;
    return some;
}

static void loop_dispatch(struct loop *l)
{
    if (l->fds[SLOT_BELL].revents)
        host_wait_clear(l->bell);
    if (l->fds[SLOT_ALARM].revents) {
        host_wait_clear(l->alarm);
        l->alarm_at = NEVER;
    }
    l->in_callbacks = true;
    if (!l->clock.stopped)
        timers_run(l, vclock_now(&l->clock));
    watches_run(l);
    l->in_callbacks = false;
}

void loop_run(struct loop *l)
{
    loop_lock(l);
    while (!l->quit)
        if (loop_wait(l))
            loop_dispatch(l);
    l->quit = false;
    loop_unlock(l);
}

void loop_quit(struct loop *l)
{
    l->quit = true;
    host_bell_ring(l->bell);
}

void loop_set_manual(struct loop *l, u64 wall_ns)
{
    vclock_set_manual(&l->clock, wall_ns);
}

void loop_advance(struct loop *l, u64 ns)
{
    loop_lock(l);
    u64 end = vclock_now(&l->clock) + ns;
    for (struct timer *t; (t = first_timer(l)) && t->deadline <= end;) {
        u64 now = vclock_now(&l->clock);
        vclock_step(&l->clock, t->deadline > now ? t->deadline : now);
        timers_run(l, vclock_now(&l->clock));
    }
    vclock_step(&l->clock, end);
    loop_unlock(l);
}
