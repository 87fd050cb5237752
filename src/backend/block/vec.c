/*
 * Implements vec.h.
 */
#include "backend/block/vec.h"

#include <string.h>

#include "base/bits.h"

/* The next piece, no longer than `length`, and the place behind it. */
static bool next_piece(struct vec *v, u64 length, struct iovec *piece)
{
    while (v->count && v->iov->iov_len <= v->skip) {
        v->iov++;
        v->count--;
        v->skip = 0;
    }
    if (!v->count || !length)
        return false;
    size_t here = v->iov->iov_len - v->skip;
    piece->iov_base = (u8 *)v->iov->iov_base + v->skip;
    piece->iov_len = here < length ? here : (size_t)length;
    v->skip += piece->iov_len;
    return true;
}

struct vec vec_after(struct vec v, u64 length)
{
    for (struct iovec piece; next_piece(&v, length, &piece);)
        length -= piece.iov_len;
    return v;
}

unsigned vec_pieces(struct vec v, u64 length, struct iovec *out, unsigned max, u64 *covered)
{
    unsigned n = 0;
    *covered = 0;
    while (n < max && next_piece(&v, length - *covered, &out[n]))
        *covered += out[n++].iov_len;
    return n;
}

void vec_zero(struct vec v, u64 length)
{
    for (struct iovec piece; next_piece(&v, length, &piece); length -= piece.iov_len)
        memset(piece.iov_base, 0, piece.iov_len);
}

void vec_put(struct vec v, const void *from, u64 length)
{
    const u8 *p = from;
    for (struct iovec piece; next_piece(&v, length, &piece); length -= piece.iov_len) {
        memcpy(piece.iov_base, p, piece.iov_len);
        p += piece.iov_len;
    }
}

void vec_get(struct vec v, void *to, u64 length)
{
    u8 *p = to;
    for (struct iovec piece; next_piece(&v, length, &piece); length -= piece.iov_len) {
        memcpy(p, piece.iov_base, piece.iov_len);
        p += piece.iov_len;
    }
}

bool vec_aligned(struct vec v, u64 length, u32 align)
{
    for (struct iovec piece; next_piece(&v, length, &piece); length -= piece.iov_len)
        if (!is_aligned((uintptr_t)piece.iov_base | piece.iov_len, align))
            return false;
    return true;
}
