/*
 * Streams (stream.h).
 *
 * Invariants: the ring holds `used` bytes from `head` on; the out watch wants POLLOUT exactly while used > 0 and the
 * descriptor works; the in watch wants POLLIN exactly while the receiver has room and input has not ended.
 */
#include "backend/char/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/char/chardev.h"
#include "event/loop.h"

#define RING_SIZE        KiB(256)
#define READ_MAX         4096
#define POLLED_WRITE_MAX 256 /* what a terminal takes after it said POLLOUT */
#define FLUSH_NS         500000000

struct stream {
    struct chardev cd;
    struct char_host host;
    char *who, *path;
    int in, out;
    enum stream_write how;
    int owned[2];
    struct watch in_watch, out_watch;
    u8 *ring;
    size_t head, used;
    bool dropping; /* since the ring was last empty */
    bool ended;    /* there will be no more input */
};

static struct stream *stream_of(struct chardev *cd)
{
    return container_of(cd, struct stream, cd);
}

static ssize_t write_polled(int fd, const u8 *buf, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, buf, len < POLLED_WRITE_MAX ? len : POLLED_WRITE_MAX);
}

/* Bytes written, 0 if the host takes none now, or a negative errno value. */
static ssize_t host_write(const struct stream *s, const u8 *buf, size_t len)
{
    ssize_t n;
    do {
        if (s->how == STREAM_SOCKET)
            n = send(s->out, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (s->how == STREAM_POLLED)
            n = write_polled(s->out, buf, len);
        else
            n = write(s->out, buf, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    return n;
}

static void tell_end(const struct stream *s)
{
    if (s->ended && s->cd.rx.ended)
        s->cd.rx.ended(s->cd.rx.opaque);
}

/* Nobody reads any more, or the disk is full: say so once and go on without output. */
static void output_failed(struct stream *s, int status)
{
    log_msg(s->host.log, LOG_WARN, "%s: output ends: %s", s->who, strerror(-status));
    watch_remove(&s->out_watch);
    s->used = 0;
    s->out = -1;
    if (s->in < 0) { /* and that is all there was to it */
        s->ended = true;
        tell_end(s);
    }
}

static size_t write_some(struct stream *s, const u8 *buf, size_t len)
{
    size_t done = 0;
    while (done < len && s->out >= 0) {
        ssize_t n = host_write(s, buf + done, len - done);
        if (n < 0)
            output_failed(s, (int)n);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

static void ring_put(struct stream *s, const u8 *buf, size_t len)
{
    size_t room = RING_SIZE - s->used;
    if (len > room) {
        if (!s->dropping)
            log_msg(s->host.log, LOG_WARN, "%s: the reader is too slow: output is being dropped", s->who);
        s->dropping = true;
        len = room;
    }
    for (size_t done = 0; done < len;) {
        size_t at = (s->head + s->used) % RING_SIZE;
        size_t n = len - done < RING_SIZE - at ? len - done : RING_SIZE - at;
        memcpy(s->ring + at, buf + done, n);
        s->used += n;
        done += n;
    }
}

static void ring_drain(struct stream *s)
{
    while (s->used) {
        size_t n = s->used < RING_SIZE - s->head ? s->used : RING_SIZE - s->head;
        size_t done = write_some(s, s->ring + s->head, n);
        if (!done)
            return;
        s->head = (s->head + done) % RING_SIZE;
        s->used -= done;
    }
    s->dropping = false;
}

static void out_ready(void *opaque, short revents)
{
    struct stream *s = opaque;
    ring_drain(s);
    if (s->used)
        return;
    watch_set(&s->out_watch, 0);
    if (s->cd.rx.caught_up)
        s->cd.rx.caught_up(s->cd.rx.opaque);
}

static bool stream_is_behind(struct chardev *cd)
{
    return stream_of(cd)->used != 0;
}

static void stream_wait(struct chardev *cd)
{
    struct stream *s = stream_of(cd);
    while (s->used) {
        struct pollfd p = {.fd = s->out, .events = POLLOUT};
        (void)poll(&p, 1, -1);
        ring_drain(s);
    }
}

static void stream_write(struct chardev *cd, const u8 *buf, size_t len)
{
    struct stream *s = stream_of(cd);
    size_t done = s->used ? 0 : write_some(s, buf, len);
    if (done == len || s->out < 0)
        return;
    ring_put(s, buf + done, len - done);
    watch_set(&s->out_watch, POLLOUT);
}

/* Input in steps of what the receiver takes. Returns false when there is nothing more to read now. */
static bool read_some(struct stream *s)
{
    u8 buf[READ_MAX];
    size_t room = chardev_room(&s->cd);
    if (!room) {
        watch_set(&s->in_watch, 0); /* until char_kick */
        return false;
    }
    ssize_t n = read(s->in, buf, room < sizeof(buf) ? room : sizeof(buf));
    if (n > 0) {
        chardev_receive(&s->cd, s->host.loop, buf, (size_t)n);
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) { /* end of file, or the terminal is gone */
        watch_remove(&s->in_watch);
        s->in = -1;
        s->ended = true;
        tell_end(s);
    }
    return false;
}

/* One read for each report: the descriptor may be a shared one that blocks. */
static void in_ready(void *opaque, short revents)
{
    (void)read_some(opaque);
}

static void stream_kick(struct chardev *cd)
{
    struct stream *s = stream_of(cd);
    if (s->in >= 0)
        watch_set(&s->in_watch, chardev_room(cd) ? POLLIN : 0);
    tell_end(s);
}

/* Gives what is still buffered a little time, as the last words of a guest tend to be the interesting ones. */
static void stream_flush(struct stream *s)
{
    struct timespec pause = {.tv_nsec = FLUSH_NS / 100};
    for (unsigned i = 0; i < 100 && s->used; i++) {
        ring_drain(s);
        if (s->used)
            (void)nanosleep(&pause, NULL);
    }
}

static void stream_destroy(struct chardev *cd)
{
    struct stream *s = stream_of(cd);
    if (s->out >= 0)
        stream_flush(s);
    watch_remove(&s->in_watch);
    watch_remove(&s->out_watch);
    for (size_t i = 0; i < ARRAY_SIZE(s->owned); i++)
        if (s->owned[i] >= 0)
            (void)close(s->owned[i]);
    free(s->ring);
    free(s->path);
    free(s->who);
    free(s);
}

int stream_open_file(const char *path, int create)
{
    int fd = open(path, O_WRONLY | O_APPEND | create | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
    return fd < 0 ? -errno : fd;
}

static int stream_start(struct chardev *cd, struct error *err)
{
    struct stream *s = stream_of(cd);
    if (!s->path || s->out >= 0)
        return 0;
    int fd = stream_open_file(s->path, O_CREAT | O_TRUNC);
    if (fd < 0)
        return error_set(err, fd, "%s: cannot write to the file: %s", s->who, strerror(-fd));
    s->out = s->owned[0] = fd;
    watch_add(&s->out_watch, s->host.loop, s->out, 0, out_ready, s);
    return 0;
}

static const struct char_ops stream_ops = {.write = stream_write,
                                           .kick = stream_kick,
                                           .is_behind = stream_is_behind,
                                           .flush = stream_wait,
                                           .start = stream_start,
                                           .destroy = stream_destroy};

struct chardev *stream_create(const struct stream_config *cfg)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (!s) {
        for (size_t i = 0; i < ARRAY_SIZE(cfg->owned); i++)
            if (cfg->owned[i] >= 0)
                (void)close(cfg->owned[i]);
        return NULL;
    }
    *s = (struct stream){.cd.ops = &stream_ops,
                         .host = cfg->host,
                         .who = strdup(cfg->who),
                         .path = cfg->path ? strdup(cfg->path) : NULL,
                         .in = cfg->in,
                         .out = cfg->out,
                         .how = cfg->how,
                         .owned = {cfg->owned[0], cfg->owned[1]},
                         .ring = malloc(RING_SIZE)};
    if (!s->ring || !s->who || (cfg->path && !s->path)) {
        stream_destroy(&s->cd);
        return NULL;
    }
    if (s->in >= 0)
        watch_add(&s->in_watch, cfg->host.loop, s->in, 0, in_ready, s);
    if (s->out >= 0)
        watch_add(&s->out_watch, cfg->host.loop, s->out, 0, out_ready, s);
    return &s->cd;
}
