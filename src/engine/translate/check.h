/*
 * `--check`: translated code held against the semantics of its instructions, which are the interpreter's.
 *
 * Blocks are not linked to each other then, so that one entry runs instructions of one block. Before it, the semantics
 * carry out the same instructions; what they did to registers and memory is noted and taken back. Then the code runs,
 * and both outcomes are compared: all of the declared state, and the bytes at the addresses that were to be written.
 * Code may leave early (for an access that has no entry in the window, for a kick): the semantics are then carried out
 * again, as far as the code came. It may not go farther than they did: not past a fault, and not past an access of
 * anything but plain RAM, or of a page with code in it.
 *
 * Not compared, because done once and by semantics: what translated code leaves to them, and what place.h does not
 * know. For one processor only: stores are taken back, which others would see.
 */
#ifndef ENGINE_TRANSLATE_CHECK_H
#define ENGINE_TRANSLATE_CHECK_H

#include "engine/translate/translate.h"

struct check *check_create(void);
void check_destroy(struct check *k);

/* May host code be made for the instruction? */
bool check_allows(const struct insn *i);

/* In place of glue_enter, with the state in t->cpu. After a difference has been logged, all of it, the processor has
 * REQ_STOP and t->failed is set. */
enum glue_reason check_enter(struct translator *t, u64 host);

struct check_stats {
    u64 entries, insns, early;
};
const struct check_stats *check_stats(const struct check *k);

#endif
