/*
 * The parts of the build-time generator: gen.c checks the rows and writes the tables, gen_parse.c takes the encoding
 * column apart.
 */
#ifndef ISA_GEN_H
#define ISA_GEN_H

#include "isa/form.h"
#include "isa/insn.h"

struct row {
    const char *path;
    unsigned line;
    const char *name;
    const char *encoding;
    struct {
        unsigned kind, access;
    } operand[INSN_OPERANDS];
    u32 attrs;
    unsigned feature;
};

/* A row's encoding, taken apart. */
struct code {
    bool vex;
    unsigned map, opcode;
    bool plus_r;
    bool has_prefix, is_66; /* a mandatory prefix, or NP, NFx; 66 is the mandatory one */
    u64 accept;             /* of the key groups, but KEY_CODE */
    unsigned osize, mode;   /* sets of sizes as bits 1, 2, 3 (log2 of bytes); 0: any */
    unsigned asize;
    enum { MODRM_NONE, MODRM_R, MODRM_DIGIT, MODRM_FIXED } modrm;
    bool mem, reg, nomod;
    const char *imm[3]; /* tokens */
    unsigned imms;
};

static inline u64 gen_group(unsigned first, unsigned width)
{
    return ((1ull << width) - 1) << first;
}

/* Restricts one group of the key to the bits of `set`. */
static inline void gen_restrict(u64 *accept, unsigned first, unsigned width, unsigned set)
{
    *accept &= ~gen_group(first, width) | (u64)set << first;
}

/* Takes row->encoding apart. False if it cannot, with the reason in `why`. */
bool gen_parse(const struct row *row, struct code *c, char why[64]);

#endif
