/*
 * Fids: the handles that a guest has on places of the folder, and the descriptors behind them.
 *
 * A client of 9P keeps a fid for each file that it remembers, which may be many more than a process may have
 * descriptors. So a place that nobody is using may lose its descriptor: its path is asked of the kernel and noted, and
 * when it is used again, opened anew; if another file is there by then, that is -ESTALE. Renames made through the
 * server change noted paths. What is open for reading or writing keeps its descriptor.
 *
 * Several fids can share a place. All is counted: a fid that an operation has is not freed under it, nor is a place's
 * descriptor closed. Any thread.
 */
#ifndef BACKEND_SHARE_FID_H
#define BACKEND_SHARE_FID_H

#include <pthread.h>

#include "backend/share/folder.h"
#include "base/list.h"
#include "base/types.h"

struct place {
    struct list node; /* among the idle or the away */
    char *path;       /* NULL while it has a descriptor */
    int fd;           /* -1: away */
    bool barred;      /* folder_is_barred */
    bool remote;      /* folder_is_remote */
    u64 dev, ino;
    unsigned refs, users; /* of the place, and of its descriptor */
};

/* An extended attribute that is being read or written; in place of a file. */
struct fid_attr {
    bool write;
    int flags;
    u32 size, done;
    char name[256];
    u8 value[];
};

struct fid {
    struct fid *next; /* in its bucket */
    u32 number;
    u32 uid; /* for whom it was attached */
    unsigned refs;
    struct place *place;
    struct fid_attr *attr; /* NULL: a file */
    int io;                /* open for reading or writing; -1: not */
    bool is_folder;        /* `io` is one */
    bool writes;           /* or is open for writing: its close may take time */
    i64 stands, end;       /* of an open folder: where the host reads on, and where it saw the end; -1: unknown */
    pthread_mutex_t lock;  /* for these two, and what is in `attr` */
};

struct fids {
    const struct folder *folder;
    pthread_mutex_t lock;
    struct fid **bucket;
    unsigned buckets, count;
    struct list idle, away;      /* places: with a descriptor that nobody uses, the longest first; without one */
    unsigned descriptors, limit; /* of places, and those that are open */
    u64 bytes, paths;            /* of attributes, and of the paths of what is away */
};

static inline int fid_io(const struct fid *f)
{
    return __atomic_load_n(&f->io, __ATOMIC_ACQUIRE);
}

static inline struct fid_attr *fid_attr(const struct fid *f)
{
    return __atomic_load_n(&f->attr, __ATOMIC_ACQUIRE);
}

int fids_init(struct fids *t, const struct folder *folder, unsigned limit) MUST_CHECK;
void fids_fini(struct fids *t);
/* All of them are gone; those in use when they are put. */
void fids_clear(struct fids *t);

/* NULL if there is none. */
struct fid *fid_get(struct fids *t, u32 number);
void fid_put(struct fids *t, struct fid *f);

/* A new one, not in the table; takes over the caller's use of `place`. NULL when out of memory, and then the place is
 * given up, too. */
struct fid *fid_create(struct fids *t, u32 number, u32 uid, struct place *place);
/* Into the table, which has it from now on, also on failure. -EEXIST if the number is taken, unless `replace` is it. */
int fid_insert(struct fids *t, struct fid *f, const struct fid *replace) MUST_CHECK;
/* Out of the table; false if there was none. */
bool fid_remove(struct fids *t, u32 number);

/* `fd` becomes what the fid reads and writes by; -EBUSY if there is one, and then it is closed. The caller has reserved
 * it. */
int fid_set_io(struct fids *t, struct fid *f, int fd, bool is_folder, bool writes) MUST_CHECK;
/* Room for an attribute of that size. */
int fid_set_attr(struct fids *t, struct fid *f, const char *name, u32 size, bool write, int flags) MUST_CHECK;

/* One more descriptor is about to be: others give theirs up if there are too many. -EMFILE. */
int fids_reserve(struct fids *t) MUST_CHECK;
void fids_unreserve(struct fids *t);

/* A place that was just found, with one user; takes over the descriptor, which was reserved. */
struct place *place_create(struct fids *t, int fd, const struct stat *st);
/* Its descriptor, until place_done; or -errno. */
int place_use(struct fids *t, struct place *p, bool may_wait) MUST_CHECK;
void place_done(struct fids *t, struct place *p);
/* As place_done, and it refers to it no more. */
void place_drop(struct fids *t, struct place *p);
/* One more that refers to it and uses it. */
int place_share(struct fids *t, struct place *p, bool may_wait) MUST_CHECK;

/* What was at `from` is at `to` now. */
void fids_renamed(struct fids *t, const char *from, const char *to);
/* Is any place away? Else nobody needs to know of renames. */
bool fids_any_away(struct fids *t);

#endif
