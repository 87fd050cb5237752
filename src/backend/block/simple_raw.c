/*
 * A raw image, with host calls that the submitter waits for. Only `done` comes later, by the event loop. Enough to run
 * with until there is one that does not make the processor wait.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block/open.h"
#include "base/bits.h"
#include "event/loop.h"
#include "host/wait.h"

#define READ_ONLY ",readonly=on"

struct block {
    struct loop *loop;
    struct block_info info;
    char *path;
    int fd, bell;
    struct watch watch;
    pthread_mutex_t lock;
    struct list done; /* requests whose `done` is to be called; private[0] is the status */
};

static int move(const struct block *b, const struct block_request *r)
{
    u64 offset = r->offset;
    for (unsigned i = 0; i < r->iovs; i++) {
        u8 *at = r->iov[i].iov_base;
        for (size_t left = r->iov[i].iov_len; left;) {
            ssize_t n =
                r->op == BLOCK_READ ? pread(b->fd, at, left, (off_t)offset) : pwrite(b->fd, at, left, (off_t)offset);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 && errno == ENOSPC ? -ENOSPC : -EIO;
            at += n;
            left -= (size_t)n;
            offset += (u64)n;
        }
    }
    return 0;
}

static int zeroes(const struct block *b, const struct block_request *r)
{
    static const u8 page[4096];
    if (r->op == BLOCK_DISCARD || (r->flags & BLOCK_UNMAP))
        if (!fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->offset, (off_t)r->length))
            return 0;
    for (u64 done = 0, n; r->op == BLOCK_WRITE_ZEROES && done < r->length; done += n) {
        n = r->length - done < sizeof(page) ? r->length - done : sizeof(page);
        if (pwrite(b->fd, page, n, (off_t)(r->offset + done)) != (ssize_t)n)
            return -EIO;
    }
    return 0;
}

static int carry_out(const struct block *b, const struct block_request *r)
{
    int status = 0;
    if (!range_inside(r->offset, r->length, b->info.size))
        return -EINVAL;
    if (r->op != BLOCK_READ && r->op != BLOCK_FLUSH && b->info.read_only)
        return -EROFS;
    if (r->op == BLOCK_READ || r->op == BLOCK_WRITE)
        status = move(b, r);
    else if (r->op != BLOCK_FLUSH && r->length)
        status = zeroes(b, r);
    if (!status && (r->op == BLOCK_FLUSH || (r->flags & BLOCK_FUA)) && fdatasync(b->fd))
        status = -EIO;
    return status;
}

static struct block_request *done_take(struct block *b)
{
    struct block_request *r = NULL;
    pthread_mutex_lock(&b->lock);
    if (!list_empty(&b->done)) {
        r = container_of(b->done.next, struct block_request, node);
        list_remove(&r->node);
    }
    pthread_mutex_unlock(&b->lock);
    return r;
}

/* Machine lock held. */
static void tell_done(void *opaque, short revents)
{
    struct block *b = opaque;
    host_wait_clear(b->bell);
    for (struct block_request *r; (r = done_take(b));)
        r->done(r, (int)(i64)r->private[0]);
}

void block_submit(struct block *b, struct block_request *r)
{
    r->private[0] = (u64)(i64)carry_out(b, r);
    pthread_mutex_lock(&b->lock);
    list_insert(&b->done, &r->node);
    pthread_mutex_unlock(&b->lock);
    host_bell_ring(b->bell);
}

void block_info(const struct block *b, struct block_info *out)
{
    *out = b->info;
}

void block_drain(struct block *b)
{
    loop_lock(b->loop);
    tell_done(b, 0);
    loop_unlock(b->loop);
}

void block_close(struct block *b)
{
    if (!b)
        return;
    block_drain(b);
    loop_lock(b->loop);
    watch_remove(&b->watch);
    loop_unlock(b->loop);
    host_close(b->bell);
    (void)close(b->fd);
    pthread_mutex_destroy(&b->lock);
    free(b->path);
    free(b);
}

static int file_open(struct block *b, struct error *err)
{
    struct stat st;
    b->fd = open(b->path, (b->info.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (b->fd < 0 || fstat(b->fd, &st))
        return error_set(err, -errno, "cannot open the image: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "not a file; give the path of a disk image");
    if (flock(b->fd, (b->info.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB))
        return error_set(err, -EBUSY, "the image is in use by another process");
    b->info.size = align_down((u64)st.st_size, BLOCK_SECTOR);
    b->info.cluster = 4096;
    b->info.path = b->path;
    return 0;
}

int block_open(const char *spec, struct loop *loop, const struct log *log, struct block **out, struct error *err)
{
    size_t len = strlen(spec), tail = strlen(READ_ONLY);
    struct block *b = calloc(1, sizeof(*b));
    if (!b)
        return error_set(err, -ENOMEM, "out of memory");
    *b = (struct block){.loop = loop, .fd = -1, .bell = host_bell_create()};
    pthread_mutex_init(&b->lock, NULL);
    list_init(&b->done);
    b->info.read_only = len > tail && strcmp(spec + len - tail, READ_ONLY) == 0;
    b->path = strndup(spec, b->info.read_only ? len - tail : len);
    int status = b->path && b->bell >= 0 ? file_open(b, err) : error_set(err, -ENOMEM, "out of memory");
    if (status) {
        if (b->fd >= 0)
            (void)close(b->fd);
        host_close(b->bell);
        pthread_mutex_destroy(&b->lock);
        free(b->path);
        free(b);
        return status;
    }
    loop_lock(loop);
    watch_add(&b->watch, loop, b->bell, POLLIN, tell_done, b);
    loop_unlock(loop);
    *out = b;
    return 0;
}
