/*
 * Compression in the manner of gzip: matches of up to 258 bytes within 32 KiB, found by hash chains, written as bits.
 *
 * The code is simpler than DEFLATE's: a literal is a 0 bit and 8 bits; a match is a 1 bit, its length less 3 as an
 * Elias gamma number, and 15 bits of distance.
 */
#include "bench.h"

#include <string.h>

enum { INPUT = 512 << 10, WINDOW = 1 << 15, HASHES = 1 << 14, SHORTEST = 3, LONGEST = 258, CHAIN = 32 };

struct bits {
    uint8_t *at;
    uint64_t held; /* the lowest bit is the next one */
    unsigned count;
};

static void put(struct bits *o, uint64_t value, unsigned count)
{
    o->held |= value << o->count;
    o->count += count;
    while (o->count >= 8) {
        *o->at++ = (uint8_t)o->held;
        o->held >>= 8;
        o->count -= 8;
    }
}

static uint64_t get(struct bits *i, unsigned count)
{
    while (i->count < count) {
        i->held |= (uint64_t)*i->at++ << i->count;
        i->count += 8;
    }
    uint64_t value = i->held & ((1ull << count) - 1);
    i->held >>= count;
    i->count -= count;
    return value;
}

static void put_gamma(struct bits *o, uint32_t value)
{
    unsigned width = 31 - (unsigned)__builtin_clz(value + 1);
    put(o, 1ull << width, width + 1);
    put(o, (value + 1) & ((1u << width) - 1), width);
}

static uint32_t get_gamma(struct bits *i)
{
    unsigned width = 0;
    while (!get(i, 1))
        width++;
    return (uint32_t)((1u << width | get(i, width)) - 1);
}

struct matcher {
    const uint8_t *data;
    int32_t head[HASHES];
    int32_t previous[WINDOW];
};

static uint32_t hash3(const uint8_t *p)
{
    return ((uint32_t)p[0] << 10 ^ (uint32_t)p[1] << 5 ^ p[2]) * 2654435761u >> 18;
}

static void remember(struct matcher *m, int32_t at)
{
    uint32_t h = hash3(m->data + at);
    m->previous[at % WINDOW] = m->head[h];
    m->head[h] = at;
}

static int32_t match_length(const uint8_t *a, const uint8_t *b, int32_t most)
{
    int32_t n = 0;
    while (n < most && a[n] == b[n])
        n++;
    return n;
}

static int32_t longest(const struct matcher *m, int32_t at, int32_t *where)
{
    int32_t best = 0, most = INPUT - at < LONGEST ? INPUT - at : LONGEST;
    int32_t candidate = m->head[hash3(m->data + at)];
    for (int tries = CHAIN; tries && candidate >= 0 && at - candidate < WINDOW; tries--) {
        if (m->data[candidate + best] == m->data[at + best]) {
            int32_t n = match_length(m->data + candidate, m->data + at, most);
            if (n > best) {
                best = n;
                *where = candidate;
                if (n == most)
                    break;
            }
        }
        candidate = m->previous[candidate % WINDOW];
    }
    return best;
}

static size_t compress(struct matcher *m, const uint8_t *data, uint8_t *out)
{
    struct bits o = {.at = out};
    m->data = data;
    memset(m->head, 0xff, sizeof(m->head));
    for (int32_t at = 0; at < INPUT;) {
        int32_t where = 0, length = at + SHORTEST <= INPUT ? longest(m, at, &where) : 0;
        if (length < SHORTEST) {
            put(&o, (uint64_t)data[at] << 1, 9);
            length = 1;
        } else {
            put(&o, 1, 1);
            put_gamma(&o, (uint32_t)(length - SHORTEST));
            put(&o, (uint64_t)(at - where), 15);
        }
        for (; length; length--, at++)
            if (at + SHORTEST <= INPUT)
                remember(m, at);
    }
    put(&o, 0, 7);
    return (size_t)(o.at - out);
}

static void expand(uint8_t *in, uint8_t *data)
{
    struct bits i = {.at = in};
    for (int32_t at = 0; at < INPUT;) {
        if (!get(&i, 1)) {
            data[at++] = (uint8_t)get(&i, 8);
            continue;
        }
        int32_t length = (int32_t)get_gamma(&i) + SHORTEST, distance = (int32_t)get(&i, 15);
        for (; length; length--, at++)
            data[at] = data[at - distance];
    }
}

struct gzip {
    uint8_t *data, *packed, *back;
    size_t size;
    struct matcher *m;
};

static struct gzip prepare(void)
{
    struct gzip g = {bench_alloc(INPUT), bench_alloc(2 * INPUT), bench_alloc(INPUT), 0, bench_alloc(sizeof(*g.m))};
    bench_text(g.data, INPUT);
    g.size = compress(g.m, g.data, g.packed);
    return g;
}

static void run_compress(struct bench *b)
{
    struct gzip g = prepare();
    uint64_t n = bench_count(b, 9);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        g.size = compress(g.m, g.data, g.packed);
    bench_stop(b, g.size);
    b->checksum = bench_mix(b->checksum, bench_sum(g.packed, g.size));
}

static void run_expand(struct bench *b)
{
    struct gzip g = prepare();
    uint64_t n = bench_count(b, 60);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        expand(g.packed, g.back);
    bench_stop(b, g.size);
    bench_check(!memcmp(g.data, g.back, INPUT), "what was compressed and expanded");
}

const struct bench_row bench_rows[] = {
    {"integer", "gzip", run_compress},
    {"integer", "gunzip", run_expand},
    {0},
};
