/*
 * 4-level paging: every combination of rights in the PTE and the PDE against every kind of access under every setting
 * of CR0.WP, CR4.SMEP, CR4.SMAP, EFLAGS.AC and EFER.NXE: whether it faults, the error code, CR2, and the accessed and
 * dirty bits (SDM volume 3 sections 4.6 to 4.8). Then large pages, reserved bits, INVLPG, global pages and PCIDs.
 */
#include "lib/guest.h"

#define CR4_PGE   (1ull << 7)
#define CR4_PCIDE (1ull << 17)
#define CR4_SMEP  (1ull << 20)
#define CR4_SMAP  (1ull << 21)
#define CR0_WP    (1ull << 16)
#define EFER      0xc0000080
#define EFER_NXE  (1ull << 11)

enum { ERR_P = 1, ERR_W = 2, ERR_U = 4, ERR_RSVD = 8, ERR_I = 16 };

#define TEST_VA 0x18000000000ull /* PML4 entry 3: nothing else is there */

static u8 *target; /* physical page behind TEST_VA; starts with a return instruction */
static u64 *pde, *pte;
static bool has_smep, has_smap, has_pcid, has_invpcid, has_1g;

enum access { READ, WRITE, FETCH, USER_READ, USER_WRITE, USER_FETCH, ACCESSES };
static const char *const access_name[] = {"read", "write", "fetch", "user read", "user write", "user fetch"};

struct
try {
    u64 va;
    bool ac;
};

static void do_read(void *arg)
{
    struct try *t = arg;
    if (t->ac)
        asm volatile("stac; mov 8(%0),%%al; clac" : : "r"(t->va) : "rax", "memory");
    else
        asm volatile("mov 8(%0),%%al" : : "r"(t->va) : "rax", "memory");
}

static void do_write(void *arg)
{
    struct try *t = arg;
    if (t->ac)
        asm volatile("stac; movb $1,8(%0); clac" : : "r"(t->va) : "memory");
    else
        asm volatile("movb $1,8(%0)" : : "r"(t->va) : "memory");
}

static void do_fetch(void *arg)
{
    struct try *t = arg;
    asm volatile("call *%0" : : "r"(t->va) : "memory");
}

/* At CPL 3 STAC is #UD; the user's AC means nothing. */
static void user_read(void *arg)
{
    asm volatile("mov 8(%0),%%al" : : "r"(TEST_VA) : "rax", "memory");
}

static void user_write(void *arg)
{
    asm volatile("movb $1,8(%0)" : : "r"(TEST_VA) : "memory");
}

static void user_fetch(void *arg)
{
    asm volatile("call *%0" : : "r"(TEST_VA) : "memory");
}

static struct fault attempt(enum access a, bool ac)
{
    struct try t = {TEST_VA, ac};
    switch (a) {
    case READ:
        return try_call(do_read, &t);
    case WRITE:
        return try_call(do_write, &t);
    case FETCH:
        return try_call(do_fetch, &t);
    case USER_READ:
        return try_user(user_read, NULL);
    case USER_WRITE:
        return try_user(user_write, NULL);
    default:
        return try_user(user_fetch, NULL);
    }
}

struct setting {
    bool wp, smep, smap, nxe, ac;
};

/* What the manual says; -1 or the error code. */
static int expected(u64 pde_flags, u64 pte_flags, enum access a, const struct setting *s)
{
    bool user = a >= USER_READ, write = a == WRITE || a == USER_WRITE, fetch = a == FETCH || a == USER_FETCH;
    int err = (write ? ERR_W : 0) | (user ? ERR_U : 0) | (fetch && (s->nxe || s->smep) ? ERR_I : 0);
    u64 both = pde_flags & pte_flags;
    bool nx = s->nxe && ((pde_flags | pte_flags) & PTE_NX);

    if (!(pde_flags & PTE_P))
        return err;
    if (!s->nxe && (pde_flags & PTE_NX))
        return err | ERR_P | ERR_RSVD;
    if (!(pte_flags & PTE_P))
        return err;
    if (!s->nxe && (pte_flags & PTE_NX))
        return err | ERR_P | ERR_RSVD;
    if (user && !(both & PTE_U))
        return err | ERR_P;
    if (fetch && nx)
        return err | ERR_P;
    if (write && !(both & PTE_W) && (user || s->wp))
        return err | ERR_P;
    if (!user && (both & PTE_U)) {
        if (fetch && s->smep)
            return err | ERR_P;
        if (!fetch && s->smap && !s->ac)
            return err | ERR_P;
    }
    return -1;
}

