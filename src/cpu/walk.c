/*
 * Page walks (cpu/walk.h) for 32-bit, PAE and 4-level paging. SDM volume 3 sections 4.3 to 4.8.
 *
 * A walk reads all levels first and decides. Only a walk that succeeds writes: it sets A (and D in the last level) in
 * each entry it used by compare-and-swap against the value it read, and starts again if one has changed meanwhile, so a
 * flag is never set in an entry that another processor has just replaced.
 */
#include "cpu/walk.h"

#include "cpu/model.h"
#include "mem/code.h"

#define PTE_P  BIT64(0)
#define PTE_RW BIT64(1)
#define PTE_US BIT64(2)
#define PTE_A  BIT64(5)
#define PTE_D  BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_G  BIT64(8)
#define PTE_XD BIT64(63)

#define LEVELS 4

/* An entry that the walk went through. */
struct step {
    u64 pa, value;
    u8 *host;              /* where it can be written; NULL: through a window if `io`, else not at all */
    struct mem_page *page; /* of host */
    bool io;
};

/* A paging mode, as the walk needs it. */
struct paging {
    u64 table; /* physical address of the first table */
    u8 shift;  /* of the linear-address bits that index it */
    u8 index_bits;
    u8 entry_size;
    u64 address;                       /* address bits of an entry */
    u64 reserved;                      /* bits reserved in every entry */
    bool large_22, large_21, large_30; /* page sizes there are */
    bool top_is_pml4;
};

static u64 frame_key(struct cpu *c, u64 pa)
{
    return pa & MEM_PAGE_MASK & mem_a20_mask(c->mem);
}

const struct mem_where *walk_frame(struct cpu *c, u64 pa)
{
    u64 key = frame_key(c, pa);
    struct tlb_frame *f = &c->tlb->frame[key / MEM_PAGE_SIZE % TLB_FRAMES];
    if (unlikely(f->pa != key)) {
        mem_find(c->mem, key, &f->where);
        f->pa = key;
    }
    return &f->where;
}

static u64 physical_mask(const struct cpu *c)
{
    return BIT64(c->model->physical_bits) - 1;
}

/* Reads the entry at `pa`: from memory directly, or through whatever window somebody put his page tables in. */
static void step_read(struct cpu *c, u64 pa, unsigned size, struct step *s)
{
    const struct mem_where *m = walk_frame(c, pa);
    u64 off = pa % MEM_PAGE_SIZE;
    *s = (struct step){.pa = pa & mem_a20_mask(c->mem)};
    if (unlikely(!m->host || m->mixed)) {
        s->io = true;
        s->value = mem_io_read(c->mem, s->pa, size);
        return;
    }
    s->value = size == 8 ? host_load_u64(m->host + off) : host_load_u32(m->host + off);
    if (m->host_write == m->host) {
        s->host = m->host_write + off;
        s->page = m->page;
    }
}

