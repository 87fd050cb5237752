/*
 * Bytes from a row: every freedom that the encoding column leaves is used at random: operand and address size, REX
 * bits, registers, memory forms, immediates, prefixes. The memory operand's address is made to lie where arena.c wants
 * it.
 */
#ifndef TESTS_INSN_BUILD_H
#define TESTS_INSN_BUILD_H

#include "case.h"
#include "random.h"

struct row_text {
    const char *name, *encoding;
};
extern const struct row_text row_texts[]; /* by row */

/*
 * Makes bytes for the row in code of t->kind and decodes them to *i. False if the row does not exist there, or luck was
 * not enough: try again. `target` is the linear address for the memory operand: as far as displacements can, they are
 * chosen for it.
 */
bool build_insn(struct random *r, unsigned row, struct test_case *t, const struct isa_features *f, u64 target,
                struct insn *i);

#endif
