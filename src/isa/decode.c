/*
 * The decoder: bytes to struct insn. SDM volume 2, chapter 2 and appendix B; tables from isa/gen.c.
 *
 * insn_decode is pure: what it says depends on its arguments alone. Two things are therefore left to the processor:
 * #UD by CPL or control registers, and real and virtual-8086 mode, where VEX does not exist. There the C4 or C5 of a
 * VEX prefix is LES or LDS with a register, which is #UD; VEX rows carry A_PROT, so that they are #UD too.
 *
 * Steps: prefixes; opcode and map; ModRM byte; the row, by the key of isa/form.h; memory operand; immediates;
 * registers.
 */
#include "base/bits.h"
#include "isa/form.h"
#include "isa/insn.h"

#include "isa/decode_tables.inc"

#define INSN_MAX 15

/* What is known while an instruction is being decoded. */
struct scan {
    const u8 *bytes;
    unsigned pos, limit; /* limit: bytes there are, at most 15 */
    enum isa_mode mode;
    bool p66, p67, lock;
    bool bad; /* #UD whatever follows: VEX after a prefix that it excludes */
    u8 rep;   /* last of F2 and F3, or 0 */
    u8 seg;   /* override, or SEG_COUNT */
    bool has_rex;
    u8 r, x, b; /* REX or VEX register extensions: 0 or 8 */
    bool w;
    u8 vvvv, vl;
    u8 plain; /* operand size before the row has its say */
    u8 asize;
    u8 map, opcode, modrm;
    bool has_modrm;
};

/* Everything that is a prefix: 66 67 F0 F2 F3 and segment overrides in all modes. REX is looked at only where it
 * counts. */
enum prefix { NOT_PREFIX, PREFIX_66, PREFIX_67, PREFIX_LOCK, PREFIX_REP, PREFIX_SEG, PREFIX_SEG_FSGS };
static const u8 prefix_of[256] = {
    [0x66] = PREFIX_66,  [0x67] = PREFIX_67,       [0xf0] = PREFIX_LOCK,     [0xf2] = PREFIX_REP,
    [0xf3] = PREFIX_REP, [0x26] = PREFIX_SEG,      [0x2e] = PREFIX_SEG,      [0x36] = PREFIX_SEG,
    [0x3e] = PREFIX_SEG, [0x64] = PREFIX_SEG_FSGS, [0x65] = PREFIX_SEG_FSGS,
};

/* Why `n` more bytes cannot be had. */
static enum insn_status out_of_bytes(const struct scan *s)
{
    return s->limit == INSN_MAX ? INSN_TOO_LONG : INSN_SHORT;
}

static ALWAYS_INLINE bool have(const struct scan *s, unsigned n)
{
    return likely(s->pos + n <= s->limit);
}

static void take_prefix(struct scan *s, u8 byte, enum prefix p)
{
    switch (p) {
    case PREFIX_66:
        s->p66 = true;
        break;
    case PREFIX_67:
        s->p67 = true;
        break;
    case PREFIX_LOCK:
        s->lock = true;
        break;
    case PREFIX_REP:
        s->rep = byte;
        break;
    case PREFIX_SEG: /* ES CS SS DS: ignored in 64-bit code */
        if (s->mode != ISA_64)
            s->seg = byte >> 3 & 3;
        break;
    case PREFIX_SEG_FSGS:
        s->seg = (u8)(SEG_FS + (byte & 1));
        break;
    case NOT_PREFIX:
        break;
    }
}

/* Legacy prefixes, and REX where it directly precedes the opcode. */
static enum insn_status scan_prefixes(struct scan *s)
{
    u8 rex = 0;
    for (;; s->pos++) {
        if (!have(s, 1))
            return out_of_bytes(s);
        u8 byte = s->bytes[s->pos];
        enum prefix p = prefix_of[byte];
        if (p) {
            take_prefix(s, byte, p);
            rex = 0;
        } else if (s->mode == ISA_64 && (byte & 0xf0) == 0x40) {
            rex = byte;
        } else {
            break;
        }
    }
    s->has_rex = rex;
    s->w = rex & 8;
    s->r = (u8)((rex & 4) << 1);
    s->x = (u8)((rex & 2) << 2);
    s->b = (u8)((rex & 1) << 3);
    return INSN_OK;
}

