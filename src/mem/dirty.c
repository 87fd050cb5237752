/*
 * Dirty tracking (mem/space.h): a bit of every page for each client.
 */
#include "mem/internal.h"

#define CLIENTS 31

int mem_dirty_start(struct mem_space *s)
{
    for (int n = 0; n < CLIENTS; n++) {
        if (atomic_fetch_or(&s->dirty_clients, BIT(n)) & BIT(n))
            continue;
        for (u64 page = 0; page < s->ram.size / MEM_PAGE_SIZE; page++) {
            struct mem_page *p = &s->ram.pages[page];
            /* Only pages with the bit are written to: the table is mostly untouched memory. */
            if (atomic_load(&p->dirty) & BIT(n))
                atomic_fetch_and(&p->dirty, ~BIT(n));
        }
        return n;
    }
    return -EBUSY;
}

void mem_dirty_stop(struct mem_space *s, int client)
{
    atomic_fetch_and(&s->dirty_clients, ~BIT(client));
}

bool mem_dirty_take(struct mem_space *s, int client, u64 page)
{
    if (page >= s->ram.size / MEM_PAGE_SIZE)
        return false;
    struct mem_page *p = &s->ram.pages[page];
    return (atomic_load(&p->dirty) & BIT(client)) && (atomic_fetch_and(&p->dirty, ~BIT(client)) & BIT(client));
}

u32 mem_dirty_clients(const struct mem_space *s)
{
    return atomic_load_explicit(&s->dirty_clients, memory_order_relaxed);
}
