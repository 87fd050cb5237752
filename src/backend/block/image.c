/*
 * Opens images, by the format that was named or that the file's first bytes show, and the chain below them (image.h).
 */
#include "backend/block/image.h"

#include <stdlib.h>
#include <string.h>

/* Where a format's name stands in its files. All that QEMU would take a file for by its first sector. */
static const struct {
    const char *name;
    u32 at;
    u32 length;
    const char *bytes;
} magics[] = {
    {"qcow2", 0, 4, "QFI\xfb"},
    {"VMDK", 0, 4, "KDMV"},
    {"VMDK", 0, 4, "COWD"},
    {"VMDK", 0, 21, "# Disk DescriptorFile"},
    {"VHD", 0, 8, "conectix"},
    {"VHDX", 0, 8, "vhdxfile"},
    {"QED", 0, 4, "QED\0"},
    {"LUKS", 0, 6, "LUKS\xba\xbe"},
    {"VDI", 64, 4, "\x7f\x10\xda\xbe"},
    {"Parallels", 0, 16, "WithoutFreeSpace"},
    {"Parallels", 0, 16, "WithouFreSpacExt"},
    {"cloop", 0, 15, "#!/bin/sh\n#V2.0"},
    {"Bochs", 0, 20, "Bochs Virtual HD Ima"},
};

const char *image_magic(const u8 *head, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(magics); i++)
        if (magics[i].at + magics[i].length <= length &&
            memcmp(head + magics[i].at, magics[i].bytes, magics[i].length) == 0)
            return magics[i].name;
    return NULL;
}

bool image_format_find(const char *name, enum image_format *out)
{
    static const struct {
        const char *name;
        enum image_format format;
    } formats[] = {{"raw", IMAGE_RAW}, {"qcow2", IMAGE_QCOW2}};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        if (strcmp(formats[i].name, name) == 0) {
            *out = formats[i].format;
            return true;
        }
    return false;
}

int image_init(struct image *im, const struct image_ops *ops, const struct image_config *cfg)
{
    *im = (struct image){.ops = ops, .log = cfg->log, .read_only = cfg->read_only, .path = strdup(cfg->path)};
    return im->path ? 0 : -ENOMEM;
}

void image_fini(struct image *im)
{
    if (im->backing)
        (void)image_close(im->backing); /* read-only: nothing to lose */
    free(im->path);
}

int image_close(struct image *im)
{
    return im->ops->close(im);
}

/* By what the file begins with, where nobody named the format. A format that we do not have has to be meant as raw. */
static int detect(const struct image_config *cfg, struct file *file, enum image_format *format, struct error *err)
{
    u8 head[IMAGE_MAGIC_BYTES];
    int status = file_read_at(file, 0, head, sizeof(head));
    if (status)
        return error_set(err, status, "%s: cannot be read: %s", cfg->path, strerror(-status));
    const char *name = image_magic(head, sizeof(head));
    if (!name)
        *format = IMAGE_RAW;
    else if (strcmp(name, "qcow2") == 0)
        *format = IMAGE_QCOW2;
    else
        return error_set(
            err, -EINVAL,
            "%s: looks like %s, which ring3 does not have; convert it, or give format=raw to take its bytes "
            "as they are",
            cfg->path, name);
    return 0;
}

int image_open_file(const struct image_config *cfg, struct file *file, struct image **out, struct error *err)
{
    enum image_format format = cfg->format;
    int status = format == IMAGE_AUTO ? detect(cfg, file, &format, err) : 0;
    if (status) {
        file_close(file);
        return status;
    }
    if (format == IMAGE_QCOW2)
        return qcow2_open(cfg, file, out, err);
    return raw_open(cfg, file, cfg->format == IMAGE_AUTO && !file->read_only, out, err);
}

struct seen {
    dev_t dev;
    ino_t ino;
};

/* One image of the chain, without what is below it. `seen` are the files above: none may come twice. */
static int open_one(const struct image_config *cfg, struct seen *seen, unsigned depth, struct image **out,
                    struct error *err)
{
    struct file *file;
    unsigned flags = (cfg->read_only ? 0u : FILE_WRITE) | (cfg->direct ? FILE_DIRECT : 0u);
    int status = file_open(cfg->path, flags, &file, err);
    if (status)
        return status;
    for (unsigned i = 0; i < depth; i++)
        if (seen[i].dev == file->dev && seen[i].ino == file->ino) {
            file_close(file);
            return error_set(err, -ELOOP, "%s: is below itself; give another backing file", cfg->path);
        }
    seen[depth] = (struct seen){file->dev, file->ino};
    return image_open_file(cfg, file, out, err);
}

int image_open(const struct image_config *cfg, struct image **out, struct error *err)
{
    struct seen seen[IMAGE_CHAIN_MAX];
    struct image_config one = *cfg;
    struct image *top = NULL, **place = &top;
    int status = 0;

    if (cfg->backings >= IMAGE_CHAIN_MAX)
        return error_set(err, -ELOOP, "%s: more than %d images over one another", cfg->path, IMAGE_CHAIN_MAX);
    for (unsigned depth = 0; !status && depth <= cfg->backings; depth++) {
        one.backings = cfg->backings - depth;
        status = open_one(&one, seen, depth, place, err);
        if (status || depth == cfg->backings)
            break;
        place = &(*place)->backing;
        one = (struct image_config){
            .path = cfg->backing[depth], .read_only = true, .direct = cfg->direct, .log = cfg->log};
    }
    if (status && top)
        (void)image_close(top);
    if (!status)
        *out = top;
    return status;
}

int image_kind(struct image *im, u64 offset, u64 length, enum image_kind *kind, u64 *run)
{
    int status = im->ops->kind(im, offset, length, kind, run);
    if (status || *kind != IMAGE_ABSENT || !im->backing)
        return status;
    struct image *below = im->backing;
    if (offset >= below->size) {
        *kind = IMAGE_ZERO;
        return 0;
    }
    u64 there = below->size - offset;
    return image_kind(below, offset, there < *run ? there : *run, kind, run);
}
