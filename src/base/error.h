/*
 * How functions fail: they return a negative errno value, and where a person has to be told, fill a struct error with
 * one line that names the thing at fault and the cure.
 *
 *     if (size == 0)
 *         return error_set(err, -EINVAL, "--kernel %s: the file is empty", path);
 *
 * The message has no newline and no program name: whoever shows it adds both. `err` may be NULL (nobody is told).
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <errno.h>

#include "base/types.h"

struct error {
    char text[512];
};

/* Writes the message (truncated if too long) and returns `status`, which must be negative. */
int error_set(struct error *err, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "prefix: " before the message that is there and returns `status`. */
int error_prefix(struct error *err, int status, const char *prefix);

#endif
