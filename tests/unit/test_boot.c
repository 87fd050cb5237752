/*
 * Boot protocols against files made here: what reaches memory and registers when all is well, and one line of refusal
 * that names the option when it is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <elf.h>
#include <stdio.h>

#include "dev/dev.h"
#include "dev/pc/fw_cfg.h"
#include "event/loop.h"
#include "machine/acpi.h"
#include "machine/board.h"
#include "machine/boot/boot.h"
#include "machine/boot/firmware.h"
#include "machine/boot/linux.h"
#include "machine/boot/multiboot.h"
#include "machine/mptable.h"
#include "machine/smbios.h"

struct fixture {
    struct loop *loop;
    struct mem_space *mem;
    struct boot b;
    struct error err;
    struct boot_file kernel;
    struct boot_modules modules;
    u8 image[256 * 1024];
};

static void setup_ram(struct fixture *f, u64 ram)
{
    memset(f, 0, sizeof(*f));
    f->loop = loop_create();
    f->mem = mem_space_create(f->loop, ram, GiB(3), NULL);
    assert_non_null(f->mem);
    boot_init(&f->b, f->mem);
    f->kernel = (struct boot_file){.option = "--kernel", .path = "k", .data = f->image, .size = sizeof(f->image)};
    f->b.kernel = &f->kernel;
    f->b.modules = &f->modules;
    f->b.err = &f->err;
    f->b.rsdp = LOW_POINTERS;
}

static struct fixture *setup(u64 ram)
{
    struct fixture *f = malloc(sizeof(*f));

    assert_non_null(f);
    setup_ram(f, ram);
    return f;
}

static void teardown(struct fixture *f)
{
    mem_space_destroy(f->mem);
    loop_destroy(f->loop);
    free(f);
}

/* The same machine again, for another try. */
static void again(struct fixture *f)
{
    struct boot fresh;

    boot_init(&fresh, f->mem);
    fresh.kernel = &f->kernel;
    fresh.modules = &f->modules;
    fresh.err = &f->err;
    fresh.rsdp = LOW_POINTERS;
    f->b = fresh;
    f->err.text[0] = 0;
}

static void assert_refused(struct fixture *f, const char *part)
{
    again(f);
    assert_true(boot_start(&f->b) < 0);
    assert_true(strncmp(f->err.text, "--", 2) == 0);
    assert_null(strchr(f->err.text, '\n'));
    if (!strstr(f->err.text, part))
        fail_msg("\"%s\" does not say \"%s\"", f->err.text, part);
}

static u32 mem32(struct fixture *f, u64 at)
{
    u32 v;

    mem_read(f->mem, at, &v, sizeof(v));
    return v;
}

static u64 mem64(struct fixture *f, u64 at)
{
    return mem32(f, at) | (u64)mem32(f, at + 4) << 32;
}

static void mem_string(struct fixture *f, u64 at, char *text, size_t size)
{
    assert_true(at != 0);
    mem_read(f->mem, at, text, size - 1);
    text[size - 1] = 0;
}

static void with_initramfs(struct fixture *f, u64 size)
{
    u8 *data = malloc(size);

    assert_non_null(data);
    memset(data, 0x77, size);
    f->modules.item[0].file = (struct boot_file){.option = "--initramfs", .path = "i", .data = data, .size = size};
    f->modules.item[0].text = strdup("i args");
    f->modules.count = 1;
}

/* --- Linux ------------------------------------------------------------------------------------------------------ */

/* A bzImage of protocol 2.15 with 128 KiB of kernel after four sectors of setup. */
static void make_linux(struct fixture *f)
{
    u8 *p = f->image;
    u32 setup_size = 5 * 512, kernel_size = 0x20000;

    memset(p, 0, sizeof(f->image));
    p[HDR_SETUP_SECTS] = 4;
    put_u32(p + HDR_SYSSIZE, kernel_size / 16);
    put_u16(p + HDR_BOOT_FLAG, 0xaa55);
    p[HDR_JUMP] = 0xeb;
    p[HDR_JUMP + 1] = 0x6a;
    put_u32(p + HDR_MAGIC, 0x53726448);
    put_u16(p + HDR_VERSION, 0x20f);
    p[HDR_LOADFLAGS] = LOADFLAG_HIGH;
    put_u32(p + HDR_CODE32_START, 0x100000);
    put_u32(p + HDR_INITRD_MAX, 0x7fffffff);
    put_u32(p + HDR_ALIGNMENT, 0x200000);
    p[HDR_RELOCATABLE] = 1;
    put_u16(p + HDR_XLOADFLAGS, 1);
    put_u32(p + HDR_CMDLINE_SIZE, 64);
    put_u64(p + HDR_PREF_ADDRESS, 0x1000000);
    put_u32(p + HDR_INIT_SIZE, 0x400000);
    memset(p + setup_size, 0xc3, kernel_size);
    f->kernel.size = setup_size + kernel_size;
}

