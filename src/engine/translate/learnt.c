/*
 * Implements engine/translate/learnt.h. Tables without collisions looked after: what is forgotten is learnt again.
 */
#include "engine/translate/learnt.h"

#include "base/bits.h"

static struct stray *stray_of(struct code_cache *k, u64 rip)
{
    return &k->stray[code_hash(rip, LEARNT_BITS)];
}

static struct barren *barren_of(struct code_cache *k, u64 rip)
{
    return &k->barren[code_hash(rip, LEARNT_BITS)];
}

bool learnt_stray(struct code_cache *k, struct block *b, unsigned n)
{
    /* One that crosses a page time and again stays as it is. */
    if (b->crosses >> n & 1 || b->strays == UINT8_MAX)
        return false;
    b->stray |= BIT64(n);
    if (++b->strays != STRAYS_MAX)
        return false;
    *stray_of(k, b->rip) = (struct stray){
        .rip = b->rip, .unaligned = b->unaligned | b->stray, .crosses = b->crosses | (b->unaligned & b->stray)};
    b->strays = UINT8_MAX;
    return true;
}

bool learnt_access(struct code_cache *k, struct block *b, unsigned n)
{
    struct barren *r = barren_of(k, b->rip);
    bool forced = b->forced >> n & 1;
    if (b->barren == UINT8_MAX)
        return false;
    u8 doubt = r->rip == b->rip ? r->doubt : 0;
    if (++b->barren != (forced ? FRUITFUL_MAX : BARREN_MAX << doubt))
        return false;
    *r = (struct barren){.rip = b->rip, .insns = b->forced ^ BIT64(n), .doubt = doubt};
    if (forced && doubt < DOUBT_MAX)
        r->doubt++;
    b->barren = UINT8_MAX;
    return true;
}

void learnt_apply(struct code_cache *k, struct block *b)
{
    const struct stray *s = stray_of(k, b->rip);
    const struct barren *r = barren_of(k, b->rip);
    if (s->rip == b->rip) {
        b->unaligned = s->unaligned;
        b->crosses = s->crosses;
    }
    if (r->rip == b->rip)
        b->forced = r->insns;
    if (b->unaligned | b->forced)
        b->runs = k->patience; /* it was translated before */
}
