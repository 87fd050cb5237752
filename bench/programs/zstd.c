/*
 * Compression in the manner of zstd: text is split into runs of literals and matches; literals and the three kinds of
 * numbers (run, length, distance) are each coded by a table-driven asymmetric numeral system (Duda 2013; RFC 8878,
 * section 4.1), whose decoder is a table look-up, a few bits, and no branch. Encoding goes from the end to the
 * beginning.
 */
#include "bench.h"

#include <string.h>

enum {
    INPUT = 512 << 10,
    HASHES = 1 << 15,
    SHORTEST = 4,
    LOG = 11,
    STATES = 1 << LOG,
    SYMBOLS = 256,
    SEQUENCES = INPUT / SHORTEST
};

struct ans_step {
    uint16_t base;
    uint8_t symbol, bits;
};

struct ans {
    uint32_t count[SYMBOLS], start[SYMBOLS];
    uint16_t next[STATES]; /* encoding: state by start[symbol] + (which of the symbol's states) */
    struct ans_step step[STATES];
};

struct bits {
    uint8_t *bytes;
    size_t at; /* in bits; written upwards and read downwards */
};

static inline void put(struct bits *o, uint32_t value, unsigned count)
{
    uint64_t word;
    memcpy(&word, o->bytes + o->at / 8, 8);
    word |= (uint64_t)value << o->at % 8;
    memcpy(o->bytes + o->at / 8, &word, 8);
    o->at += count;
}

static inline uint32_t get(struct bits *i, unsigned count)
{
    uint64_t word;
    i->at -= count;
    memcpy(&word, i->bytes + i->at / 8, 8);
    return (uint32_t)(word >> i->at % 8) & ((1u << count) - 1);
}

/* Counts of symbols to shares of STATES, at least one for each symbol that occurs. */
static void ans_shares(struct ans *a, const uint8_t *data, size_t size)
{
    uint32_t seen[SYMBOLS] = {0}, left = STATES, most = 0;
    for (size_t i = 0; i < size; i++)
        seen[data[i]]++;
    for (int s = 0; s < SYMBOLS; s++) {
        uint32_t share = (uint32_t)((uint64_t)seen[s] * (STATES - SYMBOLS) / (size ? size : 1));
        a->count[s] = seen[s] ? share + 1 : 0;
        left -= a->count[s];
        if (a->count[s] > a->count[most])
            most = (uint32_t)s;
    }
    a->count[most] += left;
}

static void ans_make(struct ans *a, const uint8_t *data, size_t size)
{
    uint32_t place = 0, sum = 0, x[SYMBOLS];
    ans_shares(a, data, size);
    for (int s = 0; s < SYMBOLS; s++) {
        a->start[s] = sum;
        sum += a->count[s];
        x[s] = a->count[s];
        for (uint32_t i = 0; i < a->count[s]; i++) {
            a->step[place].symbol = (uint8_t)s;
            place = (place + (STATES >> 1) + (STATES >> 3) + 3) & (STATES - 1);
        }
    }
    for (uint32_t state = 0; state < STATES; state++) {
        struct ans_step *t = &a->step[state];
        uint32_t n = x[t->symbol]++;
        a->next[a->start[t->symbol] + n - a->count[t->symbol]] = (uint16_t)(state + STATES);
        t->bits = (uint8_t)(LOG - (31 - __builtin_clz(n)));
        t->base = (uint16_t)((n << t->bits) - STATES);
    }
}

/* States in [STATES, 2 * STATES) while encoding, less STATES while decoding. */
static inline uint32_t ans_put(const struct ans *a, struct bits *o, uint32_t state, uint8_t symbol)
{
    uint32_t n = a->count[symbol];
    unsigned bits = 0;
    while (state >> bits >= 2 * n)
        bits++;
    put(o, state & ((1u << bits) - 1), bits);
    return a->next[a->start[symbol] + (state >> bits) - n];
}

static inline uint8_t ans_get(const struct ans *a, struct bits *i, uint32_t *state)
{
    struct ans_step t = a->step[*state];
    *state = t.base + get(i, t.bits);
    return t.symbol;
}

struct sequence {
    uint32_t run, length, distance; /* literals, then a match; the last one has length 0 */
};

enum { RUN, LENGTH, DISTANCE, KINDS };

struct zstd {
    uint8_t *data, *back, *literals;
    int32_t *heads;
    struct sequence *sequences;
    uint8_t *codes; /* for the statistics: the class of each number */
    size_t literal_count, sequence_count;
    struct bits literal_bits, sequence_bits;
    struct ans literal_code, code[KINDS];
    uint32_t literal_state[2], state[KINDS];
};

static void split(struct zstd *z)
{
    uint32_t run = 0;
    z->literal_count = z->sequence_count = 0;
    memset(z->heads, 0xff, HASHES * sizeof(*z->heads));
    for (int32_t at = 0; at < INPUT;) {
        int32_t length = 0, where = -1;
        if (at + SHORTEST <= INPUT) {
            uint32_t v;
            memcpy(&v, z->data + at, 4);
            int32_t *head = &z->heads[v * 2654435761u >> 17];
            where = *head;
            *head = at;
            while (where >= 0 && at + length < INPUT && z->data[where + length] == z->data[at + length])
                length++;
        }
        if (length < SHORTEST) {
            z->literals[z->literal_count++] = z->data[at++];
            run++;
            continue;
        }
        z->sequences[z->sequence_count++] = (struct sequence){run, (uint32_t)length, (uint32_t)(at - where)};
        at += length;
        run = 0;
    }
    z->sequences[z->sequence_count++] = (struct sequence){run, 0, 0};
}

