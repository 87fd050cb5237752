/*
 * qcow2 images, versions 2 and 3, by the format's specification (QEMU, docs/interop/qcow2.txt). Inside qcow2_*.c only.
 *
 * Nothing in a file is trusted. The header and the two upper tables (L1, refcount table) are checked when the image is
 * opened; an entry of a lower table each time before it is used: it has to be aligned, to lie inside the file, and on
 * no cluster that holds metadata (`meta`).
 *
 * What survives a crash. Tables change in memory (cache.h, l1, reftable) and reach the file in qcow2_commit, in an
 * order that keeps the file right after each step, with the host told to make it durable in between:
 *
 *     data, refcount blocks | refcount table | L2 tables | L1 table | then only: refcounts of what is no longer used
 *
 * So a table never points to what is not there, a cluster that a table points to is never counted as free, and what a
 * crash leaves behind is at worst clusters that count as used and are not.
 *
 * Threads. `lock` guards all but what says otherwise. It is held for reading and writing tables, not for data. Data
 * that is read or written outside it lies in clusters that cannot be reused meanwhile: those that are mapped are pinned
 * (qcow2_pin), and a freed cluster counts as used until all pins from before are gone; those that are being filled are
 * in no table yet, and their range of the disk is `busy`.
 */
#ifndef BACKEND_BLOCK_QCOW2_H
#define BACKEND_BLOCK_QCOW2_H

#include <pthread.h>

#include "backend/block/cache.h"
#include "backend/block/cluster_set.h"
#include "backend/block/image.h"
#include "base/list.h"

#define QCOW2_BITS_MIN      9
#define QCOW2_BITS_MAX      21
#define QCOW2_L1_MAX        MiB(32) /* bytes */
#define QCOW2_REFTABLE_MAX  MiB(8)  /* bytes */
#define QCOW2_NAME_MAX      1023
#define QCOW2_SNAPSHOTS_MAX 65536

enum {
    QCOW2_INCOMPAT_DIRTY = 1 << 0,
    QCOW2_INCOMPAT_CORRUPT = 1 << 1,
    QCOW2_INCOMPAT_DATA_FILE = 1 << 2,
    QCOW2_INCOMPAT_COMPRESSION = 1 << 3,
    QCOW2_INCOMPAT_EXTENDED_L2 = 1 << 4,
    QCOW2_COMPAT_LAZY_REFCOUNTS = 1 << 0,
    QCOW2_AUTOCLEAR_BITMAPS = 1 << 0,
};

enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

/* Where fields lie in the header; all integers are big-endian. */
enum {
    QCOW2_AT_VERSION = 4,
    QCOW2_AT_BACKING_OFFSET = 8,
    QCOW2_AT_BACKING_SIZE = 16,
    QCOW2_AT_CLUSTER_BITS = 20,
    QCOW2_AT_SIZE = 24,
    QCOW2_AT_CRYPT = 32,
    QCOW2_AT_L1_SIZE = 36,
    QCOW2_AT_L1_OFFSET = 40,
    QCOW2_AT_REFTABLE_OFFSET = 48,
    QCOW2_AT_REFTABLE_CLUSTERS = 56,
    QCOW2_AT_SNAPSHOTS = 60,
    QCOW2_AT_SNAPSHOTS_OFFSET = 64,
    QCOW2_HEADER_V2 = 72,
    QCOW2_AT_INCOMPATIBLE = 72,
    QCOW2_AT_COMPATIBLE = 80,
    QCOW2_AT_AUTOCLEAR = 88,
    QCOW2_AT_REFCOUNT_ORDER = 96,
    QCOW2_AT_HEADER_LENGTH = 100,
    QCOW2_HEADER_V3 = 104,
    QCOW2_AT_COMPRESSION = 104,
    QCOW2_HEADER_NEW = 112, /* what we write */
};

struct qcow2_header {
    u32 version, cluster_bits, l1_size, reftable_clusters, snapshots, refcount_order, header_length;
    u64 size, l1_offset, reftable_offset, snapshots_offset;
    u64 incompatible, compatible, autoclear;
    enum qcow2_compression compression;
    u32 bitmaps; /* persistent bitmaps, which ring3 does not keep up to date */
    u64 bitmaps_offset, bitmaps_size;
    char backing[QCOW2_NAME_MAX + 1]; /* the name below, "" if there is none */
    char backing_format[16];
};

