/*
 * The slow paths of memory accesses (cpu/mmu.h): what happens when the TLB has no tag.
 *
 * translate() finds where a page leads and fills in whatever tags the page may have. Then the access is done through
 * the target it returned: host memory, with what a store owes to code and dirty tracking; the local APIC; or mem_io_*.
 * Pages that never get a tag keep their translation in tlb.slow.
 */
#include "cpu/debug.h"
#include "cpu/fault.h"
#include "cpu/walk.h"
#include "cpu/world.h"
#include "mem/code.h"

#define APIC_ENABLED BIT64(11)
#define APIC_X2      BIT64(10)

#define PAGE_OFF(linear) ((unsigned)((linear)&0xfff))

/* So many stores in a row that hit the code of one page: it holds data now. */
#define CODE_HITS_DATA 8

static bool canonical(const struct cpu *c, u64 linear)
{
    return !cpu_long_mode(c) || (u64)((i64)(linear << 16) >> 16) == linear;
}

static _Noreturn void fault_canonical(struct cpu *c, enum mmu_access a)
{
    bool stack = a != MMU_EXEC && c->cur && c->cur->mem && c->cur->seg == SEG_SS;
    cpu_fault_code(c, stack ? EXC_SS : EXC_GP, 0);
}

/* The page after this one; outside 64-bit code addresses wrap at 4 GiB. */
static u64 next_page(const struct cpu *c, u64 linear)
{
    u64 next = (linear & MEM_PAGE_MASK) + MEM_PAGE_SIZE;
    return c->mode == ISA_64 ? next : (u32)next;
}

/* One past the last byte that lies in the page of `linear`, for an access of `size`. */
static unsigned in_page(u64 linear, unsigned size)
{
    unsigned room = MEM_PAGE_SIZE - PAGE_OFF(linear);
    return size < room ? size : room;
}

/* True if an enabled data breakpoint lies in the page. */
static bool page_watched(const struct cpu *c, u64 linear)
{
    if (likely(!cpu_debug_watching(c)))
        return false;
    for (unsigned n = 0; n < 4; n++) {
        bool enabled = c->dr[7] >> (2 * n) & 3, data = c->dr[7] >> (16 + 4 * n) & 1;
        if (enabled && data && ((c->dr[n] ^ linear) & MEM_PAGE_MASK) == 0)
            return true;
    }
    return false;
}

static bool is_apic_page(const struct cpu *c, u64 pa)
{
    return (c->apic_base & (APIC_ENABLED | APIC_X2)) == APIC_ENABLED && (c->apic_base & MEM_PAGE_MASK) == pa && c->apic;
}

static void target_of(struct cpu *c, u64 pa, struct mmu_target *t)
{
    const struct mem_where *m = walk_frame(c, pa);
    *t = (struct mmu_target){.pa = pa & MEM_PAGE_MASK & mem_a20_mask(c->mem)};
    t->apic = is_apic_page(c, t->pa);
    if (t->apic || m->mixed)
        return;
    t->host = m->host;
    t->host_write = m->host_write;
    t->page = m->page;
    t->read_page = m->read_page;
}

/* May stores to the page go by without being looked at? Marks it dirty for a store that is under way. */
static bool write_taggable(struct cpu *c, const struct mmu_target *t, const struct walk *w, enum mmu_access a)
{
    if (!t->host || t->host_write != t->host || !w->dirty || t->page->code)
        return false;
    u32 clients = mem_dirty_clients(c->mem);
    if (a == MMU_WRITE)
        mem_dirty_mark(t->page, clients);
    return !(clients & ~t->page->dirty);
}

static u8 page_facts(const struct walk *w)
{
    return (w->global ? TLB_GLOBAL : 0) | (w->user ? TLB_USER : 0) | (w->shift > 12 ? TLB_LARGE : 0) |
           (w->shift == 30 ? TLB_HUGE : 0);
}

