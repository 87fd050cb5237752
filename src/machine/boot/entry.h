/*
 * The first processor as a boot protocol wants it.
 */
#ifndef MACHINE_BOOT_ENTRY_H
#define MACHINE_BOOT_ENTRY_H

#include "machine/boot/boot.h"

struct cpu;

/* The processor has just been reset. */
void boot_enter(struct cpu *c, const struct boot_entry *e);

/* The memory types that firmware would have set: write-back but for the video area and the PCI hole at `hole`. All
 * processors. */
void boot_set_mtrrs(struct cpu *c, u64 hole);

#endif
