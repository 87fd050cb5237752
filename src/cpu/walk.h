/*
 * Page walks: linear to physical by the guest's paging structures. SDM volume 3 chapter 4. Internal to cpu/mmu.c and
 * cpu/tlb.c.
 */
#ifndef CPU_WALK_H
#define CPU_WALK_H

#include "cpu/mmu.h"

/* Error code of #PF */
#define PF_P     BIT(0)
#define PF_WRITE BIT(1)
#define PF_USER  BIT(2)
#define PF_RSVD  BIT(3)
#define PF_FETCH BIT(4)

struct walk {
    u64 pa;      /* of the byte */
    u8 shift;    /* log2 of the page size */
    bool user;   /* U/S of all levels */
    bool write;  /* R/W of all levels */
    bool nx;     /* XD of any level */
    bool dirty;  /* D of the last level, after the walk */
    bool used;   /* A of all levels, before the walk */
    bool global; /* G of the last level, with CR4.PGE */
    u32 error;   /* of the #PF, when the walk failed */
};

/*
 * Translates for an access of kind `a` by way of `index`. On success sets the accessed and dirty bits that the access
 * owes if `commit`; on failure changes nothing and fills in `error`.
 */
bool walk_linear(struct cpu *c, u64 linear, unsigned index, enum mmu_access a, bool commit, struct walk *w);

/* May a page with these rights be accessed so? */
bool walk_allows(const struct cpu *c, const struct walk *w, unsigned index, enum mmu_access a);

/* What stands at this page of physical memory, A20 applied; from a small cache. */
const struct mem_where *walk_frame(struct cpu *c, u64 pa);

/* A page of this size is about to get a tag. */
void tlb_note_large(struct tlb *t, u64 linear, unsigned shift);

#endif