static void test_linux(void **state)
{
    struct fixture *f = setup(MiB(64));
    char text[16];

    make_linux(f);
    with_initramfs(f, 5000);
    f->b.cmdline = "console=ttyS0";
    assert_int_equal(boot_identify(&f->kernel), BOOT_LINUX);
    assert_int_equal(boot_start(&f->b), 0);

    u64 params = f->b.entry.rsi;
    assert_int_equal(f->b.entry.mode, BOOT_LONG);
    assert_int_equal(f->b.entry.rip, 0x1000200);
    assert_int_equal(mem32(f, 0x1000000), 0xc3c3c3c3);
    assert_int_equal(mem32(f, params + HDR_MAGIC), 0x53726448);
    assert_int_equal(mem64(f, params + 0x70), LOW_POINTERS);
    mem_string(f, mem32(f, params + HDR_CMDLINE), text, 14);
    assert_string_equal(text, "console=ttyS0");
    u32 initrd = mem32(f, params + HDR_RAMDISK);
    assert_int_equal(initrd, MiB(64) - 8192);
    assert_int_equal(mem32(f, params + HDR_RAMDISK_SIZE), 5000);
    assert_int_equal(mem32(f, initrd + 4996), 0x77777777);

    /* Memory map: the last entry ends where RAM does. */
    u8 count;
    mem_read(f->mem, params + 0x1e8, &count, 1);
    assert_int_equal(count, 4);
    u64 last = params + 0x2d0 + 20u * (count - 1);
    assert_int_equal(mem64(f, last), LOW_END);
    assert_int_equal(mem64(f, last + 8), MiB(63));
    assert_int_equal(mem32(f, last + 16), BOOT_RAM);

    /* Identity mapping: 1 GiB + 2 MiB by hand. */
    u64 pdpt = mem64(f, f->b.entry.cr3) & MEM_PAGE_MASK, pd = mem64(f, pdpt + 8) & MEM_PAGE_MASK;
    assert_int_equal(mem64(f, pd + 8), GiB(1) | MiB(2) | 0x83);
    /* 64-bit code segment at selector 0x10. */
    assert_int_equal(mem64(f, f->b.entry.gdt + 0x10), 0x00af9b000000ffff);
    boot_modules_free(&f->modules);
    teardown(f);
}

static void test_linux_32(void **state)
{
    struct fixture *f = setup(MiB(64));

    make_linux(f);
    put_u16(f->image + HDR_VERSION, 0x204); /* no relocation, no 64-bit entry, no size of its own */
    assert_int_equal(boot_start(&f->b), 0);
    assert_int_equal(f->b.entry.mode, BOOT_PROTECTED);
    assert_int_equal(f->b.entry.rip, 0x100000);
    again(f);
    put_u16(f->image + HDR_VERSION, 0x20f);
    f->b.long_mode = false;
    assert_int_equal(boot_start(&f->b), 0);
    assert_int_equal(f->b.entry.mode, BOOT_PROTECTED);
    assert_int_equal(f->b.entry.rip, 0x1000000);
    teardown(f);
}

static void test_linux_refused(void **state)
{
    struct fixture *f = setup(MiB(64));
    char long_cmdline[66];

    make_linux(f);
    f->kernel.size -= 512;
    assert_refused(f, "truncated");
    f->kernel.size = 1000;
    assert_refused(f, "truncated");
    for (f->kernel.size = 0x208; f->kernel.size < 3000; f->kernel.size++)
        assert_refused(f, "--kernel k: ");
    make_linux(f);
    put_u16(f->image + HDR_VERSION, 0x201);
    assert_refused(f, "2.02");
    make_linux(f);
    f->image[HDR_LOADFLAGS] = 0;
    assert_refused(f, "bzImage");
    make_linux(f);
    put_u16(f->image + HDR_XLOADFLAGS, 0);
    put_u32(f->image + HDR_CODE32_START, 0);
    assert_refused(f, "--firmware");
    make_linux(f);
    put_u32(f->image + HDR_INIT_SIZE, 0xffffffff);
    assert_refused(f, "--memory");
    make_linux(f);
    put_u64(f->image + HDR_PREF_ADDRESS, ~0ull - 15);
    assert_refused(f, "impossible");
    put_u64(f->image + HDR_PREF_ADDRESS, 0);
    assert_refused(f, "impossible");
    put_u64(f->image + HDR_PREF_ADDRESS, GiB(4));
    assert_refused(f, "--memory");

    make_linux(f);
    with_initramfs(f, MiB(60));
    assert_refused(f, "--initramfs i: 60 MiB");
    put_u32(f->image + HDR_INITRD_MAX, 0);
    assert_refused(f, "--initramfs i: ");
    boot_modules_free(&f->modules);

    make_linux(f);
    memset(long_cmdline, 'x', sizeof(long_cmdline));
    long_cmdline[65] = 0;
    again(f);
    f->b.cmdline = long_cmdline;
    assert_true(boot_start(&f->b) < 0);
    assert_non_null(strstr(f->err.text, "--cmdline"));
    long_cmdline[64] = 0;
    again(f);
    f->b.cmdline = long_cmdline;
    assert_int_equal(boot_start(&f->b), 0);
    teardown(f);

    f = setup(MiB(16));
    make_linux(f);
    assert_refused(f, "needs at least 20 MiB");
    teardown(f);
}

