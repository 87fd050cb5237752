/*
 * Messages that make, move and remove names in folders. A name is a single one, so the host's calls find it in the
 * folder whose descriptor they are given, and follow no link.
 */
#include "backend/share/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ERROR_OF(call) ((call) < 0 ? -errno : 0)

/* A new name: where, what, and who asks. */
struct make {
    struct hold dir;
    char name[P9_NAME_MAX + 1];
    struct owner_wish wish;
};

static int make_begin(struct server *s, struct message *m, u32 number, struct message_text text, struct make *k)
{
    int status = message_bad(m) ? -EINVAL : message_name(text, k->name);
    if (!status)
        status = hold_get(s, m, number, &k->dir);
    if (!status)
        k->wish.uid = k->dir.fid->uid;
    return status;
}

/* It was made: to whom it belongs, and its qid for the reply. */
static int make_end(struct server *s, struct message *m, struct make *k)
{
    struct stat st, host;
    int status;
    struct place *p = server_step(s, k->dir.fd, k->name, true, &st, &status);
    if (!p)
        return status;
    status = ERROR_OF(fstat(p->fd, &host));
    if (!status)
        status = owner_give(&s->folder, p->fd, &k->wish, &host);
    place_drop(&s->fids, p);
    reply_qid(m, s, &host);
    return status;
}

int op_mkdir(struct server *s, struct message *m)
{
    struct make k = {0};
    u32 number = message_u32(m), host_mode = 0;
    struct message_text text = message_text(m);
    k.wish.mode = S_IFDIR | (message_u32(m) & 07777);
    k.wish.gid = message_u32(m);
    int status = make_begin(s, m, number, text, &k);
    if (!status)
        status = owner_host_mode(&s->folder, k.wish.mode, &host_mode);
    if (!status)
        status = ERROR_OF(mkdirat(k.dir.fd, k.name, host_mode & 0777));
    if (!status)
        status = make_end(s, m, &k);
    hold_put(s, &k.dir);
    return status;
}

int op_mknod(struct server *s, struct message *m)
{
    struct make k = {0};
    u32 number = message_u32(m), host_mode = 0;
    struct message_text text = message_text(m);
    k.wish.mode = message_u32(m) & (S_IFMT | 07777);
    u32 major = message_u32(m), minor = message_u32(m);
    k.wish.rdev = (u32)makedev(major & 0xfff, minor & 0xfffff);
    k.wish.gid = message_u32(m);
    u32 kind = k.wish.mode & S_IFMT;
    if (kind == 0)
        k.wish.mode |= S_IFREG;
    else if (kind == S_IFDIR || kind == S_IFLNK)
        return -EINVAL;
    int status = make_begin(s, m, number, text, &k);
    if (!status)
        status = owner_host_mode(&s->folder, k.wish.mode, &host_mode);
    if (!status)
        status = ERROR_OF(mknodat(k.dir.fd, k.name, host_mode & (S_IFMT | 0777), 0));
    if (!status)
        status = make_end(s, m, &k);
    hold_put(s, &k.dir);
    return status;
}

/* With mapped owners a link is a file that has the target in it, as a link cannot have the attribute. */
static int make_link_file(struct server *s, const struct make *k, const char *target)
{
    int fd = folder_create(&s->folder, k->dir.fd, k->name, O_WRONLY, 0600);
    if (fd < 0)
        return fd;
    size_t len = strlen(target);
    ssize_t n = write(fd, target, len);
    int status = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
    (void)close(fd);
    if (status)
        (void)unlinkat(k->dir.fd, k->name, 0);
    return status;
}

int op_symlink(struct server *s, struct message *m)
{
    struct make k = {.wish = {.mode = S_IFLNK | 0777}};
    char target[P9_TEXT_MAX];
    u32 number = message_u32(m);
    struct message_text text = message_text(m), to = message_text(m);
    k.wish.gid = message_u32(m);
    int status = make_begin(s, m, number, text, &k);
    if (!status)
        status = message_copy(to, target, sizeof(target));
    if (!status && s->folder.owner.model == OWNER_MAPPED)
        status = make_link_file(s, &k, target);
    else if (!status)
        status = ERROR_OF(symlinkat(target, k.dir.fd, k.name));
    if (!status)
        status = make_end(s, m, &k);
    hold_put(s, &k.dir);
    return status;
}

static int read_link(struct server *s, int fd, char target[P9_TEXT_MAX])
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    ssize_t n;
    if (S_ISLNK(st.st_mode)) {
        n = readlinkat(fd, "", target, P9_TEXT_MAX);
        return n < 0 ? -errno : (int)n;
    }
    int status = owner_show(&s->folder, fd, true, &st);
    if (!status && !S_ISLNK(st.st_mode))
        status = -EINVAL;
    int file = status ? status : folder_reopen(&s->folder, fd, O_RDONLY);
    if (file < 0)
        return file;
    n = pread(file, target, P9_TEXT_MAX, 0);
    status = n < 0 ? -errno : (int)n;
    (void)close(file);
    return status;
}

int op_readlink(struct server *s, struct message *m)
{
    struct hold h;
    char target[P9_TEXT_MAX];
    u32 number = message_u32(m);
    if (message_bad(m))
        return -EINVAL;
    int status = hold_get(s, m, number, &h);
    if (!status)
        status = read_link(s, h.fd, target);
    hold_put(s, &h);
    if (status < 0)
        return status;
    reply_text(m, target, (size_t)status);
    return 0;
}

