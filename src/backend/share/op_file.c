/*
 * Messages about one open file or folder.
 */
#include "backend/share/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"

#define READ_AT_ONCE 131072u /* bytes of a read that is tried without waiting: copying more holds the machine up */
#define ENTRIES_SIZE KiB(32)
#define LISTING_MIN  KiB(8) /* bytes of a reply to Treaddir that a client is told to ask for, */
#define LISTING_HEAD 16     /* less some, so that what it has before them lies in the same pages */
#define LOCK_ID_MAX  256

/* Client and server agree on offsets in each message: an append of the host's would move them. */
static int host_flags(u32 flags)
{
    static const int access[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR};
    int host = access[flags & P9_OPEN_ACCESS];
    if (flags & P9_OPEN_TRUNC)
        host |= O_TRUNC;
    if ((flags & P9_OPEN_SYNC) == P9_OPEN_SYNC)
        host |= O_SYNC;
    else if (flags & P9_OPEN_DSYNC)
        host |= O_DSYNC;
    return host;
}

static bool flags_change(u32 flags)
{
    return (flags & P9_OPEN_ACCESS) || (flags & P9_OPEN_TRUNC);
}

/* `fd` becomes what the fid has open. */
static int take_io(struct server *s, struct fid *f, int fd, const struct stat *st, u32 flags)
{
    if (fd >= 0)
        return fid_set_io(&s->fids, f, fd, S_ISDIR(st->st_mode), flags_change(flags));
    fids_unreserve(&s->fids);
    return fd;
}

/* How much one message should bring. Of a folder: its entries and no more. Linux asks for as much as fits a message,
 * and prepares each page of that three times in a listing: for the entries, for their end, and for the end of the
 * folder. Entries take some twice the size that file systems give a folder; where they take more, there are more
 * messages. 0: as much as fits. */
static u32 iounit(const struct server *s, const struct stat *st)
{
    u32 most = atomic_load(&s->msize) - P9_DATA;
    u64 size = (u64)st->st_size < KiB(256) ? (u64)st->st_size * 2 : KiB(512);
    size = (size < LISTING_MIN ? LISTING_MIN : align_up(size, KiB(4))) - LISTING_HEAD;
    return S_ISDIR(st->st_mode) && size < most ? (u32)size : 0;
}

static int lopen(struct server *s, struct message *m, const struct hold *h, u32 flags)
{
    struct stat st, shown;
    if (fid_io(h->fid) >= 0)
        return -EBUSY;
    if (flags_change(flags) && h->fid->place->barred)
        return -EROFS;
    if (fstat(h->fd, &st) < 0)
        return -errno;
    shown = st;
    int status = owner_show(&s->folder, h->fd, m->may_wait, &shown);
    if (!status)
        status = fids_reserve(&s->fids);
    if (status)
        return status;
    status = take_io(s, h->fid, folder_reopen_as(&s->folder, h->fd, st.st_mode, host_flags(flags)), &st, flags);
    reply_qid(m, s, &shown);
    reply_u32(m, iounit(s, &st));
    return status;
}

int op_lopen(struct server *s, struct message *m)
{
    struct hold h;
    u32 number = message_u32(m), flags = message_u32(m);
    if (message_bad(m))
        return -EINVAL;
    if (flags_change(flags) && s->folder.read_only)
        return -EROFS;
    int status = hold_get(s, m, number, &h);
    if (!status)
        status = lopen(s, m, &h, flags);
    hold_put(s, &h);
    return status;
}

/* Without O_EXCL what is there is opened: as a place first, which says what it is. */
static int open_existing(struct server *s, int dir, const char *name, u32 flags)
{
    struct stat st;
    int status;
    struct place *p = server_step(s, dir, name, true, &st, &status);
    if (!p)
        return status;
    int fd = S_ISREG(st.st_mode) ? folder_reopen(&s->folder, p->fd, host_flags(flags)) : -EEXIST;
    place_drop(&s->fids, p);
    return fd;
}

struct create {
    const char *name;
    u32 flags, mode, gid;
};

