/*
 * Kernels unpacked on the host: packed here with each library's own compressor, then unpacked, moved, loaded, and
 * broken in all ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "event/loop.h"
#include "machine/boot/vmlinux.h"

#define SETUP     1024
#define BEFORE    512 /* of the payload, in the kernel proper */
#define BASE      0x1000000u
#define CODE_SIZE 0x3000
#define CODE_AT   0x1000 /* in the ELF file */
#define MAP       0xffffffff80000000ull

enum packing { GZIP, XZ, ZSTD, PACKINGS };

struct fixture {
    u8 elf[0x8000], *packed;
    u64 elf_size;
    struct boot_file file;
    struct linux_image image;
};

/* --- a kernel --------------------------------------------------------------------------------------------------- */

/* One segment of code, one that is mostly bss; section headers at the end, as the linker does it. */
static void make_elf(struct fixture *f)
{
    Elf64_Ehdr h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                    .e_type = ET_EXEC,
                    .e_machine = EM_X86_64,
                    .e_entry = BASE + 0x40,
                    .e_phoff = sizeof(h),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = 2,
                    .e_shoff = CODE_AT + CODE_SIZE + 0x100,
                    .e_shentsize = sizeof(Elf64_Shdr),
                    .e_shnum = 1};
    Elf64_Phdr p[2] = {{.p_type = PT_LOAD,
                        .p_offset = CODE_AT,
                        .p_vaddr = MAP + BASE,
                        .p_paddr = BASE,
                        .p_filesz = CODE_SIZE,
                        .p_memsz = CODE_SIZE},
                       {.p_type = PT_LOAD,
                        .p_offset = CODE_AT + CODE_SIZE,
                        .p_vaddr = MAP + BASE + 0x200000,
                        .p_paddr = BASE + 0x200000,
                        .p_filesz = 0x100,
                        .p_memsz = 0x10000}};
    memset(f->elf, 0, sizeof(f->elf));
    for (unsigned n = CODE_AT; n < CODE_AT + CODE_SIZE + 0x100; n++)
        f->elf[n] = (u8)(n * 7 + (n >> 8));
    memcpy(f->elf, &h, sizeof(h));
    memcpy(f->elf + sizeof(h), p, sizeof(p));
    f->elf_size = h.e_shoff + sizeof(Elf64_Shdr);
}

static void add_word(struct fixture *f, u32 word)
{
    put_u32(f->elf + f->elf_size, word);
    f->elf_size += 4;
}

/* Where the tests have one place of each kind: a 64-bit address, a negated one, a 32-bit one in the other segment. */
enum { PLACE_64 = 0x100, PLACE_NEGATED = 0x200, PLACE_32 = 0x200010 };

static void add_relocations(struct fixture *f, bool negated)
{
    add_word(f, 0);
    add_word(f, (u32)(MAP + BASE + PLACE_64));
    add_word(f, 0);
    if (negated) {
        add_word(f, (u32)(MAP + BASE + PLACE_NEGATED));
        add_word(f, 0);
    }
    add_word(f, (u32)(MAP + BASE + PLACE_32));
}

static u64 pack(const struct fixture *f, enum packing packing, u8 *out, u64 room)
{
    size_t size = 0;
    if (packing == GZIP) {
        z_stream z = {.next_in = (u8 *)(uintptr_t)f->elf, .avail_in = (uInt)f->elf_size};
        z.next_out = out;
        z.avail_out = (uInt)room;
        assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        (void)deflateEnd(&z);
        return z.total_out;
    }
    if (packing == XZ)
        assert_int_equal(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, f->elf, f->elf_size, out, &size, room),
                         LZMA_OK);
    else
        size = ZSTD_compress(out, room, f->elf, f->elf_size, 19);
    assert_true(size > 0 && size + 4 <= room);
    put_u32(out + size, (u32)f->elf_size);
    return size + 4;
}

static void make_image(struct fixture *f, enum packing packing)
{
    u64 room = 2 * sizeof(f->elf);
    free(f->file.data);
    f->file = (struct boot_file){.option = "--kernel", .path = "k", .data = calloc(1, SETUP + BEFORE + room)};
    assert_non_null(f->file.data);
    u64 size = pack(f, packing, f->file.data + SETUP + BEFORE, room);
    f->file.size = SETUP + BEFORE + size + 20;
    f->image = (struct linux_image){.setup_size = SETUP,
                                    .kernel_size = f->file.size - SETUP,
                                    .load = BASE,
                                    .init_size = 0x400000,
                                    .long_entry = true,
                                    .payload = BEFORE,
                                    .payload_size = size,
                                    .alignment = MiB(2)};
}

static struct fixture *setup(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    make_elf(f);
    return f;
}

