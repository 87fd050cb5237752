/*
 * The map of the guest-physical address space (mem/space.h): its layers, and how they become the flat view that
 * look-ups use.
 *
 * A change paints the spare view from scratch and swaps it in under view_lock, so a look-up sees the map before or
 * after it. The two views are made large enough when a layer is added; moving windows a million times allocates
 * nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "mem/code.h"
#include "mem/internal.h"

#define RAM_LAYERS 2

static void paint_ram(struct mem_space *s, struct mem_view *v, u64 base, u64 size, u64 off)
{
    if (!size)
        return;
    size_t n, end;
    view_cut(v, base, base + size - 1, &n, &end);
    for (; n < end; n++) {
        struct mem_range *r = &v->range[n];
        r->read_kind = r->write_kind = MEM_RAM;
        r->read = r->write = &s->ram_area;
        r->read_off = r->write_off = off + (r->base - base);
    }
}

static void paint_rom(struct mem_view *v, const struct mem_area *rom)
{
    size_t n, end;
    view_cut(v, rom->base, rom->base + rom->size - 1, &n, &end);
    for (; n < end; n++) {
        struct mem_range *r = &v->range[n];
        r->read_kind = r->write_kind = MEM_ROM;
        r->read = rom;
        r->read_off = r->base - rom->base;
        r->write = NULL;
    }
}

/* RAM below 4 GiB has the same offset as address. */
static bool ram_at(const struct mem_space *s, u64 addr)
{
    return addr < s->below_4g;
}

static void paint_shadow_range(struct mem_space *s, struct mem_range *r, u8 shadow)
{
    bool ram = ram_at(s, r->base);
    if (ram && (shadow & SHADOW_READ)) {
        r->read_kind = MEM_RAM;
        r->read = &s->ram_area;
        r->read_off = r->base;
    } else if (r->read_kind == MEM_RAM) {
        r->read_kind = MEM_NONE;
        r->read = NULL;
    }
    if (ram && (shadow & SHADOW_WRITE)) {
        r->write_kind = MEM_RAM;
        r->write = &s->ram_area;
        r->write_off = r->base;
    } else {
        r->write_kind = r->read_kind == MEM_NONE ? MEM_NONE : MEM_ROM;
        r->write = NULL;
    }
}

/* Runs of pages with the same setting are one layer each. */
static void paint_shadow(struct mem_space *s, struct mem_view *v)
{
    for (unsigned page = 0, run; page < SHADOW_PAGES; page = run) {
        for (run = page + 1; run < SHADOW_PAGES && s->shadow[run] == s->shadow[page]; run++)
            ;
        if (!(s->shadow[page] & SHADOW_SET))
            continue;
        size_t n, end;
        view_cut(v, (u64)page * MEM_PAGE_SIZE, (u64)run * MEM_PAGE_SIZE - 1, &n, &end);
        for (; n < end; n++)
            paint_shadow_range(s, &v->range[n], s->shadow[page]);
    }
}

static void paint_window(struct mem_view *v, struct mem_window *w)
{
    size_t n, end;
    view_cut(v, w->base, w->base + (w->size - 1), &n, &end);
    for (; n < end; n++) {
        struct mem_range *r = &v->range[n];
        r->window = w;
        r->write_kind = MEM_WINDOW;
        r->write = NULL;
        if (!w->ops->read)
            continue;
        r->read_kind = MEM_WINDOW;
        r->read = NULL;
    }
}

static void paint_windows(struct mem_view *v, const struct list *windows)
{
    list_for_each(node, windows) paint_window(v, container_of(node, struct mem_window, node));
}

static void tell_listeners(struct mem_space *s)
{
    pthread_mutex_lock(&s->listener_lock);
    list_for_each(node, &s->listeners)
    {
        struct mem_listener *l = container_of(node, struct mem_listener, node);
        l->changed(l->opaque);
    }
    pthread_mutex_unlock(&s->listener_lock);
}

static void space_rebuild(struct mem_space *s)
{
    struct mem_view *v = &s->spare;
    view_clear(v);
    paint_ram(s, v, 0, s->below_4g, 0);
    paint_ram(s, v, GiB(4), s->ram.size - s->below_4g, s->below_4g);
    list_for_each(node, &s->roms) paint_rom(v, container_of(node, struct mem_area, node));
    paint_shadow(s, v);
    paint_windows(v, &s->windows);

    pthread_rwlock_wrlock(&s->view_lock);
    struct mem_view old = s->view;
    s->view = s->spare;
    s->spare = old;
    pthread_rwlock_unlock(&s->view_lock);
    tell_listeners(s);
}

