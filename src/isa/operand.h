/*
 * A decoded instruction's operands one by one, each with register, address or value worked out: for disassembly, tests,
 * the debugger. Not for the speed of engines, which read struct insn, but for insn_gpr_written.
 */
#ifndef ISA_OPERAND_H
#define ISA_OPERAND_H

#include "isa/insn.h"

enum isa_operand_type { OPERAND_NONE, OPERAND_REG, OPERAND_MEM, OPERAND_IMM, OPERAND_REL, OPERAND_FAR };

struct isa_operand {
    u8 type;                    /* enum isa_operand_type */
    u8 access;                  /* enum isa_access */
    u8 size;                    /* in bytes; 0 if it has none of its own */
    u8 file;                    /* of a register; never FILE_VEC: XMM or YMM */
    u8 reg;                     /* register number; byte registers as in struct insn */
    u8 base, index, scale, seg; /* of memory, as in struct insn */
    u8 index_file;              /* FILE_GPR, or FILE_XMM and FILE_YMM for VSIB */
    u8 asize;                   /* address size in bytes: 2, 4, 8 */
    bool is_signed;             /* the immediate was sign-extended */
    u16 selector;               /* of a far pointer */
    u64 imm;                    /* immediate, relative displacement, offset of a far pointer */
    i64 disp;                   /* of memory */
};

/* Operand n of the row, 0 <= n < isa_rows[i->row].operands. */
struct isa_operand insn_operand(const struct insn *i, unsigned n);

/* The general register that operand n writes, as a whole or a part of it; INSN_NO_GPR if it writes none, INSN_ANY_GPR
 * if it is of a kind that there is no telling. */
enum { INSN_NO_GPR = -1, INSN_ANY_GPR = -2 };
int insn_gpr_written(const struct insn *i, unsigned n);

/*
 * True if the syntax writes the operand. String instructions are written without operands ("movsb"), though their rows
 * have them.
 */
bool insn_operand_visible(const struct insn *i, unsigned n);

#endif
