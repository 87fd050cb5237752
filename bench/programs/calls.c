/* Calls: recursion, through a table, through objects, and down a tree. */
#include "bench.h"

#include <stdlib.h>

static uint64_t __attribute__((noinline)) fib(uint64_t n)
{
    bench_hide(n); /* or the compiler makes loops of most calls */
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void run_fib(struct bench *b)
{
    uint64_t n = bench_count(b, 50), sum = 0;
    bench_start(b);
    for (uint64_t i = 0; i < n; i++)
        sum = bench_mix(sum, fib(29));
    bench_stop(b, sum);
}

/* Eight functions, called in an order that looks random and comes again after 1024 calls. */
#define FUNCTION(n, expression)                                                                                        \
    static uint64_t __attribute__((noinline)) function_##n(uint64_t x)                                                 \
    {                                                                                                                  \
        return expression;                                                                                             \
    }
FUNCTION(0, x + 1)
FUNCTION(1, x * 3)
FUNCTION(2, x ^ x >> 7)
FUNCTION(3, x - 11)
FUNCTION(4, x << 1 | x >> 63)
FUNCTION(5, ~x)
FUNCTION(6, x + (x & 255))
FUNCTION(7, x ^ 0x5555)

static void run_indirect(struct bench *b)
{
    static uint64_t (*const function[8])(uint64_t) = {function_0, function_1, function_2, function_3,
                                                      function_4, function_5, function_6, function_7};
    uint8_t order[1024];
    uint64_t n = bench_count(b, 25000), seed = 23, x = 1;
    for (int i = 0; i < 1024; i++)
        order[i] = (uint8_t)(bench_random(&seed) >> 40 & 7);
    bench_start(b);
    for (uint64_t round = 0; round < n; round++)
        for (int i = 0; i < 1024; i++)
            x = function[order[i]](x);
    bench_stop(b, x);
}

struct shape;
struct shape_class {
    double (*area)(const struct shape *s);
    void (*grow)(struct shape *s, double by);
};

struct shape {
    const struct shape_class *class;
    double a, b;
};

static double box_area(const struct shape *s)
{
    return s->a * s->b;
}

static void box_grow(struct shape *s, double by)
{
    s->a += by;
    s->b += by;
}

static double disc_area(const struct shape *s)
{
    return s->a * s->a * 3.140625;
}

static void disc_grow(struct shape *s, double by)
{
    s->a += by;
}

static double wedge_area(const struct shape *s)
{
    return s->a * s->b * 0.5;
}

static void wedge_grow(struct shape *s, double by)
{
    s->b += by;
}

static void run_virtual(struct bench *b)
{
    static const struct shape_class class[] = {{box_area, box_grow}, {disc_area, disc_grow}, {wedge_area, wedge_grow}};
    enum { SHAPES = 1000 };
    struct shape *shape = bench_alloc(SHAPES * sizeof(*shape));
    uint64_t n = bench_count(b, 15000), seed = 29;
    double sum = 0;
    for (int i = 0; i < SHAPES; i++)
        shape[i] = (struct shape){&class[bench_random(&seed) % 3], (double)(i % 7), (double)(i % 5)};
    bench_start(b);
    for (uint64_t round = 0; round < n; round++)
        for (int i = 0; i < SHAPES; i++) {
            struct shape *s = &shape[i];
            sum += s->class->area(s);
            s->class->grow(s, 0.0009765625);
        }
    bench_stop(b, bench_sum(&sum, sizeof(sum)));
}

/* Nodes of a search tree, spread over memory as a heap that has been used for a while spreads them. */
struct node {
    struct node *child[2];
    uint64_t key;
    uint64_t pad;
};

static struct node *insert(struct node *root, struct node *n)
{
    struct node **at = &root;
    while (*at)
        at = &(*at)->child[n->key > (*at)->key];
    *at = n;
    return root;
}

static uint64_t walk(const struct node *n, unsigned depth)
{
    if (!n)
        return depth;
    return walk(n->child[0], depth + 1) + (n->key & 3) + walk(n->child[1], depth + 1);
}

static void run_tree(struct bench *b)
{
    enum { NODES = 8192 };
    struct node *nodes = bench_alloc(NODES * sizeof(*nodes)), *root = NULL;
    uint64_t n = bench_count(b, 2500), seed = 31, sum = 0;
    for (int i = 0; i < NODES; i++) {
        struct node *new = &nodes[(i * 2731) % NODES];
        new->key = bench_random(&seed);
        root = insert(root, new);
    }
    bench_start(b);
    for (uint64_t round = 0; round < n; round++) {
        bench_use(root);
        sum = bench_mix(sum, walk(root, 0));
    }
    bench_stop(b, sum);
}

const struct bench_row bench_rows[] = {
    {"branchy", "fib", run_fib},
    {"branchy", "indirect-calls", run_indirect},
    {"branchy", "virtual-calls", run_virtual},
    {"branchy", "tree-walk", run_tree},
    {0},
};
