/*
 * Guest memory by host address, for devices that move much at once (mem/space.h).
 *
 * A store that reached memory through such an address is made known afterwards, page by page, in the same way as
 * mem_dma_write makes known its own: dirty bits, and code_gen of a page in which an engine has marked code. An engine
 * that marks code between the store and mem_dma_done has read the new bytes and loses a translation for nothing; one
 * that marked it earlier is told. No exclusive section is needed, so none is entered with the machine lock held.
 */
#include "mem/code.h"
#include "mem/internal.h"

static u8 *range_host(const struct mem_range *r, u64 pa, bool for_write)
{
    if (for_write)
        return r->write ? range_write_host(r, pa) : NULL;
    return r->read ? range_read_host(r, pa) : NULL;
}

/* Ranges that touch in the guest's space and on the host are one piece: shadow RAM may have cut RAM anywhere. */
void *mem_dma_map(struct mem_space *s, u64 pa, u64 len, bool for_write)
{
    u8 *start = NULL;
    if (!len || pa + (len - 1) < pa)
        return NULL;
    for (u64 done = 0; done < len;) {
        struct mem_range r = space_find(s, pa + done);
        u8 *host = range_host(&r, pa + done, for_write);
        if (!host || (start && host != start + done))
            return NULL;
        if (!start)
            start = host;
        u64 last = r.last - (pa + done);
        if (last >= len - done - 1)
            break;
        done += last + 1;
    }
    return start;
}

static void page_written(struct mem_space *s, u64 offset, u64 len)
{
    struct mem_page *p = &s->ram.pages[offset / MEM_PAGE_SIZE];
    mem_dirty_mark(p, mem_dirty_clients(s));
    if (mem_code_written(p, offset % MEM_PAGE_SIZE, (unsigned)len))
        mem_tell_code(s, p);
}

static void pages_written(struct mem_space *s, u64 offset, u64 len)
{
    for (u64 n; len; offset += n, len -= n) {
        n = MEM_PAGE_SIZE - offset % MEM_PAGE_SIZE;
        n = n < len ? n : len;
        page_written(s, offset, n);
    }
}

void mem_dma_done(struct mem_space *s, const void *host, u64 len)
{
    u64 offset = (u64)((const u8 *)host - s->ram.host);
    if (range_inside(offset, len, s->ram.size))
        pages_written(s, offset, len);
}

u64 mem_dma_discard(struct mem_space *s, const void *host, u64 len)
{
    u64 offset = (u64)((const u8 *)host - s->ram.host);
    if (!range_inside(offset, len, s->ram.size))
        return 0;
    u64 first = align_up(offset, MEM_PAGE_SIZE), end = align_down(offset + len, MEM_PAGE_SIZE);
    if (first >= end)
        return 0;
    host_ram_discard(&s->backing, first, end - first);
    pages_written(s, first, end - first);
    return end - first;
}