/* C4 and C5 are VEX in 64-bit code, and elsewhere where LES and LDS would have a register operand. */
static bool is_vex(const struct scan *s, u8 byte)
{
    return (byte & 0xfe) == 0xc4 && (s->mode == ISA_64 || s->bytes[s->pos + 1] >= 0xc0);
}

/* The VEX prefix, from its first byte; leaves pos at the opcode. The register extensions are stored inverted. */
static enum insn_status scan_vex(struct scan *s)
{
    s->bad = s->lock || s->p66 || s->rep || s->has_rex;
    unsigned size = s->bytes[s->pos] == 0xc5 ? 2 : 3;
    if (!have(s, size + 1))
        return out_of_bytes(s);
    const u8 *v = s->bytes + s->pos;
    u8 last = v[size - 1], ext = (u8)~v[1], map = 1;
    s->r = ext >> 4 & 8;
    if (size == 3) {
        map = v[1] & 31;
        if (map < 1 || map > 3)
            return INSN_UD;
        s->x = ext >> 3 & 8;
        s->b = ext >> 2 & 8;
        s->w = last & 0x80;
    }
    if (s->mode != ISA_64)
        s->r = s->x = s->b = 0;
    s->map = MAP_VEX + map;
    s->vvvv = ~last >> 3 & 15;
    s->vl = last >> 2 & 1;
    static const u8 prefixes[4][2] = {{0, 0}, {1, 0}, {0, 0xf3}, {0, 0xf2}};
    s->p66 = prefixes[last & 3][0];
    s->rep = prefixes[last & 3][1];
    s->plain = s->mode == ISA_64 && s->w ? 8 : 4;
    s->pos += size;
    return INSN_OK;
}

/* The opcode byte and the map it is in. */
static enum insn_status scan_opcode(struct scan *s)
{
    u8 byte = s->bytes[s->pos];
    if ((byte & 0xfe) == 0xc4 && !have(s, 2))
        return out_of_bytes(s);
    if (is_vex(s, byte)) {
        enum insn_status status = scan_vex(s);
        if (status)
            return status;
    } else if (byte == 0x0f) {
        s->map = 1;
        s->pos++;
        if (!have(s, 1))
            return out_of_bytes(s);
        byte = s->bytes[s->pos];
        if (byte == 0x38 || byte == 0x3a) {
            s->map = byte == 0x38 ? 2 : 3;
            s->pos++;
            if (!have(s, 1))
                return out_of_bytes(s);
        }
    }
    s->opcode = s->bytes[s->pos++];
    return INSN_OK;
}

/* Operand and address size as prefixes and code size give them. VEX sets the operand size itself. */
static void scan_sizes(struct scan *s)
{
    if (s->mode == ISA_64) {
        s->plain = s->w ? 8 : s->p66 ? 2 : 4;
        s->asize = s->p67 ? 4 : 8;
    } else {
        s->plain = s->p66 ? 6 - s->mode : s->mode;
        s->asize = s->p67 ? 6 - s->mode : s->mode;
    }
}

static u64 make_key(const struct scan *s)
{
    unsigned prefix = (unsigned)s->p66 + (s->rep ? s->rep == 0xf3 ? 2 : 4 : 0);
    /* sizes 2, 4, 8 are 0, 1, 2 */
    unsigned code = (s->mode & ~1u) - 2 - (s->mode == ISA_64 ? 2 : 0) + (s->plain >> 2);
    return BIT64(KEY_PREFIX + prefix) | BIT64(KEY_CODE + code) | BIT64(KEY_ASIZE + (s->asize >> 2)) |
           BIT64(KEY_W + s->w) | BIT64(KEY_L + s->vl) | BIT64(KEY_B + (s->b >> 3)) |
           BIT64(KEY_MOD + (s->modrm >= 0xc0)) | BIT64(KEY_REG + (s->modrm >> 3 & 7)) | BIT64(KEY_RM + (s->modrm & 7));
}

/*
 * What an opcode looks like for finding its end. The processor does that before it finds that an opcode is undefined:
 * bytes that are missing or too many come first. Where a VEX opcode has no rows, it is as long as the legacy one of
 * map 1.
 */
