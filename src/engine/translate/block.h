/*
 * A block: a straight run of guest instructions within one page, past conditional jumps forward, decoded once and, in
 * 64-bit mode, translated at once. It is known by where its bytes are (host address), its linear address, the mode, and
 * its flavour. Nothing in it is one processor's own (code_cache.h). Internal to engine/translate.
 *
 * Threads: once a block can be found, its fields are constant, but for those that say otherwise.
 */
#ifndef ENGINE_TRANSLATE_BLOCK_H
#define ENGINE_TRANSLATE_BLOCK_H

#include <stdatomic.h>

#include "isa/insn.h"
#include "mem/space.h"

#define BLOCK_MAX    64 /* instructions; they are numbered block * BLOCK_MAX + n in GLUE_CALL and GLUE_FAULT */
#define INSN_BYTES   15
#define LINK_NONE    (~0u)
#define LINKS        8 /* of a block: on, taken, LINK_CROSS, and from LINK_SIDE on the sides */
#define LINK_CROSS   2 /* into its second page */
#define LINK_SIDE    3 /* conditional jumps in the middle of the block */
#define BARREN_MAX   8
#define FRUITFUL_MAX 64
#define DOUBT_MAX    4
#define STRAYS_MAX   8 /* accesses of one block that are not as expected before it is made again with other checks */

/* What of the processor's state translated code takes for granted. */
enum flavour {
    FLAVOUR_SSE = 1,  /* SSE instructions do not fault for CR0 and CR4 */
    FLAVOUR_AVX = 2,  /* nor do AVX ones */
    FLAVOUR_X87 = 8,  /* x87 and MMX ones neither, and all x87 exceptions are masked */
    FLAVOUR_SLOW = 4, /* nothing is translated: alignment checks are on, or DF is 1 */
};

/* What look-ups read comes first: a line of the host's cache (code_cache_take_locked). */
struct block {
    u64 rip;                        /* of its first byte */
    const u8 *guest;                /* the host address of that */
    struct block *next, *page_next; /* the cache's lock */
    struct code_page *page;
    u64 entry; /* host code: where direct jumps come in */
    u16 bytes;
    u8 count, mode, flavour;
    bool runs_on;             /* the last instruction is no branch */
    atomic_bool native;       /* has host code; once, for good. What belongs to that is constant from then on */
    atomic_bool dead;         /* its bytes were changed, or another one takes its place; for good */
    atomic_uchar runs;        /* as a list, up to the cache's patience: then it is translated, if it can be */
    bool x87;                 /* has x87 or MMX instructions that come out as themselves */
    bool model;               /* the lock: twins are made from it (twin.h) */
    u8 strays;                /* the cache's lock: seen, up to STRAYS_MAX */
    u32 id;                   /* if it is native */
    struct insn *insn;        /* `own`, or another block's of the same bytes (twin.h) */
    const u8 *guest2;         /* the host address of page2; NULL: it has one page */
    struct code_page *page2;  /* its one instruction goes on at the start of that page */
    struct block *page2_next; /* the lock */
    struct block *twin_next;  /* the lock: the next model of the same hash */
    u8 barren;                /* the lock: faults after which there still was no window entry; or calls after which
                                 there was */
    u64 calls;                /* bit n: instruction n is always left to its semantics */
    u64 unaligned;            /* bit n: instruction n accesses memory misaligned */
    u64 crosses;              /* and across pages now and then */
    u64 stray;                /* the lock; bit n: it did one more of these than is known of it */
    u64 forced;               /* bit n: instruction n accesses what has no window entry, and is left to semantics */
    u64 relies;               /* bit n: the code of instruction n must be come to from the one before it */
    u64 check, end;           /* host code: where indirect jumps come in, and where a dead block leaves */
    u64 body;                 /* the first instruction's; entry, unless the block has two pages */
    struct link {
        u64 target; /* rip */
        u32 slot;   /* of WIN_SLOT, or LINK_NONE */
        u16 hole;   /* offset from `check` of the displacement to patch, or 0 */
        u16 stub;   /* and of where it leads when it is not patched */
    } link[LINKS];
    /* For instruction n: at[n] is where its code begins, commit[n] the last host instruction before which it can be
     * begun anew. at[count] is where the jumps on begin. Offsets from `check`. */
    u16 *at, *commit;
    /* The same for the turns of a loop that have no probes (lower_loop.c): loop_at[count] is where its last jump ends.
     * NULL: not a loop. */
    u16 *loop_at, *loop_commit;
    u16 loop, loop_give_up, loop_end; /* offsets: where that code begins (0: there is none); leads back; ends */
    u16 poll; /* offset of where the last instruction looks at c->request, after which it is done; 0: it does not */
    u16 code_bytes, fixes;
    struct fix *fix; /* what depends on where guest and host code lie; NULL: it is not known (twin.h) */
    struct insn own[];
};

#define BLOCK_BYTES(count) (sizeof(struct block) + (count) * sizeof(struct insn))

/* A page of RAM or ROM with blocks from it. */
struct code_page {
    struct mem_page *page;
    _Atomic u32 gen;              /* its blocks are as good as this */
    struct block *first, *second; /* the lock; those that begin here, by page_next; that end here, by page2_next */
    struct code_page *next;       /* of the same hash */
};

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

static inline bool insn_is_jcc(const struct insn *i)
{
    return i->row >= INSN_JO_Jb && i->row <= INSN_JNLE_Jz;
}

/* Is it of a kind that is translated? */
static inline bool block_is_lowered(const struct block *b)
{
    return b->mode == ISA_64 && !(b->flavour & FLAVOUR_SLOW);
}

#endif