/* --- ELF -------------------------------------------------------------------------------------------------------- */

struct seg {
    u32 type;
    u64 offset, vaddr, paddr, filesz, memsz;
};

static void make_elf(struct fixture *f, bool is_64, u64 entry, const struct seg *seg, unsigned count)
{
    u8 *p = f->image;

    memset(p, 0, sizeof(f->image));
    memcpy(p, ELFMAG, SELFMAG);
    p[EI_CLASS] = is_64 ? ELFCLASS64 : ELFCLASS32;
    p[EI_DATA] = ELFDATA2LSB;
    p[EI_VERSION] = EV_CURRENT;
    if (is_64) {
        Elf64_Ehdr *e = (Elf64_Ehdr *)(void *)p;
        e->e_type = ET_EXEC;
        e->e_machine = EM_X86_64;
        e->e_entry = entry;
        e->e_phoff = sizeof(*e);
        e->e_phentsize = sizeof(Elf64_Phdr);
        e->e_phnum = (u16)count;
        Elf64_Phdr *ph = (Elf64_Phdr *)(void *)(e + 1);
        for (unsigned i = 0; i < count; i++)
            ph[i] = (Elf64_Phdr){.p_type = seg[i].type,
                                 .p_offset = seg[i].offset,
                                 .p_vaddr = seg[i].vaddr,
                                 .p_paddr = seg[i].paddr,
                                 .p_filesz = seg[i].filesz,
                                 .p_memsz = seg[i].memsz,
                                 .p_align = 4};
    } else {
        Elf32_Ehdr *e = (Elf32_Ehdr *)(void *)p;
        e->e_type = ET_EXEC;
        e->e_machine = EM_386;
        e->e_entry = (u32)entry;
        e->e_phoff = sizeof(*e);
        e->e_phentsize = sizeof(Elf32_Phdr);
        e->e_phnum = (u16)count;
        Elf32_Phdr *ph = (Elf32_Phdr *)(void *)(e + 1);
        for (unsigned i = 0; i < count; i++)
            ph[i] = (Elf32_Phdr){.p_type = seg[i].type,
                                 .p_offset = (u32)seg[i].offset,
                                 .p_vaddr = (u32)seg[i].vaddr,
                                 .p_paddr = (u32)seg[i].paddr,
                                 .p_filesz = (u32)seg[i].filesz,
                                 .p_memsz = (u32)seg[i].memsz,
                                 .p_align = 4};
    }
    memset(p + 0x1000, 0x90, 0x1000);
    f->kernel.size = 0x4000;
}

static void put_pvh_note(struct fixture *f, u64 at, u64 entry, u32 size)
{
    u8 *p = f->image + at;

    put_u32(p, 4);
    put_u32(p + 4, size);
    put_u32(p + 8, 18);
    memcpy(p + 12, "Xen", 4);
    memcpy(p + 16, &entry, size);
}

static void put_multiboot(struct fixture *f, u64 at, u32 flags)
{
    put_u32(f->image + at, 0x1badb002);
    put_u32(f->image + at + 4, flags);
    put_u32(f->image + at + 8, 0u - 0x1badb002 - flags);
}

static const struct seg plain[] = {{PT_LOAD, 0x1000, 0x200000, 0x200000, 0x1000, 0x3000},
                                   {PT_NOTE, 0x3000, 0, 0, 64, 64}};

