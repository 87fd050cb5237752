/* See rig.h. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/mmu.h"
#include "cpu/model.h"
#include "cpu/world.h"
#include "event/loop.h"
#include "mem/code.h"

extern const u8 runtime_start[], runtime_syscall[];

static void no_features(struct isa_features *f)
{
    memset(f, 0, sizeof(*f));
}

static const struct cpu_model rig_model = {.name = "test",
                                           .vendor = "GenuineIntel",
                                           .brand = "test",
                                           .family = 6,
                                           .model = 85,
                                           .stepping = 4,
                                           .physical_bits = 40,
                                           .linear_bits = 48,
                                           .features = no_features};

static void stop_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct rig *r = opaque;
    r->ended = true;
    cpu_request(r->cpu, REQ_STOP);
}

static void irq_write(void *opaque, u64 off, u64 value, unsigned size)
{
    struct rig *r = opaque;
    r->irqs |= BIT(value & 15);
    r->cpu->intr_line = true;
    cpu_request(r->cpu, REQ_INTR);
}

static const struct mem_window_ops stop_ops = {.write = stop_write}, irq_ops = {.write = irq_write};

/* The least of an interrupt controller. */
static int irq_accept(void *opaque)
{
    struct rig *r = opaque;
    if (!r->irqs)
        return -1;
    unsigned n = (unsigned)__builtin_ctz(r->irqs);
    r->irqs &= r->irqs - 1;
    r->cpu->intr_line = r->irqs;
    return (int)(IRQ_FIRST + n);
}

static u8 irq_priority(void *opaque)
{
    return 0;
}

static const struct apic_ops irq_controller = {.accept = irq_accept, .get_cr8 = irq_priority};

static int rig_port(struct rig *r, struct mem_window *w, const struct mem_window_ops *ops, u64 base)
{
    *w = (struct mem_window){.ops = ops, .opaque = r, .name = "test", .size = 4};
    return mem_port_map(r->mem, w, base);
}

static bool rig_machine(struct rig *r, const struct isa_features *f)
{
    r->loop = loop_create();
    if (r->loop)
        loop_set_manual(r->loop, 0); /* code that turns into RDTSC sees the same on all sides */
    r->world = world_create(1);
    r->mem = r->loop ? mem_space_create(r->loop, RAM_SIZE, RAM_SIZE, NULL) : NULL;
    if (!r->mem || !r->world)
        return false;
    r->ram = mem_space_ram(r->mem)->host;
    if (rig_port(r, &r->stop_port, &stop_ops, STOP_PORT) < 0 || rig_port(r, &r->irq_port, &irq_ops, IRQ_PORT) < 0)
        return false;
    struct cpu_config cfg = {
        .count = 1, .model = &rig_model, .mem = r->mem, .loop = r->loop, .world = r->world, .tsc_hz = 1000000000};
    r->cpu = cpu_create(&cfg);
    if (!r->cpu)
        return false;
    r->cpu->features = *f;
    /* Code that is entered in the middle of an instruction may be anything; it should be the same on both sides. */
    r->cpu->features.word[FEAT_RDRAND / 64] &= ~BIT64(FEAT_RDRAND % 64);
    r->cpu->features.word[FEAT_RDSEED / 64] &= ~BIT64(FEAT_RDSEED % 64);
    cpu_connect_apic(r->cpu, &irq_controller, r);
    return true;
}

struct rig *rig_create(const struct engine_ops *engine, enum rig_way way, const struct isa_features *f)
{
    struct error err = {.text = "out of memory"};
    /* One way tries what is translated only in the end; the others have all of it translated. */
    const struct engine_config cfg = {.translate_after = way == WAY_STOP ? 2 : 0};
    struct rig *r = calloc(1, sizeof(*r));
    if (!r || !rig_machine(r, f) || engine->attach(r->cpu, &cfg, &err) < 0) {
        fprintf(stderr, "random_program: %s: %s\n", engine->name, err.text);
        rig_destroy(r);
        return NULL;
    }
    r->engine = engine;
    r->way = way;
    return r;
}

void rig_destroy(struct rig *r)
{
    if (!r)
        return;
    if (r->engine)
        r->engine->detach(r->cpu);
    cpu_destroy(r->cpu);
    world_destroy(r->world);
    mem_space_destroy(r->mem);
    loop_destroy(r->loop);
    free(r);
}

/* --- the state before
 * ------------------------------------------------------------------------------------------------- */

#define DATA_ATTR (DA_P | DA_S | DA_WRITE | DA_ACCESSED | DA_DB | DA_G)
#define CODE_ATTR (DA_P | DA_S | DA_CODE | DA_WRITE | DA_ACCESSED | DA_L | DA_G)

