/*
 * Implements owner.h.
 */
#include "backend/share/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backend/share/folder.h"
#include "base/bits.h"

#define KEEP       0xffffffffu
#define PERMISSION 07777u
#define SET_ID     06000u

/* The attribute: mode, uid, gid, device number, u32 each. */
enum { ATTR_MODE = 0, ATTR_UID = 4, ATTR_GID = 8, ATTR_RDEV = 12, ATTR_SIZE = 16 };

/* The attribute of what cannot have one, or has none, is empty. */
static int attr_open(const struct folder *f, int fd)
{
    return folder_reopen(f, fd, O_RDONLY);
}

static int attr_read(const struct folder *f, int fd, u8 raw[ATTR_SIZE], bool *there)
{
    *there = false;
    int file = attr_open(f, fd);
    if (file < 0)
        return file == -ELOOP || file == -ENXIO || file == -EACCES ? 0 : file;
    *there = fgetxattr(file, OWNER_ATTRIBUTE, raw, ATTR_SIZE) == ATTR_SIZE;
    (void)close(file);
    return 0;
}

static int attr_write(const struct folder *f, int fd, const u8 raw[ATTR_SIZE])
{
    int file = attr_open(f, fd);
    if (file < 0)
        return file == -ELOOP || file == -ENXIO ? 0 : file;
    int status = fsetxattr(file, OWNER_ATTRIBUTE, raw, ATTR_SIZE, 0) < 0 ? -errno : 0;
    (void)close(file);
    return status;
}

static void attr_show(const u8 raw[ATTR_SIZE], struct stat *st)
{
    st->st_mode = get_u32(raw + ATTR_MODE);
    st->st_uid = get_u32(raw + ATTR_UID);
    st->st_gid = get_u32(raw + ATTR_GID);
    st->st_rdev = get_u32(raw + ATTR_RDEV);
}

static void attr_make(u8 raw[ATTR_SIZE], const struct stat *st)
{
    put_u32(raw + ATTR_MODE, st->st_mode);
    put_u32(raw + ATTR_UID, st->st_uid);
    put_u32(raw + ATTR_GID, st->st_gid);
    put_u32(raw + ATTR_RDEV, (u32)st->st_rdev);
}

/* A folder is one whatever an attribute says, and nothing else is: it decides what the guest may do with it. */
static bool attr_fits(const u8 raw[ATTR_SIZE], const struct stat *st)
{
    return S_ISDIR(get_u32(raw + ATTR_MODE)) == S_ISDIR(st->st_mode);
}

int owner_show(const struct folder *f, int fd, bool may_wait, struct stat *st)
{
    const struct owner *o = &f->owner;
    u8 raw[ATTR_SIZE];
    bool there = false;
    if (o->model == OWNER_PASSTHROUGH)
        return 0;
    if (o->model == OWNER_MAPPED && !may_wait)
        return -EAGAIN;
    int status = o->model == OWNER_MAPPED ? attr_read(f, fd, raw, &there) : 0;
    if (status)
        return status;
    if (there && attr_fits(raw, st)) {
        attr_show(raw, st);
        return 0;
    }
    if (st->st_uid == o->host_uid)
        st->st_uid = o->uid;
    if (st->st_gid == o->host_gid)
        st->st_gid = o->gid;
    return 0;
}

int owner_host_mode(const struct folder *f, u32 mode, u32 *host_mode)
{
    u32 kind = mode & S_IFMT;
    if (f->owner.model == OWNER_MAPPED) {
        *host_mode = kind == S_IFDIR ? S_IFDIR | 0700 : S_IFREG | 0600;
        return 0;
    }
    if (kind == S_IFCHR || kind == S_IFBLK)
        return -EPERM;
    *host_mode = mode;
    return 0;
}

static u32 allowed_mode(const struct folder *f, u32 kind, u32 mode)
{
    return f->owner.model == OWNER_NONE && kind != S_IFDIR ? mode & PERMISSION & ~SET_ID : mode & PERMISSION;
}

static int host_chmod(const struct folder *f, int fd, u32 mode)
{
    return fchmodat(f->self, folder_link(fd).text, mode, 0) < 0 ? -errno : 0;
}

static u32 id_of(u32 id, u32 guest, u32 host, enum owner_model model)
{
    return model == OWNER_NONE && id == guest ? host : id;
}

static int host_chown(const struct folder *f, int fd, u32 uid, u32 gid)
{
    const struct owner *o = &f->owner;
    int status = fchownat(fd, "", id_of(uid, o->uid, o->host_uid, o->model), id_of(gid, o->gid, o->host_gid, o->model),
                          AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    return status < 0 ? -errno : 0;
}

static bool is_owned(const struct owner *o, const struct owner_wish *wish, const struct stat *st)
{
    return id_of(wish->uid, o->uid, o->host_uid, o->model) == st->st_uid &&
           id_of(wish->gid, o->gid, o->host_gid, o->model) == st->st_gid;
}

/* The host's umask is the user's affair, and not the guest's: the mode is set again where it was changed by it. */
int owner_give(const struct folder *f, int fd, const struct owner_wish *wish, struct stat *st)
{
    u32 kind = wish->mode & S_IFMT, mode = allowed_mode(f, kind, wish->mode);
    u8 raw[ATTR_SIZE];
    if (f->owner.model == OWNER_MAPPED) {
        st->st_mode = kind | mode;
        st->st_uid = wish->uid;
        st->st_gid = wish->gid;
        st->st_rdev = wish->rdev;
        attr_make(raw, st);
        return attr_write(f, fd, raw);
    }
    bool give = f->owner.host_uid == 0 && !is_owned(&f->owner, wish, st); /* only root can give a file away */
    bool set = kind != S_IFLNK && (st->st_mode & PERMISSION) != mode;
    int status = give ? host_chown(f, fd, wish->uid, wish->gid) : 0;
    if (!status && set)
        status = host_chmod(f, fd, mode);
    if (!status && (give || set) && fstat(fd, st) < 0)
        status = -errno;
    return status ? status : owner_show(f, fd, true, st);
}

/* Of the attribute as it is, or as it would begin. */
static int attr_change(const struct folder *f, int fd, u32 mode, u32 uid, u32 gid)
{
    struct stat st;
    u8 raw[ATTR_SIZE];
    int status = fstat(fd, &st) < 0 ? -errno : owner_show(f, fd, true, &st);
    if (status)
        return status;
    if (mode != KEEP)
        st.st_mode = (st.st_mode & S_IFMT) | (mode & PERMISSION);
    if (uid != KEEP)
        st.st_uid = uid;
    if (gid != KEEP)
        st.st_gid = gid;
    attr_make(raw, &st);
    return attr_write(f, fd, raw);
}

int owner_set_mode(const struct folder *f, int fd, u32 mode)
{
    struct stat st;
    if (f->owner.model == OWNER_MAPPED)
        return attr_change(f, fd, mode, KEEP, KEEP);
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -EOPNOTSUPP;
    return host_chmod(f, fd, allowed_mode(f, st.st_mode & S_IFMT, mode));
}

int owner_set_ids(const struct folder *f, int fd, u32 uid, u32 gid)
{
    if (f->owner.model == OWNER_MAPPED)
        return attr_change(f, fd, KEEP, uid, gid);
    int status = host_chown(f, fd, uid, gid);
    return status == -EPERM && f->owner.model == OWNER_NONE ? 0 : status;
}
