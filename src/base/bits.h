/*
 * Bits, alignment and checked arithmetic. All pure.
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include "base/types.h"

#define BIT(n)   (1u << (n))
#define BIT64(n) (1ull << (n))

/* Bits hi..lo of v, as the manuals write v[hi:lo]. 0 <= lo <= hi <= 63. */
static inline u64 bits(u64 v, unsigned hi, unsigned lo)
{
    return (v >> lo) & (~0ull >> (63 - (hi - lo)));
}

static inline u64 align_down(u64 v, u64 power_of_two)
{
    return v & ~(power_of_two - 1);
}

/* Wraps to 0 above the last multiple: check first where v is not trusted. */
static inline u64 align_up(u64 v, u64 power_of_two)
{
    return (v + power_of_two - 1) & ~(power_of_two - 1);
}

static inline bool is_aligned(u64 v, u64 power_of_two)
{
    return (v & (power_of_two - 1)) == 0;
}

static inline bool is_power_of_two(u64 v)
{
    return v && (v & (v - 1)) == 0;
}

/* Sign-extends the low `width` bits, 1 <= width <= 64. */
static inline i64 sign_extend(u64 v, unsigned width)
{
    return (i64)(v << (64 - width)) >> (64 - width);
}

/* True if [a, a+alen) and [b, b+blen) share a byte; ranges may end at 2^64 but not wrap. */
static inline bool ranges_overlap(u64 a, u64 alen, u64 b, u64 blen)
{
    return alen && blen && (a > b ? a - b < blen : b - a < alen);
}

/* True if [pos, pos+len) lies inside [0, size). */
static inline bool range_inside(u64 pos, u64 len, u64 size)
{
    return pos <= size && len <= size - pos;
}

/* Little-endian reads and writes at any alignment. */
#define BASE_LE(T)                                                                                                     \
    static inline T get_##T(const void *p)                                                                             \
    {                                                                                                                  \
        T v;                                                                                                           \
        __builtin_memcpy(&v, p, sizeof(v));                                                                            \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void put_##T(void *p, T v)                                                                           \
    {                                                                                                                  \
        __builtin_memcpy(p, &v, sizeof(v));                                                                            \
    }
BASE_LE(u16)
BASE_LE(u32)
BASE_LE(u64)
#undef BASE_LE

#endif
