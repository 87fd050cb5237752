/*
 * Model-specific registers: one table. SDM volume 4 chapter 2; volume 3 sections 10.4.4 (APIC base), 12.11 (MTRRs),
 * 12.12 (PAT), 17.17 (TSC). What is not in the table does not exist: #GP(0).
 *
 * Not offered, so absent: performance counters, thermal and power management, VMX, SMM, SGX, paravirtual registers.
 */
#include "cpu/msr.h"

#include <string.h>

#include "cpu/control.h"
#include "cpu/fault.h"
#include "cpu/model.h"
#include "cpu/segment.h"

#define MSR_TSC_DEADLINE 0x6e0
#define MC_BANKS         10
#define MTRR_PAIRS       8

struct msr;
typedef int msr_read_fn(struct cpu *c, const struct msr *m, u32 n, u64 *v);
typedef int msr_write_fn(struct cpu *c, const struct msr *m, u32 n, u64 v);

/* `count` registers from `first` on; n counts from 0 within them. */
struct msr {
    u32 first, count;
    const char *name;
    u8 feature; /* without it they do not exist */
    msr_read_fn *read;
    msr_write_fn *write;
    u32 offset; /* of the u64s in struct cpu, for the functions that need it */
    u64 value;  /* the constant, or the bits that may be set */
};

/* What ARCH_CAPABILITIES says: enhanced IBRS, and not affected by anything that has a bit. */
enum {
    RDCL_NO = 0,
    IBRS_ALL = 1,
    SKIP_L1DFL = 3,
    SSB_NO = 4,
    MDS_NO = 5,
    PSCHANGE_MC_NO = 6,
    TAA_NO = 8,
    SBDR_SSDP_NO = 13,
    FBSDP_NO = 14,
    PSDP_NO = 15,
    BHI_NO = 20,
    PBRSB_NO = 24,
    GDS_NO = 26,
    RFDS_NO = 27,
    ITS_NO = 62,
};
#define ARCH_CAPABILITIES                                                                                              \
    (BIT64(RDCL_NO) | BIT64(IBRS_ALL) | BIT64(SKIP_L1DFL) | BIT64(SSB_NO) | BIT64(MDS_NO) | BIT64(PSCHANGE_MC_NO) |    \
     BIT64(TAA_NO) | BIT64(SBDR_SSDP_NO) | BIT64(FBSDP_NO) | BIT64(PSDP_NO) | BIT64(BHI_NO) | BIT64(PBRSB_NO) |        \
     BIT64(GDS_NO) | BIT64(RFDS_NO) | BIT64(ITS_NO))

#define SPEC_CTRL_BITS       0x407ull /* IBRS, STIBP, SSBD, BHI_DIS_S */
#define MISC_ENABLE_WRITABLE 0x400c50009ull
#define MTRRCAP              (0x500ull | MTRR_PAIRS) /* write-combining, fixed ranges */
#define MCG_CAP              (BIT64(8) | MC_BANKS)   /* MCG_CTL is there */

static u64 *msr_field(struct cpu *c, const struct msr *m, u32 n)
{
    return (u64 *)((char *)c + m->offset) + n;
}

static int read_constant(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    *v = m->value;
    return 0;
}

static int read_field(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    *v = *msr_field(c, m, n);
    return 0;
}

static int write_field(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (v & ~m->value)
        return -EPERM;
    *msr_field(c, m, n) = v;
    return 0;
}

static int write_canonical(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (!addr_is_canonical(v))
        return -EPERM;
    *msr_field(c, m, n) = v;
    return 0;
}

static int write_base(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    int r = write_canonical(c, m, n, v);
    cpu_derive(c);
    return r;
}

static int write_ignored(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    return 0;
}

/* Only commands: the bits that may be set, and nothing to do for them. */
static int write_command(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    return v & ~m->value ? -EPERM : 0;
}

static int write_all_or_none(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (v && v != ~0ull)
        return -EPERM;
    *msr_field(c, m, n) = v;
    return 0;
}

static int read_tsc(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    *v = cpu_tsc(c);
    return 0;
}

/* The deadline is a TSC value: when that moves, so does the timer. */
static void tsc_moved(struct cpu *c)
{
    if (c->apic && c->apic->tsc_changed)
        c->apic->tsc_changed(c->apic_dev);
}

static int write_tsc(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    u64 step = v - cpu_tsc(c);
    c->tsc_offset += step;
    c->tsc_adjust += step;
    tsc_moved(c);
    return 0;
}

static int write_tsc_adjust(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    c->tsc_offset += v - c->tsc_adjust;
    c->tsc_adjust = v;
    tsc_moved(c);
    return 0;
}

static int read_tsc_aux(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    *v = c->tsc_aux;
    return 0;
}

static int write_tsc_aux(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (v >> 32)
        return -EPERM;
    c->tsc_aux = (u32)v;
    return 0;
}