/* Makes and opens; the descriptor is reserved by the caller. */
static int create_file(struct server *s, const struct hold *dir, const struct create *c, struct stat *st)
{
    u32 host_mode;
    int status = owner_host_mode(&s->folder, S_IFREG | (c->mode & 07777), &host_mode);
    if (status)
        return status;
    int fd = folder_create(&s->folder, dir->fd, c->name, host_flags(c->flags), host_mode & 0777);
    if (fd == -EEXIST && !(c->flags & P9_OPEN_EXCL)) {
        fd = open_existing(s, dir->fd, c->name, c->flags);
        if (fd >= 0)
            status = fstat(fd, st) < 0 ? -errno : owner_show(&s->folder, fd, true, st);
    } else if (fd >= 0) {
        struct owner_wish wish = {.mode = S_IFREG | (c->mode & 07777), .uid = dir->fid->uid, .gid = c->gid};
        status = fstat(fd, st) < 0 ? -errno : owner_give(&s->folder, fd, &wish, st);
    }
    if (fd >= 0 && status) {
        (void)close(fd);
        return status;
    }
    return fd;
}

/* The fid, which was the folder's, becomes the new file's. */
static int lcreate(struct server *s, const struct hold *dir, const struct create *c, struct stat *st)
{
    struct stat there;
    int status = fids_reserve(&s->fids);
    if (status)
        return status;
    int fd = create_file(s, dir, c, st);
    if (fd < 0) {
        fids_unreserve(&s->fids);
        return fd;
    }
    struct place *p = server_step(s, dir->fd, c->name, true, &there, &status);
    struct fid *f = p ? fid_create(&s->fids, dir->fid->number, dir->fid->uid, p) : NULL;
    if (p && (there.st_ino != st->st_ino || there.st_dev != st->st_dev))
        status = -ESTALE;
    if (!f || status) {
        (void)close(fd);
        fids_unreserve(&s->fids);
        if (f)
            fid_put(&s->fids, f);
        return status ? status : -ENOMEM;
    }
    status = fid_set_io(&s->fids, f, fd, false, true);
    int inserted = fid_insert(&s->fids, f, dir->fid);
    return status ? status : inserted;
}

int op_lcreate(struct server *s, struct message *m)
{
    struct hold dir;
    struct stat st;
    char name[P9_NAME_MAX + 1];
    u32 number = message_u32(m);
    struct message_text text = message_text(m);
    struct create c = {.name = name, .flags = message_u32(m)};
    c.mode = message_u32(m);
    c.gid = message_u32(m);
    int status = message_bad(m) ? -EINVAL : message_name(text, name);
    if (status)
        return status;
    status = hold_get(s, m, number, &dir);
    if (!status && fid_io(dir.fid) >= 0)
        status = -EBUSY;
    if (!status)
        status = lcreate(s, &dir, &c, &st);
    hold_put(s, &dir);
    if (!status) {
        reply_qid(m, s, &st);
        reply_u32(m, 0);
    }
    return status;
}

/* Reading and writing */

static int read_attr(struct server *s, struct message *m, struct fid *f, u64 offset, u32 count)
{
    struct fid_attr *a = fid_attr(f);
    if (a->write)
        return -EBADF;
    u32 left = offset < a->size ? a->size - (u32)offset : 0;
    count = server_room(s, m, count < left ? count : left);
    reply_data(m, 0, a->value + offset * (left != 0), count);
    m->data = count;
    reply_u32(m, count);
    return 0;
}

/* A read brought less than it might have: the file ends there, and not only what the host's memory has of it. */
static bool is_end(int io, u64 offset)
{
    struct stat st;
    return fstat(io, &st) == 0 && offset >= (u64)st.st_size;
}

