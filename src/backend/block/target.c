/*
 * Implements target.h.
 */
#include "backend/block/target.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE  0666 /* and what the umask leaves of it */
#define TRIES 100

/* The folder of a path, to be freed; NULL when out of memory. */
static char *folder_of(const char *path)
{
    char *copy = strdup(path), *folder = copy ? strdup(dirname(copy)) : NULL;
    free(copy);
    return folder;
}

/* What stands at the path now: must not be there, or be a file that may be replaced. */
static int check_old(const struct target *t, struct error *err)
{
    struct stat st;
    if (lstat(t->path, &st))
        return errno == ENOENT ? 0 : error_set(err, -errno, "%s: %s", t->path, strerror(errno));
    if (!t->force)
        return error_set(err, -EEXIST, "%s: is there already; --force replaces it", t->path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "%s: is no regular file, and is not replaced by one", t->path);
    int fd = open(t->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_set(err, -errno, "%s: cannot be replaced: %s", t->path, strerror(errno));
    int status = file_lock(fd, t->path, true, err);
    (void)close(fd);
    return status;
}

/* A name beside the real one that nobody has. */
static int temporary_name(struct target *t, int (*take)(struct target *t))
{
    for (unsigned i = 0; i < TRIES; i++) {
        free(t->temporary);
        if (asprintf(&t->temporary, "%s.ring3-%d-%u", t->path, (int)getpid(), i) < 0) {
            t->temporary = NULL;
            return -ENOMEM;
        }
        int status = take(t);
        if (!status)
            return 0;
        if (status != -EEXIST) {
            free(t->temporary);
            t->temporary = NULL;
            return status;
        }
    }
    return -EEXIST;
}

static int take_new(struct target *t)
{
    t->fd = open(t->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, MODE);
    return t->fd < 0 ? -errno : 0;
}

static int link_as(int fd, const char *name)
{
    char self[40];
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int take_link(struct target *t)
{
    return link_as(t->fd, t->temporary);
}

int target_begin(struct target *t, const char *path, bool force, struct error *err)
{
    *t = (struct target){.path = path, .fd = -1, .force = force};
    int status = check_old(t, err);
    if (status)
        return status;
    char *folder = folder_of(path);
    if (!folder)
        return error_set(err, -ENOMEM, "%s: out of memory", path);
    t->fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, MODE);
    status = t->fd < 0 ? -errno : 0;
    free(folder);
    if (status == -EOPNOTSUPP || status == -EISDIR || status == -EINVAL)
        status = temporary_name(t, take_new);
    return status ? error_set(err, status, "%s: cannot be made: %s", path, strerror(-status)) : 0;
}

void target_cancel(struct target *t)
{
    if (t->temporary)
        (void)unlink(t->temporary);
    free(t->temporary);
    if (t->fd >= 0)
        (void)close(t->fd);
    *t = (struct target){.fd = -1};
}

/* The name itself has to be durable too. */
static int sync_folder(const char *path)
{
    char *folder = folder_of(path);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int status = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        (void)close(fd);
    free(folder);
    return status == -EINVAL ? 0 : status; /* file systems that have no such thing */
}

/* link never replaces a file, rename does. */
static int give_name(struct target *t)
{
    int status = 0;
    if (!t->temporary && !t->force)
        return link_as(t->fd, t->path);
    if (!t->temporary)
        status = temporary_name(t, take_link);
    if (!status && renameat2(AT_FDCWD, t->temporary, AT_FDCWD, t->path, t->force ? 0 : RENAME_NOREPLACE) < 0)
        status = -errno;
    if (status)
        return status;
    free(t->temporary);
    t->temporary = NULL;
    return 0;
}

int target_finish(struct target *t, struct error *err)
{
    const char *path = t->path;
    int status = fsync(t->fd) < 0 ? -errno : 0;
    if (!status)
        status = give_name(t);
    if (!status)
        status = sync_folder(path);
    target_cancel(t);
    if (status == -EEXIST)
        return error_set(err, status, "%s: is there already; --force replaces it", path);
    return status ? error_set(err, status, "%s: cannot be written: %s", path, strerror(-status)) : 0;
}
