#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int status, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return status;
}

int error_prefix(struct error *err, int status, const char *prefix)
{
    if (err) {
        char old[sizeof(err->text)];
        memcpy(old, err->text, sizeof(old));
        snprintf(err->text, sizeof(err->text), "%.100s: %.400s", prefix, old);
    }
    return status;
}
