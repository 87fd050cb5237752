/*
 * What the device tests share: a loop whose time the test moves, ports and memory around the device, and lines that
 * remember what happened to them.
 */
#ifndef TESTS_DEVICE_BENCH_H
#define TESTS_DEVICE_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "dev/dev.h"
#include "event/clock.h"
#include "event/door.h"
#include "event/loop.h"
#include "irq/line.h"
#include "mem/space.h"

#define US     1000ull
#define MS     1000000ull
#define SECOND 1000000000ull

/* A wire under test. */
struct probe {
    struct loop *loop;
    bool level;
    unsigned rises;
    u64 last_rise;
};

static inline void probe_set(void *opaque, unsigned n, bool level)
{
    struct probe *p = opaque;
    (void)n;
    if (level && !p->level) {
        p->rises++;
        p->last_rise = p->loop ? door_time(p->loop) : 0;
    }
    p->level = level;
}

static inline struct irq_line probe_line(struct probe *p)
{
    return (struct irq_line){.set = probe_set, .opaque = p};
}

/* Rises since the last call. */
static inline unsigned probe_take(struct probe *p)
{
    unsigned n = p->rises;
    p->rises = 0;
    return n;
}

/* 2024-02-28 23:59:58 UTC, a Wednesday before a leap day. */
#define BENCH_WALL (1709164798ull * SECOND)

static inline struct loop *bench_loop(void)
{
    struct loop *l = loop_create();
    assert_non_null(l);
    loop_set_manual(l, BENCH_WALL);
    return l;
}

static inline struct mem_space *bench_mem(struct loop *l)
{
    struct mem_space *mem = mem_space_create(l, MiB(2), MiB(2), NULL);
    assert_non_null(mem);
    return mem;
}

/* Saves `from` and loads the result into `to`, another device of the same class. */
static inline void bench_copy_state(struct dev *from, struct dev *to)
{
    struct state_stream s = {0};
    if (from->cls->saving)
        from->cls->saving(from);
    assert_int_equal(state_save(&s, from->cls->state, from->cls->get_state(from)), 0);
    assert_int_equal(state_load(&s, to->cls->state, to->cls->get_state(to), NULL), 0);
    if (to->cls->loaded)
        to->cls->loaded(to);
    state_stream_free(&s);
}

#endif
