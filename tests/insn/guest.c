/* See guest.h. The machine has RAM and page tables and nothing else. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/access.h"
#include "cpu/fault.h"
#include "cpu/model.h"
#include "cpu/sem/sem.h"
#include "cpu/world.h"
#include "event/loop.h"
#include "native.h"

#define RAM_SIZE MiB(4)
#define ARENA_PA MiB(1)
/* Page tables, one page each. */
enum { PA_PML4 = 0x10000, PA_PDPT = 0x11000, PA_PD = 0x12000, PA_PT = 0x13000 };
enum { PTE_P = 1, PTE_RW = 2, PTE_US = 4, PTE_A = 0x20, PTE_D = 0x40 };
#define PTE_NX BIT64(63)

static struct {
    struct loop *loop;
    struct mem_space *mem;
    struct world *world;
    struct cpu *cpu;
    u8 *ram;
} guest;

static void no_features(struct isa_features *f)
{
    memset(f, 0, sizeof(*f));
}

static const struct cpu_model test_model = {.name = "test",
                                            .vendor = "GenuineIntel",
                                            .brand = "test",
                                            .physical_bits = 40,
                                            .linear_bits = 48,
                                            .features = no_features};

static void put_pte(u64 table, u64 linear, unsigned shift, u64 pte)
{
    put_u64(guest.ram + table + 8 * (linear >> shift & 511), pte);
}

static void map_arena(void)
{
    const u64 link = PTE_P | PTE_RW | PTE_US | PTE_A;

    put_pte(PA_PML4, ARENA, 39, PA_PDPT | link);
    put_pte(PA_PDPT, ARENA, 30, PA_PD | link);
    put_pte(PA_PD, ARENA, 21, PA_PT | link);
    for (unsigned n = 0; n < ARENA_PAGES; n++) {
        static const u64 rights[] = {[USE_CODE] = PTE_P | PTE_US,
                                     [USE_RW] = PTE_P | PTE_US | PTE_RW | PTE_NX,
                                     [USE_RO] = PTE_P | PTE_US | PTE_NX};
        if (arena_use(n) != USE_NONE)
            put_pte(PA_PT, ARENA + n * PAGE, 12, (ARENA_PA + n * PAGE) | PTE_A | PTE_D | rights[arena_use(n)]);
    }
}

/* As Linux sets them. */
static void set_control(struct cpu *c)
{
    c->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    c->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    c->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
    c->xcr0 = 7;
    c->cr3 = PA_PML4;
    c->tr[0] = (struct cpu_seg){.attr = DA_P | 11 << DA_TYPE_SHIFT}; /* too short for an I/O bitmap */
    mmu_cr3_loaded(c, false);
}

bool guest_init(const struct isa_features *features)
{
    struct error err = {.text = "out of memory"};

    guest.loop = loop_create();
    guest.world = world_create(1);
    if (guest.loop)
        guest.mem = mem_space_create(guest.loop, RAM_SIZE, RAM_SIZE, &err);
    if (!guest.loop || !guest.world || !guest.mem) {
        fprintf(stderr, "insn_host: %s\n", err.text);
        return false;
    }
    guest.ram = mem_space_ram(guest.mem)->host;
    map_arena();

    struct cpu_config cfg = {
        .count = 1, .model = &test_model, .mem = guest.mem, .loop = guest.loop, .world = guest.world};
    guest.cpu = cpu_create(&cfg);
    if (!guest.cpu) {
        fprintf(stderr, "insn_host: out of memory\n");
        return false;
    }
    guest.cpu->features = *features;
    guest.cpu->activity = CPU_ACTIVE;
    set_control(guest.cpu);
    world_enter(guest.world, guest.cpu);
    return true;
}

void guest_exit(void)
{
    world_leave(guest.world, guest.cpu);
    cpu_destroy(guest.cpu);
    world_destroy(guest.world);
    mem_space_destroy(guest.mem);
    loop_destroy(guest.loop);
}

u8 *guest_memory(void)
{
    return guest.ram + ARENA_PA;
}

static void set_segment(struct cpu_seg *s, u16 sel, u32 attr, enum code_kind k)
{
    bool ldt = code_is_ldt(k);
    *s = (struct cpu_seg){
        .sel = sel,
        .attr = attr | DA_P | DA_S | 3 << DA_DPL_SHIFT | DA_ACCESSED,
        .base = ldt ? ARENA : 0,
        .limit = ldt ? LDT_LIMIT : 0xffffffff,
    };
}

