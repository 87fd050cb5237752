/*
 * Blocks for a person to read: each guest instruction beside the host code that was made of it.
 */
#ifndef ENGINE_TRANSLATE_LISTING_H
#define ENGINE_TRANSLATE_LISTING_H

#include "engine/translate/translate.h"

typedef void listing_fn(void *opaque, const char *line);

/* Lines without newline. The block has code, and nobody changes it meanwhile. */
void listing_block(const struct translator *t, const struct block *b, listing_fn *line, void *opaque);

/* The live blocks that hold the instruction byte at `rip`. Owner's thread or exclusive section. */
void listing_at(const struct translator *t, u64 rip, listing_fn *line, void *opaque);

#endif