static void load_segments(struct cpu *c, bool user)
{
    u32 dpl = user ? 3 << DA_DPL_SHIFT : 0;
    struct cpu_seg data = {.sel = user ? SEL_UDATA : SEL_KDATA, .attr = DATA_ATTR | dpl, .limit = 0xffffffff};
    for (unsigned n = 0; n < SEG_COUNT; n++)
        c->seg[n] = data;
    c->seg[SEG_CS] =
        (struct cpu_seg){.sel = user ? SEL_UCODE : SEL_KCODE, .attr = CODE_ATTR | dpl, .limit = 0xffffffff};
    c->cpl = user ? 3 : 0;
    c->gdtr[0] = (struct cpu_seg){.base = RT_BASE + PA_GDT, .limit = SEL_TSS + 15};
    c->idtr[0] = (struct cpu_seg){.base = RT_BASE + PA_IDT, .limit = 16 * VECTORS - 1};
    c->tr[0] =
        (struct cpu_seg){.sel = SEL_TSS, .base = RT_BASE + PA_TSS, .limit = 0x67, .attr = DA_P | 11 << DA_TYPE_SHIFT};
}

static void load_control(struct cpu *c, const struct start *s)
{
    c->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    c->cr3 = s->cr3;
    c->cr4 = s->cr4;
    c->xcr0 = s->xcr0;
    c->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
    c->star = (u64)SEL_KCODE << 32 | (u64)(SEL_UDATA - 8) << 48;
    c->lstar = RT_BASE + PA_RUNTIME + (u64)(runtime_syscall - runtime_start);
    c->sfmask = s->sfmask;
    c->seg[SEG_FS].base = s->fs;
    c->seg[SEG_GS].base = s->gs;
    c->kernel_gs_base = s->kernel_gs;
}

static void load_fp(struct cpu *c, const struct start *s)
{
    memcpy(c->st, s->st, sizeof(c->st));
    memcpy(c->ymm, s->ymm, sizeof(c->ymm));
    for (unsigned n = 0; n < 16 && !(s->xcr0 & 4); n++)
        c->ymm[4 * n + 2] = c->ymm[4 * n + 3] = 0;
    c->fcw = s->fcw;
    c->fsw = s->fsw;
    c->ftw = s->ftw;
    c->mxcsr = s->mxcsr;
    c->xinuse = 7;
}

static void load(struct rig *r, const struct program *p)
{
    struct cpu *c = r->cpu;
    struct mem_ram *ram = mem_space_ram(r->mem);

    memcpy(r->ram, p->ram, RAM_SIZE);
    for (u64 n = 0; n < RAM_SIZE / MEM_PAGE_SIZE; n++)
        mem_code_unmark(&ram->pages[n]);
    r->irqs = 0;
    c->intr_line = false;
    cpu_reset(c, true);
    c->activity = CPU_ACTIVE;
    load_segments(c, p->start.user);
    load_control(c, &p->start);
    load_fp(c, &p->start);
    memcpy(c->gpr, p->start.gpr, sizeof(p->start.gpr));
    c->gpr[REG_RIP] = p->start.rip;
    cpu_set_rflags(c, p->start.rflags);
    if (r->way == WAY_STEP) {
        c->dr[0] = EDGE_KERNEL + 0x123456789; /* not mapped */
        c->dr[7] |= 1;
    }
    cpu_derive(c);
    mmu_cr3_loaded(c, false);
    r->engine->flush(c);
    atomic_store(&c->request, r->way == WAY_STEP ? REQ_DEBUG : 0);
}

/* --- running
 * ------------------------------------------------------------------------------------------------------------ */

/*
 * A look at a processor that was stopped. Now and then its engine has to begin anew from the state alone, or code is
 * written by a device, as it happens with what is there already.
 */
static void look(struct rig *r)
{
    u8 bytes[64];
    u64 pa = PA_ARENA + r->stops * 192 % CODE_SIZE;

    if (r->way != WAY_STOP)
        return;
    r->stops++;
    if (r->stops % 8 == 0)
        r->engine->flush(r->cpu);
    if (r->stops % 8 == 4) {
        memcpy(bytes, r->ram + pa, sizeof(bytes));
        mem_dma_write(r->mem, pa, bytes, sizeof(bytes));
    }
}

bool rig_run(struct rig *r, const struct program *p, unsigned milliseconds)
{
    load(r, p);
    r->ended = r->late = r->shutdown = r->failed = false;
    r->stops = 0;
    struct watch *w = watch_start(r, milliseconds, p->seed);
    while (!r->ended && !r->late && !r->shutdown && !r->failed) {
        enum engine_exit why = r->engine->run(r->cpu);
        r->shutdown = why == ENGINE_SHUTDOWN;
        r->failed = why == ENGINE_FAILED;
        look(r);
    }
    watch_end(w);
    return r->ended || r->shutdown || r->failed;
}
