/*
 * Where a character back end can lead. Each function returns an owned chardev (free it with char_destroy), or NULL with
 * a message that starts with `who`, the option and its value, such as "--serial file=/x".
 *
 * Machine lock held, also for char_destroy, which gives output that is still buffered half a second to get out.
 */
#ifndef BACKEND_CHAR_OPEN_H
#define BACKEND_CHAR_OPEN_H

#include "backend/char/char.h"
#include "base/log.h"

struct char_host {
    struct loop *loop;
    const struct log *log; /* outlives the back end */
};

/* Bytes go nowhere and none come. NULL when out of memory. */
struct chardev *char_open_null(void);

/*
 * Output only. Checks that the path can be written, but makes or empties the file only in char_start: a machine that
 * cannot be made leaves nothing behind. A FIFO or device node that exists is opened as it is.
 */
struct chardev *char_open_file(const struct char_host *host, const char *who, const char *path, struct error *err);

/* A new pseudo-terminal in raw mode; its path is logged as information. */
struct chardev *char_open_pty(const struct char_host *host, const char *who, struct error *err);

/*
 * Standard input and output. Leaves their file status flags alone, because other processes share them. The terminal's
 * mode is the caller's business.
 */
struct chardev *char_open_stdio(const struct char_host *host, const char *who, struct error *err);

/* Descriptors that others share, too, as standard input (only read) and output or error (only written); -1: none. */
struct chardev *char_open_descriptors(const struct char_host *host, const char *who, int in, int out,
                                      struct error *err);

/*
 * By text: "stdio", "file=PATH", "pty" or "null". char_spec_check refuses any other with a message that names the
 * choices; char_open does all of them but stdio, which can be there only once and is shared through a mux (mux.h).
 */
bool char_spec_is_stdio(const char *spec);
int char_spec_check(const char *who, const char *spec, struct error *err) MUST_CHECK;
struct chardev *char_open(const struct char_host *host, const char *who, const char *spec, struct error *err);

/* The machine is made and about to run. Output before this may be lost. */
int char_start(struct chardev *cd, struct error *err) MUST_CHECK;

#endif
