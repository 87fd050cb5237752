/*
 * A new file that appears under its name only when it is complete: whoever dies before leaves nothing behind.
 *
 * Where the file system has files without a name (O_TMPFILE) even SIGKILL leaves nothing; elsewhere it has a temporary
 * name beside the real one, which target_cancel removes.
 */
#ifndef BACKEND_BLOCK_TARGET_H
#define BACKEND_BLOCK_TARGET_H

#include "backend/block/file.h"

struct target {
    const char *path; /* the caller's */
    int fd;
    bool force;
    char *temporary; /* NULL: it has no name */
};

/* A file that is there already is an error, or with `force` one that will be replaced, unless a machine has it. */
int target_begin(struct target *t, const char *path, bool force, struct error *err) MUST_CHECK;
/* Makes it durable and gives it its name. Ends the target, also on failure. */
int target_finish(struct target *t, struct error *err) MUST_CHECK;
void target_cancel(struct target *t);

#endif
