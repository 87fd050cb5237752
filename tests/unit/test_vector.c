/*
 * Vector instructions where the host cannot be the oracle of tests/insn: SHA by known digests, the halves of 256-bit
 * AES, SSE4A; the cache of host stubs; memory for code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/fault.h"
#include "cpu/sem/sem.h"
#include "cpu/sem/stub.h"
#include "host/code.h"
#include "isa/encode.h"
#include "vcpu.h"

static struct vm vm;
static struct cpu *c;

static int setup(void **state)
{
    if (vm_create(&vm, MiB(4), 1))
        return -1;
    vcpu_mode(&vm, 0, VCPU_64);
    c = vm.cpu[0];
    c->cr0 &= ~(CR0_EM | CR0_TS);
    c->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    c->xcr0 = 7;
    c->mxcsr = 0x1f80;
    return 0;
}

static int teardown(void **state)
{
    vm_destroy(&vm);
    return 0;
}

/* Carries out one instruction; returns its exception or -1. */
static NOINLINE int run(struct insn i)
{
    if (__builtin_setjmp(c->unwind))
        return c->exc.vector;
    c->cur = &i;
    sem_lookup (&i)(c, &i);
    c->cur = NULL;
    return -1;
}

static void op(enum isa_row_id row, u8 reg, u8 rm, u8 imm)
{
    struct insn i = insn_reg(row, reg, rm, false);
    i.imm = imm;
    assert_int_equal(run(i), -1);
}

static void set_lanes(unsigned n, u32 a, u32 b, u32 d, u32 e)
{
    c->ymm[4 * n] = a | (u64)b << 32;
    c->ymm[4 * n + 1] = d | (u64)e << 32;
}

static u32 lane(unsigned n, unsigned k)
{
    return (u32)(c->ymm[4 * n + k / 2] >> 32 * (k & 1));
}

/* "abc", padded to one block. */
static const u32 abc_block[16] = {0x61626380, [15] = 24};

/* XMM1: {F E B A}, XMM2: {H G D C}, lane 0 first. XMM4 to 7: the last sixteen words of the message schedule. */
static void test_sha256(void **state)
{
    static const u32 k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    static const u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static const u32 digest[8] = {0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223,
                                  0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad};
    set_lanes(1, h[5], h[4], h[1], h[0]);
    set_lanes(2, h[7], h[6], h[3], h[2]);
    for (unsigned n = 0; n < 4; n++)
        set_lanes(4 + n, abc_block[4 * n], abc_block[4 * n + 1], abc_block[4 * n + 2], abc_block[4 * n + 3]);
    for (unsigned n = 0; n < 16; n++) {
        const u32 *kn = k + 4 * n;
        set_lanes(0, lane(4, 0) + kn[0], lane(4, 1) + kn[1], lane(4, 2) + kn[2], lane(4, 3) + kn[3]);
        op(INSN_SHA256RNDS2_Vdq_Wdq, 2, 1, 0);
        set_lanes(0, lane(0, 2), lane(0, 3), 0, 0);
        op(INSN_SHA256RNDS2_Vdq_Wdq, 1, 2, 0);
        op(INSN_SHA256MSG1_Vdq_Wdq, 4, 5, 0);
        /* plus words 9 to 12 of the sixteen */
        set_lanes(4, lane(4, 0) + lane(6, 1), lane(4, 1) + lane(6, 2), lane(4, 2) + lane(6, 3),
                  lane(4, 3) + lane(7, 0));
        op(INSN_SHA256MSG2_Vdq_Wdq, 4, 7, 0);
        u64 next[2] = {c->ymm[16], c->ymm[17]};
        for (unsigned r = 4; r < 7; r++)
            memcpy(&c->ymm[4 * r], &c->ymm[4 * r + 4], 16);
        memcpy(&c->ymm[28], next, 16);
    }
    for (unsigned n = 0; n < 8; n++) {
        static const u8 reg[8] = {1, 1, 2, 2, 1, 1, 2, 2}, at[8] = {3, 2, 3, 2, 1, 0, 1, 0};
        assert_int_equal(lane(reg[n], at[n]) + h[n], digest[n]);
    }
}

