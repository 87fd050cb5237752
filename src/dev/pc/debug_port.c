/* See debug_port.h. */
#include "dev/pc/debug_port.h"

#include <stdlib.h>

#include "backend/char/char.h"
#include "base/bits.h"

#define DEBUGCON_READBACK 0xe9
#define DEBUG_EXIT_PORT   0xf4
#define DEBUG_EXIT_PORTS  4

static const u16 debugcon_ports[] = {0xe9, 0x402}; /* no_firmware_log: only the first */

struct debugcon {
    struct dev dev;
    struct debugcon_config cfg;
    struct mem_window window[ARRAY_SIZE(debugcon_ports)];
};

static u64 debugcon_read(void *opaque, u64 off, unsigned size)
{
    return DEBUGCON_READBACK;
}

static void debugcon_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct debugcon *d = opaque;
    u8 byte = (u8)value;

    if (d->cfg.chr)
        char_write(d->cfg.chr, &byte, 1);
}

static const struct mem_window_ops debugcon_ops = {debugcon_read, debugcon_write, 1, 1};

static void debugcon_reset(struct dev *dev)
{
}

static void debugcon_destroy(struct dev *dev)
{
    struct debugcon *d = (struct debugcon *)dev;

    for (unsigned i = 0; i < ARRAY_SIZE(d->window); i++) {
        if (d->window[i].mapped)
            mem_port_unmap(d->cfg.mem, &d->window[i]);
    }
    free(d);
}

static const struct dev_class debugcon_class = {
    .name = "debugcon", .reset = debugcon_reset, .destroy = debugcon_destroy};

struct debugcon *debugcon_create(const struct debugcon_config *cfg, struct error *err)
{
    struct debugcon *d = calloc(1, sizeof(*d));

    if (!d) {
        error_set(err, -ENOMEM, "debugcon: out of memory");
        return NULL;
    }
    d->dev.cls = &debugcon_class;
    d->cfg = *cfg;
    for (unsigned i = 0; i < (cfg->no_firmware_log ? 1 : ARRAY_SIZE(d->window)); i++) {
        d->window[i] = (struct mem_window){.ops = &debugcon_ops, .opaque = d, .name = "debugcon", .size = 1};
        if (mem_port_map(cfg->mem, &d->window[i], debugcon_ports[i])) {
            error_set(err, -ENOMEM, "debugcon: cannot map port 0x%x", debugcon_ports[i]);
            debugcon_destroy(&d->dev);
            return NULL;
        }
    }
    return d;
}

struct debug_exit {
    struct dev dev;
    struct debug_exit_config cfg;
    struct mem_window window;
};

static u64 debug_exit_read(void *opaque, u64 off, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct debug_exit *d = opaque;

    d->cfg.exited(d->cfg.opaque, (unsigned)value << 1 | 1);
}

static const struct mem_window_ops debug_exit_ops = {debug_exit_read, debug_exit_write, 1, 4};

static void debug_exit_reset(struct dev *dev)
{
}

static void debug_exit_destroy(struct dev *dev)
{
    struct debug_exit *d = (struct debug_exit *)dev;

    if (d->window.mapped)
        mem_port_unmap(d->cfg.mem, &d->window);
    free(d);
}

static const struct dev_class debug_exit_class = {
    .name = "debug-exit", .reset = debug_exit_reset, .destroy = debug_exit_destroy};

struct debug_exit *debug_exit_create(const struct debug_exit_config *cfg, struct error *err)
{
    struct debug_exit *d = calloc(1, sizeof(*d));

    if (!d) {
        error_set(err, -ENOMEM, "debug exit: out of memory");
        return NULL;
    }
    d->dev.cls = &debug_exit_class;
    d->cfg = *cfg;
    d->window =
        (struct mem_window){.ops = &debug_exit_ops, .opaque = d, .name = "debug-exit", .size = DEBUG_EXIT_PORTS};
    if (mem_port_map(cfg->mem, &d->window, DEBUG_EXIT_PORT)) {
        error_set(err, -ENOMEM, "debug exit: cannot map its ports");
        debug_exit_destroy(&d->dev);
        return NULL;
    }
    return d;
}
