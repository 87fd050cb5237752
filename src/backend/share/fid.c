/*
 * Implements fid.h.
 */
#include "backend/share/fid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/share/p9.h"
#include "base/bits.h"

#define FIDS_MAX    (1u << 20)
#define BUCKETS_MIN 256
#define BYTES_MAX   MiB(64)  /* of attributes that are being read or written */
#define PATHS_MAX   MiB(256) /* of places that are away */
#define EVICT_TRIES 16

/* Places. The lock is held where a function is called *_locked. */

static void path_drop_locked(struct fids *t, struct place *p)
{
    if (p->path)
        t->paths -= strlen(p->path);
    free(p->path);
    p->path = NULL;
}

static void place_unref_locked(struct fids *t, struct place *p)
{
    if (--p->refs)
        return;
    list_remove(&p->node);
    if (p->fd >= 0) {
        (void)close(p->fd);
        t->descriptors--;
    }
    path_drop_locked(t, p);
    free(p);
}

static void place_unuse_locked(struct fids *t, struct place *p)
{
    if (--p->users == 0)
        list_insert(&t->idle, &p->node);
}

static void place_take_locked(struct place *p)
{
    if (p->users++ == 0)
        list_remove(&p->node);
}

/* Notes the path and closes. What has none keeps its descriptor and goes to the end of the row. */
static bool evict_locked(struct fids *t, struct place *p)
{
    char path[PATH_MAX];
    list_remove(&p->node);
    if (t->paths < PATHS_MAX && !folder_locate(t->folder, p->fd, path))
        p->path = strdup(path);
    if (!p->path) {
        list_insert(&t->idle, &p->node);
        return false;
    }
    t->paths += strlen(p->path);
    (void)close(p->fd);
    p->fd = -1;
    t->descriptors--;
    list_insert(&t->away, &p->node);
    return true;
}

static int reserve_locked(struct fids *t)
{
    for (int i = 0; i < EVICT_TRIES && t->descriptors >= t->limit && !list_empty(&t->idle); i++)
        (void)evict_locked(t, container_of(t->idle.next, struct place, node));
    if (t->descriptors >= t->limit)
        return -EMFILE;
    t->descriptors++;
    return 0;
}

int fids_reserve(struct fids *t)
{
    pthread_mutex_lock(&t->lock);
    int status = reserve_locked(t);
    pthread_mutex_unlock(&t->lock);
    return status;
}

void fids_unreserve(struct fids *t)
{
    pthread_mutex_lock(&t->lock);
    t->descriptors--;
    pthread_mutex_unlock(&t->lock);
}

struct place *place_create(struct fids *t, int fd, const struct stat *st)
{
    struct place *p = malloc(sizeof(*p));
    if (!p) {
        (void)close(fd);
        fids_unreserve(t);
        return NULL;
    }
    *p = (struct place){.fd = fd,
                        .barred = folder_is_barred(t->folder, fd, st),
                        .remote = folder_is_remote(t->folder, fd, st),
                        .dev = st->st_dev,
                        .ino = st->st_ino,
                        .refs = 1,
                        .users = 1};
    list_init(&p->node);
    return p;
}

/* Opens a place that is away, where it was noted to be. Of two that do so at once, one was for nothing. */
static int place_return(struct fids *t, struct place *p, bool may_wait)
{
    char path[PATH_MAX] = "";
    struct stat st;
    pthread_mutex_lock(&t->lock);
    if (p->path)
        (void)strncpy(path, p->path, sizeof(path) - 1);
    int status = p->fd >= 0 ? 0 : reserve_locked(t);
    bool there = p->fd >= 0;
    pthread_mutex_unlock(&t->lock);
    if (status || there)
        return status;
    int fd = folder_find(t->folder, path, may_wait, &st);
    if (fd >= 0 && (st.st_dev != p->dev || st.st_ino != p->ino)) {
        (void)close(fd);
        fd = -ESTALE;
    }
    pthread_mutex_lock(&t->lock);
    if (p->fd < 0 && fd >= 0) {
        path_drop_locked(t, p);
        p->fd = fd;
        fd = 0; /* it has it */
    } else {
        there = p->fd >= 0;
        t->descriptors--;
    }
    pthread_mutex_unlock(&t->lock);
    if (there && fd > 0)
        (void)close(fd);
    return there || fd >= 0 ? 0 : fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
}

