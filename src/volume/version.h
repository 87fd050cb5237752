/*
 * Versions in file names: which of two kernels is the newer.
 */
#ifndef VOLUME_VERSION_H
#define VOLUME_VERSION_H

/* Numbers count as numbers, all else byte by byte, '~' before the end: below 0, 0 or above 0. */
int version_compare(const char *a, const char *b);

#endif
