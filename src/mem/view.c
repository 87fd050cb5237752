/*
 * Implements mem/view.h.
 */
#include "mem/view.h"

#include <stdlib.h>
#include <string.h>

int view_reserve(struct mem_view *v, size_t layers)
{
    size_t need = 2 * layers + 1;
    if (need <= v->capacity)
        return 0;
    struct mem_range *r = reallocarray(v->range, need, sizeof(*r));
    if (!r)
        return -ENOMEM;
    v->range = r;
    v->capacity = need;
    return 0;
}

void view_free(struct mem_view *v)
{
    free(v->range);
    *v = (struct mem_view){0};
}

void view_clear(struct mem_view *v)
{
    v->range[0] = (struct mem_range){.base = 0, .last = UINT64_MAX};
    v->count = 1;
}

size_t view_find(const struct mem_view *v, u64 addr)
{
    size_t low = 0, high = v->count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (v->range[mid].base <= addr)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* Makes a range begin at `addr`. */
static size_t view_split(struct mem_view *v, u64 addr)
{
    size_t n = view_find(v, addr);
    struct mem_range *r = &v->range[n];
    if (r->base == addr)
        return n;
    memmove(r + 2, r + 1, (v->count - n - 1) * sizeof(*r));
    v->count++;
    u64 before = addr - r->base;
    r[1] = r[0];
    r[0].last = addr - 1;
    r[1].base = addr;
    r[1].read_off += before;
    r[1].write_off += before;
    return n + 1;
}

void view_cut(struct mem_view *v, u64 base, u64 last, size_t *first, size_t *end)
{
    *first = view_split(v, base);
    *end = last == UINT64_MAX ? v->count : view_split(v, last + 1);
}
