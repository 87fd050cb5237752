/*
 * The engines there are, in the order in which `auto` tries them.
 */
#include <string.h>

#include "engine/engine.h"

extern const struct engine_ops interp_engine, translate_engine;

const struct engine_ops *const engines[] = {&translate_engine, &interp_engine, NULL};

const struct engine_ops *engine_find(const char *name)
{
    for (size_t n = 0; engines[n]; n++) {
        if (strcmp(engines[n]->name, name) == 0)
            return engines[n];
    }
    return NULL;
}
