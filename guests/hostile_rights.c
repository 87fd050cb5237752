/*
 * Rights that change under hot code. Pages in three address spaces, in both halves of the linear space, with every
 * combination of rights; at random an entry is changed and flushed in one of the ways that the SDM allows, the address
 * space is switched, CR0.WP, CR4.SMEP, CR4.SMAP or EFLAGS.AC is changed; and after each, code that was run thousands of
 * times reads, writes, fetches from CPL 0 and 3. A plain model says what must come out: volume 3 section 4.6 (rights),
 * 4.7 (error codes), 4.8 (accessed and dirty), 4.10.4 (what each way of flushing flushes). So nothing that was used
 * before may be used after its flush, and nothing that the kernel used can be used by the user.
 */
#include "lib/probe.h"

#define LOW       0x18000000000ull      /* PML4 entry 3 */
#define HIGH      0xffff808000000000ull /* entry 257 */
#define SHARED    0xffff810000000000ull /* entry 258, one table for all spaces; may be global */
#define SPACES    3
#define REGIONS   3
#define PAGES     4
#define FRAMES    7
#define STEPS     4000
#define STRIDE    (8 * PAGE) /* of frames: they never lie next to each other */
#define EFER      0xc0000080
#define EFER_NXE  (1ull << 11)
#define CR3_KEEP  (1ull << 63)
#define PTE_FRAME 0xffffffffff000ull

static const u64 region_base[REGIONS] = {LOW, HIGH, SHARED};
static u64 *roots[SPACES];
static u64 *tables[SPACES][REGIONS]; /* page tables */
static bool stale[SPACES];           /* an entry was changed and not flushed: no CR3_KEEP next time */
static u8 *frames[FRAMES];
static u64 counters[FRAMES]; /* what stands in a frame at COUNTER */
static u8 *code;
static unsigned space;
static bool has_smep, has_smap, has_pcid, has_invpcid, pcid_on;
static struct {
    bool wp, smep, smap, ac;
} now;

/* Each frame: code that returns its number, its number as data, a counter, zeros. */
enum { FRAME_NUMBER = 64, FRAME_COUNTER = 2048 };

enum access { READ, WRITE, ADD, FETCH, WIDE_READ, WIDE_WRITE, PUSH, STRING, ACCESSES };
static const char *const access_name[ACCESSES] = {"read",      "write",      "locked add", "fetch",
                                                  "wide read", "wide write", "push",       "string"};
/* RDI: where; the result, if any, in RAX. Read: the number. Write, add, push, string: the counter, to RSI or by RSI. */
SNIPPET(do_read, "mov (%rdi),%rax");
SNIPPET(do_write, "mov %rsi,(%rdi)");
SNIPPET(do_add, "lock add %rsi,(%rdi)");
SNIPPET(do_fetch, "jmp *%rdi");
SNIPPET(do_wide_read, "movups -8(%rdi),%xmm0; movq %xmm0,%rax");
SNIPPET(do_wide_write, "movups %xmm1,-8(%rdi)");
SNIPPET(do_push, "lea 8(%rdi),%rsp; push %rsi");
SNIPPET(do_string, "mov %rsi,%rax; stosq");
static const struct {
    const u8 *code, *end;
} access_code[ACCESSES] = {
    {do_read, do_read_end},   {do_write, do_write_end},         {do_add, do_add_end},
    {do_fetch, do_fetch_end}, {do_wide_read, do_wide_read_end}, {do_wide_write, do_wide_write_end},
    {do_push, do_push_end},   {do_string, do_string_end}};

static bool writes(enum access a)
{
    return a != READ && a != FETCH && a != WIDE_READ;
}

/* ------ the model ------ */

/* -1, or the error code of the page fault. */
static int fault_of(u64 entry, enum access a, bool user)
{
    bool write = writes(a), fetch = a == FETCH;
    int err = (write ? ERR_W : 0) | (user ? ERR_U : 0) | (fetch ? ERR_I : 0);
    if (!(entry & PTE_P))
        return err;
    err |= ERR_P;
    if (user && !(entry & PTE_U))
        return err;
    if (fetch && entry & PTE_NX)
        return err;
    if (write && !(entry & PTE_W) && (user || now.wp))
        return err;
    if (!user && entry & PTE_U && (fetch ? now.smep : now.smap && !now.ac))
        return err;
    return -1;
}