/* Into guest memory at once. */
static int read_file(struct server *s, struct message *m, struct fid *f, u64 offset, u32 count)
{
    struct iovec iov[MESSAGE_IOVS];
    int io = fid_io(f);
    if (io < 0)
        return -EBADF;
    if (f->is_folder)
        return -EISDIR;
    count = server_room(s, m, count);
    if (!m->may_wait && count > READ_AT_ONCE)
        return -EAGAIN;
    unsigned iovs = reply_vector(m, iov, count);
    ssize_t n = iovs ? preadv2(io, iov, (int)iovs, (off_t)offset, m->may_wait ? 0 : RWF_NOWAIT) : 0;
    if (n < 0)
        return errno == EOPNOTSUPP && !m->may_wait ? -EAGAIN : -errno;
    if ((u64)n < count && !m->may_wait && !is_end(io, offset + (u64)n))
        return -EAGAIN;
    m->data = (u32)n;
    reply_u32(m, (u32)n);
    return 0;
}

int op_read(struct server *s, struct message *m)
{
    u32 number = message_u32(m);
    u64 offset = message_u64(m);
    u32 count = message_u32(m);
    if (message_bad(m) || offset > INT64_MAX)
        return -EINVAL;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    int status = fid_attr(f) ? read_attr(s, m, f, offset, count) : read_file(s, m, f, offset, count);
    fid_put(&s->fids, f);
    return status;
}

static int write_attr(struct message *m, struct fid *f, u64 offset, u32 count)
{
    struct fid_attr *a = fid_attr(f);
    struct iovec iov[MESSAGE_IOVS];
    int status = 0;
    pthread_mutex_lock(&f->lock);
    if (!a->write || offset != a->done || count > a->size - a->done)
        status = -EINVAL;
    unsigned iovs = status ? 0 : data_vector(m, iov, count);
    for (unsigned i = 0; i < iovs; i++) {
        memcpy(a->value + a->done, iov[i].iov_base, iov[i].iov_len);
        a->done += (u32)iov[i].iov_len;
    }
    pthread_mutex_unlock(&f->lock);
    reply_u32(m, count);
    return status;
}

static int write_file(struct message *m, struct fid *f, u64 offset, u32 count)
{
    struct iovec iov[MESSAGE_IOVS];
    int io = fid_io(f);
    if (io < 0 || f->is_folder)
        return -EBADF;
    unsigned iovs = data_vector(m, iov, count);
    ssize_t n = iovs ? pwritev(io, iov, (int)iovs, (off_t)offset) : 0;
    if (n < 0)
        return -errno;
    reply_u32(m, (u32)n);
    return 0;
}

int op_write(struct server *s, struct message *m)
{
    u32 number = message_u32(m);
    u64 offset = message_u64(m);
    u32 count = message_u32(m);
    if (message_bad(m) || offset > INT64_MAX || count > m->r->out_len - P9_WRITE)
        return -EINVAL;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    int status = fid_attr(f) ? write_attr(m, f, offset, count) : write_file(m, f, offset, count);
    fid_put(&s->fids, f);
    return status;
}

int op_fsync(struct server *s, struct message *m)
{
    u32 number = message_u32(m);
    u32 data_only = m->head_len - m->pos >= 4 ? message_u32(m) : 0; /* came in later */
    if (message_bad(m))
        return -EINVAL;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    int io = fid_io(f), status = 0;
    if (io < 0)
        status = -EBADF;
    else if ((data_only ? fdatasync(io) : fsync(io)) < 0)
        status = -errno;
    fid_put(&s->fids, f);
    return status;
}

/* Folders */

/* As getdents64 writes them. */
struct host_entry {
    u64 ino;
    i64 next;
    u16 size;
    u8 type;
    char name[];
};
_Static_assert(sizeof(struct host_entry) == 24 && offsetof(struct host_entry, name) == 19, "getdents(2)");

static u8 entry_type(u8 type)
{
    return type == DT_DIR ? P9_QTDIR : type == DT_LNK ? P9_QTSYMLINK : P9_QTFILE;
}

/* Entry of the folder with that device: the size that it takes in the reply, 0 if it does not fit any more. */
static u32 put_entry(struct server *s, struct message *m, u64 dev, u32 room, const struct host_entry *e)
{
    u8 raw[P9_QID_SIZE + 8 + 1 + 2 + 256];
    size_t len = strnlen(e->name, 256);
    u32 size = (u32)(sizeof(raw) - 256 + len);
    if (len > 255 || size > room - m->data)
        return 0;
    qid_make(raw, entry_type(e->type), 0, qid_path(s, dev, e->ino));
    put_u64(raw + P9_QID_SIZE, (u64)e->next);
    raw[P9_QID_SIZE + 8] = e->type;
    put_u16(raw + P9_QID_SIZE + 9, (u16)len);
    memcpy(raw + P9_QID_SIZE + 11, e->name, len);
    reply_data(m, m->data, raw, size);
    return size;
}

