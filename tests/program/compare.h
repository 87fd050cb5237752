/* The two ends of a program side by side. */
#ifndef TESTS_PROGRAM_COMPARE_H
#define TESTS_PROGRAM_COMPARE_H

#include "rig.h"

/* What is left out. */
enum { IGNORE_X87_POINTERS = 1, IGNORE_DEBUG_REGISTERS = 2 };

bool compare_same(const struct rig *a, const struct rig *b, unsigned ignore);
void compare_print(const struct rig *a, const struct rig *b, unsigned ignore);
/* Disassembles what is not blanked. */
void compare_list(const struct program *p, const bool *blank, const struct isa_features *f);

#endif
