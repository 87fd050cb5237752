/*
 * The encoder: struct insn to bytes. SDM volume 2 chapter 2. What each row asks for comes from the same isa_forms as
 * the decoder's.
 */
#include "isa/encode.h"

#include <string.h>

#include "base/bits.h"
#include "isa/form.h"

/* Bytes under construction, and what the prefixes have to say about registers. */
struct pen {
    unsigned len;
    bool ok;
    u8 r, x, b, w; /* 0 or 1 */
    bool rex;      /* needed even when all bits are 0 */
    bool no_rex;   /* AH CH DH BH */
    u8 *out;
};

/* 8 bytes at once, of which the next ones overwrite what was not meant. */
static ALWAYS_INLINE void put(struct pen *p, u64 value, unsigned size)
{
    put_u64(p->out + p->len, value);
    p->len += size;
}

/* What the form asks for, or what the instruction says. */
static unsigned choose(u8 fixed, unsigned told)
{
    return fixed == FORM_FREE ? told : fixed;
}

static bool is_vex(const struct isa_form *f)
{
    return f->map > MAP_VEX;
}

/* Three bits of a register number; the fourth goes to *ext. */
static ALWAYS_INLINE u8 low3(struct pen *p, const struct isa_form *f, unsigned n, enum isa_field field, u8 *ext)
{
    if (field == FIELD_BYTE && n >= 0x10) {
        p->no_rex = true;
        return (u8)(4 + (n & 3));
    }
    if (field == FIELD_BYTE && n >= 4 && !is_vex(f))
        p->rex = true;
    if (n > 15)
        p->ok = false;
    *ext |= n >> 3 & 1;
    return n & 7;
}

/* The memory operand, worked out: ModRM without reg, SIB, displacement. */
struct ea {
    u8 modrm, sib;
    bool has_sib;
    u8 disp_size;
    u8 seg; /* default segment */
};

static struct ea encode_ea16(struct pen *p, const struct insn *i)
{
    static const struct {
        u8 base, index, seg;
    } forms[8] = {
        {3, 6, SEG_DS},        {3, 7, SEG_DS},        {5, 6, SEG_SS},        {5, 7, SEG_SS},
        {6, REG_ZERO, SEG_DS}, {7, REG_ZERO, SEG_DS}, {5, REG_ZERO, SEG_SS}, {3, REG_ZERO, SEG_DS},
    };
    if (i->base == REG_ZERO && i->index == REG_ZERO)
        return (struct ea){.modrm = 6, .disp_size = 2, .seg = SEG_DS};
    for (u8 rm = 0; rm < 8; rm++) {
        if (forms[rm].base != i->base || forms[rm].index != i->index)
            continue;
        u8 size = i->disp == 0 && rm != 6 ? 0 : i->disp == (i8)i->disp ? 1 : 2;
        return (struct ea){.modrm = (u8)(size << 6 | rm), .disp_size = size, .seg = forms[rm].seg};
    }
    p->ok = false;
    return (struct ea){0};
}

static ALWAYS_INLINE struct ea encode_ea32(struct pen *p, const struct isa_form *f, const struct insn *i)
{
    struct ea e = {.seg = SEG_DS};
    if (i->disp != (i32)i->disp)
        p->ok = false;
    if (i->base == REG_RIP) {
        p->ok &= i->index == REG_ZERO;
        return (struct ea){.modrm = 5, .disp_size = 4, .seg = SEG_DS};
    }
    bool no_base = i->base == REG_ZERO;
    u8 base = no_base ? 5 : i->base & 7;
    p->b |= !no_base && i->base > 7;
    p->ok &= no_base || i->base < 16;
    u8 mod = no_base || (i->disp == 0 && base != 5) ? 0 : i->disp == (i8)i->disp ? 1 : 2;
    e.disp_size = no_base || mod == 2 ? 4 : mod;
    if (i->base == 4 || i->base == 5)
        e.seg = SEG_SS;
    bool index = i->index != REG_ZERO;
    e.has_sib = index || f->flags & FORM_VSIB || base == 4 || (no_base && i->mode == ISA_64);
    if (!e.has_sib) {
        e.modrm = (u8)(mod << 6 | base);
        return e;
    }
    p->x |= index && i->index > 7;
    p->ok &= !index || (i->index < 16 && (i->index != 4 || f->flags & FORM_VSIB));
    e.modrm = (u8)(mod << 6 | 4);
    e.sib = (u8)(i->scale << 6 | (index ? i->index & 7 : 4) << 3 | base);
    return e;
}

