/*
 * The compressed kernel inside a bzImage, as its build packed it: gzip, xz or zstd, with the unpacked size in the last
 * four bytes.
 */
#ifndef MACHINE_BOOT_PAYLOAD_H
#define MACHINE_BOOT_PAYLOAD_H

#include "base/types.h"

/* Unpacks [in, in + size) to memory of its own, which the caller frees; at most `max` bytes. NULL if it is packed in
 * another way, is broken, or there is no memory. */
u8 *payload_unpack(const u8 *in, u64 size, u64 max, u64 *out_size);

#endif
