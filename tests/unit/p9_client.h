/*
 * A client of 9P2000.L for tests: builds messages, submits them to a share (backend/share/share.h), and takes replies
 * apart. One message at a time; the reply is there when p9_call returns.
 */
#ifndef TESTS_UNIT_P9_CLIENT_H
#define TESTS_UNIT_P9_CLIENT_H

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "backend/share/open.h"
#include "backend/share/p9.h"
#include "base/bits.h"
#include "event/loop.h"

#define P9_ROOM 65536u

struct p9_client {
    struct loop *loop;
    struct share *share;
    u8 out[P9_ROOM], in[P9_ROOM];
    u32 out_len, in_len; /* of the message; of the reply */
    u32 room;            /* that the reply is given */
    bool at_once;        /* it was there when share_submit returned */
    struct iovec vec[2];
    struct share_request r;
};

static inline void p9_put(struct p9_client *c, const void *bytes, u32 len)
{
    if (len > P9_ROOM - c->out_len)
        abort();
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
}

/* A message by its format: 1, 2, 4, 8: integers of that size (8 is a u64), s: a string; d: a pointer and an int: bytes
 * with no length before them. */
static inline void p9_build(struct p9_client *c, u8 type, u16 tag, const char *format, va_list args)
{
    c->out_len = 4;
    p9_put(c, &type, 1);
    p9_put(c, &tag, 2);
    for (; *format; format++) {
        if (*format == 's') {
            const char *text = va_arg(args, const char *);
            u16 len = (u16)strlen(text);
            p9_put(c, &len, 2);
            p9_put(c, text, len);
        } else if (*format == 'd') {
            const void *bytes = va_arg(args, const void *);
            p9_put(c, bytes, va_arg(args, u32));
        } else {
            u64 v = *format == '8' ? va_arg(args, u64) : va_arg(args, u32);
            p9_put(c, &v, (u32)(*format - '0'));
        }
    }
    put_u32(c->out, c->out_len);
}

static inline void p9_done(struct share_request *r, u32 written)
{
    ((struct p9_client *)r->opaque)->in_len = written;
}

/* What stands in c->out; with what it says, or -EIO where the reply makes no sense. */
static inline int p9_submit(struct p9_client *c)
{
    c->vec[0] = (struct iovec){c->out, c->out_len};
    c->vec[1] = (struct iovec){c->in, c->room};
    c->r = (struct share_request){.out = &c->vec[0],
                                  .outs = 1,
                                  .out_len = c->out_len,
                                  .in = &c->vec[1],
                                  .ins = 1,
                                  .in_len = c->room,
                                  .done = p9_done,
                                  .opaque = c};
    c->in_len = 0;
    loop_lock(c->loop);
    u32 written = share_submit(c->share, &c->r);
    loop_unlock(c->loop);
    c->at_once = written;
    if (written)
        c->in_len = written;
    else
        share_drain(c->share);
    if (c->in_len < P9_HEADER || c->in_len > c->room || get_u32(c->in) != c->in_len)
        return -EIO;
    if (c->in[4] == P9_RLERROR)
        return c->in_len == 11 ? -(int)get_u32(c->in + 7) : -EIO;
    return c->in[4] == (u8)(c->out[4] + 1) && get_u16(c->in + 5) == get_u16(c->out + 5) ? 0 : -EIO;
}

/* 0 or -errno. */
static inline int p9_call(struct p9_client *c, u8 type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    p9_build(c, type, 1, format, args);
    va_end(args);
    return p9_submit(c);
}

static inline int p9_version(struct p9_client *c)
{
    return p9_call(c, P9_TVERSION, "4s", P9_ROOM, "9P2000.L");
}

static inline int p9_attach(struct p9_client *c, u32 fid)
{
    return p9_call(c, P9_TATTACH, "44ss4", fid, P9_NOFID, "", "", 0u);
}

/* A path of names between slashes, or "" for a clone. */
static inline int p9_walk(struct p9_client *c, u32 fid, u32 to, const char *path)
{
    u8 names[2048];
    u32 len = 0, count = 0;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (len + n + 2 > sizeof(names))
            abort();
        put_u16(names + len, (u16)n);
        memcpy(names + len + 2, path, n);
        len += (u32)n + 2;
        count++;
        path += n + (path[n] == '/');
    }
    int status = p9_call(c, P9_TWALK, "442d", fid, to, count, (const void *)names, len);
    if (status)
        return status;
    return get_u16(c->in + 7) == count ? 0 : -ENOENT;
}

static inline int p9_clunk(struct p9_client *c, u32 fid)
{
    return p9_call(c, P9_TCLUNK, "4", fid);
}

static inline int p9_lopen(struct p9_client *c, u32 fid, u32 flags)
{
    return p9_call(c, P9_TLOPEN, "44", fid, flags);
}

/* A fid of the folder becomes that of a new file. */
static inline int p9_create(struct p9_client *c, u32 fid, const char *name, u32 flags, u32 mode)
{
    return p9_call(c, P9_TLCREATE, "4s444", fid, name, flags, mode, 0u);
}

static inline int p9_write(struct p9_client *c, u32 fid, u64 offset, const char *text)
{
    u32 len = (u32)strlen(text);
    int status = p9_call(c, P9_TWRITE, "484d", fid, offset, len, (const void *)text, len);
    return status ? status : (int)get_u32(c->in + 7);
}

/* How many bytes; they are at c->in + P9_DATA. */
static inline int p9_read(struct p9_client *c, u32 fid, u64 offset, u32 count)
{
    int status = p9_call(c, P9_TREAD, "484", fid, offset, count);
    return status ? status : (int)get_u32(c->in + 7);
}

struct p9_attr {
    u8 qid[P9_QID_SIZE];
    u32 mode, uid, gid;
    u64 nlink, rdev, size;
};

static inline int p9_getattr(struct p9_client *c, u32 fid, struct p9_attr *a)
{
    int status = p9_call(c, P9_TGETATTR, "48", fid, (u64)P9_ATTR_BASIC);
    if (status)
        return status;
    const u8 *at = c->in + P9_HEADER + 8;
    memcpy(a->qid, at, P9_QID_SIZE);
    at += P9_QID_SIZE;
    a->mode = get_u32(at);
    a->uid = get_u32(at + 4);
    a->gid = get_u32(at + 8);
    a->nlink = get_u64(at + 12);
    a->rdev = get_u64(at + 20);
    a->size = get_u64(at + 28);
    return c->in_len == P9_HEADER + 153 ? 0 : -EIO;
}

static inline int p9_setattr(struct p9_client *c, u32 fid, u32 valid, u32 mode, u32 uid, u32 gid, u64 size)
{
    return p9_call(c, P9_TSETATTR, "4444488888", fid, valid, mode, uid, gid, size, (u64)1000, (u64)5, (u64)2000,
                   (u64)7);
}

/* Opens the share by text, agrees on a version and attaches fid 0. */
static inline int p9_open(struct p9_client *c, const char *spec, struct error *err)
{
    static const struct log no_log;
    memset(c, 0, sizeof(*c));
    c->room = P9_ROOM;
    c->loop = loop_create();
    if (!c->loop)
        abort();
    int status = share_open(spec, c->loop, &no_log, &c->share, err);
    if (!status)
        status = p9_version(c);
    return status ? status : p9_attach(c, 0);
}

static inline void p9_close(struct p9_client *c)
{
    share_close(c->share);
    loop_destroy(c->loop);
}

#endif
