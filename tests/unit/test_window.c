/*
 * Windows (engine/translate/window.h): what their entries lead to, and that nothing in them outlives the translation it
 * was made from. The second is what keeps guest code inside what its page tables allow, so a random sequence of changes
 * and accesses is held against the page walk: after each change is followed by the invalidation that the manual asks
 * for, whatever an entry lets through must be what the walk says.
 *
 * The seed is printed; RING3_TEST_SEED takes another.
 */
#define REG_RIP HOST_RIP /* isa/insn.h has one, too */
#include <signal.h>
#undef REG_RIP

#include <asm/prctl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../seed.h"
#include "cpu/control.h"
#include "cpu/mmu.h"
#include "cpu/segment.h"
#include "cpu/walk.h"
#include "engine/translate/window.h"
#include "mem/code.h"
#include "vcpu.h"

#define RAM_SIZE  MiB(64)
#define AT_POOL   MiB(1) /* page tables */
#define AT_PAGES  MiB(4) /* what is mapped */
#define MISS_SLOT 0x1111000
#define MISS_JUMP 0x2222000
#define SPACES    12

#define P    BIT64(0)
#define RW   BIT64(1)
#define US   BIT64(2)
#define A    BIT64(5)
#define D    BIT64(6)
#define PS   BIT64(7)
#define G    BIT64(8)
#define NX   BIT64(63)
#define KERN (P | RW | A | D)
#define USER (KERN | US)

static struct vm vm;
static struct cpu *c;
static struct windows *ws;
static u64 table_next, table_spare;
static u64 root[SPACES];
static u64 fault_address;
static bool armed;

/* Each access is the function's first instruction; where it faults, false is returned. */
bool guarded_load(u64 host, u64 *value);
bool guarded_store(u64 host, u64 value);
extern const u8 guarded_fault[];
__asm__(".text\n"
        "guarded_load:\n mov (%rdi), %rax\n mov %rax, (%rsi)\n mov $1, %eax\n ret\n"
        "guarded_store:\n mov %rsi, (%rdi)\n mov $1, %eax\n ret\n"
        "guarded_fault:\n xor %eax, %eax\n ret\n");

static void on_fault(int signal, siginfo_t *info, void *context)
{
    greg_t *pc = &((ucontext_t *)context)->uc_mcontext.gregs[HOST_RIP];
    if (windows_table_fault(ws, (u64)info->si_addr))
        return;
    if (*pc != (greg_t)guarded_load && *pc != (greg_t)guarded_store)
        abort();
    fault_address = (u64)info->si_addr;
    *pc = (greg_t)guarded_fault;
}

/* In each test anew: cmocka puts handlers of its own before it. */
static void arm(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    if (!armed)
        armed = sigaction(SIGSEGV, &action, NULL) == 0;
}

/* ---- The guest's page tables ---- */

static u64 table_new(void)
{
    u64 pa = table_spare ? table_spare : table_next;
    table_spare = 0;
    if (pa == table_next)
        table_next += MEM_PAGE_SIZE;
    assert_true(table_next <= AT_PAGES);
    memset(vm.ram + pa, 0, MEM_PAGE_SIZE);
    return pa;
}

static u64 *entry_at(u64 table, u64 linear, unsigned shift)
{
    return (u64 *)(void *)(vm.ram + table) + (linear >> shift & 511);
}

/* The entry of this page size; tables are made on the way, and a large page in the way is replaced. */
static u64 *pte_of(u64 top, u64 linear, unsigned shift)
{
    u64 table = top;
    for (unsigned s = 39; s > shift; s -= 9) {
        u64 *e = entry_at(table, linear, s);
        if (!(*e & P) || *e & PS)
            *e = table_new() | USER;
        table = *e & 0xffffffffff000;
    }
    return entry_at(table, linear, shift);
}

static void map(unsigned space, u64 linear, u64 pa, u64 flags)
{
    *pte_of(root[space], linear, 12) = pa | flags;
}

static void map_large(unsigned space, u64 linear, unsigned shift, u64 pa, u64 flags)
{
    *pte_of(root[space], linear, shift) = pa | flags | PS;
}

static void load_cr3(unsigned space, bool keep)
{
    c->cr3 = root[space] | (c->cr4 & CR4_PCIDE ? space + 1 : 0);
    mmu_cr3_loaded(c, keep);
}

enum who { AS_USER, AS_KERNEL, AS_KERNEL_AC };

static void become(enum who who)
{
    c->cpl = who == AS_USER ? 3 : 0;
    c->rflags = who == AS_KERNEL_AC ? RF_AC : 0;
    cpu_derive(c);
    windows_select(ws);
}