/* XMM1: {D C B A}; E travels in the top lane of XMM2. Messages with word 0 in the top lane. */
static void test_sha1(void **state)
{
    static const u32 h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    static const u32 digest[5] = {0xa9993e36, 0x4706816a, 0xba3e2571, 0x7850c26c, 0x9cd0d89d};
    set_lanes(1, h[3], h[2], h[1], h[0]);
    for (unsigned n = 0; n < 4; n++)
        set_lanes(4 + n, abc_block[4 * n + 3], abc_block[4 * n + 2], abc_block[4 * n + 1], abc_block[4 * n]);
    u64 before[2] = {0};
    for (unsigned n = 0; n < 20; n++) {
        if (n == 0) {
            set_lanes(2, lane(4, 0), lane(4, 1), lane(4, 2), lane(4, 3) + h[4]);
        } else { /* E is A of four rounds ago, rotated, plus the message */
            c->ymm[8] = before[0];
            c->ymm[9] = before[1];
            op(INSN_SHA1NEXTE_Vdq_Wdq, 2, 4, 0);
        }
        before[0] = c->ymm[4];
        before[1] = c->ymm[5];
        op(INSN_SHA1RNDS4_Vdq_Wdq_Ib, 1, 2, (u8)(n / 5));
        op(INSN_SHA1MSG1_Vdq_Wdq, 4, 5, 0);
        c->ymm[16] ^= c->ymm[24];
        c->ymm[17] ^= c->ymm[25];
        op(INSN_SHA1MSG2_Vdq_Wdq, 4, 7, 0);
        u64 next[2] = {c->ymm[16], c->ymm[17]};
        for (unsigned r = 4; r < 7; r++)
            memcpy(&c->ymm[4 * r], &c->ymm[4 * r + 4], 16);
        memcpy(&c->ymm[28], next, 16);
    }
    u32 e = (u32)(before[1] >> 32);
    e = e << 30 | e >> 2;
    for (unsigned n = 0; n < 4; n++)
        assert_int_equal(lane(1, 3 - n) + h[n], digest[n]);
    assert_int_equal(e + h[4], digest[4]);
}

/* A 256-bit form is the 128-bit form on each half, whichever registers coincide. */
static void check_halves(enum isa_row_id wide, enum isa_row_id narrow, u8 reg, u8 vvvv, u8 rm)
{
    u64 src[64], want[4];
    for (unsigned n = 0; n < 64; n++)
        src[n] = 0x9e3779b97f4a7c15ull * (n + 1 + wide);
    for (unsigned half = 0; half < 2; half++) {
        memset(c->ymm, 0, sizeof(c->ymm));
        memcpy(&c->ymm[8], &src[4 * vvvv + 2 * half], 16);
        memcpy(&c->ymm[12], &src[4 * rm + 2 * half], 16);
        struct insn i = insn_reg(narrow, 1, 3, false);
        i.vvvv = 2;
        i.imm = 0x11;
        assert_int_equal(run(i), -1);
        memcpy(want + 2 * half, &c->ymm[4], 16);
    }
    memcpy(c->ymm, src, sizeof(src));
    struct insn i = insn_reg(wide, reg, rm, false);
    i.vvvv = vvvv;
    i.vl = 1;
    i.imm = 0x11;
    assert_int_equal(run(i), -1);
    assert_memory_equal(&c->ymm[4 * reg], want, sizeof(want));
    memcpy(src + 4 * reg, want, sizeof(want));
    assert_memory_equal(c->ymm, src, sizeof(src));
}

static void test_halves(void **state)
{
    static const u16 rows[][2] = {
        {INSN_VAESENC_Vqq_Hqq_Wqq, INSN_VAESENC_Vdq_Hdq_Wdq},
        {INSN_VAESENCLAST_Vqq_Hqq_Wqq, INSN_VAESENCLAST_Vdq_Hdq_Wdq},
        {INSN_VAESDEC_Vqq_Hqq_Wqq, INSN_VAESDEC_Vdq_Hdq_Wdq},
        {INSN_VAESDECLAST_Vqq_Hqq_Wqq, INSN_VAESDECLAST_Vdq_Hdq_Wdq},
        {INSN_VPCLMULQDQ_Vqq_Hqq_Wqq_Ib, INSN_VPCLMULQDQ_Vdq_Hdq_Wdq_Ib},
    };
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
        check_halves(rows[n][0], rows[n][1], 5, 6, 7);
        check_halves(rows[n][0], rows[n][1], 5, 5, 7);
        check_halves(rows[n][0], rows[n][1], 5, 6, 5);
        check_halves(rows[n][0], rows[n][1], 5, 5, 5);
    }
}

