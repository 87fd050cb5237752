#include "volume/volume.h"

int volume_read(const struct volume *v, u64 offset, void *to, size_t length)
{
    if (!range_inside(offset, length, v->size))
        return -EIO;
    return length ? v->read(v->opaque, v->start + offset, to, length) : 0;
}

struct volume volume_part(const struct volume *v, u64 start, u64 size)
{
    struct volume part = *v;
    if (start > v->size)
        start = v->size;
    part.start = v->start + start;
    part.size = size < v->size - start ? size : v->size - start;
    return part;
}
