/*
 * The code cache: the blocks of a machine and their code, shared by its processors. Internal to engine/translate.
 *
 * Translated code reaches state, windows and tables by gs, so nothing in it is one processor's. A processor's own are
 * the ways by which it comes to a block: the words of its windows, and struct translator.
 *
 * Valid: a block is as good as the generation of its pages (mem/code.h). What leads to it:
 *   links within the page      patched jumps; the page is mapped, or the block that jumps would not run
 *   slots, jump table          by way of a window, which forgets them when the page's translation goes
 *   look-ups                   code_cache_look
 * When the generation has changed the block dies: nothing finds it any more, and its entry leaves (GLUE_DEAD). Its
 * memory is used again only after the whole cache was dropped.
 *
 * Code that another processor may be in is changed by single stores within 8 aligned bytes alone: the displacement of a
 * jump, and the first byte of an entry to INT3. Whoever runs it meanwhile finds the old instruction or the new one
 * (AMD64 APM volume 2, 7.6.1; the same is taken for granted on Intel's, as by every just-in-time compiler with
 * threads).
 *
 * Locking: all functions but those marked take the lock themselves or, ending in _locked, need it. It is held for short
 * and never where an exclusive section may begin or an exception be raised, so decoding is done before. An exclusive
 * section needs no lock: nobody has it then.
 *
 * Full: the memory may not be used again while a processor holds a pointer into it. So it is asked for
 * (code_cache_fill), and done where every processor is between two rounds of its loop (`quiet`).
 */
#ifndef ENGINE_TRANSLATE_CODE_CACHE_H
#define ENGINE_TRANSLATE_CODE_CACHE_H

#include <pthread.h>

#include "base/error.h"
#include "engine/translate/block.h"
#include "engine/translate/glue.h"

struct translator;
struct perf_map;

#define PAGE_BITS   12
#define SLOT_BITS   18
#define LEARNT_BITS 10
#define BLOCKS_MAX  (1u << 20)

/* For tables of 2^bits places. */
static inline u64 code_hash(u64 key, unsigned bits)
{
    return key * 0x9e3779b97f4a7c15ull >> (64 - bits);
}

struct code_cache {
    unsigned users; /* processors; changed before they run and after */
    struct glue glue;
    struct code_area *area;
    struct perf_map *perf_map; /* or NULL */
    u64 meta_size;
    u8 hash_bits;     /* of `hash` and `twins` */
    u8 patience;      /* how often a block is run as a list before it is translated */
    atomic_bool full; /* no block is added until it was dropped */
    pthread_mutex_t lock;
    /* The rest needs the lock, but that blocks below `count` may be looked at, and first_in. */
    struct block **blocks; /* the native ones, by id, which is by address of code */
    _Atomic u32 count;
    u64 code_start, code_size; /* where `area` runs */
    _Atomic u32 *first_in;     /* for each page of code: 1 + the id of the first block that begins there; 0: none */
    struct block **hash;
    struct block **twins; /* models, by a hash of where their bytes are */
    struct code_page **pages;
    struct slot_key {
        u64 target;
        u32 slot; /* plus 1 */
    } * slots;
    u32 slots_used[2];
    u8 *meta;
    u64 meta_used;
    size_t glue_size;
    struct stray {
        u64 rip, unaligned, crosses; /* as in struct block */
    } stray[1 << LEARNT_BITS];
    struct barren {
        u64 rip, insns; /* bit n: instruction n of the block there is left to semantics */
        u8 doubt;       /* how often that was wrong */
    } barren[1 << LEARNT_BITS];
};

/* Bytes that its tables take in any case. `meta` bytes are for blocks. */
#define CODE_CACHE_FIXED MiB(6)

struct code_cache_config {
    u64 code, meta;
    u8 patience;
    struct perf_map *perf_map;
};

struct code_cache *code_cache_create(const struct code_cache_config *cfg, struct error *err);
void code_cache_destroy(struct code_cache *k);

/* What a block is found by. */
struct block_key {
    u64 rip;
    const u8 *guest, *guest2; /* guest2: of one that lies in two pages; NULL: whatever that is */
    u8 mode, flavour;
};

static inline bool block_has_key(const struct block *b, const struct block_key *key)
{
    return b->guest == key->guest && b->rip == key->rip && b->mode == key->mode && b->flavour == key->flavour &&
           (!key->guest2 || b->guest2 == key->guest2);
}

/* A living block, perhaps made just now from one of the same bytes at another address; or NULL. */
struct block *code_cache_look(struct translator *t, const struct block_key *key);

/* What a block was decoded from: pages, and generations that were noted after marking and before reading. */
struct code_origin {
    struct mem_page *page; /* the second one's: NULL if there is none */
    u32 gen;
};

/* Takes over a copy of the block, and translates it if that is to be done at once. Another one with its key may be
 * there already and is the result then. NULL if code has changed meanwhile, or the cache is full (`full` tells). */
struct block *code_cache_add(struct translator *t, const struct block *fresh, const struct code_origin from[2]);
/* Gives a block that was run as a list its code, if there is room. */
void code_cache_translate(struct translator *t, struct block *b);
/* Jumps of `from` by this link lead to `to` at once from now on, if both live and are in one page. */
void code_cache_link(struct translator *t, struct block *from, unsigned link, const struct block *to);
/* Blocks of this page die if its code has changed. */
void code_cache_settle(struct translator *t, const struct mem_page *page);
void code_cache_settle_all(struct translator *t);
/* Instruction n of b accessed memory misaligned, or across pages. If that goes on, the block is made again with other
 * checks. */
void code_cache_strayed(struct translator *t, struct block *b, unsigned n);
/* Instruction n of b was carried out by its semantics, because the host faulted or it is one of b->forced: does the
 * page have a window entry now? If it mostly does or mostly does not, the block is made again accordingly. */
void code_cache_accessed(struct translator *t, struct block *b, unsigned n, bool entry);

/* Memory for what is known of blocks, until the cache is dropped; NULL if there is none left. */
void *code_cache_take_locked(struct code_cache *k, u64 size);
/* The slot for direct jumps to this address. LINK_NONE if there are none left. */
u32 code_cache_slot_locked(struct code_cache *k, u64 target);
/* The same, if there is one. */
u32 code_cache_slot_known(struct translator *t, u64 target);

/* Without the lock: the block whose code has this address, or NULL. */
struct block *code_cache_by_code(const struct code_cache *k, u64 host);
static inline struct block *code_cache_block(const struct code_cache *k, u64 id)
{
    return k->blocks[id];
}

/* It is to be dropped: by whoever comes to code_cache_drop_if_full next. */
void code_cache_fill(struct translator *t);
/* By a quiet processor: drops everything if that was asked for and all others are quiet, else asks once more. */
void code_cache_drop_if_full(struct translator *t);
/* In an exclusive section: nothing that is there is run any more. */
void code_cache_kill_all(struct translator *t);

#endif
