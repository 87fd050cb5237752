/*
 * CPUID: a function for each leaf. SDM volume 2 "CPUID". Constant bits describe what the processor is, feature bits
 * come from cpuid_bits by the model's features, and a few change with the state: OSXSAVE, APIC, NX, sizes by XCR0.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/model/model.h"

#define MAX_BASIC         0x16u
#define MAX_EXTENDED      0x80000008u
#define HYPERVISOR        0x40000000u
#define HYPERVISOR_TIMING 0x40000010u

#define MISC_LIMIT_CPUID BIT64(22)
#define MISC_XD_DISABLE  BIT64(34)
#define APIC_BASE_ENABLE BIT64(11)

/* Leaf 1, EDX: VME DE PSE TSC MSR PAE MCE MTRR PGE MCA PAT PSE36 SS. ECX: PCID x2APIC TSC-deadline hypervisor. */
#define LEAF1_EDX          0x080370feu
#define LEAF1_EDX_APIC     BIT(9)
#define LEAF1_EDX_HTT      BIT(28)
#define LEAF1_ECX          (BIT(21) | BIT(24) | BIT(31))
#define LEAF1_ECX_PCID     BIT(17)
#define LEAF1_ECX_OSXSAVE  BIT(27)
/* Leaf 7, EBX: TSC_ADJUST FDP_EXCPTN_ONLY SMEP ERMS, FCS and FDS deprecated (both: cpu/sem/x87.h). EDX: FSRM, IBRS and
 * IBPB, STIBP, ARCH_CAPABILITIES, SSBD. */
#define LEAF7_EBX          (BIT(1) | BIT(6) | BIT(7) | BIT(9) | BIT(13))
#define LEAF7_EDX          (BIT(4) | BIT(26) | BIT(27) | BIT(29) | BIT(31))
/* Subleaf 2, EDX: BHI_CTRL, by which kernels do without a loop of branches at each entry. */
#define LEAF7_2_EDX        BIT(4)
/* Leaf 80000001h, EDX: SYSCALL, which Intel processors say they have in 64-bit code only; NX, 1-GiB pages. */
#define LEAF81_EDX_SYSCALL BIT(11)
#define LEAF81_EDX_NX      BIT(20)
#define LEAF81_EDX_PDPE1GB BIT(26)

#define XSAVE_LEGACY   576u
#define XSAVE_AVX_SIZE 256u
#define XCR0_AVX       BIT64(2)

static void add_features(const struct cpu *c, u32 leaf, u32 subleaf, u32 out[4])
{
    for (unsigned n = 0; n < cpuid_bit_count; n++) {
        const struct cpuid_bit *b = &cpuid_bits[n];
        if (b->leaf == leaf && b->subleaf == subleaf && isa_has(&c->features, b->feature))
            out[b->reg] |= BIT(b->bit);
    }
}

/* Twelve characters in the order that the manual has for the vendor: EBX, EDX, ECX. */
static void put_vendor(const char *text, u32 out[4])
{
    memcpy(&out[REG_EBX], text, 4);
    memcpy(&out[REG_EDX], text + 4, 4);
    memcpy(&out[REG_ECX], text + 8, 4);
}

