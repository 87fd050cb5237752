/*
 * What isa/gen.c makes of the rows and isa/decode.c reads: private to isa.
 *
 * Each row becomes a form. Which rows an opcode byte may be is a list of candidates, most specific first; a form
 * matches where the instruction's key, one bit of each group below, lies inside the form's `accept`. For opcodes with
 * many rows the list is further split by ModRM.reg and by register or memory.
 */
#ifndef ISA_FORM_H
#define ISA_FORM_H

#include "base/types.h"

/* Groups of the key: place of the first bit. */
enum {
    KEY_PREFIX = 0, /* 6: none, 66, F3, 66 F3, F2, 66 F2 */
    KEY_CODE = 6,   /* 7: size of code and operand size before D64 and the like: 16/2 16/4 32/2 32/4 64/2 64/4 64/8 */
    KEY_ASIZE = 13, /* 3: 2, 4, 8 */
    KEY_W = 16,     /* 2 */
    KEY_L = 18,     /* 2 */
    KEY_B = 20,     /* 2 */
    KEY_MOD = 22,   /* 2: memory, register */
    KEY_REG = 24,   /* 8 */
    KEY_RM = 32,    /* 8 */
    KEY_BITS = 40,
};

/* Opcode maps. 0F 38 is map 2, 0F 3A map 3. */
enum { MAP_LEGACY = 0, MAP_VEX = 3 /* VEX map m is MAP_VEX + m */, MAP_COUNT = 7 };

/* How ModRM.reg or ModRM.rm is read as a register number. */
enum isa_field {
    FIELD_RAW,    /* the three bits */
    FIELD_EXT,    /* with REX.R or REX.B */
    FIELD_BYTE,   /* byte register */
    FIELD_SEG,    /* segment register: 6 and 7 are #UD */
    FIELD_SEG_TO, /* the same, as destination: CS is #UD too */
    FIELD_CR,     /* 0, 2, 3, 4, 8 */
    FIELD_DR,     /* REX.R is #UD */
};

enum isa_imm { IMM_NONE, IMM_U8, IMM_S8, IMM_U16, IMM_U32, IMM_Z, IMM_V, IMM_U64, IMM_FAR, IMM_MOFFS, IMM_IS4 };

/* Operand size. */
enum isa_sizing {
    SIZING_PLAIN,
    SIZING_BYTE, /* 1 */
    SIZING_NO66, /* 66 is part of the opcode */
    SIZING_D64,  /* 8 in 64-bit code, or 2 with 66 */
    SIZING_F64,  /* 8 in 64-bit code */
};

enum {
    FORM_MODRM = 1 << 0,
    FORM_NOMOD = 1 << 1, /* ModRM.mod ignored */
    FORM_VVVV = 1 << 2,  /* VEX.vvvv names an operand: else it must be 1111b */
    FORM_VSIB = 1 << 3,
    FORM_GATHER = 1 << 4, /* destination, index and mask must differ */
    FORM_OPREG = 1 << 5,  /* register in the opcode, read as `reg` says */
    FORM_STRING = 1 << 6, /* memory at a fixed register, segment override applies */
    FORM_LOCK = 1 << 7,
    FORM_REP = 1 << 8,
};

#define FORM_FREE 0xff

struct isa_form {
    u64 accept;
    u16 flags;
    u8 feature;
    u8 sizing;    /* enum isa_sizing */
    u8 reg, rm;   /* enum isa_field */
    u8 imm, imm2; /* enum isa_imm */
    /* For the encoder. */
    u8 map, opcode;      /* the first opcode of a "+r" row */
    u8 prefix;           /* 66, F3 or F2, or 0 */
    u8 w, l, digit, fit; /* what REX.W or VEX.W, VEX.L, ModRM.reg and ModRM.rm must be; FORM_FREE: what they are told */
};
extern const struct isa_form isa_forms[]; /* by row */

/* The upper half of `flags` is the enum isa_imm that all rows of the opcode have, if they agree. */
enum { ENTRY_MODRM = 1, ENTRY_SPLIT = 2, ENTRY_IMM_SHIFT = 4 };

/*
 * The rows of an opcode: candidates[first .. first + count), or 16 entries from splits[first], by 8 * register form +
 * ModRM.reg.
 */
struct isa_entry {
    u16 first;
    u8 count;
    u8 flags;
};

#endif
