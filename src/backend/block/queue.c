/*
 * Implements block.h (queue.h says how).
 *
 * A request is in one place at a time: `todo` (waits for a thread), with a thread, in the ring, or `finished` (waits
 * for the loop). under_way counts from block_submit to after `done`.
 *
 * Locks: the machine lock before `lock`. The image's own locks are taken with neither, but by image_map, which does not
 * wait for them.
 */
#include "backend/block/queue.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block/uring.h"
#include "base/bits.h"
#include "event/loop.h"
#include "host/thread.h"
#include "host/wait.h"

#define THREADS  8
#define DRAIN_MS 2 /* how soon block_drain looks again for what the loop's thread has finished */

struct block {
    struct image *im;
    struct queue_config cfg;
    const struct log *log;
    struct loop *loop;
    struct watch watch;
    int bell;
    struct uring *ring; /* NULL: threads do everything */
    atomic_uint under_way;
    struct log_limit failures;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct list todo, finished;
    bool quit;

    pthread_t threads[THREADS];
    unsigned started;
};

/* The back end's part of a request. */
enum { PRIVATE_PIN, PRIVATE_STATUS };

static struct block_request *request_of(struct list *node)
{
    return container_of(node, struct block_request, node);
}

/* Ends */

/* True if nothing stood there: the loop has to be told. */
static bool put_finished(struct block *b, struct block_request *r, int status)
{
    r->private[PRIVATE_STATUS] = (u64)(i64)status;
    pthread_mutex_lock(&b->lock);
    bool first = list_empty(&b->finished);
    list_insert(&b->finished, &r->node);
    pthread_mutex_unlock(&b->lock);
    return first;
}

static void finish(struct block *b, struct block_request *r, int status)
{
    if (put_finished(b, r, status))
        host_bell_ring(b->bell);
}

/* What the guest's device is told, and the person. */
static int judge(struct block *b, const struct block_request *r, int status)
{
    static const char *const names[] = {"read", "write", "flush", "discard", "write of zeroes"};
    if (!status || status == -EROFS)
        return status;
    bool full = status == -ENOSPC || status == -EDQUOT || status == -EFBIG;
    log_limited(b->log, &b->failures, LOG_ERROR, "%s: %s of the guest failed: %s", b->im->path, names[r->op],
                full ? "the host has no room left for the image" : strerror(-status));
    return full ? -ENOSPC : -EIO;
}

/* Threads */

static int do_read(struct block *b, struct block_request *r)
{
    return b->im->ops->read(b->im, r->offset, r->length, vec_of(r->iov, r->iovs));
}

static int do_write(struct block *b, struct block_request *r)
{
    return b->im->ops->write(b->im, r->offset, r->length, vec_of(r->iov, r->iovs));
}

static int do_flush(struct block *b, struct block_request *r)
{
    return b->cfg.unsafe ? 0 : b->im->ops->flush(b->im);
}

static int do_discard(struct block *b, struct block_request *r)
{
    return b->cfg.no_discard ? 0 : b->im->ops->discard(b->im, r->offset, r->length);
}

static int do_zero(struct block *b, struct block_request *r)
{
    return b->im->ops->zero(b->im, r->offset, r->length, r->flags & BLOCK_UNMAP && !b->cfg.no_discard);
}

static const struct {
    int (*run)(struct block *b, struct block_request *r);
    bool changes;
} ops[] = {
    [BLOCK_READ] = {do_read, false},      [BLOCK_WRITE] = {do_write, true},       [BLOCK_FLUSH] = {do_flush, false},
    [BLOCK_DISCARD] = {do_discard, true}, [BLOCK_WRITE_ZEROES] = {do_zero, true},
};

static void carry_out(struct block *b, struct block_request *r)
{
    int status = r->length || r->op == BLOCK_FLUSH ? ops[r->op].run(b, r) : 0;
    if (!status && ops[r->op].changes && r->flags & BLOCK_FUA)
        status = do_flush(b, r);
    finish(b, r, judge(b, r, status));
}