/* Bits that number `count` things. */
static unsigned id_bits(unsigned count)
{
    unsigned bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

static u32 max_basic(const struct cpu *c)
{
    return c->misc_enable & MISC_LIMIT_CPUID ? 2 : MAX_BASIC;
}

static void leaf_vendor(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = max_basic(c);
    put_vendor(c->model->vendor, out);
}

static void leaf_features(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = cpu_model_signature(c->model);
    out[REG_EBX] = c->id << 24 | (1u << id_bits(c->count)) << 16 | 64 / 8 << 8;
    out[REG_ECX] = LEAF1_ECX;
    out[REG_EDX] = LEAF1_EDX;
    if (isa_has(&c->features, FEAT_INVPCID))
        out[REG_ECX] |= LEAF1_ECX_PCID;
    if (c->cr4 & CR4_OSXSAVE)
        out[REG_ECX] |= LEAF1_ECX_OSXSAVE;
    if (c->apic_base & APIC_BASE_ENABLE)
        out[REG_EDX] |= LEAF1_EDX_APIC;
    if (c->count > 1)
        out[REG_EDX] |= LEAF1_EDX_HTT;
    add_features(c, 1, 0, out);
}

/* "Ask leaf 4", 64-byte prefetch; TLBs: 4 KiB and 2/4 MiB pages, 1-GiB pages, shared second level. */
static void leaf_descriptors(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = 0x76036301;
    out[REG_EBX] = 0x00f0b5ff;
    out[REG_EDX] = 0x00c30000;
}

/* Deterministic cache parameters. */
struct cache {
    u8 type, level; /* 1 data, 2 instructions, 3 both */
    u16 ways, sets;
    bool shared; /* by all processors of the socket */
};
static const struct cache caches[] = {
    {1, 1, 8, 64, false},
    {2, 1, 8, 64, false},
    {3, 2, 16, 1024, false},
    {3, 3, 16, 16384, true},
};

static void leaf_caches(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    if (sub >= ARRAY_SIZE(caches))
        return;
    const struct cache *k = &caches[sub];
    u32 ids = (1u << id_bits(c->count)) - 1;
    out[REG_EAX] = k->type | (u32)k->level << 5 | BIT(8) | (k->shared ? ids : 0) << 14 | ids << 26;
    out[REG_EBX] = (64 - 1) | (k->ways - 1u) << 22;
    out[REG_ECX] = k->sets - 1u;
}

/* The APIC timer runs in every power state. */
static void leaf_power(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = BIT(2);
}

static void leaf_extended_features(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    if (sub == 2)
        out[REG_EDX] = LEAF7_2_EDX;
    if (sub != 0)
        return;
    out[REG_EAX] = 2; /* highest subleaf */
    out[REG_EBX] = LEAF7_EBX;
    out[REG_EDX] = LEAF7_EDX;
    add_features(c, 7, 0, out);
}

/* One thread a core, all cores in one socket. */
static void leaf_topology(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_ECX] = sub & 0xff;
    out[REG_EDX] = c->id;
    if (sub > 1)
        return;
    out[REG_EAX] = sub ? id_bits(c->count) : 0;
    out[REG_EBX] = sub ? c->count : 1;
    out[REG_ECX] |= (sub + 1) << 8;
}

static u32 xsave_size(u64 components)
{
    return XSAVE_LEGACY + (components & XCR0_AVX ? XSAVE_AVX_SIZE : 0);
}

static void leaf_xsave(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    if (!isa_has(&c->features, FEAT_XSAVE))
        return;
    u64 all = 3 | (isa_has(&c->features, FEAT_AVX) ? XCR0_AVX : 0);
    if (sub == 0) {
        out[REG_EAX] = (u32)all;
        out[REG_EBX] = xsave_size(c->xcr0);
        out[REG_ECX] = xsave_size(all);
    } else if (sub == 1) {
        add_features(c, 13, 1, out);
        if (isa_has(&c->features, FEAT_XSAVEC))
            out[REG_EAX] |= BIT(2); /* XGETBV with ECX 1 */
        if (isa_has(&c->features, FEAT_XSAVES))
            out[REG_EBX] = xsave_size(c->xcr0 | c->xss);
    } else if (sub == 2 && all & XCR0_AVX) {
        out[REG_EAX] = XSAVE_AVX_SIZE;
        out[REG_EBX] = XSAVE_LEGACY;
    }
}