static int write_efer(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    return cpu_set_efer(c, v);
}

static int read_apic(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    return c->apic ? c->apic->msr_read(c->apic_dev, m->first + n, v) : -EPERM;
}

static int write_apic(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    return c->apic ? c->apic->msr_write(c->apic_dev, m->first + n, v) : -EPERM;
}

/* Memory types, a byte each: UC, WC, WT, WP, WB; the PAT has UC- as well. */
static bool memory_types_valid(u64 v, unsigned count, u32 allowed)
{
    for (unsigned n = 0; n < count; n++, v >>= 8)
        if ((v & 0xff) > 7 || !(allowed >> (v & 7) & 1))
            return false;
    return true;
}
#define MTRR_TYPES 0x73u
#define PAT_TYPES  0xf3u

static int write_pat(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (!memory_types_valid(v, 8, PAT_TYPES))
        return -EPERM;
    c->pat = v;
    return 0;
}

static int write_mtrr_fixed(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (!memory_types_valid(v, 8, MTRR_TYPES))
        return -EPERM;
    *msr_field(c, m, n) = v;
    return 0;
}

/* Pairs: base with a type, mask with a valid bit. */
static int write_mtrr_variable(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    bool is_mask = n & 1;
    u64 reserved = cpu_physical_reserved(c) | (is_mask ? 0x7ff : 0xf00);
    if (v & reserved || (!is_mask && !memory_types_valid(v, 1, MTRR_TYPES)))
        return -EPERM;
    *msr_field(c, m, n) = v;
    return 0;
}

static int write_mtrr_default(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if (v & ~m->value || !memory_types_valid(v, 1, MTRR_TYPES))
        return -EPERM;
    c->mtrr_def = v;
    return 0;
}

/* Bits that do not exist, and the read-only ones, are left alone. */
static int write_misc_enable(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    c->misc_enable = (c->misc_enable & ~m->value) | (v & m->value);
    return 0;
}

/* CTL takes all or nothing, STATUS can only be cleared, ADDR and MISC take anything. */
static int write_mc_bank(struct cpu *c, const struct msr *m, u32 n, u64 v)
{
    if ((n % 4 == 0 && v && v != ~0ull) || (n % 4 == 1 && v))
        return -EPERM;
    *msr_field(c, m, n) = v;
    return 0;
}

/* Ratios of the 100 MHz bus clock: the highest without turbo, and the lowest. */
static int read_platform_info(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    u64 ratio = c->tsc_hz / 100000000u & 0xff;
    *v = ratio << 8 | ratio << 40;
    return 0;
}

static int read_perf_status(struct cpu *c, const struct msr *m, u32 n, u64 *v)
{
    *v = (c->tsc_hz / 100000000u & 0xff) << 8;
    return 0;
}

#define AT(member) offsetof(struct cpu, member)

