/*
 * Messages about attributes, plain and extended. Of extended ones there are those of users (user.*); the server's own
 * are hidden (owner.h).
 */
#include "backend/share/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define XATTR_MAX 65536u /* bytes of a value, and of a list: what Linux takes */
#define USER      "user."

static void reply_time(struct message *m, const struct timespec *t)
{
    reply_u64(m, (u64)t->tv_sec);
    reply_u64(m, (u64)t->tv_nsec);
}

static void reply_attr(struct server *s, struct message *m, const struct stat *st)
{
    reply_u64(m, P9_ATTR_BASIC);
    reply_qid(m, s, st);
    reply_u32(m, st->st_mode);
    reply_u32(m, st->st_uid);
    reply_u32(m, st->st_gid);
    reply_u64(m, st->st_nlink);
    reply_u64(m, st->st_rdev);
    reply_u64(m, (u64)st->st_size);
    reply_u64(m, (u64)st->st_blksize);
    reply_u64(m, (u64)st->st_blocks);
    reply_time(m, &st->st_atim);
    reply_time(m, &st->st_mtim);
    reply_time(m, &st->st_ctim);
    reply_time(m, &(struct timespec){0}); /* birth, generation and version: not told */
    reply_u64(m, 0);
    reply_u64(m, 0);
}

int op_getattr(struct server *s, struct message *m)
{
    struct hold h;
    struct stat st;
    u32 number = message_u32(m);
    (void)message_u64(m); /* what is wanted: all of it costs nothing more */
    if (message_bad(m))
        return -EINVAL;
    int status = hold_get(s, m, number, &h);
    if (!status && fstat(h.fd, &st) < 0)
        status = -errno;
    if (!status)
        status = owner_show(&s->folder, h.fd, m->may_wait, &st);
    hold_put(s, &h);
    if (!status)
        reply_attr(s, m, &st);
    return status;
}

struct change {
    u32 valid, mode, uid, gid;
    u64 size;
    struct timespec time[2];
};

static int change_size(struct server *s, const struct hold *h, u64 size)
{
    if (size > INT64_MAX)
        return -EFBIG;
    if (fid_io(h->fid) >= 0 && ftruncate(h->fd, (off_t)size) == 0)
        return 0;
    int fd = folder_reopen(&s->folder, h->fd, O_WRONLY);
    if (fd < 0)
        return fd;
    int status = ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
    (void)close(fd);
    return status;
}

static void change_time(struct change *c, unsigned n, u32 set, u32 given)
{
    if (!(c->valid & set))
        c->time[n].tv_nsec = UTIME_OMIT;
    else if (!(c->valid & given))
        c->time[n].tv_nsec = UTIME_NOW;
}

