/*
 * What was learnt of blocks' accesses, by rip: so that a block that is made again is made otherwise. Internal to
 * engine/translate. The cache's lock.
 */
#ifndef ENGINE_TRANSLATE_LEARNT_H
#define ENGINE_TRANSLATE_LEARNT_H

#include "engine/translate/code_cache.h"

/* Instruction n of b accessed memory misaligned, or across pages. True: b is to be made again. */
bool learnt_stray(struct code_cache *k, struct block *b, unsigned n);
/* Instruction n of b was carried out by its semantics, and there was an entry for its page after all if it is one of
 * b->forced, or none if it is not. True: b is to be made again. */
bool learnt_access(struct code_cache *k, struct block *b, unsigned n);
/* What is known of the block at that place is noted in b. */
void learnt_apply(struct code_cache *k, struct block *b);

#endif