/* Reads and checks it. Messages begin with `path`. */
int qcow2_header_read(struct file *f, const char *path, struct qcow2_header *h, struct error *err) MUST_CHECK;
/* The first cluster of a new image into `out` (zeroed, a cluster). -ENAMETOOLONG if the name below does not fit. */
int qcow2_header_write(const struct qcow2_header *h, u8 *out) MUST_CHECK;
/* Changes one feature word of the file and waits until it is durable. */
int qcow2_header_features(struct file *f, struct qcow2_header *h, u64 incompatible, u64 autoclear) MUST_CHECK;

/* Entries of tables */
#define QCOW2_COPIED      BIT64(63)
#define QCOW2_COMPRESSED  BIT64(62)
#define QCOW2_ZERO        BIT64(0)
#define QCOW2_OFFSET      0x00fffffffffffe00ull
#define QCOW2_L1_RESERVED (~(QCOW2_COPIED | QCOW2_OFFSET))
#define QCOW2_L2_RESERVED (~(QCOW2_COPIED | QCOW2_COMPRESSED | QCOW2_OFFSET | QCOW2_ZERO))

/* Guest clusters whose contents are being put into place. */
struct qcow2_busy {
    struct list node;
    u64 first, last;
};

/* Clusters that no table in the file will point to after the next commit. */
struct qcow2_limbo {
    u64 cluster;
    u64 epoch;
};

struct qcow2_unpacked {
    u64 entry; /* of the L2 table; 0: unused */
    u64 used;
    u8 *data;
};
#define QCOW2_UNPACKED 4

struct qcow2 {
    struct image im;
    struct file *file;
    struct qcow2_header h;
    u32 cluster_size;
    u32 l2_bits;    /* log2 of the entries of an L2 table */
    u32 block_bits; /* log2 of the refcounts of a refcount block */
    struct log_limit damage;

    pthread_mutex_t lock;
    pthread_cond_t not_busy;
    struct list busy;
    u64 *l1, *reftable; /* host byte order */
    u32 l1_entries, reftable_entries;
    u8 *l1_dirty, *reftable_dirty; /* a flag for each 512 bytes of the file's table */
    bool l1_any_dirty, reftable_any_dirty;
    struct cache *l2, *refcounts;
    struct cluster_set meta;
    u64 end;       /* clusters; none behind it was ever used, and all of them read as zeroes */
    u64 free_hint; /* no free cluster below it */
    u64 packed;    /* where the next compressed cluster goes; 0: into a new cluster */
    bool corrupt;  /* found out while it is open: nothing is written any more */
    struct qcow2_limbo *limbo;
    size_t limbo_count, limbo_room;

    pthread_mutex_t pin_lock; /* guards epoch, pins; inside `lock` or alone */
    u64 epoch;
    u32 pins[2]; /* of this epoch and the one before, by the lowest bit */

    pthread_mutex_t unpack_lock; /* guards unpacked; taken alone, or inside `lock` */
    struct qcow2_unpacked unpacked[QCOW2_UNPACKED];
    u64 unpack_clock;
};

static inline struct qcow2 *qcow2_of(struct image *im)
{
    return container_of(im, struct qcow2, im);
}

static inline u64 qcow2_be64(const u8 *p)
{
    u64 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return __builtin_bswap64(v);
}

static inline void qcow2_put_be64(u8 *p, u64 v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(p, &v, sizeof(v));
}

static inline u32 qcow2_be32(const u8 *p)
{
    u32 v;
    __builtin_memcpy(&v, p, sizeof(v));
    return __builtin_bswap32(v);
}

static inline void qcow2_put_be32(u8 *p, u32 v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(p, &v, sizeof(v));
}

/* The image is damaged at this place: a line in the log, and -EIO. */
int qcow2_damage(struct qcow2 *q, const char *what, u64 where);
/* Going on would destroy more: no more writes, the file says so too. -EIO. Lock held. */
int qcow2_give_up(struct qcow2 *q, const char *what, u64 where);

/* qcow2_refcount.c. Lock held. Numbers of clusters, not offsets. */
u64 qcow2_refcount_read(const u8 *block, u64 index, u32 order);
void qcow2_refcount_store(u8 *block, u64 index, u32 order, u64 value);
int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *value) MUST_CHECK;
int qcow2_refcount_add(struct qcow2 *q, u64 cluster, int delta) MUST_CHECK;
/* 1 to `want` clusters beside each other, with refcount 1; *fresh if they read as zeroes. */
int qcow2_alloc(struct qcow2 *q, u64 want, u64 *first, u64 *got, bool *fresh) MUST_CHECK;
/* Exactly `count`, beside each other, at the end of the file. */
int qcow2_alloc_row(struct qcow2 *q, u64 count, u64 *first) MUST_CHECK;
/* Takes `count` references back at the next commit but one place: when no table of the file has them any more. */
void qcow2_free(struct qcow2 *q, u64 cluster, u64 count);

