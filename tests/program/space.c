/*
 * See space.h. Two address spaces, A and B, that share the kernel half. Their user halves have the same code, and each
 * its own frames for the data.
 *
 * Translations may be cached as long as a processor likes, so that a program must never be able to see one that is out
 * of date: global pages are the same in both spaces, and what changes an entry invalidates it at once.
 */
#include "space.h"

#include <string.h>

extern const u8 runtime_start[], runtime_syscall[], runtime_end[];

#define TABLE_LINK (PTE_P | PTE_W | PTE_U | PTE_A)

static u64 entry_at(u64 table, u64 linear, unsigned level)
{
    return table + 8 * (linear >> (12 + 9 * level) & 511);
}

/* Physical address of the entry at `level` (0: a 4 KiB page), with tables made on the way. */
static u64 entry_make(struct program *p, u64 cr3, u64 linear, unsigned level)
{
    u64 table = cr3 & MEM_PAGE_MASK;
    for (unsigned n = 3; n > level; n--) {
        u64 at = entry_at(table, linear, n);
        if (!get_u64(p->ram + at)) {
            put_u64(p->ram + at, p->next_table | TABLE_LINK);
            p->next_table += MEM_PAGE_SIZE;
        }
        table = get_u64(p->ram + at) & MEM_PAGE_MASK & ~PTE_NX;
    }
    return entry_at(table, linear, level);
}

static u64 view_base(enum view v)
{
    return v == VIEW_KERNEL ? KERNEL_BASE : USER_BASE;
}

u64 space_pte(const struct program *p, enum view v, unsigned page)
{
    u64 table = p->space[v == VIEW_USER_B] & MEM_PAGE_MASK, linear = view_base(v) + page * (u64)MEM_PAGE_SIZE;
    for (unsigned n = 3; n > 0; n--)
        table = get_u64(p->ram + entry_at(table, linear, n)) & MEM_PAGE_MASK & ~PTE_NX;
    return entry_at(table, linear, 0);
}

static void map(struct program *p, unsigned space, u64 linear, u64 pte)
{
    put_u64(p->ram + entry_make(p, p->space[space], linear, 0), pte);
}

/* --- the arena ---------------------------------------------------------------------------------------------------- */

/* What becomes of a page: its rights now, and after the first fault if that repairs it. */
struct rights {
    u64 now, later;
};

static struct rights data_rights(struct random *r)
{
    const u64 all = PTE_P | PTE_W | PTE_U, nx = random_one_in(r, 2) ? PTE_NX : 0;
    switch (random_below(r, 32)) {
    case 0:
        return (struct rights){0};
    case 1:
        return (struct rights){PTE_P | PTE_U | nx};
    case 2:
        return (struct rights){PTE_P | PTE_W | nx};
    case 3:
    case 4:
        return (struct rights){0, all | nx};
    case 5:
        return (struct rights){PTE_P | PTE_U | nx, all | nx};
    case 6:
        return (struct rights){all | nx | PTE_A};
    default:
        return (struct rights){all | nx | PTE_A | PTE_D};
    }
}

static struct rights page_rights(struct random *r, unsigned page, bool code_writable)
{
    const u64 all = PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    if (page < CODE_PAGES) {
        u64 pte = PTE_P | PTE_U | (code_writable ? PTE_W : 0);
        return random_one_in(r, 10) ? (struct rights){0, pte} : (struct rights){pte};
    }
    if (page == PAGE_VARS || page == PAGE_STACK || page == PAGE_STACK + 1)
        return (struct rights){all | PTE_NX};
    if (page == PAGE_ALIAS || page == PAGE_ALIAS + 1)
        return (struct rights){PTE_P | PTE_W | PTE_U};
    if (page == PAGE_JIT)
        return (struct rights){all};
    if ((page >= PAGE_DATA && page < PAGE_DATA + DATA_PAGES) || page == PAGE_REMAP || page == PAGE_REMAP + 1)
        return data_rights(r);
    return (struct rights){0};
}