static int setup_count(unsigned cpus)
{
    if (vm_create(&vm, RAM_SIZE, 1) < 0)
        return -1;
    c = vm.cpu[0];
    c->count = cpus;
    table_next = AT_POOL;
    table_spare = 0;
    for (unsigned n = 0; n < SPACES; n++)
        root[n] = table_new();
    c->cr0 = CR0_PE | CR0_PG | CR0_WP;
    c->cr4 = CR4_PAE | CR4_PGE | CR4_SMAP | CR4_PCIDE;
    c->efer = EFER_LME | EFER_LMA | EFER_NX;
    c->seg[SEG_CS].attr |= DA_L;
    c->cr3 = root[0] | 1;
    mmu_flush_all(c);
    struct error err;
    armed = false;
    ws = windows_create(c, MISS_SLOT, MISS_JUMP, &err);
    if (!ws)
        return -1;
    become(AS_KERNEL);
    return 0;
}

static int setup(void **state)
{
    return setup_count(1);
}

/* A pool of three windows. */
static int setup_small(void **state)
{
    return setup_count(64);
}

static int teardown(void **state)
{
    windows_destroy(ws);
    vm_destroy(&vm);
    return 0;
}

/* ---- What translated code does ---- */

static u64 gs_load(u64 offset)
{
    u64 v;
    arm();
    __asm__ volatile("movq %%gs:(%1), %0" : "=r"(v) : "r"(offset) : "memory");
    return v;
}

/* Where an access to `linear` would go. */
static u64 lead(u64 linear)
{
    return gs_load(WIN_TABLE + (linear >> 12 & (WIN_PAGES - 1)) * 8) + linear;
}

enum way { GUARD, READ, WRITE, NOWHERE, WRONG };

static enum way way_of(u64 linear, u64 *pa)
{
    const struct mem_ram *ram = mem_space_ram(vm.mem);
    u64 host = lead(linear);
    *pa = ~0ull;
    if (!addr_is_canonical(host))
        return NOWHERE;
    if (windows_is_guard(ws, host))
        return GUARD;
    if (host - (u64)ram->host < ram->size) {
        *pa = host - (u64)ram->host;
        return WRITE;
    }
    *pa = host - (u64)ram->read_only;
    return *pa < ram->size ? READ : WRONG;
}

static bool can_load(u64 linear, u64 *value)
{
    return guarded_load(lead(linear), value);
}

static bool can_store(u64 linear, u64 value)
{
    return guarded_store(lead(linear), value);
}

/* The slow way, as the engine does it after a fault. False if the guest would get one. */
static bool slow(u64 linear, enum mmu_access a)
{
    struct walk w;
    if (!addr_is_canonical(linear) || !walk_linear(c, linear, c->mmu_index, a, false, &w))
        return false;
    if (a == MMU_READ)
        (void)mmu_load_u8(c, c->mmu_index, linear);
    else
        mmu_store_u8(c, c->mmu_index, linear, 0x5a);
    windows_fill(ws, linear);
    return true;
}

static void expect_at(u64 linear, enum way way, u64 pa, int line)
{
    u64 at;
    enum way is = way_of(linear, &at);
    if (is != way || (way <= WRITE && way != GUARD && at != pa))
        fail_msg("line %d: %#llx leads %d, %#llx; expected %d, %#llx", line, (unsigned long long)linear, is,
                 (unsigned long long)at, way, (unsigned long long)pa);
}
#define expect(linear, way, pa) expect_at(linear, way, pa, __LINE__)

#define U 0x400000ull
#define K 0xffff888000000000ull
#define L 0xffffffff80000000ull

static void test_empty(void **state)
{
    static const u64 pages[] = {0, U, 0x7ffffffff000, 0x800000, K, L, ~0xfffull, 0xffff800000000000};
    u64 v;
    for (unsigned who = AS_USER; who <= AS_KERNEL_AC; who++) {
        become(who);
        for (unsigned n = 0; n < ARRAY_SIZE(pages); n++) {
            expect(pages[n] + 8, GUARD, 0);
            assert_false(can_load(pages[n] + 8, &v));
            assert_true(windows_is_guard(ws, fault_address));
            assert_false(can_load(pages[n] + 0xffc, &v));
            assert_true(windows_is_guard(ws, fault_address));
        }
        for (unsigned bit = 48; bit < 64; bit++) {
            expect(U ^ BIT64(bit), NOWHERE, 0);
            expect(K ^ BIT64(bit), NOWHERE, 0);
            assert_false(can_load(U ^ BIT64(bit), &v));
        }
        expect(BIT64(47), NOWHERE, 0);
        expect(K & (BIT64(48) - 1), NOWHERE, 0);
    }
    assert_false(windows_table_fault(ws, (u64)vm.ram));
    assert_true(windows_bytes(ws) > 0);
}

