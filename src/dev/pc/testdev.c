/* pc-testdev. See testdev.h. */
#include "dev/pc/testdev.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#define MEMORY_SIZE 0x10000
#define MEMORY_BASE 0xff000000

#define TESTDEV_STATE(F, A, S)                                                                                         \
    F(u32, latch, 1)                                                                                                   \
    A(bool, level, TESTDEV_LINES, 1)                                                                                   \
    A(u8, memory, MEMORY_SIZE, 1)
STATE_DECLARE(testdev_state, TESTDEV_STATE)
STATE_DEFINE(testdev_state, TESTDEV_STATE, 1)

enum { WIN_LATCH, WIN_FLUSH, WIN_BYTES, WIN_LINES, WIN_PORTS };

struct testdev {
    struct dev dev;
    struct testdev_state s;
    struct testdev_config cfg;
    struct mem_window port[WIN_PORTS];
    struct mem_window memory;
};

static u64 latch_read(void *opaque, u64 off, unsigned size)
{
    const struct testdev *t = opaque;

    return bits(t->s.latch, (unsigned)(8 * off) + 8 * size - 1, (unsigned)(8 * off));
}

static void latch_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct testdev *t = opaque;
    u64 mask = (~0ull >> (64 - 8 * size)) << (8 * off);

    t->s.latch = (u32)((t->s.latch & ~mask) | (value << (8 * off) & mask));
}

static u64 ones_read(void *opaque, u64 off, unsigned size)
{
    return ~0ull;
}

static void flush_write(void *opaque, u64 off, u64 value, unsigned size)
{
}

static void lines_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct testdev *t = opaque;

    t->s.level[off] = value != 0;
    irq_set(&t->cfg.line[off], t->s.level[off]);
}

static u64 memory_read(void *opaque, u64 off, unsigned size)
{
    const struct testdev *t = opaque;
    u64 value = 0;

    memcpy(&value, t->s.memory + off, size);
    return value;
}

static void memory_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct testdev *t = opaque;

    memcpy(t->s.memory + off, &value, size);
}

static const struct mem_window_ops port_ops[WIN_PORTS] = {
    [WIN_LATCH] = {latch_read, latch_write, 1, 4},
    [WIN_FLUSH] = {ones_read, flush_write, 1, 4},
    [WIN_BYTES] = {latch_read, latch_write, 1, 1},
    [WIN_LINES] = {ones_read, lines_write, 1, 1},
};

static const struct {
    u16 port;
    u8 size;
} port_place[WIN_PORTS] = {{0xe0, 4}, {0xe4, 4}, {0xe8, 4}, {0x2000, TESTDEV_LINES}};

static const struct mem_window_ops memory_ops = {memory_read, memory_write, 1, 8};

static void *testdev_get_state(struct dev *d)
{
    return &((struct testdev *)d)->s;
}

static void lines_update(struct dev *d)
{
    struct testdev *t = (struct testdev *)d;

    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        irq_set(&t->cfg.line[i], t->s.level[i]);
}

static void testdev_reset(struct dev *d)
{
    struct testdev *t = (struct testdev *)d;

    memset(&t->s, 0, sizeof(t->s));
    lines_update(d);
}

static void testdev_destroy(struct dev *d)
{
    struct testdev *t = (struct testdev *)d;

    for (unsigned i = 0; i < WIN_PORTS; i++) {
        if (t->port[i].mapped)
            mem_port_unmap(t->cfg.mem, &t->port[i]);
    }
    if (t->memory.mapped)
        mem_window_unmap(t->cfg.mem, &t->memory);
    free(t);
}

static const struct dev_class testdev_class = {
    .name = "testdev",
    .state = &testdev_state_class,
    .get_state = testdev_get_state,
    .reset = testdev_reset,
    .loaded = lines_update,
    .destroy = testdev_destroy,
};

static int testdev_map(struct testdev *t)
{
    int status = 0;

    for (unsigned i = 0; i < WIN_PORTS && !status; i++) {
        t->port[i] =
            (struct mem_window){.ops = &port_ops[i], .opaque = t, .name = "testdev", .size = port_place[i].size};
        status = mem_port_map(t->cfg.mem, &t->port[i], port_place[i].port);
    }
    t->memory = (struct mem_window){.ops = &memory_ops, .opaque = t, .name = "testdev-memory", .size = MEMORY_SIZE};
    return status ? status : mem_window_map(t->cfg.mem, &t->memory, MEMORY_BASE);
}

struct testdev *testdev_create(const struct testdev_config *cfg, struct error *err)
{
    struct testdev *t = calloc(1, sizeof(*t));

    if (!t) {
        error_set(err, -ENOMEM, "testdev: out of memory");
        return NULL;
    }
    t->dev.cls = &testdev_class;
    t->cfg = *cfg;
    if (testdev_map(t)) {
        error_set(err, -ENOMEM, "testdev: cannot map its windows");
        testdev_destroy(&t->dev);
        return NULL;
    }
    return t;
}
