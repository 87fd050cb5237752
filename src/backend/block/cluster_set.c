/*
 * Implements cluster_set.h: open addressing, with the numbers behind a removed one moved up.
 */
#include "backend/block/cluster_set.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_FIRST 64

static size_t home(const struct cluster_set *s, u64 n)
{
    return (size_t)((n * 0x9e3779b97f4a7c15u) >> 20) & (s->slots - 1);
}

/* Where it is, or the free slot where it would go. */
static size_t find(const struct cluster_set *s, u64 n)
{
    size_t at = home(s, n);
    while (s->slot[at] && s->slot[at] != n + 1)
        at = (at + 1) & (s->slots - 1);
    return at;
}

static bool grow(struct cluster_set *s)
{
    struct cluster_set bigger = {.slots = s->slots ? s->slots * 2 : SLOTS_FIRST, .used = s->used};
    bigger.slot = calloc(bigger.slots, sizeof(*bigger.slot));
    if (!bigger.slot)
        return false;
    for (size_t i = 0; i < s->slots; i++)
        if (s->slot[i])
            bigger.slot[find(&bigger, s->slot[i] - 1)] = s->slot[i];
    free(s->slot);
    *s = bigger;
    return true;
}

bool cluster_set_add(struct cluster_set *s, u64 n, int *status)
{
    if (s->used >= s->slots / 4 * 3 && !grow(s)) {
        *status = -ENOMEM;
        return true;
    }
    size_t at = find(s, n);
    if (s->slot[at])
        return false;
    s->slot[at] = n + 1;
    s->used++;
    return true;
}

bool cluster_set_has(const struct cluster_set *s, u64 n)
{
    return s->slots && s->slot[find(s, n)];
}

/* What stands behind it in a row has to be found still: it is put in anew. */
void cluster_set_remove(struct cluster_set *s, u64 n)
{
    if (!cluster_set_has(s, n))
        return;
    size_t at = find(s, n);
    s->slot[at] = 0;
    s->used--;
    for (at = (at + 1) & (s->slots - 1); s->slot[at]; at = (at + 1) & (s->slots - 1)) {
        u64 value = s->slot[at];
        s->slot[at] = 0;
        s->slot[find(s, value - 1)] = value;
    }
}

void cluster_set_free(struct cluster_set *s)
{
    free(s->slot);
    *s = (struct cluster_set){0};
}
