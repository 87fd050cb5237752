/*
 * The instruction set: one table, and what comes from it.
 *
 * The .def files in isa/table hold one row for each form of each instruction (Intel SDM volume 2, AMD APM volumes 3-5):
 *
 *     INSN(ADD_Ev_Gv, "add", "01 /r", RW(Ev) RD(Gv), FW(OSZAPC), BASE, A_LOCK, SEM_VRM(add_Ev_Gv), COPY)
 *
 *  1 name      unique C identifier: MNEMONIC_operand_operand
 *  2 mnemonic  as Intel syntax writes it
 *  3 encoding  as the SDM writes it, blanks between the parts, the conditions last and in any order:
 *       [NP|NFx|66|F3|F2]    mandatory prefix, before the opcode. F3 and F2 (the last of them) go before 66. Without
 *                            one of these, any of the three may stand there as ordinary prefixes. NP: none of them;
 *                            NFx: not F2, not F3, but 66 as usual
 *       [VEX.128|256|LIG|LZ.NP|66|F3|F2.0F|0F38|0F3A.W0|W1|WIG]   (VEX.NDS and the like are not written: operands
 *                            tell. LIG: both lengths; LZ: L is 0. Rows that VEX.W only gives the operand size: WIG)
 *       [REX.W | W0]         only with, only without REX.W
 *       0F | 0F 38 | 0F 3A   opcode map, then the opcode byte; "50+r": low three bits are a register
 *       /r  /0../7           ModRM with a register or with an opcode extension
 *       F8 after the opcode  a fixed ModRM byte ("0F 01 F8"; "D9 C0+i" with the low three bits an x87 register)
 *       mem | reg            the r/m operand must be memory, or a register. Not needed where the operand kind is only
 *                            one of them (M, R, U, N, STi)
 *       nomod                ModRM.mod is ignored: r/m is a register (MOV CR, MOV DR)
 *       o16 o32 o64          only with that operand size, D64 and the like applied
 *       a16 a32 a64          only with that address size
 *       m16 m32 m64 n64      only in code of that size; not in 64-bit code. Two of a kind: either
 *       B0                   only without REX.B (NOP, which is XCHG R8 with it)
 *       ib iw id iz iv iq    immediate bytes: 1 2 4, 2-or-4 by operand size (4 for 64), 2-4-8, 8; in order of the bytes
 *       cb cz cp             relative displacement 1 / 2-or-4, far pointer
 *       mo is4               moffs, by address size; register in imm[7:4]
 *     The k-th of the immediates belongs to the k-th immediate operand (a second one is an I2 kind), is4 to an L kind.
 *     More than one row may match the same bytes: rows are tried in the order: more specific conditions first (the
 *     generator sorts, by the share of instructions that the conditions let through), then order of the table; a row
 *     whose feature the processor model lacks is skipped. So LZCNT "F3 0F BD /r" falls back to BSR. What no row matches
 *     is #UD: where a hole in a group must not be filled by a general row, give the general row the condition.
 *  4 operands  RD(kind) WR(kind) RW(kind) NA(kind) in order of the Intel syntax; kinds in isa/table/operand.def; NA is
 *              neither read nor written (LEA, NOP, INVLPG). IMP_RD(kind) IMP_WR IMP_RW for operands that are read or
 *              written but not written in the syntax. They come last
 *  5 flags     FR(read) FW(written, defined) FU(left undefined) F0(cleared) F1(set), ored; 0 for none. The set is one
 *              of FL_* below without prefix; FW(SZP) | FU(AF) and so on may be ored too
 *  6 feature   one of isa/table/feature.def, without prefix
 *  7 attrs     A_* below, ored; 0 for none. The exception class (E1 to E13, SDM volume 2 section 2.4) is among them
 *  8 semantics SEM(f)      one function sem_f
 *              SEM_RM(f)   sem_f_r where the r/m operand is a register, sem_f_m where it is memory
 *              SEM_V(f)    sem_f_16 sem_f_32 sem_f_64 by operand size
 *              SEM_VRM(f)  the product: sem_f_16r sem_f_16m sem_f_32r ...
 *              SEM_Y(f), SEM_YRM(f) as SEM_V and SEM_VRM, for rows whose operands are only 4 or 8 bytes: no _16 ones
 *              Rows may share functions. cpu/sem/table.c makes the dispatch table, so a missing one does not link.
 *  9 treatment of the translator: COPY (as itself, memory operand rewritten), BRANCH, STRING,
 *              HELPER (calls the semantics)
 *
 * From the rows, isa/gen.c makes the decoder's tables at build time. Everything here is pure: no state, no allocation.
 */
