/*
 * Code as run-time compilers make it: written to a page that is writable and executable, run, and written again; data
 * beside code; and code that is run only once (cold.S).
 */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t made_fn(uint64_t x);

enum { PAGE = 4096 };

static uint8_t *code_alloc(size_t size)
{
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("mmap of code");
    memset(p, 0xcc, size);
    return p;
}

static uint64_t call(const uint8_t *code, uint64_t x)
{
    made_fn *fn;
    memcpy(&fn, &code, sizeof(fn));
    return fn(x);
}

static uint8_t *emit(uint8_t *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

#define EMIT(at, ...) emit(at, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static uint8_t *emit32(uint8_t *at, uint32_t value)
{
    return emit(at, &value, sizeof(value));
}

enum { TERMS = 8, LOOPS = 10 };

/* x passed LOOPS times through TERMS steps that `seed` chooses. Returns the end of the code. */
static uint8_t *generate(uint8_t *at, uint64_t seed)
{
    at = EMIT(at, 0x48, 0x89, 0xf8);    /* mov rax, rdi */
    at = emit32(EMIT(at, 0xb9), LOOPS); /* mov ecx, LOOPS */
    const uint8_t *top = at;
    for (int i = 0; i < TERMS; i++) {
        uint32_t r = (uint32_t)(bench_random(&seed) >> 20);
        switch (r & 3) {
        case 0:
            at = emit32(EMIT(at, 0x48, 0x05), r >> 2); /* add rax, imm32 */
            break;
        case 1:
            at = emit32(EMIT(at, 0x48, 0x35), r >> 2); /* xor rax, imm32 */
            break;
        case 2:
            at = emit32(EMIT(at, 0x48, 0x69, 0xc0), r | 1); /* imul rax, rax, imm32 */
            break;
        default:
            at = EMIT(at, 0x48, 0xc1, 0xc0, (uint8_t)(r >> 2 & 63)); /* rol rax, imm8 */
            break;
        }
    }
    at = EMIT(at, 0xff, 0xc9);                      /* dec ecx */
    at = EMIT(at, 0x75, (uint8_t)(top - (at + 2))); /* jnz top */
    return EMIT(at, 0xc3);                          /* ret */
}

/* The same place again and again. */
static void run_rewrite(struct bench *b)
{
    uint8_t *code = code_alloc(PAGE);
    uint64_t n = bench_count(b, 60000), x = 1;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        generate(code, i + 1);
        x = call(code, x);
    }
    bench_stop(b, x);
}

/* Functions one behind the other, as a compiler fills its code area; each is run some times, and the area starts over
 * when it is full. */
static void run_fill(struct bench *b)
{
    enum { AREA = 64 * PAGE, MOST = 256, RUNS = 20 };
    uint8_t *code = code_alloc(AREA), *at = code;
    uint64_t n = bench_count(b, 30000), x = 1;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        if (at + MOST > code + AREA)
            at = code;
        uint8_t *end = generate(at, i + 1);
        for (int k = 0; k < RUNS; k++)
            x = call(at, x);
        at = end;
    }
    bench_stop(b, x);
}

/* A function that counts in the page that it lies in, far enough away that a processor does not mind. */
static void run_data(struct bench *b)
{
    uint8_t *code = code_alloc(2 * PAGE);
    uint64_t n = bench_count(b, 4000000), x = 1, zero = 0;
    uint8_t *counter = code + 2048, *at = EMIT(code, 0x48, 0x01, 0x3d); /* add [rip + disp32], rdi */
    at = emit32(at, (uint32_t)(counter - (at + 4)));
    at = EMIT(at, 0x48, 0x8b, 0x05); /* mov rax, [rip + disp32] */
    at = emit32(at, (uint32_t)(counter - (at + 4)));
    EMIT(at, 0xc3);
    memcpy(counter, &zero, sizeof(zero));
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        x = bench_mix(x, call(code, i));
    bench_stop(b, x);
}

extern made_fn cold_code;

/* A program that runs through much code once, from its start to its end. Once, whatever the scale: a second run would
 * not be cold. */
static void run_cold(struct bench *b)
{
    bench_start(b);
    bench_stop(b, bench_again("cold-child"));
}

static void run_cold_child(struct bench *b)
{
    _exit(cold_code(1) & 63);
}

const struct bench_row bench_rows[] = {
    {"jit", "jit-rewrite", run_rewrite}, {"jit", "jit-fill", run_fill},        {"jit", "jit-data", run_data},
    {"jit", "cold-code", run_cold},      {NULL, "cold-child", run_cold_child}, {0},
};
