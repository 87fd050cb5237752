/*
 * What the device targets share: input bytes as a script of steps. When the input is over, every read gives 0.
 */
#ifndef TESTS_FUZZ_DEV_FUZZ_H
#define TESTS_FUZZ_DEV_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "dev/dev.h"
#include "event/door.h"
#include "event/loop.h"
#include "irq/line.h"

struct script {
    const u8 *data;
    size_t size, pos;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static inline bool script_more(const struct script *s)
{
    return s->pos < s->size;
}

static inline u64 script_take(struct script *s, unsigned bytes)
{
    u64 v = 0;
    for (unsigned i = 0; i < bytes && s->pos < s->size; i++)
        v |= (u64)s->data[s->pos++] << (8 * i);
    return v;
}

/* A step of time: from nothing to minutes, with the small ones likely. */
static inline void script_time(struct script *s, struct loop *l)
{
    u64 v = script_take(s, 2);
    loop_advance(l, (v & 0xfff) << (v >> 12));
}

/* Values near the edges are as likely as any. */
static inline u64 script_value(struct script *s)
{
    u8 kind = (u8)script_take(s, 1);
    switch (kind & 3) {
    case 0:
        return script_take(s, 1);
    case 1:
        return script_take(s, 4);
    case 2:
        return script_take(s, 8);
    default:
        return 1ull << (kind >> 2);
    }
}

/* Saves the device and loads it back; then loads it from a stream that the script has damaged, and resets it. */
static inline void script_state(struct script *s, struct dev *d)
{
    struct state_stream out = {0};
    if (d->cls->saving)
        d->cls->saving(d);
    if (state_save(&out, d->cls->state, d->cls->get_state(d)))
        abort();
    if (state_load(&out, d->cls->state, d->cls->get_state(d), NULL))
        abort();
    d->cls->loaded(d);

    unsigned damage = (unsigned)script_take(s, 1) & 7;
    for (unsigned i = 0; i < damage; i++)
        out.data[script_take(s, 2) % out.size] ^= (u8)script_take(s, 1);
    out.pos = 0;
    if (damage && state_load(&out, d->cls->state, d->cls->get_state(d), NULL))
        d->cls->reset(d);
    else
        d->cls->loaded(d);
    state_stream_free(&out);
}

#endif
