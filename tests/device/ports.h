/*
 * More for tests that reach a device through its ports, as a guest does: a space of its own with a loop whose time
 * stands.
 */
#ifndef TESTS_DEVICE_PORTS_H
#define TESTS_DEVICE_PORTS_H

#include "bench.h"

struct board {
    struct loop *loop;
    struct mem_space *mem;
    unsigned resets;
};

static inline void board_open(struct board *b)
{
    *b = (struct board){.loop = bench_loop()};
    b->mem = bench_mem(b->loop);
}

static inline void board_close(struct board *b)
{
    mem_space_destroy(b->mem);
    loop_destroy(b->loop);
}

static inline void board_destroy_dev(struct board *b, void *dev)
{
    loop_lock(b->loop);
    ((struct dev *)dev)->cls->destroy(dev);
    loop_unlock(b->loop);
}

static inline void board_reset_dev(struct board *b, void *dev)
{
    loop_lock(b->loop);
    ((struct dev *)dev)->cls->reset(dev);
    loop_unlock(b->loop);
}

/* For a device's `reset` callback. */
static inline void board_count_reset(void *opaque)
{
    ((struct board *)opaque)->resets++;
}

static inline u8 inb(const struct board *b, u16 port)
{
    return (u8)mem_port_read(b->mem, port, 1);
}

static inline u16 inw(const struct board *b, u16 port)
{
    return (u16)mem_port_read(b->mem, port, 2);
}

static inline u32 inl(const struct board *b, u16 port)
{
    return mem_port_read(b->mem, port, 4);
}

static inline void outb(const struct board *b, u16 port, u8 v)
{
    mem_port_write(b->mem, port, v, 1);
}

static inline void outw(const struct board *b, u16 port, u16 v)
{
    mem_port_write(b->mem, port, v, 2);
}

static inline void outl(const struct board *b, u16 port, u32 v)
{
    mem_port_write(b->mem, port, v, 4);
}

#endif