static const struct isa_entry *shape_of(const struct scan *s)
{
    const struct isa_entry *e = &isa_entries[s->map][s->opcode];
    return !e->count && s->map == MAP_VEX + 1 ? &isa_entries[1][s->opcode] : e;
}

/* Opcodes without any row that have a ModRM byte all the same: all of the maps after 0F 38 and 0F 3A, and some of
 * map 1. */
static bool undefined_has_modrm(const struct scan *s)
{
    static const u64 map1[4] = {
        [0] = 0xfa00000000000000, /* 39, 3B to 3F */
        [1] = 0x0f00000000000000, /* 78 to 7B */
        [2] = 0x010000c000000000, /* A6 A7 B8 */
    };
    if (s->map % MAP_VEX == 1)
        return map1[s->opcode >> 6] >> (s->opcode & 63) & 1;
    return s->map >= 2;
}

static enum insn_status scan_modrm(struct scan *s)
{
    const struct isa_entry *e = shape_of(s);
    s->has_modrm = e->count ? e->flags & ENTRY_MODRM : undefined_has_modrm(s);
    if (!s->has_modrm)
        return INSN_OK;
    if (!have(s, 1))
        return out_of_bytes(s);
    s->modrm = s->bytes[s->pos++];
    return INSN_OK;
}

/* The form of the instruction, or NULL if there is none. */
static const struct isa_form *find_form(const struct scan *s, const struct isa_features *features)
{
    const struct isa_entry *e = &isa_entries[s->map][s->opcode];
    if (e->flags & ENTRY_SPLIT)
        e = &isa_splits[e->first + (s->modrm >= 0xc0 ? 8 : 0) + (s->modrm >> 3 & 7)];
    u64 key = make_key(s);
    for (unsigned n = 0; n < e->count; n++) {
        const struct isa_form *f = &isa_forms[isa_candidates[e->first + n]];
        if (!(key & ~f->accept) && (f->feature == FEAT_BASE || isa_has(features, f->feature)))
            return f;
    }
    return NULL;
}

static u8 sized(const struct scan *s, enum isa_sizing sizing)
{
    switch (sizing) {
    case SIZING_BYTE:
        return 1;
    case SIZING_NO66:
        return s->w ? 8 : 4;
    case SIZING_D64:
        return s->mode == ISA_64 && s->plain == 4 ? 8 : s->plain;
    case SIZING_F64:
        return s->mode == ISA_64 ? 8 : s->plain;
    case SIZING_PLAIN:
        break;
    }
    return s->plain;
}

/* Takes a displacement of 0, 1, 2 or 4 bytes. */
static enum insn_status take_disp(struct scan *s, struct insn *i, unsigned size)
{
    if (!have(s, size))
        return out_of_bytes(s);
    const u8 *p = s->bytes + s->pos;
    i->disp = size == 0 ? 0 : size == 1 ? (i8)p[0] : size == 2 ? (i16)get_u16(p) : (i32)get_u32(p);
    s->pos += size;
    return INSN_OK;
}

/* SDM volume 2 table 2-1. */
static enum insn_status decode_mem16(struct scan *s, struct insn *i)
{
    static const struct {
        u8 base, index, seg;
    } forms[8] = {
        {3, 6, SEG_DS},        {3, 7, SEG_DS},        {5, 6, SEG_SS},        {5, 7, SEG_SS},
        {6, REG_ZERO, SEG_DS}, {7, REG_ZERO, SEG_DS}, {5, REG_ZERO, SEG_SS}, {3, REG_ZERO, SEG_DS},
    };
    unsigned mod = s->modrm >> 6, rm = s->modrm & 7;
    if (mod == 0 && rm == 6)
        return take_disp(s, i, 2);
    i->base = forms[rm].base;
    i->index = forms[rm].index;
    if (s->seg == SEG_COUNT)
        i->seg = forms[rm].seg;
    return take_disp(s, i, mod);
}