static void test_fill(void **state)
{
    u64 v;
    map(0, U, AT_PAGES, USER & ~D);
    map(0, U + 0x1000, AT_PAGES + 0x1000, P | US | A);
    map(0, K, AT_PAGES + 0x2000, KERN | G);
    become(AS_USER);
    put_u64(vm.ram + AT_PAGES, 0x1234);
    assert_true(slow(U, MMU_READ));
    expect(U + 0x10, READ, AT_PAGES + 0x10);
    assert_true(can_load(U, &v) && v == 0x1234);
    assert_false(can_store(U, 1));
    assert_true(slow(U, MMU_WRITE));
    expect(U + 0x10, WRITE, AT_PAGES + 0x10);
    assert_true(can_store(U, 77) && get_u64(vm.ram + AT_PAGES) == 77);
    assert_true(slow(U + 0x1000, MMU_READ));
    assert_false(slow(U + 0x1000, MMU_WRITE));
    expect(U + 0x1000, READ, AT_PAGES + 0x1000);
    assert_false(slow(K, MMU_READ));
    expect(K, GUARD, 0);
    expect(U ^ BIT64(60), NOWHERE, 0);
    expect(U ^ BIT64(47), NOWHERE, 0);
    become(AS_KERNEL);
    expect(U, GUARD, 0); /* SMAP */
    assert_false(slow(U, MMU_READ));
    assert_true(slow(K, MMU_READ));
    expect(K, WRITE, AT_PAGES + 0x2000);
    become(AS_KERNEL_AC);
    expect(K, WRITE, AT_PAGES + 0x2000); /* shared */
    assert_true(slow(U, MMU_READ));
    expect(U, WRITE, AT_PAGES);
    become(AS_KERNEL);
    expect(U, GUARD, 0);
    become(AS_USER);
    expect(K, GUARD, 0);
    expect(U, WRITE, AT_PAGES);
}

static void test_state_must_match(void **state)
{
    map(0, U, AT_PAGES, USER);
    become(AS_USER);
    assert_true(slow(U, MMU_READ));
    mmu_flush_all(c);
    assert_true(slow(U, MMU_READ)); /* no window is current: nothing is filled */
    become(AS_USER);
    expect(U, GUARD, 0);
    c->cr0 |= CR0_AM;
    c->rflags |= RF_AC;
    cpu_derive(c);
    assert_int_equal(c->mmu_index, MMU_CHECKED);
    windows_select(ws);
    assert_true(slow(U, MMU_READ));
    expect(U, GUARD, 0);
}

/* In the kernel half, what user code may access is not seen through what the two supervisor windows share. */
static void test_smap(void **state)
{
    map(0, K, AT_PAGES, USER | G);
    become(AS_KERNEL_AC);
    assert_true(slow(K, MMU_READ));
    become(AS_KERNEL);
    expect(K, GUARD, 0);
    become(AS_USER);
    assert_true(slow(K, MMU_READ));
    expect(K, WRITE, AT_PAGES);
    c->cr4 &= ~CR4_SMAP;
    mmu_flush_all(c);
    become(AS_KERNEL);
    assert_true(slow(K, MMU_READ));
    expect(K, WRITE, AT_PAGES);
}

static void test_rom(void **state)
{
    static u8 rom[MEM_PAGE_SIZE];
    assert_non_null(mem_rom_add(vm.mem, 0xfffff000, rom, sizeof(rom)));
    mem_shadow_set(vm.mem, 0xf0000, 0x1000, true, false);
    mmu_flush_all(c);
    become(AS_KERNEL);
    map(0, K, 0xfffff000, KERN);
    map(0, K + 0x1000, 0xf0000, KERN);
    map(0, K + 0x2000, 0xfed00000, KERN);
    for (unsigned n = 0; n < 3; n++)
        assert_true(slow(K + 0x1000 * n, MMU_READ));
    expect(K, GUARD, 0);
    expect(K + 0x1000, READ, 0xf0000);
    expect(K + 0x2000, GUARD, 0);
}

static struct mem_page *page_at(u64 pa)
{
    return &mem_space_ram(vm.mem)->pages[pa / MEM_PAGE_SIZE];
}

static void test_protect(void **state)
{
    /* Mapped at more places than are remembered one by one. */
    for (unsigned places = 1; places < 6; places++) {
        u64 pa = AT_PAGES + places * MEM_PAGE_SIZE;
        become(AS_KERNEL);
        for (unsigned n = 0; n < places; n++) {
            map(0, K + MiB(32) * n, pa, KERN | (n & 1 ? G : 0));
            mmu_flush_page(c, K + MiB(32) * n);
            assert_true(slow(K + MiB(32) * n, MMU_WRITE));
            expect(K + MiB(32) * n, WRITE, pa);
        }
        map(0, U, pa, USER);
        mmu_flush_page(c, U);
        become(AS_USER);
        assert_true(slow(U, MMU_WRITE));
        expect(U, WRITE, pa);
        mmu_mark_code(c, page_at(pa), vm.ram + pa, 0, 16);
        expect(U, READ, pa);
        assert_true(slow(U, MMU_WRITE));
        expect(U, READ, pa);
        become(AS_KERNEL);
        for (unsigned n = 0; n < places; n++)
            expect(K + MiB(32) * n, READ, pa);
        mem_code_unmark(page_at(pa));
        assert_true(slow(K, MMU_WRITE));
        expect(K, WRITE, pa);
    }
}