static void teardown(struct fixture *f)
{
    free(f->file.data);
    free(f);
}

/* --- unpacking -------------------------------------------------------------------------------------------------- */

static void test_packings(void **state)
{
    struct fixture *f = setup();
    struct vmlinux v;
    for (enum packing p = 0; p < PACKINGS; p++) {
        make_image(f, p);
        assert_true(vmlinux_unpack(&f->file, &f->image, false, &v));
        assert_int_equal(v.file.size, f->elf_size);
        assert_memory_equal(v.file.data, f->elf, f->elf_size);
        assert_int_equal(v.entry, BASE + 0x40);
        assert_false(vmlinux_move(&v, &f->image, 5)); /* no relocations */
        assert_memory_equal(v.file.data, f->elf, f->elf_size);
        vmlinux_free(&v);
    }
    teardown(f);
}

/* Any broken byte, any length: no, or what it was. */
static void test_broken(void **state)
{
    struct fixture *f = setup();
    struct vmlinux v;
    for (enum packing p = 0; p < PACKINGS; p++) {
        make_image(f, p);
        u64 size = f->image.payload_size;
        for (u64 n = 0; n < size; n += 1 + n / 40) {
            u8 *at = f->file.data + SETUP + BEFORE + n, old = *at;
            *at ^= 0x55;
            if (vmlinux_unpack(&f->file, &f->image, false, &v))
                vmlinux_free(&v);
            *at = old;
            f->image.payload_size = n;
            if (vmlinux_unpack(&f->file, &f->image, false, &v))
                vmlinux_free(&v);
            f->image.payload_size = size;
        }
        f->image.payload = f->image.kernel_size;
        assert_false(vmlinux_unpack(&f->file, &f->image, false, &v));
    }
    teardown(f);
}

static bool unpacks(struct fixture *f)
{
    struct vmlinux v;
    make_image(f, ZSTD);
    bool good = vmlinux_unpack(&f->file, &f->image, false, &v);
    if (good)
        vmlinux_free(&v);
    return good;
}

/* What is no kernel that we can start. */
static void test_foreign(void **state)
{
    struct fixture *f = setup();
    assert_true(unpacks(f));
    put_u16(f->elf + offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
    assert_false(unpacks(f));
    make_elf(f);
    put_u64(f->elf + offsetof(Elf64_Ehdr, e_entry), BASE + CODE_SIZE);
    assert_false(unpacks(f));
    make_elf(f);
    f->elf[EI_CLASS] = ELFCLASS32;
    assert_false(unpacks(f));
    make_elf(f);
    put_u64(f->elf + sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, p_paddr), BASE - 0x1000);
    assert_false(unpacks(f));
    make_elf(f);
    put_u64(f->elf + sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, p_filesz), sizeof(f->elf));
    assert_false(unpacks(f));
    teardown(f);
}

/* --- moving ----------------------------------------------------------------------------------------------------- */

static u64 at64(const struct vmlinux *v, u64 off)
{
    return get_u64(v->file.data + CODE_AT + off);
}

static void test_moved(void **state)
{
    struct fixture *f = setup();
    struct vmlinux v;
    for (unsigned negated = 0; negated < 2; negated++) {
        make_elf(f);
        add_relocations(f, negated);
        make_image(f, XZ);
        assert_true(vmlinux_unpack(&f->file, &f->image, false, &v));
        struct vmlinux old = v;
        old.file.data = f->elf;
        assert_true(vmlinux_move(&v, &f->image, 3));
        assert_int_equal(at64(&v, PLACE_64) - at64(&old, PLACE_64), MiB(6));
        assert_int_equal(at64(&v, PLACE_64 + 8), at64(&old, PLACE_64 + 8));
        u32 moved = (u32)at64(&v, PLACE_NEGATED) - (u32)at64(&old, PLACE_NEGATED);
        assert_int_equal(moved, negated ? (u32)-MiB(6) : 0);
        u64 in_second = CODE_SIZE + PLACE_32 - 0x200000;
        assert_int_equal((u32)at64(&v, in_second) - (u32)at64(&old, in_second), MiB(6));
        assert_int_equal(at64(&v, in_second) >> 32, at64(&old, in_second) >> 32);
        vmlinux_free(&v);
    }
    teardown(f);
}

/* The last place is the last one inside the kernel's gigabyte, then it begins anew. */
static void test_places(void **state)
{
    struct fixture *f = setup();
    struct vmlinux v;
    add_relocations(f, true);
    make_image(f, GZIP);
    u64 places = (GiB(1) - BASE - 0x400000) / MiB(2) + 1;
    const u64 random[] = {0, places - 1, places, ~0ull};
    for (size_t n = 0; n < ARRAY_SIZE(random); n++) {
        assert_true(vmlinux_unpack(&f->file, &f->image, false, &v));
        u64 before = at64(&v, PLACE_64);
        assert_true(vmlinux_move(&v, &f->image, random[n]));
        assert_int_equal(at64(&v, PLACE_64) - before, random[n] % places * MiB(2));
        vmlinux_free(&v);
    }
    teardown(f);
}

