/*
 * The first process of a guest that has the host's root file system (vm/root.c): an ELF file for Linux, which guests/
 * makes.
 */
#ifndef MACHINE_ROOT_INIT_H
#define MACHINE_ROOT_INIT_H

#include "base/types.h"

extern const u8 root_init[];
extern const size_t root_init_size;

#endif
