/* See vmlinux.h. */
#include "machine/boot/vmlinux.h"

#include <elf.h>
#include <string.h>

#include "host/keep.h"
#include "machine/boot/payload.h"

#define UNPACKED_MAX  MiB(512)
#define KERNEL_MAP    0xffffffff80000000ull /* __START_KERNEL_map: physical address 0 */
#define KERNEL_SPACE  GiB(1)                /* KERNEL_IMAGE_SIZE, of a kernel that can move */
#define ALIGN_DEFAULT MiB(2)

/* ------ unpacking ------ */

/* Every segment inside the memory that the header asks for, and so the entry. */
static bool segments_fit(const struct elf *e, u64 base, u64 size, u64 entry)
{
    bool entry_loaded = false;
    for (unsigned n = 0; n < e->segments; n++) {
        const struct elf_segment *s = &e->segment[n];
        if (s->paddr < base || !range_inside(s->paddr - base, s->mem_size, size))
            return false;
        entry_loaded |= entry >= s->paddr && entry - s->paddr < s->file_size;
    }
    return entry_loaded;
}

static bool is_kernel(const struct boot_file *f)
{
    return f->size > sizeof(Elf64_Ehdr) && f->data[EI_CLASS] == ELFCLASS64 && get_u16(f->data + 16) == ET_EXEC &&
           get_u16(f->data + 18) == EM_X86_64;
}

static u8 *unpack(const u8 *payload, u64 packed_size, bool keep, u64 *size)
{
    u8 *data = keep ? keep_find("kernels", payload, packed_size, UNPACKED_MAX, size) : NULL;
    if (data)
        return data;
    data = payload_unpack(payload, packed_size, UNPACKED_MAX, size);
    if (data && keep)
        keep_add("kernels", payload, packed_size, data, *size);
    return data;
}

bool vmlinux_unpack(const struct boot_file *f, const struct linux_image *l, bool keep, struct vmlinux *v)
{
    *v = (struct vmlinux){.file = {.option = f->option, .path = f->path}};
    if (!l->payload_size || !range_inside(l->payload, l->payload_size, l->kernel_size))
        return false;
    v->file.data = unpack(f->data + l->setup_size + l->payload, l->payload_size, keep, &v->file.size);
    if (!v->file.data)
        return false;
    if (is_kernel(&v->file) && !elf_parse(&v->file, &v->elf)) {
        v->entry = elf_physical_entry(&v->elf);
        if (segments_fit(&v->elf, l->load, l->init_size, v->entry))
            return true;
    }
    vmlinux_free(v);
    return false;
}

void vmlinux_free(struct vmlinux *v)
{
    boot_file_free(&v->file);
}

void vmlinux_load(struct boot *b, const struct vmlinux *v)
{
    elf_put(b, &v->file, &v->elf);
}

/* ------ relocations ------ */

/*
 * After the ELF file come lists of 32-bit words, each after a word of zero: places with 64-bit addresses, in kernels
 * before 6.15 places with negated 32-bit ones, and places with 32-bit addresses. A place is the low half of its virtual
 * address.
 */
enum places { LIST_64, LIST_NEGATED, LIST_32, LISTS };

struct relocations {
    const u8 *place[LISTS];
    u64 count[LISTS];
};

/* The end of the section headers, which the linker puts last. */
static u64 elf_end(const struct boot_file *f)
{
    Elf64_Ehdr h;
    memcpy(&h, f->data, sizeof(h));
    u64 size = (u64)h.e_shnum * h.e_shentsize;
    return range_inside(h.e_shoff, size, f->size) ? h.e_shoff + size : 0;
}

static bool relocations_find(const struct boot_file *f, struct relocations *r)
{
    u64 at = align_up(elf_end(f), 4), lists = 0;
    const u8 *start[LISTS] = {0};
    u64 count[LISTS] = {0};
    if (at < sizeof(Elf64_Ehdr) || at > f->size || (f->size - at) % 4)
        return false;
    for (; at < f->size; at += 4) {
        bool head = get_u32(f->data + at) == 0;
        if (head ? lists == LISTS : lists == 0)
            return false;
        if (head)
            start[lists++] = f->data + at + 4;
        else
            count[lists - 1]++;
    }
    if (lists < 2)
        return false;
    *r = (struct relocations){.place = {[LIST_64] = start[0], [LIST_32] = start[lists - 1]},
                              .count = {[LIST_64] = count[0], [LIST_32] = count[lists - 1]}};
    if (lists == LISTS) {
        r->place[LIST_NEGATED] = start[1];
        r->count[LIST_NEGATED] = count[1];
    }
    return true;
}

/* Where the bytes of a place are in the file; NULL if nowhere. */
static u8 *place_of(const struct vmlinux *v, u32 word, unsigned size)
{
    u64 pa = (u64)(i64)(i32)word - KERNEL_MAP;
    for (unsigned n = 0; n < v->elf.segments; n++) {
        const struct elf_segment *s = &v->elf.segment[n];
        if (pa >= s->paddr && range_inside(pa - s->paddr, size, s->file_size))
            return v->file.data + s->offset + (pa - s->paddr);
    }
    return NULL;
}

static void place_move(u8 *p, enum places kind, u64 delta)
{
    if (kind == LIST_64)
        put_u64(p, get_u64(p) + delta);
    else
        put_u32(p, get_u32(p) + (u32)(kind == LIST_32 ? delta : 0 - delta));
}

/* With delta 0, only looks whether all places are there. */
static bool relocations_apply(struct vmlinux *v, const struct relocations *r, u64 delta)
{
    for (unsigned kind = 0; kind < LISTS; kind++) {
        for (u64 n = 0; n < r->count[kind]; n++) {
            u8 *p = place_of(v, get_u32(r->place[kind] + 4 * n), kind == LIST_64 ? 8 : 4);
            if (!p)
                return false;
            place_move(p, kind, delta);
        }
    }
    return true;
}

bool vmlinux_move(struct vmlinux *v, const struct linux_image *l, u64 random)
{
    struct relocations r;
    u64 align = l->alignment ? l->alignment : ALIGN_DEFAULT;
    if (!is_power_of_two(align) || !is_aligned(l->load, align) || l->load + l->init_size > KERNEL_SPACE ||
        !relocations_find(&v->file, &r) || !relocations_apply(v, &r, 0))
        return false;
    u64 places = (KERNEL_SPACE - l->load - l->init_size) / align + 1;
    return relocations_apply(v, &r, random % places * align);
}
