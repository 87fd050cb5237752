/*
 * The two sides between a processor and its local APIC. Each knows the other only through these: dev/ implements
 * apic_ops, cpu/ implements apic_cpu_ops, machine/ ties them together.
 */
#ifndef IRQ_APIC_H
#define IRQ_APIC_H

#include "base/types.h"

/*
 * Processor to APIC. Called on the processor's thread without the machine lock: the implementation takes it.
 * `apic` is the device.
 */
struct apic_ops {
    /*
     * The vector to deliver now, acknowledged (moved to the in-service register, or taken from the 8259s through an
     * ExtINT pin), or -1 if none is deliverable any more.
     */
    int (*accept)(void *apic);
    /* CR8: the task-priority class, 0 to 15 (TPR[7:4]). */
    u8 (*get_cr8)(void *apic);
    void (*set_cr8)(void *apic, u8 value);
    /* A physical access inside the 4 KiB page of IA32_APIC_BASE while in xAPIC mode. off < 4096. */
    u32 (*mmio_read)(void *apic, u32 off);
    void (*mmio_write)(void *apic, u32 off, u32 value);
    /* IA32_APIC_BASE, IA32_TSC_DEADLINE, and 0x800-0x8ff in x2APIC mode. 0, or -EPERM for #GP. */
    int (*msr_read)(void *apic, u32 msr, u64 *value);
    int (*msr_write)(void *apic, u32 msr, u64 value);
    /* INIT, or power-on when `cold`. IA32_APIC_BASE and the APIC ID survive INIT. */
    void (*reset)(void *apic, bool cold);
    /* The guest's TSC was written (IA32_TSC, IA32_TSC_ADJUST): a deadline comes sooner or later than planned. */
    void (*tsc_changed)(void *apic);
};

/* APIC to processor. Any thread, machine lock held. `cpu` is the processor. They wake a halted processor. */
struct apic_cpu_ops {
    /* INTR: there is (or is no longer) something that apic_ops.accept would return. Level. */
    void (*set_intr)(void *cpu, bool level);
    void (*nmi)(void *cpu);
    void (*smi)(void *cpu);
    void (*init)(void *cpu);
    void (*sipi)(void *cpu, u8 vector);
    /* The value of IA32_APIC_BASE changed: the processor caches which page the APIC answers. */
    void (*base_changed)(void *cpu, u64 apic_base);
    /* The guest's TSC now, for the deadline timer, and the virtual time in ns at which it will show `tsc`. */
    u64 (*tsc_now)(void *cpu);
    u64 (*tsc_to_ns)(void *cpu, u64 tsc);
};

#endif
