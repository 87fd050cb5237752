/*
 * One case of the oracle test: instruction bytes, the state before, and the two states after it, from the host
 * processor (native.h) and from our semantics (guest.h).
 *
 * Memory: both sides see the same pages at the same linear addresses, all below 4 GiB so that 32-bit code reaches them
 * too. LDT segments, for 16-bit code and for limits, have ARENA as their base: there an offset is `linear - ARENA`.
 */
#ifndef TESTS_INSN_CASE_H
#define TESTS_INSN_CASE_H

#include "cpu/cpu.h"

#define PAGE  4096u
#define ARENA 0x20000000u

/* Pages from ARENA on. The rest is not mapped. */
enum arena_page {
    PAGE_CODE = 1,   /* two, executable, not writable */
    PAGE_DATA = 4,   /* four, readable and writable */
    PAGE_RO = 8,     /* one, only readable */
    PAGE_STACK = 10, /* two, readable and writable */
    PAGE_END = 12,
    ARENA_PAGES = 16,
};

enum page_use { USE_NONE, USE_CODE, USE_RW, USE_RO };
enum page_use arena_use(unsigned page);

/* Where the code runs. FLAT ones have base 0 and 4 GiB; LDT ones begin at ARENA and end at LDT_LIMIT, inside the stack.
 */
enum code_kind { CODE_64, CODE_32_FLAT, CODE_32_LDT, CODE_16_LDT, CODE_KINDS };
#define LDT_LIMIT (PAGE_END * PAGE - 13)

/* The image of FXSAVE64. */
struct fx_image {
    u16 fcw, fsw;
    u8 ftw, zero;
    u16 fop;
    u64 fip, fdp;
    u32 mxcsr, mxcsr_mask;
    u8 st[8][16]; /* by distance from the top */
    u8 xmm[16][16];
};

#define NO_FAULT 0xff

struct user_state {
    u64 gpr[16];
    u64 rip; /* offset in the code segment */
    u64 rflags;
    struct fx_image fx;
    u8 ymm_high[16][16];
    /* How the instruction ended. */
    u8 vector; /* exception, or NO_FAULT */
    u32 error;
    u64 cr2; /* for #PF */
};

#define GS_BASE (ARENA + PAGE_DATA * PAGE + 0x800) /* in 64-bit code; FS is the host's own */

struct test_case {
    u8 bytes[16];
    unsigned len;
    enum code_kind kind;
    struct user_state before, native, guest;
};

static inline bool code_is_ldt(enum code_kind k)
{
    return k == CODE_32_LDT || k == CODE_16_LDT;
}

static inline enum isa_mode code_mode(enum code_kind k)
{
    return k == CODE_64 ? ISA_64 : k == CODE_16_LDT ? ISA_16 : ISA_32;
}

static inline u64 code_base(enum code_kind k)
{
    return code_is_ldt(k) ? ARENA : 0;
}

#endif
