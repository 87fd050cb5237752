/*
 * Boot protocols: how a file becomes a running guest without firmware. Each protocol is one function that checks the
 * file, puts it and what goes with it into guest memory, and says with which registers the first processor starts. The
 * files are hostile; the checks are complete before a byte of guest memory is written by their numbers.
 *
 * A failure is one line that names the option and the cure ("--kernel PATH: ...").
 *
 * What is where in guest memory is kept in a list of areas, so that nothing is put over anything else. Machine lock
 * held.
 */
#ifndef MACHINE_BOOT_BOOT_H
#define MACHINE_BOOT_BOOT_H

#include "base/bits.h"
#include "base/error.h"
#include "mem/space.h"

/* A file from the command line. Owned by the machine, read once. */
struct boot_file {
    const char *option; /* "--kernel" */
    const char *path;   /* NULL: not given */
    u8 *data;
    u64 size;
};

int boot_file_read(struct boot_file *f, u64 max, struct error *err) MUST_CHECK;
void boot_file_free(struct boot_file *f);

/* What --initramfs gives: one file, or for multiboot a list "path args,path args" with commas inside written twice. */
#define BOOT_MODULES_MAX 32
struct boot_module {
    struct boot_file file;
    char *path; /* the file's */
    char *text; /* "path args" */
};
struct boot_modules {
    struct boot_module item[BOOT_MODULES_MAX];
    unsigned count;
};

/* `spec` may be NULL: none. Freed with boot_modules_free in every case. */
int boot_modules_read(struct boot_modules *m, const char *spec, bool list, u64 max, struct error *err) MUST_CHECK;
/* More bytes behind those of the first file, aligned as archives have to be. */
int boot_modules_append(struct boot_modules *m, const u8 *data, size_t size, struct error *err) MUST_CHECK;
void boot_modules_free(struct boot_modules *m);

enum boot_kind { BOOT_UNKNOWN, BOOT_LINUX, BOOT_MULTIBOOT, BOOT_PVH };
enum boot_kind boot_identify(const struct boot_file *kernel);

enum boot_mode {
    BOOT_PROTECTED, /* 32-bit protected mode, flat, paging off */
    BOOT_LONG,      /* 64-bit mode, identity-mapped page tables at cr3 */
};

/* Registers of the first processor; segments are flat with selectors 0x10 (code) and 0x18 (data) in the table at gdt.
 */
struct boot_entry {
    enum boot_mode mode;
    u64 rip, rax, rbx, rsi, cr3;
    u32 gdt;
};

/* Who unpacks a bzImage's kernel. */
enum boot_unpack {
    BOOT_UNPACK_KEEP, /* we, and what comes out is kept for the next time (host/keep.h) */
    BOOT_UNPACK_HOST, /* we */
    BOOT_UNPACK_GUEST,
};

struct boot_area {
    u64 base, size;
};

#define BOOT_AREAS_MAX 96

struct boot {
    struct mem_space *mem;
    u64 ram_below_4g, ram_above_4g;
    const struct boot_file *kernel;
    const struct boot_modules *modules;
    const char *cmdline; /* never NULL */
    u64 rsdp;            /* where the ACPI tables start */
    bool long_mode;      /* the processor model has it */
    bool unpack;         /* a bzImage's kernel, here and not in the guest */
    bool keep;           /* and what was unpacked is kept for the next time: not possible in the sandbox */
    u64 random;          /* for unpacked kernels that want to be where nobody knows */
    struct error *err;
    struct boot_entry entry; /* what the protocol fills in */
    struct boot_area area[BOOT_AREAS_MAX];
    unsigned areas;
};

void boot_init(struct boot *b, struct mem_space *mem);

int boot_linux(struct boot *b) MUST_CHECK;
int boot_pvh(struct boot *b) MUST_CHECK;
int boot_multiboot(struct boot *b) MUST_CHECK;
int boot_start(struct boot *b) MUST_CHECK; /* by what the kernel file is */

/* --- for the protocols ------------------------------------------------------------------------------------------ */

/* "OPTION PATH: text". Returns `status`. */
int boot_fail(struct boot *b, const struct boot_file *f, int status, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Is [base, base + size) RAM that a guest may be loaded to: below the EBDA, or from 1 MiB to the PCI hole? */
bool boot_usable(const struct boot *b, u64 base, u64 size);
/* Marks an area as taken. False if it is not free, or the list is full. */
bool boot_claim(struct boot *b, u64 base, u64 size);
/* Claims the lowest (highest) free area of `size` bytes inside [lo, hi) whose base is a multiple of `align`; 0 if there
 * is none. */
u64 boot_place_low(struct boot *b, u64 lo, u64 hi, u64 size, u64 align);
u64 boot_place_high(struct boot *b, u64 lo, u64 hi, u64 size, u64 align);
/* Small structures: below the EBDA, or wherever there is room. 0 if there is none. */
u64 boot_place_small(struct boot *b, u64 size, u64 align);

void boot_put(struct boot *b, u64 base, const void *data, u64 size);
void boot_zero(struct boot *b, u64 base, u64 size);
/* A string with its zero; where it is, 0 if there is no room. */
u64 boot_put_string(struct boot *b, const char *text);

/* Memory map as the BIOS call E820 gives it. */
enum boot_memory_type { BOOT_RAM = 1, BOOT_RESERVED = 2 };
struct boot_memory {
    u64 base, size;
    u32 type;
};
#define BOOT_MEMORY_MAX 8
/* Number of entries, in order of address, without overlap or empty ones. */
unsigned boot_memory_map(u64 ram_below_4g, u64 ram_above_4g, struct boot_memory map[BOOT_MEMORY_MAX]);

/* The GDT of struct boot_entry; false if there is no room. */
bool boot_put_gdt(struct boot *b);

#endif
