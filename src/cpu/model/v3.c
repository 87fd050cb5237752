/*
 * x86-64-v3: the third level of the x86-64 psABI (what a Haswell has), AES, PCLMULQDQ, SHA, random numbers, ADX and the
 * XSAVE family.
 */
#include "cpu/model/model.h"

static const u8 features[] = {
    FEAT_AVX,    FEAT_AVX2,     FEAT_BMI1,       FEAT_BMI2,   FEAT_F16C,      FEAT_FMA,    FEAT_LZCNT, FEAT_MOVBE,
    FEAT_XSAVE,  FEAT_XSAVEOPT, FEAT_XSAVEC,     FEAT_XSAVES, FEAT_AES,       FEAT_PCLMUL, FEAT_SHA,   FEAT_RDRAND,
    FEAT_RDSEED, FEAT_ADX,      FEAT_CLFLUSHOPT, FEAT_CLWB,   FEAT_PREFETCHW, FEAT_BASE,
};

static void v3_features(struct isa_features *f)
{
    model_v2.features(f);
    model_set(f, features);
}

const struct cpu_model model_v3 = {
    .name = "x86-64-v3",
    .vendor = "GenuineIntel",
    .brand = "Ring3 Virtual CPU x86-64-v3",
    .family = 6,
    .model = 0x8f,
    .stepping = 8,
    .physical_bits = 40,
    .linear_bits = 48,
    .features = v3_features,
};
