/*
 * A flat view of an address space: disjoint ranges in order, without gaps, from 0 to 2^64 - 1. Internal to mem/.
 *
 * It is painted: a later layer covers what lies below it. Painting never fails, because a view that holds `n` layers
 * has at most 2n + 1 ranges, and view_reserve makes room for them beforehand.
 */
#ifndef MEM_VIEW_H
#define MEM_VIEW_H

#include "mem/space.h"

/* Memory of the machine's own: the RAM, or one ROM. */
struct mem_area {
    struct list node;
    u64 base; /* where a ROM shows; unused for RAM */
    u64 size;
    u8 *host;
    struct mem_page *pages;
};

struct mem_range {
    u64 base, last;
    u8 read_kind, write_kind;    /* enum mem_kind */
    const struct mem_area *read; /* and the offset of `base` in it; NULL unless read_kind is MEM_RAM or MEM_ROM */
    u64 read_off;
    const struct mem_area *write; /* NULL unless write_kind is MEM_RAM */
    u64 write_off;
    struct mem_window *window; /* where a kind is MEM_WINDOW */
};

struct mem_view {
    struct mem_range *range;
    size_t count, capacity;
};

int view_reserve(struct mem_view *v, size_t layers) MUST_CHECK;
void view_free(struct mem_view *v);

/* One range of nobody. */
void view_clear(struct mem_view *v);

/* Splits so that the ranges numbered *first up to, not including, *end cover exactly [base, last]. */
void view_cut(struct mem_view *v, u64 base, u64 last, size_t *first, size_t *end);

/* Number of the range that holds `addr`. */
size_t view_find(const struct mem_view *v, u64 addr);

static inline u8 *range_read_host(const struct mem_range *r, u64 addr)
{
    return r->read->host + r->read_off + (addr - r->base);
}

static inline u8 *range_write_host(const struct mem_range *r, u64 addr)
{
    return r->write->host + r->write_off + (addr - r->base);
}

static inline struct mem_page *range_read_page(const struct mem_range *r, u64 addr)
{
    return r->read->pages + (r->read_off + (addr - r->base)) / MEM_PAGE_SIZE;
}

static inline struct mem_page *range_write_page(const struct mem_range *r, u64 addr)
{
    return r->write->pages + (r->write_off + (addr - r->base)) / MEM_PAGE_SIZE;
}

#endif