/* Fills in the tags that this page may have; where the access at hand gets none, it is remembered in tlb.slow. */
static void fill(struct cpu *c, unsigned index, u64 linear, enum mmu_access a, const struct walk *w,
                 const struct mmu_target *t)
{
    struct tlb *tlb = c->tlb;
    u64 tag = (linear & MEM_PAGE_MASK) | tlb->asid;
    struct tlb_entry *e = &tlb->set[index][mmu_slot(linear)];
    bool plain = t->host && index != MMU_CHECKED;
    bool data = plain && !page_watched(c, linear);
    bool read = data && walk_allows(c, w, index, MMU_READ);
    bool write = data && walk_allows(c, w, index, MMU_WRITE) && write_taggable(c, t, w, a);
    bool exec = plain && walk_allows(c, w, index, MMU_EXEC);
    if (w->shift > 12)
        tlb_note_large(tlb, linear, w->shift);
    if (plain) {
        *e = (struct tlb_entry){.read = read ? tag : TLB_INVALID,
                                .write = write ? tag : TLB_INVALID,
                                .exec = exec ? tag : TLB_INVALID,
                                .addend = (u64)t->host - (linear & MEM_PAGE_MASK)};
        tlb->page[index][mmu_slot(linear)] = page_facts(w);
    }
    if (a == MMU_READ ? read : a == MMU_WRITE ? write : true)
        return;
    struct tlb_slow *s = &tlb->slow[(linear >> 12 ^ index * 5) % TLB_SLOW];
    *s = (struct tlb_slow){.tag = tag, .index = (u8)index, .write = a == MMU_WRITE, .target = *t};
}

/* A remembered translation, unless the page could have a tag by now. */
static bool find_slow(struct cpu *c, unsigned index, u64 linear, enum mmu_access a, struct mmu_target *t)
{
    const struct tlb_slow *s = &c->tlb->slow[(linear >> 12 ^ index * 5) % TLB_SLOW];
    if (s->tag != ((linear & MEM_PAGE_MASK) | c->tlb->asid) || s->index != index || a == MMU_EXEC)
        return false;
    if (a == MMU_WRITE && (!s->write || (s->target.page && !s->target.page->code)))
        return false;
    *t = s->target;
    return true;
}

/* Where the page of `linear` leads, or a fault. */
static void translate(struct cpu *c, unsigned index, u64 linear, enum mmu_access a, struct mmu_target *t)
{
    c->tlb->stats.misses++;
    if (find_slow(c, index, linear, a, t))
        return;
    if (unlikely(!canonical(c, linear)))
        fault_canonical(c, a);
    struct walk w;
    c->tlb->stats.walks++;
    if (!walk_linear(c, linear, index, a, true, &w))
        cpu_fault_page(c, linear, w.error);
    target_of(c, w.pa, t);
    fill(c, index, linear, a, &w, t);
}

/* The fault that an access would have, and nothing else. */
static void check_access(struct cpu *c, unsigned index, u64 linear, enum mmu_access a)
{
    struct walk w;
    if (!canonical(c, linear))
        fault_canonical(c, a);
    if (!walk_linear(c, linear, index, a, false, &w))
        cpu_fault_page(c, linear, w.error);
}

/* Both pages of an access that crosses: nothing is marked accessed or dirty unless neither faults. Canonical form comes
 * before paging. */
static void translate_pair(struct cpu *c, unsigned index, u64 linear, enum mmu_access a, struct mmu_target t[2])
{
    if (!canonical(c, next_page(c, linear)))
        fault_canonical(c, a);
    check_access(c, index, linear, a);
    translate(c, index, next_page(c, linear), a, &t[1]);
    translate(c, index, linear, a, &t[0]);
}

static void check_alignment(struct cpu *c, unsigned index, u64 linear, unsigned size, enum mmu_access a)
{
    if (likely(index != MMU_CHECKED) || size > 8 || !(linear & (size - 1)))
        return;
    if (!canonical(c, linear))
        fault_canonical(c, a);
    cpu_fault_code(c, EXC_AC, 0);
}

/*
 * The local APIC's registers are 32 bits wide and 16-byte aligned; other accesses are undefined (SDM volume 3
 * section 11.4.1): reads give the bytes of the registers, writes of other sizes are dropped.
 */
static u64 apic_read(struct cpu *c, unsigned off, unsigned size)
{
    unsigned in = off & 3;
    u64 v = c->apic->mmio_read(c->apic_dev, off & ~3u);
    if (in + size > 4)
        v |= (u64)c->apic->mmio_read(c->apic_dev, ((off & ~3u) + 4) & 0xffc) << 32;
    return v >> (8 * in) & (~0ull >> (64 - 8 * size));
}

static u64 target_read(struct cpu *c, const struct mmu_target *t, unsigned off, unsigned size)
{
    if (unlikely(t->apic))
        return apic_read(c, off, size);
    if (!t->host)
        return mem_io_read(c->mem, t->pa + off, size);
    const u8 *p = t->host + off;
    return size == 1 ? host_load_u8(p) : size == 2 ? host_load_u16(p) : size == 4 ? host_load_u32(p) : host_load_u64(p);
}

