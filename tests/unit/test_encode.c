/*
 * isa/encode.h: what is decoded from random bytes, encoded and decoded again is the same instruction; and every row is
 * met.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../seed.h"
#include "isa/encode.h"

static u64 next(u64 *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * 0x2545f4914f6cdd1dull;
}

static u64 new_seed(void)
{
    u64 seed = seed_choose();
    print_message("seed %llu\n", (unsigned long long)seed);
    return (seed * 0x9e3779b97f4a7c15ull) | 1;
}

/* Random bytes behind a random start of the kind that leads to each opcode map. */
static void make_bytes(u64 *seed, u8 b[16])
{
    static const struct {
        u8 len, byte[4];
    } starts[] = {
        {0, {0}},    {1, {0x0f}}, {2, {0x0f, 0x38}}, {2, {0x0f, 0x3a}},
        {1, {0xc4}}, {1, {0xc5}}, {1, {0xc4}},       {2, {0x0f, 0xae}},
    };
    static const u8 prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0x64, 0xf0, 0x2e, 0x66};
    u64 r = next(seed);
    unsigned n = 0;
    for (unsigned i = 0; i < 16; i += 8) {
        u64 v = next(seed);
        memcpy(b + i, &v, 8);
    }
    if (r & 1)
        b[n++] = prefixes[r >> 8 & 7];
    if ((r & 6) == 6)
        b[n++] = prefixes[r >> 11 & 7];
    if (r & 8)
        b[n++] = 0x40 | (r >> 16 & 15);
    unsigned s = r >> 20 & 7;
    memcpy(b + n, starts[s].byte, starts[s].len);
    n += starts[s].len;
    if (s == 4 || s == 6)
        b[n] = (b[n] & 0xe0) | (1 + (r >> 24) % 3) | (r >> 32 & 1) * 0xc0;
    if (s == 4) /* vvvv that names nothing, so that rows without it are met often */
        b[n + 1] |= 0x78;
    if ((s == 4 || s == 6) && r >> 33 & 1)
        b[n + 1] = (b[n + 1] & 0xfc) | 1;
}

static bool same(const struct insn *a, const struct insn *b)
{
    return a->row == b->row && a->imm == b->imm && a->disp == b->disp && a->imm2 == b->imm2 && a->opsize == b->opsize &&
           a->ashift == b->ashift && a->reg == b->reg && a->rm == b->rm && a->base == b->base && a->index == b->index &&
           a->scale == b->scale && a->seg == b->seg && a->vvvv == b->vvvv && a->mem == b->mem && a->lock == b->lock &&
           a->rep == b->rep && a->vl == b->vl && a->mode == b->mode && a->prefix66 == b->prefix66 &&
           a->opcode == b->opcode;
}

static void fail_bytes(const char *what, const u8 *b, unsigned len, const struct insn *i)
{
    char text[64] = "";
    for (unsigned n = 0; n < len; n++)
        snprintf(text + 3 * n, 4, "%02x ", b[n]);
    fail_msg("%s: %s(%s, mode %u)", what, text, isa_rows[i->row].name, i->mode);
}

static void check(const u8 b[16], enum isa_mode mode, const struct isa_features *all, u32 *met)
{
    struct insn i, again;
    u8 out[INSN_MAX_BYTES];
    if (insn_decode(b, 15, mode, all, &i))
        return;
    met[i.row]++;
    unsigned len = insn_encode(&i, out);
    if (!len || len > i.len + 1u) /* [disp32] takes a SIB byte in 64-bit code only */
        fail_bytes(len ? "longer than it was" : "not encoded", b, i.len, &i);
    if (insn_decode(out, len, mode, all, &again) || again.len != len || !same(&i, &again)) {
        print_message("came out as:");
        for (unsigned n = 0; n < len; n++)
            print_message(" %02x", out[n]);
        fail_bytes("\nchanged", b, i.len, &i);
    }
}

static void test_roundtrip(void **state)
{
    static const enum isa_mode modes[] = {ISA_16, ISA_32, ISA_64, ISA_64};
    static u32 met[INSN_COUNT];
    struct isa_features all;
    u64 seed = new_seed();
    memset(&all, 0xff, sizeof(all));
    for (unsigned n = 0; n < 3000000; n++) {
        u8 b[16];
        make_bytes(&seed, b);
        check(b, modes[next(&seed) & 3], &all, met);
    }
    unsigned missing = 0;
    for (unsigned row = 0; row < INSN_COUNT; row++)
        if (!met[row] && ++missing)
            print_message("not met: %s\n", isa_rows[row].name);
    assert_in_range(missing, 0, 40); /* chance: a handful is missed each time */
}

static void test_make(void **state)
{
    u8 out[INSN_MAX_BYTES];
    struct insn i =
        insn_mem(INSN_MOVUPS_Vdq_Wdq, 9, (struct insn_ea){.base = 7, .index = 6, .scale = 3, .disp = 0x100}, false);
    static const u8 movups[] = {0x44, 0x0f, 0x10, 0x8c, 0xf7, 0x00, 0x01, 0x00, 0x00};
    assert_int_equal(insn_encode(&i, out), sizeof(movups));
    assert_memory_equal(out, movups, sizeof(movups));
    i = insn_reg(INSN_VADDPS_Vx_Hx_Wx, 1, 2, false);
    i.vvvv = 3;
    i.vl = 1;
    static const u8 vaddps[] = {0xc5, 0xe4, 0x58, 0xca};
    assert_int_equal(insn_encode(&i, out), sizeof(vaddps));
    assert_memory_equal(out, vaddps, sizeof(vaddps));
}

static void test_refused(void **state)
{
    u8 out[INSN_MAX_BYTES];
    struct insn i = insn_mem(INSN_MOVUPS_Vdq_Wdq, 0, (struct insn_ea){.base = 0, .index = 4}, false);
    assert_int_equal(insn_encode(&i, out), 0); /* SP is no index */
    i = insn_reg(INSN_MOVUPS_Vdq_Wdq, 9, 0, false);
    i.mode = ISA_32;
    assert_int_equal(insn_encode(&i, out), 0); /* XMM9 in 32-bit code */
    i = insn_mem(INSN_MOVUPS_Vdq_Wdq, 0, (struct insn_ea){.base = 0, .index = REG_ZERO}, false);
    i.disp = 1ll << 31;
    assert_int_equal(insn_encode(&i, out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_make),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