u64 space_random_pte(struct random *r, enum view v)
{
    u64 pte = arena_frame(PAGE_DATA + random_below(r, DATA_PAGES)) | data_rights(r).now;
    return v == VIEW_KERNEL ? pte & ~PTE_U : pte;
}

static unsigned page_frame(const struct program *p, const u8 *shuffle, unsigned page)
{
    if (page == PAGE_ALIAS || page == PAGE_ALIAS + 1)
        return p->alias[page - PAGE_ALIAS];
    if (page >= PAGE_DATA && page < PAGE_DATA + DATA_PAGES)
        return PAGE_DATA + shuffle[page - PAGE_DATA];
    return page;
}

static void shuffle_frames(struct random *r, u8 shuffle[DATA_PAGES])
{
    for (unsigned n = 0; n < DATA_PAGES; n++)
        shuffle[n] = (u8)n;
    for (unsigned n = DATA_PAGES; n > 1; n--) {
        unsigned k = random_below(r, n);
        u8 t = shuffle[k];
        shuffle[k] = shuffle[n - 1];
        shuffle[n - 1] = t;
    }
    if (random_one_in(r, 2)) /* a frame seen twice */
        shuffle[random_below(r, DATA_PAGES)] = shuffle[random_below(r, DATA_PAGES)];
}

static void map_page(struct program *p, struct random *r, enum view v, unsigned page, u64 frame, struct rights rights)
{
    u64 linear = view_base(v) + page * (u64)MEM_PAGE_SIZE;
    if (v == VIEW_KERNEL) {
        u64 strip = p->smap && page >= PAGE_DATA && page < PAGE_STACK && random_one_in(r, 3) ? 0 : PTE_U;
        u64 global = random_one_in(r, 2) ? PTE_G : 0;
        rights.now = (rights.now & ~strip) | global;
        rights.later = rights.later ? (rights.later & ~strip) | global : 0;
    }
    map(p, v == VIEW_USER_B, linear, frame | rights.now);
    if (rights.later) {
        program_vars(p)->fix[v][page].pte = RT_BASE + space_pte(p, v, page);
        program_vars(p)->fix[v][page].value = frame | rights.later;
    }
}

