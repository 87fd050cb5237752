/*
 * A store of records in memory, in the manner of a small database: a B-tree (Bayer and McCreight 1972) of pages of 4
 * KiB, whose leaves hold records of varying length in key order, addressed by a directory at the beginning of the page.
 */
#include "bench.h"

#include <string.h>

enum { PAGE = 4096, PAGES = 4096, FANOUT = 300, CELLS = 128, LONGEST = 100, DEPTH = 8 };

struct leaf {
    uint32_t next;        /* leaves form a list in key order; 0: none */
    uint16_t cells, heap; /* records grow down from the end of the page */
    uint16_t cell[CELLS];
};

struct inner {
    uint16_t keys;
    uint32_t child[FANOUT + 1];
    uint64_t key[FANOUT]; /* key[i] is the least one below child[i + 1] */
};

struct record {
    uint64_t key;
    uint16_t length;
    uint8_t bytes[];
};

struct store {
    uint8_t (*page)[PAGE];
    uint32_t root, used;
    int depth; /* levels of inner pages */
};

_Static_assert(sizeof(struct inner) <= PAGE, "an inner page");

static struct leaf *leaf_at(struct store *s, uint32_t page)
{
    return (void *)s->page[page];
}

static struct inner *inner_at(struct store *s, uint32_t page)
{
    return (void *)s->page[page];
}

static struct record *record_at(struct leaf *l, int i)
{
    return (void *)((uint8_t *)l + l->cell[i]);
}

static uint32_t new_page(struct store *s)
{
    bench_check(s->used < PAGES, "the store is full");
    memset(s->page[s->used], 0, PAGE);
    return s->used++;
}

static uint32_t new_leaf(struct store *s)
{
    uint32_t page = new_page(s);
    leaf_at(s, page)->heap = PAGE;
    return page;
}

static void store_reset(struct store *s)
{
    s->used = 1;
    s->depth = 0;
    s->root = new_leaf(s);
}