static u64 linear_of(unsigned region, unsigned page)
{
    return region_base[region] + page * PAGE;
}

static unsigned frame_of(u64 entry)
{
    for (unsigned n = 0; n < FRAMES; n++)
        if ((entry & PTE_FRAME) == (u64)frames[n])
            return n;
    return 0;
}

/* ------ what changes ------ */

static void set_cr4(u64 bit, bool on)
{
    write_cr4(on ? read_cr4() | bit : read_cr4() & ~bit);
}

static void change_setting(void)
{
    switch (random32() % 4) {
    case 0:
        now.wp = !now.wp;
        write_cr0(now.wp ? read_cr0() | CR0_WP : read_cr0() & ~CR0_WP);
        break;
    case 1:
        now.smep = has_smep && !now.smep;
        set_cr4(CR4_SMEP, now.smep);
        break;
    case 2:
        now.smap = has_smap && !now.smap;
        set_cr4(CR4_SMAP, now.smap);
        break;
    default:
        now.ac = has_smap && !now.ac;
    }
}

static void invpcid(u64 type, u64 pcid, u64 address)
{
    u64 d[2] = {pcid, address};
    asm volatile("invpcid %0,%1" : : "m"(d), "r"(type) : "memory");
}

static u64 cr3_of(unsigned n)
{
    return (u64)roots[n] | (pcid_on ? n + 1 : 0);
}

static void switch_space(void)
{
    space = random32() % SPACES;
    bool keep = pcid_on && !stale[space] && random32() & 1;
    write_cr3(cr3_of(space) | (keep ? CR3_KEEP : 0));
    stale[space] = false;
}

static void toggle_global(void)
{
    write_cr4(read_cr4() ^ CR4_PGE);
    write_cr4(read_cr4() ^ CR4_PGE);
}

/* Some way that the SDM says is enough for this page of space s. */
static void flush(unsigned s, unsigned region, unsigned page)
{
    u64 linear = linear_of(region, page);
    unsigned how = random32() % 8;
    if (region == 2 && how < 5) { /* may be global */
        invlpg((void *)linear);
        for (unsigned n = 0; n < SPACES; n++)
            stale[n] |= pcid_on && n != space;
    } else if (has_invpcid && how == 5) {
        invpcid(2, 0, 0);
    } else if (region == 2 || how == 6) {
        toggle_global();
    } else if (s != space) {
        if (has_invpcid && pcid_on && how < 2)
            invpcid(how, s + 1, linear);
        else
            stale[s] = true;
    } else if (how < 3) {
        invlpg((void *)linear);
    } else if (has_invpcid && how == 3) {
        invpcid(0, pcid_on ? s + 1 : 0, linear);
    } else if (has_invpcid && how == 4) {
        invpcid(3, 0, 0);
    } else {
        write_cr3(cr3_of(space));
    }
}

static u64 random_entry(bool may_be_global)
{
    u32 r = random32();
    u64 flags = (r % 8 ? PTE_P : 0) | (r & 16 ? PTE_W : 0) | (r & 32 ? PTE_U : 0);
    if (r >> 6 & 1 && r >> 7 & 1)
        flags |= PTE_NX;
    if (may_be_global && r >> 8 & 1)
        flags |= PTE_G;
    return (u64)frames[(r >> 9) % FRAMES] | flags;
}

static void change_entry(void)
{
    unsigned s = random32() % SPACES, region = random32() % REGIONS, page = random32() % PAGES;
    u64 *entry = &tables[s][region][page];
    bool was_there = *entry & PTE_P;
    *entry = random_entry(region == 2);
    if (was_there || random32() & 1)
        flush(s, region, page);
}

