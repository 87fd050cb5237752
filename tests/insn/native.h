/*
 * The host processor as the oracle: one instruction with a given state.
 *
 * There is no generated code. A trap brings us into a signal handler, which puts the wanted state into the frame; its
 * return loads all registers at once, CS and SS included, so 32- and 16-bit code runs too. What ends the instruction, a
 * fault or the INT3 that fills the rest of the code pages, is a signal again, whose frame has the state after it. One
 * thread only.
 */
#ifndef TESTS_INSN_NATIVE_H
#define TESTS_INSN_NATIVE_H

#include "case.h"

/* Maps the arena and takes over the signals. False if the host does not allow what is needed (said on stderr). */
bool native_init(void);
/* Can code of this kind be run? LDT segments need modify_ldt. */
bool native_has(enum code_kind k);

/* The arena's bytes, writable whatever its pages allow to the instruction. */
u8 *native_memory(void);

/* Is there memory of the test program itself at this address? The sanitizers' lies below 4 GiB, where wild addresses
 * go. */
bool native_owns(u64 linear);

/* Runs t->bytes, which must lie at t->before.rip already, and fills in t->native. */
void native_run(struct test_case *t);

/* Selectors the code runs with, for the guest to have the same. */
struct selectors {
    u16 cs, ss, data;
};
struct selectors native_selectors(enum code_kind k);

#endif
