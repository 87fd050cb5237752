/*
 * Multiboot 1 (GNU Multiboot Specification 0.6.96).
 */
#ifndef MACHINE_BOOT_MULTIBOOT_H
#define MACHINE_BOOT_MULTIBOOT_H

#include "machine/boot/boot.h"

/* Offset of a valid header in the first 8 KiB, or -1. */
i64 multiboot_find_header(const struct boot_file *f);

#endif
