/*
 * The guest that runs when neither kernel nor firmware is given: a multiboot ELF file. The program that links the
 * machine brings it (guests/ makes it).
 */
#ifndef MACHINE_BUILTIN_H
#define MACHINE_BUILTIN_H

#include "base/types.h"

extern const u8 builtin_guest[];
extern const size_t builtin_guest_size;

#endif
