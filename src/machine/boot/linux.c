/*
 * Linux bzImage: protocol 2.02 and newer. The kernel is entered in 64-bit mode where it can be (2.12, XLF_KERNEL_64),
 * else in 32-bit protected mode; its real-mode part is not run. See linux.h.
 */
#include "machine/boot/linux.h"

#include <string.h>

#include "machine/board.h"
#include "machine/boot/vmlinux.h"

#define SECTOR              512
#define MAGIC               0x53726448u /* "HdrS" */
#define BOOT_FLAG           0xaa55
#define XLF_KERNEL_64       BIT(0)
#define LOAD_DEFAULT        0x100000u
#define INITRD_MAX_DEFAULT  0x37ffffffu /* before 2.03 */
#define CMDLINE_MAX_DEFAULT 255u        /* before 2.06 */
#define ENTRY_64            0x200

/* struct boot_params beyond the setup header. */
enum {
    BP_ACPI_RSDP = 0x070,
    BP_E820_ENTRIES = 0x1e8,
    BP_E820_TABLE = 0x2d0,
    BP_SIZE = 0x1000,
};
#define E820_ENTRY_SIZE 20

bool linux_is_image(const struct boot_file *f)
{
    return f->size >= HDR_VERSION + 2 && get_u16(f->data + HDR_BOOT_FLAG) == BOOT_FLAG &&
           get_u32(f->data + HDR_MAGIC) == MAGIC;
}

/* --- the setup header ------------------------------------------------------------------------------------------- */

/* A field that came in with protocol `since`. */
static u64 field(const struct boot_file *f, const struct linux_image *l, u16 since, unsigned off, unsigned size,
                 u64 before)
{
    u64 value = 0;

    if (l->protocol < since)
        return before;
    memcpy(&value, f->data + off, size);
    return value;
}

static const char *parse_sizes(const struct boot_file *f, struct linux_image *l)
{
    unsigned sectors = f->data[HDR_SETUP_SECTS] ? f->data[HDR_SETUP_SECTS] : 4;
    u64 paragraphs = field(f, l, 0x204, HDR_SYSSIZE, 4, 0);

    l->setup_size = (sectors + 1) * SECTOR;
    if (l->setup_size >= f->size)
        return "the kernel image is truncated: it ends inside its setup code";
    l->kernel_size = f->size - l->setup_size;
    if (paragraphs * 16 > l->kernel_size + 15)
        return "the kernel image is truncated: its header promises more";
    return NULL;
}

const char *linux_parse(const struct boot_file *f, struct linux_image *l)
{
    *l = (struct linux_image){.protocol = get_u16(f->data + HDR_VERSION)};
    const char *why = parse_sizes(f, l);

    if (why)
        return why;
    if (f->size < HDR_END)
        return "the kernel image is truncated: it ends inside its header";
    if (l->protocol < 0x202)
        return "a kernel older than boot protocol 2.02 (Linux 2.4): too old";
    if (!(f->data[HDR_LOADFLAGS] & LOADFLAG_HIGH))
        return "a zImage, which loads into low memory: build a bzImage";

    l->initrd_max = field(f, l, 0x203, HDR_INITRD_MAX, 4, INITRD_MAX_DEFAULT);
    l->cmdline_max = (u32)field(f, l, 0x206, HDR_CMDLINE_SIZE, 4, CMDLINE_MAX_DEFAULT);
    l->init_size = field(f, l, 0x20a, HDR_INIT_SIZE, 4, 0);
    l->long_entry = field(f, l, 0x20c, HDR_XLOADFLAGS, 2, 0) & XLF_KERNEL_64;
    l->payload = field(f, l, 0x208, HDR_PAYLOAD, 4, 0);
    l->payload_size = field(f, l, 0x208, HDR_PAYLOAD_SIZE, 4, 0);
    l->alignment = field(f, l, 0x205, HDR_ALIGNMENT, 4, 0);
    l->load = LOAD_DEFAULT;
    if (field(f, l, 0x205, HDR_RELOCATABLE, 1, 0))
        l->load = field(f, l, 0x20a, HDR_PREF_ADDRESS, 8, LOAD_DEFAULT);
    if (l->init_size < l->kernel_size)
        l->init_size = l->kernel_size;
    if (l->load < LOAD_DEFAULT || !is_aligned(l->load, 16) || l->load + l->init_size < l->load)
        return "the kernel wants to be loaded to an impossible address";
    return NULL;
}

