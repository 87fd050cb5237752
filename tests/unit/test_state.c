/*
 * Declared state: round trip of every type, older streams, streams that lie, showing and comparing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../seed.h"
#include "base/bits.h"
#include "state/state.h"

/* Two classes in one file: the inner one's descriptors are written by hand, as STATE_DEFINE goes once a file. */
#define INNER_STATE(F, A, S)                                                                                           \
    F(u16, sel, 1)                                                                                                     \
    F(bool, on, 1)
STATE_DECLARE(inner, INNER_STATE)
static const struct state_field inner_fields[] = {
    {"sel", offsetof(struct inner, sel), 1, 1, STATE_T_u16, NULL},
    {"on", offsetof(struct inner, on), 1, 1, STATE_T_bool, NULL},
};
const struct state_class inner_class = {"inner", 1, sizeof(struct inner), 2, inner_fields};

#define ALL_STATE(F, A, S)                                                                                             \
    F(u8, a, 1)                                                                                                        \
    F(i8, b, 1)                                                                                                        \
    F(u16, c, 1)                                                                                                       \
    F(i16, d, 1)                                                                                                       \
    F(u32, e, 1)                                                                                                       \
    F(i32, f, 1)                                                                                                       \
    F(u64, g, 1)                                                                                                       \
    F(i64, h, 1)                                                                                                       \
    F(bool, i, 1)                                                                                                      \
    A(u32, arr, 5, 1)                                                                                                  \
    A(bool, flags, 3, 1)                                                                                               \
    S(inner, in, 2, 1)                                                                                                 \
    F(u32, late, 2)
STATE_DECLARE(all, ALL_STATE)
STATE_DEFINE(all, ALL_STATE, 2)

/* What a program of version 1 would have known. */
static const struct state_class all_v1 = {"all", 1, sizeof(struct all), ARRAY_SIZE(all_fields) - 1, all_fields};

static struct all sample(void)
{
    return (struct all){.a = 1,
                        .b = -2,
                        .c = 0x304,
                        .d = -5,
                        .e = 0xdeadbeef,
                        .f = INT32_MIN,
                        .g = 0x0123456789abcdef,
                        .h = INT64_MIN,
                        .i = true,
                        .arr = {9, 8, 7, 6, 5},
                        .flags = {true, false, true},
                        .in = {{0x10, true}, {0x20, false}},
                        .late = 77};
}

static void save(struct state_stream *s, const struct state_class *cls, const void *object)
{
    assert_int_equal(state_save(s, cls, object), 0);
}

static void test_round_trip(void **unused)
{
    struct all from = sample(), to = {0};
    struct state_stream s = {0}, again = {0};
    char where[64];

    save(&s, &all_class, &from);
    save(&s, &inner_class, &from.in[0]);
    assert_int_equal(state_load(&s, &all_class, &to, NULL), 0);
    assert_false(state_differs(&all_class, &from, &to, where, sizeof(where)));
    struct inner in = {0};
    assert_int_equal(state_load(&s, &inner_class, &in, NULL), 0);
    assert_int_equal(in.sel, 0x10);
    assert_int_equal(s.pos, s.size);

    save(&again, &all_class, &to);
    save(&again, &inner_class, &in);
    assert_int_equal(again.size, s.size);
    assert_memory_equal(again.data, s.data, s.size);
    state_stream_free(&s);
    state_stream_free(&again);
}

static void test_layout(void **unused)
{
    static const u8 want[] = {5, 'i', 'n', 'n', 'e', 'r', 1, 0, 0, 0, 3, 0, 0, 0, 0x34, 0x12, 1};
    struct inner in = {.sel = 0x1234, .on = true};
    struct state_stream s = {0};
    save(&s, &inner_class, &in);
    assert_int_equal(s.size, sizeof(want));
    assert_memory_equal(s.data, want, sizeof(want));
    state_stream_free(&s);
}

