/*
 * The processor models, in the order in which help names them, and what they have in common. CPUID bits: SDM volume 2
 * "CPUID".
 */
#include <cpuid.h>
#include <string.h>

#include "cpu/model/model.h"

static const struct cpu_model *const models[] = {&model_v2, &model_v3, &model_host};

const struct cpuid_bit cpuid_bits[] = {
    {FEAT_SSE3, 1, 0, REG_ECX, 0, true},
    {FEAT_PCLMUL, 1, 0, REG_ECX, 1, true},
    {FEAT_MONITOR, 1, 0, REG_ECX, 3, false},
    {FEAT_SSSE3, 1, 0, REG_ECX, 9, true},
    {FEAT_FMA, 1, 0, REG_ECX, 12, true},
    {FEAT_CX16, 1, 0, REG_ECX, 13, true},
    {FEAT_SSE4_1, 1, 0, REG_ECX, 19, true},
    {FEAT_SSE4_2, 1, 0, REG_ECX, 20, true},
    {FEAT_MOVBE, 1, 0, REG_ECX, 22, false},
    {FEAT_POPCNT, 1, 0, REG_ECX, 23, true},
    {FEAT_AES, 1, 0, REG_ECX, 25, true},
    {FEAT_XSAVE, 1, 0, REG_ECX, 26, false},
    {FEAT_AVX, 1, 0, REG_ECX, 28, true},
    {FEAT_F16C, 1, 0, REG_ECX, 29, true},
    {FEAT_RDRAND, 1, 0, REG_ECX, 30, false},
    {FEAT_FPU, 1, 0, REG_EDX, 0, true},
    {FEAT_CX8, 1, 0, REG_EDX, 8, true},
    {FEAT_SEP, 1, 0, REG_EDX, 11, false},
    {FEAT_CMOV, 1, 0, REG_EDX, 15, true},
    {FEAT_CLFLUSH, 1, 0, REG_EDX, 19, false},
    {FEAT_MMX, 1, 0, REG_EDX, 23, true},
    {FEAT_FXSR, 1, 0, REG_EDX, 24, false},
    {FEAT_SSE, 1, 0, REG_EDX, 25, true},
    {FEAT_SSE2, 1, 0, REG_EDX, 26, true},
    {FEAT_FSGSBASE, 7, 0, REG_EBX, 0, false},
    {FEAT_BMI1, 7, 0, REG_EBX, 3, true},
    {FEAT_AVX2, 7, 0, REG_EBX, 5, true},
    {FEAT_BMI2, 7, 0, REG_EBX, 8, true},
    {FEAT_INVPCID, 7, 0, REG_EBX, 10, false},
    {FEAT_RDSEED, 7, 0, REG_EBX, 18, false},
    {FEAT_ADX, 7, 0, REG_EBX, 19, false},
    {FEAT_SMAP, 7, 0, REG_EBX, 20, false},
    {FEAT_CLFLUSHOPT, 7, 0, REG_EBX, 23, false},
    {FEAT_CLWB, 7, 0, REG_EBX, 24, false},
    {FEAT_SHA, 7, 0, REG_EBX, 29, false},
    {FEAT_UMIP, 7, 0, REG_ECX, 2, false},
    {FEAT_PKU, 7, 0, REG_ECX, 3, false},
    {FEAT_VAES, 7, 0, REG_ECX, 9, true},
    {FEAT_VPCLMUL, 7, 0, REG_ECX, 10, true},
    {FEAT_RDPID, 7, 0, REG_ECX, 22, false},
    {FEAT_XSAVEOPT, 13, 1, REG_EAX, 0, false},
    {FEAT_XSAVEC, 13, 1, REG_EAX, 1, false},
    {FEAT_XSAVES, 13, 1, REG_EAX, 3, false},
    {FEAT_LAHF64, 0x80000001, 0, REG_ECX, 0, false},
    {FEAT_LZCNT, 0x80000001, 0, REG_ECX, 5, true},
    {FEAT_SSE4A, 0x80000001, 0, REG_ECX, 6, true},
    {FEAT_PREFETCHW, 0x80000001, 0, REG_ECX, 8, false},
    {FEAT_SYSCALL, 0x80000001, 0, REG_EDX, 11, false},
    {FEAT_RDTSCP, 0x80000001, 0, REG_EDX, 27, false},
    {FEAT_LM, 0x80000001, 0, REG_EDX, 29, false},
};
const unsigned cpuid_bit_count = ARRAY_SIZE(cpuid_bits);

static const char *const feature_names[] = {
#define FEATURE(name, text) text,
#include "isa/table/feature.def"
#undef FEATURE
};

const struct cpu_model *cpu_model_at(unsigned n)
{
    return n < ARRAY_SIZE(models) ? models[n] : NULL;
}

const struct cpu_model *cpu_model_find(const char *name)
{
    for (unsigned n = 0; n < ARRAY_SIZE(models); n++)
        if (strcmp(models[n]->name, name) == 0)
            return models[n];
    return NULL;
}

void model_set(struct isa_features *f, const u8 *list)
{
    for (; *list != FEAT_BASE; list++)
        isa_set(f, *list);
}

bool model_listed(const u8 *list, unsigned feature)
{
    for (; *list != FEAT_BASE; list++)
        if (*list == feature)
            return true;
    return false;
}

bool model_host_has(const struct cpuid_bit *b)
{
    u32 regs[4];
    if (!__get_cpuid_count(b->leaf, b->subleaf, &regs[0], &regs[1], &regs[2], &regs[3]))
        return false;
    return regs[b->reg] >> b->bit & 1;
}

int cpu_model_check(const struct cpu_model *m, struct error *err)
{
    struct isa_features f = {0};
    m->features(&f);
    for (unsigned n = 0; n < cpuid_bit_count; n++) {
        const struct cpuid_bit *b = &cpuid_bits[n];
        if (b->on_host && isa_has(&f, b->feature) && !model_host_has(b))
            return error_set(err, -ENOTSUP, "processor model %s needs %s, which this host's processor lacks", m->name,
                             feature_names[b->feature]);
    }
    return 0;
}

u32 cpu_model_signature(const struct cpu_model *m)
{
    u32 family = m->family < 15 ? m->family : 15, model = m->model;
    return (m->family - family) << 20 | (model >> 4) << 16 | family << 8 | (model & 15) << 4 | m->stepping;
}
