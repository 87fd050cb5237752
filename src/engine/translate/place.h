/*
 * Where an instruction accesses data, told from the state before it. Pure.
 *
 * Known are the rows that lower*.c makes host code for; place_known tells. What has no data, or goes to its semantics
 * in any case, need not be known.
 */
#ifndef ENGINE_TRANSLATE_PLACE_H
#define ENGINE_TRANSLATE_PLACE_H

#include "cpu/cpu.h"

#define PLACES_MAX 2

struct place {
    u64 linear;
    unsigned size;
    bool write; /* or both */
};

bool place_known(const struct insn *i);
/* How many; at most PLACES_MAX. */
unsigned places_of(const struct cpu *c, const struct insn *i, struct place out[PLACES_MAX]);

#endif
