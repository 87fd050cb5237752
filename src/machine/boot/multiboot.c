/*
 * Multiboot 1: ELF files of both classes, and raw images with the address fields in the header ("a.out kludge").
 * Modules come from --initramfs and lie page-aligned above the kernel. The command line starts with the kernel's file
 * name. See multiboot.h.
 */
#include "machine/boot/multiboot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/board.h"
#include "machine/boot/elf.h"

#define HEADER_MAGIC          0x1badb002u
#define LOADER_MAGIC          0x2badb002u
#define SEARCH                8192
#define HEADER_SIZE           12
#define HEADER_SIZE_ADDRESSES 32

#define FLAG_ADDRESSES BIT(16)
#define FLAGS_REQUIRED 0x0000ffffu
#define FLAGS_KNOWN    (BIT(0) | BIT(1) | BIT(2)) /* page-aligned modules, memory, video mode (only a wish) */

#define INFO_MEMORY      BIT(0)
#define INFO_BOOT_DEVICE BIT(1)
#define INFO_CMDLINE     BIT(2)
#define INFO_MODULES     BIT(3)
#define INFO_MEMORY_MAP  BIT(6)
#define INFO_LOADER_NAME BIT(9)

#define BOOT_DEVICE_NONE 0x8000ffffu
#define LOADER_NAME      "ring3"

struct multiboot_info {
    u32 flags;
    u32 mem_lower, mem_upper; /* KiB */
    u32 boot_device;
    u32 cmdline;
    u32 mods_count, mods_addr;
    u32 syms[4];
    u32 mmap_length, mmap_addr;
    u32 drives_length, drives_addr;
    u32 config_table;
    u32 boot_loader_name;
    u32 apm_table;
    u32 vbe[4];
};

struct multiboot_module {
    u32 start, end;
    u32 cmdline;
    u32 reserved;
};

struct multiboot_mmap {
    u32 size; /* of the rest */
    u64 base, length;
    u32 type;
} __attribute__((packed));

struct addresses {
    u32 header, load, load_end, bss_end, entry;
};

i64 multiboot_find_header(const struct boot_file *f)
{
    u64 end = f->size < SEARCH ? f->size : SEARCH;

    for (u64 at = 0; range_inside(at, HEADER_SIZE, end); at += 4) {
        u32 magic = get_u32(f->data + at), flags = get_u32(f->data + at + 4), sum = get_u32(f->data + at + 8);
        if (magic == HEADER_MAGIC && (u32)(magic + flags + sum) == 0)
            return (i64)at;
    }
    return -1;
}

/* --- the kernel ------------------------------------------------------------------------------------------------- */

/* The address fields of the header, turned into the one segment that they describe. NULL or what is wrong. */
static const char *raw_segment(const struct boot_file *f, u64 header, struct elf *e)
{
    if (!range_inside(header, HEADER_SIZE_ADDRESSES, f->size))
        return "the multiboot header is truncated";
    const u8 *p = f->data + header + HEADER_SIZE;
    struct addresses a = {get_u32(p), get_u32(p + 4), get_u32(p + 8), get_u32(p + 12), get_u32(p + 16)};

    if (a.header < a.load || a.header - a.load > header)
        return "the multiboot header's load address is impossible";
    u64 offset = header - (a.header - a.load);
    u64 file_size = f->size - offset;
    if (a.load_end) {
        if (a.load_end < a.load)
            return "the multiboot header's load end is impossible";
        if (a.load_end - a.load > file_size)
            return "the file is truncated: its multiboot header promises more";
        file_size = a.load_end - a.load;
    }
    u64 mem_size = file_size;
    if (a.bss_end) {
        if (a.bss_end < a.load || a.bss_end - a.load < file_size)
            return "the multiboot header's bss end is impossible";
        mem_size = a.bss_end - a.load;
    }
    *e = (struct elf){.entry = a.entry, .segments = 1};
    e->segment[0] = (struct elf_segment){offset, file_size, a.load, a.load, mem_size};
    return mem_size ? NULL : "the multiboot header describes an empty kernel";
}

static int load_kernel(struct boot *b, u64 *end)
{
    i64 header = multiboot_find_header(b->kernel);
    struct elf e;

    if (header < 0)
        return boot_fail(b, b->kernel, -EINVAL, "no multiboot header");
    u32 flags = get_u32(b->kernel->data + header + 4);
    if (flags & FLAGS_REQUIRED & ~FLAGS_KNOWN)
        return boot_fail(b, b->kernel, -ENOTSUP, "it requires multiboot features 0x%x, which do not exist here",
                         flags & FLAGS_REQUIRED & ~FLAGS_KNOWN);
    /* The address fields win over what the file says by itself. */
    const char *why = flags & FLAG_ADDRESSES ? raw_segment(b->kernel, (u64)header, &e)
                      : elf_is(b->kernel)    ? elf_parse(b->kernel, &e)
                                             : "a multiboot file that is neither ELF nor says where to load it";
    if (why)
        return boot_fail(b, b->kernel, -EINVAL, "%s", why);
    u64 entry = elf_physical_entry(&e);
    int status = elf_load(b, &e, end);
    if (status)
        return status;
    if (entry >= *end)
        return boot_fail(b, b->kernel, -EINVAL, "its entry point 0x%llx lies outside its segments",
                         (unsigned long long)entry);
    b->entry = (struct boot_entry){.mode = BOOT_PROTECTED, .rip = entry, .rax = LOADER_MAGIC};
    return 0;
}