static void test_invlpg(void **state)
{
    map(0, U, AT_PAGES, USER);
    map(0, U + 0x1000, AT_PAGES + 0x1000, USER);
    map_large(0, MiB(64), 21, MiB(16), USER);
    map_large(0, GiB(4), 30, 0, USER);
    become(AS_USER);
    static const u64 at[] = {U, U + 0x1000, MiB(64), MiB(64) + 0x1ff000, GiB(4) + MiB(20), GiB(4) + MiB(33)};
    for (unsigned n = 0; n < ARRAY_SIZE(at); n++)
        assert_true(slow(at[n], MMU_WRITE));
    mmu_flush_page(c, U);
    expect(U, GUARD, 0);
    expect(U + 0x1000, WRITE, AT_PAGES + 0x1000);
    expect(MiB(64), WRITE, MiB(16));
    mmu_flush_page(c, MiB(64) + 0x77123);
    expect(MiB(64), GUARD, 0);
    expect(MiB(64) + 0x1ff000, GUARD, 0);
    expect(GiB(4) + MiB(20), WRITE, MiB(20));
    mmu_flush_page(c, GiB(5) - 1);
    expect(GiB(4) + MiB(20), GUARD, 0);
    expect(GiB(4) + MiB(33), GUARD, 0);
    expect(U + 0x1000, WRITE, AT_PAGES + 0x1000);
    mmu_flush_all(c);
    become(AS_USER);
    expect(U + 0x1000, GUARD, 0);
}

/* One table for the kernel's global pages; a page at K + 1 GiB of each space's own. */
static void share_kernel(void)
{
    map(0, K, AT_PAGES, KERN | G);
    for (unsigned n = 0; n < SPACES; n++) {
        *entry_at(root[n], K, 39) = *entry_at(root[0], K, 39);
        map(n, L, AT_PAGES + (n + 1) * MEM_PAGE_SIZE, KERN);
        map(n, U, AT_PAGES + (n + 64) * MEM_PAGE_SIZE, USER);
    }
}

static void test_spaces(void **state)
{
    share_kernel();
    become(AS_KERNEL);
    assert_true(slow(K, MMU_READ) && slow(L, MMU_READ));
    become(AS_USER);
    assert_true(slow(U, MMU_READ));
    load_cr3(1, false);
    become(AS_USER);
    expect(U, GUARD, 0);
    assert_true(slow(U, MMU_READ));
    become(AS_KERNEL);
    expect(K, WRITE, AT_PAGES);
    expect(L, GUARD, 0);
    assert_true(slow(L, MMU_READ));
    expect(L, WRITE, AT_PAGES + 0x2000);
    load_cr3(0, true);
    become(AS_USER);
    expect(U, WRITE, AT_PAGES + 0x40000);
    become(AS_KERNEL);
    expect(K, WRITE, AT_PAGES);
    expect(L, GUARD, 0);
    load_cr3(1, true);
    become(AS_USER);
    expect(U, WRITE, AT_PAGES + 0x41000);
    mmu_invpcid(c, MMU_INVPCID_SINGLE, 1, 0);
    load_cr3(0, true);
    become(AS_USER);
    expect(U, GUARD, 0);
    become(AS_KERNEL);
    expect(K, WRITE, AT_PAGES);
    mmu_invpcid(c, MMU_INVPCID_ALL, 0, 0);
    become(AS_KERNEL);
    expect(K, GUARD, 0);
}

static void test_recycling(void **state)
{
    share_kernel();
    for (unsigned round = 0; round < 6 * SPACES; round++) {
        unsigned n = round * 7 % SPACES;
        u64 pa;
        load_cr3(n, round % 3);
        for (unsigned who = AS_USER; who <= AS_KERNEL_AC; who++) {
            become(who);
            enum way way = way_of(U, &pa);
            assert_true(way == GUARD || pa == AT_PAGES + (n + 64) * MEM_PAGE_SIZE);
            assert_true(who != AS_KERNEL || way == GUARD);
            if (who != AS_KERNEL)
                assert_true(slow(U, MMU_WRITE));
            way = way_of(L, &pa);
            assert_true(way == GUARD || pa == AT_PAGES + (n + 1) * MEM_PAGE_SIZE);
            assert_true(who != AS_USER || way == GUARD);
            if (who != AS_USER)
                assert_true(slow(L, MMU_WRITE) && slow(K, MMU_WRITE));
        }
    }
    assert_true(windows_stats(ws)->recycled > SPACES);
}

static void test_renumber(void **state)
{
    u64 v;
    share_kernel();
    for (unsigned n = 0; n < 9000; n++) {
        load_cr3(n % 2, false);
        become(AS_KERNEL);
        expect(L, GUARD, 0);
        become(AS_USER);
        expect(U, GUARD, 0);
        assert_true(slow(U, MMU_READ));
        assert_true(can_load(U, &v));
    }
}

