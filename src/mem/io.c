/*
 * Accesses to the address space and to ports (mem/space.h).
 *
 * A single access inside one range reaches its owner as one. Others are cut: at the borders of ranges, and into the
 * sizes that a window takes. A window is looked up again under the machine lock, because it may move until then.
 */
#include <string.h>

#include "mem/code.h"
#include "mem/internal.h"

/* Guest memory is shared with processors that take no lock, as on a real bus. One aligned access is one host access. */
#define RAM_ACCESS(T)                                                                                                  \
    struct ram_##T {                                                                                                   \
        volatile T v;                                                                                                  \
    } __attribute__((packed, may_alias));                                                                              \
    static __attribute__((no_sanitize("thread"))) u64 ram_load_##T(const void *p)                                      \
    {                                                                                                                  \
        return ((const struct ram_##T *)p)->v;                                                                         \
    }                                                                                                                  \
    static __attribute__((no_sanitize("thread"))) void ram_store_##T(void *p, u64 v)                                   \
    {                                                                                                                  \
        ((struct ram_##T *)p)->v = (T)v;                                                                               \
    }
RAM_ACCESS(u8)
RAM_ACCESS(u16)
RAM_ACCESS(u32)
RAM_ACCESS(u64)

static u64 ram_load(const void *p, unsigned size)
{
    return size == 1 ? ram_load_u8(p) : size == 2 ? ram_load_u16(p) : size == 4 ? ram_load_u32(p) : ram_load_u64(p);
}

static void ram_store(void *p, u64 v, unsigned size)
{
    if (size == 1)
        ram_store_u8(p, v);
    else if (size == 2)
        ram_store_u16(p, v);
    else if (size == 4)
        ram_store_u32(p, v);
    else
        ram_store_u64(p, v);
}

/* A copy that the thread sanitizer does not look into; also the fastest for long ones. */
static void ram_copy(void *to, const void *from, u64 len)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
}

static u64 all_ones(unsigned size)
{
    return ~0ull >> (64 - 8 * size);
}

/* After a store of [addr, addr + len), which lies in r and in one page. */
static void ram_written(struct mem_space *s, const struct mem_range *r, u64 addr, unsigned len)
{
    struct mem_page *p = range_write_page(r, addr);
    mem_dirty_mark(p, mem_dirty_clients(s));
    if (mem_code_written(p, addr % MEM_PAGE_SIZE, len))
        mem_tell_code(s, p);
}

static unsigned ops_min(const struct mem_window_ops *ops)
{
    return ops->min_size ? ops->min_size : 1;
}

static unsigned ops_max(const struct mem_window_ops *ops, unsigned bus)
{
    return ops->max_size && ops->max_size < bus ? ops->max_size : bus;
}

/* Widened accesses are aligned ones that contain the narrow one. */
static u64 window_read(const struct mem_window *w, u64 off, unsigned size, unsigned bus)
{
    unsigned min = ops_min(w->ops), max = ops_max(w->ops, bus);
    if (size < min) {
        unsigned in = off % min;
        if (in + size <= min)
            return w->ops->read(w->opaque, off - in, min) >> (8 * in) & all_ones(size);
        size = min; /* crosses: not possible for aligned sizes; read what starts here */
    }
    if (size <= max)
        return w->ops->read(w->opaque, off, size) & all_ones(size);
    u64 v = 0;
    for (unsigned n = 0; n < size; n += max)
        v |= (w->ops->read(w->opaque, off + n, max) & all_ones(max)) << (8 * n);
    return v;
}

static void window_write(const struct mem_window *w, u64 off, u64 v, unsigned size, unsigned bus)
{
    unsigned min = ops_min(w->ops), max = ops_max(w->ops, bus);
    if (!w->ops->write)
        return;
    v &= all_ones(size);
    if (size < min) {
        unsigned in = off % min;
        if (in + size > min)
            in = 0;
        w->ops->write(w->opaque, off - in, v << (8 * in), min);
        return;
    }
    if (size <= max) {
        w->ops->write(w->opaque, off, v, size);
        return;
    }
    for (unsigned n = 0; n < size; n += max)
        w->ops->write(w->opaque, off + n, v >> (8 * n) & all_ones(max), max);
}

/* One access to a range that was not memory when it was looked up. */
static u64 io_read_slow(struct mem_space *s, u64 pa, unsigned size)
{
    space_lock(s);
    struct mem_range r = s->view.range[view_find(&s->view, pa)];
    u64 v = all_ones(size);
    if (r.read)
        v = ram_load(range_read_host(&r, pa), size);
    else if (r.read_kind == MEM_WINDOW)
        v = window_read(r.window, pa - r.window->base, size, 8);
    space_unlock(s);
    return v;
}

static void io_write_slow(struct mem_space *s, u64 pa, u64 v, unsigned size)
{
    space_lock(s);
    struct mem_range r = s->view.range[view_find(&s->view, pa)];
    if (r.write) {
        ram_store(range_write_host(&r, pa), v, size);
        ram_written(s, &r, pa, size);
    } else if (r.write_kind == MEM_WINDOW) {
        window_write(r.window, pa - r.window->base, v, size, 8);
    }
    space_unlock(s);
}

static bool crosses(const struct mem_range *r, u64 pa, unsigned size)
{
    return size - 1 > r->last - pa || pa % MEM_PAGE_SIZE + size > MEM_PAGE_SIZE;
}

u64 mem_io_read(struct mem_space *s, u64 pa, unsigned size)
{
    struct mem_range r = space_find(s, pa);
    if (unlikely(crosses(&r, pa, size))) {
        u64 v = 0;
        for (unsigned n = 0; n < size; n++)
            v |= mem_io_read(s, pa + n, 1) << (8 * n);
        return v;
    }
    if (r.read)
        return ram_load(range_read_host(&r, pa), size);
    return r.read_kind == MEM_NONE ? all_ones(size) : io_read_slow(s, pa, size);
}

void mem_io_write(struct mem_space *s, u64 pa, u64 value, unsigned size)
{
    struct mem_range r = space_find(s, pa);
    if (unlikely(crosses(&r, pa, size))) {
        for (unsigned n = 0; n < size; n++)
            mem_io_write(s, pa + n, value >> (8 * n) & 0xff, 1);
        return;
    }
    if (r.write) {
        ram_store(range_write_host(&r, pa), value, size);
        ram_written(s, &r, pa, size);
    } else if (r.write_kind == MEM_WINDOW) {
        io_write_slow(s, pa, value, size);
    }
}

/* How much of [pa, pa + len) lies in the same page and range. */
static u64 piece(const struct mem_range *r, u64 pa, u64 len)
{
    u64 n = MEM_PAGE_SIZE - pa % MEM_PAGE_SIZE;
    if (n > len)
        n = len;
    return n - 1 > r->last - pa ? r->last - pa + 1 : n;
}

/* The largest naturally aligned access at pa of at most `len` bytes. */
static unsigned natural(u64 pa, u64 len)
{
    unsigned size = 8;
    while (size > len || pa % size)
        size /= 2;
    return size;
}

static void read_pieces(struct mem_space *s, u64 pa, u8 *buf, u64 len, bool windows)
{
    for (u64 n; len; pa += n, buf += n, len -= n) {
        struct mem_range r = space_find(s, pa);
        n = piece(&r, pa, len);
        if (r.read) {
            ram_copy(buf, range_read_host(&r, pa), n);
        } else if (r.read_kind == MEM_WINDOW && windows) {
            n = natural(pa, n);
            u64 v = io_read_slow(s, pa, (unsigned)n);
            memcpy(buf, &v, n);
        } else {
            memset(buf, 0xff, n);
        }
    }
}

static void write_pieces(struct mem_space *s, u64 pa, const u8 *buf, u64 len, bool windows)
{
    for (u64 n; len; pa += n, buf += n, len -= n) {
        struct mem_range r = space_find(s, pa);
        n = piece(&r, pa, len);
        if (r.write) {
            ram_copy(range_write_host(&r, pa), buf, n);
            ram_written(s, &r, pa, (unsigned)n);
        } else if (r.write_kind == MEM_WINDOW && windows) {
            n = natural(pa, n);
            u64 v = 0;
            memcpy(&v, buf, n);
            io_write_slow(s, pa, v, (unsigned)n);
        }
    }
}

void mem_read(struct mem_space *s, u64 pa, void *buf, u64 len)
{
    read_pieces(s, pa, buf, len, true);
}

void mem_write(struct mem_space *s, u64 pa, const void *buf, u64 len)
{
    write_pieces(s, pa, buf, len, true);
}

void mem_dma_read(struct mem_space *s, u64 pa, void *buf, u64 len)
{
    read_pieces(s, pa, buf, len, false);
}

void mem_dma_write(struct mem_space *s, u64 pa, const void *buf, u64 len)
{
    write_pieces(s, pa, buf, len, false);
}

/* Ports beyond 0xffff do not exist: an access that starts below and ends above is cut there. */
static u32 port_read_locked(struct mem_space *s, unsigned port, unsigned size)
{
    if (port > 0xffff)
        return (u32)all_ones(size);
    const struct mem_range *r = &s->port_view.range[view_find(&s->port_view, port)];
    if (size - 1 > r->last - port) {
        u32 v = 0;
        for (unsigned n = 0; n < size; n++)
            v |= port_read_locked(s, port + n, 1) << (8 * n);
        return v;
    }
    if (r->read_kind != MEM_WINDOW)
        return (u32)all_ones(size);
    return (u32)window_read(r->window, port - r->window->base, size, 4);
}

static void port_write_locked(struct mem_space *s, unsigned port, u32 value, unsigned size)
{
    if (port > 0xffff)
        return;
    const struct mem_range *r = &s->port_view.range[view_find(&s->port_view, port)];
    if (size - 1 > r->last - port) {
        for (unsigned n = 0; n < size; n++)
            port_write_locked(s, port + n, value >> (8 * n) & 0xff, 1);
        return;
    }
    if (r->write_kind == MEM_WINDOW)
        window_write(r->window, port - r->window->base, value, size, 4);
}

u32 mem_port_read(struct mem_space *s, u16 port, unsigned size)
{
    space_lock(s);
    u32 v = port_read_locked(s, port, size);
    space_unlock(s);
    return v;
}

void mem_port_write(struct mem_space *s, u16 port, u32 value, unsigned size)
{
    space_lock(s);
    port_write_locked(s, port, value, size);
    space_unlock(s);
}
