/*
 * Whose the files are: what the guest is shown and may change of owner, mode and kind. The models are called as QEMU
 * calls them.
 *
 *     none         files of the user who runs ring3 belong to one user of the guest (root), others to whom they belong
 *                  on the host. What is made belongs to the user. A change of owner that the host refuses is taken and
 *                  forgotten. No file becomes set-user-ID.
 *     passthrough  owners and modes are the host's, and what the host refuses is refused
 *     mapped       owner, mode, kind and device number are kept in an extended attribute, and the file itself stays the
 *                  user's, a regular one or a folder. So a guest's root can do all that root does: own, install, make
 *                  devices. Symbolic links are files with that kind, too.
 *
 * Reading the attribute opens the file, which may wait.
 */
#ifndef BACKEND_SHARE_OWNER_H
#define BACKEND_SHARE_OWNER_H

#include <sys/stat.h>

#include "base/types.h"

struct folder;

enum owner_model { OWNER_NONE, OWNER_PASSTHROUGH, OWNER_MAPPED };

struct owner {
    enum owner_model model;
    u32 uid, gid;           /* in the guest, of files of the user */
    u32 host_uid, host_gid; /* the user */
};

/* Names of attributes that begin so are the server's own. */
#define OWNER_PREFIX    "user.ring3."
#define OWNER_ATTRIBUTE OWNER_PREFIX "attr"

/* Turns what fstat said of the place into what the guest is shown. */
int owner_show(const struct folder *f, int fd, bool may_wait, struct stat *st) MUST_CHECK;

/* What a guest asks of a new file. */
struct owner_wish {
    u32 mode; /* with its kind */
    u32 uid, gid;
    u32 rdev; /* as stat(2) has it */
};

/* The kind and mode with which it has to be made on the host; -EPERM for what is never made. */
int owner_host_mode(const struct folder *f, u32 mode, u32 *host_mode) MUST_CHECK;
/* It was just made; `st` is what fstat says of it, and becomes what is shown. */
int owner_give(const struct folder *f, int fd, const struct owner_wish *wish, struct stat *st) MUST_CHECK;

/* chmod and chown. An id of 0xffffffff stays. */
int owner_set_mode(const struct folder *f, int fd, u32 mode) MUST_CHECK;
int owner_set_ids(const struct folder *f, int fd, u32 uid, u32 gid) MUST_CHECK;

#endif
