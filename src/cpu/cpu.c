/*
 * The processor as a thing: making it, resetting it, what is derived from its state, and the wires from its local APIC.
 * SDM volume 3 section 10.1 (processor state after reset).
 */
#include "cpu/cpu.h"

#include <string.h>

#include "cpu/debug.h"
#include "cpu/intr.h"
#include "cpu/mmu.h"
#include "cpu/model.h"
#include "cpu/sem/stub.h"
#include "cpu/world.h"
#include "event/clock.h"
#include "event/door.h"

STATE_DEFINE(cpu, CPU_STATE, 1)

#define RFLAGS_ARITH   0x8d5ull
#define RFLAGS_DEFINED 0x3f7fd7ull
#define RFLAGS_FIXED   0x2ull

/* EFLAGS to the form of `lahf; seto %al` and back. */
static u32 flags_to_ax(u64 f)
{
    return (u32)((f & 0xd5) << 8 | 0x200 | (f >> 11 & 1));
}

static u64 flags_from_ax(u32 ax)
{
    return (ax >> 8 & 0xd5) | (u64)(ax & 1) << 11;
}

u64 cpu_rflags(const struct cpu *c)
{
    return c->rflags | flags_from_ax(c->ax_flags);
}

void cpu_set_rflags(struct cpu *c, u64 value)
{
    value = (value & RFLAGS_DEFINED) | RFLAGS_FIXED;
    u64 changed = c->rflags ^ value;
    c->ax_flags = flags_to_ax(value);
    c->rflags = value & ~RFLAGS_ARITH;
    c->shadow &= ~SHADOW_STI; /* an instruction that gets here is past it */
    if (changed & (RF_AC | RF_VM))
        cpu_derive(c);
    cpu_look_again(c);
}

unsigned cpu_mmu_index(const struct cpu *c, unsigned cpl)
{
    if (cpl == 3)
        return MMU_USER;
    return (c->cr4 & CR4_SMAP) && !(c->rflags & RF_AC) ? MMU_SUPER_SMAP : MMU_SUPER;
}

void cpu_derive_access(struct cpu *c)
{
    bool checked = c->cpl == 3 && (c->cr0 & CR0_AM) && (c->rflags & RF_AC);
    c->mmu_index = checked ? MMU_CHECKED : (u8)cpu_mmu_index(c, c->cpl);
    c->data_set = c->tlb->set[c->mmu_index];
}

/* Data at base 0 without a limit: every offset is a linear address, every access is allowed. */
static bool seg_is_flat(const struct cpu_seg *s)
{
    return s->base == 0 && s->limit == 0xffffffff &&
           (s->attr & (DA_P | DA_S | DA_CODE | DA_EXPAND | DA_WRITE)) == (DA_P | DA_S | DA_WRITE);
}

void cpu_derive(struct cpu *c)
{
    const struct cpu_seg *cs = &c->seg[SEG_CS];
    bool mode64 = cpu_long_mode(c) && (cs->attr & DA_L);
    c->flat = mode64;
    c->flat_segs = 0;
    for (unsigned n = 0; n < SEG_COUNT; n++) {
        c->seg_base[n] = mode64 && n < SEG_FS ? 0 : c->seg[n].base;
        if (mode64 || seg_is_flat(&c->seg[n]))
            c->flat_segs |= 1 << n;
    }
    if (mode64) {
        c->mode = ISA_64;
        c->stack_size = 8;
    } else {
        c->mode = cs->attr & DA_DB ? ISA_32 : ISA_16;
        c->stack_size = c->seg[SEG_SS].attr & DA_DB ? 4 : 2;
    }
    cpu_derive_access(c);
    cpu_look_again(c);
}

static void reset_segments(struct cpu *c)
{
    for (unsigned n = 0; n < SEG_COUNT; n++)
        c->seg[n] = (struct cpu_seg){.limit = 0xffff, .attr = DA_P | DA_S | DA_WRITE | DA_ACCESSED};
    c->seg[SEG_CS].sel = 0xf000;
    c->seg[SEG_CS].base = 0xffff0000;
    c->gdtr[0] = c->idtr[0] = (struct cpu_seg){.limit = 0xffff};
    c->ldtr[0] = (struct cpu_seg){.limit = 0xffff, .attr = DA_P | 2 << DA_TYPE_SHIFT};
    c->tr[0] = (struct cpu_seg){.limit = 0xffff, .attr = DA_P | 11 << DA_TYPE_SHIFT};
}

/* What INIT leaves alone and RESET does not. */
static void reset_cold(struct cpu *c)
{
    c->cr0 = CR0_CD | CR0_NW;
    c->xcr0 = 1;
    c->xss = 0;
    c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    /* All processors of a machine count from the moment at which virtual time began, so that their TSCs agree. */
    c->tsc_offset = c->tsc_adjust = 0;
    c->tsc_aux = 0;
    c->pat = 0x0007040600070406;
    c->misc_enable = 0x1801; /* fast strings; no BTS, no PEBS */
    c->mtrr_def = 0;
    memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
    memset(c->mtrr_var, 0, sizeof(c->mtrr_var));
    c->spec_ctrl = c->mcg_status = c->mcg_ctl = c->debugctl = 0;
    memset(c->mc_bank, 0, sizeof(c->mc_bank));
    c->smbase = 0x30000;
    memset(c->st, 0, sizeof(c->st));
    c->fcw = 0x40;
    c->fsw = c->fop = 0;
    c->ftw = 0xff; /* 5555h in full: eight zeroes, none empty */
    c->fip = c->fdp = 0;
    c->mxcsr = 0x1f80;
    memset(c->ymm, 0, sizeof(c->ymm));
    c->xinuse = 1;
}

