/* See payload.h. */
#include "machine/boot/payload.h"

#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bits.h"

#define XZ_MEMORY MiB(512) /* for its dictionary */
#define TRAILER   4

/* Each unpacks all of `in` to exactly `room` bytes of `out`, or fails. What follows the packed data is ignored. */
typedef bool unpack_fn(const u8 *in, u64 size, u8 *out, u64 room);

static bool unpack_gzip(const u8 *in, u64 size, u8 *out, u64 room)
{
    z_stream z = {.next_in = (u8 *)(uintptr_t)in, .avail_in = (uInt)size, .next_out = out, .avail_out = (uInt)room};
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return false;
    bool good = inflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out == room;
    (void)inflateEnd(&z);
    return good;
}

static bool unpack_xz(const u8 *in, u64 size, u8 *out, u64 room)
{
    u64 memory = XZ_MEMORY;
    size_t read = 0, written = 0;
    return lzma_stream_buffer_decode(&memory, 0, NULL, in, &read, size, out, &written, room) == LZMA_OK &&
           written == room;
}

static bool unpack_zstd(const u8 *in, u64 size, u8 *out, u64 room)
{
    size_t frame = ZSTD_findFrameCompressedSize(in, size);
    return !ZSTD_isError(frame) && ZSTD_decompress(out, room, in, frame) == room;
}

static const struct format {
    u8 magic[6], len;
    unpack_fn *unpack;
} formats[] = {
    {{0x1f, 0x8b, 0x08}, 3, unpack_gzip},
    {{0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_xz},
    {{0x28, 0xb5, 0x2f, 0xfd}, 4, unpack_zstd},
};

static const struct format *format_of(const u8 *in, u64 size)
{
    for (size_t n = 0; n < ARRAY_SIZE(formats); n++) {
        if (size >= formats[n].len && memcmp(in, formats[n].magic, formats[n].len) == 0)
            return &formats[n];
    }
    return NULL;
}

u8 *payload_unpack(const u8 *in, u64 size, u64 max, u64 *out_size)
{
    const struct format *f = size > TRAILER && size <= UINT32_MAX ? format_of(in, size) : NULL;
    u64 room = f ? get_u32(in + size - TRAILER) : 0;
    if (!room || room > max)
        return NULL;
    u8 *out = malloc(room);
    if (out && !f->unpack(in, size, out, room)) {
        free(out);
        out = NULL;
    }
    *out_size = room;
    return out;
}