/* Room for one more window or ROM than there are. */
static int space_reserve(struct mem_space *s)
{
    size_t layers = RAM_LAYERS + s->rom_count + SHADOW_PAGES + s->window_count + 1;
    int status = view_reserve(&s->spare, layers);
    if (status < 0 || s->view.capacity >= s->spare.capacity)
        return status;
    pthread_rwlock_wrlock(&s->view_lock);
    status = view_reserve(&s->view, layers);
    pthread_rwlock_unlock(&s->view_lock);
    return status;
}

static int space_init(struct mem_space *s, u64 ram_size, u64 below_4g, struct error *err)
{
    int status = host_ram_map(&s->backing, "guest-ram", ram_size, err);
    if (status < 0)
        return status;
    u64 table = ram_size / MEM_PAGE_SIZE * sizeof(struct mem_page);
    struct mem_page *pages = host_table_alloc(table);
    if (!pages || space_reserve(s) < 0 || view_reserve(&s->port_view, 1) < 0) {
        host_table_free(pages, table);
        host_ram_unmap(&s->backing);
        return error_set(err, -ENOMEM, "out of memory for the tables of %llu MiB of guest memory",
                         (unsigned long long)(ram_size >> 20));
    }
    s->below_4g = below_4g < ram_size ? below_4g : ram_size;
    s->ram = (struct mem_ram){.host = s->backing.base,
                              .read_only = s->backing.read_only,
                              .size = ram_size,
                              .pages = pages,
                              .fd = s->backing.fd};
    s->ram_area = (struct mem_area){.size = ram_size, .host = s->ram.host, .pages = pages};
    return 0;
}

struct mem_space *mem_space_create(struct loop *l, u64 ram_size, u64 below_4g, struct error *err)
{
    if (!ram_size || !is_aligned(ram_size | below_4g, MEM_PAGE_SIZE) || below_4g > GiB(4) || ram_size > GiB(1) << 14) {
        error_set(err, -EINVAL, "guest memory must be a multiple of 4 KiB, at most 16 TiB");
        return NULL;
    }
    struct mem_space *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    s->loop = l;
    list_init(&s->windows);
    list_init(&s->ports);
    list_init(&s->roms);
    list_init(&s->listeners);
    if (space_init(s, ram_size, below_4g, err) < 0) {
        view_free(&s->view);
        view_free(&s->spare);
        view_free(&s->port_view);
        free(s);
        return NULL;
    }
    pthread_rwlock_init(&s->view_lock, NULL);
    pthread_mutex_init(&s->listener_lock, NULL);
    atomic_store(&s->a20_mask, ~0ull);
    view_clear(&s->port_view);
    space_rebuild(s);
    return s;
}

static u64 rom_table_size(const struct mem_area *rom)
{
    return rom->size + rom->size / MEM_PAGE_SIZE * sizeof(struct mem_page);
}

void mem_space_destroy(struct mem_space *s)
{
    if (!s)
        return;
    while (!list_empty(&s->roms)) {
        struct mem_area *rom = container_of(s->roms.next, struct mem_area, node);
        list_remove(&rom->node);
        host_table_free(rom->host, rom_table_size(rom));
        free(rom);
    }
    host_table_free(s->ram.pages, s->ram.size / MEM_PAGE_SIZE * sizeof(struct mem_page));
    host_ram_unmap(&s->backing);
    view_free(&s->view);
    view_free(&s->spare);
    view_free(&s->port_view);
    pthread_rwlock_destroy(&s->view_lock);
    pthread_mutex_destroy(&s->listener_lock);
    free(s);
}

struct mem_ram *mem_space_ram(struct mem_space *s)
{
    return &s->ram;
}

u64 mem_space_below_4g(const struct mem_space *s)
{
    return s->below_4g;
}

static void window_drop(struct mem_window *w, size_t *count)
{
    list_remove(&w->node);
    w->mapped = false;
    --*count;
}

static void window_put(struct list *windows, size_t *count, struct mem_window *w, u64 base)
{
    if (w->mapped)
        window_drop(w, count);
    w->base = base;
    w->mapped = true;
    list_insert(windows, &w->node);
    ++*count;
}

int mem_window_map(struct mem_space *s, struct mem_window *w, u64 base)
{
    if (!w->size || base + (w->size - 1) < base)
        return -EINVAL;
    int status = space_reserve(s);
    if (status < 0)
        return status;
    window_put(&s->windows, &s->window_count, w, base);
    space_rebuild(s);
    return 0;
}

void mem_window_unmap(struct mem_space *s, struct mem_window *w)
{
    if (!w->mapped)
        return;
    window_drop(w, &s->window_count);
    space_rebuild(s);
}

static void ports_rebuild(struct mem_space *s)
{
    view_clear(&s->port_view);
    paint_windows(&s->port_view, &s->ports);
}

