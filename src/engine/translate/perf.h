/*
 * Names of translated code for Linux perf (host/perf_map.h): guest_0xRIP_kernel or _user for a block, by the privilege
 * it was translated at, and ring3_glue for the way in and out.
 */
#ifndef ENGINE_TRANSLATE_PERF_H
#define ENGINE_TRANSLATE_PERF_H

#include "engine/translate/translate.h"

/* Both do nothing if no map was asked for. */
void perf_glue(const struct code_cache *k);
void perf_block(const struct translator *t, const struct block *b);

#endif