static void apply(const struct setting *s)
{
    write_cr0(s->wp ? read_cr0() | CR0_WP : read_cr0() & ~CR0_WP);
    u64 cr4 = read_cr4() & ~(CR4_SMEP | CR4_SMAP);
    write_cr4(cr4 | (s->smep ? CR4_SMEP : 0) | (s->smap ? CR4_SMAP : 0));
    u64 efer = rdmsr(EFER);
    wrmsr(EFER, s->nxe ? efer | EFER_NXE : efer & ~EFER_NXE);
}

static u64 flags_of(unsigned n)
{
    return (n & 1 ? PTE_P : 0) | (n & 2 ? PTE_W : 0) | (n & 4 ? PTE_U : 0) | (n & 8 ? PTE_NX : 0);
}

static void one_case(u64 dir, u64 page, enum access a, const struct setting *s)
{
    u64 table = *pde & 0xffffffffff000ull;
    *pde = table | dir;
    *pte = (u64)target | page;
    invlpg((void *)TEST_VA);
    struct fault f = attempt(a, s->ac);
    int want = expected(dir, page, a, s), got = f.vector < 0 ? -1 : f.vector == 14 ? (int)f.error : 1000 + f.vector;
    u64 after = *pte, dir_after = *pde;
    *pde = table | PTE_P | PTE_W | PTE_U;

    check(got == want, "%s pde %lx pte %lx wp %d smep %d smap %d nxe %d ac %d: got %d, want %d", access_name[a], dir,
          page, s->wp, s->smep, s->smap, s->nxe, s->ac, got, want);
    if (want >= 0) {
        check(f.vector != 14 || f.cr2 == TEST_VA + (a == FETCH || a == USER_FETCH ? 0 : 8), "cr2 %lx", f.cr2);
        check(!(after & PTE_D), "dirty after a fault: %lx", after);
    } else {
        bool write = a == WRITE || a == USER_WRITE;
        check(after & PTE_A && dir_after & PTE_A, "%s: not accessed: pte %lx pde %lx", access_name[a], after,
              dir_after);
        check(!!(after & PTE_D) == write, "%s: dirty bit is wrong: %lx", access_name[a], after);
    }
}

static void rights(void)
{
    for (unsigned n = 0; n < 32; n++) {
        struct setting s = {n & 1, n & 2, n & 4, n & 8, n & 16};
        if ((s.smep && !has_smep) || (s.smap && !has_smap) || (s.ac && !has_smap))
            continue;
        apply(&s);
        for (unsigned d = 0; d < 16; d++)
            for (unsigned p = 0; p < 16; p++)
                for (enum access a = 0; a < ACCESSES; a++)
                    one_case(flags_of(d), flags_of(p), a, &s);
    }
    apply(&(struct setting){.wp = true, .nxe = true});
}

/* A right that was taken away by a store to the entry holds at the latest after INVLPG; one that was given holds at
 * once after the fault (the processor must not cache a missing translation). */
static void invalidation(void)
{
    *pte = (u64)target | PTE_P;
    invlpg((void *)TEST_VA);
    check(try_call(do_read, &(struct try){TEST_VA, 0}).vector == -1, "read of a present page");
    check(try_call(do_write, &(struct try){TEST_VA, 0}).vector == 14, "write of a read-only page");
    *pte |= PTE_W;
    check(try_call(do_write, &(struct try){TEST_VA, 0}).vector == -1, "a given right was not seen");
    *pte = 0;
    invlpg((void *)TEST_VA);
    check(try_call(do_read, &(struct try){TEST_VA, 0}).vector == 14, "INVLPG had no effect");
    *pte = (u64)target | PTE_P | PTE_W;
    check(try_call(do_read, &(struct try){TEST_VA, 0}).vector == -1, "a missing page was cached");

    u8 *other = page_alloc();
    other[0] = 0x42;
    *pte = (u64)other | PTE_P | PTE_W;
    write_cr3(read_cr3());
    check(*(volatile u8 *)TEST_VA == 0x42, "CR3 load did not flush");
    *pte = (u64)target | PTE_P | PTE_W;
    write_cr3(read_cr3());
}

