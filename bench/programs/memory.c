/* Memory: latency at three sizes, copies and sets, stores without order, records in an array. */
#include "bench.h"

#include <string.h>

/* One cycle through all lines of `size` bytes, in random order (Sattolo). */
static void chase(struct bench *b, size_t size, uint64_t steps)
{
    enum { LINE = 64 };
    size_t lines = size / LINE;
    uint8_t *area = bench_alloc(size);
    uint32_t *order = bench_alloc(lines * sizeof(*order));
    uint64_t seed = 3, n = bench_count(b, steps);
    for (size_t i = 0; i < lines; i++)
        order[i] = (uint32_t)i;
    for (size_t i = lines - 1; i; i--) {
        size_t k = bench_random(&seed) % i;
        uint32_t t = order[i];
        order[i] = order[k];
        order[k] = t;
    }
    for (size_t i = 0; i < lines; i++) {
        void *next = area + (size_t)order[i] * LINE;
        memcpy(area + i * LINE, &next, sizeof(next));
    }
    void **p = (void **)area;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        p = *p;
    bench_hide(p);
    bench_stop(b, (uint64_t)((uint8_t *)p - area));
}

static void run_chase_16k(struct bench *b)
{
    chase(b, 16 << 10, 120000001);
}

static void run_chase_1m(struct bench *b)
{
    chase(b, 1 << 20, 15000001);
}

static void run_chase_64m(struct bench *b)
{
    chase(b, 64 << 20, 2000001);
}

enum { SMALL = 256, LARGE = 8 << 20 };

static void run_memcpy_small(struct bench *b)
{
    uint8_t *from = bench_alloc(2 * SMALL), *to = bench_alloc(2 * SMALL);
    uint64_t n = bench_count(b, 15000000);
    bench_text(from, 2 * SMALL);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = i * 0x9e3779b97f4a7c15ull >> 40;
        memcpy(to + (r & 31), from + (r >> 5 & 31), r >> 10 & (SMALL - 1));
        bench_use(to);
    }
    bench_stop(b, bench_sum(to, 2 * SMALL));
}

static void run_memcpy_large(struct bench *b)
{
    uint8_t *from = bench_alloc(LARGE), *to = bench_alloc(LARGE);
    uint64_t n = bench_count(b, 200);
    bench_text(from, LARGE);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        memcpy(to, from, LARGE);
        bench_use(to);
    }
    bench_stop(b, to[LARGE / 2]);
    b->checksum = bench_mix(b->checksum, bench_sum(to, 65536));
}

static void run_memset_small(struct bench *b)
{
    uint8_t *to = bench_alloc(2 * SMALL);
    uint64_t n = bench_count(b, 15000000);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = i * 0x9e3779b97f4a7c15ull >> 40;
        memset(to + (r & 31), (int)r, r >> 10 & (SMALL - 1));
        bench_use(to);
    }
    bench_stop(b, bench_sum(to, 2 * SMALL));
}

static void run_memset_large(struct bench *b)
{
    uint8_t *to = bench_alloc(LARGE);
    uint64_t n = bench_count(b, 400);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        memset(to, (int)i, LARGE);
        bench_use(to);
    }
    bench_stop(b, to[LARGE - 1]);
}

static void run_random_store(struct bench *b)
{
    enum { WORDS = (16 << 20) / 8 };
    uint64_t *area = bench_alloc(WORDS * sizeof(*area)), seed = 11, n = bench_count(b, 15000000);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t r = bench_random(&seed);
        area[r >> 43] = r;
    }
    bench_stop(b, bench_sum(area, 4096));
}

struct item {
    uint32_t id, count;
    int64_t price;
    uint16_t flags;
    uint8_t name[14];
    int64_t total;
};

static void run_records(struct bench *b)
{
    enum { ITEMS = 40000 };
    struct item *item = bench_alloc(ITEMS * sizeof(*item));
    uint64_t n = bench_count(b, 1500), seed = 13;
    for (uint32_t i = 0; i < ITEMS; i++)
        item[i] = (struct item){.id = i, .count = (uint32_t)bench_random(&seed) % 100, .price = (int64_t)(i % 977)};
    bench_start(b);
    for (uint64_t round = 0; round < n; round++) {
        for (uint32_t i = 0; i < ITEMS; i++) {
            struct item *t = &item[i];
            t->total += t->count * t->price;
            t->flags = (uint16_t)(t->flags + (t->total & 1));
            t->count ^= (uint32_t)t->flags & 3;
            t->name[round % 14]++;
        }
        bench_use(item);
    }
    bench_stop(b, bench_sum(item, 64 * sizeof(*item)));
}

const struct bench_row bench_rows[] = {
    {"memory", "chase-16k", run_chase_16k},       {"memory", "chase-1m", run_chase_1m},
    {"memory", "chase-64m", run_chase_64m},       {"memory", "memcpy-small", run_memcpy_small},
    {"memory", "memcpy-large", run_memcpy_large}, {"memory", "memset-small", run_memset_small},
    {"memory", "memset-large", run_memset_large}, {"memory", "random-store", run_random_store},
    {"memory", "records", run_records},           {0},
};
