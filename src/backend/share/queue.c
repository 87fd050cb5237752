/*
 * Implements share.h.
 *
 * A request that was not answered at once is `active` until its reply is on its way, and before a thread takes it also
 * in `todo`. A Tflush is answered when no older request with the tag that it names is active (9P: flush(5)): those in
 * `todo` are ended at once, with EINTR; for those that a thread has, it waits.
 *
 * What is answered at once is done with the machine lock: only what cannot wait, or has shown that it does not
 * (pace_learn).
 *
 * Locks: the machine lock before `lock`. `active` and `flushes` change under both, so that whoever holds the machine
 * lock sees no request that has ended and was not told so.
 */
#include "backend/share/queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backend/share/open.h"
#include "backend/share/server.h"
#include "event/loop.h"
#include "host/clock.h"
#include "host/thread.h"

#define THREADS    4
#define QUICK_NS   200000u
#define NEEDED_MIN 4u
#define NEEDED_MAX 1024u
#define QUICK_MANY 4096u /* after so many all is forgiven */

struct share {
    struct server server;
    char tag[SHARE_TAG_MAX + 1];
    struct loop *loop;
    atomic_uint quick, needed; /* brisk messages in a row that took no time, and how many make one trust the next */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work, idle;
    struct list active, todo;
    u64 number;             /* of the next request */
    unsigned busy, flushes; /* requests that threads have; flushes among the active */
    bool quit;

    pthread_t threads[THREADS];
    unsigned started;
};

static struct share_request *request_of(struct list *node)
{
    return container_of(node, struct share_request, node);
}

const char *share_tag(const struct share *s)
{
    return s->tag;
}

int share_folder(const struct share *s)
{
    return s->server.folder.fd;
}

int share_path(const struct share *s, char path[PATH_MAX])
{
    return folder_path(&s->server.folder, path);
}

bool share_read_only(const struct share *s)
{
    return s->server.folder.read_only;
}

static bool is_idle_locked(const struct share *s)
{
    return !s->busy && list_empty(&s->active);
}

static void tell_idle_locked(struct share *s)
{
    if (is_idle_locked(s))
        pthread_cond_broadcast(&s->idle);
}

/* The ends of requests */

static u32 reply_flush(const struct share_request *r)
{
    struct message m = {.r = r, .type = P9_TFLUSH, .tag = r->tag};
    return message_end(&m, 0);
}

static bool flush_waits_locked(const struct share *s, const struct share_request *flush)
{
    list_for_each(node, &s->active)
    {
        const struct share_request *r = request_of(node);
        if (r->number < flush->number && r->tag == flush->flushes)
            return true;
    }
    return false;
}

/* A flush that waits for nothing any more, taken out; or NULL. */
static struct share_request *flush_take_locked(struct share *s)
{
    list_for_each(node, &s->active)
    {
        struct share_request *r = request_of(node);
        if (r->is_flush && !flush_waits_locked(s, r)) {
            list_remove(&r->node);
            return r;
        }
    }
    return NULL;
}

/* Each flush that ends may let another one end. `active` has few entries: no more than the ring. */
static void end_flushes(struct share *s)
{
    struct share_request *r;
    do {
        pthread_mutex_lock(&s->lock);
        r = s->flushes ? flush_take_locked(s) : NULL;
        s->flushes -= r != NULL;
        pthread_mutex_unlock(&s->lock);
        if (r)
            r->done(r, reply_flush(r));
    } while (r);
}

static void end_request(struct share *s, struct share_request *r, u32 written)
{
    pthread_mutex_lock(&s->lock);
    list_remove(&r->node);
    pthread_mutex_unlock(&s->lock);
    r->done(r, written); /* r may be gone now */
}

/* Threads */