static void test_older_stream(void **unused)
{
    struct all from = sample(), to = {.late = 5};
    struct state_stream s = {0};
    save(&s, &all_v1, &from);
    assert_int_equal(state_load(&s, &all_class, &to, NULL), 0);
    assert_int_equal(to.late, 5);
    assert_int_equal(to.g, from.g);
    state_stream_free(&s);
}

static void refused(struct state_stream *s, const struct state_class *cls, const char *with)
{
    struct all to = {0};
    struct error err = {0};
    s->pos = 0;
    assert_int_equal(state_load(s, cls, &to, &err), -EINVAL);
    if (!strstr(err.text, with))
        fail_msg("\"%s\" does not say \"%s\"", err.text, with);
}

static void test_refusals(void **unused)
{
    struct all from = sample();
    struct state_stream s = {0};
    save(&s, &all_class, &from);
    size_t body = 1 + 3 + 4 + 4, size = s.size;

    refused(&s, &inner_class, "something else");
    refused(&s, &all_v1, "version 2");
    for (size_t cut = 0; cut < size; cut++) {
        s.size = cut;
        refused(&s, &all_class, "ends inside");
    }
    s.size = size;
    s.data[body + 30] = 2; /* the bool `i` follows 30 bytes of integers */
    refused(&s, &all_class, "0 or 1");
    s.data[body + 30] = 1;

    u32 length = get_u32(s.data + body - 4);
    put_u32(s.data + body - 4, length - 1);
    refused(&s, &all_class, "ends inside");
    put_u32(s.data + body - 4, UINT32_MAX);
    refused(&s, &all_class, "ends inside");
    put_u32(s.data + 4, 1); /* claims to be older: the last field is too much */
    put_u32(s.data + body - 4, length);
    refused(&s, &all_class, "too many");
    put_u32(s.data + 4, 0);
    refused(&s, &all_class, "version 0");
    state_stream_free(&s);
}

/* Random damage: never a crash, and what loads is well formed. */
static void test_random_streams(void **unused)
{
    unsigned seed = (unsigned)seed_choose();
    print_message("seed %u\n", seed);
    srand(seed);
    struct all from = sample();
    struct state_stream s = {0};
    save(&s, &all_class, &from);
    for (int round = 0; round < 20000; round++) {
        struct state_stream bad = {.data = malloc(s.size), .size = (size_t)rand() % s.size + 1};
        memcpy(bad.data, s.data, bad.size);
        for (int n = rand() % 4; n >= 0; n--)
            bad.data[(size_t)rand() % bad.size] = (u8)rand();
        struct all to = {0};
        struct error err;
        if (!state_load(&bad, &all_class, &to, &err))
            assert_true(*(u8 *)&to.i <= 1 && *(u8 *)&to.in[1].on <= 1);
        free(bad.data);
    }
    state_stream_free(&s);
}

struct lines {
    char text[1024];
};

static void collect(void *opaque, const char *line)
{
    struct lines *l = opaque;
    strcat(strcat(l->text, line), "\n");
}

static void test_show(void **unused)
{
    struct all o = sample();
    struct lines l = {{0}};
    state_show(&all_class, &o, collect, &l);
    assert_non_null(strstr(l.text, "a=0x1\n"));
    assert_non_null(strstr(l.text, "b=0xfe\n"));
    assert_non_null(strstr(l.text, "arr[1]=0x8\n"));
    assert_non_null(strstr(l.text, "in[1].sel=0x20\n"));
}

static void test_differs(void **unused)
{
    struct all a = sample(), b = sample();
    char where[64] = "";
    assert_false(state_differs(&all_class, &a, &b, where, sizeof(where)));
    b.late = 0;
    assert_true(state_differs(&all_class, &a, &b, where, sizeof(where)));
    assert_string_equal(where, "late");
    b.in[1].on = true;
    assert_true(state_differs(&all_class, &a, &b, where, sizeof(where)));
    assert_string_equal(where, "in[1].on");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_layout),         cmocka_unit_test(test_older_stream),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_random_streams), cmocka_unit_test(test_show),
        cmocka_unit_test(test_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
