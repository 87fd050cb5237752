/*
 * Implements server.h: the table of messages, the session, and walking.
 */
#include "backend/share/server.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

#define MSIZE_MIN   4096u
#define MSIZE_MAX   ((u32)KiB(512))
#define BRISK_WRITE 65536u /* bytes of a message */

static const struct {
    server_fn *act;
    bool changes; /* refused in a read-only folder */
    u8 pace;
} ops[P9_TYPES] = {
    [P9_TVERSION] = {op_version, false, PACE_SLOW}, /* closes all files */
    [P9_TATTACH] = {op_attach, false, PACE_BRISK},
    [P9_TWALK] = {op_walk, false, PACE_EITHER},
    [P9_TCLUNK] = {op_clunk, false, PACE_EITHER},
    [P9_TREMOVE] = {op_remove, false, PACE_BRISK}, /* says no itself: the fid goes in any case */
    [P9_TLOPEN] = {op_lopen, false, PACE_BRISK},   /* and here it depends on the flags */
    [P9_TLCREATE] = {op_lcreate, true, PACE_BRISK},
    [P9_TREAD] = {op_read, false, PACE_KNOWN},
    [P9_TWRITE] = {op_write, true, PACE_BRISK},
    [P9_TREADDIR] = {op_readdir, false, PACE_EITHER},
    [P9_TFSYNC] = {op_fsync, false, PACE_SLOW},
    [P9_TLOCK] = {op_lock, false, PACE_KNOWN},
    [P9_TGETLOCK] = {op_getlock, false, PACE_KNOWN},
    [P9_TSYMLINK] = {op_symlink, true, PACE_BRISK},
    [P9_TMKNOD] = {op_mknod, true, PACE_BRISK},
    [P9_TMKDIR] = {op_mkdir, true, PACE_BRISK},
    [P9_TLINK] = {op_link, true, PACE_BRISK},
    [P9_TRENAME] = {op_rename, true, PACE_BRISK},
    [P9_TRENAMEAT] = {op_renameat, true, PACE_BRISK},
    [P9_TUNLINKAT] = {op_unlinkat, true, PACE_BRISK},
    [P9_TREADLINK] = {op_readlink, false, PACE_BRISK},
    [P9_TGETATTR] = {op_getattr, false, PACE_EITHER},
    [P9_TSETATTR] = {op_setattr, true, PACE_BRISK},
    [P9_TSTATFS] = {op_statfs, false, PACE_BRISK},
    [P9_TXATTRWALK] = {op_xattrwalk, false, PACE_EITHER},
    [P9_TXATTRCREATE] = {op_xattrcreate, true, PACE_KNOWN},
};

enum server_pace server_pace(const struct message *m)
{
    if (m->type >= P9_TYPES || !ops[m->type].act)
        return PACE_KNOWN;
    return m->type == P9_TWRITE && m->r->out_len > BRISK_WRITE ? PACE_SLOW : ops[m->type].pace;
}

/* By the fid that stands first in it, as one does in all messages about files. */
bool server_remote(struct server *s, const struct message *m)
{
    struct fid *f = m->head_len < 4 ? NULL : fid_get(&s->fids, get_u32(m->head));
    bool remote = f ? f->place->remote : s->folder.remote;
    if (f)
        fid_put(&s->fids, f);
    return remote;
}

int server_init(struct server *s, const struct folder *folder, unsigned limit)
{
    s->folder = *folder;
    atomic_init(&s->msize, 0);
    int status = fids_init(&s->fids, &s->folder, limit);
    if (status)
        folder_close(&s->folder);
    return status;
}

void server_fini(struct server *s)
{
    fids_fini(&s->fids);
    folder_close(&s->folder);
}

void server_reset(struct server *s)
{
    fids_clear(&s->fids);
    atomic_store(&s->msize, 0);
}

static int act(struct server *s, struct message *m)
{
    if (m->type >= P9_TYPES || !ops[m->type].act)
        return -EOPNOTSUPP;
    if (m->type != P9_TVERSION && !atomic_load(&s->msize))
        return -EPROTO;
    m->changes = ops[m->type].changes;
    if (m->changes && s->folder.read_only)
        return -EROFS;
    return ops[m->type].act(s, m);
}

u32 server_handle(struct server *s, struct message *m)
{
    m->reply_len = m->data = m->pos = 0;
    int status = act(s, m);
    if (status == -EAGAIN && !m->may_wait)
        return 0;
    return message_end(m, status);
}