static void test_pvh(void **state)
{
    struct fixture *f = setup(MiB(16));
    char text[8];

    for (unsigned is_64 = 0; is_64 < 2; is_64++) {
        make_elf(f, is_64, 0, plain, 2);
        put_pvh_note(f, 0x3000, 0x200010, is_64 ? 8 : 4);
        with_initramfs(f, 100);
        again(f);
        f->b.cmdline = "quiet";
        mem_io_write(f->mem, 0x202000, 0xff, 1); /* must become zero */
        assert_int_equal(boot_identify(&f->kernel), BOOT_PVH);
        assert_int_equal(boot_start(&f->b), 0);
        assert_int_equal(f->b.entry.mode, BOOT_PROTECTED);
        assert_int_equal(f->b.entry.rip, 0x200010);
        assert_int_equal(mem32(f, 0x200ffc), 0x90909090);
        assert_int_equal(mem32(f, 0x202000), 0);

        u64 info = f->b.entry.rbx;
        assert_int_equal(mem32(f, info), 0x336ec578);
        assert_int_equal(mem32(f, info + 12), 1);
        u64 module = mem64(f, info + 16);
        assert_int_equal(mem64(f, module), MiB(16) - 4096);
        assert_int_equal(mem64(f, module + 8), 100);
        mem_string(f, mem64(f, info + 24), text, 6);
        assert_string_equal(text, "quiet");
        assert_int_equal(mem64(f, info + 32), LOW_POINTERS);
        u64 map = mem64(f, info + 40);
        assert_int_equal(mem32(f, info + 48), 4);
        assert_int_equal(mem64(f, map + 8), LOW_EBDA);
        assert_int_equal(mem64(f, map + 3 * 24 + 8), MiB(15));
        boot_modules_free(&f->modules);
    }
    teardown(f);
}

static void test_multiboot(void **state)
{
    /* Linked high, loaded low, as kernels with an upper half are. */
    static const struct seg high[] = {{PT_LOAD, 0x1000, 0xc0200000, 0x200000, 0x1000, 0x2000}};
    struct fixture *f = setup(MiB(16));
    char text[16];

    for (unsigned is_64 = 0; is_64 < 2; is_64++) {
        make_elf(f, is_64, 0xc0200020, high, 1);
        put_multiboot(f, 0x1ffc - 0xffc, 3);
        with_initramfs(f, 100);
        again(f);
        f->b.cmdline = "a b";
        assert_int_equal(boot_identify(&f->kernel), BOOT_MULTIBOOT);
        assert_int_equal(boot_start(&f->b), 0);
        assert_int_equal(f->b.entry.rip, 0x200020);
        assert_int_equal(f->b.entry.rax, 0x2badb002);
        u64 info = f->b.entry.rbx;
        assert_int_equal(mem32(f, info), 0x24f);
        assert_int_equal(mem32(f, info + 4), 639);
        assert_int_equal(mem32(f, info + 8), 15 * 1024);
        mem_string(f, mem32(f, info + 16), text, 6);
        assert_string_equal(text, "k a b");
        assert_int_equal(mem32(f, info + 20), 1);
        u64 module = mem32(f, info + 24);
        assert_int_equal(mem32(f, module), 0x202000); /* right above the kernel */
        assert_int_equal(mem32(f, module + 4), 0x202000 + 100);
        assert_int_equal(mem32(f, 0x202000), 0x77777777);
        mem_string(f, mem32(f, module + 8), text, 7);
        assert_string_equal(text, "i args");
        u64 map = mem32(f, info + 48);
        assert_int_equal(mem32(f, info + 44), 4 * 24);
        assert_int_equal(mem32(f, map), 20);
        assert_int_equal(mem64(f, map + 12), LOW_EBDA);
        boot_modules_free(&f->modules);
    }
    teardown(f);
}

static void raw_addresses(struct fixture *f, u32 header, u32 load, u32 load_end, u32 bss_end, u32 entry)
{
    const u32 v[] = {header, load, load_end, bss_end, entry};

    memset(f->image, 0x90, sizeof(f->image));
    put_multiboot(f, 0x100, 0x10000);
    memcpy(f->image + 0x10c, v, sizeof(v));
    f->kernel.size = 0x2000;
}

static void test_multiboot_raw(void **state)
{
    struct fixture *f = setup(MiB(16));

    raw_addresses(f, 0x100100, 0x100000, 0, 0x103000, 0x100200);
    assert_int_equal(boot_start(&f->b), 0);
    assert_int_equal(f->b.entry.rip, 0x100200);
    assert_int_equal(mem32(f, 0x100000), 0x90909090);
    assert_int_equal(mem32(f, 0x101ffc), 0x90909090);
    assert_int_equal(mem32(f, 0x102000), 0);
    again(f);
    raw_addresses(f, 0x100050, 0x100000, 0x100800, 0, 0x100200); /* starts at 0xb0 in the file */
    assert_int_equal(boot_start(&f->b), 0);
    assert_int_equal(mem32(f, 0x100050), 0x1badb002);

    raw_addresses(f, 0xff000, 0x100000, 0, 0, 0x100200);
    assert_refused(f, "load address");
    raw_addresses(f, 0x100200, 0x100000, 0, 0, 0x100200);
    assert_refused(f, "load address");
    raw_addresses(f, 0x100100, 0x100000, 0x200000, 0, 0x100200);
    assert_refused(f, "truncated");
    raw_addresses(f, 0x100100, 0x100000, 0xfffff, 0, 0x100200);
    assert_refused(f, "load end");
    raw_addresses(f, 0x100100, 0x100000, 0, 0x100800, 0x100200);
    assert_refused(f, "bss end");
    raw_addresses(f, 0x100100, 0x100000, 0, 0xfffffff0, 0x100200);
    assert_refused(f, "--memory");
    raw_addresses(f, 0x100100, 0x100000, 0, 0, 0x900000);
    assert_refused(f, "entry point");
    raw_addresses(f, 0x100100, 0x100000, 0, 0, 0x100200);
    put_multiboot(f, 0x100, 0x10008);
    assert_refused(f, "features 0x8");
    put_multiboot(f, 0x100, 0);
    assert_refused(f, "neither ELF");
    raw_addresses(f, 0x100100, 0x100000, 0, 0, 0x100200);
    f->kernel.size = 0x110;
    assert_refused(f, "truncated");
    teardown(f);
}

