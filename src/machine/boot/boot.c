/* See boot.h: files, areas of guest memory, the memory map. */
#include "machine/boot/boot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/file.h"
#include "machine/board.h"
#include "machine/boot/elf.h"
#include "machine/boot/linux.h"
#include "machine/boot/multiboot.h"

/* --- files ------------------------------------------------------------------------------------------------------ */

int boot_file_read(struct boot_file *f, u64 max, struct error *err)
{
    struct error why;

    if (!f->path)
        return 0;
    int status = host_file_read(f->path, max, &f->data, &f->size, &why);
    if (status)
        return error_set(err, status, "%s %s: %s", f->option, f->path, why.text);
    if (f->size == 0)
        return error_set(err, -EINVAL, "%s %s: the file is empty", f->option, f->path);
    return 0;
}

void boot_file_free(struct boot_file *f)
{
    free(f->data);
    f->data = NULL;
    f->size = 0;
}

/* Cuts one "path args" off the list, undoing doubled commas. Returns what follows, NULL at the end. `out` has room. */
static const char *module_cut(const char *list, char *out)
{
    for (; *list; list++) {
        if (*list == ',' && list[1] != ',') {
            *out = 0;
            return list + 1;
        }
        if (*list == ',')
            list++;
        *out++ = *list;
    }
    *out = 0;
    return NULL;
}

/* m->text is set: a module's path is its first word, or all of it. */
static int module_read(struct boot_module *m, bool first_word, u64 max, struct error *err)
{
    size_t len = first_word ? strcspn(m->text, " ") : strlen(m->text);

    m->path = strndup(m->text, len);
    if (!m->path)
        return error_set(err, -ENOMEM, "--initramfs: out of memory");
    m->file = (struct boot_file){.option = "--initramfs", .path = m->path};
    return boot_file_read(&m->file, max, err);
}

int boot_modules_read(struct boot_modules *m, const char *spec, bool list, u64 max, struct error *err)
{
    int status = 0;

    while (spec && !status) {
        if (m->count == BOOT_MODULES_MAX)
            return error_set(err, -E2BIG, "--initramfs: more than %u modules", BOOT_MODULES_MAX);
        struct boot_module *module = &m->item[m->count];
        module->text = strdup(spec);
        if (!module->text)
            return error_set(err, -ENOMEM, "--initramfs: out of memory");
        m->count++;
        spec = list ? module_cut(spec, module->text) : NULL;
        status = module_read(module, list, max, err);
    }
    return status;
}

int boot_modules_append(struct boot_modules *m, const u8 *data, size_t size, struct error *err)
{
    struct boot_file *f = &m->item[0].file;
    u64 begin = align_up(f->size, 4);

    if (!size)
        return 0;
    u8 *grown = realloc(f->data, begin + size);
    if (!grown)
        return error_set(err, -ENOMEM, "--initramfs: out of memory");
    memset(grown + f->size, 0, begin - f->size);
    memcpy(grown + begin, data, size);
    *f = (struct boot_file){
        .option = "--initramfs", .path = f->path ? f->path : "", .data = grown, .size = begin + size};
    m->count += m->count == 0;
    return 0;
}

void boot_modules_free(struct boot_modules *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        boot_file_free(&m->item[i].file);
        free(m->item[i].path);
        free(m->item[i].text);
    }
    m->count = 0;
}

int boot_fail(struct boot *b, const struct boot_file *f, int status, const char *fmt, ...)
{
    char text[384];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return error_set(b->err, status, "%s %s: %s", f->option, f->path, text);
}

/* --- which protocol --------------------------------------------------------------------------------------------- */

enum boot_kind boot_identify(const struct boot_file *kernel)
{
    u64 entry;

    if (linux_is_image(kernel))
        return BOOT_LINUX;
    if (multiboot_find_header(kernel) >= 0)
        return BOOT_MULTIBOOT;
    return elf_pvh_entry(kernel, &entry) ? BOOT_PVH : BOOT_UNKNOWN;
}

int boot_start(struct boot *b)
{
    switch (boot_identify(b->kernel)) {
    case BOOT_LINUX:
        return boot_linux(b);
    case BOOT_MULTIBOOT:
        return boot_multiboot(b);
    case BOOT_PVH:
        return boot_pvh(b);
    case BOOT_UNKNOWN:
        break;
    }
    return boot_fail(
        b, b->kernel, -EINVAL,
        "not a kernel that can be started: give a bzImage, an ELF file with a PVH note or a multiboot file");
}

/* --- areas ------------------------------------------------------------------------------------------------------ */

