/*
 * Twins: blocks of the same bytes at different addresses, as a library's are in each process that has it. Internal to
 * engine/translate.
 *
 * The first such block is decoded and translated; it is the model, of which there is one for each place, mode and
 * flavour. The others share its list of instructions, which does not depend on rip, and get a copy of its code, in
 * which the words are corrected that depend on where the guest's code or the host's lies, or on the block's number:
 * `fix` tells them. What was learnt of the model's accesses holds for its twins.
 *
 * A copy must be as long as the model's code. So both must be at addresses where all that is computed from rip takes
 * its longest form (twin_moves), and both begin at the same place in a line of the host's (CODE_ALIGN in host/code.c).
 *
 * All of it under the cache's lock. Models live as blocks do: a block that dies is none any more.
 */
#ifndef ENGINE_TRANSLATE_TWIN_H
#define ENGINE_TRANSLATE_TWIN_H

#include "engine/translate/translate.h"

#define FIXES_MAX (BLOCK_MAX * 12)

enum fix_kind {
    FIX_RIP,       /* u64: rip and a constant */
    FIX_MINUS_RIP, /* u64: a constant less rip */
    FIX_PAGE,      /* u64: the page number of an address that is rip and a constant */
    FIX_BLOCK,     /* u32: the block's number */
    FIX_LINK,      /* u32: that times LINKS and a constant */
    FIX_INSN,      /* u32: that times BLOCK_MAX and a constant */
    FIX_HOST,      /* u32: distance to code that is no block's */
    FIX_SLOT,      /* u32: offset in the window of the slot of link[which] */
};

struct fix {
    u16 at; /* offset from `check` */
    u8 kind, which;
};

/* Can a block here be a model, or made from one? All addresses within 2 GiB of it have 64 bits that count, their page
 * numbers more than 32, and they are the user's. */
static inline bool twin_moves(u64 rip)
{
    return rip >= BIT64(45) && rip < BIT64(47) - BIT64(33);
}

/* The model for bytes at this place, or NULL. */
struct block *twin_model(const struct code_cache *k, const u8 *guest, unsigned mode, unsigned flavour);
/* A block is in the cache, or has code now: it becomes the model if there is none better. */
void twin_offer(struct code_cache *k, struct block *b);
void twin_forget(struct code_cache *k, struct block *b);

/* b, of which nothing is known yet, is to be the model's twin at rip. It is not translated. */
void twin_begin(struct block *b, const struct block *model, u64 rip);
/* Gives b, whose number and place are set, a copy of the model's code. False if it has none to copy, or b is known to
 * need another. */
bool twin_translate(struct translator *t, struct block *b, const struct block *model);

#endif
