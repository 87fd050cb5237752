#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static void log_emit(const struct log *log, enum log_level level, const char *fmt, va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof(text), fmt, ap);
    log->sink(log->opaque, level, text);
}

void log_msg(const struct log *log, enum log_level level, const char *fmt, ...)
{
    if (!log || !log->sink || level > log->level)
        return;
    va_list ap;
    va_start(ap, fmt);
    log_emit(log, level, fmt, ap);
    va_end(ap);
}

/* The limit reads the host's clock directly: what is logged never reaches the guest, so replay does not need it. */
static bool limit_pass(struct log_limit *limit)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    u64 now = (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;

    if (limit->passed++ < LOG_BURST || now - limit->last_ns >= 1000000000u) {
        limit->last_ns = now;
        return true;
    }
    limit->dropped++;
    return false;
}

void log_limited(const struct log *log, struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
    if (!log || !log->sink || level > log->level || !limit_pass(limit))
        return;
    u32 dropped = atomic_exchange_explicit(&limit->dropped, 0, memory_order_relaxed);
    if (dropped)
        log_msg(log, level, "(%u messages like the next one were left out)", dropped);
    va_list ap;
    va_start(ap, fmt);
    log_emit(log, level, fmt, ap);
    va_end(ap);
}
