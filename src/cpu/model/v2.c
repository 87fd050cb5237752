/*
 * x86-64-v2: the second level of the x86-64 psABI (what a Nehalem has), with the system features of later processors
 * that kernels look for: they cost programs nothing.
 */
#include "cpu/model/model.h"

static const u8 features[] = {
    FEAT_FPU,      FEAT_CMOV,    FEAT_CX8,  FEAT_CX16, FEAT_SEP,   FEAT_SYSCALL, FEAT_LM,     FEAT_FXSR,   FEAT_CLFLUSH,
    FEAT_MMX,      FEAT_SSE,     FEAT_SSE2, FEAT_SSE3, FEAT_SSSE3, FEAT_SSE4_1,  FEAT_SSE4_2, FEAT_POPCNT, FEAT_RDTSCP,
    FEAT_FSGSBASE, FEAT_INVPCID, FEAT_SMAP, FEAT_UMIP, FEAT_RDPID, FEAT_LAHF64,  FEAT_BASE,
};

static void v2_features(struct isa_features *f)
{
    model_set(f, features);
}

const struct cpu_model model_v2 = {
    .name = "x86-64-v2",
    .vendor = "GenuineIntel",
    .brand = "Ring3 Virtual CPU x86-64-v2",
    .family = 6,
    .model = 0x1a,
    .stepping = 3,
    .physical_bits = 40,
    .linear_bits = 48,
    .features = v2_features,
};
