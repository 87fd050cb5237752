/*
 * Sizes of disks as people write and read them.
 */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* A number with K, M, G or T behind it, in bytes without. */
bool size_read(const char *text, uint64_t *size);

/* "1.5 GiB". */
#define SIZE_TEXT 32
const char *size_text(uint64_t size, char text[SIZE_TEXT]);

#endif