static bool entry_exchange(void *p, u64 old, u64 value, unsigned size)
{
    u32 old4 = (u32)old;
    if (size == 4)
        return __atomic_compare_exchange_n((u32 *)p, &old4, (u32)value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return __atomic_compare_exchange_n((u64 *)p, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Sets flags in an entry. False if it is not what was read any more. */
static bool step_set(struct cpu *c, struct step *s, u64 flags, unsigned size)
{
    u64 value = s->value | flags;
    if (likely(value == s->value))
        return true;
    if (unlikely(!s->host)) {
        if (s->io)
            mem_io_write(c->mem, s->pa, value, size);
        return true;
    }
    if (!entry_exchange(s->host, s->value, value, size))
        return false;
    mem_dirty_mark(s->page, mem_dirty_clients(c->mem));
    if (unlikely(s->page->code) && mem_code_written(s->page, s->pa % MEM_PAGE_SIZE, size))
        mem_tell_code(c->mem, s->page);
    return true;
}

static void paging_legacy(const struct cpu *c, struct paging *p)
{
    *p = (struct paging){.table = c->cr3 & 0xfffff000,
                         .shift = 22,
                         .index_bits = 10,
                         .entry_size = 4,
                         .address = 0xfffff000,
                         .large_22 = c->cr4 & CR4_PSE};
}

static u64 reserved_xd(const struct cpu *c)
{
    return c->efer & EFER_NX ? 0 : PTE_XD;
}

/* The PDPTEs are registers: the walk starts below them. False if the one for this address is not present. */
static bool paging_pae(const struct cpu *c, u64 linear, struct paging *p)
{
    u64 pdpte = c->pdpte[bits(linear, 31, 30)];
    u64 address = physical_mask(c) & MEM_PAGE_MASK;
    *p = (struct paging){.table = pdpte & address,
                         .shift = 21,
                         .index_bits = 9,
                         .entry_size = 8,
                         .address = address,
                         .reserved = (bits(~0ull, 62, 0) & ~physical_mask(c)) | reserved_xd(c),
                         .large_21 = true};
    return pdpte & PTE_P;
}

static void paging_long(const struct cpu *c, struct paging *p)
{
    u64 address = physical_mask(c) & MEM_PAGE_MASK;
    *p = (struct paging){.table = c->cr3 & address,
                         .shift = 39,
                         .index_bits = 9,
                         .entry_size = 8,
                         .address = address,
                         .reserved = ((BIT64(52) - 1) & ~physical_mask(c)) | reserved_xd(c),
                         .large_21 = true,
                         .large_30 = true,
                         .top_is_pml4 = true};
}

static bool is_leaf(const struct paging *p, unsigned shift, u64 entry)
{
    if (shift == 12)
        return true;
    bool large = shift == 21 ? p->large_21 : shift == 22 ? p->large_22 : shift == 30 && p->large_30;
    return large && (entry & PTE_PS);
}

/* Reserved bits of an entry that maps a large page, between the PAT bit and the page's address. */
static u64 large_reserved(const struct cpu *c, unsigned shift)
{
    if (shift != 22)
        return bits(~0ull, shift - 1, 13) << 13;
    /* PSE-36: bits 20:13 are bits 39:32 of the address, as far as the processor has them. Bit 21 is always reserved. */
    u64 high = physical_mask(c) >> 32 & 0xff;
    return BIT64(21) | (~high & 0xff) << 13;
}

static bool entry_reserved(const struct cpu *c, const struct paging *p, unsigned shift, bool leaf, u64 entry)
{
    if (entry & p->reserved)
        return true;
    if (shift == 39)
        return entry & PTE_PS;
    return leaf && shift != 12 && (entry & large_reserved(c, shift));
}

static u64 leaf_address(const struct paging *p, unsigned shift, u64 entry, u64 linear)
{
    u64 offset = linear & (BIT64(shift) - 1);
    u64 base = entry & p->address & ~(BIT64(shift) - 1);
    if (shift == 22)
        base |= bits(entry, 20, 13) << 32;
    return base | offset;
}

bool walk_allows(const struct cpu *c, const struct walk *w, unsigned index, enum mmu_access a)
{
    bool user = index == MMU_USER || index == MMU_CHECKED;
    if (a == MMU_EXEC)
        return !w->nx && (user ? w->user : !(w->user && (c->cr4 & CR4_SMEP)));
    if (user)
        return w->user && (a == MMU_READ || w->write);
    if (w->user && index == MMU_SUPER_SMAP && (c->cr4 & CR4_SMAP))
        return false;
    return a == MMU_READ || w->write || !(c->cr0 & CR0_WP);
}

static u32 error_code(const struct cpu *c, unsigned index, enum mmu_access a, u32 cause)
{
    bool nx = (c->efer & EFER_NX) && (c->cr4 & CR4_PAE);
    if (a == MMU_WRITE)
        cause |= PF_WRITE;
    if (index == MMU_USER || index == MMU_CHECKED)
        cause |= PF_USER;
    if (a == MMU_EXEC && (nx || (c->cr4 & CR4_SMEP)))
        cause |= PF_FETCH;
    return cause;
}

/* Reads the entries from the first table to the leaf. 0, or the cause of the fault: PF_P is clear if an entry is not
 * present. */
static bool read_levels(struct cpu *c, const struct paging *p, u64 linear, struct walk *w, struct step *step,
                        unsigned *count, u32 *cause)
{
    u64 table = p->table;
    for (unsigned shift = p->shift;; shift -= p->index_bits) {
        struct step *s = &step[(*count)++];
        u64 index = linear >> shift & (BIT64(p->index_bits) - 1);
        step_read(c, table + index * p->entry_size, p->entry_size, s);
        *cause = 0;
        if (!(s->value & PTE_P))
            return false;
        bool leaf = is_leaf(p, shift, s->value);
        *cause = PF_P | PF_RSVD;
        if (entry_reserved(c, p, shift, leaf, s->value))
            return false;
        w->user &= (s->value & PTE_US) != 0;
        w->write &= (s->value & PTE_RW) != 0;
        w->nx |= p->entry_size == 8 && (s->value & PTE_XD);
        w->used &= (s->value & PTE_A) != 0;
        if (leaf) {
            w->shift = shift;
            w->dirty = s->value & PTE_D;
            w->global = (s->value & PTE_G) && (c->cr4 & CR4_PGE);
            w->pa = leaf_address(p, shift, s->value, linear);
            return true;
        }
        table = s->value & p->address;
    }
}

static bool set_flags(struct cpu *c, const struct paging *p, struct step *step, unsigned count, bool dirty)
{
    for (unsigned n = 0; n < count; n++) {
        u64 flags = PTE_A | (dirty && n == count - 1 ? PTE_D : 0);
        if (!step_set(c, &step[n], flags, p->entry_size))
            return false;
    }
    return true;
}

static void walk_flat(u64 linear, struct walk *w)
{
    *w = (struct walk){.pa = (u32)linear, .shift = 12, .user = true, .write = true, .dirty = true, .used = true};
}

bool walk_linear(struct cpu *c, u64 linear, unsigned index, enum mmu_access a, bool commit, struct walk *w)
{
    if (!(c->cr0 & CR0_PG)) {
        walk_flat(linear, w);
        return true;
    }
    struct paging p;
    u32 cause = 0;
    bool start = true;
    if (c->efer & EFER_LMA)
        paging_long(c, &p);
    else if (c->cr4 & CR4_PAE)
        start = paging_pae(c, linear, &p);
    else
        paging_legacy(c, &p);
    for (;;) {
        struct step step[LEVELS];
        unsigned count = 0;
        *w = (struct walk){.user = true, .write = true, .used = true};
        bool found = start && read_levels(c, &p, linear, w, step, &count, &cause);
        if (found)
            cause = PF_P;
        if (!found || !walk_allows(c, w, index, a)) {
            w->error = error_code(c, index, a, cause);
            return false;
        }
        if (!commit)
            return true;
        if (set_flags(c, &p, step, count, a == MMU_WRITE)) {
            w->dirty |= a == MMU_WRITE;
            return true;
        }
    }
}

bool mmu_load_pdptes(struct cpu *c, u64 cr3)
{
    u64 reserved = ~physical_mask(c) | bits(~0ull, 8, 5) << 5 | bits(~0ull, 2, 1) << 1;
    u64 value[4];
    for (unsigned n = 0; n < 4; n++) {
        struct step s;
        step_read(c, (cr3 & 0xffffffe0) + 8 * n, 8, &s);
        if ((s.value & PTE_P) && (s.value & reserved))
            return false;
        value[n] = s.value;
    }
    for (unsigned n = 0; n < 4; n++)
        c->pdpte[n] = value[n];
    return true;
}

bool mmu_debug_translate(struct cpu *c, u64 linear, u64 *pa)
{
    struct walk w;
    if (!walk_linear(c, linear, MMU_SUPER, MMU_READ, false, &w))
        return false;
    *pa = w.pa & mem_a20_mask(c->mem);
    return true;
}
