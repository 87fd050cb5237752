/*
 * A chardev on file descriptors: watches for input and output, and a bounded buffer for what the host does not take at
 * once. Output beyond the bound is dropped with one message each time it begins.
 *
 * Input is read only while the receiver has room, so that nothing is lost on the way in.
 */
#ifndef BACKEND_CHAR_STREAM_H
#define BACKEND_CHAR_STREAM_H

#include "backend/char/open.h"

/* How a descriptor is kept from blocking. */
enum stream_write {
    STREAM_NONBLOCK, /* O_NONBLOCK is set on it, or it is a regular file, which never blocks for long */
    STREAM_SOCKET,   /* send with MSG_DONTWAIT */
    STREAM_POLLED,   /* shared with others and may block: ask poll and write little */
};

struct stream_config {
    struct char_host host;
    const char *who;       /* copied */
    int in, out;           /* -1: none. May be the same */
    enum stream_write how; /* for `out` */
    const char *path;      /* copied; not NULL: a file that becomes `out` when the stream is started */
    int owned[2];          /* closed with the stream; -1 for none */
};

/* Takes the owned descriptors also when it fails. NULL when out of memory. */
struct chardev *stream_create(const struct stream_config *cfg);

/* Opens a file for output without blocking; `create` is 0 or creation flags of open(2). The descriptor or -errno. */
int stream_open_file(const char *path, int create);

#endif