/* By the number of the descriptor: a new name for the very file that the fid stands for. */
int op_link(struct server *s, struct message *m)
{
    struct make k = {0};
    struct hold file = {0};
    u32 dir = message_u32(m), number = message_u32(m);
    struct message_text text = message_text(m);
    int status = make_begin(s, m, dir, text, &k);
    if (!status)
        status = hold_get(s, m, number, &file);
    if (!status)
        status = ERROR_OF(linkat(s->folder.self, folder_link(file.fd).text, k.dir.fd, k.name, AT_SYMLINK_FOLLOW));
    hold_put(s, &file);
    hold_put(s, &k.dir);
    return status;
}

/* Renaming */

/* Notes where it was and will be, where anybody wants to know. */
struct move {
    int from, to;
    const char *name, *new_name;
};

static bool path_of(struct server *s, int dir, const char *name, char path[PATH_MAX])
{
    if (folder_locate(&s->folder, dir, path))
        return false;
    size_t len = strlen(path), more = strlen(name);
    if (strcmp(path, ".") == 0)
        len = 0;
    else if (len + 1 + more < PATH_MAX)
        path[len++] = '/';
    if (len + more >= PATH_MAX)
        return false;
    memcpy(path + len, name, more + 1);
    return true;
}

static int move(struct server *s, const struct move *v)
{
    char from[PATH_MAX], to[PATH_MAX];
    bool noted = fids_any_away(&s->fids) && path_of(s, v->from, v->name, from) && path_of(s, v->to, v->new_name, to);
    int status = ERROR_OF(renameat2(v->from, v->name, v->to, v->new_name, 0));
    if (!status && noted)
        fids_renamed(&s->fids, from, to);
    return status;
}

int op_renameat(struct server *s, struct message *m)
{
    struct hold from = {0}, to = {0};
    char name[P9_NAME_MAX + 1], new_name[P9_NAME_MAX + 1];
    u32 from_number = message_u32(m);
    struct message_text text = message_text(m);
    u32 to_number = message_u32(m);
    struct message_text new_text = message_text(m);
    int status = message_bad(m) ? -EINVAL : message_name(text, name);
    if (!status)
        status = message_name(new_text, new_name);
    if (!status)
        status = hold_get(s, m, from_number, &from);
    if (!status)
        status = hold_get(s, m, to_number, &to);
    if (!status)
        status = move(s, &(struct move){from.fd, to.fd, name, new_name});
    hold_put(s, &from);
    hold_put(s, &to);
    return status;
}

/* The folder that a fid's file is in, as a place with one user, and its name there, which still leads to that file: in
 * the moment before it is used, which is as good as a name gets. */
static struct place *parent_of(struct server *s, int fd, char path[PATH_MAX], const char **name, int *status)
{
    struct stat st, own, there;
    *status = folder_locate_parent(&s->folder, fd, path, name);
    struct place *p = *status ? NULL : server_find(s, path, true, &st, status);
    if (!p)
        return NULL;
    if (fstat(fd, &own) < 0 || fstatat(p->fd, *name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        *status = -errno;
    else if (own.st_dev != there.st_dev || own.st_ino != there.st_ino)
        *status = -ESTALE;
    if (!*status)
        return p;
    place_drop(&s->fids, p);
    return NULL;
}

int op_rename(struct server *s, struct message *m)
{
    struct hold file = {0}, to = {0};
    char new_name[P9_NAME_MAX + 1], path[PATH_MAX];
    const char *name;
    u32 number = message_u32(m), to_number = message_u32(m);
    struct message_text text = message_text(m);
    int status = message_bad(m) ? -EINVAL : message_name(text, new_name);
    if (!status)
        status = hold_get(s, m, number, &file);
    if (!status)
        status = hold_get(s, m, to_number, &to);
    struct place *p = status ? NULL : parent_of(s, file.fd, path, &name, &status);
    if (p) {
        status = move(s, &(struct move){p->fd, to.fd, name, new_name});
        place_drop(&s->fids, p);
    }
    hold_put(s, &file);
    hold_put(s, &to);
    return status;
}

/* Removing */

int op_unlinkat(struct server *s, struct message *m)
{
    struct hold dir = {0};
    char name[P9_NAME_MAX + 1];
    u32 number = message_u32(m);
    struct message_text text = message_text(m);
    u32 flags = message_u32(m);
    int status = message_bad(m) || flags & ~P9_UNLINK_DIR ? -EINVAL : message_name(text, name);
    if (!status)
        status = hold_get(s, m, number, &dir);
    if (!status)
        status = ERROR_OF(unlinkat(dir.fd, name, flags & P9_UNLINK_DIR ? AT_REMOVEDIR : 0));
    hold_put(s, &dir);
    return status;
}

/* The fid is gone whether the file goes or not. */
int op_remove(struct server *s, struct message *m)
{
    struct hold file = {0};
    struct stat st;
    char path[PATH_MAX];
    const char *name;
    u32 number = message_u32(m);
    int status = message_bad(m) ? -EINVAL : hold_get(s, m, number, &file);
    if (!status && s->folder.read_only)
        status = -EROFS;
    struct place *p = status ? NULL : parent_of(s, file.fd, path, &name, &status);
    if (p) {
        status = ERROR_OF(fstat(file.fd, &st));
        if (!status)
            status = ERROR_OF(unlinkat(p->fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0));
        place_drop(&s->fids, p);
    }
    hold_put(s, &file);
    (void)fid_remove(&s->fids, number);
    return status;
}
