/*
 * The software TLB's management (cpu/mmu.h): address-space numbers, invalidation. SDM volume 3 section 4.10.
 *
 * Flushing an address space gives it a new number, so old tags match nothing. Numbers run out after 4095 flushes; then
 * the whole TLB is wiped. Up to TLB_SPACES (CR3, PCID) pairs keep theirs. Global pages are not kept over a flush: a
 * processor may drop translations at any time.
 */
#include "cpu/walk.h"

#include <string.h>

#include "host/mem.h"
#include "mem/code.h"

#define ASID_END 0xfff

static void tlb_wipe(struct tlb *t)
{
    memset(t->set, 0xff, sizeof(t->set));
    for (unsigned n = 0; n < TLB_SLOW; n++)
        t->slow[n].tag = TLB_INVALID;
    for (unsigned n = 0; n < TLB_SPACES; n++)
        t->space[n].valid = false;
    for (unsigned n = 0; n < ARRAY_SIZE(t->large); n++)
        t->large[n] = (struct tlb_large){.first = ~0ull, .last = 0};
    t->large_1g = false;
    t->next_asid = 0;
}

static void frames_drop(struct tlb *t)
{
    for (unsigned n = 0; n < TLB_FRAMES; n++)
        t->frame[n].pa = ~0ull;
}

static u64 space_cr3(const struct cpu *c)
{
    return c->cr3 & ~0xfffull;
}

static u16 space_pcid(const struct cpu *c)
{
    return c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0;
}

/* A new number for the current address space. */
static void space_new(struct cpu *c)
{
    struct tlb *t = c->tlb;
    if (t->next_asid == ASID_END) {
        tlb_wipe(t);
        if (t->watch)
            t->watch->ops->renumber(t->watch->opaque);
    }
    t->asid = t->next_asid++;
    t->stats.flushes++;
    struct tlb_space *s = &t->space[t->next_space++ % TLB_SPACES];
    *s = (struct tlb_space){.cr3 = space_cr3(c), .pcid = space_pcid(c), .asid = (u16)t->asid, .valid = true};
}

bool mmu_space_alive(const struct cpu *c, u64 asid)
{
    for (unsigned n = 0; n < TLB_SPACES; n++) {
        if (c->tlb->space[n].valid && c->tlb->space[n].asid == asid)
            return true;
    }
    return asid == c->tlb->asid;
}

static void space_forget(struct tlb *t, u16 pcid)
{
    for (unsigned n = 0; n < TLB_SPACES; n++) {
        if (t->space[n].pcid == pcid)
            t->space[n].valid = false;
    }
}

bool mmu_create(struct cpu *c)
{
    c->tlb = host_table_alloc(sizeof(*c->tlb));
    if (!c->tlb)
        return false;
    tlb_wipe(c->tlb);
    frames_drop(c->tlb);
    space_new(c);
    return true;
}

void mmu_destroy(struct cpu *c)
{
    host_table_free(c->tlb, sizeof(*c->tlb));
    c->tlb = NULL;
}

void mmu_flush_all(struct cpu *c)
{
    for (unsigned n = 0; n < TLB_SPACES; n++)
        c->tlb->space[n].valid = false;
    frames_drop(c->tlb);
    space_new(c);
    const struct tlb_watch *watch = c->tlb->watch;
    if (watch)
        watch->ops->all(watch->opaque);
}

void mmu_cr3_loaded(struct cpu *c, bool keep)
{
    struct tlb *t = c->tlb;
    u16 pcid = space_pcid(c);
    if (!keep) {
        space_forget(t, pcid);
        space_new(c);
        return;
    }
    for (unsigned n = 0; n < TLB_SPACES; n++) {
        const struct tlb_space *s = &t->space[n];
        if (s->valid && s->pcid == pcid && s->cr3 == space_cr3(c)) {
            t->asid = s->asid;
            return;
        }
    }
    space_new(c);
}

static void entry_drop(struct tlb_entry *e, u64 linear, unsigned shift)
{
    if ((e->read ^ linear) >> shift && (e->write ^ linear) >> shift && (e->exec ^ linear) >> shift)
        return;
    e->read = e->write = e->exec = TLB_INVALID;
}

/* Which of tlb.large this address belongs to. */
static struct tlb_large *large_of(struct tlb *t, u64 linear)
{
    return &t->large[(linear >> 62 & 2) | (linear >> 31 & 1)];
}

void tlb_note_large(struct tlb *t, u64 linear, unsigned shift)
{
    struct tlb_large *l = large_of(t, linear);
    u64 first = linear >> shift << shift, last = first + (BIT64(shift) - 1);
    if (first < l->first)
        l->first = first;
    if (last > l->last)
        l->last = last;
    t->large_1g |= shift == 30;
}

/* In every address space: an entry of another one may be a global page. */
void mmu_flush_page(struct cpu *c, u64 linear)
{
    struct tlb *t = c->tlb;
    const struct tlb_large *l = large_of(t, linear);
    bool large = linear >= l->first && linear <= l->last;
    unsigned shift = !large ? 12 : t->large_1g ? 30 : 22;
    for (unsigned index = 0; index < MMU_CHECKED; index++) {
        if (!large)
            entry_drop(&t->set[index][mmu_slot(linear)], linear, shift);
        for (unsigned n = 0; large && n < TLB_SIZE; n++)
            entry_drop(&t->set[index][n], linear, shift);
    }
    for (unsigned n = 0; n < TLB_SLOW; n++)
        t->slow[n].tag = TLB_INVALID;
    if (t->watch)
        t->watch->ops->page(t->watch->opaque, linear);
}

void mmu_invpcid(struct cpu *c, enum mmu_invpcid type, u16 pcid, u64 linear)
{
    if (type == MMU_INVPCID_ADDRESS) {
        mmu_flush_page(c, linear);
    } else if (type == MMU_INVPCID_SINGLE) {
        space_forget(c->tlb, pcid);
        if (pcid == space_pcid(c))
            space_new(c);
    } else {
        mmu_flush_all(c);
    }
}

void mmu_protect_code(struct cpu *c, const u8 *host_page)
{
    for (unsigned index = 0; index < MMU_CHECKED; index++) {
        for (unsigned n = 0; n < TLB_SIZE; n++) {
            struct tlb_entry *e = &c->tlb->set[index][n];
            if (e->write != TLB_INVALID && (e->write & MEM_PAGE_MASK) + e->addend == (u64)host_page)
                e->write = TLB_INVALID;
        }
    }
    const struct tlb_watch *watch = c->tlb->watch;
    if (watch)
        watch->ops->protect(watch->opaque, host_page);
}
