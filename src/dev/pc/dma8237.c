/* See dma8237.h. Register numbers of the 8237A data sheet; the second controller's lie two ports apart. */
#include "dev/pc/dma8237.h"

#include <stdlib.h>

#include "base/bits.h"

#define CHANNELS    4
#define CONTROLLERS 2
#define PAGES       16

#define DMA8237_STATE(F, A, S)                                                                                         \
    A(u16, address, CONTROLLERS *CHANNELS, 1)                                                                          \
    A(u16, count, CONTROLLERS *CHANNELS, 1)                                                                            \
    A(u8, command, CONTROLLERS, 1)                                                                                     \
    A(u8, mask, CONTROLLERS, 1)                                                                                        \
    A(bool, flip_flop, CONTROLLERS, 1) /* the next byte is the high one */                                             \
    A(u8, page, PAGES, 1)
STATE_DECLARE(dma8237_state, DMA8237_STATE)
STATE_DEFINE(dma8237_state, DMA8237_STATE, 1)

enum {
    REG_CHANNEL_END = 8, /* 0-7: address and count of the four channels */
    REG_COMMAND = 8,     /* status when read */
    REG_REQUEST = 9,
    REG_SINGLE_MASK = 10,
    REG_MODE = 11,
    REG_CLEAR_FLIP_FLOP = 12,
    REG_MASTER_CLEAR = 13,
    REG_CLEAR_MASK = 14,
    REG_ALL_MASK = 15,
};

enum { WIN_CHIP0, WIN_CHIP1, WIN_PAGE, WINDOWS };

static const struct {
    u16 port, size;
} place[WINDOWS] = {{0x00, 16}, {0xc0, 32}, {0x80, PAGES}};

struct dma8237 {
    struct dev dev;
    struct dma8237_state s;
    struct dma8237_config cfg;
    struct mem_window window[WINDOWS];
};

static u16 *channel_reg(struct dma8237 *d, unsigned chip, unsigned reg)
{
    unsigned channel = chip * CHANNELS + reg / 2;

    return reg & 1 ? &d->s.count[channel] : &d->s.address[channel];
}

static u8 chip_read(struct dma8237 *d, unsigned chip, unsigned reg)
{
    if (reg < REG_CHANNEL_END) {
        unsigned shift = d->s.flip_flop[chip] ? 8 : 0;
        d->s.flip_flop[chip] = !d->s.flip_flop[chip];
        return (u8)(*channel_reg(d, chip, reg) >> shift);
    }
    if (reg == REG_ALL_MASK)
        return d->s.mask[chip] | 0xf0;
    return 0; /* status: no request, no terminal count; temporary register */
}

static void chip_clear(struct dma8237 *d, unsigned chip)
{
    d->s.command[chip] = 0;
    d->s.mask[chip] = 0x0f;
    d->s.flip_flop[chip] = false;
}

static void chip_write(struct dma8237 *d, unsigned chip, unsigned reg, u8 value)
{
    if (reg < REG_CHANNEL_END) {
        u16 *r = channel_reg(d, chip, reg);
        *r = d->s.flip_flop[chip] ? (u16)((*r & 0x00ff) | value << 8) : (u16)((*r & 0xff00) | value);
        d->s.flip_flop[chip] = !d->s.flip_flop[chip];
        return;
    }
    switch (reg) {
    case REG_COMMAND:
        d->s.command[chip] = value;
        break;
    case REG_SINGLE_MASK:
        d->s.mask[chip] &= (u8)~BIT(value & 3);
        d->s.mask[chip] |= value & 4 ? (u8)BIT(value & 3) : 0;
        break;
    case REG_CLEAR_FLIP_FLOP:
        d->s.flip_flop[chip] = false;
        break;
    case REG_MASTER_CLEAR:
        chip_clear(d, chip);
        break;
    case REG_CLEAR_MASK:
        d->s.mask[chip] = 0;
        break;
    case REG_ALL_MASK:
        d->s.mask[chip] = value & 0x0f;
        break;
    default: /* REG_REQUEST, REG_MODE: of no consequence without transfers */
        break;
    }
}

static u64 chip0_read(void *opaque, u64 off, unsigned size)
{
    return chip_read(opaque, 0, (unsigned)off);
}

static void chip0_write(void *opaque, u64 off, u64 value, unsigned size)
{
    chip_write(opaque, 0, (unsigned)off, (u8)value);
}

static u64 chip1_read(void *opaque, u64 off, unsigned size)
{
    return chip_read(opaque, 1, (unsigned)off / 2);
}

static void chip1_write(void *opaque, u64 off, u64 value, unsigned size)
{
    chip_write(opaque, 1, (unsigned)off / 2, (u8)value);
}

static u64 page_read(void *opaque, u64 off, unsigned size)
{
    const struct dma8237 *d = opaque;

    return d->s.page[off];
}

static void page_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct dma8237 *d = opaque;

    d->s.page[off] = (u8)value;
}

static const struct mem_window_ops ops[WINDOWS] = {
    {chip0_read, chip0_write, 1, 1}, {chip1_read, chip1_write, 1, 1}, {page_read, page_write, 1, 1}};

static void *dma8237_get_state(struct dev *dev)
{
    return &((struct dma8237 *)dev)->s;
}

static void dma8237_reset(struct dev *dev)
{
    struct dma8237 *d = (struct dma8237 *)dev;

    d->s = (struct dma8237_state){0};
    for (unsigned chip = 0; chip < CONTROLLERS; chip++)
        chip_clear(d, chip);
}

static void dma8237_destroy(struct dev *dev)
{
    struct dma8237 *d = (struct dma8237 *)dev;

    for (unsigned i = 0; i < WINDOWS; i++) {
        if (d->window[i].mapped)
            mem_port_unmap(d->cfg.mem, &d->window[i]);
    }
    free(d);
}

static const struct dev_class dma8237_class = {
    .name = "dma8237",
    .state = &dma8237_state_class,
    .get_state = dma8237_get_state,
    .reset = dma8237_reset,
    .destroy = dma8237_destroy,
};

struct dma8237 *dma8237_create(const struct dma8237_config *cfg, struct error *err)
{
    struct dma8237 *d = calloc(1, sizeof(*d));

    if (!d) {
        error_set(err, -ENOMEM, "dma8237: out of memory");
        return NULL;
    }
    d->dev.cls = &dma8237_class;
    d->cfg = *cfg;
    for (unsigned i = 0; i < WINDOWS; i++) {
        d->window[i] = (struct mem_window){.ops = &ops[i], .opaque = d, .name = "dma8237", .size = place[i].size};
        if (mem_port_map(cfg->mem, &d->window[i], place[i].port)) {
            error_set(err, -ENOMEM, "dma8237: cannot map port 0x%x", place[i].port);
            dma8237_destroy(&d->dev);
            return NULL;
        }
    }
    dma8237_reset(&d->dev);
    return d;
}