/* --- loading ---------------------------------------------------------------------------------------------------- */

static unsigned long long mib_up(u64 size)
{
    return (size + MiB(1) - 1) >> 20;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *p = text; (p = strstr(p, word)); p += len) {
        bool begins = p == text || p[-1] == ' ', ends = !p[len] || p[len] == ' ';
        if (begins && ends)
            return true;
    }
    return false;
}

/* Where the kernel is entered, and how it is told of KASLR. 0 if it has to unpack itself. */
static u64 load_unpacked(struct boot *b, const struct linux_image *l, u8 *params)
{
    struct vmlinux v;

    if (!b->unpack || !b->long_mode || !l->long_entry || !vmlinux_unpack(b->kernel, l, b->keep, &v))
        return 0;
    if (!has_word(b->cmdline, "nokaslr") && vmlinux_move(&v, l, b->random))
        params[HDR_LOADFLAGS] |= LOADFLAG_KASLR;
    vmlinux_load(b, &v);
    vmlinux_free(&v);
    return v.entry;
}

static int load_kernel(struct boot *b, const struct linux_image *l, u8 *params)
{
    if (!boot_usable(b, l->load, l->init_size) || !boot_claim(b, l->load, l->init_size))
        return boot_fail(b, b->kernel, -ENOMEM, "the kernel needs at least %llu MiB of memory: raise --memory",
                         mib_up(l->load + l->init_size));
    u64 entry = load_unpacked(b, l, params);
    if (!entry)
        boot_put(b, l->load, b->kernel->data + l->setup_size, l->kernel_size);
    b->entry = (struct boot_entry){.mode = BOOT_PROTECTED, .rip = l->load};
    if (l->long_entry && b->long_mode) {
        b->entry.mode = BOOT_LONG;
        b->entry.rip = entry ? entry : l->load + ENTRY_64;
    }
    return 0;
}

static int load_initramfs(struct boot *b, const struct linux_image *l, u8 *params)
{
    const struct boot_file *f = &b->modules->item[0].file;

    if (!b->modules->count)
        return 0;
    u64 base = boot_place_high(b, LOW_END, l->initrd_max + 1, f->size, MEM_PAGE_SIZE);
    if (!base)
        return boot_fail(b, f, -ENOMEM,
                         "%llu MiB do not fit into guest memory beside the kernel: raise --memory to at least %lluM",
                         mib_up(f->size), mib_up(l->load + l->init_size + f->size + MiB(16)));
    boot_put(b, base, f->data, f->size);
    put_u32(params + HDR_RAMDISK, (u32)base);
    put_u32(params + HDR_RAMDISK_SIZE, (u32)f->size);
    return 0;
}

static int load_cmdline(struct boot *b, const struct linux_image *l, u8 *params)
{
    size_t len = strlen(b->cmdline);

    if (len > l->cmdline_max)
        return error_set(b->err, -EINVAL, "--cmdline: %zu characters are too long: this kernel takes at most %u", len,
                         l->cmdline_max);
    u64 base = boot_put_string(b, b->cmdline);
    if (!base)
        return error_set(b->err, -ENOMEM, "--cmdline: no room for it in guest memory: raise --memory");
    put_u32(params + HDR_CMDLINE, (u32)base);
    return 0;
}

