/* Integer loops: the arithmetic unit, multiplication and division, tables. */
#include "bench.h"

static void run_alu(struct bench *b)
{
    uint64_t n = bench_count(b, 60000000), x = 1, y = 0x123456789abcdefull, z = 7;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        x += y ^ (z << 3);
        y = (y >> 5 | y << 59) - (x & 0xffff);
        if (x & 64)
            z ^= y;
        else
            z += i;
    }
    bench_stop(b, x ^ y ^ z);
}

static void run_muldiv(struct bench *b)
{
    uint64_t n = bench_count(b, 14000000), x = 88172645463325252ull, sum = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t d = (uint32_t)(x >> 40) | 1;
        sum += (uint32_t)x / d;
        sum ^= (x >> 20) % d;
        sum += (uint64_t)(((unsigned __int128)x * sum) >> 64);
    }
    bench_stop(b, sum);
}

enum { SIEVE = 1 << 20 };

static void run_sieve(struct bench *b)
{
    uint8_t *composite = bench_alloc(SIEVE);
    uint64_t n = bench_count(b, 60), primes = 0;
    bench_start(b);
    for (uint64_t round = 0; round < n; round++) {
        for (uint32_t i = 0; i < SIEVE; i++)
            composite[i] = 0;
        bench_use(composite);
        for (uint32_t i = 2; i < SIEVE; i++) {
            if (composite[i])
                continue;
            primes++;
            for (uint64_t k = (uint64_t)i * i; k < SIEVE; k += i)
                composite[k] = 1;
        }
    }
    bench_stop(b, primes);
}

static void run_crc32(struct bench *b)
{
    enum { SIZE = 256 << 10 };
    uint32_t table[256], crc = ~0u;
    uint8_t *data = bench_alloc(SIZE);
    uint64_t n = bench_count(b, 280);
    bench_text(data, SIZE);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
        table[i] = c;
    }
    bench_start(b);
    for (uint64_t round = 0; round < n; round++)
        for (uint32_t i = 0; i < SIZE; i++)
            crc = crc >> 8 ^ table[(crc ^ data[i]) & 255];
    bench_stop(b, ~crc);
}

const struct bench_row bench_rows[] = {
    {"integer", "alu", run_alu},
    {"integer", "muldiv", run_muldiv},
    {"integer", "sieve", run_sieve},
    {"integer", "crc32", run_crc32},
    {0},
};
