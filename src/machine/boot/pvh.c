/*
 * The PVH boot protocol (Xen's docs/misc/pvh.pandoc; struct hvm_start_info version 1): an ELF file whose note names a
 * 32-bit entry point. EBX holds the address of the start info.
 */
#include <string.h>

#include "machine/board.h"
#include "machine/boot/boot.h"
#include "machine/boot/elf.h"

#define START_MAGIC 0x336ec578u

struct hvm_start_info {
    u32 magic;
    u32 version;
    u32 flags;
    u32 nr_modules;
    u64 modlist_paddr;
    u64 cmdline_paddr;
    u64 rsdp_paddr;
    u64 memmap_paddr;
    u32 memmap_entries;
    u32 reserved;
};

struct hvm_modlist_entry {
    u64 paddr;
    u64 size;
    u64 cmdline_paddr;
    u64 reserved;
};

struct hvm_memmap_entry {
    u64 addr;
    u64 size;
    u32 type;
    u32 reserved;
};

static int load_module(struct boot *b, struct hvm_start_info *info)
{
    const struct boot_file *f = &b->modules->item[0].file;
    struct hvm_modlist_entry module = {.size = f->size};

    if (!b->modules->count)
        return 0;
    module.paddr = boot_place_high(b, LOW_END, b->ram_below_4g, f->size, MEM_PAGE_SIZE);
    info->modlist_paddr = boot_place_small(b, sizeof(module), 8);
    if (!module.paddr || !info->modlist_paddr)
        return boot_fail(b, f, -ENOMEM, "%llu MiB do not fit into guest memory beside the kernel: raise --memory",
                         (unsigned long long)((f->size + MiB(1) - 1) >> 20));
    boot_put(b, module.paddr, f->data, f->size);
    boot_put(b, info->modlist_paddr, &module, sizeof(module));
    info->nr_modules = 1;
    return 0;
}

static bool put_memmap(struct boot *b, struct hvm_start_info *info)
{
    struct boot_memory map[BOOT_MEMORY_MAX];
    struct hvm_memmap_entry entry[BOOT_MEMORY_MAX];

    info->memmap_entries = boot_memory_map(b->ram_below_4g, b->ram_above_4g, map);
    for (unsigned i = 0; i < info->memmap_entries; i++)
        entry[i] = (struct hvm_memmap_entry){map[i].base, map[i].size, map[i].type, 0};
    info->memmap_paddr = boot_place_small(b, sizeof(entry), 8);
    if (!info->memmap_paddr)
        return false;
    boot_put(b, info->memmap_paddr, entry, info->memmap_entries * sizeof(entry[0]));
    return true;
}

static bool put_info(struct boot *b, struct hvm_start_info *info)
{
    info->cmdline_paddr = boot_put_string(b, b->cmdline);
    if (!info->cmdline_paddr || !put_memmap(b, info))
        return false;
    u64 at = boot_place_small(b, sizeof(*info), 8);
    if (!at)
        return false;
    boot_put(b, at, info, sizeof(*info));
    b->entry.rbx = at;
    return boot_put_gdt(b);
}

int boot_pvh(struct boot *b)
{
    struct hvm_start_info info = {.magic = START_MAGIC, .version = 1, .rsdp_paddr = b->rsdp};
    struct elf e;
    u64 entry, end;
    const char *why = elf_parse(b->kernel, &e);

    if (why)
        return boot_fail(b, b->kernel, -EINVAL, "%s", why);
    if (!elf_pvh_entry(b->kernel, &entry))
        return boot_fail(b, b->kernel, -EINVAL, "an ELF file without a PVH note");
    int status = elf_load(b, &e, &end);
    if (status)
        return status;
    if (entry >= end)
        return boot_fail(b, b->kernel, -EINVAL, "its entry point 0x%llx lies outside its segments",
                         (unsigned long long)entry);
    b->entry = (struct boot_entry){.mode = BOOT_PROTECTED, .rip = entry};
    status = load_module(b, &info);
    if (status)
        return status;
    if (!put_info(b, &info))
        return boot_fail(b, b->kernel, -ENOMEM, "no room for its start information in guest memory: raise --memory");
    return 0;
}
