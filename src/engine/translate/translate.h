/*
 * The translator: x86-64 guest code to x86-64 host code. Internal to engine/translate. docs/translator.md tells how it
 * works and why.
 *
 * A block is a straight run of guest instructions within one page, past conditional jumps forward, decoded once and, in
 * 64-bit mode, translated at once. It is known by where its bytes are (host address), its linear address, the mode, and
 * its flavour (below). Each processor has a cache of its own blocks.
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
#define LINKS           8 /* of a block: on, taken, LINK_CROSS, and from LINK_SIDE on the sides */
#define LINK_CROSS      2 /* into its second page */
#define LINK_SIDE       3 /* conditional jumps in the middle of the block */
#define JUMP_BITS       12
#define HASH_BITS       16
#define PAGE_BITS       12
#define SLOT_BITS       17
#define MISALIGNED_BITS 10
#define BLOCKS_MAX      (1u << 20)
#define CHANGED_MAX     16
#define BARREN_MAX      8
#define FRUITFUL_MAX    64
#define DOUBT_MAX       4
#define UNALIGNED_MAX   8 /* misaligned accesses by one block before it is made again with other checks */

/* What of the processor's state translated code takes for granted. */
enum flavour {
    FLAVOUR_SSE = 1,  /* SSE instructions do not fault for CR0 and CR4 */
    FLAVOUR_AVX = 2,  /* nor do AVX ones */
    FLAVOUR_X87 = 8,  /* x87 and MMX ones neither, and all x87 exceptions are masked */
    FLAVOUR_SLOW = 4, /* nothing is translated: alignment checks are on, or DF is 1 */
};

struct block {
    u64 rip;         /* of its first byte */
    const u8 *guest; /* the host address of that */
    struct block *next, *page_next, *page2_next;
    struct code_page *page, *page2; /* page2: its one instruction goes on at the start of that page */
    const u8 *guest2;               /* the host address of page2 */
    u32 id;                         /* if it is native */
    u16 bytes;
    u8 count, mode, flavour;
    bool native, dead, runs_on; /* runs_on: the last instruction is no branch */
    bool x87;                   /* has x87 or MMX instructions that come out as themselves */
    u8 runs;                    /* as a list, up to t->patience: then it is translated, if it can be */
    u8 misaligned;              /* accesses seen, up to UNALIGNED_MAX */
    u8 barren;                  /* faults after which there still was no window entry; or calls after which there was */
    u64 calls;                  /* bit n: instruction n is always left to its semantics */
    u64 unaligned;              /* bit n: instruction n was seen to access memory misaligned */
    u64 forced;                 /* bit n: instruction n accesses what has no window entry, and is left to semantics */
    u64 exact;                  /* those of which that was known when the block was made */
    u64 relies;                 /* bit n: the code of instruction n must be come to from the one before it */
    u64 check, entry, end; /* host code: where indirect jumps come in, direct ones, and what a dead block jumps to */
    u64 body;              /* the first instruction's; entry, unless the block has two pages */
    struct link {
        u64 target; /* rip */
        u32 slot;   /* of WIN_SLOT, or LINK_NONE */
        u16 hole;   /* offset from `check` of the displacement to patch, or 0 */
    } link[LINKS];
    /* For instruction n: at[n] is where its code begins, commit[n] the last host instruction before which it can be
     * begun anew. at[count] is where the jumps on begin. Offsets from `check`. */
    u16 *at, *commit;
    /* The same for the turns of a loop that have no probes (lower_loop.c): loop_at[count] is where its last jump ends.
     * NULL: not a loop. */
    u16 *loop_at, *loop_commit;
    u16 loop, loop_give_up, loop_end; /* offsets: where that code begins (0: there is none); leads back; ends */
    u16 poll; /* offset of where the last instruction looks at c->request, after which it is done; 0: it does not */
    struct insn insn[];
};

/* A page of RAM or ROM with blocks from it. */
struct code_page {
    struct mem_page *page;
    u32 gen;
    struct block *first, *second; /* lists of those that begin here, by page_next; that end here, by page2_next */
    struct code_page *next;       /* of the same hash */
};