static struct share_request *request_take(struct share *s)
{
    struct share_request *r = NULL;
    pthread_mutex_lock(&s->lock);
    while (list_empty(&s->todo) && !s->quit)
        pthread_cond_wait(&s->work, &s->lock);
    if (!list_empty(&s->todo)) {
        r = container_of(s->todo.next, struct share_request, todo);
        list_remove(&r->todo);
        s->busy++;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

static void thread_idle(struct share *s)
{
    pthread_mutex_lock(&s->lock);
    s->busy--;
    tell_idle_locked(s);
    pthread_mutex_unlock(&s->lock);
}

/* How long the brisk ones take tells whether the next may be done at once, with the machine lock: not before `needed`
 * in a row were short in a thread. One that then takes long shows that the host's disk has a part in it, and as many
 * more are needed the next time. */
static void pace_learn(struct share *s, bool at_once, bool is_quick)
{
    unsigned quick = atomic_load(&s->quick), needed = atomic_load(&s->needed);
    if (is_quick && quick == QUICK_MANY)
        needed = NEEDED_MIN;
    if (!is_quick && at_once && needed < NEEDED_MAX)
        needed *= 2;
    atomic_store(&s->needed, needed);
    atomic_store(&s->quick, !is_quick ? 0 : quick < QUICK_MANY ? quick + 1 : quick);
}

/* On a busy host a thread may lose its core at any moment for some milliseconds: that says nothing of the folder. */
static bool was_quick(const struct host_thread_use *before, u64 begin)
{
    if (host_clock_ns() - begin < QUICK_NS)
        return true;
    struct host_thread_use now = host_thread_use();
    return now.waits == before->waits && now.displaced != before->displaced;
}

static u32 handle_brisk(struct share *s, struct message *m, bool at_once)
{
    struct host_thread_use before = host_thread_use();
    u64 begin = host_clock_ns();
    m->may_wait = true;
    u32 written = server_handle(&s->server, m);
    pace_learn(s, at_once, was_quick(&before, begin));
    return written;
}

static bool is_trusted(const struct share *s)
{
    return atomic_load(&s->quick) >= atomic_load(&s->needed);
}

static u32 handle_in_thread(struct share *s, struct message *m)
{
    enum server_pace pace = server_pace(m);
    if ((pace == PACE_BRISK || pace == PACE_EITHER) && !server_remote(&s->server, m))
        return handle_brisk(s, m, false);
    m->may_wait = true;
    return server_handle(&s->server, m);
}

/* 0: a thread has to. */
static u32 handle_at_once(struct share *s, struct message *m)
{
    enum server_pace pace = server_pace(m);
    u32 written = 0;
    if (pace == PACE_SLOW || server_remote(&s->server, m))
        return 0;
    if (pace != PACE_BRISK) {
        m->may_wait = false;
        written = server_handle(&s->server, m);
    }
    if (!written && pace != PACE_KNOWN && is_trusted(s)) {
        message_again(m);
        written = handle_brisk(s, m, true);
    }
    return written;
}

static void *thread_run(void *arg)
{
    struct share *s = arg;
    struct share_request *r;
    struct message m;
    while ((r = request_take(s))) {
        u32 written = message_take(&m, r) ? handle_in_thread(s, &m) : message_error(r, r->tag, -EPROTO);
        loop_lock(s->loop);
        end_request(s, r, written);
        end_flushes(s);
        loop_unlock(s->loop);
        thread_idle(s);
    }
    return NULL;
}

/* share.h */

static void request_begin_locked(struct share *s, struct share_request *r)
{
    r->number = s->number++;
    list_insert(&s->active, &r->node);
}

/* One that waits for a thread, and has the tag, taken out; or NULL. */
static struct share_request *cancel_locked(struct share *s, u16 tag)
{
    list_for_each(node, &s->todo)
    {
        struct share_request *r = container_of(node, struct share_request, todo);
        if (r->tag == tag) {
            list_remove(&r->todo);
            list_remove(&r->node);
            return r;
        }
    }
    return NULL;
}

static void cancel(struct share *s, u16 tag)
{
    struct share_request *r;
    do {
        pthread_mutex_lock(&s->lock);
        r = cancel_locked(s, tag);
        pthread_mutex_unlock(&s->lock);
        if (r)
            r->done(r, message_error(r, r->tag, -EINTR));
    } while (r);
    end_flushes(s);
}

static u32 submit_flush(struct share *s, struct share_request *r, struct message *m)
{
    r->flushes = message_u16(m);
    if (message_bad(m))
        return message_error(r, r->tag, -EINVAL);
    cancel(s, r->flushes);
    pthread_mutex_lock(&s->lock);
    r->number = s->number;
    r->is_flush = flush_waits_locked(s, r);
    if (r->is_flush) {
        request_begin_locked(s, r);
        s->flushes++;
    }
    tell_idle_locked(s);
    pthread_mutex_unlock(&s->lock);
    return r->is_flush ? 0 : reply_flush(r);
}

static void give_to_thread(struct share *s, struct share_request *r)
{
    pthread_mutex_lock(&s->lock);
    request_begin_locked(s, r);
    list_insert(&s->todo, &r->todo);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

u32 share_submit(struct share *s, struct share_request *r)
{
    struct message m;
    bool good = message_take(&m, r);
    r->tag = m.tag;
    r->is_flush = false;
    if (!good)
        return message_error(r, r->tag, -EPROTO);
    if (m.type == P9_TFLUSH)
        return submit_flush(s, r, &m);
    u32 written = handle_at_once(s, &m);
    if (!written)
        give_to_thread(s, r);
    return written;
}

void share_reset(struct share *s)
{
    server_reset(&s->server);
}

void share_drain(struct share *s)
{
    pthread_mutex_lock(&s->lock);
    while (!is_idle_locked(s))
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void release(struct share *s)
{
    pthread_mutex_lock(&s->lock);
    s->quit = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    while (s->started)
        host_thread_join(s->threads[--s->started]);
    server_fini(&s->server);
    (void)pthread_cond_destroy(&s->work);
    (void)pthread_cond_destroy(&s->idle);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

void share_close(struct share *s)
{
    if (!s)
        return;
    share_drain(s);
    release(s);
}

int share_create(const struct queue_setup *setup, struct share **out)
{
    struct folder folder = setup->folder;
    struct share *s = calloc(1, sizeof(*s));
    if (!s) {
        folder_close(&folder);
        return -ENOMEM;
    }
    s->loop = setup->loop;
    atomic_init(&s->needed, NEEDED_MIN);
    memcpy(s->tag, setup->tag, sizeof(s->tag));
    (void)pthread_mutex_init(&s->lock, NULL); /* these cannot fail without attributes */
    (void)pthread_cond_init(&s->work, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    list_init(&s->active);
    list_init(&s->todo);
    int status = server_init(&s->server, &folder, setup->limit);
    for (; !status && s->started < THREADS; s->started++) {
        status = host_thread_start(&s->threads[s->started], "share", thread_run, s);
        if (status)
            break;
    }
    if (status) {
        release(s);
        return status;
    }
    *out = s;
    return 0;
}