/* What handlers share */

int hold_get(struct server *s, const struct message *m, u32 number, struct hold *h)
{
    *h = (struct hold){.fid = fid_get(&s->fids, number)};
    if (!h->fid || fid_attr(h->fid))
        return -EBADF;
    if (m->changes && h->fid->place->barred)
        return -EROFS;
    h->fd = fid_io(h->fid);
    if (h->fd >= 0)
        return 0;
    h->fd = place_use(&s->fids, h->fid->place, m->may_wait);
    h->place = h->fd >= 0;
    return h->place ? 0 : h->fd;
}

void hold_put(struct server *s, struct hold *h)
{
    if (h->place)
        place_done(&s->fids, h->fid->place);
    if (h->fid)
        fid_put(&s->fids, h->fid);
    *h = (struct hold){0};
}

u32 server_room(const struct server *s, const struct message *m, u32 count)
{
    u32 most = atomic_load(&s->msize) - P9_DATA;
    return reply_room(m, count < most ? count : most);
}

void qid_make(u8 raw[P9_QID_SIZE], u8 type, u32 version, u64 path)
{
    raw[0] = type;
    put_u32(raw + 1, version);
    put_u64(raw + 5, path);
}

/* Linux's client adds 2 and shows the sum as the number of the inode: so it is the host's, and what a program has noted
 * of a file there (git's index) holds here. Files of other file systems below the folder have numbers of their own:
 * those are spread over the upper half, where two meet with a chance of one in 2^63. */
u64 qid_path(const struct server *s, u64 dev, u64 ino)
{
    u64 z = ino;
    if (dev == s->folder.dev && !(z >> 63))
        return z - 2;
    z += dev * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return ((z ^ z >> 31) | BIT64(63)) - 2;
}

/* Another one for contents that have changed. */
static u32 qid_version(const struct stat *st)
{
    u64 v = (u64)st->st_mtim.tv_sec * 1000000007u + (u64)st->st_mtim.tv_nsec + ((u64)st->st_size << 8);
    return (u32)(v ^ v >> 32);
}

void reply_qid(struct message *m, const struct server *s, const struct stat *st)
{
    u8 raw[P9_QID_SIZE];
    u8 type = S_ISDIR(st->st_mode) ? P9_QTDIR : S_ISLNK(st->st_mode) ? P9_QTSYMLINK : P9_QTFILE;
    qid_make(raw, type, qid_version(st), qid_path(s, st->st_dev, st->st_ino));
    reply_bytes(m, raw, sizeof(raw));
}

/* A place that folder_step or folder_find gave, or their error. */
static struct place *place_shown(struct server *s, int fd, bool may_wait, struct stat *st, int *status)
{
    if (fd < 0) {
        fids_unreserve(&s->fids);
        *status = fd;
        return NULL;
    }
    struct place *p = place_create(&s->fids, fd, st);
    *status = p ? owner_show(&s->folder, p->fd, may_wait, st) : -ENOMEM;
    if (p && *status) {
        place_drop(&s->fids, p);
        p = NULL;
    }
    return p;
}

struct place *server_step(struct server *s, int dir, const char *name, bool may_wait, struct stat *st, int *status)
{
    *status = fids_reserve(&s->fids);
    return *status ? NULL : place_shown(s, folder_step(&s->folder, dir, name, may_wait, st), may_wait, st, status);
}

struct place *server_find(struct server *s, const char *path, bool may_wait, struct stat *st, int *status)
{
    *status = fids_reserve(&s->fids);
    return *status ? NULL : place_shown(s, folder_find(&s->folder, path, may_wait, st), may_wait, st, status);
}

/* The session */

int op_version(struct server *s, struct message *m)
{
    static const char spoken[] = "9P2000.L", unknown[] = "unknown";
    u32 msize = message_u32(m);
    struct message_text version = message_text(m);
    if (message_bad(m) || msize < MSIZE_MIN)
        return -EINVAL;
    bool good = version.len == sizeof(spoken) - 1 && memcmp(version.bytes, spoken, version.len) == 0;
    msize = msize < MSIZE_MAX ? msize : MSIZE_MAX;
    server_reset(s);
    atomic_store(&s->msize, good ? msize : 0);
    reply_u32(m, msize);
    if (good)
        reply_text(m, spoken, sizeof(spoken) - 1);
    else
        reply_text(m, unknown, sizeof(unknown) - 1);
    return 0;
}