static void set_segments(struct cpu *c, enum code_kind k)
{
    struct selectors s = native_selectors(k);
    u32 big = k == CODE_16_LDT ? 0 : DA_DB;

    c->cpl = 3;
    set_segment(&c->seg[SEG_CS], s.cs, DA_CODE | DA_WRITE | (k == CODE_64 ? DA_L : big), k);
    set_segment(&c->seg[SEG_SS], s.ss, DA_WRITE | big, k);
    set_segment(&c->seg[SEG_DS], s.data, DA_WRITE | big, k);
    set_segment(&c->seg[SEG_ES], s.data, DA_WRITE | big, k);
    c->seg[SEG_FS] = (struct cpu_seg){0};
    c->seg[SEG_GS] = (struct cpu_seg){.base = GS_BASE};
}

static void load_fp(struct cpu *c, const struct user_state *s)
{
    unsigned top = s->fx.fsw >> 11 & 7;

    c->fcw = s->fx.fcw;
    c->fsw = s->fx.fsw;
    c->ftw = s->fx.ftw;
    c->fop = s->fx.fop;
    c->fip = s->fx.fip;
    c->fdp = s->fx.fdp;
    c->mxcsr = s->fx.mxcsr;
    c->xinuse = 7;
    for (unsigned n = 0; n < 8; n++)
        memcpy(&c->st[2 * ((top + n) & 7)], s->fx.st[n], 16);
    for (unsigned n = 0; n < 16; n++) {
        memcpy(&c->ymm[4 * n], s->fx.xmm[n], 16);
        memcpy(&c->ymm[4 * n + 2], s->ymm_high[n], 16);
    }
}

static void store_fp(const struct cpu *c, struct user_state *s)
{
    unsigned top = c->fsw >> 11 & 7;

    s->fx = (struct fx_image){
        .fcw = c->fcw, .fsw = c->fsw, .ftw = c->ftw, .fop = c->fop, .fip = c->fip, .fdp = c->fdp, .mxcsr = c->mxcsr};
    for (unsigned n = 0; n < 8; n++)
        memcpy(s->fx.st[n], &c->st[2 * ((top + n) & 7)], 10);
    for (unsigned n = 0; n < 16; n++) {
        memcpy(s->fx.xmm[n], &c->ymm[4 * n], 16);
        memcpy(s->ymm_high[n], &c->ymm[4 * n + 2], 16);
    }
}

static void load_state(struct cpu *c, const struct test_case *t)
{
    set_segments(c, t->kind);
    memcpy(c->gpr, t->before.gpr, sizeof(t->before.gpr));
    c->gpr[REG_ZERO] = 0;
    c->gpr[REG_RIP] = t->before.rip;
    load_fp(c, &t->before);
    cpu_set_rflags(c, t->before.rflags);
    cpu_derive(c);
    c->request = 0;
}

/* True if it came to its end. A repeated instruction may stop on the way; then it is begun again, as an engine would.
 */
static NOINLINE bool carry_out(struct cpu *c, const struct test_case *t)
{
    struct insn i;

    if (__builtin_setjmp(c->unwind))
        return false;
    enum insn_status status = insn_decode(t->bytes, t->len, code_mode(t->kind), &c->features, &i);
    if (status == INSN_TOO_LONG)
        cpu_gp(c, 0);
    if (status != INSN_OK)
        cpu_ud(c);
    if (i.base == REG_RIP) /* as engines do: the address is that of the block then, not of the next instruction */
        i.disp += i.len;
    i.fn = sem_lookup(&i);
    do {
        c->request = 0;
        c->cur = &i;
        i.fn(c, &i);
    } while (!c->cur && c->request && c->gpr[REG_RIP] == t->before.rip && i.rep);
    if (c->cur)
        c->gpr[REG_RIP] = cpu_next_rip(c);
    return true;
}

void guest_run(struct test_case *t)
{
    struct cpu *c = guest.cpu;
    struct user_state *out = &t->guest;

    load_state(c, t);
    bool done = carry_out(c, t);
    *out = (struct user_state){.vector = NO_FAULT};
    if (!done) {
        out->vector = c->exc.vector;
        out->error = c->exc.has_code ? c->exc.code : 0;
        out->cr2 = out->vector == EXC_PF ? c->exc.cr2 : 0;
        c->gpr[REG_RIP] = t->before.rip;
    }
    c->cur = NULL;
    memcpy(out->gpr, c->gpr, sizeof(out->gpr));
    out->rip = c->gpr[REG_RIP];
    out->rflags = cpu_rflags(c);
    store_fp(c, out);
}