static void toggle_pcid(void)
{
    if (!has_pcid || space != 0)
        return;
    write_cr3((u64)roots[0]);
    pcid_on = !pcid_on;
    set_cr4(CR4_PCIDE, pcid_on);
    write_cr3(cr3_of(0));
    toggle_global();
    for (unsigned n = 0; n < SPACES; n++)
        stale[n] = n != 0;
}

/* ------ accesses ------ */

static void set_registers(struct probe *p, enum access a, bool user, u64 address)
{
    probe_fill(p, user);
    p->r.rip = (u64)code + a * 128 + (user ? USER_BASE : 0);
    p->r.rdi = address;
    if (now.ac)
        p->r.rflags |= RFLAGS_AC;
}

static u64 address_of(enum access a, unsigned region, unsigned page)
{
    u64 linear = linear_of(region, page);
    return a == FETCH                          ? linear
           : a == READ                         ? linear + FRAME_NUMBER
           : a >= WIDE_READ && a <= WIDE_WRITE ? linear
                                               : linear + FRAME_COUNTER;
}

static void check_fault(const struct probe *p, enum access a, bool user, u64 address, int error, u64 entry)
{
    check(p->r.vector == 14 && p->r.error == (u64)error && p->cr2 == address,
          "%s of %lx at CPL %u: vector %lu error %lx cr2 %lx; want error %x (entry %lx, wp %d smep %d smap %d ac %d "
          "pcid %d)",
          access_name[a], address, user ? 3 : 0, p->r.vector, p->r.error, p->cr2, (unsigned)error, entry, now.wp,
          now.smep, now.smap, now.ac, pcid_on);
}

static void check_done(const struct probe *p, enum access a, bool user, u64 address, u64 entry)
{
    unsigned f = frame_of(entry);
    if (p->r.vector != NO_FAULT) {
        check(false,
              "%s of %lx at CPL %u: vector %lu error %lx cr2 %lx; want none (entry %lx, wp %d smep %d smap %d "
              "ac %d pcid %d)",
              access_name[a], address, user ? 3 : 0, p->r.vector, p->r.error, p->cr2, entry, now.wp, now.smep, now.smap,
              now.ac, pcid_on);
        return;
    }
    if (a == READ || a == FETCH)
        check((u32)p->r.rax == f + 1, "%s of %lx: frame %lu, want %u", access_name[a], address, p->r.rax, f + 1);
    else
        counters[f] = a == ADD ? counters[f] + p->r.rsi : p->r.rsi;
    check(*(u64 *)(frames[f] + FRAME_COUNTER) == counters[f], "%s of %lx: frame %u has %lx, want %lx", access_name[a],
          address, f + 1, *(u64 *)(frames[f] + FRAME_COUNTER), counters[f]);
}

static void check_marks(const char *name, u64 address, u64 entry, u64 before, bool write)
{
    check((entry & PTE_A) && (!write || entry & PTE_D) && (write || (entry & PTE_D) == (before & PTE_D)),
          "%s of %lx: entry %lx, was %lx", name, address, entry, before);
}

static void access_page(enum access a, bool user, unsigned region, unsigned page)
{
    struct probe p;
    u64 *entry = &tables[space][region][page], before = *entry, address = address_of(a, region, page);
    set_registers(&p, a, user, address);
    probe_run(&p);
    int error = fault_of(before, a, user);
    if (error >= 0) {
        check_fault(&p, a, user, address, error, before);
        check(!((*entry ^ before) & PTE_D), "%s of %lx: dirty after a fault", access_name[a], address);
        return;
    }
    check_done(&p, a, user, address, before);
    check_marks(access_name[a], address, *entry, before, writes(a));
}