static ALWAYS_INLINE void put_prefixes(struct pen *p, const struct isa_form *f, const struct insn *i,
                                       const struct ea *e)
{
    static const u8 override[SEG_COUNT] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    unsigned asize = 8 - i->ashift / 8u, plain = i->mode;
    u8 mandatory = is_vex(f) ? 0 : f->prefix;
    if (i->lock)
        put(p, 0xf0, 1);
    if (i->rep)
        put(p, i->rep, 1);
    if (i->seg != e->seg)
        put(p, override[i->seg], 1);
    if (asize != plain)
        put(p, 0x67, 1);
    if (mandatory == 0x66 || (i->prefix66 && !is_vex(f)))
        put(p, 0x66, 1);
    if (mandatory && mandatory != 0x66)
        put(p, mandatory, 1);
}

static ALWAYS_INLINE void put_rex(struct pen *p, const struct insn *i)
{
    u8 rex = (u8)(p->w << 3 | p->r << 2 | p->x << 1 | p->b);
    if (!rex && !p->rex)
        return;
    if (p->no_rex || i->mode != ISA_64)
        p->ok = false;
    put(p, 0x40 | rex, 1);
}

static ALWAYS_INLINE void put_vex(struct pen *p, const struct isa_form *f, const struct insn *i)
{
    unsigned map = f->map - MAP_VEX, pp = f->prefix == 0x66 ? 1 : f->prefix == 0xf3 ? 2 : f->prefix == 0xf2 ? 3 : 0;
    unsigned last = (~(unsigned)i->vvvv & 15) << 3 | choose(f->l, i->vl) << 2 | pp;
    if (i->mode != ISA_64 && (p->r | p->x | p->b | i->vvvv >> 3))
        p->ok = false;
    if (map == 1 && !p->x && !p->b && !p->w) {
        put(p, 0xc5, 1);
        put(p, !p->r << 7 | last, 1);
    } else {
        put(p, 0xc4, 1);
        put(p, !p->r << 7 | !p->x << 6 | !p->b << 5 | map, 1);
        put(p, (unsigned)p->w << 7 | last, 1);
    }
}

static ALWAYS_INLINE void put_map(struct pen *p, const struct isa_form *f)
{
    if (f->map)
        put(p, 0x0f, 1);
    if (f->map > 1)
        put(p, f->map == 2 ? 0x38 : 0x3a, 1);
}

static ALWAYS_INLINE void put_imm(struct pen *p, enum isa_imm imm, const struct insn *i)
{
    unsigned asize = 8 - i->ashift / 8u;
    switch (imm) {
    case IMM_NONE:
        break;
    case IMM_U8:
    case IMM_S8:
    case IMM_IS4:
        put(p, i->imm, 1);
        break;
    case IMM_U16:
        put(p, i->imm, 2);
        break;
    case IMM_U32:
        put(p, i->imm, 4);
        break;
    case IMM_U64:
        put(p, i->imm, 8);
        break;
    case IMM_Z:
        put(p, i->imm, i->opsize == 2 ? 2 : 4);
        break;
    case IMM_V:
        put(p, i->imm, i->opsize);
        break;
    case IMM_FAR:
        put(p, i->imm, i->opsize == 2 ? 2 : 4);
        put(p, i->imm2, 2);
        break;
    case IMM_MOFFS:
        put(p, (u64)i->disp, asize);
        break;
    }
}

unsigned insn_encode_roomy(const struct insn *i, u8 out[INSN_ROOM])
{
    const struct isa_form *f = &isa_forms[i->row];
    struct pen p = {.out = out, .ok = true};
    struct ea e = {.modrm = 0xc0, .seg = SEG_DS};
    u8 reg = 0, opcode = f->opcode;
    p.w = (u8)choose(f->w, i->rex_w);
    if (f->flags & FORM_OPREG)
        opcode |= low3(&p, f, i->reg, f->reg, &p.b);
    else if (f->flags & FORM_MODRM)
        reg = low3(&p, f, choose(f->digit, i->reg), f->reg, &p.r);
    if (f->flags & FORM_MODRM) {
        if (!i->mem)
            e.modrm |= low3(&p, f, choose(f->fit, i->rm), f->rm, &p.b);
        else
            e = i->ashift == 48 ? encode_ea16(&p, i) : encode_ea32(&p, f, i);
    }
    put_prefixes(&p, f, i, &e);
    if (is_vex(f)) {
        put_vex(&p, f, i);
    } else {
        put_rex(&p, i);
        put_map(&p, f);
    }
    put(&p, opcode, 1);
    if (f->flags & FORM_MODRM) {
        put(&p, (u64)(e.modrm | reg << 3), 1);
        put(&p, e.sib, e.has_sib);
        put(&p, (u64)i->disp, e.disp_size);
    }
    put_imm(&p, f->imm, i);
    put(&p, i->imm2, f->imm2 != IMM_NONE);
    return p.ok && p.len <= INSN_MAX_BYTES ? p.len : 0;
}

unsigned insn_encode(const struct insn *i, u8 out[INSN_MAX_BYTES])
{
    u8 bytes[INSN_ROOM];
    unsigned len = insn_encode_roomy(i, bytes);
    memcpy(out, bytes, len);
    return len;
}
