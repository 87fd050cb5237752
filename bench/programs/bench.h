/*
 * What the programs of the benchmark suite share. A program holds one row or a small family:
 *
 *   PROGRAM              lists its rows: class, name, and whether two processors matter (0, 1)
 *   PROGRAM ROW [SCALE]  does the work of a row, SCALE per cent of it (100), and prints `ROW SECONDS CHECKSUM`
 *
 * Only what lies between bench_start and bench_stop is timed; a row may start and stop several times. The checksum
 * depends on what was computed and on SCALE, on nothing else, so that a native run and a guest's must agree. Everything
 * random comes from bench_random with a fixed seed.
 *
 * A program defines `bench_rows`, which ends with an empty entry; bench.c has main.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

struct bench {
    unsigned scale;    /* per cent */
    double seconds;    /* so far */
    double started;    /* the clock at bench_start */
    uint64_t checksum; /* of all bench_stop */
};

struct bench_row {
    const char *class, *name; /* no class: not listed, for this program's own use */
    void (*run)(struct bench *b);
    int pair; /* two threads or processes run in turns: worth measuring with two processors too */
};
extern const struct bench_row bench_rows[];

void bench_start(struct bench *b);
void bench_stop(struct bench *b, uint64_t checksum);

/* How often to do what is done `full` times at scale 100; at least once. */
uint64_t bench_count(const struct bench *b, uint64_t full);

/* Zeroed memory, written to once so that no page fault is left for the timed part. */
void *bench_alloc(size_t size);

/* Runs another row of this program as a program of its own (fork, exec, wait) and returns its exit status. */
unsigned bench_again(const char *row);

/* Ends the program with `what` and the text of errno. */
_Noreturn void bench_fail(const char *what);
/* The row cannot be run here, for this reason: status 77. */
_Noreturn void bench_skip(const char *why);
/* Ends the program, if the result is wrong. */
void bench_check(int good, const char *what);

/* xorshift64*; the seed must not be 0. */
static inline uint64_t bench_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1dull;
}

/* A checksum of bytes, and one more number for a checksum. */
uint64_t bench_sum(const void *data, size_t size);
static inline uint64_t bench_mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x9e3779b97f4a7c15ull + (sum >> 29);
}

/* Fills `text` with words that repeat about as those of a natural language do, for compressors and lexers. */
void bench_text(uint8_t *text, size_t size);

/* The compiler must take `value` as it comes and may not compute what it is used for beforehand. */
#define bench_hide(value) __asm__ volatile("" : "+r"(value))
/* The compiler must believe that the memory at `p` is read. */
#define bench_use(p)      __asm__ volatile("" : : "r"(p) : "memory")

#endif
