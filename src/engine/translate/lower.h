/*
 * Translating one block: what the parts of lower*.c share.
 */
#ifndef ENGINE_TRANSLATE_LOWER_H
#define ENGINE_TRANSLATE_LOWER_H

#include "engine/translate/emit.h"
#include "engine/translate/lower_plan.h"
#include "engine/translate/translate.h"
#include "engine/translate/twin.h"

#define COLD_MAX  (BLOCK_MAX * 6)
#define CODE_ROOM 32768

/* The large parts are lower_block's, which need not be cleared for each block. */
struct lower {
    struct translator *t;
    struct block *b;
    struct emit e;
    unsigned n; /* the instruction under way */
    struct plan *plan;
    bool in_loop; /* lower_loop.c: what is made now has its accesses looked at beforehand */
    struct plan_loop *loop;
    u64 checked;    /* bit n: instruction n's access was found aligned */
    u8 ready;       /* bit k: group k has been looked up */
    unsigned sides; /* links used from LINK_SIDE on */
    bool moves;     /* so far: it can be a model (twin.h) */
    unsigned fixes;
    struct fix *fix; /* [FIXES_MAX] */
    unsigned cold_count;
    struct cold {
        unsigned hole;
        u8 n;
    } * cold; /* [COLD_MAX]: jumps to where instruction n is left to its semantics */
};

/* Which scratch registers the address may take up. */
enum address_want {
    ADDRESS_ANY,  /* both */
    ADDRESS_IN_T, /* HOST_T alone; HOST_T2 is free afterwards */
    ADDRESS_IN_T2 /* HOST_T2 alone; HOST_T is free afterwards */
};

/* A memory operand by guest registers. */
struct operand {
    u8 base, index, scale, seg, ashift;
    u8 access; /* enum plan_access: which of the instruction's it is */
    i64 disp;
    unsigned size;
    bool enforced;  /* the host itself faults if it is not aligned */
    bool unaligned; /* likely: look whether it crosses a page, not whether it is aligned */
    bool crosses;   /* now and then: that is not to fault on the host */
};

/*
 * Code that turns the operand into a host address. False if it is of a kind that is left to the semantics; nothing was
 * emitted then. Guest state and flags are as before.
 */
bool lower_address(struct lower *l, const struct operand *o, enum address_want want, struct insn_ea *out);

/* The instruction's memory operand; the stack, `disp` bytes from its top. */
struct operand operand_of(const struct lower *l, const struct insn *i);
struct operand operand_stack(i64 disp);

/* Host register of a guest one that lives in a register, or -1. */
int lower_host(unsigned guest);
/* Loads guest R14 or R15 to a scratch register, and back. */
void lower_load(struct lower *l, unsigned guest, unsigned host);
void lower_store(struct lower *l, unsigned guest, unsigned host);

/* The next host instruction is the last before which the guest's can be begun anew. */
static inline void lower_commit(struct lower *l)
{
    l->b->commit[l->n] = (u16)l->e.len;
}

/* The last 4 or 8 bytes that were emitted depend on more than the guest's bytes: twin.h. */
void lower_fix(struct lower *l, enum fix_kind kind, unsigned which);
/* mov r64, value, which is rip and a constant. */
void lower_mov_rip(struct lower *l, unsigned reg, u64 value);
/* HOST_T = number of the instruction under way, as glue's arguments have it. */
void lower_mov_number(struct lower *l);
/* The same to a word of the frame. */
void lower_note_number(struct lower *l, enum frame_word word);
/* jmp to a piece of glue */
void lower_jmp_glue(struct lower *l, u64 piece);

/* Leaves instruction n to its semantics. */
void lower_call(struct lower *l);
void lower_cold(struct lower *l, unsigned hole);

/* lower_copy.c: instructions that come out as themselves. False: not possible. */
bool lower_copy(struct lower *l, const struct insn *i);
/* One of which that is known. */
bool lower_plain(struct lower *l, struct insn i);
/* lower_x87.c */
bool lower_x87(struct lower *l, const struct insn *i);
/* The block's beginning: on if x87 state lives in the host, where the block needs that. */
void lower_x87_check(struct lower *l);
/* HOST_T2 holds a linear address: turns it into the host address, for an access of `size` bytes. HOST_T is free. */
void lower_address_at_t2(struct lower *l, unsigned size);
/* On with the next if HOST_T is 0, else this instruction is left to its semantics. Keeps flags. */
void lower_require_zero(struct lower *l);
/* The same if the register holds a canonical address. Clobbers HOST_T. */
void lower_require_canonical(struct lower *l, unsigned reg);
/* lower_loop.c: the block's instructions are made, and come back to `entry` (an offset): once more for turns that stay
 * within the pages of the last one. */
void lower_turns(struct lower *l, unsigned entry);
/* lower.c: instruction l->n. */
void lower_insn(struct lower *l, const struct insn *i);
/* lower_string.c: STOS, LODS and MOVS. */
bool lower_string(struct lower *l, const struct insn *i);
/* lower_system.c */
bool lower_system(struct lower *l, const struct insn *i);
/* lower_ring.c */
bool lower_ring(struct lower *l, const struct insn *i);
/* lower_flow.c: stack and branches. False: not one of them, or not possible. */
bool lower_flow(struct lower *l, const struct insn *i);
/* Goes on at the guest address `target`, by link[which]. */
void lower_link(struct lower *l, unsigned which, u64 target);
/* Leaves by way of link[which], to go on at `target`. */
void lower_exit_link(struct lower *l, unsigned which, u64 target);
/* The same, if the condition cc holds. */
void lower_link_if(struct lower *l, unsigned which, u64 target, unsigned cc);

#endif
