/*
 * Implements folder.h.
 */
#include "backend/share/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12; older ones refuse it */
#endif
#define CONFINED (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define TRIES    16 /* the kernel gives up on a path when something is renamed meanwhile */

static int call_openat2(int dir, const char *path, u64 flags, u64 mode, u64 resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

static bool is_of(int fd, const u32 *types, size_t count)
{
    struct statfs st;
    if (fstatfs(fd, &st) < 0)
        return true;
    for (size_t i = 0; i < count; i++)
        if ((u32)st.f_type == types[i])
            return true;
    return false;
}

/* f_type of statfs(2) for those in which a read or write is an order to the kernel. */
static bool is_kernels(int fd)
{
    static const u32 types[] = {
        0x00009fa0 /* proc */,       0x62656572 /* sysfs */,       0x64626720 /* debugfs */, 0x74726163 /* tracefs */,
        0x73636673 /* securityfs */, 0x0027e0eb /* cgroup */,      0x63677270 /* cgroup2 */, 0xcafe4a11 /* bpf */,
        0xde5e81e4 /* efivarfs */,   0x62656570 /* configfs */,    0x6165676c /* pstore */,  0xf97cff8c /* selinuxfs */,
        0x43415d53 /* smackfs */,    0x42494e4d /* binfmt_misc */, 0x65735543 /* fusectl */, 0x19800202 /* mqueue */,
        0x6e736673 /* nsfs */,
    };
    return is_of(fd, types, ARRAY_SIZE(types));
}

static bool is_remote(int fd)
{
    static const u32 types[] = {0x00006969 /* nfs */,
                                0xff534d42 /* cifs */,
                                0xfe534d42 /* smb2 */,
                                0x65735546 /* fuse */,
                                0x00c36400 /* ceph */,
                                0x01021997 /* 9p */,
                                0x5346414f /* afs */};
    return is_of(fd, types, ARRAY_SIZE(types));
}

bool folder_is_barred(const struct folder *f, int fd, const struct stat *st)
{
    return st->st_dev != f->dev && is_kernels(fd);
}

bool folder_is_remote(const struct folder *f, int fd, const struct stat *st)
{
    return st->st_dev == f->dev ? f->remote : is_remote(fd);
}

/* What is at the end of a step. The root of a file system of the kernel may be; a file that is mounted alone not. */
static int check_place(const struct folder *f, int fd, struct stat *st)
{
    int status = fstat(fd, st) < 0 ? -errno : 0;
    if (!status && !S_ISDIR(st->st_mode) && folder_is_barred(f, fd, st))
        status = -EACCES;
    if (!status)
        return fd;
    (void)close(fd);
    return status;
}

static int open_place(int dir, const char *path, bool may_wait)
{
    u64 resolve = CONFINED | (may_wait ? 0 : RESOLVE_CACHED);
    int fd = -EAGAIN;
    for (int i = 0; i < (may_wait ? TRIES : 1) && fd == -EAGAIN; i++)
        fd = call_openat2(dir, path, O_PATH | O_NOFOLLOW, 0, resolve);
    return fd == -EINVAL && !may_wait ? -EAGAIN : fd;
}

int folder_step(const struct folder *f, int dir, const char *name, bool may_wait, struct stat *st)
{
    int fd = open_place(dir, name, may_wait);
    return fd < 0 ? fd : check_place(f, fd, st);
}

int folder_find(const struct folder *f, const char *path, bool may_wait, struct stat *st)
{
    return folder_step(f, f->fd, path, may_wait, st);
}

struct folder_link folder_link(int fd)
{
    struct folder_link link;
    (void)snprintf(link.text, sizeof(link.text), "%d", fd);
    return link;
}

static int read_link(const struct folder *f, int fd, char path[PATH_MAX])
{
    ssize_t n = readlinkat(f->self, folder_link(fd).text, path, PATH_MAX);
    if (n < 0)
        return -errno;
    if (n == PATH_MAX)
        return -ENAMETOOLONG;
    path[n] = '\0';
    return 0;
}

int folder_path(const struct folder *f, char path[PATH_MAX])
{
    return read_link(f, f->fd, path);
}

/* What is unlinked has " (deleted)" behind its last name; a file that is really called so has no path for us. */
int folder_locate(const struct folder *f, int fd, char path[PATH_MAX])
{
    static const char gone[] = " (deleted)";
    char base[PATH_MAX];
    int status = read_link(f, f->fd, base);
    if (!status)
        status = read_link(f, fd, path);
    if (status)
        return status;
    size_t skip = strcmp(base, "/") == 0 ? 0 : strlen(base), len = strlen(path);
    if (len >= sizeof(gone) - 1 && strcmp(path + len - (sizeof(gone) - 1), gone) == 0)
        return -ESTALE;
    if (strncmp(path, base, skip) != 0 || (path[skip] != '/' && path[skip] != '\0'))
        return -ESTALE;
    while (path[skip] == '/')
        skip++;
    if (!path[skip])
        return (int)strlen(strcpy(path, ".")) - 1;
    memmove(path, path + skip, len + 1 - skip);
    return 0;
}

int folder_locate_parent(const struct folder *f, int fd, char path[PATH_MAX], const char **name)
{
    int status = folder_locate(f, fd, path);
    if (status)
        return status;
    if (strcmp(path, ".") == 0)
        return -EBUSY;
    char *slash = strrchr(path, '/');
    if (slash) {
        *slash = '\0';
        *name = slash + 1;
        return 0;
    }
    size_t len = strlen(path);
    if (len + 3 > PATH_MAX)
        return -ENAMETOOLONG;
    memmove(path + 2, path, len + 1);
    path[0] = '.';
    path[1] = '\0';
    *name = path + 2;
    return 0;
}

int folder_reopen_as(const struct folder *f, int fd, u32 mode, int flags)
{
    if (S_ISDIR(mode))
        return call_openat2(fd, ".", (u64)(flags | O_DIRECTORY | O_NOCTTY), 0, CONFINED);
    if (!S_ISREG(mode))
        return S_ISLNK(mode) ? -ELOOP : -ENXIO;
    return call_openat2(f->self, folder_link(fd).text, (u64)(flags | O_NONBLOCK | O_NOCTTY), 0, 0);
}

int folder_reopen(const struct folder *f, int fd, int flags)
{
    struct stat st;
    return fstat(fd, &st) < 0 ? -errno : folder_reopen_as(f, fd, st.st_mode, flags);
}

int folder_create(const struct folder *f, int dir, const char *name, int flags, u32 mode)
{
    int fd = -EAGAIN;
    for (int i = 0; i < TRIES && fd == -EAGAIN; i++)
        fd = call_openat2(dir, name, (u64)(flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY), mode, CONFINED);
    return fd;
}

/* Opening */

static int bad_folder(const char *path, int status, struct error *err)
{
    if (status == -ENOENT)
        return error_set(err, status, "%s: there is no such folder; make it, or give the path of one that is there",
                         path);
    if (status == -ENOTDIR)
        return error_set(err, status, "%s: not a folder; give the path of one", path);
    return error_set(err, status, "%s: cannot be opened: %s", path, strerror(-status));
}

/* The user gave this path: its links are the user's. */
static int open_folder(struct folder *f, const char *path, struct error *err)
{
    struct stat st = {0};
    f->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int status = f->fd < 0 || fstat(f->fd, &st) < 0 ? -errno : 0;
    int try = status ? status : call_openat2(f->fd, ".", O_RDONLY | O_DIRECTORY, 0, CONFINED);
    if (try == -ENOSYS)
        return error_set(err, -ENOTSUP, "%s: the host's kernel has no openat2 (Linux 5.6): folders cannot be shared",
                         path);
    if (try < 0)
        return bad_folder(path, try, err);
    (void)close(try);
    if (is_kernels(f->fd))
        return error_set(err, -EINVAL, "%s: belongs to the host's kernel and cannot be shared; give an ordinary folder",
                         path);
    f->dev = st.st_dev;
    f->remote = is_remote(f->fd);
    return 0;
}

int folder_open(struct folder *f, const char *path, struct error *err)
{
    f->fd = -1;
    f->self = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (f->self < 0)
        return error_set(err, -ENOTSUP, "%s: sharing a folder needs /proc on the host: %s", path, strerror(errno));
    int status = open_folder(f, path, err);
    if (status)
        folder_close(f);
    return status;
}

void folder_close(struct folder *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    if (f->self >= 0)
        (void)close(f->self);
    f->fd = f->self = -1;
}
