/*
 * host: what the host's processor has and the instruction table knows. System features are the interpreter's own,
 * whatever the host has.
 */
#include "cpu/model/model.h"

/* In the table of features for their names, but without semantics. */
static const u8 unknown[] = {FEAT_MONITOR, FEAT_PKU, FEAT_SSE4A, FEAT_BASE};
/* Semantics that do not need the host: always there. */
static const u8 own[] = {
    FEAT_SEP,     FEAT_SYSCALL, FEAT_LM,   FEAT_CLFLUSH, FEAT_RDTSCP, FEAT_FSGSBASE,
    FEAT_INVPCID, FEAT_SMAP,    FEAT_UMIP, FEAT_RDPID,   FEAT_LAHF64, FEAT_BASE,
};

static void host_features(struct isa_features *f)
{
    for (unsigned n = 0; n < cpuid_bit_count; n++)
        if (!model_listed(unknown, cpuid_bits[n].feature) && model_host_has(&cpuid_bits[n]))
            isa_set(f, cpuid_bits[n].feature);
    model_set(f, own);
}

const struct cpu_model model_host = {
    .name = "host",
    .vendor = "GenuineIntel",
    .brand = "Ring3 Virtual CPU, features of the host",
    .family = 6,
    .model = 0x3c,
    .stepping = 4,
    .physical_bits = 40,
    .linear_bits = 48,
    .features = host_features,
};
