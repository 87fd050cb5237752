/*
 * Implements window_half.h: chunks, entries, slots and jumps of half a window.
 */
#include "engine/translate/window_half.h"

#define WORD_SET   BIT(31)
#define WORD_LOCAL BIT(30)
/* Of the page's number. Targets whose pages differ in the rest only are dropped together, which is no harm. */
#define WORD_PAGE  (WORD_LOCAL - 1u)

/* log2 of how many pages go at once. */
enum { SPAN_PAGE = 0, SPAN_LARGE = 10, SPAN_HUGE = 18, SPAN_ALL = 35 };

static u64 empty_entry(const struct half *h, u64 page)
{
    return h->at.guard - (h->at.first + (page << 12));
}

/* The processor of the window reads entries and words at any time, if it is not in an exclusive section. */
static void put_word(u64 *at, u64 value)
{
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
}

static void clear_entries(struct half *h, u64 page, u64 count)
{
    u64 *entry = h->at.table + page, value = empty_entry(h, page);
    for (u64 n = 0; n < count; n++, value -= MEM_PAGE_SIZE)
        entry[n] = value;
}

static u64 *word_at(const struct half *h, u32 word)
{
    return word < HALF_SLOTS ? &h->at.slots[word] : &h->at.jumps[word - HALF_SLOTS];
}

static u64 word_empty(const struct half *h, u32 word)
{
    return word < HALF_SLOTS ? h->at.miss_slot : h->at.miss_jump;
}

static void fill_words(struct half *h, u32 chunk)
{
    u32 first = chunk * WORD_CHUNK;
    for (u32 n = first; n < first + WORD_CHUNK; n++)
        *word_at(h, n) = word_empty(h, n);
    h->word_chunk[chunk] = 1;
    h->word_chunks++;
}

static bool open_words(struct half *h, u32 chunk)
{
    if (h->word_chunk[chunk])
        return true;
    if (!host_piece_open(word_at(h, chunk * WORD_CHUNK), WORD_CHUNK * 8))
        return false;
    fill_words(h, chunk);
    return true;
}

_Static_assert(HALF_SLOTS % WORD_CHUNK == 0 && HALF_JUMPS % WORD_CHUNK == 0, "a chunk is of one kind");

struct half *half_create(const struct half_where *at)
{
    struct half *h = host_table_alloc(sizeof(*h));
    if (!h)
        return NULL;
    h->at = *at;
    for (u32 n = 0; at->ram && n < WORD_CHUNKS; n++)
        fill_words(h, n);
    return h;
}

void half_destroy(struct half *h)
{
    host_table_free(h, sizeof(*h));
}

static void flag_chunk(struct half *h, u64 chunk, u8 flags)
{
    if (!h->chunk[chunk])
        h->list[h->listed++] = (u32)chunk;
    h->chunk[chunk] |= flags;
}

bool half_map(struct half *h, u64 chunk)
{
    u64 page = chunk * CHUNK_PAGES;
    if (!h->at.ram && !host_piece_open(&h->at.table[page], CHUNK_BYTES))
        return false;
    clear_entries(h, page, CHUNK_PAGES);
    flag_chunk(h, chunk, CHUNK_MAPPED);
    h->mapped++;
    return true;
}

u64 half_get(const struct half *h, u64 page)
{
    return half_is_mapped(h, page / CHUNK_PAGES) ? h->at.table[page] - empty_entry(h, page) : 0;
}

static void log_page(struct half_log *log, u64 page)
{
    if (log->count < LOG_MAX)
        log->page[log->count++] = page;
    else
        log->full = true;
}

static bool is_local(const struct half *h, unsigned facts)
{
    return h->at.ram && !(facts & TLB_GLOBAL);
}

static void note_size(struct half *h, u64 page, unsigned facts)
{
    u64 chunk = page / CHUNK_PAGES;
    if (facts & TLB_LARGE)
        flag_chunk(h, chunk, CHUNK_LARGE);
    if (facts & TLB_HUGE)
        h->huge[chunk / GIB_CHUNKS] = 1;
}

void half_put(struct half *h, u64 page, u64 distance, unsigned facts)
{
    u64 old = half_get(h, page);
    note_size(h, page, facts);
    if (old == distance)
        return;
    if (is_local(h, facts))
        log_page(&h->local, page);
    else if (!old)
        log_page(&h->log, page);
    flag_chunk(h, page / CHUNK_PAGES, CHUNK_USED);
    put_word(&h->at.table[page], empty_entry(h, page) + distance);
}

void half_redirect(struct half *h, u64 page, u64 from, u64 to)
{
    if (half_get(h, page) == from)
        put_word(&h->at.table[page], empty_entry(h, page) + to);
}

static void redirect_log(struct half *h, const struct half_log *log, u64 from, u64 to)
{
    for (u32 n = 0; n < log->count; n++)
        half_redirect(h, log->page[n], from, to);
}

void half_redirect_all(struct half *h, u64 from, u64 to)
{
    if (!h->log.full && !h->local.full) {
        redirect_log(h, &h->log, from, to);
        redirect_log(h, &h->local, from, to);
        return;
    }
    for (u32 n = 0; n < h->listed; n++) {
        u64 page = (u64)h->list[n] * CHUNK_PAGES;
        for (u64 end = page + CHUNK_PAGES; h->chunk[h->list[n]] & CHUNK_USED && page < end; page++)
            half_redirect(h, page, from, to);
    }
}

