/*
 * A small read-only volume with a few files, as cloud-init looks for its configuration (NoCloud): ISO 9660 (ECMA-119)
 * with the names as they are by Rock Ridge (IEEE P1282) and Joliet, labelled CIDATA.
 */
#ifndef VOLUME_SEED_H
#define VOLUME_SEED_H

#include "base/types.h"

#define SEED_FILES_MAX 8

struct seed_file {
    const char *name; /* at most 32 letters of ASCII; the files in the order of their names */
    const u8 *data;
    u64 size;
};

/* The bytes of the volume, which the caller frees; NULL when out of memory. All files together are below 1 GiB. */
u8 *seed_build(const struct seed_file *files, unsigned count, u64 *size) MUST_CHECK;

#endif