/* From where the kernel stands, until the reply is full or the folder at its end, which is noted. Where the kernel then
 * stands is behind what we took, if not somewhere else. */
static int read_entries(struct server *s, struct message *m, struct fid *f, u32 room)
{
    u8 buf[ENTRIES_SIZE] __attribute__((aligned(8)));
    i64 next = f->stands;
    f->stands = -1;
    for (;;) {
        u32 left = room - m->data;
        long n = syscall(SYS_getdents64, fid_io(f), buf, left < sizeof(buf) ? left | 511u : sizeof(buf));
        if (n <= 0) {
            f->end = n < 0 ? -1 : next;
            return n < 0 && !m->data ? -errno : 0;
        }
        for (long at = 0; at < n;) {
            const struct host_entry *e = (const struct host_entry *)(const void *)(buf + at);
            u32 size = put_entry(s, m, f->place->dev, room, e);
            if (!size)
                return m->data ? 0 : -EINVAL;
            m->data += size;
            next = e->next;
            at += e->size;
        }
    }
}

/* A client that has had the last entry asks what is behind it, and most ask twice. */
static int list_folder(struct server *s, struct message *m, struct fid *f, i64 offset, u32 count)
{
    if (offset && offset == f->end)
        return 0;
    if (!m->may_wait)
        return -EAGAIN;
    if (offset != f->stands && lseek(fid_io(f), (off_t)offset, SEEK_SET) < 0)
        return -errno;
    f->stands = offset;
    return read_entries(s, m, f, server_room(s, m, count));
}

int op_readdir(struct server *s, struct message *m)
{
    u32 number = message_u32(m);
    u64 offset = message_u64(m);
    u32 count = message_u32(m);
    if (message_bad(m) || offset > INT64_MAX)
        return -EINVAL;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    int io = fid_attr(f) ? -1 : fid_io(f), status = io < 0 ? -EBADF : f->is_folder ? 0 : -ENOTDIR;
    if (!status && !f->place->barred) {
        pthread_mutex_lock(&f->lock);
        status = list_folder(s, m, f, (i64)offset, count);
        pthread_mutex_unlock(&f->lock);
    }
    fid_put(&s->fids, f);
    reply_u32(m, m->data);
    return status;
}

/* Locks. The guest's kernel keeps them among its own programs before it asks; programs of the host see none of them. */

static int lock_take(struct server *s, struct message *m, u8 *type, u64 range[2], u32 *proc,
                     struct message_text *client)
{
    u32 number = message_u32(m);
    *type = message_u8(m);
    if (m->type == P9_TLOCK)
        (void)message_u32(m); /* flags: to wait, which the guest does */
    range[0] = message_u64(m);
    range[1] = message_u64(m);
    *proc = message_u32(m);
    *client = message_text(m);
    if (message_bad(m) || *type > P9_LOCK_UNLOCK || client->len > LOCK_ID_MAX)
        return -EINVAL;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    int status = fid_io(f) < 0 ? -EBADF : 0;
    fid_put(&s->fids, f);
    return status;
}

int op_lock(struct server *s, struct message *m)
{
    u8 type;
    u64 range[2];
    u32 proc;
    struct message_text client;
    int status = lock_take(s, m, &type, range, &proc, &client);
    reply_u8(m, P9_LOCK_SUCCESS);
    return status;
}

int op_getlock(struct server *s, struct message *m)
{
    u8 type;
    u64 range[2];
    u32 proc;
    struct message_text client;
    int status = lock_take(s, m, &type, range, &proc, &client);
    reply_u8(m, P9_LOCK_UNLOCK);
    reply_u64(m, range[0]);
    reply_u64(m, range[1]);
    reply_u32(m, proc);
    reply_text(m, client.bytes, client.len);
    return status;
}
