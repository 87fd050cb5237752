/*
 * What `ring3 disk` does with images, on paths. Each function returns 0 or -errno with a message; nothing is left
 * behind by one that fails. src/api/disk.c makes it public.
 */
#ifndef BACKEND_BLOCK_TOOL_H
#define BACKEND_BLOCK_TOOL_H

#include "backend/block/image.h"
#include "backend/block/qcow2.h"

struct tool_new {
    const char *path;
    enum image_format format; /* IMAGE_AUTO: qcow2 */
    u64 size;
    bool size_of_backing; /* as large as the image below */
    u32 cluster_size;     /* 0: 64 KiB */
    const char *backing;  /* NULL: none */
    bool force;           /* replace a file that is there */
};

struct tool_info {
    const char *format;
    u64 size;
    u64 allocated; /* bytes of the host's disk */
    bool qcow2;    /* what follows counts */
    struct qcow2_header header;
};

/* Called now and then; false: give up, with -ECANCELED. */
typedef bool tool_progress_fn(void *opaque, u64 done, u64 total);

struct tool_copy {
    struct image_config from; /* read_only */
    const char *to;
    enum image_format format;
    u32 cluster_size;
    bool compress, force;
    tool_progress_fn *progress; /* may be NULL */
    void *opaque;
};

int tool_create(const struct tool_new *how, struct error *err) MUST_CHECK;
int tool_info(const struct image_config *cfg, struct tool_info *out, struct error *err) MUST_CHECK;
int tool_check(const struct image_config *cfg, enum qcow2_repair repair, qcow2_report_fn *report, void *opaque,
               struct qcow2_result *out, struct error *err) MUST_CHECK;
int tool_resize(const struct image_config *cfg, u64 size, bool grow_by, bool shrink, struct error *err) MUST_CHECK;
int tool_convert(const struct tool_copy *how, struct error *err) MUST_CHECK;

/* An empty image into a file without contents (tool_create and tool_convert). */
int tool_format(struct file *f, const struct tool_new *how, const char *backing_format, struct error *err) MUST_CHECK;

#endif
