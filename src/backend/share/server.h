/*
 * The server of one folder: a session, its fids, and what each message does (a table in server.c; the handlers stand in
 * the op_*.c files). Any thread, several at once.
 *
 * No message trusts another: between two of them the host, or another message, may have changed everything.
 */
#ifndef BACKEND_SHARE_SERVER_H
#define BACKEND_SHARE_SERVER_H

#include <stdatomic.h>

#include "backend/share/fid.h"
#include "backend/share/folder.h"
#include "backend/share/message.h"

struct server {
    struct folder folder;
    struct fids fids;
    atomic_uint msize; /* 0: no version is agreed on */
};

/* The folder is the server's from now on, also on failure. `limit`: of descriptors. */
int server_init(struct server *s, const struct folder *folder, unsigned limit) MUST_CHECK;
void server_fini(struct server *s);
void server_reset(struct server *s);

/* How long a message may take. */
enum server_pace {
    PACE_KNOWN,  /* without m->may_wait it ends at once or says that it cannot, and then it is slow */
    PACE_EITHER, /* or says that it cannot, and then it is brisk */
    PACE_BRISK,  /* microseconds while the host's memory has what it needs, and nobody knows whether it has */
    PACE_SLOW,
};
enum server_pace server_pace(const struct message *m);
/* It is about a place on a file system of the network or of a program: how long that takes is nobody's promise. */
bool server_remote(struct server *s, const struct message *m);

/* Carries a message out and writes the reply, whose length it returns; 0 if that may wait for the host's disk, and
 * m->may_wait says that it must not. Tflush is not for the server. */
u32 server_handle(struct server *s, struct message *m);

/* For the handlers: 0, or -errno; -EAGAIN where it would have to wait and must not. */
typedef int server_fn(struct server *s, struct message *m);

server_fn op_walk, op_attach, op_clunk, op_version;
server_fn op_lopen, op_lcreate, op_read, op_write, op_readdir, op_fsync, op_lock, op_getlock;
server_fn op_symlink, op_mknod, op_mkdir, op_link, op_rename, op_renameat, op_unlinkat, op_remove, op_readlink;
server_fn op_getattr, op_setattr, op_statfs, op_xattrwalk, op_xattrcreate;

/* A fid in use, with a descriptor of its file: what it has open, or the place's. */
struct hold {
    struct fid *fid;
    int fd;
    bool place; /* the place's: to be put back */
};

/* -EBADF if there is no such fid, or it is an attribute; -EROFS if the message would change what is barred. */
int hold_get(struct server *s, const struct message *m, u32 number, struct hold *h) MUST_CHECK;
/* Also after a failure, and twice. */
void hold_put(struct server *s, struct hold *h);

/* The 13 bytes by which a client tells files apart. */
void reply_qid(struct message *m, const struct server *s, const struct stat *st);
void qid_make(u8 raw[P9_QID_SIZE], u8 type, u32 version, u64 path);
/* Its path, for a file of that device and number. */
u64 qid_path(const struct server *s, u64 dev, u64 ino);

/* The entry `name` of a folder, or what is at a path that folder_locate made, as a place with one user; `st` is what
 * the guest is shown. NULL with *status. */
struct place *server_step(struct server *s, int dir, const char *name, bool may_wait, struct stat *st, int *status);
struct place *server_find(struct server *s, const char *path, bool may_wait, struct stat *st, int *status);

/* How much of `count` bytes of data one reply can bring. */
u32 server_room(const struct server *s, const struct message *m, u32 count);

/* What was written to an attribute is put in its place: when the fid is clunked. */
int op_attr_end(struct server *s, struct fid *f) MUST_CHECK;

#endif
