/*
 * Floating point and vectors. Results are the same to the last bit wherever arithmetic is IEEE 754's, so they are
 * compared. The loops with AVX2 and FMA skip themselves on a processor that lacks them.
 */
#include "bench.h"

#include <immintrin.h>
#include <math.h>

static void fill(double *v, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        v[i] = (double)(bench_random(&seed) >> 40) / 16777216.0;
}

static void run_matrix(struct bench *b)
{
    enum { SIDE = 200 };
    double *x = bench_alloc(SIDE * SIDE * 8), *y = bench_alloc(SIDE * SIDE * 8), *z = bench_alloc(SIDE * SIDE * 8);
    uint64_t n = bench_count(b, 30);
    fill(x, SIDE * SIDE, 41);
    fill(y, SIDE * SIDE, 43);
    bench_start(b);
    for (uint64_t round = 0; round < n; round++)
        for (int i = 0; i < SIDE; i++)
            for (int k = 0; k < SIDE; k++)
                for (int j = 0; j < SIDE; j++)
                    z[i * SIDE + j] += x[i * SIDE + k] * y[k * SIDE + j];
    bench_stop(b, bench_sum(z, SIDE * SIDE * 8));
}

struct body {
    double place[3], speed[3], mass;
};

static void attract(struct body *body, int bodies, double dt)
{
    for (int i = 0; i < bodies; i++)
        for (int k = i + 1; k < bodies; k++) {
            double d[3], square = 0.001;
            for (int c = 0; c < 3; c++) {
                d[c] = body[i].place[c] - body[k].place[c];
                square += d[c] * d[c];
            }
            double pull = dt / (square * sqrt(square));
            for (int c = 0; c < 3; c++) {
                body[i].speed[c] -= d[c] * body[k].mass * pull;
                body[k].speed[c] += d[c] * body[i].mass * pull;
            }
        }
    for (int i = 0; i < bodies; i++)
        for (int c = 0; c < 3; c++)
            body[i].place[c] += dt * body[i].speed[c];
}

static void run_nbody(struct bench *b)
{
    enum { BODIES = 5 };
    struct body body[BODIES];
    uint64_t n = bench_count(b, 1500000);
    fill((double *)body, sizeof(body) / 8, 47);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        attract(body, BODIES, 0.0001);
    bench_stop(b, bench_sum(body, sizeof(body)));
}

static unsigned escapes(double cx, double cy)
{
    double x = 0, y = 0;
    unsigned i = 0;
    for (; i < 500 && x * x + y * y < 4; i++) {
        double t = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = t;
    }
    return i;
}

static void run_mandelbrot(struct bench *b)
{
    enum { WIDTH = 512 };
    uint64_t height = bench_count(b, 800), sum = 0;
    bench_start(b);
    for (uint64_t row = 0; row < height; row++)
        for (int column = 0; column < WIDTH; column++)
            sum += escapes(column * 3.0 / WIDTH - 2.2, (double)row * 3.0 / 800 - 1.5);
    bench_stop(b, sum);
}

static void run_x87(struct bench *b)
{
    uint64_t n = bench_count(b, 15000000);
    long double sum = 0, x = 1.5L;
    bench_start(b);
    for (uint64_t i = 1; i <= n; i++) {
        x = x * 1.0000001L + 0.25L / (long double)i;
        sum += i & 1 ? x : -x;
    }
    double result = (double)sum;
    bench_stop(b, bench_sum(&result, sizeof(result)));
}

static void run_convert(struct bench *b)
{
    uint64_t n = bench_count(b, 20000000), sum = 0;
    int64_t x = 1;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        double d = (double)x * 1.25 + (double)(int32_t)i;
        float f = (float)d;
        x = ((int64_t)d & 0xffffff) + (int64_t)f % 2;
        sum += (uint64_t)x;
    }
    bench_stop(b, sum);
}

enum { VECTOR = 4096 };

static void need_avx2(void)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        bench_skip("the processor has no AVX2 and FMA");
}

__attribute__((target("avx2,fma"))) static void saxpy(float *y, const float *x, float a)
{
    __m256 factor = _mm256_set1_ps(a);
    for (int i = 0; i < VECTOR; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
}

static void run_saxpy(struct bench *b)
{
    float *x = bench_alloc(VECTOR * 4), *y = bench_alloc(VECTOR * 4);
    uint64_t n = bench_count(b, 250000);
    need_avx2();
    for (int i = 0; i < VECTOR; i++)
        x[i] = (float)(i % 100);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        saxpy(y, x, i & 1 ? 0.5f : -0.4375f);
    bench_stop(b, bench_sum(y, VECTOR * 4));
}

__attribute__((target("avx2,fma"))) static double dot(const double *x, const double *y)
{
    __m256d sum[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    for (int i = 0; i < VECTOR; i += 16)
        for (int k = 0; k < 4; k++)
            sum[k] = _mm256_fmadd_pd(_mm256_loadu_pd(x + i + 4 * k), _mm256_loadu_pd(y + i + 4 * k), sum[k]);
    __m256d all = _mm256_add_pd(_mm256_add_pd(sum[0], sum[1]), _mm256_add_pd(sum[2], sum[3]));
    double part[4];
    _mm256_storeu_pd(part, all);
    return part[0] + part[1] + part[2] + part[3];
}

static void run_dot(struct bench *b)
{
    double *x = bench_alloc(VECTOR * 8), *y = bench_alloc(VECTOR * 8), sum = 0;
    uint64_t n = bench_count(b, 100000);
    need_avx2();
    fill(x, VECTOR, 53);
    fill(y, VECTOR, 59);
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        x[i % VECTOR] += 0.5;
        sum += dot(x, y);
    }
    bench_stop(b, bench_sum(&sum, sizeof(sum)));
}

/* The sum of absolute differences of a block of 16 by 16 pixels, as encoders of video look for movement. */
static uint64_t block_difference(const uint8_t *a, const uint8_t *b, int width)
{
    __m128i sum = _mm_setzero_si128();
    for (int row = 0; row < 16; row++) {
        __m128i x = _mm_loadu_si128((const void *)(a + row * width)),
                y = _mm_loadu_si128((const void *)(b + row * width));
        sum = _mm_add_epi64(sum, _mm_sad_epu8(x, y));
    }
    return (uint64_t)_mm_cvtsi128_si64(sum) + (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum));
}

static void run_sad(struct bench *b)
{
    enum { WIDTH = 320, HEIGHT = 240 };
    uint8_t *x = bench_alloc(WIDTH * HEIGHT), *y = bench_alloc(WIDTH * HEIGHT);
    uint64_t n = bench_count(b, 250), sum = 0;
    bench_text(x, WIDTH * HEIGHT);
    bench_text(y, WIDTH * HEIGHT - 77);
    bench_start(b);
    for (uint64_t round = 0; round < n; round++)
        for (int row = 0; row < HEIGHT - 16; row += 2)
            for (int column = 0; column < WIDTH - 16; column++)
                sum += block_difference(x + 16 * WIDTH + 32, y + row * WIDTH + column, WIDTH);
    bench_stop(b, sum);
}

const struct bench_row bench_rows[] = {
    {"floating", "matrix", run_matrix},   {"floating", "saxpy-avx2", run_saxpy},      {"floating", "dot-avx2", run_dot},
    {"floating", "nbody", run_nbody},     {"floating", "mandelbrot", run_mandelbrot}, {"floating", "x87", run_x87},
    {"floating", "convert", run_convert}, {"floating", "sad-sse2", run_sad},          {0},
};
