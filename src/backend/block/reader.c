/* A look into a disk (open.h). */
#include <stdlib.h>

#include "backend/block/open.h"
#include "backend/block/spec.h"

struct block_reader {
    struct image *image;
};

int block_reader_open(const char *spec, const struct log *log, struct block_reader **out, struct error *err)
{
    struct spec s;
    struct block_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(err, -ENOMEM, "out of memory");
    int status = spec_parse(spec, &s, err);
    s.image.log = log;
    s.image.read_only = true;
    if (!status)
        status = image_open(&s.image, &r->image, err);
    spec_free(&s);
    if (status) {
        free(r);
        return status;
    }
    *out = r;
    return 0;
}

u64 block_reader_size(const struct block_reader *r)
{
    return r->image->size;
}

int block_reader_read(void *reader, u64 offset, void *to, size_t length)
{
    struct block_reader *r = reader;
    struct iovec iov = {to, length};
    if (!image_inside(r->image, offset, length))
        return -EIO;
    return r->image->ops->read(r->image, offset, length, vec_of(&iov, 1));
}

void block_reader_close(struct block_reader *r)
{
    (void)image_close(r->image); /* read-only: nothing to lose */
    free(r);
}
