/*
 * Copies an image into a new one of another format: what is zero stays a hole (tool.h).
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/block/target.h"
#include "backend/block/tool.h"
#include "base/bits.h"

#define CHUNK   MiB(2)
#define GRANULE KiB(4) /* zeroes are looked for in pieces of this size, or of a cluster */

struct copy {
    const struct tool_copy *how;
    struct image *from, *to;
    u8 *buffer;
    u64 granule;
};

static bool is_zero(const u8 *p, u64 length)
{
    return !length || (!p[0] && memcmp(p, p + 1, length - 1) == 0);
}

static int write_part(struct copy *c, u64 offset, u8 *from, u64 length)
{
    struct iovec iov = {from, length};
    if (c->how->compress)
        return c->to->ops->write_compressed(c->to, offset, length, vec_of(&iov, 1));
    return c->to->ops->write(c->to, offset, length, vec_of(&iov, 1));
}

/* The pieces of a chunk that are not zero; those beside each other at once, unless each is compressed for itself. */
static int write_chunk(struct copy *c, u64 offset, u64 length)
{
    int status = 0;
    for (u64 at = 0, end; at < length && !status; at = end) {
        end = at;
        do {
            u64 n = length - end < c->granule ? length - end : c->granule;
            if (is_zero(c->buffer + end, n))
                break;
            end += n;
        } while (end < length && !c->how->compress);
        if (end > at)
            status = write_part(c, offset + at, c->buffer + at, end - at);
        else
            end = length - at < c->granule ? length : at + c->granule;
    }
    return status;
}

static int copy_chunk(struct copy *c, u64 offset, u64 length)
{
    struct iovec iov = {c->buffer, length};
    int status = c->from->ops->read(c->from, offset, length, vec_of(&iov, 1));
    return status ? status : write_chunk(c, offset, length);
}

/* How far it can go without reading: whole granules that are known to be zero. */
static int skip_zeroes(struct copy *c, u64 offset, u64 *skipped)
{
    enum image_kind kind;
    u64 run, size = c->from->size;
    int status = image_kind(c->from, offset, size - offset, &kind, &run);
    *skipped = 0;
    if (!status && kind != IMAGE_DATA)
        *skipped = offset + run == size ? run : align_down(run, c->granule);
    return status;
}

static bool go_on(const struct copy *c, u64 offset)
{
    return !c->how->progress || c->how->progress(c->how->opaque, offset, c->from->size);
}

/* `offset` is a multiple of the granule throughout. */
static int copy_all(struct copy *c, struct error *err)
{
    u64 size = c->from->size, offset = 0;
    int status = 0;
    while (offset < size && !status && go_on(c, offset)) {
        u64 step;
        status = skip_zeroes(c, offset, &step);
        if (!status && !step) {
            step = CHUNK - (offset & (CHUNK - 1));
            step = step < size - offset ? step : size - offset;
            status = copy_chunk(c, offset, step);
        }
        offset += step;
    }
    if (status)
        return error_set(err, status, "%s to %s: %s", c->how->from.path, c->how->to, strerror(-status));
    if (offset < size || !go_on(c, size))
        return error_set(err, -ECANCELED, "%s: given up; nothing is left of it", c->how->to);
    return 0;
}

/* The new image, empty, on a descriptor of its own. */
static int open_target(struct copy *c, const struct target *t, struct error *err)
{
    const struct tool_copy *how = c->how;
    struct tool_new new = {
        .path = how->to, .format = how->format, .size = c->from->size, .cluster_size = how->cluster_size};
    struct image_config cfg = {.path = how->to, .format = how->format};
    int fd = dup(t->fd);
    struct file *f = fd < 0 ? NULL : file_adopt(fd, false);
    if (!f) {
        if (fd >= 0)
            (void)close(fd);
        return error_set(err, -ENOMEM, "%s: out of memory or descriptors", how->to);
    }
    int status = tool_format(f, &new, NULL, err);
    if (status) {
        file_close(f);
        return status;
    }
    f->size = file_size_now(f);
    return image_open_file(&cfg, f, &c->to, err);
}

static int convert(struct copy *c, struct target *t, struct error *err)
{
    int status = open_target(c, t, err);
    if (status)
        return status;
    if (c->how->compress && !c->to->ops->write_compressed)
        status = error_set(err, -EINVAL, "%s: a raw image cannot be compressed; give --format qcow2", c->how->to);
    c->granule = c->to->cluster > GRANULE || c->how->compress ? c->to->cluster : GRANULE;
    if (!status)
        status = copy_all(c, err);
    int closed = image_close(c->to);
    if (!status && closed)
        status = error_set(err, closed, "%s: cannot be written: %s", c->how->to, strerror(-closed));
    return status;
}

int tool_convert(const struct tool_copy *how, struct error *err)
{
    struct copy c = {.how = how, .buffer = malloc(CHUNK)};
    struct target t;
    if (!c.buffer)
        return error_set(err, -ENOMEM, "%s: out of memory", how->to);
    int status = image_open(&how->from, &c.from, err);
    if (status) {
        free(c.buffer);
        return status;
    }
    status = target_begin(&t, how->to, how->force, err);
    if (!status) {
        status = convert(&c, &t, err);
        if (status)
            target_cancel(&t);
        else
            status = target_finish(&t, err);
    }
    (void)image_close(c.from); /* read-only: nothing to lose */
    free(c.buffer);
    return status;
}