static void reserved_bits(void)
{
    u32 r[4];
    cpuid(0x80000008, 0, r);
    unsigned width = r[0] & 0xff;
    for (unsigned bit = width; bit < 52; bit++) {
        *pte = (u64)target | PTE_P | PTE_W | 1ull << bit;
        invlpg((void *)TEST_VA);
        struct fault f = try_call(do_read, &(struct try){TEST_VA, 0});
        check(f.vector == 14 && f.error == (ERR_P | ERR_RSVD), "reserved bit %u: vector %d error %lx", bit, f.vector,
              f.error);
    }
    *pte = (u64)target | PTE_P | PTE_W;
    invlpg((void *)TEST_VA);
    u64 old = *pde;
    *pde = (u64)0x2000 | PTE_P | PTE_W | PTE_PS; /* a 2 MiB page whose bit 13 is set */
    invlpg((void *)TEST_VA);
    struct fault f = try_call(do_read, &(struct try){TEST_VA, 0});
    check(f.vector == 14 && f.error == (ERR_P | ERR_RSVD), "2 MiB page's reserved bit: %d %lx", f.vector, f.error);
    *pde = old;
    invlpg((void *)TEST_VA);
    u64 *pml4e = page_entry(TEST_VA, 4);
    *pml4e |= PTE_PS;
    write_cr3(read_cr3());
    f = try_call(do_read, &(struct try){TEST_VA, 0});
    check(f.vector == 14 && f.error == (ERR_P | ERR_RSVD), "PML4E.PS: %d %lx", f.vector, f.error);
    *pml4e &= ~(u64)PTE_PS;
    write_cr3(read_cr3());
}

static void large_pages(void)
{
    u64 old = *pde;
    volatile u32 *low = (u32 *)0x600000, *high = (u32 *)0x7ffffc;
    *low = 0x1234, *high = 0x5678;
    *pde = 0x600000 | PTE_P | PTE_W | PTE_PS;
    invlpg((void *)TEST_VA);
    check(*(volatile u32 *)TEST_VA == 0x1234 && *(volatile u32 *)(TEST_VA + 0x1ffffc) == 0x5678, "2 MiB page");
    check(!(*pde & PTE_D) && (*pde & PTE_A), "2 MiB page's A and D after reads: %lx", *pde);
    *(volatile u32 *)(TEST_VA + 0x1000) = 1;
    check(*pde & PTE_D, "2 MiB page's D");
    /* INVLPG of one address takes the whole page away. */
    *pde = 0x800000 | PTE_P | PTE_W | PTE_PS;
    *(volatile u32 *)0x800000 = 0x9999;
    invlpg((void *)(TEST_VA + 0x123456));
    check(*(volatile u32 *)TEST_VA == 0x9999, "INVLPG inside a 2 MiB page left a part of it");
    *pde = old;
    invlpg((void *)TEST_VA);
    if (has_1g) {
        u64 *pdpte = page_entry(TEST_VA, 3), save = *pdpte;
        *pdpte = 0 | PTE_P | PTE_W | PTE_PS;
        write_cr3(read_cr3());
        check(*(volatile u32 *)(TEST_VA + 0x600000) == 0x1234, "1 GiB page");
        *pdpte = save;
        write_cr3(read_cr3());
    }
}

static void global_pages(void)
{
    write_cr4(read_cr4() | CR4_PGE);
    u8 *other = page_alloc();
    other[0] = 0x77;
    *(volatile u8 *)target = 0xc3;
    *pte = (u64)target | PTE_P | PTE_W | PTE_G;
    invlpg((void *)TEST_VA);
    (void)*(volatile u8 *)TEST_VA;
    *pte = (u64)other | PTE_P | PTE_W | PTE_G;
    invlpg((void *)TEST_VA);
    check(*(volatile u8 *)TEST_VA == 0x77, "INVLPG did not flush a global page");
    *pte = (u64)target | PTE_P | PTE_W | PTE_G;
    write_cr4(read_cr4() & ~CR4_PGE);
    write_cr4(read_cr4() | CR4_PGE);
    check(*(volatile u8 *)TEST_VA == 0xc3, "a change of CR4.PGE did not flush a global page");
    write_cr4(read_cr4() & ~CR4_PGE);
}

static void invpcid(u64 type, u64 pcid, u64 address)
{
    struct {
        u64 pcid, address;
    } d = {pcid, address};
    asm volatile("invpcid %0,%1" : : "m"(d), "r"(type) : "memory");
}

