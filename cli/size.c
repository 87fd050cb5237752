#include "size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool size_read(const char *text, uint64_t *size)
{
    static const char units[] = "KMGT";
    uint64_t v = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    if (p == text)
        return false;
    if (*p) {
        const char *unit = strchr(units, *p & ~0x20);
        if (!unit || !*unit || p[1])
            return false;
        unsigned shift = 10 * (unsigned)(unit - units + 1);
        if (v > UINT64_MAX >> shift)
            return false;
        v <<= shift;
    }
    *size = v;
    return true;
}

const char *size_text(uint64_t size, char text[SIZE_TEXT])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    while (size >> unit * 10 >= 1024)
        unit++;
    if (unit)
        (void)snprintf(text, SIZE_TEXT, "%.4g %s", (double)size / (double)(1ull << unit * 10), units[unit]);
    else
        (void)snprintf(text, SIZE_TEXT, "%" PRIu64 " bytes", size);
    return text;
}
