/*
 * The state before: random, but such that the instruction has something to do: memory operands, strings, stacks and
 * branch targets lie in the arena most of the time, at its edges and outside now and then.
 */
#ifndef TESTS_INSN_SETUP_H
#define TESTS_INSN_SETUP_H

#include "case.h"
#include "random.h"

/* Linear address for a memory operand of a row; `align` makes a multiple of 32 likely. */
u64 setup_target(struct random *r, enum code_kind k, bool align);

/* Registers, flags, vector and x87 state, rip. */
void setup_state(struct random *r, struct test_case *t, bool avx);

/* Registers that lead the decoded instruction to `target`. */
void setup_operands(struct random *r, struct test_case *t, const struct insn *i, u64 target);

/* Writes to the arena on both sides. */
void setup_poke(u64 linear, const void *data, unsigned size);
/* Fills the pages that may be written, and the read-only one, with data; the code pages with INT3. */
void setup_memory(struct random *r);

#endif