#ifndef ISA_INSN_H
#define ISA_INSN_H

#include "base/types.h"

struct cpu;
struct insn;

/* The interface of the semantics (cpu/sem). isa only carries the pointer. */
typedef void insn_fn(struct cpu *c, const struct insn *i);

enum isa_mode { ISA_16 = 2, ISA_32 = 4, ISA_64 = 8 }; /* the size of code: CS.D, or 64-bit mode */

enum isa_feature {
#define FEATURE(name, text) FEAT_##name,
#include "isa/table/feature.def"
#undef FEATURE
    FEAT_COUNT
};

/* A set of features. FEAT_BASE is always in. */
struct isa_features {
    u64 word[(FEAT_COUNT + 63) / 64];
};

static inline bool isa_has(const struct isa_features *f, enum isa_feature n)
{
    return f->word[n / 64] >> (n % 64) & 1;
}

static inline void isa_set(struct isa_features *f, enum isa_feature n)
{
    f->word[n / 64] |= (u64)1 << (n % 64);
}

/* Arithmetic flags, at their places in EFLAGS. */
enum {
    FL_CF = 0x0001,
    FL_PF = 0x0004,
    FL_AF = 0x0010,
    FL_ZF = 0x0040,
    FL_SF = 0x0080,
    FL_DF = 0x0400,
    FL_OF = 0x0800,
    FL_OSZAPC = 0x08d5,
    FL_OSZPC = 0x08c5,
    FL_OSZAP = 0x08d4,
    FL_ZPC = 0x0045,
    FL_OSA = 0x0890,
    FL_SZ = 0x00c0,
    FL_ZC = 0x0041,
    FL_OC = 0x0801,
    FL_OS = 0x0880,
    FL_OSZ = 0x08c0,
    FL_SZP = 0x00c4,
    FL_SZAP = 0x00d4,
    FL_SZAPC = 0x00d5,
    FL_OSAP = 0x0894,
    FL_OSAPC = 0x0895,
};

/* Row attributes. */
enum {
    A_LOCK = 1 << 0,   /* LOCK allowed when the first operand is memory; without it LOCK is #UD */
    A_REP = 1 << 1,    /* a string instruction that REP repeats */
    A_REPZ = 1 << 2,   /* one that REPE and REPNE repeat */
    A_D64 = 1 << 3,    /* in 64-bit code the operand size defaults to 64 (66 still gives 16) */
    A_F64 = 1 << 4,    /* in 64-bit code the operand size is 64 whatever the prefixes say */
    A_NO64 = 1 << 5,   /* #UD in 64-bit code */
    A_ONLY64 = 1 << 6, /* #UD outside 64-bit code */
    A_PROT = 1 << 7,   /* #UD in real and virtual-8086 mode (the processor checks, not the decoder) */
    A_END = 1 << 8,    /* ends a block: may change rip, the mode, what is mapped, or whether interrupts are taken */
    A_CPL0 = 1 << 9,   /* #GP(0) unless CPL is 0; the processor checks, before anything else of the instruction */
    A_X87 = 1 << 10,   /* #NM if CR0.EM or CR0.TS; pending x87 errors are taken first unless A_NOWAIT */
    A_NOWAIT = 1 << 11,
    A_MMX = 1 << 12,    /* #UD if CR0.EM, #NM if CR0.TS, pending x87 errors taken first; sets the tags valid */
    A_SSE = 1 << 13,    /* #UD if CR0.EM or not CR4.OSFXSR, #NM if CR0.TS */
    A_AVX = 1 << 14,    /* #UD if not CR4.OSXSAVE or XCR0[2:1] is not 3, #NM if CR0.TS. VEX rows have A_PROT too */
    A_VL256 = 1 << 15,  /* row is the 256-bit form */
    A_ALIGN = 1 << 16,  /* a memory operand of the legacy or explicitly aligned form must be aligned: #GP(0) */
    A_FPEXC = 1 << 17,  /* can raise SIMD floating-point exceptions: runs under the guest's MXCSR */
    A_NTZ = 1 << 18,    /* near branch: operand size 64 in 64-bit code, 66 ignored (Intel) */
    A_BND = 1 << 19,    /* F2 is the BND prefix here, F3 and 2E/3E branch hints: ignored */
    A_SERIAL = 1 << 20, /* serialising */
    A_HOST = 1 << 21,   /* pure data: the semantics may run it on the host, re-encoded with other registers */

