/*
 * Compressed clusters: raw deflate with a window of 4 KiB, or zstd (qcow2.h).
 *
 * A guest reads them in small pieces, so the last few are kept unpacked, by their entry. An entry means the same bytes
 * until its clusters are reused; qcow2_forget_packed is called before that may happen.
 */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "backend/block/qcow2.h"
#include "base/bits.h"

#define WINDOW (-12) /* log2 of the window; negative: without zlib's header */

/* Exactly `to_size` bytes have to come out; what follows them in `from` is none of theirs. */
static bool inflate_cluster(u8 *from, size_t from_size, u8 *to, size_t to_size)
{
    z_stream z = {.next_in = from, .avail_in = (uInt)from_size, .next_out = to, .avail_out = (uInt)to_size};
    if (inflateInit2(&z, -15) != Z_OK) /* any window that there is */
        return false;
    int status = inflate(&z, Z_FINISH);
    (void)inflateEnd(&z);
    return (status == Z_STREAM_END || status == Z_BUF_ERROR) && !z.avail_out;
}

static bool zstd_cluster(u8 *from, size_t from_size, u8 *to, size_t to_size)
{
    ZSTD_inBuffer in = {from, from_size, 0};
    ZSTD_outBuffer out = {to, to_size, 0};
    ZSTD_DStream *z = ZSTD_createDStream();
    size_t status = 1;
    while (z && status && !ZSTD_isError(status) && out.pos < out.size) {
        size_t before = in.pos + out.pos;
        status = ZSTD_decompressStream(z, &out, &in);
        if (in.pos + out.pos == before)
            break;
    }
    (void)ZSTD_freeDStream(z);
    return z && !ZSTD_isError(status) && out.pos == out.size;
}

static int unpack(struct qcow2 *q, u64 entry, u8 *to)
{
    u64 offset, length;
    qcow2_packed_place(q, entry, &offset, &length);
    u8 *packed = malloc(length);
    if (!packed)
        return -ENOMEM;
    int status = file_read_at(q->file, offset, packed, length);
    if (!status) {
        bool good = q->h.compression == QCOW2_ZSTD ? zstd_cluster(packed, length, to, q->cluster_size)
                                                   : inflate_cluster(packed, length, to, q->cluster_size);
        if (!good)
            status = qcow2_damage(q, "a compressed cluster cannot be unpacked", entry);
    }
    free(packed);
    return status;
}

int qcow2_read_packed(struct qcow2 *q, u64 entry, u64 within, u64 length, struct vec v)
{
    struct qcow2_unpacked *at = &q->unpacked[0];
    int status = 0;
    pthread_mutex_lock(&q->unpack_lock);
    for (size_t i = 0; i < QCOW2_UNPACKED && at->entry != entry; i++)
        if (q->unpacked[i].entry == entry || q->unpacked[i].used < at->used)
            at = &q->unpacked[i];
    if (!at->data)
        at->data = malloc(q->cluster_size);
    if (!at->data) {
        status = -ENOMEM;
    } else if (at->entry != entry) {
        at->entry = 0;
        status = unpack(q, entry, at->data);
        at->entry = status ? 0 : entry;
    }
    at->used = ++q->unpack_clock;
    if (!status)
        vec_put(v, at->data + within, length);
    pthread_mutex_unlock(&q->unpack_lock);
    return status;
}

void qcow2_forget_packed(struct qcow2 *q)
{
    pthread_mutex_lock(&q->unpack_lock);
    for (size_t i = 0; i < QCOW2_UNPACKED; i++)
        q->unpacked[i].entry = 0;
    pthread_mutex_unlock(&q->unpack_lock);
}

/* Writing, for `ring3 disk convert`: clusters come one after the other, and each begins where the last one ended. */

/* The length, 0 if it does not get shorter. */
static size_t deflate_cluster(u8 *from, size_t size, u8 *to)
{
    z_stream z = {.next_in = from, .avail_in = (uInt)size, .next_out = to, .avail_out = (uInt)size - 1};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    int status = deflate(&z, Z_FINISH);
    (void)deflateEnd(&z);
    return status == Z_STREAM_END ? size - 1 - z.avail_out : 0;
}

static size_t pack(const struct qcow2 *q, u8 *from, u8 *to)
{
    if (q->h.compression != QCOW2_ZSTD)
        return deflate_cluster(from, q->cluster_size, to);
    size_t size = ZSTD_compress(to, q->cluster_size - 1, from, q->cluster_size, ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(size) ? 0 : size;
}

/* Where `size` bytes go: behind the last ones, also across into a cluster that lies beside; else into a new one. */
static int find_room(struct qcow2 *q, size_t size, u64 *offset)
{
    u64 mask = q->cluster_size - 1, room = q->packed & mask ? q->cluster_size - (q->packed & mask) : 0, first, got;
    u64 last = q->packed >> q->h.cluster_bits;
    bool fresh;
    int status;
    if (room >= size) {
        *offset = q->packed;
        status = qcow2_refcount_add(q, last, 1);
    } else {
        status = qcow2_alloc(q, 1, &first, &got, &fresh);
        bool across = !status && room && first == last + 1 && !qcow2_refcount_add(q, last, 1);
        *offset = across ? q->packed : first << q->h.cluster_bits;
    }
    if (!status)
        q->packed = *offset + size;
    return status;
}

static int store_packed(struct qcow2 *q, u64 offset, const u8 *data, size_t size)
{
    u64 host, old;
    unsigned x = 62 - (q->h.cluster_bits - 8);
    int status = qcow2_commit_some(q);
    if (!status)
        status = qcow2_own_table(q, offset);
    if (!status)
        status = qcow2_get_entry(q, offset, &old);
    if (!status)
        status = find_room(q, size, &host);
    if (!status && host >> x)
        status = -EFBIG;
    if (!status)
        status = file_write_at(q->file, host, data, size);
    if (status)
        return status;
    u64 sectors = ((host & 511) + size - 1) / 512;
    status = qcow2_set_entry(q, offset, QCOW2_COMPRESSED | sectors << x | host);
    if (!status)
        qcow2_free_entry(q, old);
    return status;
}

int qcow2_write_compressed(struct image *im, u64 offset, u64 length, struct vec v)
{
    struct qcow2 *q = qcow2_of(im);
    u8 *plain = calloc(2, q->cluster_size);
    int status = plain ? 0 : -ENOMEM;
    size_t size = 0;
    if (!status) {
        vec_get(v, plain, length);
        size = pack(q, plain, plain + q->cluster_size);
    }
    if (size) {
        pthread_mutex_lock(&q->lock);
        (void)qcow2_wait_busy(q, offset >> q->h.cluster_bits, offset >> q->h.cluster_bits);
        status = store_packed(q, offset, plain + q->cluster_size, size);
        pthread_mutex_unlock(&q->lock);
    } else if (!status) {
        status = qcow2_write(im, offset, length, v);
    }
    free(plain);
    return status;
}
