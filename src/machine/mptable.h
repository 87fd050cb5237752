/*
 * The MultiProcessor configuration table, for kernels without ACPI that are started without firmware. Intel
 * MultiProcessor Specification 1.4, chapter 4.
 */
#ifndef MACHINE_MPTABLE_H
#define MACHINE_MPTABLE_H

#include "machine/bytes.h"

#define MP_POINTER_SIZE 16

struct mptable_config {
    unsigned cpus;
    u32 cpu_signature, cpu_features; /* CPUID.1: EAX and EDX */
    const u8 *pirq_route;            /* the line of each of the four PCI links */
};

/* Appends the configuration table. Its bytes need no placing; the floating pointer tells where it is. */
void mptable_build(struct bytes *t, const struct mptable_config *cfg);
void mptable_pointer(u8 pointer[MP_POINTER_SIZE], u32 table);

#endif