static void refuse_elf(struct fixture *f, const struct seg *seg, unsigned count, const char *part)
{
    for (unsigned is_64 = 0; is_64 < 2; is_64++) {
        make_elf(f, is_64, 0x200000, seg, count);
        put_multiboot(f, 0x1000, 0);
        assert_refused(f, part);
    }
}

static void test_elf_refused(void **state)
{
    struct fixture *f = setup(MiB(16));
    struct seg s[40];

    refuse_elf(f, (struct seg[]){{PT_LOAD, 0x3f00, 0x200000, 0x200000, 0x101, 0x101}}, 1, "outside the file");
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0xffffff00, 0x200000, 0x200000, 0x200, 0x200}}, 1, "outside the file");
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0, 0x200000, 0x200000, 0x200, 0x100}}, 1, "impossible");
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0, 0x200000, MiB(16) - 0x100, 0, 0x200}}, 1, "--memory");
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0, 0x200000, 0xfffff000, 0, 0x1000}}, 1, "--memory");
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0, 0, 0, 0x100, 0x100}}, 1, "0x0 ");         /* interrupt vectors */
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0, 0x9f000, 0x9f000, 0, 0x1000}}, 1, "fit"); /* EBDA */
    refuse_elf(f, (struct seg[]){{PT_LOAD, 0, 0xf0000, 0xf0000, 0, 0x20000}}, 1, "fit");
    refuse_elf(f, (struct seg[]){{PT_NOTE, 0, 0, 0, 16, 16}}, 1, "nothing to load");
    refuse_elf(f,
               (struct seg[]){{PT_LOAD, 0, 0x200000, 0x200000, 0, 0x2000}, {PT_LOAD, 0, 0x201000, 0x201000, 0, 0x2000}},
               2, "overlaps");
    for (unsigned i = 0; i < 40; i++)
        s[i] = (struct seg){PT_LOAD, 0, 0x200000 + i * 0x1000, 0x200000 + i * 0x1000, 16, 16};
    refuse_elf(f, s, 40, "more ELF segments");

    make_elf(f, true, 0x200000, &(struct seg){PT_LOAD, 0, ~0ull - 0xff, 0x200000, 0x10, 0x200}, 1);
    put_multiboot(f, 0x1000, 0);
    assert_refused(f, "impossible");
    make_elf(f, true, 0x200000, &(struct seg){PT_LOAD, 0, 0x200000, ~0ull - 0xff, 0x10, 0x200}, 1);
    put_multiboot(f, 0x1000, 0);
    assert_refused(f, "impossible");
    make_elf(f, true, 0x900000, plain, 1);
    put_multiboot(f, 0x1000, 0);
    assert_refused(f, "entry point");

    /* Headers that lie. */
    make_elf(f, true, 0x200000, plain, 1);
    put_multiboot(f, 0x1000, 0);
    put_u64(f->image + offsetof(Elf64_Ehdr, e_phoff), ~0ull - 8);
    assert_refused(f, "program headers");
    put_u64(f->image + offsetof(Elf64_Ehdr, e_phoff), 64);
    put_u16(f->image + offsetof(Elf64_Ehdr, e_phnum), 0xffff);
    assert_refused(f, "program headers");
    put_u16(f->image + offsetof(Elf64_Ehdr, e_phentsize), 1);
    assert_refused(f, "program headers");
    put_u16(f->image + offsetof(Elf64_Ehdr, e_machine), EM_ARM);
    assert_refused(f, "another kind of processor");
    f->image[EI_DATA] = ELFDATA2MSB;
    assert_refused(f, "big-endian");
    f->image[EI_CLASS] = 9;
    f->image[EI_DATA] = ELFDATA2LSB;
    assert_refused(f, "header");
    teardown(f);
}

