/*
 * Our side: the same instruction by the decoder and cpu/sem, on a processor in 64-bit or compatibility mode at CPL 3,
 * with page tables that map the arena as the host does.
 */
#ifndef TESTS_INSN_GUEST_H
#define TESTS_INSN_GUEST_H

#include "case.h"

/* False, with a message on stderr, if the machine around the processor cannot be made. */
bool guest_init(const struct isa_features *features);
void guest_exit(void);

/* The arena's bytes in guest RAM. */
u8 *guest_memory(void);

/* Decodes and carries out t->bytes, and fills in t->guest. */
void guest_run(struct test_case *t);

#endif
