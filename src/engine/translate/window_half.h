/*
 * A half of a window (window.h): the 2^35 pages with bit 47 clear, or those with it set. Its part of the table, and its
 * slots and jumps. Internal to window*.c.
 *
 * The table is made of chunks, which get memory when they are first needed; so are a private half's slots and jumps
 * (who comes to one that has none is led where an empty word leads: fault.c). Invariants:
 *   - a chunk that has memory holds a valid entry, perhaps the empty one, for each of its pages;
 *   - only chunks with CHUNK_MAPPED are looked into;
 *   - every page with an entry is in one of the logs, or that log is full;
 *   - every slot or jump that is not empty is in `word`, once.
 *
 * An entry is given as the distance from the guard page to the host page that it leads to: 0 is the empty one.
 *
 * A log is what makes it cheap to empty a half: a program touches few of the pages there are.
 */
#ifndef ENGINE_TRANSLATE_WINDOW_HALF_H
#define ENGINE_TRANSLATE_WINDOW_HALF_H

#include "cpu/mmu.h"
#include "engine/translate/window.h"

#define HALF_PAGES  (WIN_PAGES / 2)
#define HALF_SLOTS  (WIN_SLOTS / 2)
#define HALF_JUMPS  (WIN_JUMPS / 2)
#define HALF_WORDS  (HALF_SLOTS + HALF_JUMPS) /* slots, then jumps */
#define WORD_CHUNK  8192u
#define WORD_CHUNKS (HALF_WORDS / WORD_CHUNK)
#define CHUNK_PAGES 2048u
#define CHUNK_BYTES (CHUNK_PAGES * 8)
#define HALF_CHUNKS (HALF_PAGES / CHUNK_PAGES)
#define GIB_CHUNKS  128u /* a GiB of linear addresses */
#define LIST_MAX    4096u
#define LOG_MAX     8192u
#define HASH_WORDS  64u

enum half_chunk {
    CHUNK_MAPPED = 1,
    CHUNK_USED = 2,  /* not all its entries are empty */
    CHUNK_LARGE = 4, /* something here came from a large page: what drops one page drops 4 MiB */
};

struct half_log {
    bool full; /* pages were left out */
    u32 count;
    u64 page[LOG_MAX];
};

struct half_where {
    u64 *table, *slots, *jumps; /* as C code reaches them */
    u64 first;                  /* linear address of page 0 */
    u64 guard;                  /* host address of the guard page */
    u64 miss_slot, miss_jump;   /* what empty words hold */
    const struct host_ram *ram; /* shared: whose memory all this is; NULL: private pieces */
};

struct half {
    struct half_where at;
    u32 mapped; /* chunks that have memory */
    u32 listed; /* chunks with any flag */
    u32 list[LIST_MAX];
    struct half_log log;
    struct half_log local; /* shared: what depends on the address space */
    u32 words, local_words;
    u32 word[HALF_WORDS];
    u32 target[HALF_WORDS];            /* WORD_SET, WORD_LOCAL and the target's page, but for its upper bits */
    u8 word_chunk[WORD_CHUNKS];        /* 1: has memory */
    u32 word_chunks;                   /* how many have */
    u64 hash[HASH_WORDS];              /* bits of pages that are targets */
    u8 huge[HALF_CHUNKS / GIB_CHUNKS]; /* something in this GiB came from a page of 1 GiB */
    u8 chunk[HALF_CHUNKS];             /* enum half_chunk */
};

/* Memory that one takes beside its chunks: the struct but for what is there for each chunk or word, of which few may be
 * touched; and for words. */
#define HALF_FIXED    (sizeof(struct half) - HALF_CHUNKS - HALF_WORDS * 8)
#define WORD_BYTES    16u /* the word, its place in `word` and `target` */
#define HALF_BYTES    (HALF_FIXED + HALF_WORDS * WORD_BYTES)
#define HALF_TAKES(h) (HALF_FIXED + (h)->word_chunks * WORD_CHUNK * WORD_BYTES)

/* A shared half's words are there and empty. NULL when out of memory. */
struct half *half_create(const struct half_where *at);
void half_destroy(struct half *h);

/* Is there room for one more chunk in the list? What follows takes it for granted. */
static inline bool half_has_room(const struct half *h)
{
    return h->listed < LIST_MAX;
}

static inline bool half_is_mapped(const struct half *h, u64 chunk)
{
    return h->chunk[chunk] & CHUNK_MAPPED;
}

/* Gives the chunk memory, with empty entries. False if the host has none. Async-signal-safe. */
bool half_map(struct half *h, u64 chunk) MUST_CHECK;

/* Where the entry leads; 0 if it is empty. */
u64 half_get(const struct half *h, u64 page);
/* The chunk is mapped. `facts` is enum tlb_page. */
void half_put(struct half *h, u64 page, u64 distance, unsigned facts);
/* Changes the entry if it leads to `from`. */
void half_redirect(struct half *h, u64 page, u64 from, u64 to);
void half_redirect_all(struct half *h, u64 from, u64 to);

void half_set_word(struct half *h, u32 word, u64 page, u64 code, unsigned facts);
void half_drop_words(struct half *h);

/* Entries and words of the page, or of all that the same large page may have covered. */
void half_drop_page(struct half *h, u64 page);
/* Entries and words that depend on the address space. */
void half_drop_local(struct half *h);
/* Everything is empty; the chunks keep their memory. */
void half_reset(struct half *h);
/* Everything is empty, and the memory of the chunks is given back. For a shared half nobody may map it elsewhere. */
void half_unmap(struct half *h);

#endif
