/*
 * Faster forms of the commonest instructions of 64-bit code, for engines that call semantics one by one.
 *
 * What the general functions find out each time is known once an instruction is decoded: that segments are flat, how
 * the address is made up, how far a branch goes. Each hot function does the case where the TLB has the page and the
 * target is canonical, and hands everything else to the general one, so there is no second version of any fault.
 */
#ifndef CPU_SEM_HOT_H
#define CPU_SEM_HOT_H

#include "cpu/sem/sem.h"

/*
 * The function for an instruction whose i->fn is the general one and whose `off` and `disp` are set for its block;
 * i->fn if there is no faster one. Changes fields of `i` that the instruction itself does not use.
 */
insn_fn *hot_lookup(struct insn *i);

/*
 * Makes one of two: `i` compares or counts, i[1] is the conditional branch after it. True if i->fn now does both;
 * i->len is then that of both, so that what follows begins at off + len.
 */
bool hot_fuse(struct insn *i);

/*
 * A hot function that is done with its instruction calls the next one itself, so instructions lie one after the other
 * and `fn` of the one after the last is hot_stop. When a hot function returns, c->cur is the last instruction that was
 * carried out, or NULL after a jump; the caller goes on with the one after it.
 */
insn_fn hot_stop;

#endif
