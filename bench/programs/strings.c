/* The string functions of the C library, over lengths as programs have them: mostly short, a few long. */
#include "bench.h"

#include <string.h>

enum { STRINGS = 4096, MOST = 400, AREA = STRINGS * (MOST + 16) };

struct strings {
    char *area, *twin; /* the same bytes */
    uint32_t at[STRINGS], length[STRINGS];
};

/* Each string ends with a '!', the only one in it, and the terminator. */
static struct strings *prepare(void)
{
    struct strings *s = bench_alloc(sizeof(*s));
    uint64_t seed = 17;
    uint32_t at = 0;
    s->area = bench_alloc(AREA);
    s->twin = bench_alloc(AREA + 1);
    bench_text((uint8_t *)s->area, AREA);
    for (int i = 0; i < STRINGS; i++) {
        uint64_t r = bench_random(&seed);
        s->at[i] = at;
        s->length[i] = (uint32_t)(r >> 20) % (r % 16 ? 40 : MOST);
        at += s->length[i];
        s->area[at++] = '!';
        s->area[at++] = 0;
        at += (uint32_t)(r >> 50) & 7;
    }
    s->twin++; /* not aligned as the original is */
    memcpy(s->twin, s->area, AREA);
    return s;
}

#define STRING_ROW(name, rounds, expression)                                                                           \
    static void run_##name(struct bench *b)                                                                            \
    {                                                                                                                  \
        struct strings *s = prepare();                                                                                 \
        uint64_t n = bench_count(b, rounds), sum = 0;                                                                  \
        bench_start(b);                                                                                                \
        for (uint64_t round = 0; round < n; round++)                                                                   \
            for (int i = 0; i < STRINGS; i++) {                                                                        \
                const char *p = s->area + s->at[i], *q = s->twin + s->at[i];                                           \
                size_t length = s->length[i] + 1;                                                                      \
                (void)q, (void)length;                                                                                 \
                bench_hide(p);                                                                                         \
                sum += (uint64_t)(expression);                                                                         \
            }                                                                                                          \
        bench_stop(b, sum);                                                                                            \
    }

STRING_ROW(strlen, 8000, strlen(p))
STRING_ROW(strchr, 8000, strchr(p, '!') - p)
STRING_ROW(memcmp, 6000, memcmp(p, q, length) == 0)
STRING_ROW(strcmp, 5000, strcmp(p, q) == 0)

const struct bench_row bench_rows[] = {
    {"memory", "strlen", run_strlen},
    {"memory", "strchr", run_strchr},
    {"memory", "memcmp", run_memcmp},
    {"memory", "strcmp", run_strcmp},
    {0},
};
