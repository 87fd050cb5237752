/*
 * The generator's hand: writes instructions one after the other into the code, and remembers what is needed to write
 * sensible ones. Internal to the generator.
 */
#ifndef TESTS_PROGRAM_GEN_H
#define TESTS_PROGRAM_GEN_H

#include "isa/encode.h"
#include "space.h"

/* What a register holds, as far as a straight line of code goes. */
enum reg_use { REG_DATA, REG_POINTER, REG_SMALL };

/* A place in the code that will hold the address of a later instruction. */
struct forward {
    u32 at;   /* offset of the field in RAM */
    u32 from; /* offset in the code that a displacement counts from */
    u8 size;  /* 1, 4: displacement; 8: linear address; 2: the offset itself */
    u64 base; /* for 8 */
};
#define FORWARDS 48

/* An immediate that other code may change. */
struct patchable {
    u16 at; /* in the code */
    u8 size;
};
#define PATCHABLES 64

struct gen {
    struct program *p;
    const struct program_options *o;
    struct random *r;
    u8 *code;    /* in RAM */
    u16 *resume; /* in RAM */
    u32 at;      /* offset of the next instruction */
    u32 end;     /* no item begins here or later */
    enum reg_use use[16];
    bool ring0; /* as far as is known */
    /* Wishes for the next instruction of random_operands. */
    bool wide_pointer; /* the memory operand's address is to be a multiple of 64 */
    bool want_lock;    /* LOCK, so memory */
    u8 want_seg;       /* SEG_FS or SEG_GS with a small offset; 0: any */
    struct forward forward[FORWARDS];
    unsigned forwards;
    struct forward patch[FORWARDS]; /* stores into the immediate of a later instruction */
    unsigned patches;
    struct patchable patchable[PATCHABLES];
    unsigned patchables;
    u32 function[16]; /* code offsets of functions that may be called */
    unsigned functions;
    unsigned counters, slots, edits; /* used so far */
};

/* Rows that a kind may draw. */
struct row_list {
    u16 row[INSN_COUNT];
    unsigned count;
};
const struct row_list *rows_of(enum kind k);
void rows_init(const struct isa_features *f);

/* --- emit.c: instructions ------------------------------------------------------------------------------------------
 */

static inline u32 below(struct gen *g, u32 n)
{
    return random_below(g->r, n);
}

static inline bool one_in(struct gen *g, u32 n)
{
    return random_one_in(g->r, n);
}

void emit_bytes(struct gen *g, const u8 *bytes, unsigned len);
/* Encoded; false if that is not possible. */
bool emit(struct gen *g, struct insn i);
/* With a RIP-relative operand that leads to an offset from the start of the arena. */
bool emit_rip(struct gen *g, struct insn i, u64 arena_offset);
/* A random instruction of the row, with what has to come before it. False if luck was not enough. */
bool emit_row(struct gen *g, unsigned row);
/* One of the kind's rows. */
void emit_any(struct gen *g, enum kind k);

void emit_mov(struct gen *g, u8 reg, u64 value);
void emit_int(struct gen *g, u8 vector);
/* mov dword [variable], value: an offset in PAGE_VARS. */
void emit_set_var(struct gen *g, u32 var, u32 value);
/* LEA of an offset from the start of the arena. */
void emit_lea(struct gen *g, u8 reg, u64 arena_offset);

/* --- operand.c ------------------------------------------------------------------------------------------------------
 */

u8 pick_reg(struct gen *g);
/* One that may be written: not RSP, and rarely one with a pointer. */
u8 pick_target(struct gen *g);
/* One with a pointer to data, made now if need be; never RSP. */
u8 pick_pointer(struct gen *g);
void set_pointer(struct gen *g, u8 reg);
u64 random_address(struct gen *g);
/* Offset from the start of the arena, in a page of data. */
u64 random_place(struct gen *g);
/* The memory operand: registers and displacement. May emit instructions. */
void pick_memory(struct gen *g, struct insn *i);
/* Random operands; may emit instructions. */
struct insn random_operands(struct gen *g, unsigned row);
/* The registers that an instruction writes hold data now. */
void note_writes(struct gen *g, const struct insn *i);

/* --- flow.c ----------------------------------------------------------------------------------------------------------
 */

/* The field of `size` bytes that ends at code offset `end` is to lead to a later instruction. */
void forward_disp(struct gen *g, u32 end, unsigned size);
/* A place in RAM is to get the linear address (8) or the offset in the code (2) of a later instruction. */
void forward_word(struct gen *g, u32 ram, unsigned size);
/* The next instruction is one that forward references may lead to. `all`: every one of them must. */
void forward_land(struct gen *g, bool all);

/* Where the code runs in the present ring. */
u64 code_base(struct gen *g);
/* The runtime is to go on at a later instruction after a jump to nowhere. */
void emit_recover(struct gen *g);

void item_branch(struct gen *g);
/* loop.c */
void item_loop(struct gen *g);
void item_call(struct gen *g);
void item_flags(struct gen *g);
void item_code(struct gen *g);

/* --- data.c, system.c
 * ---------------------------------------------------------------------------------------------------- */

void item_stack(struct gen *g);
void item_string(struct gen *g);
void item_lock(struct gen *g);
void item_fault(struct gen *g);
void item_edge(struct gen *g);
void item_state(struct gen *g);
void emit_stack(struct gen *g);

void item_paging(struct gen *g);
void item_ring(struct gen *g);
void item_segment(struct gen *g);
void item_system(struct gen *g);
void item_irq(struct gen *g);

#endif
