/*
 * The maps for the monitor (mem_show of mem/space.h).
 */
#include "mem/internal.h"

void mem_show(struct mem_space *s, bool ports,
              void (*emit)(void *opaque, u64 base, u64 last, enum mem_kind read, enum mem_kind write, const char *name),
              void *opaque)
{
    space_lock(s); /* nobody else changes the views */
    const struct mem_view *v = ports ? &s->port_view : &s->view;
    for (size_t i = 0; i < v->count; i++) {
        const struct mem_range *r = &v->range[i];
        if (r->read_kind != MEM_NONE || r->write_kind != MEM_NONE)
            emit(opaque, r->base, r->last, r->read_kind, r->write_kind, r->window ? r->window->name : NULL);
    }
    space_unlock(s);
}
