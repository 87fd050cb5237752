/*
 * Compression in the manner of xz: every bit is coded by a binary range coder with an adaptive probability, chosen by
 * what came before. Literals are coded in the context of the byte before them, matches (found by one hash) by length
 * and distance.
 */
#include "bench.h"

#include <string.h>

enum { INPUT = 256 << 10, HASHES = 1 << 15, SHORTEST = 4, LONGEST = SHORTEST + 255, DISTANCE_BITS = 18 };
enum { MODEL_BITS = 11, MODEL_SHIFT = 5 };

struct coder {
    uint64_t low;
    uint32_t range, code;
    uint8_t *at;
    uint8_t held;
    uint64_t waiting; /* bytes that a carry may still change */
};

typedef uint16_t model; /* the probability of a 0, of 2048 */

struct models {
    model is_match[2][256], literal[256][256], length[256], slot[64], low[64][64];
};

static void models_reset(struct models *m)
{
    model *all = (model *)m;
    for (size_t i = 0; i < sizeof(*m) / sizeof(*all); i++)
        all[i] = 1 << (MODEL_BITS - 1);
}

static void shift_low(struct coder *c)
{
    if ((uint32_t)c->low < 0xff000000u || c->low >> 32) {
        uint8_t carry = (uint8_t)(c->low >> 32);
        do {
            *c->at++ = (uint8_t)(c->held + carry);
            c->held = 0xff;
        } while (--c->waiting);
        c->held = (uint8_t)(c->low >> 24);
    }
    c->waiting++;
    c->low = (uint32_t)c->low << 8;
}

static void encode(struct coder *c, model *m, unsigned bit)
{
    uint32_t bound = (c->range >> MODEL_BITS) * *m;
    if (bit) {
        c->low += bound;
        c->range -= bound;
        *m = (model)(*m - (*m >> MODEL_SHIFT));
    } else {
        c->range = bound;
        *m = (model)(*m + (((1 << MODEL_BITS) - *m) >> MODEL_SHIFT));
    }
    while (c->range < 1u << 24) {
        c->range <<= 8;
        shift_low(c);
    }
}

static unsigned decode(struct coder *c, model *m)
{
    uint32_t bound = (c->range >> MODEL_BITS) * *m;
    unsigned bit = c->code >= bound;
    if (bit) {
        c->code -= bound;
        c->range -= bound;
        *m = (model)(*m - (*m >> MODEL_SHIFT));
    } else {
        c->range = bound;
        *m = (model)(*m + (((1 << MODEL_BITS) - *m) >> MODEL_SHIFT));
    }
    while (c->range < 1u << 24) {
        c->range <<= 8;
        c->code = c->code << 8 | *c->at++;
    }
    return bit;
}

/* Numbers of `bits` bits, the highest first, each bit in the context of those above it. */
static void encode_tree(struct coder *c, model *m, int bits, unsigned value)
{
    for (unsigned node = 1; bits--;) {
        unsigned bit = value >> bits & 1;
        encode(c, &m[node], bit);
        node = 2 * node | bit;
    }
}

static unsigned decode_tree(struct coder *c, model *m, int bits)
{
    unsigned node = 1;
    for (int i = 0; i < bits; i++)
        node = 2 * node | decode(c, &m[node]);
    return node - (1u << bits);
}

/* A distance: the number of its bits, its six highest bits below the leading one, and the rest with even odds. */
static void encode_distance(struct coder *c, struct models *m, uint32_t distance)
{
    int width = 31 - __builtin_clz(distance), high = width < 6 ? width : 6;
    encode_tree(c, m->slot, 5, (unsigned)width);
    encode_tree(c, m->low[width], high, distance >> (width - high) & ((1u << high) - 1));
    for (int i = width - high; i--;) {
        model even = 1 << (MODEL_BITS - 1);
        encode(c, &even, distance >> i & 1);
    }
}

