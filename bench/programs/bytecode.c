/*
 * An interpreter of byte code: a stack machine that adds up the lengths of Collatz sequences, dispatched by one switch,
 * and by a computed goto after each operation. Both go through the same program.
 */
#include "bench.h"

enum op { PUSH, LOAD, STORE, ADD, MUL, SHR, AND, LESS, JUMP, JUMP_ZERO, HALT };
enum variable { STEPS, I, N, LIMIT, VARIABLES };
enum label { OUTER = 4, INNER = 10, EVEN = 29, NEXT = 34, DONE = 39 };

struct operation {
    uint8_t op, argument;
};

static const struct operation program[] = {
    {PUSH, 0},
    {STORE, STEPS},
    {PUSH, 1},
    {STORE, I},
    /* OUTER: while I < LIMIT */
    {LOAD, I},
    {LOAD, LIMIT},
    {LESS, 0},
    {JUMP_ZERO, DONE},
    {LOAD, I},
    {STORE, N},
    /* INNER: while 1 < N, count, and if N is odd, N = 3 N + 1 */
    {PUSH, 1},
    {LOAD, N},
    {LESS, 0},
    {JUMP_ZERO, NEXT},
    {LOAD, STEPS},
    {PUSH, 1},
    {ADD, 0},
    {STORE, STEPS},
    {LOAD, N},
    {PUSH, 1},
    {AND, 0},
    {JUMP_ZERO, EVEN},
    {LOAD, N},
    {PUSH, 3},
    {MUL, 0},
    {PUSH, 1},
    {ADD, 0},
    {STORE, N},
    {JUMP, INNER},
    /* EVEN: N = N / 2 */
    {LOAD, N},
    {PUSH, 1},
    {SHR, 0},
    {STORE, N},
    {JUMP, INNER},
    /* NEXT: I = I + 1 */
    {LOAD, I},
    {PUSH, 1},
    {ADD, 0},
    {STORE, I},
    {JUMP, OUTER},
    /* DONE */
    {LOAD, STEPS},
    {HALT, 0},
};

static uint64_t by_switch(const struct operation *pc, uint64_t limit)
{
    uint64_t stack[16], *top = stack, variable[VARIABLES] = {[LIMIT] = limit};
    const struct operation *start = pc;
    for (;;) {
        struct operation o = *pc++;
        switch (o.op) {
        case PUSH:
            *top++ = o.argument;
            break;
        case LOAD:
            *top++ = variable[o.argument];
            break;
        case STORE:
            variable[o.argument] = *--top;
            break;
        case ADD:
            top--;
            top[-1] += *top;
            break;
        case MUL:
            top--;
            top[-1] *= *top;
            break;
        case SHR:
            top--;
            top[-1] >>= *top & 63;
            break;
        case AND:
            top--;
            top[-1] &= *top;
            break;
        case LESS:
            top--;
            top[-1] = top[-1] < *top;
            break;
        case JUMP:
            pc = start + o.argument;
            break;
        case JUMP_ZERO:
            if (!*--top)
                pc = start + o.argument;
            break;
        default:
            return *--top;
        }
    }
}

static uint64_t by_goto(const struct operation *pc, uint64_t limit)
{
    static void *const where[] = {&&push, &&load, &&store, &&add,       &&mul, &&shr,
                                  &&and,  &&less, &&jump,  &&jump_zero, &&halt};
    uint64_t stack[16], *top = stack, variable[VARIABLES] = {[LIMIT] = limit};
    const struct operation *start = pc;
    struct operation o;
#define NEXT_OPERATION                                                                                                 \
    o = *pc++;                                                                                                         \
    goto *where[o.op]
    NEXT_OPERATION;
push:
    *top++ = o.argument;
    NEXT_OPERATION;
load:
    *top++ = variable[o.argument];
    NEXT_OPERATION;
store:
    variable[o.argument] = *--top;
    NEXT_OPERATION;
add:
    top--;
    top[-1] += *top;
    NEXT_OPERATION;
mul:
    top--;
    top[-1] *= *top;
    NEXT_OPERATION;
shr:
    top--;
    top[-1] >>= *top & 63;
    NEXT_OPERATION;
    and : top--;
    top[-1] &= *top;
    NEXT_OPERATION;
less:
    top--;
    top[-1] = top[-1] < *top;
    NEXT_OPERATION;
jump:
    pc = start + o.argument;
    NEXT_OPERATION;
jump_zero:
    if (!*--top)
        pc = start + o.argument;
    NEXT_OPERATION;
halt:
    return *--top;
}

enum { NUMBERS = 60000 };

static void run_switch(struct bench *b)
{
    uint64_t limit = bench_count(b, NUMBERS);
    bench_start(b);
    bench_stop(b, by_switch(program, limit));
}

static void run_goto(struct bench *b)
{
    uint64_t limit = bench_count(b, NUMBERS);
    bench_start(b);
    bench_stop(b, by_goto(program, limit));
}

const struct bench_row bench_rows[] = {
    {"branchy", "bytecode-switch", run_switch},
    {"branchy", "bytecode-goto", run_goto},
    {0},
};