/* A number is coded as the position of its leading bit, and the bits below that. */
static inline unsigned class_of(uint32_t value)
{
    return 31 - (unsigned)__builtin_clz(value + 1);
}

static inline void put_number(struct zstd *z, int kind, uint32_t value)
{
    unsigned class = class_of(value);
    put(&z->sequence_bits, (value + 1) & ((1u << class) - 1), class);
    z->state[kind] = ans_put(&z->code[kind], &z->sequence_bits, z->state[kind], (uint8_t) class);
}

static inline uint32_t get_number(struct zstd *z, int kind)
{
    unsigned class = ans_get(&z->code[kind], &z->sequence_bits, &z->state[kind]);
    return (1u << class | get(&z->sequence_bits, class)) - 1;
}

static void make_codes(struct zstd *z)
{
    ans_make(&z->literal_code, z->literals, z->literal_count);
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < z->sequence_count; i++) {
            const struct sequence *s = &z->sequences[i];
            z->codes[i] = (uint8_t)class_of(kind == RUN ? s->run : kind == LENGTH ? s->length : s->distance);
        }
        ans_make(&z->code[kind], z->codes, z->sequence_count);
    }
}

static size_t compress(struct zstd *z)
{
    split(z);
    make_codes(z);
    memset(z->literal_bits.bytes, 0, INPUT);
    memset(z->sequence_bits.bytes, 0, INPUT);
    z->literal_bits.at = z->sequence_bits.at = 0;
    z->literal_state[0] = z->literal_state[1] = z->state[RUN] = z->state[LENGTH] = z->state[DISTANCE] = STATES;
    /* Two states take turns, so that their latencies overlap. */
    for (size_t i = z->literal_count; i--;)
        z->literal_state[i & 1] = ans_put(&z->literal_code, &z->literal_bits, z->literal_state[i & 1], z->literals[i]);
    for (size_t i = z->sequence_count; i--;) {
        put_number(z, DISTANCE, z->sequences[i].distance);
        put_number(z, LENGTH, z->sequences[i].length);
        put_number(z, RUN, z->sequences[i].run);
    }
    return (z->literal_bits.at + z->sequence_bits.at) / 8;
}

static void expand_literals(struct zstd *z)
{
    struct bits i = z->literal_bits;
    uint32_t state[2] = {z->literal_state[0] - STATES, z->literal_state[1] - STATES};
    for (size_t n = 0; n < z->literal_count; n++)
        z->literals[n] = ans_get(&z->literal_code, &i, &state[n & 1]);
}

static void copy_match(uint8_t *to, uint32_t distance, uint32_t length)
{
    if (distance >= length) {
        memcpy(to, to - distance, length);
        return;
    }
    for (; length; length--, to++)
        *to = *(to - distance);
}

static void expand(struct zstd *z)
{
    const struct bits start = z->sequence_bits;
    const uint32_t states[KINDS] = {z->state[RUN], z->state[LENGTH], z->state[DISTANCE]};
    uint8_t *to = z->back;
    const uint8_t *literal = z->literals;
    expand_literals(z);
    for (int kind = 0; kind < KINDS; kind++)
        z->state[kind] -= STATES;
    for (size_t i = 0; i < z->sequence_count; i++) {
        uint32_t run = get_number(z, RUN), length = get_number(z, LENGTH), distance = get_number(z, DISTANCE);
        memcpy(to, literal, run);
        to += run;
        literal += run;
        copy_match(to, distance, length);
        to += length;
    }
    z->sequence_bits = start;
    memcpy(z->state, states, sizeof(states));
}

static struct zstd *prepare(void)
{
    struct zstd *z = bench_alloc(sizeof(*z));
    z->data = bench_alloc(INPUT);
    z->back = bench_alloc(INPUT);
    z->literals = bench_alloc(INPUT);
    z->heads = bench_alloc(HASHES * sizeof(*z->heads));
    z->sequences = bench_alloc((SEQUENCES + 1) * sizeof(*z->sequences));
    z->codes = bench_alloc(SEQUENCES + 1);
    z->literal_bits.bytes = bench_alloc(INPUT + 8);
    z->sequence_bits.bytes = bench_alloc(INPUT + 8);
    bench_text(z->data, INPUT);
    return z;
}

static void run_compress(struct bench *b)
{
    struct zstd *z = prepare();
    uint64_t n = bench_count(b, 20);
    size_t size = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        size = compress(z);
    bench_stop(b, size);
    b->checksum = bench_mix(b->checksum, bench_sum(z->literal_bits.bytes, z->literal_bits.at / 8));
    b->checksum = bench_mix(b->checksum, bench_sum(z->sequence_bits.bytes, z->sequence_bits.at / 8));
}

static void run_expand(struct bench *b)
{
    struct zstd *z = prepare();
    uint64_t n = bench_count(b, 60);
    size_t size = compress(z);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        expand(z);
    bench_stop(b, size);
    bench_check(!memcmp(z->data, z->back, INPUT), "what was compressed and expanded");
}

const struct bench_row bench_rows[] = {
    {"integer", "zstd", run_compress},
    {"integer", "unzstd", run_expand},
    {0},
};
