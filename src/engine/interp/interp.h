/*
 * The interpreter: the reference engine. Internal to engine/interp.
 *
 * It decodes the guest's code into blocks, straight runs of instructions with the function of each looked up, and calls
 * those functions. Each processor has a cache of its own blocks, keyed by the host address of the first byte and the
 * mode. Since semantics take rip from the block's start (cpu/cpu.h), a block is right at whatever linear address it is
 * reached.
 *
 * A block is valid as long as the generation of its page (mem/code.h) is the one it was decoded under. This is checked
 * at every entry, so code that changes is seen: by other processors' stores and DMA at the next block, by its own
 * stores at the next instruction (REQ_BLOCK ends the block).
 *
 * Blocks live in an arena that is dropped whole when it is full; then and only then do pointers to blocks go stale.
 */
#ifndef ENGINE_INTERP_INTERP_H
#define ENGINE_INTERP_INTERP_H

#include "engine/engine.h"
#include "engine/narrow.h"

#define BLOCK_MAX  48 /* instructions */
#define INSN_BYTES 15

struct block {
    const u8 *host;     /* of its first byte */
    struct block *next; /* of the same hash */
    struct mem_page *page;
    u32 gen; /* the page's, from before the bytes were read */
    u16 bytes;
    u8 count; /* calls to make: of two fused instructions there is one */
    u8 insns;
    u8 mode;      /* enum isa_mode */
    bool near;    /* what follows is in the same mode and segment, and where depends on rip only */
    bool crosses; /* its one instruction ends in the next page: then the rest is about that */
    u32 gen2;
    const u8 *host2; /* start of that page */
    struct mem_page *page2;
    /* Where a near block goes on in its own page: after a jump, and without one. */
    struct link {
        u64 distance; /* from rip of this block */
        struct block *to;
    } link[2];
    struct insn insn[];
};

#define INTERP_HASH_BITS 16
#define INTERP_JUMP_BITS 12
#define INTERP_ARENA     MiB(48)

struct interp {
    struct block *
        jump[1 << INTERP_JUMP_BITS]; /* by linear address: where control went lately; may be dead or elsewhere by now */
    struct block **hash;
    u8 *arena;
    u64 size, used;        /* of the arena */
    u32 epoch;             /* counts the times that the arena was dropped */
    struct block *now;     /* block under way; its insn[] holds c->cur */
    struct block *scratch; /* for what is not cached */
    struct mem_listener listener;
    struct {
        u64 blocks, links, lookups, built, steps, drops;
    } stats;
};

static inline struct block **interp_jump_slot(struct interp *e, u64 linear)
{
    return &e->jump[(linear ^ linear >> INTERP_JUMP_BITS) & ((1 << INTERP_JUMP_BITS) - 1)];
}

/*
 * The block at rip, from the cache or decoded now. Raises what fetching and decoding raise. `e->scratch` if it must not
 * be cached.
 */
struct block *block_find(struct cpu *c, struct interp *e);
/* A block of the one instruction at rip, not cached. */
struct block *block_single(struct cpu *c, struct interp *e);

/* The last byte of the code segment that may be fetched. */
static inline u64 block_limit(const struct cpu *c)
{
    return c->mode == ISA_64 ? UINT64_MAX : c->seg[SEG_CS].limit;
}

static inline bool block_valid(const struct block *b)
{
    return atomic_load_explicit(&b->page->code_gen, memory_order_acquire) == b->gen;
}

enum engine_exit interp_run(struct cpu *c);

#endif