/* --- modules ---------------------------------------------------------------------------------------------------- */

static int module_put(struct boot *b, const struct boot_module *from, u64 above, struct multiboot_module *m)
{
    const struct boot_file *f = &from->file;
    u64 start = boot_place_low(b, align_up(above, MEM_PAGE_SIZE), b->ram_below_4g, f->size, MEM_PAGE_SIZE);

    m->cmdline = (u32)boot_put_string(b, from->text);
    if (!start || !m->cmdline)
        return boot_fail(b, f, -ENOMEM, "%llu KiB do not fit into guest memory above the kernel: raise --memory",
                         (unsigned long long)((f->size + 1023) >> 10));
    boot_put(b, start, f->data, f->size);
    m->start = (u32)start;
    m->end = (u32)(start + f->size);
    return 0;
}

static int load_modules(struct boot *b, u64 above, struct multiboot_info *info)
{
    struct multiboot_module module[BOOT_MODULES_MAX] = {0};
    unsigned count = b->modules->count;

    if (!count)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        int status = module_put(b, &b->modules->item[i], above, &module[i]);
        if (status)
            return status;
    }
    info->mods_count = count;
    info->mods_addr = (u32)boot_place_small(b, count * sizeof(module[0]), 16);
    if (!info->mods_addr)
        return error_set(b->err, -ENOMEM, "--initramfs: no room for the list of modules: raise --memory");
    boot_put(b, info->mods_addr, module, count * sizeof(module[0]));
    info->flags |= INFO_MODULES;
    return 0;
}

/* --- what the kernel is told ------------------------------------------------------------------------------------ */

static bool put_memory(struct boot *b, struct multiboot_info *info)
{
    struct boot_memory map[BOOT_MEMORY_MAX];
    struct multiboot_mmap entry[BOOT_MEMORY_MAX];
    unsigned count = boot_memory_map(b->ram_below_4g, b->ram_above_4g, map);

    for (unsigned i = 0; i < count; i++)
        entry[i] =
            (struct multiboot_mmap){sizeof(entry[i]) - sizeof(entry[i].size), map[i].base, map[i].size, map[i].type};
    info->mmap_length = count * (u32)sizeof(entry[0]);
    info->mmap_addr = (u32)boot_place_small(b, sizeof(entry), 16);
    if (!info->mmap_addr)
        return false;
    boot_put(b, info->mmap_addr, entry, info->mmap_length);
    info->mem_lower = LOW_EBDA >> 10;
    info->mem_upper = b->ram_below_4g > LOW_END ? (u32)((b->ram_below_4g - LOW_END) >> 10) : 0;
    info->flags |= INFO_MEMORY | INFO_MEMORY_MAP;
    return true;
}

static bool put_cmdline(struct boot *b, struct multiboot_info *info)
{
    size_t size = strlen(b->kernel->path) + 1 + strlen(b->cmdline) + 1;
    char *text = malloc(size);

    if (!text)
        return false;
    snprintf(text, size, "%s%s%s", b->kernel->path, *b->cmdline ? " " : "", b->cmdline);
    info->cmdline = (u32)boot_put_string(b, text);
    info->flags |= INFO_CMDLINE;
    free(text);
    return info->cmdline != 0;
}

static bool put_info(struct boot *b, struct multiboot_info *info)
{
    if (!put_memory(b, info) || !put_cmdline(b, info))
        return false;
    info->boot_loader_name = (u32)boot_put_string(b, LOADER_NAME);
    info->boot_device = BOOT_DEVICE_NONE;
    info->flags |= INFO_LOADER_NAME | INFO_BOOT_DEVICE;
    u64 at = boot_place_small(b, sizeof(*info), 16);
    if (!at || !info->boot_loader_name)
        return false;
    boot_put(b, at, info, sizeof(*info));
    b->entry.rbx = at;
    return boot_put_gdt(b);
}

int boot_multiboot(struct boot *b)
{
    struct multiboot_info info = {0};
    u64 end;
    int status = load_kernel(b, &end);

    if (status)
        return status;
    status = load_modules(b, end, &info);
    if (status)
        return status;
    if (!put_info(b, &info))
        return boot_fail(b, b->kernel, -ENOMEM, "no room for its boot information in guest memory: raise --memory");
    return 0;
}
