/* See ferr.h. */
#include "dev/pc/ferr.h"

#include <stdlib.h>

#define FERR_STATE(F, A, S) F(bool, irq, 1)
STATE_DECLARE(ferr_state, FERR_STATE)
STATE_DEFINE(ferr_state, FERR_STATE, 1)

#define FERR_PORT 0xf0

struct ferr {
    struct dev dev;
    struct ferr_state s;
    struct ferr_config cfg;
    struct mem_window window;
};

void ferr_set(struct ferr *f, bool level)
{
    if (!level)
        return;
    f->s.irq = true;
    irq_set(&f->cfg.irq, true);
}

static u64 ferr_read(void *opaque, u64 off, unsigned size)
{
    return ~0ull;
}

static void ferr_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct ferr *f = opaque;

    f->s.irq = false;
    irq_set(&f->cfg.irq, false);
}

static const struct mem_window_ops ferr_ops = {ferr_read, ferr_write, 1, 1};

static void *ferr_get_state(struct dev *d)
{
    return &((struct ferr *)d)->s;
}

static void ferr_reset(struct dev *d)
{
    ferr_write(d, 0, 0, 1);
}

static void ferr_loaded(struct dev *d)
{
    struct ferr *f = (struct ferr *)d;

    irq_set(&f->cfg.irq, f->s.irq);
}

static void ferr_destroy(struct dev *d)
{
    struct ferr *f = (struct ferr *)d;

    if (f->window.mapped)
        mem_port_unmap(f->cfg.mem, &f->window);
    free(f);
}

static const struct dev_class ferr_class = {
    .name = "ferr",
    .state = &ferr_state_class,
    .get_state = ferr_get_state,
    .reset = ferr_reset,
    .loaded = ferr_loaded,
    .destroy = ferr_destroy,
};

struct ferr *ferr_create(const struct ferr_config *cfg, struct error *err)
{
    struct ferr *f = calloc(1, sizeof(*f));

    if (!f) {
        error_set(err, -ENOMEM, "ferr: out of memory");
        return NULL;
    }
    f->dev.cls = &ferr_class;
    f->cfg = *cfg;
    f->window = (struct mem_window){.ops = &ferr_ops, .opaque = f, .name = "ferr", .size = 1};
    if (mem_port_map(cfg->mem, &f->window, FERR_PORT)) {
        error_set(err, -ENOMEM, "ferr: cannot map port 0x%x", FERR_PORT);
        ferr_destroy(&f->dev);
        return NULL;
    }
    return f;
}