static void test_pvh_notes(void **state)
{
    struct fixture *f = setup(MiB(16));

    make_elf(f, true, 0, plain, 2);
    assert_refused(f, "not a kernel"); /* empty note */
    put_pvh_note(f, 0x3000, 0x200010, 8);
    put_u32(f->image + 0x3000, 0xfffffff0); /* name size */
    assert_refused(f, "not a kernel");
    put_pvh_note(f, 0x3000, 0x200010, 8);
    put_u32(f->image + 0x3004, 0xffffffff); /* description size */
    assert_refused(f, "not a kernel");
    put_pvh_note(f, 0x3000, 0x900010, 8);
    assert_refused(f, "entry point");
    /* Behind another note. */
    memset(f->image + 0x3000, 0, 64);
    put_u32(f->image + 0x3000, 4);
    put_u32(f->image + 0x3004, 6);
    put_u32(f->image + 0x3008, 1);
    memcpy(f->image + 0x300c, "GNU", 4);
    put_pvh_note(f, 0x3018, 0x200010, 8);
    again(f);
    assert_int_equal(boot_start(&f->b), 0);
    teardown(f);
}

static void test_not_a_kernel(void **state)
{
    struct fixture *f = setup(MiB(16));

    memset(f->image, 'x', sizeof(f->image));
    assert_refused(f, "not a kernel");
    for (f->kernel.size = 1; f->kernel.size < 64; f->kernel.size++)
        assert_refused(f, "not a kernel");
    teardown(f);
}

/* The smallest machine: everything has to find its place below 640 KiB or be refused. */
static void test_little_memory(void **state)
{
    static const struct seg low[] = {{PT_LOAD, 0x1000, 0x10000, 0x10000, 0x1000, 0x1000}};
    struct fixture *f = setup(MiB(1));

    make_elf(f, false, 0x10000, low, 1);
    put_multiboot(f, 0x1000, 0);
    assert_int_equal(boot_start(&f->b), 0);
    assert_int_equal(mem32(f, f->b.entry.rbx + 8), 0);
    with_initramfs(f, MiB(1));
    assert_refused(f, "--initramfs i: 1024 KiB");
    boot_modules_free(&f->modules);
    static const struct seg full[] = {{PT_LOAD, 0x1000, 0x500, 0x500, 0x1000, LOW_EBDA - 0x500}};
    make_elf(f, false, 0x500, full, 1);
    put_multiboot(f, 0x1000, 0);
    assert_refused(f, "no room");
    teardown(f);
}

/* --- files ------------------------------------------------------------------------------------------------------ */

static void temporary(char *path, const char *content, size_t size)
{
    strcpy(path, "/tmp/ring3-boot-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, size), (ssize_t)size);
    close(fd);
}

static void test_files(void **state)
{
    struct error err;
    char a[32], b[32], spec[160];
    struct boot_modules m = {0};
    struct boot_file f = {.option = "--kernel", .path = "/nonexistent/kernel"};

    assert_int_equal(boot_file_read(&f, 100, &err), -ENOENT);
    assert_string_equal(err.text, "--kernel /nonexistent/kernel: cannot open: No such file or directory");
    f.path = "/tmp";
    assert_int_equal(boot_file_read(&f, 100, &err), -EISDIR);
    f.path = "/dev/null";
    assert_true(boot_file_read(&f, 100, &err) < 0);
    assert_string_equal(err.text, "--kernel /dev/null: the file is empty");
    boot_file_free(&f);
    f.path = "/dev/zero";
    assert_int_equal(boot_file_read(&f, MiB(2), &err), -EFBIG);

    temporary(a, "first", 5);
    temporary(b, "second", 6);
    snprintf(spec, sizeof(spec), "%s x,,y=1,%s", a, b);
    assert_int_equal(boot_modules_read(&m, spec, true, 100, &err), 0);
    assert_int_equal(m.count, 2);
    assert_memory_equal(m.item[0].file.data, "first", 5);
    assert_string_equal(m.item[0].file.path, a);
    assert_string_equal(m.item[0].text + strlen(a), " x,y=1");
    assert_string_equal(m.item[1].text, b);
    assert_int_equal(m.item[1].file.size, 6);
    boot_modules_free(&m);

    assert_int_equal(boot_modules_read(&m, spec, false, 100, &err), -ENOENT);
    boot_modules_free(&m);
    snprintf(spec, sizeof(spec), "%s,,", a);
    assert_true(boot_modules_read(&m, spec, true, 100, &err) < 0);
    boot_modules_free(&m);
    assert_true(boot_modules_read(&m, "", true, 100, &err) < 0);
    boot_modules_free(&m);
    unlink(a);
    unlink(b);
}

static void test_firmware(void **state)
{
    struct fixture *f = setup(MiB(2));
    struct boot_file fw = {.option = "--firmware", .path = "fw", .data = f->image, .size = 8192};

    memset(f->image, 0x11, 8192);
    f->image[8191] = 0x99;
    loop_lock(f->loop);
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), 0);
    mem_shadow_set(f->mem, 0xc0000, 0x40000, false, false);
    loop_unlock(f->loop);
    assert_int_equal(mem_io_read(f->mem, 0xfffffffc, 4), 0x99111111);
    assert_int_equal(mem_io_read(f->mem, 0xffffe000, 1), 0x11);
    assert_int_equal(mem_io_read(f->mem, 0xffffdfff, 1), 0xff);
    assert_int_equal(mem_io_read(f->mem, 0xffffc, 4), 0x99111111);
    teardown(f);

    f = setup(MiB(2));
    fw.size = 200 * 1024;
    fw.data = f->image;
    f->image[0] = 0x42;
    f->image[72 * 1024] = 0x43;
    f->image[200 * 1024 - 16] = 0xea;
    loop_lock(f->loop);
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), 0);
    mem_shadow_set(f->mem, 0xc0000, 0x40000, false, false);
    loop_unlock(f->loop);
    assert_int_equal(mem_io_read(f->mem, GiB(4) - 200 * 1024, 1), 0x42);
    assert_int_equal(mem_io_read(f->mem, 0xe0000, 1), 0x43);
    fw.size = MiB(17);
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), -EFBIG);
    fw.size = 200 * 1024 - 1; /* foreign files: an odd size, nothing to start with */
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), -EINVAL);
    fw.size = 0;
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), -EINVAL);
    fw.size = 200 * 1024;
    memset(f->image + fw.size - 16, 0, 16);
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), -EINVAL);
    memset(f->image + fw.size - 16, 0xff, 16);
    assert_int_equal(firmware_map(f->mem, &fw, &f->err), -EINVAL);
    teardown(f);
}