/* A number that comes back after all were used means another space. */
static void test_number_comes_back(void **state)
{
    share_kernel();
    become(AS_KERNEL_AC);
    u64 asid = c->tlb->asid;
    assert_true(slow(U, MMU_READ) && slow(L, MMU_READ) && slow(K, MMU_READ));
    do
        load_cr3(1, false);
    while (c->tlb->asid != asid);
    become(AS_KERNEL_AC);
    expect(U, GUARD, 0);
    expect(L, GUARD, 0);
    expect(K, WRITE, AT_PAGES);
}

static u64 gs_base(void)
{
    u64 base = 0;
    assert_int_equal(syscall(SYS_arch_prctl, ARCH_GET_GS, &base), 0);
    return base;
}

/* A word of slots or jumps; the second is what one without memory is taken for, by whoever catches the fault. */
static u64 word(u64 offset, bool (*is_empty)(struct windows *ws, u64 host_address), u64 empty)
{
    u64 v = 0;
    arm();
    if (guarded_load(gs_base() + offset, &v))
        return v;
    assert_int_equal(fault_address, gs_base() + offset);
    assert_true(is_empty(ws, fault_address));
    return empty;
}

static u64 slot_word(u32 slot)
{
    return word(WIN_SLOT + 8 * (u64)slot, windows_slot_fault, MISS_SLOT);
}

static u64 jump_word(u64 target)
{
    return word(WIN_JUMP + 8 * ((target & 0xffff) | (target >> 47 & 1) << 16), windows_jump_fault, MISS_JUMP);
}

/* The base of the present window's peer. */
static u64 peer(enum mmu_index index)
{
    return gs_load(WIN_PEERS + 8 * (u64)index);
}

/* Windows of one space know each other, as soon as both were there, and forget each other when one is taken away. */
static void test_peers(void **state)
{
    c->cr4 |= CR4_SMAP;
    become(AS_KERNEL);
    u64 kernel = gs_base();
    assert_int_equal(peer(MMU_SUPER_SMAP), kernel);
    assert_int_equal(peer(MMU_USER), 0);
    assert_int_equal(peer(MMU_SUPER), 0);
    become(AS_USER);
    u64 user = gs_base();
    assert_int_not_equal(user, kernel);
    assert_int_equal(peer(MMU_USER), user);
    assert_int_equal(peer(MMU_SUPER_SMAP), kernel);
    become(AS_KERNEL_AC);
    u64 open = gs_base();
    assert_true(open != user && open != kernel);
    assert_true(peer(MMU_USER) == user && peer(MMU_SUPER_SMAP) == kernel && peer(MMU_SUPER) == open);
    become(AS_KERNEL);
    assert_true(gs_base() == kernel && peer(MMU_USER) == user && peer(MMU_SUPER) == open);
    /* Another space has nothing of these. */
    load_cr3(1, false);
    become(AS_USER);
    assert_int_equal(peer(MMU_SUPER_SMAP), 0);
    become(AS_KERNEL);
    assert_true(peer(MMU_USER) != user && peer(MMU_SUPER) != open);
    assert_true(peer(MMU_USER) != kernel && peer(MMU_USER) != 0);
}

/* Of all spaces there ever were: a peer stands for the same one. */
static void test_peers_recycled(void **state)
{
    c->cr4 |= CR4_SMAP;
    for (unsigned n = 0; n < 200; n++) {
        load_cr3(n % SPACES, false);
        become(AS_KERNEL);
        u64 kernel = gs_base();
        assert_true(peer(MMU_USER) == 0 && peer(MMU_SUPER) == 0);
        become(n % 2 ? AS_USER : AS_KERNEL_AC);
        u64 other = gs_base();
        assert_int_equal(peer(MMU_SUPER_SMAP), kernel);
        become(AS_KERNEL);
        assert_int_equal(gs_base(), kernel);
        assert_int_equal(peer(n % 2 ? MMU_USER : MMU_SUPER), other);
    }
}

/* What is common to the supervisor's windows may be for another space by now. */
static void test_peers_shared(void **state)
{
    c->cr4 |= CR4_SMAP | CR4_PCIDE;
    load_cr3(0, false);
    become(AS_KERNEL);
    become(AS_USER);
    assert_int_not_equal(peer(MMU_SUPER_SMAP), 0);
    load_cr3(1, false);
    become(AS_KERNEL);
    load_cr3(0, true);
    become(AS_USER);
    assert_int_equal(peer(MMU_SUPER_SMAP), 0);
    become(AS_KERNEL);
    become(AS_USER);
    assert_int_not_equal(peer(MMU_SUPER_SMAP), 0);
}

static void fetch(u64 linear)
{
    struct mem_page *page;
    u64 pa;
    (void)mmu_fetch(c, linear, &page, &pa);
}

static void set_code(u32 slot, u64 target, u64 code)
{
    fetch(target);
    windows_set_slot(ws, slot, target, code);
    windows_set_jump(ws, target, code + 1);
}

