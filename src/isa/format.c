/*
 * Disassembly in Intel syntax, lower case, as Zydis writes it with sizes forced and numbers unpadded. Operands come
 * from isa/operand.h.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/bits.h"
#include "isa/operand.h"

/* Text that grows to the right; `len` counts on when the buffer is full, as snprintf does. */
struct text {
    char *at;
    size_t size;
    int len;
};

static void put(struct text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    size_t used = (size_t)t->len < t->size ? (size_t)t->len : t->size;
    va_start(ap, fmt);
    int n = vsnprintf(t->at ? t->at + used : NULL, t->size - used, fmt, ap);
    va_end(ap);
    t->len += n > 0 ? n : 0;
}

static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs"};

static void put_gpr(struct text *t, unsigned reg, unsigned size)
{
    static const char *const names[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char *const suffixes[] = {[1] = "b", [2] = "w", [4] = "d", [8] = ""};
    if (reg == REG_RIP)
        put(t, "%sip", size == 8 ? "r" : size == 4 ? "e" : "");
    else if (reg >= 8)
        put(t, "r%u%s", reg & 15, suffixes[size & 15]);
    else
        put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", names[reg]);
}

static void put_gpr8(struct text *t, unsigned reg)
{
    static const char *const names[] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
    static const char *const high[] = {"ah", "ch", "dh", "bh"};
    if (reg >= 0x10)
        put(t, "%s", high[reg & 3]);
    else if (reg >= 8)
        put(t, "r%ub", reg);
    else
        put(t, "%s", names[reg]);
}

static void put_register(struct text *t, unsigned file, unsigned reg, unsigned size)
{
    static const char *const names[] = {
        [FILE_CR] = "cr", [FILE_DR] = "dr", [FILE_ST] = "st", [FILE_MMX] = "mm", [FILE_XMM] = "xmm", [FILE_YMM] = "ymm",
    };
    if (file == FILE_GPR)
        put_gpr(t, reg, size);
    else if (file == FILE_GPR8)
        put_gpr8(t, reg);
    else if (file == FILE_SEG)
        put(t, "%s", segments[reg]);
    else
        put(t, "%s%u", names[file], reg);
}

/* Sizes without a name (FXSAVE and the like), and what is only an address (LEA), get none. */
static void put_size(struct text *t, unsigned size)
{
    static const char *const names[] = {
        [1] = "byte",  [2] = "word",   [4] = "dword",    [6] = "fword",
        [8] = "qword", [10] = "tbyte", [16] = "xmmword", [32] = "ymmword",
    };
    if (size < ARRAY_SIZE(names) && names[size])
        put(t, "%s ptr ", names[size]);
}

static u64 truncated(u64 v, unsigned bytes)
{
    return bytes >= 8 ? v : bits(v, 8 * bytes - 1, 0);
}

/* The segment that the addressing form implies: SS for rSP and rBP. */
static unsigned default_segment(const struct isa_operand *o)
{
    return o->base == 4 || o->base == 5 ? SEG_SS : SEG_DS;
}

static void put_memory(struct text *t, const struct insn *i, u64 rip, const struct isa_operand *o)
{
    bool address_only = !o->size && !o->access; /* LEA */
    put_size(t, o->size);
    if (!address_only && o->seg != default_segment(o))
        put(t, "%s:", segments[o->seg]);
    put(t, "[");
    if (o->base == REG_RIP) {
        put(t, "0x%llx]", (unsigned long long)truncated(rip + i->len + (u64)o->disp, o->asize));
        return;
    }
    bool registers = o->base != REG_ZERO || o->index != REG_ZERO;
    if (o->base != REG_ZERO)
        put_gpr(t, o->base, o->asize);
    if (o->index != REG_ZERO) {
        put(t, "%s", o->base != REG_ZERO ? "+" : "");
        put_register(t, o->index_file, o->index, o->asize);
        put(t, "*%u", 1u << o->scale);
    }
    if (!registers)
        put(t, "0x%llx", (unsigned long long)truncated((u64)o->disp, o->asize));
    else if (o->disp < 0)
        put(t, "-0x%llx", -(unsigned long long)o->disp);
    else if (o->disp > 0)
        put(t, "+0x%llx", (unsigned long long)o->disp);
    put(t, "]");
}

static void put_operand(struct text *t, const struct insn *i, u64 rip, const struct isa_operand *o)
{
    switch (o->type) {
    case OPERAND_REG:
        put_register(t, o->file, o->reg, o->size);
        break;
    case OPERAND_MEM:
        put_memory(t, i, rip, o);
        break;
    case OPERAND_IMM:
        put(t, "0x%llx", (unsigned long long)(o->is_signed ? truncated(o->imm, i->opsize) : o->imm));
        break;
    case OPERAND_REL: {
        unsigned size = i->opsize == 2 ? 2 : i->mode == ISA_64 ? 8 : 4;
        put(t, "0x%llx", (unsigned long long)truncated(rip + i->len + o->imm, size));
        break;
    }
    case OPERAND_FAR:
        put(t, "0x%x:0x%llx", o->selector, (unsigned long long)o->imm);
        break;
    }
}

static void put_prefixes(struct text *t, const struct insn *i, const struct isa_row *row)
{
    if (i->lock)
        put(t, "lock ");
    if (i->rep)
        put(t, "%s ", i->rep == 0xf2 ? "repne" : row->attrs & A_REPZ ? "repe" : "rep");
}

int insn_format(const struct insn *i, u64 rip, char *text, size_t size)
{
    const struct isa_row *row = &isa_rows[i->row];
    struct text t = {text, size, 0};
    const char *separator = " ";
    put_prefixes(&t, i, row);
    put(&t, "%s", row->mnemonic);
    for (unsigned n = 0; n < row->operands; n++) {
        if (!insn_operand_visible(i, n))
            continue;
        struct isa_operand o = insn_operand(i, n);
        put(&t, "%s", separator);
        put_operand(&t, i, rip, &o);
        separator = ", ";
    }
    return t.len;
}