/* 8 bytes of this page, 8 of the one before. */
static void access_edge(enum access a, bool user, unsigned region, unsigned page)
{
    struct probe p;
    u64 *entry = &tables[space][region][page], first = entry[-1], second = entry[0];
    u64 address = address_of(a, region, page), word;
    int error[2] = {fault_of(first, a, user), fault_of(second, a, user)};
    u8 *end = frames[frame_of(first)] + PAGE - 8, *start = frames[frame_of(second)];
    u64 was[2] = {*(u64 *)end, *(u64 *)start};
    set_registers(&p, a, user, address);
    for (unsigned n = 0; n < 16; n++)
        p.ymm[1][n] = n < 8 ? (u8)random32() : ((u8 *)&was[1])[n - 8];
    __builtin_memcpy(&word, p.ymm[1], 8);
    probe_run(&p);
    if (error[0] < 0 && error[1] < 0) {
        check(p.r.vector == NO_FAULT, "%s across %lx, CPL %u: vector %lu error %lx cr2 %lx (entries %lx %lx)",
              access_name[a], address, user ? 3 : 0, p.r.vector, p.r.error, p.cr2, first, second);
        check(a == WIDE_READ ? p.r.rax == was[0] : *(u64 *)end == word, "%s across %lx: other bytes", access_name[a],
              address);
        return;
    }
    bool at_first = p.cr2 == address - 8 && error[0] >= 0 && p.r.error == (u64)error[0];
    bool at_second = p.cr2 == address && error[1] >= 0 && p.r.error == (u64)error[1];
    check(p.r.vector == 14 && (at_first || at_second),
          "%s across %lx, CPL %u: vector %lu error %lx cr2 %lx, want %x or %x (entries %lx %lx)", access_name[a],
          address, user ? 3 : 0, p.r.vector, p.r.error, p.cr2, error[0], error[1], first, second);
    check(*(u64 *)end == was[0] && *(u64 *)start == was[1], "%s across %lx faulted and stored", access_name[a],
          address);
}

static void access_some(unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        enum access a = random32() % ACCESSES;
        bool user = random32() & 1;
        unsigned region = random32() % REGIONS, page = random32() % PAGES;
        if (a != WIDE_READ && a != WIDE_WRITE)
            access_page(a, user, region, page);
        else if (page)
            access_edge(a, user, region, page);
    }
}

/* ------ tables ------ */

/* Each frame begins with mov $number, %eax; int3: a fetch of it ends the probe. */
static void make_frames(void)
{
    u8 *p = page_alloc();
    for (unsigned n = 0; n < FRAMES * STRIDE / PAGE; n++)
        page_alloc();
    for (unsigned n = 0; n < FRAMES; n++) {
        frames[n] = p + n * STRIDE;
        frames[n][0] = 0xb8, frames[n][1] = (u8)(n + 1), frames[n][5] = 0xcc;
        *(u64 *)(frames[n] + FRAME_NUMBER) = n + 1;
    }
}

/* An own table for a region, or that of space 0. */
static void make_region(unsigned s, unsigned region)
{
    unsigned top = region_base[region] >> 39 & 511;
    if (region == 2 && s) {
        roots[s][top] = roots[0][top];
        tables[s][region] = tables[0][region];
        return;
    }
    u64 *pdpt = page_alloc(), *pd = page_alloc(), *pt = page_alloc();
    roots[s][top] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
    pdpt[region_base[region] >> 30 & 511] = (u64)pd | PTE_P | PTE_W | PTE_U;
    pd[region_base[region] >> 21 & 511] = (u64)pt | PTE_P | PTE_W | PTE_U;
    for (unsigned n = 0; n < PAGES; n++)
        pt[n] = random_entry(region == 2);
    tables[s][region] = pt;
}

static void make_spaces(void)
{
    for (unsigned s = 0; s < SPACES; s++) {
        roots[s] = page_alloc();
        for (unsigned n = 0; n < 512; n++)
            roots[s][n] = pml4[n];
        for (unsigned region = 0; region < REGIONS; region++)
            make_region(s, region);
    }
    write_cr4(read_cr4() | CR4_PGE);
    write_cr3((u64)roots[0]);
}

static void step(void)
{
    u32 r = random32() % 16;
    if (r < 9)
        change_entry();
    else if (r < 12)
        change_setting();
    else if (r < 15)
        switch_space();
    else if (random32() % 8 == 0)
        toggle_pcid();
    access_some(6);
}

/* ------ privilege ------ */

/*
 * Code at an address that both rings may run, hot at CPL 0: the same bytes at CPL 3 must fault at once, with nothing
 * done. RAX and RDX are 0 or what the instruction needs to change nothing, RCX is an MSR or 0, RDI a descriptor-table
 * register's image.
 */