static void map_arena(struct program *p, struct random *r)
{
    bool writable = random_one_in(r, 2);
    u8 shuffle[2][DATA_PAGES];

    for (unsigned n = 0; n < 2; n++) {
        p->alias[n] = (u8)random_below(r, CODE_PAGES);
        shuffle_frames(r, shuffle[n]);
    }
    for (unsigned v = 0; v < VIEWS; v++)
        for (unsigned page = 0; page < ARENA_PAGES; page++)
            map_page(p, r, v, page, arena_frame(page_frame(p, shuffle[v == VIEW_USER_B], page)),
                     page_rights(r, page, writable));
    for (unsigned page = PAGE_DATA; page < PAGE_DATA + DATA_PAGES; page++)
        for (unsigned n = 0; n < 2; n++)
            map(p, n, LOW_BASE + page * (u64)MEM_PAGE_SIZE,
                arena_frame(page_frame(p, shuffle[0], page)) | data_rights(r).now);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

/* All of RAM at RT_BASE, in one large page or in small ones. */
static void map_ram(struct program *p, struct random *r)
{
    const u64 rights = PTE_P | PTE_W | PTE_A | PTE_D | PTE_G;
    if (random_one_in(r, 2)) {
        put_u64(p->ram + entry_make(p, p->space[0], RT_BASE, 1), rights | PTE_PS);
        return;
    }
    for (u64 at = 0; at < RAM_SIZE; at += MEM_PAGE_SIZE)
        map(p, 0, RT_BASE + at, at | rights);
}

/* Pages at the ends of the halves. The one at the end of the user half has code: jumps into it run off the end. */
static void map_edges(struct program *p)
{
    const u64 all = PTE_P | PTE_W | PTE_A | PTE_D;
    memset(p->ram + PA_EDGE, 0x90, MEM_PAGE_SIZE);
    p->ram[PA_EDGE + 0xff0] = 0xc3;
    for (unsigned n = 0; n < 2; n++) {
        map(p, n, EDGE_USER, PA_EDGE | all | PTE_U);
        map(p, n, EDGE_NULL, (PA_EDGE + 0x1000) | all | PTE_U);
    }
    map(p, 0, EDGE_KERNEL, (PA_EDGE + 0x2000) | all);
    map(p, 0, EDGE_TOP, (PA_EDGE + 0x3000) | all);
}

static void build_spaces(struct program *p, struct random *r)
{
    p->next_table = PA_TABLES;
    for (unsigned n = 0; n < 2; n++, p->next_table += MEM_PAGE_SIZE)
        p->space[n] = p->next_table;
    map_ram(p, r);
    map_edges(p);
    map(p, 0, KERNEL_BASE, 0);
    memcpy(p->ram + p->space[1] + 2048, p->ram + p->space[0] + 2048, 2048);
    map_arena(p, r);
    /* The large page of the runtime may be kept under any number; the user halves have one each. */
    for (unsigned n = 0; p->pcid && n < 2; n++)
        p->space[n] |= 1 + n;
}

static void put_tss(struct program *p)
{
    put_u64(p->ram + PA_TSS + 4, RT_BASE + STACK_RING0);
    put_u64(p->ram + PA_TSS + 0x24, RT_BASE + STACK_IST);
    put_u64(p->ram + PA_TSS + 0x2c, RT_BASE + STACK_DOUBLE);
}

static void put_gdt(struct program *p)
{
    static const u64 flat[] = {0,
                               0x00af9b000000ffff,  /* kernel code */
                               0x00cf93000000ffff,  /* kernel data */
                               0x00cffb000000ffff,  /* 32-bit user code, for STAR */
                               0x00cff3000000ffff,  /* user data */
                               0x00affb000000ffff}; /* user code */
    const u64 tss = RT_BASE + PA_TSS;
    memcpy(p->ram + PA_GDT, flat, sizeof(flat));
    put_u64(p->ram + PA_GDT + SEL_TSS, 0x67 | (tss & 0xffffff) << 16 | 0x8bull << 40 | (tss >> 24 & 0xff) << 56);
    put_u64(p->ram + PA_GDT + SEL_TSS + 8, tss >> 32);
}

/* Interrupt stacks: always the runtime's own, or in ring 0 where the program's stack pointer happens to be. */
static void put_idt(struct program *p, struct random *r)
{
    bool own = p->smap || random_one_in(r, 2);
    for (unsigned n = 0; n < VECTORS; n++) {
        u64 target = RT_BASE + PA_RUNTIME + 16 * n;
        u64 dpl = n == 3 || n == 4 || n >= 32 ? 3 : 0, ist = n == 8 ? 2 : own || random_one_in(r, 3) ? 1 : 0;
        put_u64(p->ram + PA_IDT + 16 * n, (target & 0xffff) | SEL_KCODE << 16 | ist << 32 | (0x8e | dpl << 5) << 40 |
                                              (target >> 16 & 0xffff) << 48);
        put_u64(p->ram + PA_IDT + 16 * n + 8, target >> 32);
    }
}

static void put_vars(struct program *p)
{
    struct runtime_vars *v = program_vars(p);
    memcpy(p->ram + PA_RUNTIME, runtime_start, (size_t)(runtime_end - runtime_start));
    v->log = RT_BASE + PA_LOG;
    v->left = RECORDS - 1;
    v->user = USER_BASE;
    v->kernel = KERNEL_BASE;
    v->recover = RT_BASE + arena_frame(PAGE_VARS) + VAR_RECOVER;
    v->space_a = p->space[0] & MEM_PAGE_MASK;
    v->syscall_ss = RT_BASE + STACK_SYSCALL;
    v->all = p->pcid;
    v->resume = RT_BASE + PA_RESUME;
}

void space_build(struct program *p, struct random *r)
{
    memset(p->ram, 0, RAM_SIZE);
    build_spaces(p, r);
    put_gdt(p);
    put_idt(p, r);
    put_tss(p);
    put_vars(p);
}
