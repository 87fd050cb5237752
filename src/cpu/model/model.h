/*
 * Between the files of cpu/model: the models, and the table that ties features to CPUID bits.
 */
#ifndef CPU_MODEL_MODEL_H
#define CPU_MODEL_MODEL_H

#include "cpu/model.h"

extern const struct cpu_model model_v2, model_v3, model_host;

enum { REG_EAX, REG_EBX, REG_ECX, REG_EDX };

/* Where CPUID says that a feature is there. */
struct cpuid_bit {
    u8 feature; /* enum isa_feature */
    u32 leaf, subleaf;
    u8 reg, bit;
    bool on_host; /* the semantics carry it out by the host's own instruction */
};
extern const struct cpuid_bit cpuid_bits[];
extern const unsigned cpuid_bit_count;

/* Adds each of the list, which ends with FEAT_BASE. */
void model_set(struct isa_features *f, const u8 *list);
/* Whether such a list has it. */
bool model_listed(const u8 *list, unsigned feature);
/* What the host processor says. */
bool model_host_has(const struct cpuid_bit *b);

#endif
