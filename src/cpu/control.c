/*
 * Control registers and EFER: see cpu/control.h. SDM volume 3 sections 2.5, 4.1.2 (paging-mode enabling), 4.10.4
 * (invalidation), 10.8.5 (IA-32e mode).
 */
#include "cpu/control.h"

#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/model.h"
#include "cpu/segment.h"

#define CR0_DEFINED  (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR0_FLUSHES  (CR0_PG | CR0_PE | CR0_WP)
#define CR4_FLUSHES  (CR4_PGE | CR4_PSE | CR4_PAE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)
#define CR3_PCID     0xfffull
#define CR3_NO_FLUSH BIT64(63)

u64 cpu_physical_reserved(const struct cpu *c)
{
    return ~0ull << c->model->physical_bits;
}

static void require(struct cpu *c, bool condition)
{
    if (!condition)
        cpu_gp(c, 0);
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer)
{
    return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LMA);
}

/* Into and out of IA-32e mode: the consistency checks. */
static void cr0_check_paging(struct cpu *c, u64 old, u64 v)
{
    bool code64 = c->mode == ISA_64;
    if (v & ~old & CR0_PG && c->efer & EFER_LME) {
        unsigned tss = seg_type(&c->tr[0]);
        require(c, c->cr4 & CR4_PAE && !(c->seg[SEG_CS].attr & DA_L));
        require(c, tss != DESC_TSS16 && tss != DESC_TSS16_BUSY);
    }
    if (old & ~v & CR0_PG)
        require(c, !code64 && !(c->cr4 & CR4_PCIDE));
}

void cpu_write_cr0(struct cpu *c, u64 v)
{
    u64 old = c->cr0, efer = c->efer & ~EFER_LMA;
    require(c, !(v >> 32));
    v = (v & CR0_DEFINED) | CR0_ET;
    require(c, !(v & CR0_PG) || v & CR0_PE);
    require(c, !(v & CR0_NW) || v & CR0_CD);
    cr0_check_paging(c, old, v);
    if (v & CR0_PG && efer & EFER_LME)
        efer |= EFER_LMA;
    if ((old ^ v) & (CR0_PG | CR0_CD | CR0_NW) && pae_paging(v, c->cr4, efer))
        require(c, mmu_load_pdptes(c, c->cr3));
    c->cr0 = v;
    c->efer = efer;
    if (!(v & CR0_PE))
        c->cpl = 0;
    if ((old ^ v) & CR0_FLUSHES)
        mmu_flush_all(c);
    cpu_derive(c);
}

void cpu_write_cr3(struct cpu *c, u64 v)
{
    bool keep = c->cr4 & CR4_PCIDE && v & CR3_NO_FLUSH;
    if (c->cr4 & CR4_PCIDE)
        v &= ~CR3_NO_FLUSH;
    require(c, !(v & cpu_physical_reserved(c)));
    if (pae_paging(c->cr0, c->cr4, c->efer))
        require(c, mmu_load_pdptes(c, v));
    c->cr3 = v;
    mmu_cr3_loaded(c, keep);
}

u64 cpu_cr4_mask(const struct cpu *c)
{
    static const struct {
        enum isa_feature feature;
        u64 bits;
    } optional[] = {
        {FEAT_FXSR, CR4_OSFXSR},       {FEAT_SSE, CR4_OSXMMEXCPT}, {FEAT_UMIP, CR4_UMIP},     {FEAT_SMAP, CR4_SMAP},
        {FEAT_FSGSBASE, CR4_FSGSBASE}, {FEAT_INVPCID, CR4_PCIDE},  {FEAT_XSAVE, CR4_OSXSAVE},
    };
    u64 mask = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_SMEP;
    for (unsigned n = 0; n < ARRAY_SIZE(optional); n++)
        if (isa_has(&c->features, optional[n].feature))
            mask |= optional[n].bits;
    return mask;
}

void cpu_write_cr4(struct cpu *c, u64 v)
{
    u64 old = c->cr4;
    require(c, !(v & ~cpu_cr4_mask(c)));
    if (cpu_long_mode(c))
        require(c, v & CR4_PAE);
    if (v & ~old & CR4_PCIDE)
        require(c, cpu_long_mode(c) && !(c->cr3 & CR3_PCID));
    if ((old ^ v) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) && pae_paging(c->cr0, v, c->efer))
        require(c, mmu_load_pdptes(c, c->cr3));
    c->cr4 = v;
    if ((old ^ v) & CR4_FLUSHES)
        mmu_flush_all(c);
    cpu_derive(c);
}

int cpu_set_efer(struct cpu *c, u64 v)
{
    u64 old = c->efer;
    if (v & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX))
        return -EPERM;
    if ((old ^ v) & EFER_LME && c->cr0 & CR0_PG)
        return -EPERM;
    c->efer = (v & ~EFER_LMA) | (old & EFER_LMA);
    if ((old ^ v) & EFER_NX)
        mmu_flush_all(c);
    return 0;
}

u64 cpu_read_cr8(struct cpu *c)
{
    return c->apic ? c->apic->get_cr8(c->apic_dev) : 0;
}

void cpu_write_cr8(struct cpu *c, u64 v)
{
    require(c, !(v >> 4));
    if (c->apic)
        c->apic->set_cr8(c->apic_dev, (u8)v);
}
