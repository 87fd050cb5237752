/*
 * Processor models: what CPUID says, which instructions exist, which control-register bits may be set. A file each
 * in cpu/model/, listed in cpu/model/list.c.
 */
#ifndef CPU_MODEL_H
#define CPU_MODEL_H

#include "base/error.h"
#include "isa/insn.h"

struct cpu;

struct cpu_model {
    const char *name;   /* x86-64-v2, x86-64-v3, host */
    const char *vendor; /* twelve characters */
    const char *brand;  /* up to 47 characters */
    /* Of a processor that had no extension which the model lacks: programs choose code by them as well, and compilers
     * make such programs (GCC's target_clones("arch=...")). */
    u8 family, model, stepping;
    u8 physical_bits, linear_bits;
    /* Fills in the features; "host" asks the host processor, and takes away what the table does not know. */
    void (*features)(struct isa_features *f);
};

/* NULL if there is none of that name. */
const struct cpu_model *cpu_model_find(const char *name);
/* For help: names in order, NULL after the last. */
const struct cpu_model *cpu_model_at(unsigned n);
/* -ENOTSUP with a message if the host lacks an instruction that the model has and whose semantics run on the host. */
int cpu_model_check(const struct cpu_model *m, struct error *err) MUST_CHECK;

/* CPUID.1:EAX, which is also EDX after RESET. */
u32 cpu_model_signature(const struct cpu_model *m);

/* The crystal clock of CPUID.15H, which is what the local APIC timer counts before its divider (apic_config.hz). */
#define CPU_CRYSTAL_HZ 25000000u

/* CPUID as the guest sees it now (OSXSAVE, APIC ID and XCR0 sizes included). */
void cpu_cpuid(struct cpu *c, u32 leaf, u32 subleaf, u32 out[4]);

#endif
