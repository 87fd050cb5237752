/*
 * Implements tool.h but for conversion.
 */
#include "backend/block/tool.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block/block.h"
#include "backend/block/target.h"
#include "base/bits.h"

#define CLUSTER_PRESET KiB(64)

int tool_format(struct file *f, const struct tool_new *how, const char *backing_format, struct error *err)
{
    if (how->format == IMAGE_RAW) {
        int status = file_resize(f, how->size);
        return status ? error_set(err, status, "%s: cannot be made so large: %s", how->path, strerror(-status)) : 0;
    }
    struct qcow2_new new = {
        .size = how->size,
        .cluster_bits = (u32)__builtin_ctzll(how->cluster_size ? how->cluster_size : CLUSTER_PRESET),
        .backing = how->backing,
        .backing_format = backing_format,
    };
    return qcow2_create(f, how->path, &new, err);
}

static int check_new(const struct tool_new *how, struct error *err)
{
    if (how->cluster_size && (!is_power_of_two(how->cluster_size) || how->cluster_size < BIT(QCOW2_BITS_MIN) ||
                              how->cluster_size > BIT(QCOW2_BITS_MAX)))
        return error_set(err, -EINVAL, "%s: clusters of %u bytes are not possible; give a power of two, 512 to 2M",
                         how->path, how->cluster_size);
    if (how->format == IMAGE_RAW && (how->backing || how->cluster_size))
        return error_set(err, -EINVAL, "%s: a raw image has neither clusters nor a backing file; give --format qcow2",
                         how->path);
    if (!is_aligned(how->size, BLOCK_SECTOR) || how->size > align_down(INT64_MAX, BLOCK_SECTOR))
        return error_set(err, -EINVAL, "%s: the size has to be a multiple of %d bytes below 2^63", how->path,
                         BLOCK_SECTOR);
    return 0;
}

/* QEMU looks for a relative name from the image's folder on, we were given one from the working directory on. */
static char *backing_name(const char *path, const char *backing)
{
    char *copy = strdup(path);
    bool here = copy && strcmp(dirname(copy), ".") == 0;
    free(copy);
    return backing[0] == '/' || here ? strdup(backing) : realpath(backing, NULL);
}

/* The image below a new one has to be there, and says how large it is. */
static int look_below(struct tool_new *how, const char **format, struct error *err)
{
    struct image_config cfg = {.path = how->backing, .read_only = true, .metadata = true};
    struct image *im;
    int status = image_open(&cfg, &im, err);
    if (status)
        return status;
    if (how->size_of_backing)
        how->size = im->size;
    *format = im->ops->format;
    return image_close(im);
}

static int create_at(struct target *t, const struct tool_new *how, const char *backing_format, struct error *err)
{
    int fd = dup(t->fd);
    struct file *f = fd < 0 ? NULL : file_adopt(fd, false);
    if (!f) {
        if (fd >= 0)
            (void)close(fd);
        target_cancel(t);
        return error_set(err, -ENOMEM, "%s: out of memory or descriptors", how->path);
    }
    int status = tool_format(f, how, backing_format, err);
    file_close(f);
    if (!status)
        return target_finish(t, err);
    target_cancel(t);
    return status;
}

int tool_create(const struct tool_new *how, struct error *err)
{
    struct tool_new new = *how;
    const char *backing_format = "";
    struct target t;
    char *name = NULL;
    int status = how->backing ? look_below(&new, &backing_format, err) : 0;
    if (!status)
        status = check_new(&new, err);
    if (status)
        return status;
    if (how->backing) {
        new.backing = name = backing_name(how->path, how->backing);
        if (!name)
            return error_set(err, -errno, "%s: %s", how->backing, strerror(errno));
    }
    status = target_begin(&t, how->path, how->force, err);
    if (!status)
        status = create_at(&t, &new, backing_format, err);
    free(name);
    return status;
}

static u64 allocated(const char *path)
{
    struct stat st;
    return stat(path, &st) ? 0 : (u64)st.st_blocks * 512;
}

int tool_info(const struct image_config *cfg, struct tool_info *out, struct error *err)
{
    struct image_config look = *cfg;
    struct image *im;
    look.read_only = look.metadata = true;
    int status = image_open(&look, &im, err);
    if (status)
        return status;
    *out = (struct tool_info){.format = im->ops->format, .size = im->size, .allocated = allocated(cfg->path)};
    out->qcow2 = im->ops == &qcow2_ops;
    if (out->qcow2)
        out->header = qcow2_of(im)->h;
    return image_close(im);
}

int tool_check(const struct image_config *cfg, enum qcow2_repair repair, qcow2_report_fn *report, void *opaque,
               struct qcow2_result *out, struct error *err)
{
    struct image_config look = *cfg;
    struct image *im;
    look.read_only = repair == QCOW2_REPAIR_NONE;
    look.metadata = true;
    int status = image_open(&look, &im, err);
    if (status)
        return status;
    if (im->ops != &qcow2_ops)
        status = error_set(err, -EINVAL, "%s: is a raw image, in which there is nothing to check", cfg->path);
    else
        status = qcow2_check(im, repair, report, opaque, out, err);
    int closed = image_close(im);
    return status ? status : closed;
}

/* The size that is meant, checked. */
static int new_size(const struct image *im, u64 *size, bool grow_by, bool shrink, struct error *err)
{
    if (grow_by && __builtin_add_overflow(*size, im->size, size))
        *size = UINT64_MAX;
    if (*size > align_down(INT64_MAX, BLOCK_SECTOR) || !is_aligned(*size, BLOCK_SECTOR))
        return error_set(err, -EINVAL, "%s: the size has to be a multiple of %d bytes below 2^63", im->path,
                         BLOCK_SECTOR);
    if (*size < im->size && !shrink)
        return error_set(err, -EINVAL, "%s: would lose what lies behind the new end; give --shrink if that is meant",
                         im->path);
    return 0;
}

static int resize_raw(struct image *im, u64 size, struct error *err)
{
    struct image_place place;
    int status = im->ops->map(im, 0, 0, false, &place); /* of a raw image: its file, at once */
    if (!status && place.file->device)
        return error_set(err, -EINVAL, "%s: is no regular file; its size is not ring3's to change", im->path);
    if (!status)
        status = file_resize(place.file, size);
    return status ? error_set(err, status, "%s: cannot be changed: %s", im->path, strerror(-status)) : 0;
}

int tool_resize(const struct image_config *cfg, u64 size, bool grow_by, bool shrink, struct error *err)
{
    struct image *im;
    int status = image_open(cfg, &im, err);
    if (status)
        return status;
    status = new_size(im, &size, grow_by, shrink, err);
    if (!status)
        status = im->ops == &qcow2_ops ? qcow2_resize(im, size, err) : resize_raw(im, size, err);
    int closed = image_close(im);
    if (!status && closed)
        status = error_set(err, closed, "%s: cannot be written: %s", cfg->path, strerror(-closed));
    return status;
}
