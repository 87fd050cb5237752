#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "message.h"
#include "status.h"
#include "verb.h"

#define INPUT  (256u << 10)
#define OUTPUT (1u << 20)
#define BLOCK  4096u

/* One stream: what came in, and what of it is used; what goes out. `ended`: a whole stream was unpacked. */
struct flow {
    const uint8_t *in;
    size_t in_left;
    uint8_t *out;
    size_t out_left;
    bool ended;
};

struct packer {
    const char *name;
    uint8_t magic[6];
    size_t length;
    void *(*begin)(void);
    bool (*step)(void *state, struct flow *f, bool last);
    void (*end)(void *state);
};

static void *xz_begin(void)
{
    lzma_stream *s = calloc(1, sizeof(*s));
    if (s && lzma_stream_decoder(s, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK) {
        free(s);
        return NULL;
    }
    return s;
}

static bool xz_step(void *state, struct flow *f, bool last)
{
    lzma_stream *s = state;
    s->next_in = f->in;
    s->avail_in = f->in_left;
    s->next_out = f->out;
    s->avail_out = f->out_left;
    lzma_ret ret = lzma_code(s, last ? LZMA_FINISH : LZMA_RUN);
    *f = (struct flow){s->next_in, s->avail_in, s->next_out, s->avail_out, ret == LZMA_STREAM_END};
    return ret == LZMA_OK || ret == LZMA_STREAM_END || ret == LZMA_BUF_ERROR;
}

static void xz_end(void *state)
{
    lzma_end(state);
    free(state);
}

static void *gz_begin(void)
{
    z_stream *s = calloc(1, sizeof(*s));
    if (s && inflateInit2(s, 15 + 16) != Z_OK) { /* with gzip's header */
        free(s);
        return NULL;
    }
    return s;
}

static bool gz_step(void *state, struct flow *f, bool last)
{
    z_stream *s = state;
    (void)last;
    if (f->ended && (!f->in_left || inflateReset(s) != Z_OK)) /* another one may follow */
        return !f->in_left;
    s->next_in = (Bytef *)(uintptr_t)f->in;
    s->avail_in = (uInt)f->in_left;
    s->next_out = f->out;
    s->avail_out = (uInt)f->out_left;
    int ret = inflate(s, Z_NO_FLUSH);
    *f = (struct flow){s->next_in, s->avail_in, s->next_out, s->avail_out, ret == Z_STREAM_END};
    return ret == Z_OK || ret == Z_STREAM_END || ret == Z_BUF_ERROR;
}

static void gz_end(void *state)
{
    (void)inflateEnd(state);
    free(state);
}

static void *zst_begin(void)
{
    return ZSTD_createDStream();
}

static bool zst_step(void *state, struct flow *f, bool last)
{
    ZSTD_inBuffer in = {f->in, f->in_left, 0};
    ZSTD_outBuffer out = {f->out, f->out_left, 0};
    (void)last;
    size_t ret = ZSTD_decompressStream(state, &out, &in);
    *f = (struct flow){f->in + in.pos, f->in_left - in.pos, f->out + out.pos, f->out_left - out.pos,
                       !ZSTD_isError(ret) && ret == 0};
    return !ZSTD_isError(ret);
}

static void zst_end(void *state)
{
    (void)ZSTD_freeDStream(state);
}

static const struct packer packers[] = {
    {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, xz_begin, xz_step, xz_end},
    {"gzip", {0x1f, 0x8b}, 2, gz_begin, gz_step, gz_end},
    {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, zst_begin, zst_step, zst_end},
};

static const struct packer *find_packer(int fd)
{
    uint8_t head[6] = {0};
    if (fd < 0 || pread(fd, head, sizeof(head), 0) < 0)
        return NULL;
    for (size_t i = 0; i < sizeof(packers) / sizeof(packers[0]); i++)
        if (memcmp(head, packers[i].magic, packers[i].length) == 0)
            return &packers[i];
    return NULL;
}

bool unpack_is_packed(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool packed = find_packer(fd) != NULL;
    if (fd >= 0)
        (void)close(fd);
    return packed;
}

static bool is_zero(const uint8_t *p, size_t length)
{
    return !p[0] && memcmp(p, p + 1, length - 1) == 0;
}

static size_t block_at(size_t at, size_t length)
{
    return length - at < BLOCK ? length - at : BLOCK;
}

/* `at` is a multiple of a block. Blocks beside each other that are not zero go at once. */
static int put(int fd, const uint8_t *bytes, size_t length, uint64_t at)
{
    for (size_t begin = 0, end; begin < length; begin = end) {
        end = begin;
        while (end < length && !is_zero(bytes + end, block_at(end, length)))
            end += block_at(end, length);
        ssize_t n = end > begin ? pwrite(fd, bytes + begin, end - begin, (off_t)(at + begin)) : 0;
        if (n != (ssize_t)(end - begin))
            return n < 0 ? -errno : -ENOSPC;
        if (end < length) /* the one that is zero */
            end += block_at(end, length);
    }
    return 0;
}

struct unpacking {
    const struct packer *packer;
    void *state;
    int from, to;
    uint64_t size, read, written;
    uint8_t *input, *output;
};

/* One buffer full, or what is left. True in *end at the end of it all. */
static int unpack_some(struct unpacking *u, struct flow *f, bool *end)
{
    bool last = false;
    f->out = u->output;
    f->out_left = OUTPUT;
    while (f->out_left && !(last && f->ended)) {
        if (!f->in_left) {
            ssize_t n = read(u->from, u->input, INPUT);
            if (n < 0)
                return -errno;
            last = n == 0;
            u->read += (uint64_t)n;
            f->in = u->input;
            f->in_left = (size_t)n;
        }
        size_t before = f->out_left, left = f->in_left;
        if (!(last && f->ended) && !u->packer->step(u->state, f, last))
            return -EBADMSG;
        if (last && before == f->out_left && left == f->in_left && !f->ended)
            return -EBADMSG; /* it ends in the middle */
    }
    size_t got = OUTPUT - f->out_left;
    int status = put(u->to, u->output, got, u->written);
    u->written += got;
    *end = last && f->ended;
    return status;
}

static int unpack_all(struct unpacking *u)
{
    struct flow f = {0};
    bool end = false;
    int status = 0;
    while (!end && !status)
        status = status_progress(NULL, u->read, u->size) ? unpack_some(u, &f, &end) : -ECANCELED;
    if (!status && ftruncate(u->to, (off_t)u->written) < 0)
        status = -errno;
    return status;
}

int unpack_file(const char *who, const char *from, const char *to)
{
    struct unpacking u = {.from = open(from, O_RDONLY | O_CLOEXEC),
                          .to = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666),
                          .input = malloc(INPUT),
                          .output = malloc(OUTPUT)};
    struct stat st;
    u.packer = find_packer(u.from);
    u.state = u.packer ? u.packer->begin() : NULL;
    int status = u.state && u.to >= 0 && u.input && u.output ? 0 : -ENOMEM;
    if (!status && fstat(u.from, &st) == 0)
        u.size = (uint64_t)st.st_size;
    if (!status)
        status = unpack_all(&u);
    if (status && status != -ECANCELED)
        message("%s: %s: cannot be unpacked: %s", who, from,
                status == -EBADMSG ? "it is damaged, or not all there" : strerror(-status));
    if (u.state)
        u.packer->end(u.state);
    free(u.input);
    free(u.output);
    if (u.from >= 0)
        (void)close(u.from);
    if (u.to >= 0)
        (void)close(u.to);
    return !status ? 0 : status == -EBADMSG ? EXIT_USAGE : EXIT_HOST;
}
