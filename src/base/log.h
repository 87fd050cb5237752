/*
 * Messages for the person who runs the machine. The library never prints: every message goes to the sink that the
 * owner of the machine gave. What a guest can cause again and again is logged through a struct log_limit, which lets
 * the first LOG_BURST messages pass and then one a second, with a count of those left out.
 *
 * Threads: log_msg may be called from any thread; the sink must be able to take that.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
    void (*sink)(void *opaque, enum log_level level, const char *text);
    void *opaque;
    enum log_level level; /* messages above it are dropped */
};

#define LOG_BURST 5

/* Zero-initialised by its owner; one for each place that logs. */
struct log_limit {
    _Atomic u32 passed;
    _Atomic u32 dropped;
    _Atomic u64 last_ns;
};

void log_msg(const struct log *log, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
void log_limited(const struct log *log, struct log_limit *limit, enum log_level level, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
