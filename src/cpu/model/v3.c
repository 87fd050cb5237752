/*
 * x86-64-v3: the third level of the x86-64 psABI (what a Haswell has), AES, PCLMULQDQ, random numbers and the XSAVE
 * family; SHA and ADX on a host that has them.
 */
#include "cpu/model/model.h"

static const u8 features[] = {
    FEAT_AVX,    FEAT_AVX2,   FEAT_BMI1,       FEAT_BMI2,   FEAT_F16C,      FEAT_FMA,  FEAT_LZCNT,
    FEAT_MOVBE,  FEAT_XSAVE,  FEAT_XSAVEOPT,   FEAT_XSAVEC, FEAT_XSAVES,    FEAT_AES,  FEAT_PCLMUL,
    FEAT_RDRAND, FEAT_RDSEED, FEAT_CLFLUSHOPT, FEAT_CLWB,   FEAT_PREFETCHW, FEAT_BASE,
};

/*
 * Software does without these, and on a host that lacks them it does better so: translated code has them as they are,
 * and each would be an exception of the host's, hundreds of times slower than what it is there to speed up.
 */
static const u8 of_host[] = {FEAT_ADX, FEAT_SHA, FEAT_BASE};

static void v3_features(struct isa_features *f)
{
    model_v2.features(f);
    model_set(f, features);
    for (unsigned n = 0; n < cpuid_bit_count; n++)
        if (model_listed(of_host, cpuid_bits[n].feature) && model_host_has(&cpuid_bits[n]))
            isa_set(f, cpuid_bits[n].feature);
}

const struct cpu_model model_v3 = {
    .name = "x86-64-v3",
    .vendor = "GenuineIntel",
    .brand = "Ring3 Virtual CPU x86-64-v3",
    .family = 6,
    .model = 0x3c,
    .stepping = 4,
    .physical_bits = 40,
    .linear_bits = 48,
    .features = v3_features,
};