#define LOW_FREE 0x1000u /* below: interrupt vectors, BIOS data, and a page nobody expects anything in */

void boot_init(struct boot *b, struct mem_space *mem)
{
    static const struct boot_modules no_modules;

    *b = (struct boot){
        .mem = mem, .ram_below_4g = mem_space_below_4g(mem), .modules = &no_modules, .cmdline = "", .long_mode = true};
    b->ram_above_4g = mem_space_ram(mem)->size - b->ram_below_4g;
}

bool boot_usable(const struct boot *b, u64 base, u64 size)
{
    if (base < LOW_EBDA)
        return base >= LOW_BDA + 0x100 && range_inside(base, size, LOW_EBDA);
    return base >= LOW_END && range_inside(base, size, b->ram_below_4g);
}

/* The area that is in the way, NULL if none. */
static const struct boot_area *area_conflict(const struct boot *b, u64 base, u64 size)
{
    for (unsigned i = 0; i < b->areas; i++) {
        if (ranges_overlap(base, size, b->area[i].base, b->area[i].size))
            return &b->area[i];
    }
    return NULL;
}

bool boot_claim(struct boot *b, u64 base, u64 size)
{
    if (b->areas == BOOT_AREAS_MAX || area_conflict(b, base, size))
        return false;
    b->area[b->areas++] = (struct boot_area){base, size};
    return true;
}

u64 boot_place_low(struct boot *b, u64 lo, u64 hi, u64 size, u64 align)
{
    u64 base = align_up(lo, align);
    const struct boot_area *in_way;

    if (hi > b->ram_below_4g)
        hi = b->ram_below_4g;
    while (base <= hi && size <= hi - base) {
        in_way = area_conflict(b, base, size);
        if (!in_way)
            return boot_claim(b, base, size) ? base : 0;
        base = align_up(in_way->base + in_way->size, align);
    }
    return 0;
}

u64 boot_place_high(struct boot *b, u64 lo, u64 hi, u64 size, u64 align)
{
    const struct boot_area *in_way;

    if (hi > b->ram_below_4g)
        hi = b->ram_below_4g;
    while (size <= hi) {
        u64 base = align_down(hi - size, align);
        if (base < lo)
            return 0;
        in_way = area_conflict(b, base, size);
        if (!in_way)
            return boot_claim(b, base, size) ? base : 0;
        hi = in_way->base;
    }
    return 0;
}

u64 boot_place_small(struct boot *b, u64 size, u64 align)
{
    u64 base = boot_place_low(b, LOW_FREE, LOW_EBDA, size, align);

    return base ? base : boot_place_high(b, LOW_END, b->ram_below_4g, size, align);
}

void boot_put(struct boot *b, u64 base, const void *data, u64 size)
{
    mem_dma_write(b->mem, base, data, size);
}

void boot_zero(struct boot *b, u64 base, u64 size)
{
    static const u8 zeros[65536];

    for (u64 n; size; base += n, size -= n) {
        n = size < sizeof(zeros) ? size : sizeof(zeros);
        mem_dma_write(b->mem, base, zeros, n);
    }
}

u64 boot_put_string(struct boot *b, const char *text)
{
    u64 size = strlen(text) + 1, base = boot_place_small(b, size, 16);

    if (base)
        boot_put(b, base, text, size);
    return base;
}

/* --- memory map ------------------------------------------------------------------------------------------------- */

unsigned boot_memory_map(u64 ram_below_4g, u64 ram_above_4g, struct boot_memory map[BOOT_MEMORY_MAX])
{
    const struct boot_memory all[] = {
        {0, LOW_EBDA, BOOT_RAM},
        {LOW_EBDA, LOW_VIDEO - LOW_EBDA, BOOT_RESERVED},
        {LOW_TABLES, LOW_END - LOW_TABLES, BOOT_RESERVED},
        {LOW_END, ram_below_4g > LOW_END ? ram_below_4g - LOW_END : 0, BOOT_RAM},
        {GiB(4), ram_above_4g, BOOT_RAM},
    };
    unsigned count = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        if (all[i].size)
            map[count++] = all[i];
    }
    return count;
}

/* --- descriptor table ------------------------------------------------------------------------------------------- */

bool boot_put_gdt(struct boot *b)
{
    u64 code = b->entry.mode == BOOT_LONG ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull;
    const u64 gdt[] = {0, 0, code, 0x00cf93000000ffffull};
    u64 base = boot_place_small(b, sizeof(gdt), 8);

    if (!base)
        return false;
    boot_put(b, base, gdt, sizeof(gdt));
    b->entry.gdt = (u32)base;
    return true;
}
