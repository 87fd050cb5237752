/*
 * The host's randomness. Only event/door.c may call it for a machine.
 */
#ifndef HOST_RANDOM_H
#define HOST_RANDOM_H

#include "base/types.h"

/* Fills the whole buffer with bytes of cryptographic quality. */
void host_random(void *buf, size_t len);

#endif
