/*
 * The folder of the host: every step into it, and why none leads out.
 *
 * A place in the folder is an O_PATH descriptor. It is made by openat2(2) from the descriptor above it and one name
 * without '/', with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS: a symbolic link is a place of its
 * own and never followed, and what was a folder a moment ago and is a link now is a link. An O_PATH descriptor opens
 * nothing: fstat says what it is before anything else is done, and only regular files and folders are opened. They are
 * opened by the number of the descriptor in /proc/self/fd, which leads to the very file that fstat looked at, whatever
 * its name leads to by now, and so to no device, no FIFO, and nothing outside.
 *
 * Mounts below the folder are crossed, but not into file systems of the kernel (proc, sysfs and their like), in which
 * files are not files: /proc/self/mem is the memory of this process. Where one is mounted the guest sees an empty
 * folder, in which it can mount its own.
 *
 * Functions return a descriptor or 0, or -errno. With `may_wait` false they fail with -EAGAIN where the answer is not
 * in the host's memory.
 */
#ifndef BACKEND_SHARE_FOLDER_H
#define BACKEND_SHARE_FOLDER_H

#include <limits.h>
#include <sys/stat.h>

#include "backend/share/owner.h"
#include "base/error.h"
#include "base/types.h"

struct folder {
    int fd;   /* O_PATH */
    int self; /* /proc/self/fd, O_PATH */
    u64 dev;
    bool remote; /* a file system of the network or of a program, where everything may wait */
    bool read_only;
    struct owner owner;
};

int folder_open(struct folder *f, const char *path, struct error *err) MUST_CHECK;
void folder_close(struct folder *f);

/* The entry `name` of the folder `dir`, which is not barred, as a new place. */
int folder_step(const struct folder *f, int dir, const char *name, bool may_wait, struct stat *st) MUST_CHECK;
/* A path that folder_locate made; "." is the folder itself. */
int folder_find(const struct folder *f, const char *path, bool may_wait, struct stat *st) MUST_CHECK;
/* A folder that is the root of a file system of the kernel. `st`: of fstat. */
bool folder_is_barred(const struct folder *f, int fd, const struct stat *st);
/* It lies on a file system where everything may wait, as f->remote says of the folder itself. */
bool folder_is_remote(const struct folder *f, int fd, const struct stat *st);
/* Where the folder is on the host. */
int folder_path(const struct folder *f, char path[PATH_MAX]) MUST_CHECK;
/* The path of a place from the folder on, as things stand; -ESTALE if it has none any more, or lies outside by now. */
int folder_locate(const struct folder *f, int fd, char path[PATH_MAX]) MUST_CHECK;
/* The same, of the folder that the place is in, and its name there. -EBUSY for the folder itself. */
int folder_locate_parent(const struct folder *f, int fd, char path[PATH_MAX], const char **name) MUST_CHECK;

/* Opens a regular file or a folder for reading or writing. `flags`: access mode, O_TRUNC, O_SYNC, O_DSYNC. */
int folder_reopen(const struct folder *f, int fd, int flags) MUST_CHECK;
/* The same, of what fstat says is of that mode. */
int folder_reopen_as(const struct folder *f, int fd, u32 mode, int flags) MUST_CHECK;
/* Makes a regular file that was not there and opens it. */
int folder_create(const struct folder *f, int dir, const char *name, int flags, u32 mode) MUST_CHECK;

/* The name of a descriptor in f->self, for calls that take a path. */
struct folder_link {
    char text[12];
};
struct folder_link folder_link(int fd);

#endif