static u64 gcd(u64 a, u64 b)
{
    while (b) {
        u64 r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* TSC frequency = crystal * EBX / EAX, exactly. */
static void leaf_tsc(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    u64 g = gcd(c->tsc_hz, CPU_CRYSTAL_HZ);
    if (!g || c->tsc_hz / g > 0xffffffff)
        return;
    out[REG_EAX] = (u32)(CPU_CRYSTAL_HZ / g);
    out[REG_EBX] = (u32)(c->tsc_hz / g);
    out[REG_ECX] = CPU_CRYSTAL_HZ;
}

static void leaf_frequency(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    u32 mhz = (u32)(c->tsc_hz / 1000000);
    out[REG_EAX] = out[REG_EBX] = mhz & 0xffff;
    out[REG_ECX] = 100;
}

static void leaf_hypervisor(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    static const char signature[12] = "Ring3 VMM   ";
    out[REG_EAX] = HYPERVISOR_TIMING;
    memcpy(&out[REG_EBX], signature, 12);
}

static void leaf_hypervisor_timing(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = (u32)(c->tsc_hz / 1000);
    out[REG_EBX] = CPU_CRYSTAL_HZ / 1000;
}

static void leaf_max_extended(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = MAX_EXTENDED;
}

static void leaf_amd_features(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EDX] = LEAF81_EDX_PDPE1GB;
    if (!(c->misc_enable & MISC_XD_DISABLE))
        out[REG_EDX] |= LEAF81_EDX_NX;
    add_features(c, 0x80000001, 0, out);
    if (c->mode != ISA_64)
        out[REG_EDX] &= ~LEAF81_EDX_SYSCALL;
}

static void leaf_brand(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    char text[48] = {0};
    size_t len = strlen(c->model->brand);
    memcpy(text, c->model->brand, len < sizeof(text) - 1 ? len : sizeof(text) - 1);
    memcpy(out, text + (leaf - 0x80000002) * 16, 16);
}

/* L2: 1 MiB, 16 ways (code 8), 64-byte lines. */
static void leaf_l2(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_ECX] = 1024u << 16 | 8 << 12 | 64;
}

/* Invariant TSC. */
static void leaf_advanced_power(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EDX] = BIT(8);
}

static void leaf_address_sizes(struct cpu *c, u32 leaf, u32 sub, u32 out[4])
{
    out[REG_EAX] = c->model->physical_bits | (u32)c->model->linear_bits << 8;
}

static const struct leaf {
    u32 first, last;
    void (*fill)(struct cpu *c, u32 leaf, u32 sub, u32 out[4]);
} leaves[] = {
    {0, 0, leaf_vendor},
    {1, 1, leaf_features},
    {2, 2, leaf_descriptors},
    {4, 4, leaf_caches},
    {6, 6, leaf_power},
    {7, 7, leaf_extended_features},
    {0xb, 0xb, leaf_topology},
    {0xd, 0xd, leaf_xsave},
    {0x15, 0x15, leaf_tsc},
    {0x16, 0x16, leaf_frequency},
    {HYPERVISOR, HYPERVISOR, leaf_hypervisor},
    {HYPERVISOR_TIMING, HYPERVISOR_TIMING, leaf_hypervisor_timing},
    {0x80000000, 0x80000000, leaf_max_extended},
    {0x80000001, 0x80000001, leaf_amd_features},
    {0x80000002, 0x80000004, leaf_brand},
    {0x80000006, 0x80000006, leaf_l2},
    {0x80000007, 0x80000007, leaf_advanced_power},
    {0x80000008, 0x80000008, leaf_address_sizes},
};

/* A leaf beyond the highest one shows the highest basic one, as Intel processors have it. */
static u32 leaf_in_range(const struct cpu *c, u32 leaf)
{
    u32 max = leaf >= 0x80000000 ? MAX_EXTENDED : leaf >= HYPERVISOR ? HYPERVISOR_TIMING : max_basic(c);
    return leaf <= max ? leaf : max_basic(c);
}

void cpu_cpuid(struct cpu *c, u32 leaf, u32 subleaf, u32 out[4])
{
    memset(out, 0, 4 * sizeof(out[0]));
    leaf = leaf_in_range(c, leaf);
    for (unsigned n = 0; n < ARRAY_SIZE(leaves); n++)
        if (leaf >= leaves[n].first && leaf <= leaves[n].last)
            leaves[n].fill(c, leaf, subleaf, out);
}
