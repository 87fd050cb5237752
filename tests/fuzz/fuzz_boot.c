/*
 * All boot loaders: a kernel file, an initramfs and a command line from the input. The first bytes choose a frame
 * (bzImage, ELF of either class with a PVH note or a multiboot header, raw), so that mutations get past the magic
 * numbers.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "event/loop.h"
#include "machine/board.h"
#include "machine/boot/boot.h"
#include "machine/boot/vmlinux.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define FILE_MAX 16384

static void frame_linux(u8 *p)
{
    put_u16(p + HDR_BOOT_FLAG, 0xaa55);
    put_u32(p + HDR_MAGIC, 0x53726448);
    p[HDR_VERSION + 1] = 2;
    p[HDR_LOADFLAGS] |= LOADFLAG_HIGH;
}

static void frame_elf(u8 *p, bool is_64)
{
    memcpy(p, ELFMAG, SELFMAG);
    p[EI_CLASS] = is_64 ? ELFCLASS64 : ELFCLASS32;
    p[EI_DATA] = ELFDATA2LSB;
    put_u16(p + 18, EM_X86_64);
    if (is_64) {
        put_u64(p + 32, 64);
        put_u16(p + 54, sizeof(Elf64_Phdr));
        put_u16(p + 56, p[56] & 7);
    } else {
        put_u32(p + 28, 52);
        put_u16(p + 42, sizeof(Elf32_Phdr));
        put_u16(p + 44, p[44] & 7);
    }
}

static void frame_multiboot(u8 *p, size_t at, u32 flags)
{
    put_u32(p + at, 0x1badb002);
    put_u32(p + at + 4, flags);
    put_u32(p + at + 8, 0u - 0x1badb002 - flags);
}

static void frame(u8 *p, u8 kind)
{
    if ((kind & 3) == 1)
        frame_linux(p);
    else if ((kind & 3) >= 2)
        frame_elf(p, kind & 1);
    if (kind & 4)
        frame_multiboot(p, kind & 8 ? 0x100 : 0x300, kind & 16 ? 0x10003 : 3);
}

static void boot_one(struct boot_file *kernel, const struct boot_modules *modules, const char *cmdline, u64 ram)
{
    struct loop *loop = loop_create();
    struct mem_space *mem = loop ? mem_space_create(loop, ram, GiB(3), NULL) : NULL;
    struct error err = {0};
    struct boot b;

    if (!mem)
        abort();
    boot_init(&b, mem);
    b.kernel = kernel;
    b.modules = modules;
    b.cmdline = cmdline;
    b.err = &err;
    b.rsdp = LOW_POINTERS;
    b.unpack = true;
    b.random = ram;
    int status = boot_start(&b);
    /* A refusal says why; what was accepted starts inside memory, with nothing over anything else. */
    if (status < 0 && strncmp(err.text, "--", 2) != 0)
        abort();
    if (status == 0 && b.entry.rip >= b.ram_below_4g)
        abort();
    for (unsigned i = 0; i < b.areas; i++) {
        if (!boot_usable(&b, b.area[i].base, b.area[i].size))
            abort();
        for (unsigned n = 0; n < i; n++) {
            if (ranges_overlap(b.area[i].base, b.area[i].size, b.area[n].base, b.area[n].size))
                abort();
        }
    }
    mem_space_destroy(mem);
    loop_destroy(loop);
}

/* Relocations of a kernel that was unpacked: the whole file comes from the input. */
static void move_one(const struct boot_file *kernel)
{
    const struct linux_image image = {.load = 0x1000000, .init_size = 0x400000};
    struct vmlinux v = {.file = *kernel};

    if (kernel->size > sizeof(Elf64_Ehdr) && !elf_parse(&v.file, &v.elf))
        (void)vmlinux_move(&v, &image, kernel->size);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct boot_modules modules = {0};
    struct boot_file kernel = {.option = "--kernel", .path = "k"};
    char cmdline[300] = {0};
    u8 initrd[64] = {0};

    if (size < 4)
        return 0;
    u8 kind = data[0], extra = data[1];
    u64 ram = MiB(1) << (data[2] & 7);
    size_t file_size = (size_t)(data[3] + 1) * (FILE_MAX / 256);
    /* The exact size on the heap, so that a sanitizer sees a read beyond it. */
    kernel.data = calloc(1, file_size < 0x400 ? 0x400 : file_size);
    if (!kernel.data)
        abort();
    memcpy(kernel.data, data + 4, size - 4 < file_size ? size - 4 : file_size);
    frame(kernel.data, kind);
    kernel.size = extra & 1 ? file_size : size - 4 < file_size ? size - 4 : file_size;
    u8 *exact = malloc(kernel.size ? kernel.size : 1);
    if (!exact)
        abort();
    memcpy(exact, kernel.data, kernel.size);
    free(kernel.data);
    kernel.data = exact;

    if (extra & 2) {
        modules.item[0] = (struct boot_module){
            .file = {.option = "--initramfs", .path = "i", .data = initrd, .size = sizeof(initrd)}, .text = cmdline};
        modules.count = 1;
    }
    memset(cmdline, 'x', extra);
    boot_one(&kernel, &modules, cmdline, ram);
    move_one(&kernel);
    free(kernel.data);
    return 0;
}