    /* The exception classes of SDM volume 2 sections 2.4 and 23.25.3 in these terms: legacy SSE, VEX, MMX. */
    SSE_1 = A_SSE | A_ALIGN,
    SSE_2 = A_SSE | A_ALIGN | A_FPEXC,
    SSE_3 = A_SSE | A_FPEXC,
    SSE_4 = A_SSE | A_ALIGN,
    SSE_5 = A_SSE,
    AVX_1 = A_AVX | A_PROT | A_ALIGN,
    AVX_2 = A_AVX | A_PROT | A_FPEXC,
    AVX_3 = A_AVX | A_PROT | A_FPEXC,
    AVX_4 = A_AVX | A_PROT,
    AVX_5 = A_AVX | A_PROT,
    AVX_6 = A_AVX | A_PROT,
    AVX_7 = A_AVX | A_PROT,
    AVX_8 = A_AVX | A_PROT,
    AVX_11 = A_AVX | A_PROT | A_FPEXC,
    AVX_12 = A_AVX | A_PROT,
    MMX_22 = A_MMX,           /* 22-7, 22-8, 22-9: without SIMD floating-point */
    MMX_FP = A_SSE | A_FPEXC, /* 22-4, 22-5, 22-6: both register files; the row adds A_MMX where MMX state is entered */
};

enum isa_treat { TREAT_COPY, TREAT_BRANCH, TREAT_STRING, TREAT_HELPER };

enum isa_access { ACC_R = 1, ACC_W = 2, ACC_RW = 3, ACC_IMPLICIT = 4 };

/* Which field of the instruction an operand comes from, and which register file it names. See operand.def. */
enum isa_slot {
    SLOT_NONE,
    SLOT_REG,
    SLOT_RM,
    SLOT_VVVV,
    SLOT_OPREG,
    SLOT_IS4,
    SLOT_IMM,
    SLOT_IMM2,
    SLOT_REL,
    SLOT_FAR,
    SLOT_MOFFS,
    SLOT_FIXED,
    SLOT_SI,
    SLOT_DI,
    SLOT_VSIB
};
enum isa_file {
    FILE_NONE,
    FILE_GPR,
    FILE_GPR8,
    FILE_SEG,
    FILE_CR,
    FILE_DR,
    FILE_ST,
    FILE_MMX,
    FILE_XMM,
    FILE_YMM,
    FILE_VEC /* by VL */
};

/* Sizes in operand.def that are not a number of bytes. */
enum isa_size {
    SZ_NONE = 0,
    SZ_V = 0x80,
    SZ_Z,
    SZ_Y,
    SZ_A,
    SZ_2V,
    SZ_2Y,
    SZ_P,
    SZ_S,
    SZ_VL,
    SZ_HALF_VL,
    SZ_QUARTER_VL,
    SZ_EIGHTH_VL
};
enum { OPF_SIGNED = 1, OPF_MEM = 2, OPF_REG = 4, OPF_R32 = 8, OPF_RV = 16, OPF_RY = 32 };

/* OPK_Ev and so on. */
enum isa_operand_kind {
    OPK_NONE,
#define OPERAND(kind, slot, file, size, flags) OPK_##kind,
#include "isa/table/operand.def"
#undef OPERAND
    OPK_COUNT
};

/* An operand kind: the columns of operand.def. */
struct isa_kind {
    const char *name;
    u8 slot;  /* enum isa_slot */
    u8 file;  /* enum isa_file */
    u8 size;  /* bytes or enum isa_size */
    u8 flags; /* OPF_*; the register number for SLOT_FIXED, SLOT_SI and SLOT_DI */
};
extern const struct isa_kind isa_kinds[OPK_COUNT];

#define INSN_OPERANDS 6

