/*
 * Raw images: the disk's bytes are the file's (image.h).
 *
 * A file whose size is no multiple of the sector counts as padded with zeroes to one; it grows if the guest writes
 * there.
 */
#include <stdlib.h>

#include "backend/block/block.h"
#include "backend/block/image.h"
#include "base/bits.h"

struct raw {
    struct image im;
    struct file *file;
    bool guarded;
    struct log_limit refused;
};

static struct raw *raw_of(struct image *im)
{
    return container_of(im, struct raw, im);
}

static int raw_read(struct image *im, u64 offset, u64 length, struct vec v)
{
    return file_read(raw_of(im)->file, offset, length, v);
}

/*
 * The first sector of an image that was taken for raw by its looks. A guest that could make it look like another format
 * would have the next machine read whatever host file it names there. The bytes are copied before they are judged, as
 * the guest may change its memory meanwhile.
 */
static int write_head(struct raw *r, u64 offset, u64 length, struct vec v)
{
    u8 head[IMAGE_MAGIC_BYTES];
    int status = file_read_at(r->file, 0, head, sizeof(head));
    if (status)
        return status;
    vec_get(v, head + offset, length);
    const char *name = image_magic(head, sizeof(head));
    if (name) {
        log_limited(r->im.log, &r->refused, LOG_WARN,
                    "%s: the guest may not make a raw image look like %s; give format=raw to allow it", r->im.path,
                    name);
        return -EIO;
    }
    return file_write_at(r->file, offset, head + offset, length);
}

static int raw_write(struct image *im, u64 offset, u64 length, struct vec v)
{
    struct raw *r = raw_of(im);
    if (r->guarded && offset < IMAGE_MAGIC_BYTES) {
        u64 n = IMAGE_MAGIC_BYTES - offset < length ? IMAGE_MAGIC_BYTES - offset : length;
        int status = write_head(r, offset, n, v);
        if (status || n == length)
            return status;
        v = vec_after(v, n);
        offset += n;
        length -= n;
    }
    return file_write(r->file, offset, length, v);
}

static int raw_zero(struct image *im, u64 offset, u64 length, bool unmap)
{
    return file_zero(raw_of(im)->file, offset, length, unmap);
}

static int raw_discard(struct image *im, u64 offset, u64 length)
{
    file_punch(raw_of(im)->file, offset, length);
    return 0;
}

static int raw_flush(struct image *im)
{
    return im->read_only ? 0 : file_sync(raw_of(im)->file);
}

static int raw_map(struct image *im, u64 offset, u64 length, bool write, struct image_place *out)
{
    struct raw *r = raw_of(im);
    if (write && r->guarded && offset < IMAGE_MAGIC_BYTES)
        return -EAGAIN;
    *out = (struct image_place){.file = r->file, .offset = offset};
    return 0;
}

static void raw_unmap(struct image *im, u32 pin)
{
}

static int raw_kind(struct image *im, u64 offset, u64 length, enum image_kind *kind, u64 *run)
{
    bool hole;
    *run = file_run(raw_of(im)->file, offset, length, &hole);
    *kind = hole ? IMAGE_ZERO : IMAGE_DATA;
    return 0;
}

static int raw_close(struct image *im)
{
    struct raw *r = raw_of(im);
    int status = raw_flush(im);
    file_close(r->file);
    image_fini(im);
    free(r);
    return status;
}

static const struct image_ops raw_ops = {
    .format = "raw",
    .read = raw_read,
    .write = raw_write,
    .zero = raw_zero,
    .discard = raw_discard,
    .flush = raw_flush,
    .map = raw_map,
    .unmap = raw_unmap,
    .kind = raw_kind,
    .close = raw_close,
};

static int check(const struct image_config *cfg, const struct file *f, struct error *err)
{
    if (cfg->backings)
        return error_set(err, -EINVAL, "%s: is a raw image, which has nothing below it; leave out backing=", cfg->path);
    if (f->size > align_down(INT64_MAX, BLOCK_SECTOR))
        return error_set(err, -EFBIG, "%s: is larger than 2^63 bytes", cfg->path);
    if (f->align && !f->read_only && !is_aligned(f->size, f->align))
        return error_set(err, -EINVAL, "%s: its size is no multiple of %u, which cache=none needs here", cfg->path,
                         f->align);
    return 0;
}

int raw_open(const struct image_config *cfg, struct file *file, bool guarded, struct image **out, struct error *err)
{
    int status = check(cfg, file, err);
    struct raw *r = status ? NULL : calloc(1, sizeof(*r));
    if (!r || image_init(&r->im, &raw_ops, cfg)) {
        file_close(file);
        free(r);
        return status ? status : error_set(err, -ENOMEM, "%s: out of memory", cfg->path);
    }
    r->file = file;
    r->im.size = align_up(file->size, BLOCK_SECTOR);
    r->im.cluster = file->align ? file->align : BLOCK_SECTOR;
    r->guarded = guarded;
    *out = &r->im;
    return 0;
}