/* Relocations that make no sense leave the kernel as it is. */
static void test_misplaced(void **state)
{
    static const u32 words[][8] = {
        {1},                                            /* no list */
        {0},                                            /* one list */
        {0, 0, 0, 0},                                   /* four */
        {0, 0, 0, 0x81000000 + CODE_SIZE - 3},          /* across the end of a segment */
        {0, 0x81000000 + CODE_SIZE - 7, 0, 0x81000000}, /* the same for eight bytes */
        {0, 0, 0, 0x81200100},                          /* in the bss */
        {0, 0, 0, 0x1000},                              /* no kernel address */
    };
    static const unsigned count[] = {1, 1, 4, 4, 4, 4, 4};
    struct fixture *f = setup();
    struct vmlinux v;
    for (size_t n = 0; n < ARRAY_SIZE(words); n++) {
        make_elf(f);
        for (unsigned k = 0; k < count[n]; k++)
            add_word(f, words[n][k]);
        make_image(f, ZSTD);
        assert_true(vmlinux_unpack(&f->file, &f->image, false, &v));
        assert_false(vmlinux_move(&v, &f->image, 3));
        assert_memory_equal(v.file.data, f->elf, f->elf_size);
        vmlinux_free(&v);
    }
    teardown(f);
}

/* --- starting --------------------------------------------------------------------------------------------------- */

/* The whole way: a bzImage's header, memory, struct boot_params. */
static u8 started_flags(struct fixture *f, const char *cmdline, bool unpack, u64 *rip)
{
    struct loop *loop = loop_create();
    struct mem_space *mem = mem_space_create(loop, MiB(64), GiB(3), NULL);
    struct error err;
    struct boot b;
    u8 flags, word[4];
    assert_non_null(mem);
    boot_init(&b, mem);
    b.kernel = &f->file;
    b.cmdline = cmdline;
    b.err = &err;
    b.unpack = unpack;
    b.random = 7;
    assert_int_equal(boot_start(&b), 0);
    mem_read(mem, b.entry.rsi + HDR_LOADFLAGS, &flags, 1);
    mem_read(mem, BASE + 0x40, word, sizeof(word));
    assert_int_equal(memcmp(word, f->elf + CODE_AT + 0x40, sizeof(word)) == 0, unpack);
    assert_int_equal(b.entry.mode, BOOT_LONG);
    *rip = b.entry.rip;
    mem_space_destroy(mem);
    loop_destroy(loop);
    return flags;
}

static void test_started(void **state)
{
    struct fixture *f = setup();
    u64 rip;
    add_relocations(f, true);
    make_image(f, XZ);
    u8 *p = f->file.data;
    p[HDR_SETUP_SECTS] = SETUP / 512 - 1;
    put_u16(p + HDR_BOOT_FLAG, 0xaa55);
    p[HDR_JUMP + 1] = 0x6a;
    put_u32(p + HDR_MAGIC, 0x53726448);
    put_u16(p + HDR_VERSION, 0x20f);
    p[HDR_LOADFLAGS] = LOADFLAG_HIGH;
    put_u32(p + HDR_ALIGNMENT, 0x200000);
    p[HDR_RELOCATABLE] = 1;
    put_u16(p + HDR_XLOADFLAGS, 1);
    put_u32(p + HDR_CMDLINE_SIZE, 64);
    put_u64(p + HDR_PREF_ADDRESS, BASE);
    put_u32(p + HDR_INIT_SIZE, 0x400000);
    put_u32(p + HDR_PAYLOAD, BEFORE);
    put_u32(p + HDR_PAYLOAD_SIZE, (u32)f->image.payload_size);
    assert_int_equal(started_flags(f, "quiet", true, &rip), LOADFLAG_HIGH | LOADFLAG_KASLR);
    assert_int_equal(rip, BASE + 0x40);
    assert_int_equal(started_flags(f, "quiet nokaslr", true, &rip), LOADFLAG_HIGH);
    assert_int_equal(started_flags(f, "nokaslr=1", true, &rip), LOADFLAG_HIGH | LOADFLAG_KASLR);
    assert_int_equal(started_flags(f, "", false, &rip), LOADFLAG_HIGH);
    assert_int_equal(rip, BASE + 0x200);
    teardown(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packings), cmocka_unit_test(test_broken), cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_moved),    cmocka_unit_test(test_places), cmocka_unit_test(test_misplaced),
        cmocka_unit_test(test_started),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
