/*
 * More than anybody keeps: the whole linear space mapped and touched here and there, thousands of address spaces with
 * and without PCIDs, more blocks of code than any cache holds, one page of code at tens of thousands of addresses,
 * jumps to as many targets. All must come out right, at a sane speed and with bounded memory (which the host side
 * sees). The tables that map everything are four pages: each entry of one leads to the next. SDM volume 3 section 4.5.
 */
#include "lib/probe.h"

#define EVERY      0x28000000000ull /* PML4 entries 5 to 255, and as many above the hole: one frame everywhere */
#define EVERY_HIGH 0xffff828000000000ull
#define OWN        0x18000000000ull /* entry 3: each address space's own */
#define BLOCKS     0x4000000ull     /* physical: code */
#define BLOCKS_END 0x4800000ull
#define BLOCK      32
#define SPACES     1500
#define CR3_KEEP   (1ull << 63)

static u64 *frame;
static u64 seed = 99;

static u64 random64(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return seed ^ seed >> 31;
}

static void map_everything(void)
{
    u64 *pdpt = page_alloc(), *pd = page_alloc(), *pt = page_alloc();
    frame = page_alloc();
    for (unsigned n = 0; n < 512; n++) {
        pdpt[n] = (u64)pd | PTE_P | PTE_W | PTE_U;
        pd[n] = (u64)pt | PTE_P | PTE_W | PTE_U;
        pt[n] = (u64)frame | PTE_P | PTE_W | PTE_U;
        if ((n >= 5 && n < 256) || n >= 261)
            pml4[n] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
    }
}

static u64 somewhere(void)
{
    u64 r = random64();
    return r & 1 ? EVERY + (r >> 4) % 0x700000000000 : EVERY_HIGH + (r >> 4) % 0x7c0000000000;
}

/* ------ data everywhere ------ */

static bool touch_wrong;
static void touch(void *arg)
{
    u64 count = (u64)arg;
    for (u64 n = 0; n < count; n++) {
        u64 at = somewhere() & ~(u64)7, off = at & (PAGE - 1);
        *(volatile u64 *)at = n;
        touch_wrong |= *(volatile u64 *)((at & ~(PAGE - 1) & ~0xffff000ull) + off) != n;
    }
}

/* Its seed is seen by CPL 3 at another address. */
static void touch_user(void *arg)
{
    u64 s = 12345, count = (u64)arg;
    for (u64 n = 0; n < count; n++) {
        s = s * 6364136223846793005ull + 1442695040888963407ull;
        *(volatile u64 *)(EVERY + (s ^ s >> 31) % 0x700000000000 / 8 * 8) = n;
    }
}

static void sparse(void)
{
    touch((void *)9000);
    check(!touch_wrong, "sparse stores went elsewhere");
    check(try_user(touch_user, (void *)6000).vector == -1, "sparse stores at CPL 3");
    touch((void *)2000);
    check(!touch_wrong, "sparse stores went elsewhere, after CPL 3's");
}

/* ------ many address spaces ------ */

static u64 *spaces[SPACES], *space_tables[SPACES];

/* The page that a space has at OWN is its page table: what stands there tells them apart. */
static void make_space(unsigned n)
{
    u64 *root = page_alloc(), *pdpt = page_alloc(), *pd = page_alloc(), *pt = page_alloc();
    for (unsigned k = 0; k < 512; k++)
        root[k] = pml4[k];
    root[OWN >> 39 & 511] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
    pdpt[0] = (u64)pd | PTE_P | PTE_W | PTE_U;
    pd[0] = (u64)pt | PTE_P | PTE_W | PTE_U;
    pt[0] = (u64)pt | PTE_P | PTE_U | PTE_A;
    spaces[n] = root;
    space_tables[n] = pt;
}

static u64 seen_by_user;
static void look(void *arg)
{
    *(u64 *)arg = *(volatile u64 *)OWN;
}

static void switch_around(bool pcid, u64 turns)
{
    for (u64 n = 0; n < turns; n++) {
        unsigned s = (unsigned)(random64() % SPACES);
        bool keep = pcid && random64() & 1;
        write_cr3((u64)spaces[s] | (pcid ? s + 1 : 0) | (keep ? CR3_KEEP : 0));
        u64 want = *space_tables[s], got = *(volatile u64 *)OWN;
        if (n % 8 == 0) {
            check(try_user(look, user_addr(&seen_by_user)).vector == -1, "space %u at CPL 3", s);
            got = seen_by_user == want ? got : seen_by_user;
        }
        if (got != want) {
            check(false, "space %u, pcid %d: saw %lx, want %lx", s, pcid, got, want);
            break;
        }
    }
    write_cr3((u64)pml4);
}

static void many_spaces(void)
{
    for (unsigned n = 0; n < SPACES; n++)
        make_space(n);
    switch_around(false, 6000);
    if (probe_has(1, 2, 17)) {
        write_cr4(read_cr4() | CR4_PCIDE);
        switch_around(true, 12000);
        write_cr4(read_cr4() & ~CR4_PCIDE);
    }
}

/* ------ many blocks ------ */

static u32 call(u64 at)
{
    u32 v;
    asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory", "cc", "rcx");
    return v;
}

static void many_blocks(void)
{
    u64 count = (BLOCKS_END - BLOCKS) / BLOCK;
    for (u64 n = 0; n < count; n++) {
        u8 *at = (u8 *)BLOCKS + n * BLOCK;
        at[0] = 0xb8, at[5] = 0xc3;
        for (unsigned k = 0; k < 4; k++)
            at[1 + k] = (u8)(n >> 8 * k);
    }
    for (unsigned pass = 0; pass < 2; pass++)
        for (u64 n = 0; n < count; n++)
            if (call(BLOCKS + n * BLOCK) != n) {
                check(false, "block %lu returned something else", n);
                return;
            }
}

/* ------ one page of code at many addresses ------ */

/* Its own address, and through as many pages as RCX says. */
SNIPPET(where, "lea (%rip),%rax; ret");
SNIPPET(march, "1: inc %eax; dec %ecx; jz 2f; jmp 1b+0x1000; 2: ret");

static void code_everywhere(void)
{
    probe_put(frame, where, where_end);
    probe_put((u8 *)frame + 256, march, march_end);
    for (unsigned n = 0; n < 3000; n++) {
        u64 at = somewhere() & ~(PAGE - 1), v;
        asm volatile("call *%1" : "=a"(v) : "r"(at) : "memory");
        if (v != at + 7) {
            check(false, "code at %lx says it is at %lx", at, v);
            return;
        }
    }
    for (unsigned turn = 0; turn < 2; turn++) {
        u32 sum = 0, steps = 4000;
        asm volatile("call *%2" : "+a"(sum), "+c"(steps) : "r"(EVERY + 256) : "memory", "cc");
        check(sum == 4000, "a march of 4000 pages took %u", sum);
    }
}

void test(void)
{
    probe_init();
    map_everything();
    sparse();
    many_spaces();
    many_blocks();
    code_everywhere();
}