static void *thread_run(void *arg)
{
    struct block *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (list_empty(&b->todo) && !b->quit)
            pthread_cond_wait(&b->work, &b->lock);
        if (list_empty(&b->todo))
            break;
        struct block_request *r = request_of(b->todo.next);
        list_remove(&r->node);
        pthread_mutex_unlock(&b->lock);
        carry_out(b, r);
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static void give_to_thread(struct block *b, struct block_request *r)
{
    pthread_mutex_lock(&b->lock);
    list_insert(&b->todo, &r->node);
    pthread_cond_signal(&b->work);
    pthread_mutex_unlock(&b->lock);
}

/* The ring */

static bool vector_fits(const struct block_request *r)
{
    u64 sum = 0;
    for (unsigned i = 0; i < r->iovs; i++)
        if (__builtin_add_overflow(sum, r->iov[i].iov_len, &sum))
            return false;
    return sum == r->length;
}

/* What may go past the page cache unaligned, or has to be durable at its end, is for the threads. */
static bool give_to_ring(struct block *b, struct block_request *r)
{
    struct image_place place;
    bool write = r->op == BLOCK_WRITE;
    if (!b->ring || (r->op != BLOCK_READ && !write) || r->flags & BLOCK_FUA || !r->length || !vector_fits(r))
        return false;
    if (b->im->ops->map(b->im, r->offset, r->length, write, &place))
        return false;
    u32 align = place.file->align;
    bool direct_ok = !align || (align <= BLOCK_SECTOR && is_aligned(place.offset, align) &&
                                vec_aligned(vec_of(r->iov, r->iovs), r->length, align));
    r->private[PRIVATE_PIN] = place.pin;
    if (direct_ok && uring_start(b->ring, write, place.offset, r->iov, r->iovs, r))
        return true;
    b->im->ops->unmap(b->im, place.pin);
    return false;
}

/* Fewer bytes than asked for: the end of the file, or a host that is nearly full. The threads do it again as a whole,
 * and find out. Called by who collects what is finished: nobody has to be told. */
static void ring_ended(struct block *b, struct block_request *r, int result)
{
    b->im->ops->unmap(b->im, (u32)r->private[PRIVATE_PIN]);
    if (result == -EAGAIN || result == -EINTR || (result >= 0 && (u64)result != r->length))
        give_to_thread(b, r);
    else
        (void)put_finished(b, r, result < 0 ? judge(b, r, result) : 0);
}

/* The loop */

static void collect(struct block *b)
{
    struct list ended;
    int result;
    struct block_request *r;
    while (b->ring && (r = uring_reap(b->ring, &result)))
        ring_ended(b, r, result);
    list_init(&ended);
    pthread_mutex_lock(&b->lock);
    while (!list_empty(&b->finished)) {
        struct list *node = b->finished.next;
        list_remove(node);
        list_insert(&ended, node);
    }
    pthread_mutex_unlock(&b->lock);
    while (!list_empty(&ended)) {
        r = request_of(ended.next);
        list_remove(&r->node);
        r->done(r, (int)(i64)r->private[PRIVATE_STATUS]); /* r may be gone now */
        atomic_fetch_sub(&b->under_way, 1);
    }
}

static void bell_rang(void *opaque, short revents)
{
    struct block *b = opaque;
    host_wait_clear(b->bell);
    collect(b);
}

/* block.h */

static int check(const struct block *b, const struct block_request *r)
{
    if (r->op >= ARRAY_SIZE(ops))
        return -EINVAL;
    if (r->op == BLOCK_FLUSH)
        return 0;
    if (!is_aligned(r->offset | r->length, BLOCK_SECTOR) || !image_inside(b->im, r->offset, r->length))
        return -EINVAL;
    return ops[r->op].changes && b->im->read_only ? -EROFS : 0;
}

void block_submit(struct block *b, struct block_request *r)
{
    list_init(&r->node);
    atomic_fetch_add(&b->under_way, 1);
    int status = check(b, r);
    if (status)
        finish(b, r, status);
    else if (!give_to_ring(b, r))
        give_to_thread(b, r);
}

void block_info(const struct block *b, struct block_info *out)
{
    *out = (struct block_info){
        .size = b->im->size,
        .cluster = b->cfg.no_discard ? 0 : b->im->cluster,
        .read_only = b->im->read_only,
        .path = b->im->path,
    };
}

/* The loop may or may not be running: what it does not take in the meantime is taken here. */
void block_drain(struct block *b)
{
    struct pollfd bell = {.fd = b->bell, .events = POLLIN};
    for (;;) {
        loop_lock(b->loop);
        host_wait_clear(b->bell);
        collect(b);
        bool idle = atomic_load(&b->under_way) == 0;
        loop_unlock(b->loop);
        if (idle)
            return;
        (void)poll(&bell, 1, DRAIN_MS);
    }
}

/* Opening and closing */

static void stop_threads(struct block *b)
{
    pthread_mutex_lock(&b->lock);
    b->quit = true;
    pthread_cond_broadcast(&b->work);
    pthread_mutex_unlock(&b->lock);
    while (b->started)
        host_thread_join(b->threads[--b->started]);
}

static void release(struct block *b)
{
    stop_threads(b);
    uring_destroy(b->ring);
    host_close(b->bell);
    char path[256];
    (void)snprintf(path, sizeof(path), "%s", b->im->path);
    int status = image_close(b->im);
    if (status)
        log_msg(b->log, LOG_ERROR, "%s: could not be written to the end: %s", path, strerror(-status));
    (void)pthread_cond_destroy(&b->work);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

void block_close(struct block *b)
{
    if (!b)
        return;
    block_drain(b);
    loop_lock(b->loop);
    watch_remove(&b->watch);
    loop_unlock(b->loop);
    release(b);
}

static int start_ring(struct block *b, struct error *err)
{
    struct image_place place;
    if (b->cfg.aio == QUEUE_THREADS)
        return 0;
    int status = b->im->ops->map(b->im, 0, 0, false, &place);
    if (!status) {
        b->im->ops->unmap(b->im, place.pin);
        status = uring_create(place.file->fd, b->bell, &b->ring);
    }
    if (!status)
        return 0;
    if (b->cfg.aio == QUEUE_URING)
        return error_set(err, status, "%s: the host refuses io_uring: %s; give aio=threads or auto", b->im->path,
                         strerror(-status));
    log_msg(b->log, LOG_DEBUG, "%s: the host refuses io_uring (%s): threads do its work", b->im->path,
            strerror(-status));
    return 0;
}

static int start(struct block *b, struct error *err)
{
    if (b->bell < 0)
        return error_set(err, b->bell, "%s: no descriptor to wait with: %s", b->im->path, strerror(-b->bell));
    int status = start_ring(b, err);
    for (; !status && b->started < THREADS; b->started++) {
        status = host_thread_start(&b->threads[b->started], "disk", thread_run, b);
        if (status)
            return error_set(err, status, "%s: no thread to be had: %s", b->im->path, strerror(-status));
    }
    return status;
}

int queue_create(const struct queue_config *cfg, struct image *im, struct loop *loop, const struct log *log,
                 struct block **out, struct error *err)
{
    struct block *b = calloc(1, sizeof(*b));
    if (!b) {
        int status = error_set(err, -ENOMEM, "%s: out of memory", im->path);
        (void)image_close(im);
        return status;
    }
    *b = (struct block){.im = im, .cfg = *cfg, .log = log, .loop = loop, .bell = host_bell_create()};
    (void)pthread_mutex_init(&b->lock, NULL); /* these cannot fail without attributes */
    (void)pthread_cond_init(&b->work, NULL);
    list_init(&b->todo);
    list_init(&b->finished);
    int status = start(b, err);
    if (status) {
        release(b);
        return status;
    }
    loop_lock(loop);
    watch_add(&b->watch, loop, b->bell, POLLIN, bell_rang, b);
    loop_unlock(loop);
    *out = b;
    return 0;
}