/* What a store owes that was not made through a tag. */
static void settle_write(struct cpu *c, struct mem_page *page, unsigned off, unsigned size)
{
    mem_dirty_mark(page, mem_dirty_clients(c->mem));
    if (!page->code || !mem_code_written(page, off, size))
        return;
    struct tlb *t = c->tlb;
    t->code_hits = t->code_page == page ? t->code_hits + 1 : 1;
    t->code_page = page;
    t->stats.code_hits++;
    atomic_fetch_or(&c->request, REQ_BLOCK);
    mem_tell_code(c->mem, page);
}

/* A device may have changed the map: this processor sees it with its next access. */
static void settle_io(struct cpu *c)
{
    if (unlikely(atomic_load_explicit(&c->request, memory_order_relaxed) & REQ_TLB))
        mmu_flush_all(c);
}

static void target_write(struct cpu *c, const struct mmu_target *t, unsigned off, u64 v, unsigned size)
{
    if (unlikely(t->apic)) {
        if (size == 4 && off % 4 == 0)
            c->apic->mmio_write(c->apic_dev, off, (u32)v);
        return;
    }
    if (!t->host_write) {
        mem_io_write(c->mem, t->pa + off, v, size);
        settle_io(c);
        return;
    }
    u8 *p = t->host_write + off;
    if (size == 1)
        host_store_u8(p, (u8)v);
    else if (size == 2)
        host_store_u16(p, (u16)v);
    else if (size == 4)
        host_store_u32(p, (u32)v);
    else
        host_store_u64(p, v);
    settle_write(c, t->page, off, size);
}

/* Bytes [0, size) of a value, one at a time: parts of accesses that cross pages. */
static u64 part_read(struct cpu *c, const struct mmu_target *t, unsigned off, unsigned size)
{
    u64 v = 0;
    for (unsigned n = 0; n < size; n++)
        v |= target_read(c, t, off + n, 1) << (8 * n);
    return v;
}

static void part_write(struct cpu *c, const struct mmu_target *t, unsigned off, u64 v, unsigned size)
{
    for (unsigned n = 0; n < size; n++)
        target_write(c, t, off + n, v >> (8 * n) & 0xff, 1);
}

static bool has_tag(const struct cpu *c, unsigned index, u64 linear, enum mmu_access a)
{
    const struct tlb_entry *e = &c->tlb->set[index][mmu_slot(linear)];
    u64 tag = (linear & MEM_PAGE_MASK) | c->tlb->asid;
    return (a == MMU_READ ? e->read : a == MMU_WRITE ? e->write : e->exec) == tag;
}

static u8 *tagged_host(const struct cpu *c, unsigned index, u64 linear)
{
    return (u8 *)(linear + c->tlb->set[index][mmu_slot(linear)].addend);
}

/* Where both parts of an access that crosses into the next page are, if both have tags: such are common in string
 * functions, and pages with something to be done have none. */
static bool tagged_parts(const struct cpu *c, unsigned index, u64 linear, enum mmu_access a, u8 *host[2])
{
    u64 second = next_page(c, linear);
    if (!has_tag(c, index, linear, a) || !has_tag(c, index, second, a))
        return false;
    host[0] = tagged_host(c, index, linear);
    host[1] = tagged_host(c, index, second);
    return true;
}

NOINLINE u64 mmu_load_slow(struct cpu *c, unsigned index, u64 linear, unsigned size)
{
    check_alignment(c, index, linear, size, MMU_READ);
    unsigned first = in_page(linear, size);
    struct mmu_target t[2];
    u8 *host[2], bytes[8] = {0};
    u64 v;
    if (first < size && tagged_parts(c, index, linear, MMU_READ, host)) {
        mmu_host_read(bytes, host[0], first);
        mmu_host_read(bytes + first, host[1], size - first);
        return get_u64(bytes);
    }
    if (unlikely(first < size)) {
        translate_pair(c, index, linear, MMU_READ, t);
        v = part_read(c, &t[0], PAGE_OFF(linear), first) | part_read(c, &t[1], 0, size - first) << (8 * first);
    } else {
        translate(c, index, linear, MMU_READ, t);
        v = target_read(c, t, PAGE_OFF(linear), size);
    }
    if (unlikely(cpu_debug_watching(c)))
        cpu_debug_data(c, linear, size, false);
    return v;
}