struct translator {
    struct cpu *cpu;
    struct glue glue;
    struct windows *windows;
    struct code_area *area;
    struct trap_thread *trap;
    struct block **blocks; /* the native ones, by id, which is by address of code */
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
    struct barren {
        u64 rip, insns; /* bit n: instruction n of the block there is left to semantics */
        u8 doubt;       /* how often that was wrong */
    } barren[1 << MISALIGNED_BITS];
    struct block *scratch;     /* what is not cached */
    struct block *now;         /* c->cur is in it */
    u8 patience;               /* how often a block is run as a list before it is translated */
    u64 resume;                /* host address to go on at, or 0: look rip up */
    u8 flavour;                /* of the code that may run now */
    u8 native_flavour;         /* that windows lead to */
    struct perf_map *perf_map; /* or NULL */
    struct check *check;       /* check.h; NULL: not asked for */
    struct mem_listener listener;
    struct {
        pthread_mutex_t lock;
        unsigned count; /* more than CHANGED_MAX: not all were noted */
        struct mem_page *page[CHANGED_MAX];
    } changed; /* pages whose code was, since blocks_settle */
    struct {
        u64 rip, linear; /* where the last page fault was, and of what; it may come back there. 0 if it did */
    } missed;
    struct stats stats;
};

/* block.c */
bool blocks_create(struct translator *t);
void blocks_destroy(struct translator *t);
/* Bytes that its tables take in any case; t->meta_size, set by the caller, is what it uses for blocks. */
#define BLOCKS_FIXED MiB(4)
/* Forgets everything. */
int blocks_drop(struct translator *t, struct error *err);
/* The block at rip; raises what fetching and decoding raise. One that is not native is to be run as a list. */
struct block *blocks_find(struct translator *t);
/* A block of the one instruction at rip, not cached and not translated. */
struct block *blocks_single(struct translator *t);
/* Any thread: code in this page was changed. */
void blocks_note(struct translator *t, struct mem_page *page);
/* Blocks of pages whose code was changed die. */
void blocks_settle(struct translator *t);
void block_kill(struct translator *t, struct block *b);
/* Whoever comes to a dead block goes on at this host address. */
void block_forward(struct translator *t, const struct block *b, u64 host);
/* Instruction n of b accessed memory misaligned. If that goes on, the block is made again with other checks. */
void block_misaligned(struct translator *t, struct block *b, unsigned n);
/* Instruction n of b was carried out by its semantics, because the host faulted or it is one of b->forced: does the
 * page have a window entry now? If it mostly does or mostly does not, the block is made again accordingly. */
void block_accessed(struct translator *t, struct block *b, unsigned n, bool entry);
/* The slot for direct jumps to this address. LINK_NONE if there are none left. */
u32 block_slot(struct translator *t, u64 target);
/* The same, if there is one. */
u32 block_slot_known(const struct translator *t, u64 target);
/* A slot of its own for something at this address. */
u32 block_slot_new(struct translator *t, u64 target);
/* The block whose code has this address, or NULL. */
struct block *block_by_code(const struct translator *t, u64 host);

/* block_cross.c: an instruction that lies in two pages. The page it goes on in, from which nothing stale is left;
 * raises page faults. NULL if the instruction cannot be kept. */
struct code_page *cross_page(struct translator *t, const u8 **host);
/* Decodes it into b, whose guest and guest2, page and page2 are set. Raises what decoding raises. False as above. */
bool cross_decode(struct translator *t, struct block *b);
/* Is this block good for the pages as they are now? Raises page faults of the second. */
bool cross_is(struct translator *t, const struct block *b);
/* The block's link into its second page was taken: true if b->body may be run. Raises page faults. */
bool cross_enter(struct translator *t, struct block *b);

/* What block*.c share. */
struct code_page *page_of(struct translator *t, struct mem_page *page);
void page_settle(struct translator *t, struct code_page *p);
void insn_finish(struct insn *i, unsigned off);
_Noreturn void raise_status(struct cpu *c, enum insn_status status);
unsigned limit_room(const struct cpu *c, unsigned off, unsigned size);
u64 code_linear(const struct cpu *c);
u64 next_page(const struct cpu *c, u64 linear);

/* Is it the last of its block, if it is not a conditional jump that the block goes on after? */
bool block_ends(const struct insn *i);

static inline bool insn_is_jcc(const struct insn *i)
{
    return i->row >= INSN_JO_Jb && i->row <= INSN_JNLE_Jz;
}

/* rip of instruction n; behind the last for n = count. */
static inline u64 block_rip(const struct block *b, unsigned n)
{
    return b->rip + (n < b->count ? b->insn[n].off : b->bytes);
}

/* rip behind an instruction of the block, and where it leads if it is a direct branch. */
static inline u64 block_next_rip(const struct block *b, const struct insn *i)
{
    return b->rip + i->off + i->len;
}

static inline u64 block_target(const struct block *b, const struct insn *i)
{
    return block_next_rip(b, i) + i->imm;
}

/* lower.c: makes b's code. False if it has no room. */
bool lower_block(struct translator *t, struct block *b);

/* fault.c */
trap_fn translate_trap;

/* run.c */
enum engine_exit translate_run(struct cpu *c);

#endif