#define BOTH 0x1c000000000ull
#define PRIVILEGED(X)                                                                                                  \
    X(cli, "cli", 13, 0)                                                                                               \
    X(sti, "sti", 13, 0)                                                                                               \
    X(swapgs, "swapgs", 13, 0)                                                                                         \
    X(clts, "clts", 13, 0)                                                                                             \
    X(read_cr0, "mov %cr0,%rax", 13, 0)                                                                                \
    X(write_cr0, "mov %rbx,%cr0", 13, 0)                                                                               \
    X(write_cr3, "mov %rbp,%cr3", 13, 0)                                                                               \
    X(write_cr8, "mov %rax,%cr8", 13, 0)                                                                               \
    X(read_dr, "mov %dr7,%rax", 13, 0)                                                                                 \
    X(write_dr, "mov %rax,%dr0", 13, 0)                                                                                \
    X(rdmsr, "rdmsr", 13, 0)                                                                                           \
    X(wrmsr, "wrmsr", 13, 0)                                                                                           \
    X(invlpg, "invlpg (%rdi)", 13, 0)                                                                                  \
    X(lgdt, "lgdt (%rdi)", 13, 0)                                                                                      \
    X(lidt, "lidt 16(%rdi)", 13, 0)                                                                                    \
    X(lldt, "lldt %ax", 13, 0)                                                                                         \
    X(wbinvd, "wbinvd", 13, 0)                                                                                         \
    X(in, "in $0x61,%al", 13, 0)                                                                                       \
    X(out, "out %al,$0x80", 13, 0)                                                                                     \
    X(insb, "mov $0x61,%edx; insb", 13, 0)                                                                             \
    X(int_gate, "int $0x70", 13, 0x70 * 8 + 2)                                                                         \
    X(stack_segment, "mov %esi,%ss", 13, SEL_DATA)                                                                     \
    X(far_jump, "rex.W ljmp *32(%rdi)", 13, SEL_CODE64)                                                                \
    X(far_return,                                                                                                      \
      "push %rsi; lea 3f(%rip),%rax; mov %cs,%esi; mov %rsi,(%rsp); push %rax; mov $8,%esi; "                          \
      "mov %rsi,8(%rsp); lretq; 3:",                                                                                   \
      13, SEL_CODE64)                                                                                                  \
    X(iret, "mov %rsp,%rsi; push $0x10; push %rsi; push $2; push $8; lea 3f(%rip),%rax; push %rax; iretq; 3:", 13,     \
      SEL_CODE64)
#define PRIVILEGED_SNIPPET(name, text, vector, error) SNIPPET(only_kernel_##name, text);
PRIVILEGED(PRIVILEGED_SNIPPET)

static const struct {
    const char *name;
    const u8 *code, *end;
    unsigned vector, error;
} privileged[] = {
#define PRIVILEGED_ROW(name, text, vector, error) {#name, only_kernel_##name, only_kernel_##name##_end, vector, error},
    PRIVILEGED(PRIVILEGED_ROW)};

SNIPPET(only_iret, "iretq");

static void privileged_registers(struct probe *p, bool user, u8 *image)
{
    probe_fill(p, user);
    p->r.rip = BOTH;
    p->r.rax = p->r.rdx = 0;
    p->r.rcx = 0x174;
    p->r.rbx = read_cr0();
    p->r.rbp = read_cr3();
    p->r.rsi = SEL_DATA;
    p->r.rdi = (u64)(user ? user_addr(image) : image);
}

