/*
 * The kernel that a bzImage carries, unpacked by the host: a minute's work for an interpreter, and most of a fast
 * engine's way to the kernel's first message. What its own decompressor (arch/x86/boot/compressed) would do in the
 * guest is done here: unpacking, loading the ELF segments, moving the kernel to a random virtual address (KASLR) by
 * the relocations that follow the ELF file. Physically it stays where it wants to be.
 */
#ifndef MACHINE_BOOT_VMLINUX_H
#define MACHINE_BOOT_VMLINUX_H

#include "machine/boot/elf.h"
#include "machine/boot/linux.h"

struct vmlinux {
    struct boot_file file; /* the ELF file, and its relocations */
    struct elf elf;
    u64 entry; /* physical; 64-bit, with RSI at struct boot_params, as arch/x86/kernel/head_64.S has it */
};

/* False if the image does not carry what we understand: then it is to unpack itself. `keep`: what is unpacked is kept
 * for the next time (host/keep.h). */
bool vmlinux_unpack(const struct boot_file *f, const struct linux_image *l, bool keep, struct vmlinux *v);
/* Moves it to one of its places, chosen by `random`. False if it has no relocations. */
bool vmlinux_move(struct vmlinux *v, const struct linux_image *l, u64 random);
/* Into the kernel's memory, which is claimed. */
void vmlinux_load(struct boot *b, const struct vmlinux *v);
void vmlinux_free(struct vmlinux *v);

#endif