/* A row as the tables hold it. */
struct isa_row {
    const char *mnemonic;
    const char *name;
    struct {
        u8 kind;   /* enum isa_operand_kind */
        u8 access; /* enum isa_access bits */
    } operand[INSN_OPERANDS];
    u32 flags_read, flags_written, flags_undefined, flags_cleared, flags_set; /* FL_* */
    u32 attrs;
    u8 feature;
    u8 treat;
    u8 operands; /* how many, implicit ones included */
};

extern const struct isa_row isa_rows[];
extern const unsigned isa_row_count;

/* Row numbers, INSN_ADD_Ev_Gv and so on. */
enum isa_row_id {
#define INSN(name, ...) INSN_##name,
#include "isa/table/all.def"
#undef INSN
    INSN_COUNT
};

/* Register numbers beyond the sixteen general ones, in base and index. */
enum { REG_ZERO = 16, REG_RIP = 17 };
/* Segment registers as encoded. */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/*
 * A decoded instruction. It lives in the engines' caches, which are full of them: each byte more makes it 8 larger.
 * Byte registers are numbered 0 to 15 for AL..R15L and 0x10..0x13 for AH, CH, DH, BH: (n & 15) * 8 + (n >> 4) is the
 * offset of the byte in the array of general registers.
 */
struct insn {
    insn_fn *fn; /* NULL from the decoder; the engine fills it in from cpu/sem */
    u64 imm;     /* immediate, sign- or zero-extended to 64 bits as the operand kind says; relative displacement,
                    sign-extended; far pointer offset */
    i64 disp;    /* memory operand's displacement, sign-extended; moffs address. For REG_RIP it is relative to the end
                    of the instruction */
    u16 row;     /* enum isa_row_id */
    u16 imm2;    /* second immediate (ENTER, far pointer selector, EXTRQ) */
    u8 len;      /* bytes, 1 to 15 */
    u8 off;      /* for the engine: offset of the instruction in its block; 0 from the decoder */
    u8 opsize;   /* 1, 2, 4, 8: 1 for forms with byte operands only where the row is a byte form */
    u8 ashift;   /* 64 - 8 * address size: 0, 32, 48. ea << ashift >> ashift truncates */
    u8 reg;      /* ModRM.reg with REX.R (byte register numbering for byte operands), or the register of "+r" rows */
    u8 rm;       /* ModRM.rm with REX.B when it names a register */
    u8 base, index, scale; /* memory operand: registers (REG_ZERO if none), shift 0 to 3. VSIB: a vector register */
    u8 seg;                /* segment of the memory operand or of the string source, override included */
    u8 vvvv;               /* VEX.vvvv, un-inverted; with is4 rows the fourth register is in imm[7:4] */
    u8 modrm;              /* the ModRM byte, 0 if there is none */
    bool mem;              /* the r/m operand is memory */
    bool lock;
    u8 rep;      /* 0, 0xf2 or 0xf3 where it acts as a repeat prefix (or as XACQUIRE/XRELEASE, which are ignored) */
    u8 vl;       /* 0: 128, 1: 256 (VEX.L) */
    bool rex_w;  /* REX.W or VEX.W */
    u8 mode;     /* enum isa_mode */
    u8 prefix66; /* 1 if an operand-size prefix was there */
    u8 opcode;   /* last opcode byte, for semantics that share a function among condition codes (low four bits) */
};
_Static_assert(sizeof(struct insn) == 48, "struct insn");

enum insn_status {
    INSN_OK = 0,
    INSN_UD,       /* undefined here: #UD. len is the number of bytes looked at */
    INSN_TOO_LONG, /* more than 15 bytes: #GP(0) */
    INSN_SHORT,    /* the bytes end before the instruction does: fetch more */
};

/*
 * Decodes the instruction at bytes[0..size). At most 15 bytes are read, and never beyond size.
 * A row whose feature is not in `features` does not exist. `i` is completely written on INSN_OK.
 */
enum insn_status insn_decode(const u8 *bytes, size_t size, enum isa_mode mode, const struct isa_features *features,
                             struct insn *i);

/*
 * Intel syntax, lower case, as Zydis prints it where possible: "add qword ptr [rax+rcx*4+0x10], rdx". `rip` is the
 * address of the instruction. Returns what snprintf would.
 */
int insn_format(const struct insn *i, u64 rip, char *text, size_t size);

/* Size in bytes of the memory operand in the r/m slot (0 if the row has none or it varies: FXSAVE and the like). */
unsigned insn_mem_size(const struct insn *i);

#endif
