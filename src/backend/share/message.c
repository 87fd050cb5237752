/*
 * Implements message.h.
 */
#include "backend/share/message.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"

#define NOTAG 0xffff

/* Bytes [from, from + len) of `iov`, as a vector of at most MESSAGE_IOVS. */
static unsigned slice(const struct iovec *iov, unsigned count, u32 from, u32 len, struct iovec *out)
{
    unsigned used = 0;
    for (unsigned i = 0; i < count && len && used < MESSAGE_IOVS; i++) {
        if (from >= iov[i].iov_len) {
            from -= (u32)iov[i].iov_len;
            continue;
        }
        size_t n = iov[i].iov_len - from;
        n = n < len ? n : len;
        out[used++] = (struct iovec){(u8 *)iov[i].iov_base + from, n};
        len -= (u32)n;
        from = 0;
    }
    return used;
}

static void gather(const struct share_request *r, u32 from, u8 *to, u32 len)
{
    for (unsigned i = 0; i < r->outs && len; i++) {
        if (from >= r->out[i].iov_len) {
            from -= (u32)r->out[i].iov_len;
            continue;
        }
        size_t n = r->out[i].iov_len - from;
        n = n < len ? n : len;
        memcpy(to, (const u8 *)r->out[i].iov_base + from, n);
        to += n;
        len -= (u32)n;
        from = 0;
    }
}

static void scatter(const struct share_request *r, u32 at, const u8 *from, u32 len)
{
    for (unsigned i = 0; i < r->ins && len; i++) {
        if (at >= r->in[i].iov_len) {
            at -= (u32)r->in[i].iov_len;
            continue;
        }
        size_t n = r->in[i].iov_len - at;
        n = n < len ? n : len;
        memcpy((u8 *)r->in[i].iov_base + at, from, n);
        from += n;
        len -= (u32)n;
        at = 0;
    }
}

/* The rest */

bool message_take(struct message *m, const struct share_request *r)
{
    u8 header[P9_HEADER] = {0};
    m->r = r;
    m->tag = NOTAG;
    m->bad = false;
    m->pos = m->head_len = m->reply_len = m->data = 0;
    if (r->out_len < P9_HEADER)
        return false;
    gather(r, 0, header, P9_HEADER);
    u32 size = get_u32(header);
    m->type = header[4];
    m->tag = get_u16(header + 5);
    if (size < P9_HEADER || size > r->out_len)
        return false;
    u32 len = size - P9_HEADER;
    if (m->type == P9_TWRITE && len > P9_WRITE - P9_HEADER)
        len = P9_WRITE - P9_HEADER;
    m->head_len = len < MESSAGE_HEAD ? len : MESSAGE_HEAD;
    gather(r, P9_HEADER, m->head, m->head_len);
    return true;
}

void message_again(struct message *m)
{
    m->pos = 0;
    m->bad = false;
}

static const u8 *take(struct message *m, u32 len)
{
    if (m->bad || m->head_len - m->pos < len) {
        m->bad = true;
        return NULL;
    }
    m->pos += len;
    return m->head + m->pos - len;
}

u8 message_u8(struct message *m)
{
    const u8 *at = take(m, 1);
    return at ? *at : 0;
}

u16 message_u16(struct message *m)
{
    const u8 *at = take(m, 2);
    return at ? get_u16(at) : 0;
}

u32 message_u32(struct message *m)
{
    const u8 *at = take(m, 4);
    return at ? get_u32(at) : 0;
}

u64 message_u64(struct message *m)
{
    const u8 *at = take(m, 8);
    return at ? get_u64(at) : 0;
}

struct message_text message_text(struct message *m)
{
    u16 len = message_u16(m);
    const u8 *at = take(m, len);
    return at ? (struct message_text){(const char *)at, len} : (struct message_text){"", 0};
}

int message_copy(struct message_text text, char *out, size_t size)
{
    if (text.len >= size)
        return -ENAMETOOLONG;
    if (memchr(text.bytes, '\0', text.len))
        return -EINVAL;
    memcpy(out, text.bytes, text.len);
    out[text.len] = '\0';
    return 0;
}

int message_name(struct message_text text, char name[P9_NAME_MAX + 1])
{
    int status = message_copy(text, name, P9_NAME_MAX + 1);
    if (status)
        return status;
    if (!text.len || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    return 0;
}

void reply_bytes(struct message *m, const void *bytes, u32 len)
{
    if (len > MESSAGE_REPLY - m->reply_len) /* no handler does so */
        return;
    memcpy(m->reply + m->reply_len, bytes, len);
    m->reply_len += len;
}

void reply_u8(struct message *m, u8 v)
{
    reply_bytes(m, &v, 1);
}

void reply_u16(struct message *m, u16 v)
{
    u8 raw[2];
    put_u16(raw, v);
    reply_bytes(m, raw, sizeof(raw));
}

void reply_u32(struct message *m, u32 v)
{
    u8 raw[4];
    put_u32(raw, v);
    reply_bytes(m, raw, sizeof(raw));
}

void reply_u64(struct message *m, u64 v)
{
    u8 raw[8];
    put_u64(raw, v);
    reply_bytes(m, raw, sizeof(raw));
}

void reply_text(struct message *m, const char *text, size_t len)
{
    reply_u16(m, (u16)len);
    reply_bytes(m, text, (u32)len);
}

u32 reply_room(const struct message *m, u32 count)
{
    u32 room = m->r->in_len - P9_DATA;
    return count < room ? count : room;
}

unsigned reply_vector(const struct message *m, struct iovec *iov, u32 count)
{
    return slice(m->r->in, m->r->ins, P9_DATA, count, iov);
}

unsigned data_vector(const struct message *m, struct iovec *iov, u32 count)
{
    return slice(m->r->out, m->r->outs, P9_WRITE, count, iov);
}

void reply_data(const struct message *m, u32 at, const void *bytes, u32 len)
{
    scatter(m->r, P9_DATA + at, bytes, len);
}

static u32 write_header(const struct share_request *r, u32 size, u8 type, u16 tag)
{
    u8 header[P9_HEADER];
    put_u32(header, size);
    header[4] = type;
    put_u16(header + 5, tag);
    scatter(r, 0, header, P9_HEADER);
    return size;
}

u32 message_error(const struct share_request *r, u16 tag, int status)
{
    u8 raw[4];
    put_u32(raw, (u32)-status);
    scatter(r, P9_HEADER, raw, sizeof(raw));
    return write_header(r, P9_HEADER + sizeof(raw), P9_RLERROR, tag);
}

u32 message_end(struct message *m, int status)
{
    u64 size = (u64)P9_HEADER + m->reply_len + m->data;
    if (!status && size > m->r->in_len)
        status = -EMSGSIZE;
    if (status)
        return message_error(m->r, m->tag, status);
    scatter(m->r, P9_HEADER, m->reply, m->reply_len);
    return write_header(m->r, (u32)size, m->type + 1, m->tag);
}
