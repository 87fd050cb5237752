/* See aml.h. */
#include "machine/aml.h"

#include <string.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_ROOT = 0x5c,
    OP_EXTENDED = 0x5b,
    OP_ARG0 = 0x68,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_OR = 0x7d,
    OP_CREATE_DWORD_FIELD = 0x8a,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4,
    /* after OP_EXTENDED */
    EXT_REGION = 0x80,
    EXT_FIELD = 0x81,
    EXT_DEVICE = 0x82,
};

#define SEGMENT           4
#define METHOD_SERIALIZED BIT(3)
#define FIELD_BYTE_ACCESS 0x01 /* no lock, the other bits are preserved */

/* --- names and constants ---------------------------------------------------------------------------------------- */

/* One segment, up to '.' or the end; returns what follows. */
static const char *name_segment(struct bytes *a, const char *p)
{
    size_t len = strcspn(p, ".");

    for (size_t i = 0; i < SEGMENT; i++)
        bytes_u8(a, (u8)(i < len ? p[i] : '_'));
    return p[len] ? p + len + 1 : p + len;
}

void aml_path(struct bytes *a, const char *path)
{
    u8 segments = 0;

    if (*path == '\\') {
        bytes_u8(a, OP_ROOT);
        path++;
    }
    for (const char *p = path; *p; p += strcspn(p, ".") + (p[strcspn(p, ".")] != 0))
        segments++;
    if (segments == 0) {
        bytes_u8(a, OP_ZERO);
    } else if (segments == 2) {
        bytes_u8(a, OP_DUAL_NAME);
    } else if (segments > 2) {
        bytes_u8(a, OP_MULTI_NAME);
        bytes_u8(a, segments);
    }
    while (*path)
        path = name_segment(a, path);
}

void aml_int(struct bytes *a, u64 value)
{
    if (value <= 1) {
        bytes_u8(a, value ? OP_ONE : OP_ZERO);
    } else if (value <= UINT8_MAX) {
        bytes_u8(a, OP_BYTE);
        bytes_u8(a, (u8)value);
    } else if (value <= UINT16_MAX) {
        bytes_u8(a, OP_WORD);
        bytes_u16(a, (u16)value);
    } else if (value <= UINT32_MAX) {
        bytes_u8(a, OP_DWORD);
        bytes_u32(a, (u32)value);
    } else {
        bytes_u8(a, OP_QWORD);
        bytes_u64(a, value);
    }
}

void aml_string(struct bytes *a, const char *text)
{
    bytes_u8(a, OP_STRING);
    bytes_add(a, text, strlen(text) + 1);
}

