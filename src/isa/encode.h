/*
 * The encoder: struct insn to bytes, the inverse of insn_decode. Pure.
 *
 * Its output is the shortest form that the row allows, without superfluous prefixes: decode(encode(i)) == i but for
 * `len`, and but for what has no meaning in the row (a segment override on an instruction without memory is kept, a
 * redundant REX is not).
 *
 * For code that makes instructions of its own there are insn_reg and insn_mem: they give 64-bit code with the row's
 * operand size.
 *
 *     struct insn i = insn_mem(INSN_MOVUPS_Vdq_Wdq, 1, (struct insn_ea){.base = R_DI, .index = REG_ZERO, .disp = 16});
 *     len = insn_encode(&i, out);
 */
#ifndef ISA_ENCODE_H
#define ISA_ENCODE_H

#include "isa/insn.h"

#define INSN_MAX_BYTES 15

/*
 * Writes the instruction to out for code of size i->mode and returns its length; 0 if it cannot be encoded: a
 * register that the code size or the other prefixes do not have (AH beside REX), a displacement or address form that
 * does not exist, more than 15 bytes. disp of a REG_RIP operand is taken as it is, relative to the end of the
 * instruction that comes out.
 */
unsigned insn_encode(const struct insn *i, u8 out[INSN_MAX_BYTES]) MUST_CHECK;

/* The same where there is room for more bytes, of which any may be written: that is faster. */
#define INSN_ROOM 40
unsigned insn_encode_roomy(const struct insn *i, u8 out[INSN_ROOM]) MUST_CHECK;

/* A memory operand of 64-bit code. base and index may be REG_ZERO, base REG_RIP. */
struct insn_ea {
    u8 base, index, scale;
    i32 disp;
};

/* Instructions of 64-bit code. Rows that do not fix REX.W get it from `wide`. */
static inline struct insn insn_reg(enum isa_row_id row, u8 reg, u8 rm, bool wide)
{
    return (struct insn){
        .row = (u16)row,
        .reg = reg,
        .rm = rm,
        .base = REG_ZERO,
        .index = REG_ZERO,
        .seg = SEG_DS,
        .opsize = wide ? 8 : 4,
        .rex_w = wide,
        .mode = ISA_64,
    };
}

static inline struct insn insn_mem(enum isa_row_id row, u8 reg, struct insn_ea ea, bool wide)
{
    struct insn i = insn_reg(row, reg, 0, wide);
    i.mem = true;
    i.base = ea.base;
    i.index = ea.index;
    i.scale = ea.scale;
    i.disp = ea.disp;
    if (ea.base == 4 || ea.base == 5)
        i.seg = SEG_SS;
    return i;
}

#endif
