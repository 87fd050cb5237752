/* See random.h. The generator is xorshift64*. */
#include "random.h"

#include <string.h>

u64 random_u64(struct random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1d;
}

u32 random_below(struct random *r, u32 n)
{
    return (u32)((random_u64(r) >> 32) * n >> 32);
}

bool random_one_in(struct random *r, u32 n)
{
    return random_below(r, n) == 0;
}

u64 random_integer(struct random *r)
{
    static const u8 widths[] = {8, 16, 32, 64, 4, 5, 6, 7};
    u64 v = random_u64(r);
    u64 bit = 1ull << (widths[random_below(r, ARRAY_SIZE(widths))] - 1);

    switch (random_below(r, 8)) {
    case 0:
        return v;
    case 1:
        return v & 0xff;
    case 2: /* a few to each side of 0, of the sign bit and of the largest number */
        return v % 5 - 2;
    case 3:
        return bit + v % 5 - 2;
    case 4:
        return 2 * bit + v % 5 - 2;
    case 5: /* repeated bytes, for strings and BCD */
        return (v & 0xff) * 0x0101010101010101;
    case 6: /* few bits */
        return 1ull << (v & 63) | 1ull << (v >> 6 & 63);
    default: /* a number of some width, extended by sign */
        return (u64)((i64)(v << (v & 63)) >> (v & 63));
    }
}

static const u32 special_f32[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
                                  0xffc00000, 0x7fa00001, 0x00000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4effffff,
                                  0x4f000000, 0xcf000000, 0x3f000000, 0x40490fdb, 0x5f000000, 0x33800000};
static const u64 special_f64[] = {0,
                                  0x8000000000000000,
                                  0x3ff0000000000000,
                                  0xbff0000000000000,
                                  0x7ff0000000000000,
                                  0xfff0000000000000,
                                  0x7ff8000000000000,
                                  0xfff8000000000000,
                                  0x7ff4000000000001,
                                  1,
                                  0x000fffffffffffff,
                                  0x0010000000000000,
                                  0x7fefffffffffffff,
                                  0x41dfffffffc00000,
                                  0x41e0000000000000,
                                  0xc1e0000000000000,
                                  0x43e0000000000000,
                                  0xc3e0000000000000,
                                  0x3fe0000000000000,
                                  0x400921fb54442d18,
                                  0x47efffffe0000000,
                                  0x3690000000000000};

static u64 random_float(struct random *r)
{
    u64 v = random_u64(r);
    u32 a = special_f32[random_below(r, ARRAY_SIZE(special_f32))],
        b = special_f32[random_below(r, ARRAY_SIZE(special_f32))];

    switch (random_below(r, 5)) {
    case 0:
        return special_f64[random_below(r, ARRAY_SIZE(special_f64))];
    case 1:
        return (u64)a << 32 | b;
    case 2: /* doubles of moderate size */
        return (v & 0x800fffffffffffff) | (u64)(0x3ff - 40 + random_below(r, 80)) << 52;
    case 3: /* floats of moderate size */
        return (v & 0x807fffff807fffff) | (u64)(107 + random_below(r, 40)) << 23 |
               (u64)(107 + random_below(r, 40)) << 55;
    default: /* small whole numbers */
        return (u64)(0x3ff + random_below(r, 6)) << 52 | (v & 0x800f000000000000);
    }
}

void random_data(struct random *r, void *p, size_t size)
{
    for (size_t done = 0; done < size; done += 8) {
        u64 v = random_one_in(r, 2) ? random_float(r) : random_integer(r);
        size_t left = size - done;
        memcpy((u8 *)p + done, &v, left < 8 ? left : 8);
    }
}

void random_x87(struct random *r, u8 p[10])
{
    static const u16 exponents[] = {0,      0x8000, 0x7fff, 0xffff, 1,      0x7ffe, 0x3fff,
                                    0xbfff, 0x403e, 0x401e, 0x400e, 0x3fc0, 0x43fe, 0x3c01};
    static const u64 mantissas[] = {0, 0x8000000000000000, 0xc000000000000000, 0xa000000000000000, 0xffffffffffffffff,
                                    1, 0x7fffffffffffffff, 0x8000000000000001, 0xfffffffffffff800, 0xffffff0000000000};
    u64 m = random_u64(r);
    u16 e = (u16)random_u64(r);

    switch (random_below(r, 4)) {
    case 0:
        e = exponents[random_below(r, ARRAY_SIZE(exponents))];
        m = mantissas[random_below(r, ARRAY_SIZE(mantissas))];
        break;
    case 1:
        e = exponents[random_below(r, ARRAY_SIZE(exponents))];
        break;
    case 2:
        e = (u16)((e & 0x8000) | (0x3fff - 20 + random_below(r, 84)));
        m |= 1ull << 63;
        break;
    default:
        e = (u16)((e & 0x8000) | (0x3fff + random_below(r, 16)));
        m = (m | 1ull << 63) & ~0ull << random_below(r, 64);
    }
    memcpy(p, &m, 8);
    memcpy(p + 8, &e, 2);
}