void cpu_reset(struct cpu *c, bool cold)
{
    if (cold)
        reset_cold(c);
    memset(c->gpr, 0, sizeof(c->gpr));
    c->gpr[R_DX] = cpu_model_signature(c->model);
    c->gpr[REG_RIP] = 0xfff0;
    c->cur = NULL;
    c->ax_flags = flags_to_ax(0);
    c->rflags = RFLAGS_FIXED;
    c->cpl = 0;
    reset_segments(c);
    c->cr0 = (c->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
    memset(c->pdpte, 0, sizeof(c->pdpte));
    memset(c->dr, 0, sizeof(c->dr));
    c->dr[6] = DR6_FIXED;
    c->dr[7] = DR7_FIXED;
    c->nmi_pending = c->nmi_blocked = c->smi_pending = false;
    c->shadow = 0;
    c->debug_pending = 0;
    c->step = c->step_tf = false;
    c->step_shadow = c->ext = 0;
    c->is_bsp = c->id == 0;
    c->activity = c->is_bsp ? CPU_ACTIVE : CPU_WAIT_SIPI;
    cpu_derive(c);
    mmu_flush_all(c);
}

u64 cpu_tsc(struct cpu *c)
{
    return ns_to_ticks(door_time(c->loop), c->tsc_hz) + c->tsc_offset;
}

void cpu_request(struct cpu *c, u32 req)
{
    atomic_fetch_or(&c->request, req);
    if (c->kick)
        c->kick(c);
    if (c->world)
        world_wake(c->world, c);
}

/* From the local APIC. The level goes first: cpu_service clears the request before it looks at the level. */
static void apic_set_intr(void *cpu, bool level)
{
    struct cpu *c = cpu;
    c->intr_line = level;
    if (level)
        cpu_request(c, REQ_INTR);
}

static void apic_nmi(void *cpu)
{
    cpu_request(cpu, REQ_NMI);
}

static void apic_smi(void *cpu)
{
    cpu_request(cpu, REQ_SMI);
}

/* A start-up message that came before INIT was for nobody: it must not start the processor after it. */
static void apic_init(void *cpu)
{
    struct cpu *c = cpu;
    atomic_fetch_and(&c->request, ~(u32)REQ_SIPI);
    cpu_request(c, REQ_INIT);
}

static void apic_sipi(void *cpu, u8 vector)
{
    struct cpu *c = cpu;
    __atomic_store_n(&c->sipi_vector, vector, __ATOMIC_SEQ_CST);
    cpu_request(c, REQ_SIPI);
}

static void apic_base_changed(void *cpu, u64 apic_base)
{
    struct cpu *c = cpu;
    c->apic_base = apic_base;
    cpu_request(c, REQ_TLB);
}

static u64 apic_tsc_now(void *cpu)
{
    return cpu_tsc(cpu);
}

static u64 apic_tsc_to_ns(void *cpu, u64 tsc)
{
    struct cpu *c = cpu;
    u64 now = door_time(c->loop), shown = ns_to_ticks(now, c->tsc_hz) + c->tsc_offset;
    if (tsc <= shown)
        return now;
    /* By the distance, so that an offset below zero does not matter. */
    u64 base = ns_to_ticks(now, c->tsc_hz), distance = tsc - shown;
    return distance > UINT64_MAX - base ? UINT64_MAX : ticks_to_ns(base + distance, c->tsc_hz);
}

static const struct apic_cpu_ops apic_cpu_ops = {
    .set_intr = apic_set_intr,
    .nmi = apic_nmi,
    .smi = apic_smi,
    .init = apic_init,
    .sipi = apic_sipi,
    .base_changed = apic_base_changed,
    .tsc_now = apic_tsc_now,
    .tsc_to_ns = apic_tsc_to_ns,
};

const struct apic_cpu_ops *cpu_connect_apic(struct cpu *c, const struct apic_ops *ops, void *dev)
{
    c->apic = ops;
    c->apic_dev = dev;
    return &apic_cpu_ops;
}

struct cpu *cpu_create(const struct cpu_config *cfg)
{
    struct host_ram home;
    if (host_ram_small(&home, "processor", sizeof(struct cpu), NULL) < 0)
        return NULL;
    struct cpu *c = (struct cpu *)(void *)home.base;
    c->home = home;
    c->id = cfg->id;
    c->count = cfg->count;
    c->model = cfg->model;
    c->mem = cfg->mem;
    c->loop = cfg->loop;
    c->world = cfg->world;
    c->log = cfg->log;
    c->tsc_hz = cfg->tsc_hz;
    c->model->features(&c->features);
    isa_set(&c->features, FEAT_BASE);
    if (!mmu_create(c) || !vec_stubs_create(c)) {
        mmu_destroy(c);
        host_ram_unmap(&home);
        return NULL;
    }
    cpu_reset(c, true);
    if (c->world)
        world_add(c->world, c);
    return c;
}

void cpu_destroy(struct cpu *c)
{
    if (!c)
        return;
    mmu_destroy(c);
    vec_stubs_free(c);
    struct host_ram home = c->home;
    host_ram_unmap(&home);
}
