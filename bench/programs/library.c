/* What programs get from their libraries: a hash table, a sort with a callback, a digest. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Open addressing over 4 MiB, filled to three quarters, then looked up; half of the look-ups find nothing. */
enum { SLOTS = 1 << 18 };

struct slot {
    uint64_t key, value;
};

static struct slot *find_slot(struct slot *table, uint64_t key)
{
    uint64_t at = key * 0x9e3779b97f4a7c15ull >> 46;
    while (table[at].key && table[at].key != key)
        at = (at + 1) & (SLOTS - 1);
    return &table[at];
}

static uint64_t hash_round(struct slot *table, uint64_t seed)
{
    uint64_t s = seed, sum = 0;
    memset(table, 0, SLOTS * sizeof(*table));
    for (uint32_t i = 0; i < SLOTS / 4 * 3; i++) {
        uint64_t key = bench_random(&s) | 1;
        *find_slot(table, key) = (struct slot){key, i};
    }
    s = seed;
    for (uint32_t i = 0; i < SLOTS / 4 * 3; i++) {
        uint64_t key = bench_random(&s) | 1;
        sum = bench_mix(sum, find_slot(table, key)->value);
        sum += find_slot(table, key ^ 2)->value;
    }
    return sum;
}

static void run_hash(struct bench *b)
{
    struct slot *table = bench_alloc(SLOTS * sizeof(*table));
    uint64_t n = bench_count(b, 10), sum = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        sum = bench_mix(sum, hash_round(table, i + 1));
    bench_stop(b, sum);
}

struct person {
    uint32_t year;
    uint32_t number;
};

static int by_year(const void *left, const void *right)
{
    const struct person *l = left, *r = right;
    if (l->year != r->year)
        return l->year < r->year ? -1 : 1;
    return (l->number > r->number) - (l->number < r->number);
}

static void run_qsort(struct bench *b)
{
    enum { PEOPLE = 100000 };
    struct person *people = bench_alloc(PEOPLE * sizeof(*people));
    uint64_t n = bench_count(b, 12), seed = 5;
    for (uint64_t round = 0; round < n; round++) {
        for (uint32_t i = 0; i < PEOPLE; i++)
            people[i] = (struct person){(uint32_t)bench_random(&seed) % 5000, i};
        bench_start(b);
        qsort(people, PEOPLE, sizeof(*people), by_year);
        bench_stop(b, 0);
        b->checksum = bench_mix(b->checksum, bench_sum(people, PEOPLE * sizeof(*people)));
    }
}

/* FIPS 180-4. */
static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t v, int n)
{
    return v >> n | v << (32 - n);
}

static void sha_schedule(uint32_t w[64], const uint8_t *block)
{
    for (int i = 0; i < 16; i++) {
        uint32_t word;
        memcpy(&word, block + 4 * i, 4);
        w[i] = __builtin_bswap32(word);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], e = w[i - 2];
        w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] + (ror(e, 17) ^ ror(e, 19) ^ e >> 10);
    }
}

/* One step; what was h comes out as the new a, so the caller names the registers one place further each time. */
#define SHA_STEP(a, b, c, d, e, f, g, h, i)                                                                            \
    do {                                                                                                               \
        uint32_t t = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + ((e & f) ^ (~e & g)) + sha_k[i] + w[i];               \
        d += t;                                                                                                        \
        h = t + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));                                 \
    } while (0)

static void sha_block(uint32_t s[8], const uint8_t *block)
{
    uint32_t w[64], a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    sha_schedule(w, block);
    for (int i = 0; i < 64; i += 8) {
        SHA_STEP(a, b, c, d, e, f, g, h, i);
        SHA_STEP(h, a, b, c, d, e, f, g, i + 1);
        SHA_STEP(g, h, a, b, c, d, e, f, i + 2);
        SHA_STEP(f, g, h, a, b, c, d, e, i + 3);
        SHA_STEP(e, f, g, h, a, b, c, d, i + 4);
        SHA_STEP(d, e, f, g, h, a, b, c, i + 5);
        SHA_STEP(c, d, e, f, g, h, a, b, i + 6);
        SHA_STEP(b, c, d, e, f, g, h, a, i + 7);
    }
    const uint32_t add[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++)
        s[i] += add[i];
}

static void run_sha256(struct bench *b)
{
    enum { SIZE = 1 << 20 };
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t *data = bench_alloc(SIZE);
    uint64_t n = bench_count(b, 40);
    bench_text(data, SIZE);
    bench_start(b);
    for (uint64_t round = 0; round < n; round++)
        for (size_t at = 0; at < SIZE; at += 64)
            sha_block(h, data + at);
    bench_stop(b, bench_sum(h, sizeof(h)));
}

const struct bench_row bench_rows[] = {
    {"integer", "hash", run_hash},
    {"integer", "qsort", run_qsort},
    {"integer", "sha256", run_sha256},
    {0},
};