int mem_port_map(struct mem_space *s, struct mem_window *w, u64 base)
{
    if (!w->size || base > 0xffff || w->size > 0x10000 - base)
        return -EINVAL;
    int status = view_reserve(&s->port_view, s->port_count + 1);
    if (status < 0)
        return status;
    window_put(&s->ports, &s->port_count, w, base);
    ports_rebuild(s);
    return 0;
}

void mem_port_unmap(struct mem_space *s, struct mem_window *w)
{
    if (!w->mapped)
        return;
    window_drop(w, &s->port_count);
    ports_rebuild(s);
}

u8 *mem_rom_add(struct mem_space *s, u64 base, const void *bytes, u64 size)
{
    if (!size || !is_aligned(base | size, MEM_PAGE_SIZE) || base + (size - 1) < base || size > GiB(1))
        return NULL;
    struct mem_area *rom = calloc(1, sizeof(*rom));
    if (!rom || space_reserve(s) < 0) {
        free(rom);
        return NULL;
    }
    rom->base = base;
    rom->size = size;
    rom->host = host_table_alloc(rom_table_size(rom));
    if (!rom->host) {
        free(rom);
        return NULL;
    }
    rom->pages = (struct mem_page *)(void *)(rom->host + size);
    memcpy(rom->host, bytes, size);
    list_insert(&s->roms, &rom->node);
    s->rom_count++;
    space_rebuild(s);
    return rom->host;
}

void mem_rom_written(struct mem_space *s, const u8 *host, u64 len)
{
    list_for_each(node, &s->roms)
    {
        const struct mem_area *rom = container_of(node, struct mem_area, node);
        if (host < rom->host || host >= rom->host + rom->size)
            continue;
        for (u64 off = (u64)(host - rom->host), end = off + len, n; off < end && off < rom->size; off += n) {
            n = MEM_PAGE_SIZE - off % MEM_PAGE_SIZE;
            if (n > end - off)
                n = end - off;
            if (mem_code_written(&rom->pages[off / MEM_PAGE_SIZE], off % MEM_PAGE_SIZE, (unsigned)n))
                mem_tell_code(s, &rom->pages[off / MEM_PAGE_SIZE]);
        }
    }
}

void mem_shadow_set(struct mem_space *s, u64 base, u64 size, bool read_ram, bool write_ram)
{
    u8 value = SHADOW_SET | (read_ram ? SHADOW_READ : 0) | (write_ram ? SHADOW_WRITE : 0);
    bool change = false;
    for (u64 page = base / MEM_PAGE_SIZE; page < SHADOW_PAGES && page * MEM_PAGE_SIZE - base < size; page++) {
        change |= s->shadow[page] != value;
        s->shadow[page] = value;
    }
    if (change)
        space_rebuild(s);
}

void mem_a20_set(struct mem_space *s, bool on)
{
    u64 mask = on ? ~(u64)0 : ~(u64)BIT64(20);
    if (atomic_exchange(&s->a20_mask, mask) != mask)
        tell_listeners(s);
}

u64 mem_a20_mask(const struct mem_space *s)
{
    return atomic_load_explicit(&s->a20_mask, memory_order_relaxed);
}

void mem_tell_code(struct mem_space *s, struct mem_page *page)
{
    pthread_mutex_lock(&s->listener_lock);
    list_for_each(node, &s->listeners)
    {
        struct mem_listener *l = container_of(node, struct mem_listener, node);
        if (l->code_written)
            l->code_written(l->opaque, page);
    }
    pthread_mutex_unlock(&s->listener_lock);
}

void mem_on_change(struct mem_space *s, struct mem_listener *l)
{
    pthread_mutex_lock(&s->listener_lock);
    list_insert(&s->listeners, &l->node);
    pthread_mutex_unlock(&s->listener_lock);
}

void mem_on_change_remove(struct mem_space *s, struct mem_listener *l)
{
    pthread_mutex_lock(&s->listener_lock);
    list_remove(&l->node);
    pthread_mutex_unlock(&s->listener_lock);
}

struct mem_range space_find(struct mem_space *s, u64 addr)
{
    pthread_rwlock_rdlock(&s->view_lock);
    struct mem_range r = s->view.range[view_find(&s->view, addr)];
    pthread_rwlock_unlock(&s->view_lock);
    return r;
}

void mem_find(struct mem_space *s, u64 pa, struct mem_where *out)
{
    pa &= MEM_PAGE_MASK;
    struct mem_range r = space_find(s, pa);
    *out = (struct mem_where){.read_kind = r.read_kind, .write_kind = r.write_kind};
    out->mixed = r.last < (pa | ~MEM_PAGE_MASK);
    if (r.read) {
        out->host = range_read_host(&r, pa);
        out->read_page = range_read_page(&r, pa);
    }
    if (r.write) {
        out->host_write = range_write_host(&r, pa);
        out->page = range_write_page(&r, pa);
    }
}
