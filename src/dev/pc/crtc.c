/* See crtc.h. */
#include "dev/pc/crtc.h"

#include <stdlib.h>

#define REGISTERS 18
#define CRTC_PORT 0x3d4
enum { PORT_INDEX, PORT_DATA, PORTS };

#define CRTC_STATE(F, A, S)                                                                                            \
    F(u8, index, 1)                                                                                                    \
    A(u8, reg, REGISTERS, 1)
STATE_DECLARE(crtc_state, CRTC_STATE)
STATE_DEFINE(crtc_state, CRTC_STATE, 1)

struct crtc {
    struct dev dev;
    struct crtc_state s;
    struct crtc_config cfg;
    struct mem_window window;
};

static u64 crtc_read(void *opaque, u64 off, unsigned size)
{
    const struct crtc *c = opaque;

    if (off == PORT_INDEX)
        return c->s.index;
    return c->s.index < REGISTERS ? c->s.reg[c->s.index] : 0;
}

static void crtc_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct crtc *c = opaque;

    if (off == PORT_INDEX)
        c->s.index = (u8)value;
    else if (c->s.index < REGISTERS)
        c->s.reg[c->s.index] = (u8)value;
}

static const struct mem_window_ops crtc_ops = {crtc_read, crtc_write, 1, 1};

static void *crtc_get_state(struct dev *d)
{
    return &((struct crtc *)d)->s;
}

static void crtc_reset(struct dev *d)
{
    ((struct crtc *)d)->s = (struct crtc_state){0};
}

static void crtc_destroy(struct dev *d)
{
    struct crtc *c = (struct crtc *)d;

    if (c->window.mapped)
        mem_port_unmap(c->cfg.mem, &c->window);
    free(c);
}

static const struct dev_class crtc_class = {
    .name = "crtc",
    .state = &crtc_state_class,
    .get_state = crtc_get_state,
    .reset = crtc_reset,
    .destroy = crtc_destroy,
};

struct crtc *crtc_create(const struct crtc_config *cfg, struct error *err)
{
    struct crtc *c = calloc(1, sizeof(*c));

    if (!c) {
        error_set(err, -ENOMEM, "crtc: out of memory");
        return NULL;
    }
    c->dev.cls = &crtc_class;
    c->cfg = *cfg;
    c->window = (struct mem_window){.ops = &crtc_ops, .opaque = c, .name = "crtc", .size = PORTS};
    if (mem_port_map(cfg->mem, &c->window, CRTC_PORT)) {
        error_set(err, -ENOMEM, "crtc: cannot map port 0x%x", CRTC_PORT);
        crtc_destroy(&c->dev);
        return NULL;
    }
    return c;
}