static u64 hash_bit(u64 page)
{
    page &= WORD_PAGE;
    return (page ^ page >> 12 ^ page >> 24) % (HASH_WORDS * 64);
}

static void hash_add(struct half *h, u64 page)
{
    h->hash[hash_bit(page) / 64] |= BIT64(hash_bit(page) % 64);
}

static bool hash_has(const struct half *h, u64 page)
{
    return h->hash[hash_bit(page) / 64] >> hash_bit(page) % 64 & 1;
}

void half_set_word(struct half *h, u32 word, u64 page, u64 code, unsigned facts)
{
    u32 old = h->target[word], new = WORD_SET | (u32)(page & WORD_PAGE) | (is_local(h, facts) ? WORD_LOCAL : 0);
    if (!open_words(h, word / WORD_CHUNK))
        return;
    note_size(h, page, facts);
    if (!old)
        h->word[h->words++] = word;
    h->local_words += !!(new &WORD_LOCAL) - !!(old & WORD_LOCAL);
    h->target[word] = new;
    hash_add(h, page);
    put_word(word_at(h, word), code);
}

/* Empties the words whose target lies in the same 2^span pages. */
static void drop_words(struct half *h, u64 page, unsigned span, bool local_only)
{
    u32 kept = 0;
    __builtin_memset(h->hash, 0, sizeof(h->hash));
    for (u32 n = 0; n < h->words; n++) {
        u32 word = h->word[n];
        u64 target = h->target[word];
        bool local = target & WORD_LOCAL;
        if (((target ^ page) & WORD_PAGE) >> span || (local_only && !local)) {
            h->word[kept++] = word;
            hash_add(h, target & WORD_PAGE);
            continue;
        }
        h->local_words -= local;
        h->target[word] = 0;
        put_word(word_at(h, word), word_empty(h, word));
    }
    h->words = kept;
}

void half_drop_words(struct half *h)
{
    if (h->words)
        drop_words(h, 0, SPAN_ALL, false);
}

static unsigned span_of(const struct half *h, u64 chunk)
{
    return h->huge[chunk / GIB_CHUNKS] ? SPAN_HUGE : h->chunk[chunk] & CHUNK_LARGE ? SPAN_LARGE : SPAN_PAGE;
}

/* A span of more than a page is the part of a chunk or whole chunks. */
static void drop_span(struct half *h, u64 page, unsigned span)
{
    u64 first = page >> span << span, count = BIT64(span);
    u64 in_chunk = count < CHUNK_PAGES ? count : CHUNK_PAGES;
    for (u64 end = first + count; first < end; first += in_chunk) {
        if (h->chunk[first / CHUNK_PAGES] & CHUNK_USED)
            clear_entries(h, first, in_chunk);
    }
}

void half_drop_page(struct half *h, u64 page)
{
    if (!h->listed && !h->words)
        return;
    unsigned span = span_of(h, page / CHUNK_PAGES);
    if (span != SPAN_PAGE)
        drop_span(h, page, span);
    else if (half_is_mapped(h, page / CHUNK_PAGES))
        put_word(&h->at.table[page], empty_entry(h, page));
    if (h->words && (span != SPAN_PAGE || hash_has(h, page)))
        drop_words(h, page, span, false);
}

static void clear_log(struct half *h, struct half_log *log)
{
    for (u32 n = 0; n < log->count; n++)
        put_word(&h->at.table[log->page[n]], empty_entry(h, log->page[n]));
    log->count = 0;
}

static void clear_chunks(struct half *h)
{
    for (u32 n = 0; n < h->listed; n++) {
        if (h->chunk[h->list[n]] & CHUNK_USED)
            clear_entries(h, (u64)h->list[n] * CHUNK_PAGES, CHUNK_PAGES);
    }
}

static void forget_flags(struct half *h, u8 keep)
{
    u32 kept = 0;
    for (u32 n = 0; n < h->listed; n++) {
        u32 chunk = h->list[n];
        h->huge[chunk / GIB_CHUNKS] = 0;
        h->chunk[chunk] &= keep;
        if (h->chunk[chunk])
            h->list[kept++] = chunk;
    }
    h->listed = kept;
}

static void reset_entries(struct half *h)
{
    if (h->log.full || h->local.full)
        clear_chunks(h);
    else {
        clear_log(h, &h->log);
        clear_log(h, &h->local);
    }
    h->log.count = h->local.count = 0;
    h->log.full = h->local.full = false;
}

void half_drop_local(struct half *h)
{
    if (h->local.full)
        reset_entries(h);
    else
        clear_log(h, &h->local);
    if (h->local_words)
        drop_words(h, 0, SPAN_ALL, true);
}

void half_reset(struct half *h)
{
    reset_entries(h);
    half_drop_words(h);
    forget_flags(h, CHUNK_MAPPED);
}

/* A chunk that the host does not take back stays, empty. */
void half_unmap(struct half *h)
{
    half_reset(h);
    for (u32 n = 0; n < h->listed; n++) {
        u64 chunk = h->list[n];
        u64 *table = h->at.table + chunk * CHUNK_PAGES;
        if (h->at.ram)
            host_ram_discard(h->at.ram, chunk * CHUNK_BYTES, CHUNK_BYTES);
        else if (host_piece_close(table, CHUNK_BYTES))
            host_piece_discard(table, CHUNK_BYTES);
        else
            continue;
        h->chunk[chunk] = 0;
        h->mapped--;
    }
    forget_flags(h, CHUNK_MAPPED);
}
