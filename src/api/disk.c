/*
 * The disk images of ring3.h, on top of backend/block/tool.h.
 */
#include <stdio.h>
#include <string.h>

#include "backend/block/tool.h"
#include "base/bits.h"
#include "ring3.h"

_Static_assert(RING3_DISK_BACKING_MAX == IMAGE_CHAIN_MAX - 1, "as many as image_open takes");

/* What the host lacks, and what is wrong with what was asked for. */
static int finish(struct ring3_error *out, int status, const struct error *err)
{
    static const int host[] = {-ENOMEM, -EMFILE, -ENFILE, -EAGAIN, -ENOSPC, -EDQUOT, -EIO, -ECANCELED};
    if (!status)
        return RING3_OK;
    if (out)
        (void)snprintf(out->text, sizeof(out->text), "%s", err->text);
    for (size_t i = 0; i < ARRAY_SIZE(host); i++)
        if (status == host[i])
            return RING3_FAILED;
    return RING3_BAD_INPUT;
}

static int find_format(const char *path, const char *name, enum image_format *out, struct error *err)
{
    *out = IMAGE_AUTO;
    if (!name || image_format_find(name, out))
        return 0;
    return error_set(err, -EINVAL, "%s: %s: no such format; give raw or qcow2", path, name);
}

static int find_image(const struct ring3_disk_image *image, struct image_config *cfg, struct error *err)
{
    *cfg = (struct image_config){.path = image->path, .backing = image->backing, .backings = image->backings};
    return find_format(image->path, image->format, &cfg->format, err);
}

int ring3_disk_create(const struct ring3_disk_new *how, struct ring3_error *err)
{
    struct error why = {0};
    struct tool_new new = {
        .path = how->path,
        .size = how->size,
        .size_of_backing = how->size_of_backing,
        .cluster_size = how->cluster_size,
        .backing = how->backing,
        .force = how->force,
    };
    int status = find_format(how->path, how->format, &new.format, &why);
    if (!status)
        status = tool_create(&new, &why);
    return finish(err, status, &why);
}

int ring3_disk_info(const struct ring3_disk_image *image, struct ring3_disk_info *out, struct ring3_error *err)
{
    struct error why = {0};
    struct image_config cfg;
    struct tool_info info;
    int status = find_image(image, &cfg, &why);
    if (!status)
        status = tool_info(&cfg, &info, &why);
    if (status)
        return finish(err, status, &why);
    const struct qcow2_header *h = &info.header;
    *out = (struct ring3_disk_info){.format = info.format, .size = info.size, .allocated = info.allocated};
    if (!info.qcow2)
        return RING3_OK;
    out->version = h->version;
    out->cluster_size = BIT(h->cluster_bits);
    out->refcount_bits = BIT(h->refcount_order);
    out->compression = h->compression == QCOW2_ZSTD ? "zstd" : "zlib";
    out->snapshots = h->snapshots;
    out->bitmaps = h->bitmaps;
    out->dirty = h->incompatible & QCOW2_INCOMPAT_DIRTY;
    out->corrupt = h->incompatible & QCOW2_INCOMPAT_CORRUPT;
    out->lazy_refcounts = h->compatible & QCOW2_COMPAT_LAZY_REFCOUNTS;
    (void)snprintf(out->backing, sizeof(out->backing), "%s", h->backing);
    (void)snprintf(out->backing_format, sizeof(out->backing_format), "%s", h->backing_format);
    return RING3_OK;
}

int ring3_disk_check(const struct ring3_disk_image *image, enum ring3_disk_repair repair, ring3_line_fn *report,
                     void *opaque, struct ring3_disk_check *out, struct ring3_error *err)
{
    struct error why = {0};
    struct image_config cfg;
    struct qcow2_result result;
    int status = find_image(image, &cfg, &why);
    if (!status)
        status = tool_check(&cfg, (enum qcow2_repair)repair, report, opaque, &result, &why);
    if (status)
        return finish(err, status, &why);
    *out = (struct ring3_disk_check){
        .errors = result.errors,
        .leaks = result.leaks,
        .repaired = result.repaired,
        .used = result.used,
        .compressed = result.packed,
    };
    return RING3_OK;
}

int ring3_disk_convert(const struct ring3_disk_copy *how, struct ring3_error *err)
{
    struct error why = {0};
    struct tool_copy copy = {
        .to = how->to,
        .cluster_size = how->cluster_size,
        .compress = how->compress,
        .force = how->force,
        .progress = how->progress,
        .opaque = how->opaque,
    };
    int status = find_image(&how->from, &copy.from, &why);
    copy.from.read_only = true;
    if (!status)
        status = find_format(how->to, how->format, &copy.format, &why);
    if (!status)
        status = tool_convert(&copy, &why);
    return finish(err, status, &why);
}

int ring3_disk_resize(const struct ring3_disk_size *how, struct ring3_error *err)
{
    struct error why = {0};
    struct image_config cfg;
    int status = find_image(&how->image, &cfg, &why);
    if (!status)
        status = tool_resize(&cfg, how->size, how->grow_by, how->shrink, &why);
    return finish(err, status, &why);
}
