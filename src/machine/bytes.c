/* See bytes.h. */
#include "machine/bytes.h"

#include <stdlib.h>
#include <string.h>

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

u8 *bytes_grow(struct bytes *b, size_t len)
{
    if (b->failed || len > SIZE_MAX / 4 - b->size) {
        b->failed = true;
        return NULL;
    }
    if (!len)
        return b->data;
    if (b->size + len > b->capacity) {
        size_t capacity = 2 * (b->size + len) + 256;
        u8 *data = realloc(b->data, capacity);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->capacity = capacity;
    }
    u8 *p = b->data + b->size;
    memset(p, 0, len);
    b->size += len;
    return p;
}

void bytes_add(struct bytes *b, const void *data, size_t len)
{
    u8 *p = bytes_grow(b, len);

    if (p && len)
        memcpy(p, data, len);
}

void bytes_align(struct bytes *b, size_t power_of_two)
{
    bytes_grow(b, (size_t)align_up(b->size, power_of_two) - b->size);
}

void bytes_insert(struct bytes *b, size_t at, size_t len)
{
    size_t tail = b->size - at;

    if (!bytes_grow(b, len))
        return;
    memmove(b->data + at + len, b->data + at, tail);
    memset(b->data + at, 0, len);
}

void bytes_u8(struct bytes *b, u8 v)
{
    bytes_add(b, &v, sizeof(v));
}

void bytes_u16(struct bytes *b, u16 v)
{
    bytes_add(b, &v, sizeof(v));
}

void bytes_u32(struct bytes *b, u32 v)
{
    bytes_add(b, &v, sizeof(v));
}

void bytes_u64(struct bytes *b, u64 v)
{
    bytes_add(b, &v, sizeof(v));
}

void bytes_patch(struct bytes *b, size_t at, u64 value, unsigned size)
{
    if (!b->failed && range_inside(at, size, b->size))
        memcpy(b->data + at, &value, size);
}

u8 checksum8(const u8 *p, size_t len)
{
    u8 sum = 0;

    while (len--)
        sum += *p++;
    return (u8)-sum;
}
