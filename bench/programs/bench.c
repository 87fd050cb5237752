/* What the programs of the suite share (bench.h): main, clock, checksums, data to work on. */
#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t))
        bench_fail("clock_gettime");
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_start(struct bench *b)
{
    b->started = now();
}

void bench_stop(struct bench *b, uint64_t checksum)
{
    b->seconds += now() - b->started;
    b->checksum = bench_mix(b->checksum, checksum);
}

uint64_t bench_count(const struct bench *b, uint64_t full)
{
    uint64_t n = full * b->scale / 100;
    return n ? n : 1;
}

void *bench_alloc(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("mmap");
    memset(p, 0, size);
    return p;
}

void bench_fail(const char *what)
{
    perror(what);
    exit(1);
}

void bench_skip(const char *why)
{
    fprintf(stderr, "skipped: %s\n", why);
    exit(77);
}

void bench_check(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "wrong result: %s\n", what);
    exit(1);
}

unsigned bench_again(const char *row)
{
    char program[] = "bench", name[32], *const arguments[] = {program, name, NULL}, *const environment[] = {NULL};
    int status;
    snprintf(name, sizeof(name), "%s", row);
    pid_t child = fork();
    if (!child) {
        execve("/proc/self/exe", arguments, environment);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        bench_fail("fork");
    bench_check(WIFEXITED(status) && WEXITSTATUS(status) != 127, "the end of a child");
    return (unsigned)WEXITSTATUS(status);
}

uint64_t bench_sum(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t sum = 14695981039346656037ull; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ p[i]) * 1099511628211ull;
    return sum;
}

enum { WORDS = 4096, WORD_MOST = 12 };

struct words {
    uint8_t length[WORDS];
    char letters[WORDS][WORD_MOST];
};

static void make_words(struct words *w, uint64_t *seed)
{
    static const char often[] = "eeeetttaaaoooiiinnnssshhrrddlucmfwypvbgk";
    for (int i = 0; i < WORDS; i++) {
        w->length[i] = (uint8_t)(2 + bench_random(seed) % (WORD_MOST - 2));
        for (int k = 0; k < w->length[i]; k++)
            w->letters[i][k] = often[bench_random(seed) % (sizeof(often) - 1)];
    }
}

void bench_text(uint8_t *text, size_t size)
{
    static struct words w;
    uint64_t seed = 20;
    make_words(&w, &seed);
    for (size_t at = 0; at < size;) {
        /* The product of two uniform numbers: low ones are common, as words go by Zipf. */
        uint64_t r = bench_random(&seed);
        unsigned word = (unsigned)((r & 0xffff) * (r >> 16 & 0xffff) >> 20);
        for (int k = 0; k < w.length[word] && at < size; k++)
            text[at++] = (uint8_t)w.letters[word][k];
        if (at < size)
            text[at++] = (r >> 40 & 15) ? ' ' : '\n';
    }
}

static const struct bench_row *find(const char *name)
{
    const struct bench_row *r = bench_rows;
    while (r->name && strcmp(r->name, name))
        r++;
    return r->name ? r : NULL;
}

static int list(void)
{
    for (const struct bench_row *r = bench_rows; r->name; r++)
        if (r->class)
            printf("%s %s %d\n", r->class, r->name, r->pair);
    return 0;
}

static int number(const char *text, unsigned *value)
{
    char *end;
    *value = (unsigned)strtoul(text, &end, 10);
    return end != text && !*end;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return list();
    const struct bench_row *row = find(argv[1]);
    struct bench b = {.scale = 100};
    if (!row || argc > 3 || (argc == 3 && !number(argv[2], &b.scale))) {
        fprintf(stderr, "usage: %s [ROW [SCALE]]\n", argv[0]);
        return 2;
    }
    row->run(&b);
    printf("%s %.6f %016llx\n", row->name, b.seconds, (unsigned long long)b.checksum);
    return 0;
}