static void test_code(void **state)
{
    share_kernel();
    u32 kslot = WIN_SLOTS / 2 + 9, lslot = kslot + 1;
    become(AS_USER);
    assert_int_equal(slot_word(0), MISS_SLOT);
    assert_int_equal(slot_word(WIN_SLOTS - 1), MISS_SLOT);
    assert_int_equal(jump_word(0), MISS_JUMP);
    assert_int_equal(jump_word(~0ull), MISS_JUMP);
    windows_set_slot(ws, 5, U + 0x10, 0xabc); /* not fetched: no translation stands */
    assert_int_equal(slot_word(5), MISS_SLOT);
    set_code(5, U + 0x10, 0xabc);
    windows_set_slot(ws, kslot, U, 0xabc); /* the other half's slot */
    assert_int_equal(slot_word(5), 0xabc);
    assert_int_equal(jump_word(U + 0x10), 0xabd);
    assert_int_equal(slot_word(kslot), MISS_SLOT);
    become(AS_KERNEL);
    assert_int_equal(slot_word(5), MISS_SLOT);
    set_code(kslot, K + 0x20, 0xdef);
    set_code(lslot, L + 0x30, 0x123);
    become(AS_KERNEL_AC);
    assert_int_equal(slot_word(kslot), 0xdef);
    assert_int_equal(slot_word(lslot), 0x123);
    load_cr3(1, true);
    become(AS_KERNEL);
    assert_int_equal(slot_word(kslot), 0xdef);
    assert_int_equal(jump_word(K + 0x20), 0xdf0);
    assert_int_equal(slot_word(lslot), MISS_SLOT);
    assert_int_equal(jump_word(L + 0x30), MISS_JUMP);
    become(AS_USER);
    assert_int_equal(slot_word(5), MISS_SLOT);
    assert_int_equal(slot_word(kslot), MISS_SLOT);
    load_cr3(0, true);
    become(AS_USER);
    assert_int_equal(slot_word(5), 0xabc);
    mmu_flush_page(c, U + 0x1000);
    assert_int_equal(slot_word(5), 0xabc);
    mmu_flush_page(c, U);
    assert_int_equal(slot_word(5), MISS_SLOT);
    assert_int_equal(jump_word(U + 0x10), MISS_JUMP);
    set_code(5, U + 0x10, 0xabc);
    windows_drop_code(ws);
    assert_int_equal(slot_word(5), MISS_SLOT);
    become(AS_KERNEL);
    assert_int_equal(slot_word(kslot), MISS_SLOT);
    set_code(kslot, K + 0x20, 0xdef);
    mmu_flush_all(c);
    become(AS_KERNEL);
    assert_int_equal(slot_word(kslot), MISS_SLOT);
}

/* Code of a large page goes when any address in the page is invalidated. */
static void test_code_large(void **state)
{
    map_large(0, MiB(64), 21, MiB(16), USER);
    become(AS_USER);
    set_code(7, MiB(64) + 0x1234, 0x77);
    mmu_flush_page(c, MiB(64) + 0x1ff000);
    assert_int_equal(slot_word(7), MISS_SLOT);
    set_code(7, MiB(64) + 0x1234, 0x77);
    mmu_flush_page(c, MiB(128));
    assert_int_equal(slot_word(7), 0x77);
}

static void test_drop(void **state)
{
    share_kernel();
    become(AS_KERNEL);
    assert_true(slow(K, MMU_WRITE));
    set_code(WIN_SLOTS / 2, K, 0x55);
    become(AS_USER);
    assert_true(slow(U, MMU_WRITE));
    u64 before = windows_bytes(ws);
    windows_drop(ws);
    assert_true(windows_bytes(ws) < before);
    expect(U, GUARD, 0);
    become(AS_KERNEL);
    expect(K, GUARD, 0);
    assert_int_equal(slot_word(WIN_SLOTS / 2), MISS_SLOT);
    assert_true(slow(K, MMU_WRITE));
    expect(K, WRITE, AT_PAGES);
    become(AS_KERNEL_AC);
    expect(K, WRITE, AT_PAGES);
}

/* More pages than a log holds, more chunks than there may be: still right, and bounded. */
static void test_limits(void **state)
{
    map_large(0, GiB(8), 30, 0, KERN);
    map_large(0, K, 30, 0, KERN | G);
    become(AS_KERNEL);
    for (u64 at = AT_PAGES; at < RAM_SIZE; at += MEM_PAGE_SIZE) {
        assert_true(slow(GiB(8) + at, MMU_WRITE));
        assert_true(slow(K + at, MMU_WRITE));
    }
    for (u64 at = AT_PAGES; at < RAM_SIZE; at += 16 * MEM_PAGE_SIZE) {
        expect(GiB(8) + at, WRITE, at);
        expect(K + at, WRITE, at);
    }
    mmu_mark_code(c, page_at(RAM_SIZE - 1), vm.ram + RAM_SIZE - MEM_PAGE_SIZE, 0, 1);
    expect(K + RAM_SIZE - 8, READ, RAM_SIZE - 8);
    mmu_flush_all(c);
    become(AS_KERNEL);
    for (u64 at = AT_PAGES; at < RAM_SIZE; at += MEM_PAGE_SIZE) {
        expect(GiB(8) + at, GUARD, 0);
        expect(K + at, GUARD, 0);
    }
    assert_true(slow(K + AT_PAGES, MMU_READ));
    for (u64 n = 0; n < 10000; n++) {
        expect(GiB(n) + 0x1000, GUARD, 0);
        expect(K + GiB(n) + MiB(512), GUARD, 0);
    }
    assert_true(windows_bytes(ws) < MiB(256));
    expect(K + AT_PAGES, GUARD, 0);
    assert_true(slow(K + AT_PAGES, MMU_READ));
    expect(K + AT_PAGES, WRITE, AT_PAGES);
}

