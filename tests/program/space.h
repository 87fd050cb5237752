/* The guest's tables: pages, GDT, IDT, TSS, and the runtime's variables. Internal to the generator. */
#ifndef TESTS_PROGRAM_SPACE_H
#define TESTS_PROGRAM_SPACE_H

#include "../insn/random.h"
#include "program.h"

#define PTE_P  BIT64(0)
#define PTE_W  BIT64(1)
#define PTE_U  BIT64(2)
#define PTE_A  BIT64(5)
#define PTE_D  BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_G  BIT64(8)
#define PTE_NX BIT64(63)

enum view { VIEW_USER_A, VIEW_USER_B, VIEW_KERNEL, VIEWS };

/* Everything but the code and the start state, from an empty RAM. */
void space_build(struct program *p, struct random *r);

/* Physical address of the page-table entry of a page of the arena in a view. */
u64 space_pte(const struct program *p, enum view v, unsigned page);

static inline struct runtime_vars *program_vars(const struct program *p)
{
    return (struct runtime_vars *)(p->ram + PA_VARS);
}

/* An entry for a page of data in a view: some frame, some rights. */
u64 space_random_pte(struct random *r, enum view v);

/* Frame that holds a page of the program's own: code, variables, stack. */
static inline u64 arena_frame(unsigned page)
{
    return PA_ARENA + page * (u64)MEM_PAGE_SIZE;
}

#endif
