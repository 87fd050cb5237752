/*
 * What is known of a block's memory accesses before its code is made: which lie close together, and which are aligned
 * if an earlier one was.
 *
 * A group: accesses off the same registers, with nothing but constants between their addresses, that are a page's small
 * part apart. The first of them looks at once whether all lie in one page, and translates the page; the others use what
 * came out. So the page is translated once for the registers saved, the fields of one structure, or a stack frame.
 *
 * All this holds for code that is run from the first instruction on: `relies` tells where it must not be entered.
 */
#ifndef ENGINE_TRANSLATE_LOWER_PLAN_H
#define ENGINE_TRANSLATE_LOWER_PLAN_H

#include "engine/translate/translate.h"

#define PLAN_GROUPS FRAME_DELTAS
#define PLAN_SPAN   256 /* bytes from the first to the last of a group, at most */

enum plan_access { PLAN_NONE, PLAN_OPERAND, PLAN_STACK, PLAN_ACCESSES };
enum plan_role { ROLE_ALONE, ROLE_LEADS, ROLE_FOLLOWS };

struct planned {
    u8 role; /* enum plan_role */
    u8 group;
    u8 checker; /* ROLE_ALONE: aligned if the one of instruction checker - 1 was found to be; 0: not known */
    i16 low;    /* ROLE_LEADS: the group's first byte, from this access's */
    u16 span;   /* ROLE_LEADS: the group's bytes */
};

struct plan {
    struct planned at[BLOCK_MAX][PLAN_ACCESSES];
    u64 relies; /* bit n: instruction n takes something for granted that earlier ones established */
};

void plan_block(struct plan *p, const struct block *b);

/*
 * Loops: blocks whose last instruction is a conditional jump to their first. Accesses by registers that do not change,
 * or of which one changes by a constant in each turn, stay in one page for many turns; they need no probe while they
 * do.
 */
#define LOOP_KEYS FRAME_LOOPS
#define LOOP_SPAN 1024 /* bytes, and the farthest step */

struct loop_key {
    u8 base, index, scale; /* guest registers, or REG_ZERO */
    u8 moving;             /* which of them, or REG_ZERO */
    i64 step;              /* what that one changes by in a turn */
    i32 low;               /* the first of the bytes accessed, from base + index << scale at the turn's start */
    u16 span;              /* bytes */
    u8 still;              /* the one that does not move, if the other does; or REG_ZERO */
};

struct plan_loop {
    unsigned keys;
    struct loop_key key[LOOP_KEYS];
    u8 of[BLOCK_MAX][PLAN_ACCESSES]; /* the access's key + 1, or 0 */
    struct {
        i32 index,
            base;      /* displacement from the operand's index (base) alone, if the other is as at the turn's start */
    } from[BLOCK_MAX]; /* of the operand that ModRM names */
    unsigned producer; /* the instruction that leaves the flags with which the loop begins anew */
};

/* Is it of that form? */
bool plan_is_loop(const struct block *b);
/* False if nothing is to be won. */
bool plan_loop(struct plan_loop *p, const struct block *b);

#endif
