/*
 * The host's randomness (host/random.h).
 */
#include "host/random.h"

#include <errno.h>
#include <sys/random.h>

void host_random(void *buf, size_t len)
{
    u8 *p = buf;
    while (len) {
        ssize_t got = getrandom(p, len, 0);
        if (got < 0 && errno != EINTR)
            return; /* ENOSYS only, on kernels before 3.17, which lack more that we need */
        if (got > 0) {
            p += got;
            len -= (size_t)got;
        }
    }
}