/* In order of their numbers. */
static const struct msr msrs[] = {
    {0x000, 2, "P5_MC", FEAT_BASE, read_constant, write_ignored},
    {0x010, 1, "TSC", FEAT_BASE, read_tsc, write_tsc},
    {0x017, 1, "PLATFORM_ID", FEAT_BASE, read_constant},
    {0x01b, 1, "APIC_BASE", FEAT_BASE, read_apic, write_apic},
    {0x034, 1, "SMI_COUNT", FEAT_BASE, read_constant},
    {0x03b, 1, "TSC_ADJUST", FEAT_BASE, read_field, write_tsc_adjust, AT(tsc_adjust)},
    {0x048, 1, "SPEC_CTRL", FEAT_BASE, read_field, write_field, AT(spec_ctrl), SPEC_CTRL_BITS},
    {0x049, 1, "PRED_CMD", FEAT_BASE, NULL, write_command, 0, 1},
    {0x079, 1, "BIOS_UPDT_TRIG", FEAT_BASE, NULL, write_ignored},
    {0x08b, 1, "BIOS_SIGN_ID", FEAT_BASE, read_constant, write_ignored, 0, 1ull << 32},
    {0x0ce, 1, "PLATFORM_INFO", FEAT_BASE, read_platform_info},
    {0x0fe, 1, "MTRRCAP", FEAT_BASE, read_constant, NULL, 0, MTRRCAP},
    {0x10a, 1, "ARCH_CAPABILITIES", FEAT_BASE, read_constant, NULL, 0, ARCH_CAPABILITIES},
    {0x174, 1, "SYSENTER_CS", FEAT_SEP, read_field, write_field, AT(sysenter_cs), 0xffffffff},
    {0x175, 1, "SYSENTER_ESP", FEAT_SEP, read_field, write_canonical, AT(sysenter_esp)},
    {0x176, 1, "SYSENTER_EIP", FEAT_SEP, read_field, write_canonical, AT(sysenter_eip)},
    {0x179, 1, "MCG_CAP", FEAT_BASE, read_constant, NULL, 0, MCG_CAP},
    {0x17a, 1, "MCG_STATUS", FEAT_BASE, read_field, write_field, AT(mcg_status), 7},
    {0x17b, 1, "MCG_CTL", FEAT_BASE, read_field, write_all_or_none, AT(mcg_ctl)},
    {0x198, 1, "PERF_STATUS", FEAT_BASE, read_perf_status},
    {0x1a0, 1, "MISC_ENABLE", FEAT_BASE, read_field, write_misc_enable, AT(misc_enable), MISC_ENABLE_WRITABLE},
    {0x1d9, 1, "DEBUGCTL", FEAT_BASE, read_field, write_field, AT(debugctl), 3},
    {0x1db, 4, "LASTBRANCH", FEAT_BASE, read_constant},
    {0x200, 2 * MTRR_PAIRS, "MTRR_PHYS", FEAT_BASE, read_field, write_mtrr_variable, AT(mtrr_var)},
    {0x250, 1, "MTRR_FIX64K", FEAT_BASE, read_field, write_mtrr_fixed, AT(mtrr_fixed[0])},
    {0x258, 2, "MTRR_FIX16K", FEAT_BASE, read_field, write_mtrr_fixed, AT(mtrr_fixed[1])},
    {0x268, 8, "MTRR_FIX4K", FEAT_BASE, read_field, write_mtrr_fixed, AT(mtrr_fixed[3])},
    {0x277, 1, "PAT", FEAT_BASE, read_field, write_pat, AT(pat)},
    {0x2ff, 1, "MTRR_DEF_TYPE", FEAT_BASE, read_field, write_mtrr_default, AT(mtrr_def), 0xcff},
    {0x400, 4 * MC_BANKS, "MC", FEAT_BASE, read_field, write_mc_bank, AT(mc_bank)},
    {MSR_TSC_DEADLINE, 1, "TSC_DEADLINE", FEAT_BASE, read_apic, write_apic},
    {0x800, 0x100, "x2APIC", FEAT_BASE, read_apic, write_apic},
    {0xda0, 1, "XSS", FEAT_XSAVES, read_field, write_field, AT(xss), 0},
    {0xc0000080, 1, "EFER", FEAT_LM, read_field, write_efer, AT(efer)},
    {0xc0000081, 1, "STAR", FEAT_SYSCALL, read_field, write_field, AT(star), ~0ull},
    {0xc0000082, 1, "LSTAR", FEAT_SYSCALL, read_field, write_canonical, AT(lstar)},
    {0xc0000083, 1, "CSTAR", FEAT_SYSCALL, read_field, write_canonical, AT(cstar)},
    {0xc0000084, 1, "FMASK", FEAT_SYSCALL, read_field, write_field, AT(sfmask), 0xffffffff},
    {0xc0000100, 1, "FS_BASE", FEAT_LM, read_field, write_base, AT(seg[SEG_FS].base)},
    {0xc0000101, 1, "GS_BASE", FEAT_LM, read_field, write_base, AT(seg[SEG_GS].base)},
    {0xc0000102, 1, "KERNEL_GS_BASE", FEAT_LM, read_field, write_canonical, AT(kernel_gs_base)},
    {0xc0000103, 1, "TSC_AUX", FEAT_RDTSCP, read_tsc_aux, write_tsc_aux},
};

static const struct msr *msr_find(const struct cpu *c, u32 number)
{
    size_t low = 0, high = ARRAY_SIZE(msrs);
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct msr *m = &msrs[mid];
        if (number < m->first)
            high = mid;
        else if (number - m->first >= m->count)
            low = mid + 1;
        else
            return isa_has(&c->features, m->feature) ? m : NULL;
    }
    return NULL;
}

int cpu_msr_get(struct cpu *c, u32 msr, u64 *value)
{
    const struct msr *m = msr_find(c, msr);
    return m && m->read ? m->read(c, m, msr - m->first, value) : -EPERM;
}

int cpu_msr_set(struct cpu *c, u32 msr, u64 value)
{
    const struct msr *m = msr_find(c, msr);
    return m && m->write ? m->write(c, m, msr - m->first, value) : -EPERM;
}

u64 cpu_read_msr(struct cpu *c, u32 msr)
{
    u64 v = 0;
    if (cpu_msr_get(c, msr, &v)) {
        log_limited(c->log, &c->msr_log, LOG_DEBUG, "cpu %u: RDMSR of %#x refused", c->id, msr);
        cpu_gp(c, 0);
    }
    return v;
}

void cpu_write_msr(struct cpu *c, u32 msr, u64 value)
{
    if (cpu_msr_set(c, msr, value)) {
        log_limited(c->log, &c->msr_log, LOG_DEBUG, "cpu %u: WRMSR of %#llx to %#x refused", c->id,
                    (unsigned long long)value, msr);
        cpu_gp(c, 0);
    }
}