/* ---- The random sequence ---- */

static u64 seed;

static u32 random_u32(void)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(seed >> 33);
}

static u32 below(u32 n)
{
    return random_u32() % n;
}

#define PLACES   24 /* linear pages of each kind */
#define KINDS    6
#define R_SPACES 4

enum kind {
    KIND_USER,   /* user half, each space's own, 4 KiB */
    KIND_LARGE,  /* user half, 4 KiB pages or 2 MiB pages */
    KIND_GLOBAL, /* kernel half, the same in all spaces, global */
    KIND_GLOBAL_LARGE,
    KIND_LOCAL, /* kernel half, each space's own, not global */
    KIND_ODD,   /* kernel half, each space's own, user pages too */
};

static const u64 kind_base[KINDS] = {
    0x7f0000000000, 0x555500000000, 0xffffffff80000000, 0xffff888000000000, 0xffffc90000000000, 0xffffff0000000000,
};

static u64 r_linear(unsigned kind, unsigned n)
{
    if (kind == KIND_LARGE || kind == KIND_GLOBAL_LARGE)
        return kind_base[kind] + n / 8 * MiB(2) + n % 8 * 0x3f000;
    return kind_base[kind] + n * 0x1000 + n / 8 * MiB(16);
}

static u64 r_page(void)
{
    return AT_PAGES + below(64) * MEM_PAGE_SIZE;
}

static unsigned r_space;
static bool r_stale[R_SPACES]; /* its tables were changed while it was not current */

static bool kind_shared(unsigned kind)
{
    return kind == KIND_GLOBAL || kind == KIND_GLOBAL_LARGE;
}

static u64 r_flags(unsigned kind)
{
    u64 f = P | A | (below(3) ? RW : 0) | (below(2) ? D : 0) | (below(4) ? 0 : NX);
    if (kind <= KIND_LARGE || (kind == KIND_ODD && below(2)))
        f |= below(8) ? US : 0;
    if (kind_shared(kind) || (kind == KIND_USER && below(8) == 0))
        f |= G;
    return f;
}

/* Sets a page or, at `large`, a large page. True if a table of small pages was there before: then each of them has to
 * be invalidated. */
static bool r_set(unsigned space, u64 linear, bool large, u64 flags)
{
    if (!large) {
        *pte_of(root[space], linear, 12) = flags ? r_page() | flags : 0;
        return false;
    }
    u64 *e = pte_of(root[space], linear, 21);
    bool table = *e & P && !(*e & PS);
    if (table && table_spare)
        return false;
    if (table)
        table_spare = *e & 0xffffffffff000;
    *e = flags ? (MiB(16) + below(16) * MiB(2)) | flags | PS : 0;
    return table;
}

/* Changes the entry of one page in one space, and does what the manual asks for. */
static void r_change(void)
{
    unsigned kind = below(KINDS), n = below(PLACES), space = kind_shared(kind) ? r_space : below(R_SPACES);
    u64 linear = r_linear(kind, n), flags = below(5) ? r_flags(kind) : 0;
    bool may_large = kind == KIND_LARGE || kind == KIND_GLOBAL_LARGE;
    bool all = r_set(space, linear, may_large && below(3) == 0, flags);
    if (space != r_space) {
        /* Another's page may be in use as a global one: INVLPG does for that, a flush of its space for the rest. */
        r_stale[space] = true;
        if (kind == KIND_USER)
            mmu_flush_page(c, linear);
    }
    if (all || below(8) == 0)
        mmu_flush_all(c);
    else if (space == r_space && below(8) == 0)
        mmu_invpcid(c, MMU_INVPCID_ADDRESS, (u16)(r_space + 1), linear + below(0x1000));
    else if (space == r_space)
        mmu_flush_page(c, linear + below(0x1000));
}

static void r_switch(void)
{
    unsigned to = below(R_SPACES);
    if (r_stale[to] && below(2)) {
        mmu_invpcid(c, MMU_INVPCID_SINGLE, (u16)(to + 1), 0);
        r_stale[to] = false;
    }
    load_cr3(to, !r_stale[to] && below(4));
    r_stale[to] = false;
    r_space = to;
}

static u32 slot_of(unsigned kind, unsigned n)
{
    return kind * PLACES + n + (kind >= KIND_GLOBAL ? WIN_SLOTS / 2 : 0);
}

