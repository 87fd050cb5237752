/*
 * Frames: sums against a plain one, where headers are, segments that are cut, and headers that lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"
#include "backend/net/frame.h"
#include "base/bits.h"

#define MSS     1000u
#define L3      14u
#define PAYLOAD 4321u

/* As RFC 1071 has it. */
static unsigned plain_sum(const u8 *p, size_t len, unsigned sum)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? p[i] : (unsigned)p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static unsigned be16(const u8 *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static void put_be(u8 *p, unsigned v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

/* A TCP packet with CWR, PSH and FIN; its length. */
static size_t make_tcp(u8 *f, unsigned version, size_t payload)
{
    size_t l4 = L3 + (version == 4 ? 20 : 40), len = l4 + 20 + payload;
    memset(f, 0, l4 + 20);
    put_be(f + 12, version == 4 ? 0x0800 : 0x86dd);
    u8 *ip = f + L3, *tcp = f + l4;
    if (version == 4) {
        ip[0] = 0x45;
        put_be(ip + 2, (unsigned)(len - L3));
        put_be(ip + 4, 0x1234);
        ip[8] = 64;
        ip[9] = FRAME_TCP;
        memcpy(ip + 12, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
    } else {
        ip[0] = 0x60;
        put_be(ip + 4, (unsigned)(len - l4));
        ip[6] = FRAME_TCP;
        ip[8] = 0xfe;
        ip[24] = 0xfd;
    }
    put_be(tcp, 1000);
    put_be(tcp + 2, 80);
    tcp[7] = 5; /* sequence number */
    tcp[12] = 5 << 4;
    tcp[13] = 0x80 | 0x10 | 0x08 | 0x01;
    for (size_t i = 0; i < payload; i++)
        f[l4 + 20 + i] = (u8)(i * 7 + (i >> 8));
    return len;
}

/* With the pseudo-header's sum in place, as a driver leaves it. */
static struct frame_header make_gso(u8 *f, unsigned version, size_t len)
{
    struct frame_layout l;
    assert_true(frame_parse(f, len, &l));
    put_u16(f + l.l4 + 16, frame_pseudo_sum(f, &l, len - l.l4));
    return (struct frame_header){.flags = FRAME_NEEDS_CSUM,
                                 .gso_type = (version == 4 ? FRAME_GSO_TCPV4 : FRAME_GSO_TCPV6) | FRAME_GSO_ECN,
                                 .hdr_len = (u16)l.payload,
                                 .gso_size = MSS,
                                 .csum_start = (u16)l.l4,
                                 .csum_offset = 16};
}

/* All sums of a packet are right. */
static void expect_sums(const u8 *f, size_t len)
{
    struct frame_layout l;
    u8 pseudo[40] = {0};
    size_t addresses;
    assert_true(frame_parse(f, len, &l));
    assert_int_equal(l.end, len);
    if (l.version == 4) {
        assert_int_equal(plain_sum(f + L3, 20, 0), 0xffff);
        memcpy(pseudo, f + L3 + 12, addresses = 8);
    } else {
        memcpy(pseudo, f + L3 + 8, addresses = 32);
    }
    unsigned sum = plain_sum(pseudo, addresses, FRAME_TCP + (unsigned)(len - l.l4));
    assert_int_equal(plain_sum(f + l.l4, len - l.l4, sum), 0xffff);
}

static void test_sum(void **state)
{
    u8 bytes[300];
    u64 seed = seed_choose();
    print_message("seed %llu\n", (unsigned long long)seed);
    srandom((unsigned)seed);
    for (unsigned n = 0; n < 20000; n++) {
        size_t len = (size_t)random() % 200, at = (size_t)random() % 64;
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = n % 3 ? (u8)random() : 0xff;
        u16 start = (u16)random();
        u8 swapped[2] = {(u8)start, (u8)(start >> 8)};
        unsigned want = plain_sum(bytes + at, len, be16(swapped));
        u16 sum = frame_sum(bytes + at, len, start);
        unsigned got = be16((const u8 *)&sum);
        assert_true(got == want || (got % 0xffff == 0 && want % 0xffff == 0));
    }
}

static void test_cut(void **state)
{
    static u8 f[FRAME_MAX], original[FRAME_MAX];
    for (unsigned version = 4; version <= 6; version += 2) {
        size_t len = make_tcp(f, version, PAYLOAD), headers = len - PAYLOAD, size, done = 0;
        struct frame_header h = make_gso(f, version, len), out;
        struct frame_split s;
        u8 *piece;
        memcpy(original, f, len);
        assert_true(frame_check(&h, f, len));
        assert_int_equal(frame_needs(&h),
                         FRAME_CAN_CSUM | FRAME_CAN_ECN | (version == 4 ? FRAME_CAN_TSO4 : FRAME_CAN_TSO6));
        assert_true(frame_split_begin(&s, &h, f, len, FRAME_CAN_CSUM));
        for (unsigned n = 0; frame_next(&s, &out, &piece, &size); n++) {
            bool last = done + size - headers == PAYLOAD;
            assert_int_equal(frame_needs(&out), 0);
            expect_sums(piece, size);
            assert_memory_equal(piece + headers, original + headers + done, size - headers);
            assert_int_equal(be16(piece + headers - 20 + 6), 5 + done);
            assert_int_equal(piece[headers - 20 + 13], 0x10 | (last ? 0x09 : 0) | (n == 0 ? 0x80 : 0));
            if (version == 4)
                assert_int_equal(be16(piece + L3 + 4), 0x1234 + n);
            done += size - headers;
        }
        assert_int_equal(done, PAYLOAD);
    }
}

static void test_whole(void **state)
{
    static u8 f[FRAME_MAX];
    struct frame_header h, out;
    struct frame_split s;
    size_t len = make_tcp(f, 4, 100), size;
    u8 *piece;
    h = make_gso(f, 4, len);
    assert_true(frame_split_begin(&s, &h, f, len, FRAME_CAN_ALL)); /* as it is */
    assert_true(frame_next(&s, &out, &piece, &size));
    assert_ptr_equal(piece, f);
    assert_int_equal(size, len);
    assert_memory_equal(&out, &h, sizeof(h));
    assert_false(frame_next(&s, &out, &piece, &size));
    h.gso_type = FRAME_GSO_NONE;
    h.gso_size = 0;
    put_be(f + L3 + 10, 0xffff & ~plain_sum(f + L3, 20, 0));
    assert_true(frame_split_begin(&s, &h, f, len, 0)); /* with its sum */
    assert_true(frame_next(&s, &out, &piece, &size));
    assert_int_equal(out.flags, 0);
    expect_sums(piece, size);
}

static void test_layout(void **state)
{
    static u8 f[FRAME_MAX], tagged[FRAME_MAX];
    struct frame_layout l;
    size_t len = make_tcp(f, 6, 10);
    memcpy(tagged, f, 12);
    put_be(tagged + 12, 0x88a8);
    put_be(tagged + 16, 0x8100);
    memcpy(tagged + 20, f + 12, len - 12);
    assert_true(frame_parse(tagged, len + 8, &l));
    assert_int_equal(l.l3, 22);
    assert_int_equal(l.l4, 62);
    assert_int_equal(l.payload, 82);
    len = make_tcp(f, 4, 10);
    f[L3 + 6] = 0x20; /* a fragment */
    assert_true(frame_parse(f, len + 6, &l));
    assert_int_equal(l.l4, 0);
    assert_int_equal(l.end, len);
    put_be(f + 12, 0x0806); /* ARP */
    assert_true(frame_parse(f, len, &l));
    assert_int_equal(l.version, 0);
    assert_false(frame_parse(f, 13, &l));
}

/* Each makes nonsense of a header that was good. */
static void test_lies(void **state)
{
    static u8 f[FRAME_MAX];
    size_t len = make_tcp(f, 4, PAYLOAD);
    const struct frame_header good = make_gso(f, 4, len);
    struct frame_header h = good;
    assert_true(frame_check(&h, f, len));
    h.gso_size = 0;
    assert_false(frame_header_good(&h, len));
    h = good;
    h.csum_start = (u16)(len - 1);
    assert_false(frame_header_good(&h, len));
    h.csum_start = h.csum_offset = 0xffff;
    assert_false(frame_header_good(&h, len));
    h = good;
    h.flags = 0;
    assert_false(frame_header_good(&h, len));
    h = good;
    h.gso_type = FRAME_GSO_ECN; /* of nothing */
    h.gso_size = 0;
    assert_false(frame_header_good(&h, len));
    h = good;
    h.gso_type = 3;
    assert_false(frame_header_good(&h, len));
    h.gso_type = FRAME_GSO_TCPV6;
    assert_false(frame_check(&h, f, len));
    h = good;
    h.csum_start++;
    assert_false(frame_check(&h, f, len));
    h = good;
    h.csum_offset = 6;
    assert_false(frame_check(&h, f, len));
    assert_false(frame_check(&good, f, len - 1));
    assert_false(frame_check(&good, f, len + 1));
    assert_false(frame_header_good(&good, 13));
    assert_false(frame_header_good(&good, FRAME_MAX + 1));
    f[L3] = 0x44;
    assert_false(frame_check(&good, f, len));
    f[L3] = 0x4f;
    assert_false(frame_check(&good, f, len));
}

/* Random damage: nothing outside the frame is touched (the sanitizers look), and what is cut adds up. */
static void test_damage(void **state)
{
    u8 *f = malloc(FRAME_MAX);
    assert_non_null(f);
    u64 seed = seed_choose();
    print_message("seed %llu\n", (unsigned long long)seed);
    srandom((unsigned)seed);
    for (unsigned n = 0; n < 20000; n++) {
        unsigned version = n & 1 ? 4 : 6;
        size_t len = make_tcp(f, version, (size_t)random() % 3000), size;
        struct frame_header h = make_gso(f, version, len), out;
        struct frame_split s;
        u8 *piece;
        for (long damage = random() % 3; damage > 0; damage--)
            f[random() % 80] = (u8)random();
        if (n & 2)
            ((u8 *)&h)[random() % (long)sizeof(h)] = (u8)random();
        if (n & 4)
            len -= (size_t)random() % (len - 14);
        u8 *exact = malloc(len);
        assert_non_null(exact);
        memcpy(exact, f, len);
        if (frame_check(&h, exact, len) && frame_split_begin(&s, &h, exact, len, (unsigned)random() & FRAME_CAN_ALL))
            while (frame_next(&s, &out, &piece, &size))
                assert_true(piece >= exact && piece + size <= exact + len);
        free(exact);
    }
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),    cmocka_unit_test(test_cut),  cmocka_unit_test(test_whole),
        cmocka_unit_test(test_layout), cmocka_unit_test(test_lies), cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