/* SDM volume 2 tables 2-2 and 2-3, section 2.2.1.6 (RIP-relative) and 2.3.12 (VSIB). */
static enum insn_status decode_mem32(struct scan *s, struct insn *i)
{
    unsigned mod = s->modrm >> 6, base = s->modrm & 7;
    bool no_base = mod == 0 && base == 5;
    if (base == 4) {
        if (!have(s, 1))
            return out_of_bytes(s);
        u8 sib = s->bytes[s->pos++];
        u8 index = (sib >> 3 & 7) | s->x;
        base = sib & 7;
        no_base = mod == 0 && base == 5;
        i->scale = sib >> 6;
        i->index = index;
    } else if (no_base && s->mode == ISA_64) {
        i->base = REG_RIP;
    }
    if (no_base)
        return take_disp(s, i, 4);
    if (s->seg == SEG_COUNT && (base == 4 || base == 5) && !s->b)
        i->seg = SEG_SS;
    i->base = (u8)(base | s->b);
    return take_disp(s, i, mod == 2 ? 4 : mod);
}

static enum insn_status decode_mem(struct scan *s, const struct isa_form *f, struct insn *i)
{
    bool sib = s->asize != 2 && (s->modrm & 7) == 4;
    enum insn_status status = s->asize == 2 ? decode_mem16(s, i) : decode_mem32(s, i);
    i->mem = true;
    if (f->flags & FORM_VSIB) {
        s->bad |= !sib;
    } else if (sib && i->index == 4) { /* not rSP: no index */
        i->index = REG_ZERO;
        i->scale = 0;
    }
    return status;
}

/* Bytes of an immediate of that kind. */
static unsigned imm_size(const struct scan *s, enum isa_imm imm, unsigned opsize)
{
    static const u8 fixed[] = {[IMM_U8] = 1, [IMM_S8] = 1, [IMM_U16] = 2, [IMM_U32] = 4, [IMM_U64] = 8, [IMM_IS4] = 1};
    switch (imm) {
    case IMM_Z:
        return opsize == 2 ? 2 : 4;
    case IMM_V:
        return opsize;
    case IMM_FAR:
        return opsize == 2 ? 4 : 6;
    case IMM_MOFFS:
        return s->asize;
    default:
        return fixed[imm];
    }
}

static u64 get_bytes(const u8 *p, unsigned size)
{
    return size == 8 ? get_u64(p) : size == 4 ? get_u32(p) : size == 2 ? get_u16(p) : p[0];
}

static void store_imm(const struct scan *s, struct insn *i, enum isa_imm imm, const u8 *p, unsigned size)
{
    switch (imm) {
    case IMM_S8:
    case IMM_Z:
        i->imm = (u64)sign_extend(get_bytes(p, size), 8 * size);
        break;
    case IMM_FAR:
        i->imm = get_bytes(p, size - 2);
        i->imm2 = get_u16(p + size - 2);
        break;
    case IMM_MOFFS:
        i->disp = (i64)get_bytes(p, size);
        i->mem = true;
        break;
    case IMM_IS4: /* bit 7 is ignored outside 64-bit code */
        i->imm = s->mode == ISA_64 ? p[0] : p[0] & 0x7f;
        break;
    default:
        i->imm = get_bytes(p, size);
    }
}

static enum insn_status decode_imm(struct scan *s, const struct isa_form *f, struct insn *i)
{
    unsigned size = imm_size(s, f->imm, i->opsize);
    if (!have(s, size + (f->imm2 ? 1 : 0)))
        return out_of_bytes(s);
    store_imm(s, i, f->imm, s->bytes + s->pos, size);
    s->pos += size;
    if (f->imm2)
        i->imm2 = s->bytes[s->pos++];
    return INSN_OK;
}

/* Register number from three bits of the code and the extension, or -1: no such register. */
static int register_number(const struct scan *s, enum isa_field field, unsigned bits3, unsigned ext)
{
    unsigned n = bits3 | ext;
    switch (field) {
    case FIELD_RAW:
        return (int)bits3;
    case FIELD_EXT:
        return (int)n;
    case FIELD_BYTE: /* AH CH DH BH are 4 to 7 without REX */
        return (int)(!s->has_rex && n >= 4 && s->map < MAP_VEX ? 0x10 + n - 4 : n);
    case FIELD_SEG_TO:
        return bits3 > SEG_GS || bits3 == SEG_CS ? -1 : (int)bits3;
    case FIELD_SEG:
        return bits3 > SEG_GS ? -1 : (int)bits3;
    case FIELD_CR: /* CR0 CR2 CR3 CR4 CR8 */
        return 0x11d >> n & 1 ? (int)n : -1;
    case FIELD_DR:
        return ext ? -1 : (int)n;
    }
    return -1;
}

