/*
 * ELF files, 32 and 64 bits, little-endian, for x86: program headers only. System V ABI, chapters 4 and 5.
 */
#ifndef MACHINE_BOOT_ELF_H
#define MACHINE_BOOT_ELF_H

#include "machine/boot/boot.h"

#define ELF_SEGMENTS_MAX 32

struct elf_segment {
    u64 offset, file_size; /* inside the file */
    u64 vaddr, paddr, mem_size;
};

struct elf {
    bool is_64;
    u64 entry;
    struct elf_segment segment[ELF_SEGMENTS_MAX]; /* PT_LOAD with a size, as in the file */
    unsigned segments;
};

bool elf_is(const struct boot_file *f);

/* NULL if all is well, or what is wrong. Afterwards all file ranges lie inside the file, and no address range wraps. */
const char *elf_parse(const struct boot_file *f, struct elf *e) MUST_CHECK;

/* Checks the segments against guest memory, claims it and loads them. *end is the first byte above. */
int elf_load(struct boot *b, const struct elf *e, u64 *end) MUST_CHECK;

/* Loads the segments to memory that is claimed. `f` is what was parsed. */
void elf_put(struct boot *b, const struct boot_file *f, const struct elf *e);

/* The entry point as a physical address: e_entry is a virtual one where a segment has it so. */
u64 elf_physical_entry(const struct elf *e);

/* XEN_ELFNOTE_PHYS32_ENTRY. False if there is none. */
bool elf_pvh_entry(const struct boot_file *f, u64 *entry);

#endif