/* The first record whose key is not less. */
static int leaf_search(struct leaf *l, uint64_t key)
{
    int low = 0, high = l->cells;
    while (low < high) {
        int middle = (low + high) / 2;
        if (record_at(l, middle)->key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int inner_search(const struct inner *n, uint64_t key)
{
    int low = 0, high = n->keys;
    while (low < high) {
        int middle = (low + high) / 2;
        if (n->key[middle] <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The leaf for `key`; the pages on the way to it, from the root. */
static uint32_t descend(struct store *s, uint64_t key, uint32_t path[DEPTH])
{
    uint32_t page = s->root;
    for (int level = 0; level < s->depth; level++) {
        path[level] = page;
        page = inner_at(s, page)->child[inner_search(inner_at(s, page), key)];
    }
    return page;
}

static size_t record_size(uint16_t length)
{
    return (sizeof(struct record) + length + 7) & ~7ull;
}

static int leaf_has_room(const struct leaf *l, size_t size)
{
    return l->cells < CELLS && sizeof(*l) + size <= l->heap;
}

static void leaf_put(struct leaf *l, int at, uint64_t key, const uint8_t *bytes, uint16_t length)
{
    l->heap = (uint16_t)(l->heap - record_size(length));
    memmove(&l->cell[at + 1], &l->cell[at], (size_t)(l->cells - at) * sizeof(l->cell[0]));
    l->cell[at] = l->heap;
    l->cells++;
    struct record *r = record_at(l, at);
    r->key = key;
    r->length = length;
    memcpy(r->bytes, bytes, length);
}

static void inner_put(struct inner *n, int at, uint64_t key, uint32_t child)
{
    memmove(&n->key[at + 1], &n->key[at], (size_t)(n->keys - at) * sizeof(n->key[0]));
    memmove(&n->child[at + 2], &n->child[at + 1], (size_t)(n->keys - at) * sizeof(n->child[0]));
    n->key[at] = key;
    n->child[at + 1] = child;
    n->keys++;
}

/* Moves the upper half into a new page; the key that divides them. */
static uint64_t split_inner(struct store *s, uint32_t page, uint32_t *upper)
{
    *upper = new_page(s);
    struct inner *low = inner_at(s, page), *high = inner_at(s, *upper);
    int half = low->keys / 2;
    high->keys = (uint16_t)(low->keys - half - 1);
    memcpy(high->key, &low->key[half + 1], high->keys * sizeof(low->key[0]));
    memcpy(high->child, &low->child[half + 1], (high->keys + 1u) * sizeof(low->child[0]));
    low->keys = (uint16_t)half;
    return low->key[half];
}

static uint64_t split_leaf(struct store *s, uint32_t page, uint32_t *upper)
{
    uint8_t copy[PAGE] __attribute__((aligned(8)));
    *upper = new_leaf(s);
    struct leaf *low = leaf_at(s, page), *high = leaf_at(s, *upper), *old = (void *)copy;
    memcpy(copy, low, PAGE);
    high->next = old->next;
    *low = (struct leaf){.next = *upper, .heap = PAGE};
    for (int i = 0; i < old->cells; i++) {
        struct leaf *to = i < old->cells / 2 ? low : high;
        struct record *r = record_at(old, i);
        leaf_put(to, to->cells, r->key, r->bytes, r->length);
    }
    return record_at(high, 0)->key;
}

static void grow_up(struct store *s, uint32_t path[DEPTH], uint64_t key, uint32_t child)
{
    for (int level = s->depth; level--;) {
        struct inner *n = inner_at(s, path[level]);
        if (n->keys < FANOUT) {
            inner_put(n, inner_search(n, key), key, child);
            return;
        }
        uint32_t upper;
        uint64_t middle = split_inner(s, path[level], &upper);
        n = inner_at(s, key < middle ? path[level] : upper);
        inner_put(n, inner_search(n, key), key, child);
        key = middle;
        child = upper;
    }
    uint32_t root = new_page(s);
    inner_at(s, root)->child[0] = s->root;
    inner_put(inner_at(s, root), 0, key, child);
    s->root = root;
    s->depth++;
}

static void store_put(struct store *s, uint64_t key, const uint8_t *bytes, uint16_t length)
{
    uint32_t path[DEPTH], page = descend(s, key, path);
    if (!leaf_has_room(leaf_at(s, page), record_size(length))) {
        uint32_t upper;
        uint64_t middle = split_leaf(s, page, &upper);
        grow_up(s, path, middle, upper);
        page = key < middle ? page : upper;
    }
    leaf_put(leaf_at(s, page), leaf_search(leaf_at(s, page), key), key, bytes, length);
}

static struct record *store_get(struct store *s, uint64_t key)
{
    uint32_t path[DEPTH];
    struct leaf *l = leaf_at(s, descend(s, key, path));
    int at = leaf_search(l, key);
    return at < l->cells && record_at(l, at)->key == key ? record_at(l, at) : NULL;
}

/* What `select sum(length) where key >= from limit n` would be. */
static uint64_t store_scan(struct store *s, uint64_t from, int n)
{
    uint32_t path[DEPTH], page = descend(s, from, path);
    uint64_t sum = 0;
    int at = leaf_search(leaf_at(s, page), from);
    while (page && n) {
        struct leaf *l = leaf_at(s, page);
        for (; at < l->cells && n; at++, n--)
            sum += record_at(l, at)->length;
        page = l->next;
        at = 0;
    }
    return sum;
}

enum { RECORDS = 50000 };

static uint64_t fill(struct store *s, const uint8_t *text, uint64_t seed)
{
    store_reset(s);
    for (int i = 0; i < RECORDS; i++) {
        uint64_t key = bench_random(&seed);
        store_put(s, key, text + key % 4096, (uint16_t)(key % LONGEST));
    }
    return s->used;
}

static uint64_t ask(struct store *s, uint64_t seed)
{
    uint64_t sum = 0;
    for (int i = 0; i < RECORDS; i++) {
        uint64_t key = bench_random(&seed);
        const struct record *r = store_get(s, key);
        bench_check(r && !store_get(s, key + 1), "the record of a key");
        sum = bench_mix(sum, r->length ? r->bytes[r->length - 1] : 0);
        if (i % 16 == 0)
            sum += store_scan(s, key, 50);
    }
    return sum;
}

static void run_store(struct bench *b)
{
    struct store s = {.page = bench_alloc((size_t)PAGES * PAGE)};
    uint8_t *text = bench_alloc(8192);
    uint64_t n = bench_count(b, 5), sum = 0;
    bench_text(text, 8192);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        sum = bench_mix(sum, fill(&s, text, i + 1) ^ ask(&s, i + 1));
    bench_stop(b, sum);
}

const struct bench_row bench_rows[] = {
    {"integer", "store", run_store},
    {0},
};
