/*
 * The translator: x86-64 guest code to x86-64 host code. Internal to engine/translate. docs/translator.md tells how it
 * works and why.
 *
 * A block is a straight run of guest instructions within one page, decoded once and, in 64-bit mode, translated at
 * once. It is known by where its bytes are (host address), its linear address, the mode, and its flavour (below). Each
 * processor has a cache of its own blocks.
 *
 * Valid: a block is as good as the generation of its page (mem/code.h). What entries lead to it:
 *   links within the page      patched jumps; the page is mapped, or the block that jumps would not run
 *   slots, jump table          by way of the window, which forgets them when the page's translation goes
 *   this engine's look-ups
 * When the generation has changed, the block dies: its entry is patched to leave, and nothing finds it any more. Its
 * memory is reused only when the whole cache is dropped.
 */
#ifndef ENGINE_TRANSLATE_TRANSLATE_H
#define ENGINE_TRANSLATE_TRANSLATE_H

#include "engine/engine.h"
#include "engine/translate/glue.h"
#include "engine/translate/stats.h"
#include "engine/translate/window.h"
#include "host/trap.h"

#define BLOCK_MAX       64 /* instructions; they are numbered block * BLOCK_MAX + n in GLUE_CALL and GLUE_FAULT */
#define INSN_BYTES      15
#define LINK_NONE       (~0u)
#define JUMP_BITS       12
#define HASH_BITS       16
#define PAGE_BITS       12
#define SLOT_BITS       17
#define MISALIGNED_BITS 10
#define BLOCKS_MAX      (1u << 20)
#define UNALIGNED_MAX   8 /* misaligned accesses by one block before it is made again with other checks */

/* What of the processor's state translated code takes for granted. */
enum flavour {
    FLAVOUR_SSE = 1,  /* SSE instructions do not fault for CR0 and CR4 */
    FLAVOUR_AVX = 2,  /* nor do AVX ones */
    FLAVOUR_SLOW = 4, /* nothing is translated: alignment checks are on, or DF is 1 */
};

struct block {
    u64 rip;         /* of its first byte */
    const u8 *guest; /* the host address of that */
    struct block *next, *page_next;
    struct code_page *page;
    u32 id;
    u16 bytes;
    u8 count, mode, flavour;
    bool native, dead, runs_on; /* runs_on: the last instruction is no branch */
    u8 misaligned;              /* accesses seen, up to UNALIGNED_MAX */
    u64 calls;                  /* bit n: instruction n is always left to its semantics */
    u64 unaligned;              /* bit n: instruction n was seen to access memory misaligned */
    u64 check, entry, end; /* host code: where indirect jumps come in, direct ones, and what a dead block jumps to */
    struct link {
        u64 target; /* rip */
        u64 hole;   /* host address of the displacement to patch, or 0 */
        u32 slot;   /* of WIN_SLOT, or LINK_NONE */
    } link[2];
    /* For instruction n: at[n] is where its code begins, commit[n] the last host instruction before which it can be
     * begun anew. at[count] is where the jumps on begin. Offsets from `check`. */
    u16 *at, *commit;
    struct insn insn[];
};

/* A page of RAM or ROM with blocks from it. */
struct code_page {
    struct mem_page *page;
    u32 gen;
    struct block *first;
    struct code_page *next; /* of the same hash */
};

struct translator {
    struct cpu *cpu;
    struct glue glue;
    struct windows *windows;
    struct code_area *area;
    struct trap_thread *trap;
    struct block **blocks; /* by id, which is by address of code */
    u32 count;
    struct block **hash;
    struct code_page **pages;
    struct slot_key {
        u64 target;
        u32 slot; /* plus 1 */
    } * slots;
    u32 slots_used[2];
    u8 *meta;
    u64 meta_used, meta_size;
    struct block *jump[1 << JUMP_BITS];
    struct misaligned {
        u64 rip, insns; /* bit n: instruction n of the block there accesses memory misaligned */
    } misaligned[1 << MISALIGNED_BITS];
    struct block *scratch;     /* what is not cached */
    struct block *now;         /* c->cur is in it */
    u64 resume;                /* host address to go on at, or 0: look rip up */
    u8 flavour;                /* of the code that may run now */
    u8 native_flavour;         /* that windows lead to */
    struct perf_map *perf_map; /* or NULL */
    struct check *check;       /* check.h; NULL: not asked for */
    struct mem_listener listener;
    struct stats stats;
};

/* block.c */
bool blocks_create(struct translator *t);
void blocks_destroy(struct translator *t);
/* Bytes that its tables take in any case; t->meta_size, set by the caller, is what it uses for blocks. */
#define BLOCKS_FIXED MiB(4)
/* Forgets everything. */
int blocks_drop(struct translator *t, struct error *err);
/* The block at rip; raises what fetching and decoding raise. */
struct block *blocks_find(struct translator *t);
/* A block of the one instruction at rip, not cached and not translated. */
struct block *blocks_single(struct translator *t);
/* Blocks of pages whose code was changed die. */
void blocks_settle(struct translator *t);
void block_kill(struct translator *t, struct block *b);
/* Instruction n of b accessed memory misaligned. If that goes on, the block is made again with other checks. */
void block_misaligned(struct translator *t, struct block *b, unsigned n);
/* The slot for direct jumps to this address. LINK_NONE if there are none left. */
u32 block_slot(struct translator *t, u64 target);
/* The block whose code has this address, or NULL. */
struct block *block_by_code(const struct translator *t, u64 host);
/* fault.c: the instruction that the address in its code belongs to; count for the jumps after the last. */
unsigned block_insn(const struct block *b, u64 host);

/* Is it the last of its block? */
bool block_ends(const struct insn *i);

/* lower.c: makes b's code. False if it has no room. */
bool lower_block(struct translator *t, struct block *b);

/* fault.c */
trap_fn translate_trap;

/* run.c */
enum engine_exit translate_run(struct cpu *c);

#endif
