/*
 * Whole files in memory.
 */
#ifndef HOST_FILE_H
#define HOST_FILE_H

#include "base/error.h"
#include "base/types.h"

/*
 * Reads all of `path`, at most `max` bytes. The caller frees *data (never NULL on success). The message says what is
 * wrong but does not name the file: the caller knows which option it came from. -EFBIG if there is more than `max`.
 */
int host_file_read(const char *path, u64 max, u8 **data, u64 *size, struct error *err) MUST_CHECK;

/* A file without a name, in memory, with these bytes; a descriptor or -errno. */
int host_file_memory(const char *name, const u8 *data, u64 size) MUST_CHECK;

#endif