static void privileged_code(void)
{
    u8 *page = page_alloc(), *image = page_alloc();
    map_page(BOTH, (u64)page, PTE_P | PTE_W | PTE_U);
    set_gate(0x70, (void (*)(void))(u64)only_iret, SEL_CODE64, 0x8e, 0);
    asm volatile("sgdt (%0); sidt 16(%0)" : : "r"(image) : "memory");
    for (unsigned n = 0; n < sizeof(privileged) / sizeof(privileged[0]); n++) {
        struct probe p, before;
        unsigned size = probe_put(page, privileged[n].code, privileged[n].end);
        *(u64 *)(image + 32) = BOTH + size;
        *(u16 *)(image + 40) = SEL_CODE64;
        for (unsigned k = 0; k < 36; k++) {
            bool user = k % 12 > 9;
            privileged_registers(&p, user, image);
            before = p;
            probe_run(&p);
            if (!user) {
                check(p.r.vector == NO_FAULT, "%s at CPL 0: vector %lu error %lx", privileged[n].name, p.r.vector,
                      p.r.error);
                continue;
            }
            check(p.r.vector == privileged[n].vector && p.r.error == privileged[n].error,
                  "%s at CPL 3: vector %lu error %lx", privileged[n].name, p.r.vector, p.r.error);
            check(size > 5 || (p.r.rip == BOTH && probe_same(&before, &p, 0)), "%s at CPL 3: rip %lx",
                  privileged[n].name, p.r.rip);
        }
    }
}

/* POPF and STI's effect on IF at CPL 3: none, without a fault (SDM volume 2, POPF). */
SNIPPET(set_if, "pushfq; orl $0x3200,(%rsp); popfq; pushfq; pop %rax");
static void flags_of_users(void)
{
    u8 *page = (u8 *)(*page_entry(BOTH, 1) & PTE_FRAME);
    struct probe p;
    probe_put(page, set_if, set_if_end);
    for (unsigned n = 0; n < 24; n++) {
        bool user = n % 12 > 9;
        probe_fill(&p, user);
        p.r.rip = BOTH;
        probe_run(&p);
        u64 want = user ? 0 : 0x3200;
        check(p.r.vector == NO_FAULT && (p.r.rax & 0x3200) == want && (p.r.rflags & 0x3200) == want,
              "POPF at CPL %u: vector %lu rflags %lx", user ? 3 : 0, p.r.vector, p.r.rflags);
    }
}

/* One frame at two addresses, the second the supervisor's alone: a jump from one to the other that the supervisor makes
 * all the time is still a page fault for the user. Directly, and through a register. */
SNIPPET(through_register, "jmp *%rdi");
static void two_addresses(void)
{
    const u64 other = BOTH + 16 * PAGE;
    u8 *page = page_alloc();
    map_page(BOTH, (u64)page, PTE_P | PTE_W | PTE_U);
    map_page(other, (u64)page, PTE_P | PTE_W);
    const u32 distance = (u32)(other + 64 - (BOTH + 5));
    page[0] = 0xe9;
    for (unsigned k = 0; k < 4; k++)
        page[1 + k] = (u8)(distance >> 8 * k);
    probe_put(page + 32, through_register, through_register_end);
    page[64] = 0xcc;
    for (unsigned n = 0; n < 48; n++) {
        struct probe p;
        bool user = n % 12 > 9;
        probe_fill(&p, user);
        p.r.rip = BOTH + (n & 1 ? 32 : 0);
        p.r.rdi = other + 64;
        probe_run(&p);
        if (user)
            check(p.r.vector == 14 && p.r.error == (ERR_P | ERR_U | ERR_I) && p.r.rip == other + 64 &&
                      p.cr2 == other + 64,
                  "user at the supervisor's address: vector %lu error %lx rip %lx", p.r.vector, p.r.error, p.r.rip);
        else
            check(p.r.vector == NO_FAULT, "supervisor at its address: vector %lu rip %lx", p.r.vector, p.r.rip);
    }
}

void test(void)
{
    probe_init();
    has_smep = probe_has(7, 1, 7), has_smap = probe_has(7, 1, 20), has_invpcid = probe_has(7, 1, 10);
    has_pcid = probe_has(1, 2, 17);
    now.wp = true;
    code = page_alloc();
    for (unsigned n = 0; n < ACCESSES; n++)
        probe_put(code + n * 128, access_code[n].code, access_code[n].end);
    privileged_code();
    flags_of_users();
    two_addresses();
    make_frames();
    make_spaces();
    for (unsigned n = 0; n < STEPS; n++)
        step();
}
