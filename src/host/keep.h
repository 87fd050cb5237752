/*
 * Results of long work, kept for the next time: files in a folder of the user's, $XDG_CACHE_HOME/ring3/KIND or
 * ~/.cache/ring3/KIND. Each holds what it was made from, too, and is used only if that is the same, byte for byte.
 *
 * Nothing here fails: what is not found, cannot be kept, is damaged or belongs to somebody else is made anew. At most
 * KEEP_FILES files stay, those used last.
 *
 * Threads and processes: any. A file appears whole. Before the sandbox is entered.
 */
#ifndef HOST_KEEP_H
#define HOST_KEEP_H

#include "base/types.h"

#define KEEP_FILES 8

/* What was made from these bytes, at most `max` bytes; the caller frees it. NULL if it is not there. `kind` is a file
 * name. */
u8 *keep_find(const char *kind, const u8 *from, u64 from_size, u64 max, u64 *size);
void keep_add(const char *kind, const u8 *from, u64 from_size, const u8 *result, u64 size);

#endif