/* The bytes of an item, as the guest reads them. */
static void read_item(struct fixture *f, u16 key, u8 *to, size_t size)
{
    mem_port_write(f->mem, 0x510, key, 2);
    for (size_t i = 0; i < size; i++)
        to[i] = (u8)mem_port_read(f->mem, 0x511, 1);
}

static u8 sum(const u8 *p, size_t len)
{
    u8 s = 0;

    while (len--)
        s += *p++;
    return s;
}

static void test_offer_kernel(void **state)
{
    struct fixture *f = setup(MiB(64));
    struct fw_cfg *fw = fw_cfg_create(&(struct fw_cfg_config){f->mem}, NULL);
    struct firmware_kernel made = {0};
    u8 got[1024];

    assert_non_null(fw);
    make_linux(f);
    with_initramfs(f, 5000);
    const struct boot_file *initramfs = &f->modules.item[0].file;
    assert_int_equal(firmware_offer_kernel(fw, &f->kernel, initramfs, "quiet", MiB(64), &made, &f->err), 0);
    read_item(f, FW_CFG_SETUP_SIZE, got, 4);
    assert_int_equal(get_u32(got), 5 * 512);
    read_item(f, FW_CFG_KERNEL_SIZE, got, 4);
    assert_int_equal(get_u32(got), 0x20000);
    read_item(f, FW_CFG_INITRD_ADDR, got, 4);
    u32 initrd = get_u32(got);
    assert_true(is_aligned(initrd, 4096) && initrd + 5000 <= MiB(64) - KiB(256));
    read_item(f, FW_CFG_SETUP_DATA, got, sizeof(got));
    assert_int_equal(get_u32(got + HDR_RAMDISK), initrd);
    assert_int_equal(get_u32(got + HDR_RAMDISK_SIZE), 5000);
    assert_int_equal(got[HDR_LOADFLAGS], LOADFLAG_HIGH | LOADFLAG_HEAP);
    read_item(f, FW_CFG_CMDLINE_DATA, got, 6);
    assert_string_equal((char *)got, "quiet");

    /* The option ROM: signature, length, checksum. */
    assert_int_equal(get_u16(made.rom.data), 0xaa55);
    assert_int_equal(made.rom.data[2] * 512u, made.rom.size);
    assert_int_equal(sum(made.rom.data, made.rom.size), 0);
    const u8 *pnp = made.rom.data + get_u16(made.rom.data + 0x1a);
    assert_memory_equal(pnp, "$PnP", 4);
    assert_int_equal(sum(pnp, 32), 0);
    firmware_kernel_free(&made);

    f->kernel.size -= 512;
    assert_true(firmware_offer_kernel(fw, &f->kernel, initramfs, "", MiB(64), &made, &f->err) < 0);
    f->kernel.size += 512;
    assert_true(firmware_offer_kernel(fw, &f->kernel, initramfs, "", KiB(300), &made, &f->err) == 0);
    firmware_kernel_free(&made);
    assert_int_equal(firmware_offer_kernel(fw, &f->kernel,
                                           &(struct boot_file){.option = "--initramfs", .path = "i", .size = MiB(64)},
                                           "", MiB(64), &made, &f->err),
                     -ENOMEM);
    firmware_kernel_free(&made);
    ((struct dev *)fw)->cls->destroy((struct dev *)fw);
    boot_modules_free(&f->modules);
    teardown(f);
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

static void test_acpi(void **state)
{
    for (unsigned cpus = 1; cpus <= 64; cpus += 21) {
        struct acpi_config cfg = {.cpus = cpus, .pm_base = 0x600, .pci_hole = MiB(512)};
        struct acpi_image img;
        struct bytes script = {0};
        static const u64 base[ACPI_PARTS] = {[ACPI_TABLES] = LOW_TABLES, [ACPI_RSDP] = LOW_POINTERS};

        assert_int_equal(acpi_build(&img, &cfg), 0);
        assert_true(img.part[ACPI_TABLES].size < LOW_TABLES_SIZE);
        acpi_loader_script(&img, &script);
        assert_true(bytes_ok(&script));
        assert_int_equal(script.size, (2 + img.links) * 128);
        acpi_place(&img, base);

        const u8 *tables = img.part[ACPI_TABLES].data, *rsdp = img.part[ACPI_RSDP].data;
        assert_int_equal(sum(rsdp, 20), 0);
        assert_int_equal(sum(rsdp, 36), 0);
        const u8 *xsdt = tables + (get_u64(rsdp + 24) - LOW_TABLES);
        assert_memory_equal(xsdt, "XSDT", 4);
        assert_int_equal(sum(xsdt, get_u32(xsdt + 4)), 0);
        for (u32 at = 36; at < get_u32(xsdt + 4); at += 8) {
            const u8 *t = tables + (get_u64(xsdt + at) - LOW_TABLES);
            assert_int_equal(sum(t, get_u32(t + 4)), 0);
        }
        acpi_free(&img);
        bytes_free(&script);
    }
}

static void test_smbios(void **state)
{
    struct bytes anchor = {0}, tables = {0};
    struct smbios_config cfg = {
        .cpus = 64, .ram_size = GiB(64), .ram_below_4g = GiB(3), .cpu_vendor = "v", .cpu_brand = "b"};
    unsigned count = 0;
    size_t at = 0;

    smbios_build(&anchor, &tables, LOW_POINTERS + 0x100, &cfg);
    assert_int_equal(anchor.size, 31);
    assert_int_equal(sum(anchor.data, 31), 0);
    assert_int_equal(sum(anchor.data + 16, 15), 0);
    assert_int_equal(get_u16(anchor.data + 22), tables.size);
    /* Walk the structures as a reader does. */
    while (at < tables.size) {
        u8 type = tables.data[at];
        at += tables.data[at + 1];
        while (at + 1 < tables.size && (tables.data[at] || tables.data[at + 1]))
            at++;
        at += 2;
        count++;
        if (type == 127)
            break;
    }
    assert_int_equal(at, tables.size);
    assert_int_equal(count, get_u16(anchor.data + 28));
    bytes_free(&anchor);
    bytes_free(&tables);
}

static void test_mptable(void **state)
{
    static const u8 route[] = {10, 10, 11, 11};
    struct bytes t = {0};
    u8 pointer[MP_POINTER_SIZE];

    mptable_build(&t, &(struct mptable_config){.cpus = 64, .pirq_route = route});
    mptable_pointer(pointer, 0xf1000);
    assert_int_equal(sum(pointer, sizeof(pointer)), 0);
    assert_int_equal(sum(t.data, t.size), 0);
    assert_int_equal(get_u16(t.data + 4), t.size);
    unsigned count = 0;
    for (size_t at = 44; at < t.size; count++)
        at += t.data[at] == 0 ? 20 : 8;
    assert_int_equal(count, get_u16(t.data + 34));
    bytes_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linux),         cmocka_unit_test(test_linux_32),  cmocka_unit_test(test_linux_refused),
        cmocka_unit_test(test_pvh),           cmocka_unit_test(test_multiboot), cmocka_unit_test(test_multiboot_raw),
        cmocka_unit_test(test_elf_refused),   cmocka_unit_test(test_pvh_notes), cmocka_unit_test(test_not_a_kernel),
        cmocka_unit_test(test_little_memory), cmocka_unit_test(test_files),     cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_offer_kernel),  cmocka_unit_test(test_acpi),      cmocka_unit_test(test_smbios),
        cmocka_unit_test(test_mptable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