static int change_times(const struct hold *h, struct change *c)
{
    change_time(c, 0, P9_SET_ATIME, P9_SET_ATIME_GIVEN);
    change_time(c, 1, P9_SET_MTIME, P9_SET_MTIME_GIVEN);
    return utimensat(h->fd, "", c->time, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* The change of owner first, as that takes bits of the mode away; times last, as the size changes them. A change of
 * ctime alone is for the host to make. */
static int change(struct server *s, const struct hold *h, struct change *c)
{
    int status = 0;
    if (c->valid & (P9_SET_UID | P9_SET_GID))
        status = owner_set_ids(&s->folder, h->fd, c->valid & P9_SET_UID ? c->uid : UINT32_MAX,
                               c->valid & P9_SET_GID ? c->gid : UINT32_MAX);
    if (!status && c->valid & P9_SET_MODE)
        status = owner_set_mode(&s->folder, h->fd, c->mode);
    if (!status && c->valid & P9_SET_SIZE)
        status = change_size(s, h, c->size);
    if (!status && c->valid & (P9_SET_ATIME | P9_SET_MTIME))
        status = change_times(h, c);
    return status;
}

static struct timespec take_time(struct message *m)
{
    u64 sec = message_u64(m), nsec = message_u64(m);
    return (struct timespec){(time_t)sec, nsec < 1000000000 ? (long)nsec : 0};
}

int op_setattr(struct server *s, struct message *m)
{
    struct hold h;
    u32 number = message_u32(m);
    struct change c = {.valid = message_u32(m)};
    c.mode = message_u32(m);
    c.uid = message_u32(m);
    c.gid = message_u32(m);
    c.size = message_u64(m);
    c.time[0] = take_time(m);
    c.time[1] = take_time(m);
    if (message_bad(m))
        return -EINVAL;
    int status = hold_get(s, m, number, &h);
    if (!status)
        status = change(s, &h, &c);
    hold_put(s, &h);
    return status;
}

int op_statfs(struct server *s, struct message *m)
{
    struct hold h;
    struct statfs st;
    u64 id = 0;
    u32 number = message_u32(m);
    if (message_bad(m))
        return -EINVAL;
    int status = hold_get(s, m, number, &h);
    if (!status && fstatfs(h.fd, &st) < 0)
        status = -errno;
    hold_put(s, &h);
    if (status)
        return status;
    memcpy(&id, &st.f_fsid, sizeof(id));
    reply_u32(m, P9_STATFS_TYPE); /* it is 9P that programs have to expect, whatever lies below */
    reply_u32(m, (u32)st.f_bsize);
    reply_u64(m, st.f_blocks);
    reply_u64(m, st.f_bfree);
    reply_u64(m, st.f_bavail);
    reply_u64(m, st.f_files);
    reply_u64(m, st.f_ffree);
    reply_u64(m, id);
    reply_u32(m, (u32)st.f_namelen);
    return 0;
}

/* Extended attributes */

static bool is_users(const char *name)
{
    return strncmp(name, USER, sizeof(USER) - 1) == 0 && strncmp(name, OWNER_PREFIX, sizeof(OWNER_PREFIX) - 1) != 0;
}

/* Leaves the names that the guest may see; their length. */
static size_t filter(char *list, size_t size)
{
    size_t kept = 0, len;
    for (size_t at = 0; at < size; at += len) {
        len = strnlen(list + at, size - at) + 1;
        if (at + len > size || !is_users(list + at))
            continue;
        memmove(list + kept, list + at, len);
        kept += len;
    }
    return kept;
}

/* The value, or the list where `name` is empty, of a file that was opened for this: XATTR_MAX bytes of room. */
static ssize_t attr_get(int fd, const char *name, char *value)
{
    ssize_t n = *name ? fgetxattr(fd, name, value, XATTR_MAX) : flistxattr(fd, value, XATTR_MAX);
    if (n < 0)
        return -errno;
    return *name ? n : (ssize_t)filter(value, (size_t)n);
}

/* The new fid has a copy, from which the guest reads. */
static int attr_walk(struct server *s, struct message *m, const struct hold *h, u32 to, const char *name)
{
    int fd = folder_reopen(&s->folder, h->fd, O_RDONLY);
    if (fd < 0)
        return fd == -ELOOP || fd == -ENXIO ? -ENODATA : fd;
    char *value = malloc(XATTR_MAX);
    ssize_t n = value ? attr_get(fd, name, value) : -ENOMEM;
    (void)close(fd);
    int status = n < 0 ? (int)n : place_share(&s->fids, h->fid->place, true);
    struct fid *f = status < 0 ? NULL : fid_create(&s->fids, to, h->fid->uid, h->fid->place);
    if (status >= 0)
        status = f ? fid_set_attr(&s->fids, f, name, (u32)n, false, 0) : -ENOMEM;
    if (!status) {
        memcpy(fid_attr(f)->value, value, (size_t)n);
        status = fid_insert(&s->fids, f, NULL);
        reply_u64(m, (u64)n);
    } else if (f) {
        fid_put(&s->fids, f);
    }
    free(value);
    return status;
}

int op_xattrwalk(struct server *s, struct message *m)
{
    struct hold h;
    char name[P9_NAME_MAX + 1];
    u32 number = message_u32(m), to = message_u32(m);
    struct message_text text = message_text(m);
    int status = message_bad(m) ? -EINVAL : message_copy(text, name, sizeof(name));
    if (status)
        return status;
    if (*name && !is_users(name))
        return -EOPNOTSUPP; /* security.capability is asked for all the time */
    if (!m->may_wait)
        return -EAGAIN;
    status = hold_get(s, m, number, &h);
    if (!status)
        status = attr_walk(s, m, &h, to, name);
    hold_put(s, &h);
    return status;
}

/* The fid stands for the attribute from now on; what is written to it takes effect when it is clunked. */
int op_xattrcreate(struct server *s, struct message *m)
{
    char name[P9_NAME_MAX + 1];
    u32 number = message_u32(m);
    struct message_text text = message_text(m);
    u64 size = message_u64(m);
    u32 flags = message_u32(m);
    int status = message_bad(m) || flags & ~(u32)(XATTR_CREATE | XATTR_REPLACE)
                     ? -EINVAL
                     : message_copy(text, name, sizeof(name));
    if (status)
        return status;
    if (!is_users(name))
        return -EOPNOTSUPP;
    if (size > XATTR_MAX)
        return -E2BIG;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    status = fid_set_attr(&s->fids, f, name, (u32)size, true, (int)flags);
    fid_put(&s->fids, f);
    return status;
}

/* A size of 0 takes the attribute away: so clients say it. */
static int attr_put(int fd, const struct fid_attr *a)
{
    if (a->done != a->size)
        return -EINVAL;
    if (!a->size)
        return fremovexattr(fd, a->name) < 0 ? -errno : 0;
    return fsetxattr(fd, a->name, a->value, a->size, a->flags) < 0 ? -errno : 0;
}

int op_attr_end(struct server *s, struct fid *f)
{
    const struct fid_attr *a = fid_attr(f);
    if (!a->write)
        return 0;
    int at = place_use(&s->fids, f->place, true);
    if (at < 0)
        return at;
    int fd = folder_reopen(&s->folder, at, O_RDONLY);
    place_done(&s->fids, f->place);
    if (fd < 0)
        return fd == -ELOOP || fd == -ENXIO ? -EPERM : fd;
    pthread_mutex_lock(&f->lock);
    int status = attr_put(fd, a);
    pthread_mutex_unlock(&f->lock);
    (void)close(fd);
    return status;
}
