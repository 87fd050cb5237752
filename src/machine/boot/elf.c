/* See elf.h. */
#include "machine/boot/elf.h"

#include <elf.h>
#include <string.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define XEN_NAME                 "Xen"

bool elf_is(const struct boot_file *f)
{
    return f->size >= sizeof(Elf32_Ehdr) && !memcmp(f->data, ELFMAG, SELFMAG);
}

/* Both classes' headers, in 64-bit form. */
struct header {
    bool is_64;
    u64 entry, phoff;
    unsigned phentsize, phnum;
};

static const char *header_read(const struct boot_file *f, struct header *h)
{
    u16 machine;

    if (!elf_is(f))
        return "not an ELF file";
    if (f->data[EI_DATA] != ELFDATA2LSB)
        return "an ELF file for a big-endian machine";
    if (f->data[EI_CLASS] == ELFCLASS64 && f->size >= sizeof(Elf64_Ehdr)) {
        Elf64_Ehdr e;
        memcpy(&e, f->data, sizeof(e));
        *h = (struct header){true, e.e_entry, e.e_phoff, e.e_phentsize, e.e_phnum};
        machine = e.e_machine;
    } else if (f->data[EI_CLASS] == ELFCLASS32) {
        Elf32_Ehdr e;
        memcpy(&e, f->data, sizeof(e));
        *h = (struct header){false, e.e_entry, e.e_phoff, e.e_phentsize, e.e_phnum};
        machine = e.e_machine;
    } else {
        return "the ELF header is broken or truncated";
    }
    if (machine != EM_386 && machine != EM_X86_64)
        return "an ELF file for another kind of processor";
    if (h->phentsize != (h->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
        !range_inside(h->phoff, (u64)h->phnum * h->phentsize, f->size))
        return "the ELF program headers are broken or truncated";
    return NULL;
}

/* Program header n, which lies inside the file. */
static Elf64_Phdr phdr_read(const struct boot_file *f, const struct header *h, unsigned n)
{
    const u8 *at = f->data + h->phoff + (u64)n * h->phentsize;
    Elf64_Phdr p;
    Elf32_Phdr p32;

    if (h->is_64) {
        memcpy(&p, at, sizeof(p));
        return p;
    }
    memcpy(&p32, at, sizeof(p32));
    return (Elf64_Phdr){.p_type = p32.p_type,
                        .p_offset = p32.p_offset,
                        .p_vaddr = p32.p_vaddr,
                        .p_paddr = p32.p_paddr,
                        .p_filesz = p32.p_filesz,
                        .p_memsz = p32.p_memsz,
                        .p_align = p32.p_align};
}

static bool wraps(u64 base, u64 size)
{
    return base + size < base;
}

static const char *segment_add(const struct boot_file *f, struct elf *e, const Elf64_Phdr *p)
{
    if (!range_inside(p->p_offset, p->p_filesz, f->size))
        return "an ELF segment lies outside the file: it is broken or truncated";
    if (p->p_filesz > p->p_memsz || wraps(p->p_paddr, p->p_memsz) || wraps(p->p_vaddr, p->p_memsz))
        return "an ELF segment has impossible sizes";
    if (e->segments == ELF_SEGMENTS_MAX)
        return "more ELF segments than a kernel has";
    e->segment[e->segments++] = (struct elf_segment){p->p_offset, p->p_filesz, p->p_vaddr, p->p_paddr, p->p_memsz};
    return NULL;
}

const char *elf_parse(const struct boot_file *f, struct elf *e)
{
    struct header h = {0};
    const char *why = header_read(f, &h);

    *e = (struct elf){.is_64 = h.is_64, .entry = h.entry};
    for (unsigned i = 0; !why && i < h.phnum; i++) {
        Elf64_Phdr p = phdr_read(f, &h, i);
        if (p.p_type == PT_LOAD && p.p_memsz)
            why = segment_add(f, e, &p);
    }
    if (!why && !e->segments)
        why = "an ELF file with nothing to load";
    return why;
}

void elf_put(struct boot *b, const struct boot_file *f, const struct elf *e)
{
    for (unsigned i = 0; i < e->segments; i++) {
        const struct elf_segment *s = &e->segment[i];
        boot_put(b, s->paddr, f->data + s->offset, s->file_size);
        boot_zero(b, s->paddr + s->file_size, s->mem_size - s->file_size);
    }
}

int elf_load(struct boot *b, const struct elf *e, u64 *end)
{
    *end = 0;
    for (unsigned i = 0; i < e->segments; i++) {
        const struct elf_segment *s = &e->segment[i];
        if (!boot_usable(b, s->paddr, s->mem_size))
            return boot_fail(b, b->kernel, -ENOMEM,
                             "its segment at 0x%llx (%llu KiB) does not fit into guest memory: raise --memory",
                             (unsigned long long)s->paddr, (unsigned long long)((s->mem_size + 1023) >> 10));
        if (!boot_claim(b, s->paddr, s->mem_size))
            return boot_fail(b, b->kernel, -EINVAL, "its segment at 0x%llx overlaps another one",
                             (unsigned long long)s->paddr);
        if (s->paddr + s->mem_size > *end)
            *end = s->paddr + s->mem_size;
    }
    elf_put(b, b->kernel, e);
    return 0;
}

u64 elf_physical_entry(const struct elf *e)
{
    for (unsigned i = 0; i < e->segments; i++) {
        const struct elf_segment *s = &e->segment[i];
        if (e->entry >= s->vaddr && e->entry - s->vaddr < s->mem_size)
            return e->entry - s->vaddr + s->paddr;
    }
    return e->entry;
}

/* --- notes ------------------------------------------------------------------------------------------------------ */

/* Looks through the notes of one segment of `size` bytes. */
static bool note_find(const u8 *notes, u64 size, u64 align, u64 *entry)
{
    Elf64_Nhdr n; /* the same for both classes */

    for (u64 at = 0; range_inside(at, sizeof(n), size);) {
        memcpy(&n, notes + at, sizeof(n));
        u64 name = at + sizeof(n);
        u64 desc = name + align_up(n.n_namesz, align);
        if (!range_inside(name, n.n_namesz, size) || !range_inside(desc, n.n_descsz, size))
            return false;
        if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == sizeof(XEN_NAME) &&
            !memcmp(notes + name, XEN_NAME, sizeof(XEN_NAME)) && n.n_descsz >= 4) {
            *entry = n.n_descsz >= 8 ? get_u64(notes + desc) : get_u32(notes + desc);
            return true;
        }
        at = desc + align_up(n.n_descsz, align);
    }
    return false;
}

bool elf_pvh_entry(const struct boot_file *f, u64 *entry)
{
    struct header h;

    if (header_read(f, &h))
        return false;
    for (unsigned i = 0; i < h.phnum; i++) {
        Elf64_Phdr p = phdr_read(f, &h, i);
        if (p.p_type == PT_NOTE && range_inside(p.p_offset, p.p_filesz, f->size) &&
            note_find(f->data + p.p_offset, p.p_filesz, p.p_align == 8 ? 8 : 4, entry))
            return true;
    }
    return false;
}