static int use(struct fids *t, struct place *p, bool may_wait, unsigned refs)
{
    pthread_mutex_lock(&t->lock);
    p->refs += refs;
    place_take_locked(p);
    int fd = p->fd;
    pthread_mutex_unlock(&t->lock);
    if (fd >= 0)
        return fd;
    int status = place_return(t, p, may_wait);
    if (!status)
        return p->fd;
    pthread_mutex_lock(&t->lock);
    if (--p->users == 0)
        list_insert(p->fd < 0 ? &t->away : &t->idle, &p->node);
    if (refs)
        place_unref_locked(t, p);
    pthread_mutex_unlock(&t->lock);
    return status;
}

int place_use(struct fids *t, struct place *p, bool may_wait)
{
    return use(t, p, may_wait, 0);
}

int place_share(struct fids *t, struct place *p, bool may_wait)
{
    return use(t, p, may_wait, 1);
}

void place_done(struct fids *t, struct place *p)
{
    pthread_mutex_lock(&t->lock);
    place_unuse_locked(t, p);
    pthread_mutex_unlock(&t->lock);
}

void place_drop(struct fids *t, struct place *p)
{
    pthread_mutex_lock(&t->lock);
    place_unuse_locked(t, p);
    place_unref_locked(t, p);
    pthread_mutex_unlock(&t->lock);
}

bool fids_any_away(struct fids *t)
{
    pthread_mutex_lock(&t->lock);
    bool any = !list_empty(&t->away);
    pthread_mutex_unlock(&t->lock);
    return any;
}

static void place_renamed_locked(struct fids *t, struct place *p, const char *from, size_t len, const char *to)
{
    char path[PATH_MAX];
    if (strncmp(p->path, from, len) != 0 || (p->path[len] != '/' && p->path[len] != '\0'))
        return;
    size_t head = strlen(to), tail = strlen(p->path + len);
    if (head + tail >= sizeof(path)) /* it has no path that could be opened */
        return;
    memcpy(path, to, head);
    memcpy(path + head, p->path + len, tail + 1);
    char *copy = strdup(path);
    if (!copy)
        return;
    path_drop_locked(t, p);
    p->path = copy;
    t->paths += head + tail;
}

void fids_renamed(struct fids *t, const char *from, const char *to)
{
    size_t len = strlen(from);
    pthread_mutex_lock(&t->lock);
    list_for_each(node, &t->away) place_renamed_locked(t, container_of(node, struct place, node), from, len, to);
    pthread_mutex_unlock(&t->lock);
}

/* Fids */