static enum insn_status decode_registers(const struct scan *s, const struct isa_form *f, struct insn *i)
{
    int reg = 0, rm = 0;
    if (f->flags & FORM_OPREG) {
        reg = register_number(s, f->reg, s->opcode & 7, s->b);
    } else if (f->flags & FORM_MODRM) {
        reg = register_number(s, f->reg, s->modrm >> 3 & 7, s->r);
        if (!i->mem)
            rm = register_number(s, f->rm, s->modrm & 7, s->b);
    }
    if (reg < 0 || rm < 0)
        return INSN_UD;
    i->reg = (u8)reg;
    i->rm = (u8)rm;
    if (s->map >= MAP_VEX) {
        if (!(f->flags & FORM_VVVV) && s->vvvv)
            return INSN_UD;
        i->vvvv = s->mode == ISA_64 ? s->vvvv : s->vvvv & 7;
        if (f->flags & FORM_GATHER && (i->reg == i->index || i->reg == i->vvvv || i->index == i->vvvv))
            return INSN_UD;
    }
    return INSN_OK;
}

/* Everything after the row is known. */
static enum insn_status decode_operands(struct scan *s, const struct isa_form *f, struct insn *i)
{
    enum insn_status status = INSN_OK;
    *i = (struct insn){
        .row = (u16)(f - isa_forms),
        .opsize = sized(s, f->sizing),
        .ashift = (u8)(64 - 8 * s->asize),
        .base = REG_ZERO,
        .index = REG_ZERO,
        .seg = s->seg == SEG_COUNT ? SEG_DS : s->seg,
        .modrm = s->modrm,
        .lock = s->lock,
        .rep = f->flags & FORM_REP ? s->rep : 0,
        .vl = s->vl,
        .rex_w = s->w,
        .mode = (u8)s->mode,
        .prefix66 = s->map < MAP_VEX && s->p66,
        .opcode = s->opcode,
    };
    if (f->flags & FORM_MODRM && !(f->flags & FORM_NOMOD) && s->modrm < 0xc0)
        status = decode_mem(s, f, i);
    if (!status && f->imm)
        status = decode_imm(s, f, i);
    if (!status)
        status = decode_registers(s, f, i);
    if (!status && (s->bad || (s->lock && !(f->flags & FORM_LOCK && i->mem))))
        status = INSN_UD;
    return status;
}

/* No row: goes to where the instruction would end. Without rows, opcodes of map 3 and the escapes 0F 39 to 0F 3F have
 * one more byte. */
static enum insn_status skip_undefined(struct scan *s, struct insn *i)
{
    const struct isa_entry *e = shape_of(s);
    enum insn_status status = INSN_OK;
    unsigned imm = e->flags >> ENTRY_IMM_SHIFT;
    if (!e->count && (s->map % MAP_VEX == 0 || (s->map == 1 && s->opcode < 0x40 && s->has_modrm)))
        imm = s->map ? IMM_U8 : IMM_NONE;
    if (s->has_modrm && s->modrm < 0xc0)
        status = s->asize == 2 ? decode_mem16(s, i) : decode_mem32(s, i);
    if (!status && imm && !have(s, imm_size(s, imm, s->plain)))
        status = out_of_bytes(s);
    return status ? status : INSN_UD;
}

enum insn_status insn_decode(const u8 *bytes, size_t size, enum isa_mode mode, const struct isa_features *features,
                             struct insn *i)
{
    struct scan s = {
        .bytes = bytes,
        .limit = size < INSN_MAX ? (unsigned)size : INSN_MAX,
        .mode = mode,
        .seg = SEG_COUNT,
    };
    enum insn_status status = scan_prefixes(&s);
    if (!status) {
        scan_sizes(&s);
        status = scan_opcode(&s);
    }
    if (!status)
        status = scan_modrm(&s);
    if (!status) {
        const struct isa_form *f = find_form(&s, features);
        status = f ? decode_operands(&s, f, i) : skip_undefined(&s, i);
    }
    i->len = (u8)s.pos;
    return status;
}
