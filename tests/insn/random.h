/* Random numbers from a printed seed, and values near the edges where instructions go wrong. */
#ifndef TESTS_INSN_RANDOM_H
#define TESTS_INSN_RANDOM_H

#include "base/types.h"

struct random {
    u64 state;
};

u64 random_u64(struct random *r);
/* 0 to n - 1, n > 0. */
u32 random_below(struct random *r, u32 n);
/* True once in n times. */
bool random_one_in(struct random *r, u32 n);
/* An integer, small or near a power of two or all bits; or anything. */
u64 random_integer(struct random *r);
/* Fills with integers, floats and doubles, special ones among them. */
void random_data(struct random *r, void *p, size_t size);
/* An x87 register's ten bytes, unsupported encodings included. */
void random_x87(struct random *r, u8 p[10]);

#endif