static void test_sse4a(void **state)
{
    struct insn i = insn_reg(INSN_EXTRQ_Udq_Ib_I2b, 0, 3, false);
    c->ymm[12] = 0x123456789abcdef0;
    i.imm = 12;
    i.imm2 = 8;
    assert_int_equal(run(i), -1);
    assert_int_equal(c->ymm[12], 0xcde);
    i = insn_reg(INSN_INSERTQ_Vdq_Uq_Ib_I2b, 3, 4, false);
    c->ymm[12] = ~0ull;
    c->ymm[16] = 0x5a;
    i.imm = 8;
    i.imm2 = 16;
    assert_int_equal(run(i), -1);
    assert_int_equal(c->ymm[12], 0xffffffffff5affff);
    c->ymm[16] = 0; /* length 0 is 64 */
    c->ymm[12] = 0x123456789abcdef0;
    i = insn_reg(INSN_EXTRQ_Vdq_Udq, 3, 4, false);
    assert_int_equal(run(i), -1);
    assert_int_equal(c->ymm[12], 0x123456789abcdef0);
}

/* More instructions than the cache has room for: it starts anew, and results stay right. */
static void test_cache_overflow(void **state)
{
    static const u16 rows[] = {INSN_PSHUFD_Vdq_Wdq_Ib,  INSN_PSHUFLW_Vdq_Wdq_Ib, INSN_PSHUFHW_Vdq_Wdq_Ib,
                               INSN_SHUFPS_Vdq_Wdq_Ib,  INSN_SHUFPD_Vdq_Wdq_Ib,  INSN_PALIGNR_Vdq_Wdq_Ib,
                               INSN_PBLENDW_Vdq_Wdq_Ib, INSN_BLENDPS_Vdq_Wdq_Ib, INSN_BLENDPD_Vdq_Wdq_Ib,
                               INSN_MPSADBW_Vdq_Wdq_Ib, INSN_DPPS_Vdq_Wdq_Ib,    INSN_DPPD_Vdq_Wdq_Ib};
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++)
        for (unsigned imm = 0; imm < 256; imm++)
            op(rows[n], 1, 2, (u8)imm);
    set_lanes(2, 0, 1, 2, 3);
    for (unsigned imm = 0; imm < 256; imm++) {
        op(INSN_PSHUFD_Vdq_Wdq_Ib, 1, 2, (u8)imm);
        for (unsigned k = 0; k < 4; k++)
            assert_int_equal(lane(1, k), imm >> 2 * k & 3);
    }
}

/* Unmasked division by zero: #XM, or #UD without OSXMMEXCPT; the destination stays. */
static void test_unmasked(void **state)
{
    set_lanes(1, 0x3f800000, 0, 0, 0);
    set_lanes(2, 0, 0, 0, 0);
    c->mxcsr = 0x1f80 & ~0x200u;
    struct insn i = insn_reg(INSN_DIVSS_Vdq_Wd, 1, 2, false);
    assert_int_equal(run(i), EXC_XM);
    assert_int_equal(lane(1, 0), 0x3f800000);
    assert_int_equal(c->mxcsr, (0x1f80 & ~0x200u) | 4);
    c->cr4 &= ~CR4_OSXMMEXCPT;
    assert_int_equal(run(i), EXC_UD);
    c->cr4 |= CR4_OSXMMEXCPT;
    c->mxcsr = 0x1f80;
    assert_int_equal(run(i), -1);
    assert_int_equal(lane(1, 0), 0x7f800000);
}

static void test_code_area(void **state)
{
    struct error err;
    static const u8 forty_two[] = {0xb8, 42, 0, 0, 0, 0xc3}, seven = 7;
    struct code_area *a = code_create(100, &err);
    assert_non_null(a);
    const void *at = code_add(a, forty_two, sizeof(forty_two));
    assert_non_null(at);
    assert_int_equal(((int (*)(void))(uintptr_t)at)(), 42);
    code_patch(a, (const u8 *)at + 1, &seven, 1);
    assert_int_equal(((int (*)(void))(uintptr_t)at)(), 7);
    unsigned added = 1;
    while (code_add(a, forty_two, sizeof(forty_two)))
        added++;
    assert_int_equal(added, 4096 / 32);
    code_reset(a, 0);
    assert_int_equal(code_used(a), 0);
    assert_ptr_equal(code_add(a, forty_two, sizeof(forty_two)), at);
    code_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),    cmocka_unit_test(test_sha1),           cmocka_unit_test(test_halves),
        cmocka_unit_test(test_sse4a),     cmocka_unit_test(test_cache_overflow), cmocka_unit_test(test_unmasked),
        cmocka_unit_test(test_code_area),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