/* The same linear address in two address spaces with their own PCIDs. */
static void pcids(void)
{
    u64 root = read_cr3();
    u64 *pml4_2 = page_alloc(), *pdpt_2 = page_alloc(), *pd_2 = page_alloc(), *pt_2 = page_alloc();
    for (unsigned n = 0; n < 512; n++)
        pml4_2[n] = ((u64 *)root)[n];
    u8 *other = page_alloc(), *third = page_alloc();
    *other = 0x22, *third = 0x33, *target = 0x11;
    pml4_2[3] = (u64)pdpt_2 | 3, pdpt_2[0] = (u64)pd_2 | 3, pd_2[0] = (u64)pt_2 | 3, pt_2[0] = (u64)other | 3;
    *pte = (u64)target | 3;
    volatile u8 *p = (u8 *)TEST_VA;

    write_cr4(read_cr4() | CR4_PCIDE);
    write_cr3(root | 1);
    check(*p == 0x11, "PCID 1");
    write_cr3((u64)pml4_2 | 2);
    check(*p == 0x22, "PCID 2");
    write_cr3(root | 1 | 1ull << 63);
    check(*p == 0x11, "PCID 1 again");
    pt_2[0] = (u64)third | 3;
    if (has_invpcid) {
        invpcid(0, 2, TEST_VA);
        write_cr3((u64)pml4_2 | 2 | 1ull << 63);
        check(*p == 0x33, "INVPCID of one address");
        pt_2[0] = (u64)other | 3;
        invpcid(1, 2, 0);
        check(*p == 0x22, "INVPCID of one PCID");
        pt_2[0] = (u64)third | 3;
        invpcid(3, 0, 0);
        check(*p == 0x33, "INVPCID of all but global");
        pt_2[0] = (u64)other | 3;
        invpcid(2, 0, 0);
        check(*p == 0x22, "INVPCID of all");
    }
    pt_2[0] = (u64)third | 3;
    write_cr3((u64)pml4_2 | 2);
    check(*p == 0x33, "CR3 load without bit 63 flushes its PCID");
    write_cr3(root);
    write_cr4(read_cr4() & ~CR4_PCIDE);
    *target = 0xc3;
}

static void set_pcide_wrongly(void *arg)
{
    write_cr4(read_cr4() | CR4_PCIDE);
}

static void read_address(void *arg)
{
    (void)*(volatile u8 *)arg;
}

static void push_there(void *arg)
{
    asm volatile("mov %%rsp,%%rax; mov %0,%%rsp; push %%rax; mov %%rax,%%rsp" : : "r"(arg) : "rax", "memory");
}

static void canonical(void)
{
    static const u64 bad[] = {0x800000000000, 0xffff7fffffffffff, 0x8000000000000000, 0x1000000000000};
    for (unsigned n = 0; n < 4; n++) {
        struct fault f = try_call(read_address, (void *)bad[n]);
        check(f.vector == 13 && f.error == 0, "read of %lx: %d %lx", bad[n], f.vector, f.error);
    }
    struct fault f = try_call(read_address, (void *)0xffff800000000000);
    check(f.vector == 14 && f.cr2 == 0xffff800000000000, "canonical hole's upper end: %d", f.vector);
    idt[12].ist = idt[13].ist = 1; /* the stack is unusable when it comes */
    f = try_call(push_there, (void *)0x800000000100);
    idt[12].ist = idt[13].ist = 0;
    check(f.vector == 12 && f.error == 0, "push to a non-canonical address: %d %lx", f.vector, f.error);
}

void test(void)
{
    u32 r[4];
    cpuid(7, 0, r);
    has_smep = r[1] >> 7 & 1, has_smap = r[1] >> 20 & 1, has_invpcid = r[1] >> 10 & 1;
    cpuid(1, 0, r);
    has_pcid = r[2] >> 17 & 1;
    cpuid(0x80000001, 0, r);
    has_1g = r[3] >> 26 & 1;
    print("smep %d smap %d pcid %d invpcid %d 1g %d\n", has_smep, has_smap, has_pcid, has_invpcid, has_1g);

    target = page_alloc();
    *target = 0xc3;
    map_page(TEST_VA, (u64)target, PTE_P | PTE_W);
    pde = page_entry(TEST_VA, 2), pte = page_entry(TEST_VA, 1);
    rights();
    invalidation();
    reserved_bits();
    large_pages();
    global_pages();
    canonical();
    if (has_pcid) {
        pcids();
        write_cr3(read_cr3() | 8);
        check(try_call(set_pcide_wrongly, NULL).vector == 13, "CR4.PCIDE with CR3[11:0] not 0");
    }
}
