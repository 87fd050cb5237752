/*
 * A random guest program: a function of a seed and of the kinds of items it may consist of. It is a picture of all of
 * RAM, code, tables and runtime (map.h) included, and the state that the processor starts with.
 *
 * Code is a row of items: one instruction or a few that belong together. Any of them can be blanked, and what remains
 * is still a program that ends; the shrinker lives by that.
 */
#ifndef TESTS_PROGRAM_PROGRAM_H
#define TESTS_PROGRAM_PROGRAM_H

#include "cpu/cpu.h"
#include "map.h"

enum kind {
#define KIND(name, text, weight, help) KIND_##name,
#include "kind.def"
#undef KIND
    KIND_COUNT
};

struct item {
    u16 at, len; /* bytes of code */
    u8 kind;
};
#define ITEMS 1200

/* As runtime.S knows it by offsets. */
struct runtime_vars {
    u64 log, left, user, kernel, recover, space_a, syscall_sp, syscall_ss, all, resume;
    u64 descriptor[2], dead, unused[3];
    struct {
        u64 pte, value;    /* linear address of the entry */
    } fix[3][ARENA_PAGES]; /* user in space A, in space B, kernel */
    struct {
        u64 pte, value, linear;
    } edit[EDITS];
};
_Static_assert(offsetof(struct runtime_vars, dead) == RT_DEAD, "runtime.S");
_Static_assert(offsetof(struct runtime_vars, fix) == RT_FIX, "runtime.S");
_Static_assert(offsetof(struct runtime_vars, edit) == RT_EDIT, "runtime.S");

/* A record of the log. Registers from R15 to RAX without RSP. */
struct record {
    u64 gpr[15], vector, error, rip, cs, rflags, rsp, ss, cr2, dr6;
};
_Static_assert(sizeof(struct record) == RECORD_SIZE, "runtime.S");

struct start {
    bool user;
    u64 gpr[16], rip, rflags, cr3, cr4, xcr0, sfmask, fs, gs, kernel_gs;
    u32 mxcsr;
    u16 fcw, fsw;
    u8 ftw;
    u64 st[16], ymm[64];
};

struct program {
    u64 seed;
    u8 *ram; /* RAM_SIZE bytes */
    struct item item[ITEMS];
    unsigned items, code_end;
    struct start start;
    /* For the generator. */
    u64 space[2]; /* CR3 of the two address spaces, PCID included */
    bool pcid;    /* then INVPCID follows each edit */
    bool smap;
    u8 alias[2];    /* the code page that PAGE_ALIAS + n shows */
    u64 next_table; /* physical */
};

/* A set of kinds, and what the host can run. */
struct program_options {
    u32 kinds;       /* bit for each enum kind */
    unsigned length; /* about how many items; 0: random */
    struct isa_features features;
    bool strict_flags;   /* compare flags in events that the code overwrites before it reads them */
    bool interrupted;    /* engines may stop at any moment */
    bool no_split_locks; /* the host makes locked accesses that cross a cache line slow, or deadly */
};

const char *kind_name(unsigned kind);

/* Fills in *p, whose ram is there. */
void program_generate(struct program *p, u64 seed, const struct program_options *o);
/* Puts no-operations in the place of an item. */
void program_blank(struct program *p, unsigned item);

/*
 * When nothing is to be blanked any more: notes where flags are dead, if those are to be left out of events. That is in
 * straight runs of code, and more than any engine will find. `all`: they may be anywhere.
 */
void program_finish(struct program *p, const struct program_options *o, bool all);
/* In this RAM at the end there are other instructions than there were, so that those notes are wrong. (Changed
 * immediates do not count.) */
bool program_rewrote_code(const struct program *p, const struct program_options *o, const u8 *ram);

/* The offset in the code of a linear address in any of its views; CODE_SIZE if it is elsewhere. */
u32 program_code_offset(u64 linear);

#endif