NOINLINE void mmu_store_slow(struct cpu *c, unsigned index, u64 linear, u64 value, unsigned size)
{
    check_alignment(c, index, linear, size, MMU_WRITE);
    unsigned first = in_page(linear, size);
    struct mmu_target t[2];
    if (unlikely(first < size)) {
        translate_pair(c, index, linear, MMU_WRITE, t);
        part_write(c, &t[0], PAGE_OFF(linear), value, first);
        part_write(c, &t[1], 0, value >> (8 * first), size - first);
    } else {
        translate(c, index, linear, MMU_WRITE, t);
        target_write(c, t, PAGE_OFF(linear), value, size);
    }
    if (unlikely(cpu_debug_watching(c)))
        cpu_debug_data(c, linear, size, true);
}

void mmu_probe(struct cpu *c, unsigned index, u64 linear, unsigned size, enum mmu_access a)
{
    check_alignment(c, index, linear, size, a);
    if (likely(in_page(linear, size) == size)) {
        if (!has_tag(c, index, linear, a))
            check_access(c, index, linear, a);
        return;
    }
    if (!canonical(c, next_page(c, linear)))
        fault_canonical(c, a);
    check_access(c, index, linear, a);
    check_access(c, index, next_page(c, linear), a);
}

void mmu_host_read(u8 *to, const u8 *from, unsigned size)
{
    for (; size >= 8; size -= 8, to += 8, from += 8)
        put_u64(to, host_load_u64(from));
    while (size--)
        *to++ = host_load_u8(from++);
}

static void host_write(u8 *to, const u8 *from, unsigned size)
{
    for (; size >= 8; size -= 8, to += 8, from += 8)
        host_store_u64(to, get_u64(from));
    while (size--)
        host_store_u8(to++, *from++);
}

/* The largest aligned access at `off` of at most `size` bytes. */
static unsigned natural(unsigned off, unsigned size)
{
    unsigned n = 8;
    while (n > size || off % n)
        n /= 2;
    return n;
}

static void bulk_read(struct cpu *c, const struct mmu_target *t, unsigned off, u8 *buf, unsigned size)
{
    if (t->host) {
        mmu_host_read(buf, t->host + off, size);
        return;
    }
    for (unsigned n; size; off += n, buf += n, size -= n) {
        n = natural(off, size);
        u64 v = target_read(c, t, off, n);
        __builtin_memcpy(buf, &v, n);
    }
}

static void bulk_write(struct cpu *c, const struct mmu_target *t, unsigned off, const u8 *buf, unsigned size)
{
    if (t->host_write) {
        host_write(t->host_write + off, buf, size);
        settle_write(c, t->page, off, size);
        return;
    }
    for (unsigned n; size; off += n, buf += n, size -= n) {
        n = natural(off, size);
        u64 v = 0;
        __builtin_memcpy(&v, buf, n);
        target_write(c, t, off, v, n);
    }
}

void mmu_load_bytes(struct cpu *c, unsigned index, u64 linear, void *buf, unsigned size)
{
    unsigned first = in_page(linear, size);
    if (likely(first == size && has_tag(c, index, linear, MMU_READ))) {
        mmu_host_read(buf, tagged_host(c, index, linear), size);
        return;
    }
    struct mmu_target t[2];
    u8 *host[2];
    if (first < size && tagged_parts(c, index, linear, MMU_READ, host)) {
        mmu_host_read(buf, host[0], first);
        mmu_host_read((u8 *)buf + first, host[1], size - first);
        return;
    }
    if (first < size)
        translate_pair(c, index, linear, MMU_READ, t);
    else
        translate(c, index, linear, MMU_READ, t);
    bulk_read(c, &t[0], PAGE_OFF(linear), buf, first);
    if (first < size)
        bulk_read(c, &t[1], 0, (u8 *)buf + first, size - first);
    if (unlikely(cpu_debug_watching(c)))
        cpu_debug_data(c, linear, size, false);
}

void mmu_store_bytes(struct cpu *c, unsigned index, u64 linear, const void *buf, unsigned size)
{
    unsigned first = in_page(linear, size);
    if (likely(first == size && has_tag(c, index, linear, MMU_WRITE))) {
        host_write(tagged_host(c, index, linear), buf, size);
        return;
    }
    struct mmu_target t[2];
    if (first < size)
        translate_pair(c, index, linear, MMU_WRITE, t);
    else
        translate(c, index, linear, MMU_WRITE, t);
    bulk_write(c, &t[0], PAGE_OFF(linear), buf, first);
    if (first < size)
        bulk_write(c, &t[1], 0, (const u8 *)buf + first, size - first);
    if (unlikely(cpu_debug_watching(c)))
        cpu_debug_data(c, linear, size, true);
}

