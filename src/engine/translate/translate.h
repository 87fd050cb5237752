/*
 * The translator: x86-64 guest code to x86-64 host code. Internal to engine/translate. docs/translator.md tells how it
 * works and why.
 *
 * What has been translated is in the cache, which all processors share (code_cache.h); each has a thread of its own
 * that goes from block to block, by its own windows (window.h).
 */
#ifndef ENGINE_TRANSLATE_TRANSLATE_H
#define ENGINE_TRANSLATE_TRANSLATE_H

#include "engine/engine.h"
#include "engine/translate/code_cache.h"
#include "engine/translate/stats.h"
#include "engine/translate/window.h"
#include "host/trap.h"

#define JUMP_BITS   14
#define CHANGED_MAX 16

/* Of one processor. Its thread's, and others' in exclusive sections. */
struct translator {
    struct cpu *cpu;
    struct code_cache *cache;
    struct windows *windows;
    struct interp *narrow; /* carries out 16- and 32-bit code */
    struct trap_thread *trap;
    struct jump {
        u64 rip;
        struct block *block; /* or NULL */
    } jump[1 << JUMP_BITS];  /* blocks that it found last, by a hash */
    struct block *scratch;   /* what is not cached */
    u64 resume;              /* host address to go on at, or 0: look rip up */
    u8 flavour;              /* of the code that may run now */
    u8 native_flavour;       /* that windows lead to */
    atomic_bool quiet;       /* it has no pointer to a block, nor to its code */
    struct check *check;     /* check.h; NULL: not asked for */
    u64 fault_address;       /* of the host's last fault in translated code; 0: it has none */
    bool failed;             /* its code was found wrong: the machine ends */
    struct mem_listener listener;
    struct {
        pthread_mutex_t lock;
        _Atomic unsigned count; /* more than CHANGED_MAX: not all were noted */
        struct mem_page *page[CHANGED_MAX];
    } changed; /* pages whose code was, since blocks_settle */
    struct {
        u64 rip, linear; /* where the last page fault was, and of what; it may come back there. 0 if it did */
    } missed;
    struct stats stats;
};

/* translate.c: the processor's; NULL if it has none. */
struct translator *translator_of(struct cpu *c);
/* All that leads to blocks is forgotten. */
void translate_forget(struct translator *t);

/* block.c. The block at rip; raises what fetching and decoding raise. One that is not native is to be run as a list. */
struct block *blocks_find(struct translator *t);
/* A block of the one instruction at rip, not cached and not translated. */
struct block *blocks_single(struct translator *t);
/* Any thread: code in this page was changed. */
void blocks_note(struct translator *t, struct mem_page *page);
/* Blocks of pages whose code was changed die. */
void blocks_settle(struct translator *t);

/* block_cross.c: an instruction that lies in two pages. Where it goes on, or NULL; raises page faults. */
const u8 *cross_page(struct translator *t, struct mem_page **page);
/* Decodes it into b, whose guest and guest2 are set. Raises what decoding raises. False if it cannot be kept. */
bool cross_decode(struct translator *t, struct block *b, const struct code_origin from[2]);
/* The block's link into its second page was taken: true if b->body may be run. Raises page faults. */
bool cross_enter(struct translator *t, const struct block *b);

/* What block*.c share. */
void insn_finish(struct insn *i, unsigned off);
_Noreturn void raise_status(struct cpu *c, enum insn_status status);
unsigned limit_room(const struct cpu *c, unsigned off, unsigned size);
u64 code_linear(const struct cpu *c);
u64 next_page(const struct cpu *c, u64 linear);

/* Is it the last of its block, if it is not a conditional jump that the block goes on after? */
bool block_ends(const struct insn *i);

/* lower.c: makes b's code. False if it has no room. The cache's lock. */
bool lower_block(struct translator *t, struct block *b);

/* fault.c */
trap_fn translate_trap;

/* run.c */
enum engine_exit translate_run(struct cpu *c);

#endif