static u32 hex_digit(char c)
{
    return (u32)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits and four hexadecimal digits, most significant first, stored big-endian. */
void aml_eisaid(struct bytes *a, const char *id)
{
    u32 v = 0;

    for (unsigned i = 0; i < 3; i++)
        v = v << 5 | (u32)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        v = v << 4 | hex_digit(id[i]);
    bytes_u8(a, OP_DWORD);
    bytes_u32(a, __builtin_bswap32(v));
}

/* --- terms with a package length -------------------------------------------------------------------------------- */

/* PkgLength counts itself: 6 bits in one byte, or 4 bits in the first and 8 in each of up to three more. */
void aml_end(struct bytes *a, size_t mark)
{
    size_t content = a->size - mark;
    unsigned extra = content + 1 < 0x40 ? 0 : content + 2 < 0x1000 ? 1 : content + 3 < 0x100000 ? 2 : 3;
    size_t length = content + 1 + extra;

    bytes_insert(a, mark, 1 + extra);
    if (extra == 0) {
        bytes_patch(a, mark, length, 1);
        return;
    }
    bytes_patch(a, mark, extra << 6 | (length & 0x0f), 1);
    bytes_patch(a, mark + 1, length >> 4, extra);
}

static size_t open(struct bytes *a, u8 op)
{
    bytes_u8(a, op);
    return a->size;
}

static size_t open_extended(struct bytes *a, u8 op)
{
    bytes_u8(a, OP_EXTENDED);
    return open(a, op);
}

size_t aml_scope(struct bytes *a, const char *path)
{
    size_t mark = open(a, OP_SCOPE);

    aml_path(a, path);
    return mark;
}

size_t aml_device(struct bytes *a, const char *name)
{
    size_t mark = open_extended(a, EXT_DEVICE);

    aml_path(a, name);
    return mark;
}

size_t aml_method(struct bytes *a, const char *name, unsigned args, bool serialized)
{
    size_t mark = open(a, OP_METHOD);

    aml_path(a, name);
    bytes_u8(a, (u8)(args | (serialized ? METHOD_SERIALIZED : 0)));
    return mark;
}

size_t aml_package(struct bytes *a, u8 elements)
{
    size_t mark = open(a, OP_PACKAGE);

    bytes_u8(a, elements);
    return mark;
}

size_t aml_if(struct bytes *a)
{
    return open(a, OP_IF);
}

size_t aml_field(struct bytes *a, const char *region)
{
    size_t mark = open_extended(a, EXT_FIELD);

    aml_path(a, region);
    bytes_u8(a, FIELD_BYTE_ACCESS);
    return mark;
}

void aml_field_unit(struct bytes *a, const char *name, u8 bit_count)
{
    aml_path(a, name);
    bytes_u8(a, bit_count); /* a PkgLength of one byte */
}

/* The buffer's size is a word constant whose place is known: right after the mark. */
size_t aml_resources(struct bytes *a)
{
    size_t mark = open(a, OP_BUFFER);

    bytes_u8(a, OP_WORD);
    bytes_u16(a, 0);
    return mark;
}

#define END_TAG 0x79

void aml_resources_end(struct bytes *a, size_t mark)
{
    bytes_u8(a, END_TAG);
    bytes_u8(a, 0); /* checksum: 0 is taken as right */
    bytes_patch(a, mark + 1, a->size - mark - 3, 2);
    aml_end(a, mark);
}

/* --- declarations and statements -------------------------------------------------------------------------------- */

void aml_name_is(struct bytes *a, const char *path)
{
    bytes_u8(a, OP_NAME);
    aml_path(a, path);
}

void aml_name_int(struct bytes *a, const char *path, u64 value)
{
    aml_name_is(a, path);
    aml_int(a, value);
}

void aml_name_eisaid(struct bytes *a, const char *path, const char *id)
{
    aml_name_is(a, path);
    aml_eisaid(a, id);
}

void aml_region(struct bytes *a, const char *name, enum aml_space space, u64 offset, u64 length)
{
    bytes_u8(a, OP_EXTENDED);
    bytes_u8(a, EXT_REGION);
    aml_path(a, name);
    bytes_u8(a, (u8)space);
    aml_int(a, offset);
    aml_int(a, length);
}

void aml_return(struct bytes *a)
{
    bytes_u8(a, OP_RETURN);
}

void aml_store(struct bytes *a)
{
    bytes_u8(a, OP_STORE);
}

void aml_and(struct bytes *a)
{
    bytes_u8(a, OP_AND);
}

void aml_or(struct bytes *a)
{
    bytes_u8(a, OP_OR);
}

void aml_no_target(struct bytes *a)
{
    bytes_u8(a, OP_ZERO);
}

void aml_arg(struct bytes *a, unsigned n)
{
    bytes_u8(a, (u8)(OP_ARG0 + n));
}

void aml_create_dword_field(struct bytes *a)
{
    bytes_u8(a, OP_CREATE_DWORD_FIELD);
}

/* --- resource descriptors --------------------------------------------------------------------------------------- */

enum {
    RES_IRQ = 0x22, /* two bytes of mask: edge, high, exclusive */
    RES_DMA = 0x2a,
    RES_IO = 0x47,
    RES_MEMORY32_FIXED = 0x86,
    RES_DWORD = 0x87,
    RES_WORD = 0x88,
    RES_INTERRUPT = 0x89,
    RES_QWORD = 0x8a,
};

enum { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2 };
#define SPACE_FIXED     0x0c /* minimum and maximum are fixed; producer; positive decode */
#define IO_ENTIRE_RANGE 0x03
#define MEMORY_WRITABLE 0x01

void aml_res_io(struct bytes *a, u16 base, u8 length)
{
    bytes_u8(a, RES_IO);
    bytes_u8(a, 1); /* decodes 16 bits */
    bytes_u16(a, base);
    bytes_u16(a, base);
    bytes_u8(a, 1);
    bytes_u8(a, length);
}

void aml_res_irq(struct bytes *a, u16 mask)
{
    bytes_u8(a, RES_IRQ);
    bytes_u16(a, mask);
}

void aml_res_dma(struct bytes *a, u8 mask)
{
    bytes_u8(a, RES_DMA);
    bytes_u8(a, mask);
    bytes_u8(a, 0); /* compatibility mode, not a bus master, 8 bits */
}

void aml_res_memory32(struct bytes *a, u32 base, u32 length, bool writable)
{
    bytes_u8(a, RES_MEMORY32_FIXED);
    bytes_u16(a, 9);
    bytes_u8(a, writable);
    bytes_u32(a, base);
    bytes_u32(a, length);
}

void aml_res_interrupts(struct bytes *a, const u32 *gsi, u8 count)
{
    bytes_u8(a, RES_INTERRUPT);
    bytes_u16(a, (u16)(2 + 4 * count));
    bytes_u8(a, 0x09); /* consumer, level, active high, shared */
    bytes_u8(a, count);
    for (unsigned i = 0; i < count; i++)
        bytes_u32(a, gsi[i]);
}

/* The three widths of address space descriptor differ in the width of five fields. */
static void address_space(struct bytes *a, u8 tag, u8 space, u8 flags, u64 first, u64 last)
{
    unsigned width = tag == RES_WORD ? 2 : tag == RES_DWORD ? 4 : 8;
    const u64 field[] = {0, first, last, 0, last - first + 1}; /* granularity, min, max, translation, length */

    bytes_u8(a, tag);
    bytes_u16(a, (u16)(3 + 5 * width));
    bytes_u8(a, space);
    bytes_u8(a, SPACE_FIXED);
    bytes_u8(a, flags);
    for (unsigned i = 0; i < ARRAY_SIZE(field); i++)
        bytes_add(a, &field[i], width);
}

void aml_res_bus_numbers(struct bytes *a, u16 first, u16 last)
{
    address_space(a, RES_WORD, SPACE_BUS, 0, first, last);
}

void aml_res_io_window(struct bytes *a, u16 first, u16 last)
{
    address_space(a, RES_WORD, SPACE_IO, IO_ENTIRE_RANGE, first, last);
}

void aml_res_memory_window(struct bytes *a, u32 first, u32 last)
{
    address_space(a, RES_DWORD, SPACE_MEMORY, MEMORY_WRITABLE, first, last);
}

void aml_res_memory64_window(struct bytes *a, u64 first, u64 last)
{
    address_space(a, RES_QWORD, SPACE_MEMORY, MEMORY_WRITABLE, first, last);
}