static int insert_new(struct server *s, u32 number, u32 uid, struct place *p, const struct fid *replace)
{
    struct fid *f = fid_create(&s->fids, number, uid, p);
    return f ? fid_insert(&s->fids, f, replace) : -ENOMEM;
}

/* A user's name says nothing here, the number does (9P2000.L). The tree is the folder. */
int op_attach(struct server *s, struct message *m)
{
    struct stat st;
    int status;
    u32 number = message_u32(m), afid = message_u32(m);
    (void)message_text(m);
    struct message_text tree = message_text(m);
    u32 uid = message_u32(m);
    if (message_bad(m) || afid != P9_NOFID)
        return -EINVAL;
    if (tree.len && (tree.len != 1 || tree.bytes[0] != '/'))
        return -ENOENT;
    struct place *p = server_step(s, s->folder.fd, ".", true, &st, &status);
    if (!p)
        return status;
    reply_qid(m, s, &st);
    return insert_new(s, number, uid, p, NULL);
}

int op_clunk(struct server *s, struct message *m)
{
    u32 number = message_u32(m);
    if (message_bad(m))
        return -EINVAL;
    struct fid *f = fid_get(&s->fids, number);
    if (!f)
        return -EBADF;
    bool waits = fid_attr(f) || (fid_io(f) >= 0 && f->writes);
    if (waits && !m->may_wait) {
        fid_put(&s->fids, f);
        return -EAGAIN;
    }
    int status = fid_attr(f) ? op_attr_end(s, f) : 0;
    fid_put(&s->fids, f);
    return fid_remove(&s->fids, number) ? status : -EBADF;
}

/* Walking */

/* "..": by the path that leads here now; the folder is above itself. */
static struct place *step_up(struct server *s, int dir, bool may_wait, struct stat *st, int *status)
{
    char path[PATH_MAX];
    const char *name;
    *status = folder_locate_parent(&s->folder, dir, path, &name);
    if (*status == -EBUSY)
        strcpy(path, ".");
    else if (*status)
        return NULL;
    return server_find(s, path, may_wait, st, status);
}

static struct place *step(struct server *s, const struct place *from, struct message_text text, bool may_wait,
                          struct stat *st, int *status)
{
    char name[P9_NAME_MAX + 1];
    if (text.len == 2 && memcmp(text.bytes, "..", 2) == 0)
        return step_up(s, from->fd, may_wait, st, status);
    *status = message_name(text, name);
    if (!*status && from->barred)
        *status = -ENOENT;
    return *status ? NULL : server_step(s, from->fd, name, may_wait, st, status);
}

/* From a place in use on; the place that it leads to, with one user, and the qids of the reply. Less than all names are
 * no failure, if there is one: then there is no place, and *status is 0. */
static struct place *walk(struct server *s, struct message *m, struct place *from, u16 names, int *status)
{
    struct place *p = from;
    struct stat st;
    u16 done = 0;
    reply_u16(m, names);
    for (*status = 0; done < names; done++) {
        struct message_text text = message_text(m);
        struct place *next = message_bad(m) ? NULL : step(s, p, text, m->may_wait, &st, status);
        if (p != from)
            place_drop(&s->fids, p);
        p = next;
        if (!p)
            break;
        reply_qid(m, s, &st);
    }
    if (message_bad(m))
        *status = -EINVAL;
    else if (!p && done && *status != -EAGAIN)
        *status = 0;
    put_u16(m->reply, done);
    return p;
}

/* The place counts and not what is open there: a clone of an open fid can be opened anew. */
static int walk_from(struct server *s, struct message *m, struct fid *from, u32 to, u16 names)
{
    struct place *p = from->place;
    int fd = place_share(&s->fids, p, m->may_wait), status = 0;
    if (fd < 0)
        return fd;
    if (names) {
        p = walk(s, m, from->place, names, &status);
        place_drop(&s->fids, from->place);
    } else {
        reply_u16(m, 0);
    }
    return p ? insert_new(s, to, from->uid, p, to == from->number ? from : NULL) : status;
}

int op_walk(struct server *s, struct message *m)
{
    u32 number = message_u32(m), to = message_u32(m);
    u16 names = message_u16(m);
    if (message_bad(m) || names > P9_WALK_MAX)
        return -EINVAL;
    struct fid *from = fid_get(&s->fids, number);
    if (!from)
        return -EBADF;
    int status = fid_attr(from) ? -EBADF : walk_from(s, m, from, to, names);
    fid_put(&s->fids, from);
    return status;
}