static void fill_e820(struct boot *b, u8 *params)
{
    struct boot_memory map[BOOT_MEMORY_MAX];
    unsigned count = boot_memory_map(b->ram_below_4g, b->ram_above_4g, map);

    for (unsigned i = 0; i < count; i++) {
        u8 *entry = params + BP_E820_TABLE + i * E820_ENTRY_SIZE;
        put_u64(entry, map[i].base);
        put_u64(entry + 8, map[i].size);
        put_u32(entry + 16, map[i].type);
    }
    params[BP_E820_ENTRIES] = (u8)count;
}

/* The file's own header, as long as it says it is, in an otherwise empty struct. */
static void copy_header(const struct boot_file *f, u8 *params)
{
    size_t end = HDR_MAGIC + (size_t)f->data[HDR_JUMP + 1]; /* the jump's target */

    if (end > BP_E820_TABLE)
        end = BP_E820_TABLE;
    if (end > f->size)
        end = f->size;
    if (end > HDR_SETUP_SECTS)
        memcpy(params + HDR_SETUP_SECTS, f->data + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
}

/* Identity mapping of the first 4 GiB in 2 MiB pages: PML4, PDPT, four page directories. */
static bool put_page_tables(struct boot *b)
{
    enum { PRESENT_WRITABLE = 0x03, LARGE = 0x80, TABLES = 6, ENTRIES = 512 };
    static const u64 page = MEM_PAGE_SIZE;
    u64 base = boot_place_small(b, TABLES * page, page);

    if (!base)
        return false;
    boot_zero(b, base, TABLES * page);
    for (u64 i = 0; i < 4; i++) {
        u64 directory = base + (2 + i) * page;
        u64 pdpte = directory | PRESENT_WRITABLE, pde[ENTRIES];
        for (u64 n = 0; n < ENTRIES; n++)
            pde[n] = (i * ENTRIES + n) << 21 | LARGE | PRESENT_WRITABLE;
        boot_put(b, base + page + 8 * i, &pdpte, sizeof(pdpte));
        boot_put(b, directory, pde, sizeof(pde));
    }
    u64 pml4e = (base + page) | PRESENT_WRITABLE;
    boot_put(b, base, &pml4e, sizeof(pml4e));
    b->entry.cr3 = base;
    return true;
}

static int no_room(struct boot *b)
{
    return boot_fail(b, b->kernel, -ENOMEM, "no room for its boot parameters in guest memory: raise --memory");
}

static int put_params(struct boot *b, const u8 *params)
{
    u64 base = boot_place_small(b, BP_SIZE, MEM_PAGE_SIZE);

    if (!base)
        return no_room(b);
    boot_put(b, base, params, BP_SIZE);
    b->entry.rsi = base;
    if (b->entry.mode == BOOT_LONG && !put_page_tables(b))
        return no_room(b);
    return boot_put_gdt(b) ? 0 : no_room(b);
}

int boot_linux(struct boot *b)
{
    struct linux_image l;
    u8 params[BP_SIZE] = {0};
    const char *why = linux_parse(b->kernel, &l);
    int status;

    if (why)
        return boot_fail(b, b->kernel, -EINVAL, "%s", why);
    if (!l.long_entry && !get_u32(b->kernel->data + HDR_CODE32_START))
        return boot_fail(b, b->kernel, -EINVAL,
                         "it begins in real mode with a BIOS: give --firmware too, such as SeaBIOS's bios-256k.bin");
    copy_header(b->kernel, params);
    params[HDR_LOADER] = LOADER_UNDEFINED;
    put_u16(params + HDR_VID_MODE, 0xffff);
    put_u32(params + HDR_CODE32_START, (u32)l.load);
    put_u32(params + HDR_RAMDISK, 0);
    put_u32(params + HDR_RAMDISK_SIZE, 0);
    put_u64(params + BP_ACPI_RSDP, b->rsdp);
    fill_e820(b, params);

    if ((status = load_kernel(b, &l, params)) || (status = load_initramfs(b, &l, params)) ||
        (status = load_cmdline(b, &l, params)))
        return status;
    return put_params(b, params);
}
