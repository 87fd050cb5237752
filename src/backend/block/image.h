/*
 * The contents of a disk inside host files: what queue.c, and `ring3 disk`, work on. Inside src/backend/block only.
 *
 * Functions are synchronous, return 0 or -errno, and may be called by several threads at a time. Offsets and lengths
 * are bytes of the guest's disk, any alignment, but have to lie inside it (image_inside). What fails says so by its
 * status; what a person has to know beside that (the image is damaged, say) is logged by the image.
 *
 * Most requests of a guest find their data lying plainly in the host file. image_map says where, and never blocks, so
 * that the caller can let the host's kernel do the rest. Until image_unmap the place is not used for anything else.
 */
#ifndef BACKEND_BLOCK_IMAGE_H
#define BACKEND_BLOCK_IMAGE_H

#include "backend/block/file.h"
#include "backend/block/vec.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"

#define IMAGE_CHAIN_MAX 16 /* images over one another */

enum image_format { IMAGE_AUTO, IMAGE_RAW, IMAGE_QCOW2 };

enum image_kind {
    IMAGE_DATA,
    IMAGE_ZERO,
    IMAGE_ABSENT, /* in no image of the chain from here on: zeroes too */
};

struct image_place {
    struct file *file;
    u64 offset;
    u32 pin; /* the image's */
};

struct image;

struct image_ops {
    const char *format;
    int (*read)(struct image *im, u64 offset, u64 length, struct vec v);
    int (*write)(struct image *im, u64 offset, u64 length, struct vec v);
    int (*zero)(struct image *im, u64 offset, u64 length, bool unmap);
    int (*discard)(struct image *im, u64 offset, u64 length);
    int (*flush)(struct image *im);
    /* -EAGAIN: it does not lie plainly, or that cannot be told without waiting. */
    int (*map)(struct image *im, u64 offset, u64 length, bool write, struct image_place *out);
    void (*unmap)(struct image *im, u32 pin);
    /* What the bytes from `offset` on are, and how many of them (1..length) are the same; of this image alone. */
    int (*kind)(struct image *im, u64 offset, u64 length, enum image_kind *kind, u64 *run);
    /* One cluster (or the rest of the disk), compressed; NULL where the format cannot. */
    int (*write_compressed)(struct image *im, u64 offset, u64 length, struct vec v);
    /* Flushes and frees. The status is the flush's. */
    int (*close)(struct image *im);
};

struct image {
    const struct image_ops *ops;
    const struct log *log;
    char *path;            /* owned */
    struct image *backing; /* owned, read-only; NULL: none */
    u64 size;
    u32 cluster; /* granularity of discards and of compression */
    bool read_only;
};

/* What to open, and how. Texts stay the caller's. */
struct image_config {
    const char *path;
    enum image_format format;
    bool read_only;
    bool direct;   /* without the host's page cache */
    bool metadata; /* for looking and checking: damaged tables and a missing backing file are no obstacle */
    /* The files below it, from the top down. What a header names is never followed. */
    const char *const *backing;
    unsigned backings;
    const struct log *log;
};

/* Messages begin with the path of the file at fault. */
int image_open(const struct image_config *cfg, struct image **out, struct error *err) MUST_CHECK;
/* The same on a file that is open; it is the image's from now on, also on failure. Has no backing file. */
int image_open_file(const struct image_config *cfg, struct file *file, struct image **out,
                    struct error *err) MUST_CHECK;
int image_close(struct image *im);

static inline bool image_inside(const struct image *im, u64 offset, u64 length)
{
    return offset <= im->size && length <= im->size - offset;
}

/* Through the chain: the kind as a reader sees it. */
int image_kind(struct image *im, u64 offset, u64 length, enum image_kind *kind, u64 *run) MUST_CHECK;

/* For the formats: sets what all have in common. 0 or -ENOMEM, which closes nothing. */
int image_init(struct image *im, const struct image_ops *ops, const struct image_config *cfg) MUST_CHECK;
/* Frees what image_init made, closes the image below. */
void image_fini(struct image *im);

/* "raw", "qcow2"; false if it is neither. */
bool image_format_find(const char *name, enum image_format *out);
/* Is this the start of a file of a known format? Its name, or NULL. */
const char *image_magic(const u8 *head, size_t length);
#define IMAGE_MAGIC_BYTES 512

/* raw.c. The file is the image's from now on, also on failure. `guarded`: nobody said that it is raw, so the guest must
 * not make it look like another format. */
int raw_open(const struct image_config *cfg, struct file *file, bool guarded, struct image **out,
             struct error *err) MUST_CHECK;
/* qcow2.c. Likewise. */
int qcow2_open(const struct image_config *cfg, struct file *file, struct image **out, struct error *err) MUST_CHECK;

#endif
