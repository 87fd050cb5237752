/*
 * Files packed by xz, zstd or gzip.
 */
#ifndef CLI_UNPACK_H
#define CLI_UNPACK_H

#include <stdbool.h>

/* Is it one of them, by its first bytes? */
bool unpack_is_packed(const char *path);

/* Into a new file, with progress (status.h); blocks of zeroes become holes. 0, or an exit status after a message. */
int unpack_file(const char *who, const char *from, const char *to);

#endif
