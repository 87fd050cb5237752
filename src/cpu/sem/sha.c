/*
 * SHA1 and SHA256 instructions. SDM volume 2; FIPS 180-4 for the functions. On a host that has the instructions they
 * run as stubs.
 *
 * Lanes are numbered as in the register: lane 0 is bits 31:0. The state of SHA1 is {D C B A} from lane 0 up in one
 * register, that of SHA256 {H G D C} and {F E B A} in two.
 */
#include "cpu/sem/stub.h"
#include "cpu/sem/vec.h"

static ALWAYS_INLINE u32 rol(u32 v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static ALWAYS_INLINE u32 ror(u32 v, unsigned n)
{
    return v >> n | v << (32 - n);
}

/* Ch, Maj and Parity of both standards. */
static u32 choose(u32 x, u32 y, u32 z)
{
    return (x & y) ^ (~x & z);
}

static u32 majority(u32 x, u32 y, u32 z)
{
    return (x & y) ^ (x & z) ^ (y & z);
}

static u32 parity(u32 x, u32 y, u32 z)
{
    return x ^ y ^ z;
}

static u32 small_sigma0(u32 x)
{
    return ror(x, 7) ^ ror(x, 18) ^ x >> 3;
}

static u32 small_sigma1(u32 x)
{
    return ror(x, 17) ^ ror(x, 19) ^ x >> 10;
}

static u32 big_sigma0(u32 x)
{
    return ror(x, 2) ^ ror(x, 13) ^ ror(x, 22);
}

static u32 big_sigma1(u32 x)
{
    return ror(x, 6) ^ ror(x, 11) ^ ror(x, 25);
}

/* d: destination, changed in place; s: source; x: XMM0; imm: immediate. */
typedef void sha_fn(u32 d[4], const u32 s[4], const u32 x[4], u8 imm);

static void sha1nexte(u32 d[4], const u32 s[4], const u32 x[4], u8 imm)
{
    u32 e = rol(d[3], 30);
    d[0] = s[0];
    d[1] = s[1];
    d[2] = s[2];
    d[3] = s[3] + e;
}

static void sha1msg1(u32 d[4], const u32 s[4], const u32 x[4], u8 imm)
{
    u32 w[4] = {d[0] ^ s[2], d[1] ^ s[3], d[2] ^ d[0], d[3] ^ d[1]};
    __builtin_memcpy(d, w, sizeof(w));
}

static void sha1msg2(u32 d[4], const u32 s[4], const u32 x[4], u8 imm)
{
    u32 w16 = rol(d[3] ^ s[2], 1), w17 = rol(d[2] ^ s[1], 1), w18 = rol(d[1] ^ s[0], 1), w19 = rol(d[0] ^ w16, 1);
    d[3] = w16;
    d[2] = w17;
    d[1] = w18;
    d[0] = w19;
}

static void sha1rnds4(u32 v[4], const u32 s[4], const u32 x[4], u8 imm)
{
    static const u32 k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    u32 (*const f[4])(u32, u32, u32) = {choose, parity, majority, parity};
    u32 a = v[3], b = v[2], c = v[1], d = v[0], e = 0;
    for (unsigned n = 0; n < 4; n++) {
        u32 next = f[imm & 3](b, c, d) + rol(a, 5) + s[3 - n] + e + k[imm & 3];
        e = d;
        d = c;
        c = rol(b, 30);
        b = a;
        a = next;
    }
    v[3] = a;
    v[2] = b;
    v[1] = c;
    v[0] = d;
}

static void sha256rnds2(u32 v[4], const u32 s[4], const u32 x[4], u8 imm)
{
    u32 a = s[3], b = s[2], c = v[3], d = v[2], e = s[1], f = s[0], g = v[1], h = v[0];
    for (unsigned n = 0; n < 2; n++) {
        u32 t1 = choose(e, f, g) + big_sigma1(e) + x[n] + h, t2 = majority(a, b, c) + big_sigma0(a);
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    v[3] = a;
    v[2] = b;
    v[1] = e;
    v[0] = f;
}

static void sha256msg1(u32 d[4], const u32 s[4], const u32 x[4], u8 imm)
{
    u32 w4 = s[0];
    for (unsigned n = 0; n < 4; n++)
        d[n] += small_sigma0(n < 3 ? d[n + 1] : w4);
}

static void sha256msg2(u32 d[4], const u32 s[4], const u32 x[4], u8 imm)
{
    d[0] += small_sigma1(s[2]);
    d[1] += small_sigma1(s[3]);
    d[2] += small_sigma1(d[0]);
    d[3] += small_sigma1(d[1]);
}

static ALWAYS_INLINE void run_sha(struct cpu *c, const struct insn *i, sha_fn *fn, const void *src)
{
    u32 d[4], s[4], x[4];
    __builtin_memcpy(d, vec_reg(c, i->reg), 16);
    __builtin_memcpy(s, src, 16);
    __builtin_memcpy(x, vec_reg(c, 0), 16);
    fn(d, s, x, (u8)i->imm);
    __builtin_memcpy(vec_reg(c, i->reg), d, 16);
}

#define SHA(name)                                                                                                      \
    void sem_##name##_r(struct cpu *c, const struct insn *i)                                                           \
    {                                                                                                                  \
        if (vec_host_has(c, FEAT_SHA))                                                                                 \
            sem_vec_r(c, i);                                                                                           \
        else                                                                                                           \
            run_sha(c, i, name, vec_reg(c, i->rm));                                                                    \
    }                                                                                                                  \
    void sem_##name##_m(struct cpu *c, const struct insn *i)                                                           \
    {                                                                                                                  \
        if (vec_host_has(c, FEAT_SHA)) {                                                                               \
            sem_vec_m(c, i);                                                                                           \
            return;                                                                                                    \
        }                                                                                                              \
        u64 buf[2];                                                                                                    \
        run_sha(c, i, name, vec_load(c, op_linear(c, i, 16, MMU_READ), buf, 16));                                      \
    }
SHA(sha1nexte)
SHA(sha1msg1)
SHA(sha1msg2)
SHA(sha1rnds4)
SHA(sha256rnds2)
SHA(sha256msg1)
SHA(sha256msg2)
