/*
 * Shared folders by text: PATH[,key=value]...
 *
 *     tag=NAME                by which the guest mounts it; without it, the last part of the path
 *     readonly=on|off         off
 *     security_model=none|passthrough|mapped   whose the files are (owner.h)
 *     uid=ID, gid=ID          0: whom files of the user who runs ring3 belong to in the guest; with `none` and `mapped`
 *
 * A comma inside a path is written twice.
 */
#ifndef BACKEND_SHARE_OPEN_H
#define BACKEND_SHARE_OPEN_H

#include <limits.h>

#include "backend/share/share.h"
#include "base/error.h"
#include "base/log.h"

struct loop;

/* Only the text. Messages begin with it. */
int share_spec_check(const char *spec, struct error *err) MUST_CHECK;

/*
 * Opens the folder and starts the threads, before the sandbox is entered. Raises the process's limit of descriptors to
 * what it may have. Machine lock not held. The loop and the log outlive the share. Messages begin with the path.
 */
int share_open(const char *spec, struct loop *loop, const struct log *log, struct share **out,
               struct error *err) MUST_CHECK;

/* For the sandbox: the folder, and whether it is only read. */
int share_folder(const struct share *s);
bool share_read_only(const struct share *s);
/* Where it is; 0 or -errno. */
int share_path(const struct share *s, char path[PATH_MAX]) MUST_CHECK;

#endif