/* Whatever stands for this page must be what the walk says. */
static void r_check(unsigned kind, unsigned n)
{
    u64 linear = r_linear(kind, n) + 8 * below(511), pa, code = slot_word(slot_of(kind, n));
    struct walk w;
    enum way way = way_of(linear, &pa);
    assert_true(way <= WRITE);
    bool read = walk_linear(c, linear, c->mmu_index, MMU_READ, false, &w);
    if (way != GUARD && (!read || w.pa != pa))
        fail_msg("seed: kind %u, %#llx leads to %#llx, the walk to %#llx", kind, (unsigned long long)linear,
                 (unsigned long long)pa, read ? (unsigned long long)w.pa : ~0ull);
    if (way == WRITE) {
        assert_true(walk_linear(c, linear, c->mmu_index, MMU_WRITE, false, &w));
        assert_true(w.dirty);
        assert_true(page_at(pa)->code == 0);
    }
    u64 target = r_linear(kind, n);
    if (code != MISS_SLOT) {
        unsigned index = c->cpl == 3 ? MMU_USER : MMU_SUPER;
        assert_true(walk_linear(c, target, index, MMU_EXEC, false, &w));
        assert_int_equal(code, w.pa + 0x100000000);
    }
    assert_int_equal(way_of(linear ^ BIT64(48 + below(16)), &pa), NOWHERE);
}

static void r_access(void)
{
    unsigned kind = below(KINDS), n = below(PLACES);
    u64 target = r_linear(kind, n);
    struct walk w;
    (void)slow(target + below(0x1000), below(2) ? MMU_READ : MMU_WRITE);
    r_check(kind, n);
    unsigned index = c->cpl == 3 ? MMU_USER : MMU_SUPER;
    if (below(3) || !walk_linear(c, target, index, MMU_EXEC, false, &w))
        return;
    fetch(target);
    windows_set_slot(ws, slot_of(kind, n), target, w.pa + 0x100000000);
    r_check(kind, n);
}

static void r_code(void)
{
    u64 pa = r_page();
    if (below(2) && page_at(pa)->code)
        mem_code_unmark(page_at(pa));
    else
        mmu_mark_code(c, page_at(pa), vm.ram + pa, below(4000), 16);
}

static void r_setup(void)
{
    for (unsigned space = 0; space < R_SPACES; space++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            if (space && kind_shared(kind)) {
                *entry_at(root[space], kind_base[kind], 39) = *entry_at(root[0], kind_base[kind], 39);
                continue;
            }
            for (unsigned n = 0; n < PLACES; n++)
                map(space, r_linear(kind, n), r_page(), r_flags(kind));
        }
    }
}

static void r_step(void)
{
    switch (below(16)) {
    case 0:
    case 1:
        r_change();
        break;
    case 2:
        r_switch();
        break;
    case 3:
        r_code();
        break;
    case 4:
        if (below(100) == 0)
            windows_drop(ws);
        if (below(100) == 0)
            windows_drop_code(ws);
        if (below(200) == 0) {
            c->cr4 ^= CR4_SMAP;
            mmu_flush_all(c);
        }
        break;
    default:
        r_access();
        return;
    }
    become((enum who)below(3));
    for (unsigned n = 0; n < 6; n++)
        r_check(below(KINDS), below(PLACES));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void random_run(double seconds)
{
    seed = seed_choose();
    printf("seed %llu\n", (unsigned long long)seed);
    r_space = 0;
    memset(r_stale, 0, sizeof(r_stale));
    r_setup();
    mmu_flush_all(c);
    become(AS_KERNEL);
    u64 steps = 0;
    for (double end = now() + seconds; now() < end; steps += 1000) {
        for (unsigned n = 0; n < 1000; n++)
            r_step();
    }
    const struct window_stats *s = windows_stats(ws);
    printf("%llu steps, %llu fills, %llu selects, %llu recycled, %llu drops, %llu pages, %llu protects\n",
           (unsigned long long)steps, (unsigned long long)s->fills, (unsigned long long)s->selects,
           (unsigned long long)s->recycled, (unsigned long long)s->drops, (unsigned long long)s->pages_dropped,
           (unsigned long long)s->protects);
    assert_true(s->fills > 1000);
}

static void test_random(void **state)
{
    random_run(1.2);
}

static void test_random_small(void **state)
{
    random_run(0.8);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_empty),
        TEST(test_fill),
        TEST(test_state_must_match),
        TEST(test_smap),
        TEST(test_rom),
        TEST(test_protect),
        TEST(test_invlpg),
        TEST(test_spaces),
        TEST(test_recycling),
        cmocka_unit_test_setup_teardown(test_recycling, setup_small, teardown),
        TEST(test_renumber),
        TEST(test_peers),
        TEST(test_peers_recycled),
        TEST(test_peers_shared),
        TEST(test_number_comes_back),
        TEST(test_code),
        TEST(test_code_large),
        TEST(test_drop),
        TEST(test_limits),
        TEST(test_random),
        cmocka_unit_test_setup_teardown(test_random_small, setup_small, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
