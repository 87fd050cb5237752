/*
 * What translated code reaches beside the guest's memory: the words of c->frame, and the layout of a window. The gs
 * base is the start of a window (window.h), so everything here is at gs:[constant].
 */
#ifndef ENGINE_TRANSLATE_FRAME_H
#define ENGINE_TRANSLATE_FRAME_H

#include "cpu/cpu.h"

#define FRAME_DELTAS 8
#define FRAME_LOOPS  4
#define FRAME_SEGS   (2 * (sizeof(struct cpu_seg) / 8))

/* Words of c->frame. */
enum frame_word {
    FRAME_HOST_SP,   /* stack pointer of the C code that entered */
    FRAME_REASON,    /* enum glue_reason of the last exit */
    FRAME_ARG,       /* and what it is about */
    FRAME_MASK_PAGE, /* for pext: the page number of a linear address, 0xfffffffff000 */
    FRAME_MASK_1,    /* for pext: 1, 3, 7, 15, 31: address bits that are 0 when aligned */
    FRAME_MASK_3,
    FRAME_MASK_7,
    FRAME_MASK_15,
    FRAME_MASK_31,
    FRAME_MASK_OFFSET, /* 0xfff */
    FRAME_MASK_CROSS,  /* 0x1000 */
    FRAME_MASK_NOT_OFFSET,
    FRAME_MASK_NOT_COUNT, /* of a count less 1: it is 0, or too large for a page */
    FRAME_MASK_63,
    FRAME_MASK_CANONICAL, /* bits 63:47 */
    FRAME_MASK_CARRY,     /* that and 1, gathered, but for bit 0 */
    FRAME_MASK_IF,        /* of RFLAGS */
    FRAME_MASK_NOT_IF,
    FRAME_MASK_AC,
    FRAME_MASK_AH_FLAGS, /* what LAHF leaves in AX */
    FRAME_MASK_FLAGS,    /* where that stands in RFLAGS */
    FRAME_MASK_OF,
    FRAME_MASK_FSGSBASE, /* of CR4 */
    FRAME_MASK_PUSHED,   /* what PUSHF shows of c->rflags */
    FRAME_MASK_JUMP,     /* for pext: the index of a jump target in the window's jump table, WIN_JUMP_MASK */
    FRAME_HOST_MXCSR,
    FRAME_TARGET,   /* where the entry stub jumps */
    FRAME_UPPER,    /* not 0: the upper halves of c->ymm may hold something */
    FRAME_X87_AWAY, /* 0: x87 and MMX registers hold the guest's (x87.h) */
    FRAME_X87_LAST, /* then: the last instruction that FSTENV tells about, numbered as GLUE_CALL's argument; or ~0 */
    FRAME_TEMP,
    FRAME_TEMP2,
    FRAME_FROM,  /* the last JMP or RET to an indirect target, numbered as GLUE_CALL's argument */
    FRAME_DELTA, /* what the page's translation came out as, for groups of accesses (lower_plan.h) */
    FRAME_DELTA_LAST = FRAME_DELTA + FRAME_DELTAS - 1,
    FRAME_LOOP_DELTA,                                  /* the same for accesses of a loop */
    FRAME_LOOP_LIMIT = FRAME_LOOP_DELTA + FRAME_LOOPS, /* and up to where, or down to, the register that moves may go */
    FRAME_LOOP_LAST = FRAME_LOOP_LIMIT + FRAME_LOOPS - 1,
    FRAME_MOVED,          /* not 0: translated code has changed the window and what it goes by (ring.h) */
    FRAME_MASK_NOT_AC,    /* of RFLAGS */
    FRAME_MASK_NOT_ARITH, /* of RFLAGS */
    FRAME_RING_AX,
    FRAME_RING_WINDOW,
    FRAME_SYSCALL,        /* 0: left to semantics; else 1 + the index of where SYSCALL leads (enum mmu_index) */
    FRAME_SYSCALL_RFLAGS, /* after it */
    FRAME_SYSCALL_SEGS,   /* CS and SS after it, as c->seg has them */
    FRAME_SYSRET_SEGS = FRAME_SYSCALL_SEGS + FRAME_SEGS,
    FRAME_RING_LAST = FRAME_SYSRET_SEGS + FRAME_SEGS - 1,
    FRAME_CPU,      /* C code's pointer to the processor */
    FRAME_TSC_READ, /* address of tsc_read */
    FRAME_TSC_FLAGS,
    FRAME_MASK_TSD, /* of CR4 */
    FRAME_USED
};
_Static_assert(FRAME_USED <= sizeof(((struct cpu *)0)->frame) / 8, "room in struct cpu");

/* gs offset of a frame word, of a field. */
#define FRAME_AT(word) ((i32)(WIN_CPU + offsetof(struct cpu, frame) + 8 * (word)))
#define CPU_AT(field)  ((i32)(WIN_CPU + offsetof(struct cpu, field)))

/*
 * A window: how one processor sees one address space at one privilege. Offsets from the gs base.
 *
 * WIN_CPU: struct cpu, the same memory in all of the processor's windows.
 *
 * WIN_PEERS: u64 by enum mmu_index, the base of the window for the same address space at that privilege, this one's own
 * included; 0 if there is none.
 *
 * WIN_SPAN: two pages that may be read, before one that may not (lower_mem.c).
 *
 * WIN_SLOT: u64[WIN_SLOTS], targets of direct jumps that leave their page: host address of the block if that may be run
 * here, else of the stub that asks. First half: targets at user addresses (bit 47 clear), this window's own. Second
 * half: kernel addresses, shared by the processor's supervisor windows.
 *
 * WIN_JUMP: u64[WIN_JUMPS], the same for indirect jumps, by WIN_JUMP_MASK of the target. The code led to checks that it
 * is the right one. Upper half (bit 47 set) shared as above.
 *
 * WIN_TABLE: u64[2^36] by page number, what to add to a linear address to get the host address. Upper half (bit 47 set)
 * shared as above.
 */
#define WIN_CPU       0
#define WIN_SPAN      0x001fc000
#define WIN_SPAN_SIZE 0x2000
#define WIN_PEERS     0x001ff000
#define WIN_SLOT      0x00200000
#define WIN_SLOTS     0x20000u /* 1 MiB */
#define WIN_JUMP      0x00300000
#define WIN_JUMPS     0x20000u /* 1 MiB */
#define WIN_JUMP_MASK (BIT64(47) | 0xffffull)
#define WIN_TABLE     0x01000000
#define WIN_PAGES     BIT64(36)
#define WIN_SIZE      (WIN_TABLE + WIN_PAGES * 8)

#endif