void *mmu_rmw_host(struct cpu *c, unsigned index, u64 linear, unsigned size)
{
    check_alignment(c, index, linear, size, MMU_WRITE);
    c->tlb->rmw_page = NULL;
    if (in_page(linear, size) < size) {
        mmu_probe(c, index, linear, size, MMU_WRITE);
        return NULL;
    }
    if (likely(has_tag(c, index, linear, MMU_WRITE)))
        return tagged_host(c, index, linear);
    struct mmu_target t;
    translate(c, index, linear, MMU_WRITE, &t);
    if (!t.host || t.host_write != t.host)
        return NULL;
    c->tlb->rmw_page = t.page;
    return t.host + PAGE_OFF(linear);
}

void mmu_rmw_done(struct cpu *c, u64 linear, unsigned size)
{
    if (unlikely(c->tlb->rmw_page))
        settle_write(c, c->tlb->rmw_page, PAGE_OFF(linear), size);
    if (unlikely(cpu_debug_watching(c)))
        cpu_debug_data(c, linear, size, true);
}

/* Has the page a tag, or gets one without a fault? `commit`: accessed and dirty bits may be set for it; else it gets
 * one only if no accessed bit is owed, for a read. */
static bool make_tag(struct cpu *c, u64 linear, enum mmu_access a, bool commit)
{
    unsigned index = c->mmu_index;
    struct walk w;
    struct mmu_target t;
    if (has_tag(c, index, linear, a))
        return true;
    if (!canonical(c, linear) || !walk_linear(c, linear, index, a, commit, &w) || !(commit || w.used))
        return false;
    c->tlb->stats.walks++;
    target_of(c, w.pa, &t);
    fill(c, index, linear, a, &w, &t);
    return has_tag(c, index, linear, a);
}

u8 *mmu_plain_host(struct cpu *c, u64 linear, unsigned size, enum mmu_access a)
{
    if (in_page(linear, size) < size || !make_tag(c, linear, a, true))
        return NULL;
    return tagged_host(c, c->mmu_index, linear);
}

bool mmu_foresee(struct cpu *c, u64 linear)
{
    return make_tag(c, linear, MMU_READ, false);
}

/* Fetches do not depend on SMAP or alignment checks. */
static unsigned fetch_index(const struct cpu *c)
{
    return c->cpl == 3 ? MMU_USER : MMU_SUPER;
}

const u8 *mmu_fetch(struct cpu *c, u64 linear, struct mem_page **page, u64 *pa)
{
    struct mmu_target t;
    translate(c, fetch_index(c), linear, MMU_EXEC, &t);
    *page = t.read_page;
    *pa = t.pa + PAGE_OFF(linear);
    return t.host ? t.host + PAGE_OFF(linear) : NULL;
}

void mmu_fetch_bytes(struct cpu *c, u64 linear, u8 *buf, unsigned size)
{
    struct mmu_target t;
    translate(c, fetch_index(c), linear, MMU_EXEC, &t);
    bulk_read(c, &t, PAGE_OFF(linear), buf, in_page(linear, size));
}

void mmu_mark_code(struct cpu *c, struct mem_page *page, const u8 *host_page, unsigned off, unsigned len)
{
    if (likely(page->code)) {
        mem_code_mark(page, off, len);
        return;
    }
    world_exclusive(c->world, c);
    mem_code_mark(page, off, len);
    for (unsigned n = 0; n < world_count(c->world); n++)
        mmu_protect_code(world_cpu(c->world, n), host_page);
    world_exclusive_end(c->world, c);
}

static struct mem_page **turned_slot(struct tlb *t, const struct mem_page *page)
{
    return &t->turned[(u64)page / sizeof(*page) % TLB_TURNED];
}

/* A page that is written and run in turns need not be found out anew. Unmarking stops all processors. */
static unsigned hits_again(const struct cpu *c)
{
    return world_count(c->world) > 1 ? CODE_HITS_DATA / 2 : 1;
}

void mmu_settle_code(struct cpu *c)
{
    struct tlb *t = c->tlb;
    struct mem_page **turned = turned_slot(t, t->code_page);
    if (t->code_hits < (*turned == t->code_page ? hits_again(c) : CODE_HITS_DATA))
        return;
    *turned = t->code_page;
    world_exclusive(c->world, c);
    mem_code_unmark(t->code_page);
    mem_tell_code(c->mem, t->code_page);
    world_exclusive_end(c->world, c);
    t->code_hits = 0;
    t->stats.code_unmarks++;
}