static uint32_t decode_distance(struct coder *c, struct models *m)
{
    int width = (int)decode_tree(c, m->slot, 5), high = width < 6 ? width : 6;
    uint32_t distance = 1u << high | decode_tree(c, m->low[width], high);
    for (int i = width - high; i--;) {
        model even = 1 << (MODEL_BITS - 1);
        distance = 2 * distance | decode(c, &even);
    }
    return distance;
}

struct xz {
    uint8_t *data, *packed, *back;
    struct models *models;
    int32_t *heads;
};

static uint32_t hash4(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v * 2654435761u >> 17;
}

static int32_t find_match(struct xz *x, int32_t at, int32_t *where)
{
    if (at + SHORTEST > INPUT)
        return 0;
    int32_t *head = &x->heads[hash4(x->data + at)], n = 0;
    int32_t most = INPUT - at < LONGEST ? INPUT - at : LONGEST;
    *where = *head;
    *head = at;
    while (*where >= 0 && n < most && x->data[*where + n] == x->data[at + n])
        n++;
    return n < SHORTEST ? 0 : n;
}

static size_t compress(struct xz *x)
{
    struct coder c = {.range = ~0u, .at = x->packed, .waiting = 1};
    struct models *m = x->models;
    uint8_t before = 0, matched = 0;
    models_reset(m);
    memset(x->heads, 0xff, HASHES * sizeof(*x->heads));
    for (int32_t at = 0; at < INPUT;) {
        int32_t where, length = find_match(x, at, &where);
        encode(&c, &m->is_match[matched][before], length > 0);
        matched = length > 0;
        if (length) {
            encode_tree(&c, m->length, 8, (unsigned)(length - SHORTEST));
            encode_distance(&c, m, (uint32_t)(at - where));
            at += length;
        } else {
            encode_tree(&c, m->literal[before], 8, x->data[at++]);
        }
        before = x->data[at - 1];
    }
    for (int i = 0; i < 5; i++)
        shift_low(&c);
    return (size_t)(c.at - x->packed);
}

static void expand(struct xz *x)
{
    struct coder c = {.range = ~0u, .at = x->packed + 1};
    struct models *m = x->models;
    uint8_t before = 0;
    unsigned matched = 0;
    models_reset(m);
    for (int i = 0; i < 4; i++)
        c.code = c.code << 8 | *c.at++;
    for (int32_t at = 0; at < INPUT;) {
        matched = decode(&c, &m->is_match[matched][before]);
        if (matched) {
            int32_t length = (int32_t)decode_tree(&c, m->length, 8) + SHORTEST;
            int32_t distance = (int32_t)decode_distance(&c, m);
            for (; length; length--, at++)
                x->back[at] = x->back[at - distance];
        } else {
            x->back[at++] = (uint8_t)decode_tree(&c, m->literal[before], 8);
        }
        before = x->back[at - 1];
    }
}

static struct xz prepare(void)
{
    struct xz x = {bench_alloc(INPUT), bench_alloc(2 * INPUT), bench_alloc(INPUT), bench_alloc(sizeof(*x.models)),
                   bench_alloc(HASHES * sizeof(*x.heads))};
    bench_text(x.data, INPUT);
    return x;
}

static void run_compress(struct bench *b)
{
    struct xz x = prepare();
    uint64_t n = bench_count(b, 12);
    size_t size = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        size = compress(&x);
    bench_stop(b, size);
    b->checksum = bench_mix(b->checksum, bench_sum(x.packed, size));
}

static void run_expand(struct bench *b)
{
    struct xz x = prepare();
    uint64_t n = bench_count(b, 12);
    size_t size = compress(&x);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        expand(&x);
    bench_stop(b, size);
    bench_check(!memcmp(x.data, x.back, INPUT), "what was compressed and expanded");
}

const struct bench_row bench_rows[] = {
    {"integer", "xz", run_compress},
    {"integer", "unxz", run_expand},
    {0},
};