/* qcow2_commit.c */
int qcow2_commit(struct qcow2 *q) MUST_CHECK; /* lock held */
/* When much has gathered in memory. Lock held. */
int qcow2_commit_some(struct qcow2 *q) MUST_CHECK;
int qcow2_flush(struct image *im) MUST_CHECK; /* lock not held */
bool qcow2_any_dirty(const struct qcow2 *q);  /* lock held */
u32 qcow2_pin(struct qcow2 *q);
void qcow2_unpin(struct image *im, u32 pin);

/* qcow2_table.c. What a part of the disk is. Lock held. */
enum qcow2_kind { QCOW2_ABSENT, QCOW2_ZEROED, QCOW2_PLAIN, QCOW2_PACKED };

struct qcow2_extent {
    enum qcow2_kind kind;
    u64 host;      /* PLAIN: byte offset of the first byte; ZEROED: the cluster kept for it, or 0 */
    u64 entry;     /* of the first cluster */
    bool in_place; /* its cluster is ours alone: can be written to where it is */
    u64 length;    /* bytes, up to what was asked for */
};

/* How far the disk from `offset` on is of one kind and, PLAIN, lies in one piece; at most `length`, PACKED at most one
 * cluster. `cached`: -EAGAIN instead of reading a table. */
int qcow2_look_up(struct qcow2 *q, u64 offset, u64 length, bool cached, struct qcow2_extent *x) MUST_CHECK;
/* Makes sure that there is an L2 table for this place which is ours alone. */
int qcow2_own_table(struct qcow2 *q, u64 offset) MUST_CHECK;
int qcow2_get_entry(struct qcow2 *q, u64 offset, u64 *entry) MUST_CHECK;
/* After qcow2_own_table. */
int qcow2_set_entry(struct qcow2 *q, u64 offset, u64 entry) MUST_CHECK;
/* Gives back what an entry that is no longer there pointed to. */
void qcow2_free_entry(struct qcow2 *q, u64 entry);
void qcow2_l1_set(struct qcow2 *q, u32 index, u64 entry);
/* The part of the file that a PACKED entry takes. */
void qcow2_packed_place(const struct qcow2 *q, u64 entry, u64 *offset, u64 *length);

/* qcow2_pack.c. Lock not held. */
int qcow2_read_packed(struct qcow2 *q, u64 entry, u64 within, u64 length, struct vec v) MUST_CHECK;
void qcow2_forget_packed(struct qcow2 *q);
int qcow2_write_compressed(struct image *im, u64 offset, u64 length, struct vec v) MUST_CHECK;

/* qcow2_io.c */
extern const struct image_ops qcow2_ops;
int qcow2_read(struct image *im, u64 offset, u64 length, struct vec v) MUST_CHECK;
int qcow2_write(struct image *im, u64 offset, u64 length, struct vec v) MUST_CHECK;
/* qcow2_zero.c */
int qcow2_zero(struct image *im, u64 offset, u64 length, bool unmap) MUST_CHECK;
int qcow2_discard(struct image *im, u64 offset, u64 length) MUST_CHECK;
/* Waits until nobody fills clusters first..last; true if it had to, and the lock was let go. Lock held. */
bool qcow2_wait_busy(struct qcow2 *q, u64 first, u64 last);

int qcow2_close(struct image *im);

/* qcow2_check.c, qcow2_resize.c: for `ring3 disk`; nothing else uses the image meanwhile. */
struct qcow2_result {
    u64 errors;   /* entries that are wrong, refcounts too low: data is or will be lost */
    u64 leaks;    /* clusters that count as used and are not */
    u64 repaired; /* of both */
    u64 used;     /* guest clusters with data */
    u64 packed;   /* of those, compressed */
    u64 end;      /* bytes: where the last used cluster ends */
};

typedef void qcow2_report_fn(void *opaque, const char *line);

enum qcow2_repair { QCOW2_REPAIR_NONE, QCOW2_REPAIR_LEAKS, QCOW2_REPAIR_ALL };

int qcow2_check(struct image *im, enum qcow2_repair repair, qcow2_report_fn *report, void *opaque,
                struct qcow2_result *out, struct error *err) MUST_CHECK;
int qcow2_resize(struct image *im, u64 size, struct error *err) MUST_CHECK;

/* qcow2_create.c: an empty image into an empty file. */
struct qcow2_new {
    u64 size;
    u32 cluster_bits;
    const char *backing; /* NULL: none */
    const char *backing_format;
};
int qcow2_create(struct file *f, const char *path, const struct qcow2_new *how, struct error *err) MUST_CHECK;

#endif