static struct fid **slot_locked(struct fids *t, u32 number)
{
    struct fid **at = &t->bucket[(number * 0x9e3779b1u >> 8) & (t->buckets - 1)];
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

/* With more fids than buckets searches get longer, which is all that happens where there is no memory for more. */
static void grow_locked(struct fids *t)
{
    unsigned old = t->buckets;
    struct fid **before = t->bucket, **bigger = calloc(old * 4ull, sizeof(struct fid *));
    if (!bigger)
        return;
    t->bucket = bigger;
    t->buckets = old * 4;
    for (unsigned i = 0; i < old; i++) {
        for (struct fid *f = before[i], *next; f; f = next) {
            next = f->next;
            struct fid **at = slot_locked(t, f->number);
            f->next = *at;
            *at = f;
        }
    }
    free(before);
}

int fids_init(struct fids *t, const struct folder *folder, unsigned limit)
{
    *t = (struct fids){.folder = folder, .limit = limit, .buckets = BUCKETS_MIN};
    (void)pthread_mutex_init(&t->lock, NULL); /* cannot fail without attributes */
    list_init(&t->idle);
    list_init(&t->away);
    t->bucket = calloc(t->buckets, sizeof(struct fid *));
    return t->bucket ? 0 : -ENOMEM;
}

void fids_fini(struct fids *t)
{
    if (t->bucket)
        fids_clear(t);
    free(t->bucket);
    (void)pthread_mutex_destroy(&t->lock);
}

static void fid_free_locked(struct fids *t, struct fid *f)
{
    if (f->attr)
        t->bytes -= f->attr->size;
    free(f->attr);
    place_unref_locked(t, f->place);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

/* The last close of a file that was written may take its time: without the lock. */
void fid_put(struct fids *t, struct fid *f)
{
    int io = -1;
    pthread_mutex_lock(&t->lock);
    if (--f->refs == 0) {
        io = f->io;
        if (io >= 0)
            t->descriptors--;
        fid_free_locked(t, f);
    }
    pthread_mutex_unlock(&t->lock);
    if (io >= 0)
        (void)close(io);
}

struct fid *fid_get(struct fids *t, u32 number)
{
    pthread_mutex_lock(&t->lock);
    struct fid *f = *slot_locked(t, number);
    if (f)
        f->refs++;
    pthread_mutex_unlock(&t->lock);
    return f;
}

struct fid *fid_create(struct fids *t, u32 number, u32 uid, struct place *place)
{
    struct fid *f = calloc(1, sizeof(*f));
    pthread_mutex_lock(&t->lock);
    place_unuse_locked(t, place);
    if (!f)
        place_unref_locked(t, place);
    pthread_mutex_unlock(&t->lock);
    if (!f)
        return NULL;
    f->number = number;
    f->uid = uid;
    f->refs = 1;
    f->place = place;
    f->io = -1;
    (void)pthread_mutex_init(&f->lock, NULL); /* cannot fail without attributes */
    return f;
}

int fid_insert(struct fids *t, struct fid *f, const struct fid *replace)
{
    pthread_mutex_lock(&t->lock);
    struct fid **at = slot_locked(t, f->number), *old = *at;
    int status = 0;
    if (f->number == P9_NOFID)
        status = -EINVAL;
    else if (old && old != replace)
        status = -EEXIST;
    else if (!old && t->count >= FIDS_MAX)
        status = -EMFILE;
    if (!status) {
        f->next = old ? old->next : NULL;
        *at = f;
        t->count += !old;
        if (!old && t->count > t->buckets)
            grow_locked(t);
    }
    pthread_mutex_unlock(&t->lock);
    if (status)
        fid_put(t, f);
    else if (old)
        fid_put(t, old);
    return status;
}

bool fid_remove(struct fids *t, u32 number)
{
    pthread_mutex_lock(&t->lock);
    struct fid **at = slot_locked(t, number), *f = *at;
    if (f) {
        *at = f->next;
        t->count--;
    }
    pthread_mutex_unlock(&t->lock);
    if (f)
        fid_put(t, f);
    return f != NULL;
}

void fids_clear(struct fids *t)
{
    for (unsigned i = 0; i < t->buckets; i++) {
        struct fid *f;
        do {
            pthread_mutex_lock(&t->lock);
            f = i < t->buckets ? t->bucket[i] : NULL;
            if (f) {
                t->bucket[i] = f->next;
                t->count--;
            }
            pthread_mutex_unlock(&t->lock);
            if (f)
                fid_put(t, f);
        } while (f);
    }
}

int fid_set_io(struct fids *t, struct fid *f, int fd, bool is_folder, bool writes)
{
    pthread_mutex_lock(&t->lock);
    bool free_now = f->io < 0 && !f->attr;
    if (free_now) {
        f->is_folder = is_folder;
        f->writes = writes;
        f->stands = 0;
        f->end = -1;
        __atomic_store_n(&f->io, fd, __ATOMIC_RELEASE);
    } else {
        t->descriptors--;
    }
    pthread_mutex_unlock(&t->lock);
    if (free_now)
        return 0;
    (void)close(fd);
    return -EBUSY;
}

int fid_set_attr(struct fids *t, struct fid *f, const char *name, u32 size, bool write, int flags)
{
    struct fid_attr *a = calloc(1, sizeof(*a) + size);
    if (!a)
        return -ENOMEM;
    a->size = size;
    a->write = write;
    a->flags = flags;
    (void)strncpy(a->name, name, sizeof(a->name) - 1);
    pthread_mutex_lock(&t->lock);
    int status = f->io >= 0 || f->attr ? -EBUSY : t->bytes + size > BYTES_MAX ? -ENOSPC : 0;
    if (!status) {
        t->bytes += size;
        __atomic_store_n(&f->attr, a, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&t->lock);
    if (status)
        free(a);
    return status;
}
