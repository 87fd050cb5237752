/* See build.h. The grammar of the encoding column: head of isa/insn.h. */
#include "build.h"

#include <stdlib.h>
#include <string.h>

#include "isa/insn.h"

const struct row_text row_texts[] = {
#define INSN(name, mnemonic, encoding, ...) [INSN_##name] = {#name, encoding},
#include "isa/table/all.def"
#undef INSN
};

/* The encoding column taken apart. */
struct form {
    u8 prefix;    /* mandatory 66, F2 or F3, or 0 */
    bool np, nfx; /* NP, NFx */
    bool vex;
    u8 vex_map, vex_pp, vex_l, vex_w; /* l: 0, 1, 2 free; w likewise */
    u8 rex_w;                         /* 0: must not, 1: must, 2: free */
    u8 map, opcode;                   /* map 0 to 3 */
    u8 plus; /* the opcode's, or with modrm_fixed the ModRM byte's low three bits are a register */
    bool modrm;
    i8 digit;       /* of /0 to /7, or -1 */
    u8 modrm_fixed; /* 0 if there is none */
    i8 mem;         /* 1 memory, 0 register, -1 free */
    u8 osize;       /* bits 2, 4, 8 allowed; 0 free */
    u8 asize;
    u8 imm[4]; /* letters: b w d z v q, c with following b or z in cb, cz; o moffs; 4 is4 */
    u8 imms;
};

static bool parse_vex(const char *token, struct form *f)
{
    char text[64], *save = NULL;

    strncpy(text, token, sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    f->vex = true;
    f->vex_w = 2;
    f->vex_l = 2;
    for (char *p = strtok_r(text, ".", &save); p; p = strtok_r(NULL, ".", &save)) {
        if (!strcmp(p, "128") || !strcmp(p, "LZ"))
            f->vex_l = 0;
        else if (!strcmp(p, "256"))
            f->vex_l = 1;
        else if (!strcmp(p, "66"))
            f->vex_pp = 1;
        else if (!strcmp(p, "F3"))
            f->vex_pp = 2;
        else if (!strcmp(p, "F2"))
            f->vex_pp = 3;
        else if (!strcmp(p, "0F"))
            f->vex_map = 1;
        else if (!strcmp(p, "0F38"))
            f->vex_map = 2;
        else if (!strcmp(p, "0F3A"))
            f->vex_map = 3;
        else if (!strcmp(p, "W0"))
            f->vex_w = 0;
        else if (!strcmp(p, "W1"))
            f->vex_w = 1;
    }
    return f->vex_map != 0;
}

static bool is_hex_byte(const char *s)
{
    return strspn(s, "0123456789ABCDEF") == 2;
}

/* In front of the opcode. */
static bool parse_prefix(const char *token, struct form *f)
{
    if (!strcmp(token, "NP"))
        f->np = true;
    else if (!strcmp(token, "NFx"))
        f->nfx = true;
    else if (!strcmp(token, "66") || !strcmp(token, "F2") || !strcmp(token, "F3"))
        f->prefix = (u8)strtoul(token, NULL, 16);
    else if (!strcmp(token, "REX.W"))
        f->rex_w = 1;
    else if (!strcmp(token, "W0"))
        f->rex_w = 0;
    else
        return !strncmp(token, "VEX.", 4) && parse_vex(token, f);
    return true;
}

/* Behind the opcode. */
static void parse_suffix(const char *token, struct form *f)
{
    static const char *const imms[] = {"ib", "iw", "id", "iz", "iv", "iq", "cb", "cz", "mo", "is4"};
    static const char letters[] = "bwdzvqCZo4";

    for (unsigned n = 0; n < ARRAY_SIZE(imms); n++)
        if (!strcmp(token, imms[n]) && f->imms < sizeof(f->imm))
            f->imm[f->imms++] = (u8)letters[n];
    if (token[0] == '/') {
        f->modrm = true;
        f->digit = token[1] == 'r' ? -1 : (i8)(token[1] - '0');
    } else if (!strcmp(token, "mem")) {
        f->mem = 1;
    } else if (!strcmp(token, "reg")) {
        f->mem = 0;
    } else if (token[0] == 'o' || token[0] == 'a') {
        *(token[0] == 'o' ? &f->osize : &f->asize) |= (u8)(strtoul(token + 1, NULL, 10) / 8);
    } else if (is_hex_byte(token) && strcmp(token, "B0")) {
        f->modrm_fixed = (u8)strtoul(token, NULL, 16);
        f->plus = strchr(token, '+') != NULL;
    }
}

static struct form parse(const char *encoding)
{
    struct form f = {.digit = -1, .mem = -1, .rex_w = 2};
    char text[96], *save = NULL;
    bool opcode = false, last = false;

    strncpy(text, encoding, sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        if (!opcode && !f.vex && parse_prefix(p, &f))
            continue;
        if (last) {
            parse_suffix(p, &f);
            continue;
        }
        opcode = true;
        u8 byte = (u8)strtoul(p, NULL, 16);
        if (!f.vex && f.map == 0 && !strcmp(p, "0F"))
            f.map = 1;
        else if (f.map == 1 && !f.vex && (!strcmp(p, "38") || !strcmp(p, "3A")))
            f.map = byte == 0x38 ? 2 : 3;
        else {
            f.opcode = byte;
            f.plus = strchr(p, '+') != NULL;
            last = true;
        }
    }
    return f;
}

/* The instruction under construction. */
struct pen {
    struct random *r;
    struct form f;
    const struct isa_row *row;
    enum isa_mode mode;
    bool has66, has67;
    u8 w;
    u8 out[32];
    unsigned len;
    u64 target;   /* offset for the memory operand, in its segment */
    unsigned fix; /* place of a 32-bit displacement relative to the end, or 0 */
};

static void put(struct pen *p, u64 v, unsigned size)
{
    for (unsigned n = 0; n < size; n++)
        p->out[p->len++] = (u8)(v >> 8 * n);
}

static bool wants(struct pen *p, u8 choice)
{
    return choice == 2 ? random_one_in(p->r, 2) : choice;
}

static unsigned address_size(const struct pen *p)
{
    return p->mode == ISA_64 ? (p->has67 ? 4 : 8) : (p->mode == ISA_32) != p->has67 ? 4 : 2;
}

static void put_prefixes(struct pen *p)
{
    static const u8 segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x65};
    const struct form *f = &p->f;
    bool free66 = !f->np && f->prefix != 0x66 && !f->vex;

    if (random_one_in(p->r, 12))
        put(p, segments[random_below(p->r, p->mode == ISA_64 ? 5 : 4)], 1);
    p->has67 = random_one_in(p->r, 5);
    if (p->has67)
        put(p, 0x67, 1);
    p->has66 = free66 && random_one_in(p->r, 4);
    if (p->has66 || f->prefix == 0x66)
        put(p, 0x66, 1);
    if (p->row->attrs & (A_REP | A_REPZ) && random_one_in(p->r, 2))
        put(p, random_one_in(p->r, 2) ? 0xf2 : 0xf3, 1);
    if (!f->vex && random_one_in(p->r, p->row->attrs & A_LOCK ? 4 : 60))
        put(p, 0xf0, 1);
    if (f->prefix && f->prefix != 0x66)
        put(p, f->prefix, 1);
}

static void put_rex(struct pen *p, bool operand_b)
{
    if (p->mode != ISA_64)
        return;
    bool w = wants(p, p->f.rex_w);
    u8 rex = (u8)(0x40 | w << 3 | (random_one_in(p->r, 3) ? random_below(p->r, 8) : 0));
    if (w || random_one_in(p->r, 3))
        put(p, rex, 1);
}

static bool has_slot(const struct isa_row *row, enum isa_slot slot)
{
    for (unsigned n = 0; n < row->operands; n++)
        if (isa_kinds[row->operand[n].kind].slot == slot)
            return true;
    return false;
}

static void put_vex(struct pen *p)
{
    const struct form *f = &p->f;
    bool w = wants(p, f->vex_w), l = wants(p, f->vex_l), wide = p->mode == ISA_64;
    u8 rxb = wide ? (u8)random_below(p->r, 8) : 0;
    u8 vvvv = has_slot(p->row, SLOT_VVVV) ? (u8)random_below(p->r, wide ? 16 : 8) : 0;
    u8 last = (u8)((~vvvv & 15) << 3 | l << 2 | f->vex_pp);

    if (f->vex_map == 1 && !w && !(rxb & 3) && random_one_in(p->r, 2)) {
        put(p, 0xc5, 1);
        put(p, last | (rxb & 4 ? 0 : 0x80), 1);
        return;
    }
    put(p, 0xc4, 1);
    put(p, (u8)(~rxb & 7) << 5 | f->vex_map, 1);
    put(p, last | w << 7, 1);
}

static void put_opcode(struct pen *p)
{
    static const u8 third[] = {0, 0, 0x38, 0x3a};

    if (p->f.vex) {
        put_vex(p);
    } else {
        put_rex(p, p->f.plus);
        if (p->f.map)
            put(p, 0x0f, 1);
        if (p->f.map > 1)
            put(p, third[p->f.map], 1);
    }
    bool reg = p->f.plus && !p->f.modrm_fixed;
    put(p, p->f.opcode | (reg ? random_below(p->r, 8) : 0), 1);
}

/* A displacement that stands alone leads to the target; one that is added to registers is anything, and they are chosen
 * for it. */
static void put_disp(struct pen *p, unsigned size, bool alone)
{
    u64 v = alone                                 ? p->target
            : size == 1 || random_one_in(p->r, 2) ? (u64)(i64)(i8)random_u64(p->r)
                                                  : random_integer(p->r);
    put(p, v, size);
}

static void put_modrm16(struct pen *p, u8 modrm)
{
    u8 mod = modrm >> 6, rm = modrm & 7;

    put(p, modrm, 1);
    if (mod == 0 && rm == 6)
        put_disp(p, 2, true);
    else if (mod)
        put_disp(p, mod, false);
}

static void put_modrm32(struct pen *p, u8 modrm)
{
    u8 mod = modrm >> 6, rm = modrm & 7, base = rm;

    put(p, modrm, 1);
    if (rm == 4) {
        u8 sib = (u8)random_u64(p->r);
        base = sib & 7;
        put(p, sib, 1);
    }
    if (mod == 0 && base == 5) {
        if (rm == 5 && p->mode == ISA_64)
            p->fix = p->len;
        put_disp(p, 4, true);
    } else if (mod) {
        put_disp(p, mod == 1 ? 1 : 4, false);
    }
}

static i8 form_of_rm(const struct pen *p)
{
    i8 mem = p->f.mem;

    for (unsigned n = 0; n < p->row->operands; n++) {
        const struct isa_kind *k = &isa_kinds[p->row->operand[n].kind];
        if ((k->slot == SLOT_RM && k->flags & OPF_MEM) || k->slot == SLOT_VSIB)
            mem = 1;
        else if (k->slot == SLOT_RM && (k->flags & OPF_REG))
            mem = 0;
    }
    return mem;
}

static void put_modrm(struct pen *p)
{
    const struct form *f = &p->f;

    if (f->modrm_fixed) {
        put(p, f->modrm_fixed | (f->plus ? random_below(p->r, 8) : 0), 1);
        return;
    }
    if (!f->modrm)
        return;
    i8 mem = form_of_rm(p);
    if (mem < 0)
        mem = random_one_in(p->r, 2);
    u8 reg = f->digit >= 0 ? (u8)f->digit : (u8)random_below(p->r, 8);
    u8 modrm = (u8)(reg << 3 | random_below(p->r, 8));
    if (has_slot(p->row, SLOT_VSIB))
        modrm = (u8)((modrm & ~7) | 4);
    if (!mem)
        put(p, modrm | 0xc0, 1);
    else if (address_size(p) == 2)
        put_modrm16(p, (u8)(modrm | random_below(p->r, 3) << 6));
    else
        put_modrm32(p, (u8)(modrm | random_below(p->r, 3) << 6));
}

static void put_imms(struct pen *p, unsigned osize)
{
    for (unsigned n = 0; n < p->f.imms; n++) {
        u64 v = random_integer(p->r);
        switch (p->f.imm[n]) {
        case 'b':
        case '4':
        case 'C':
            put(p, random_one_in(p->r, 2) ? v : random_u64(p->r), 1);
            break;
        case 'w':
            put(p, v, 2);
            break;
        case 'd':
            put(p, v, 4);
            break;
        case 'q':
            put(p, v, 8);
            break;
        case 'z':
            put(p, v, osize == 2 ? 2 : 4);
            break;
        case 'v':
            put(p, v, osize);
            break;
        case 'Z': /* a branch: near, so as to stay in the code pages most of the time */
            put(p, random_one_in(p->r, 4) ? v : v % 4096 - 2048, osize == 2 ? 2 : 4);
            break;
        case 'o':
            put(p, p->target, address_size(p));
            break;
        }
    }
}

/* Operand size as the immediate's length goes by it. */
static unsigned imm_osize(const struct pen *p, unsigned rex_at)
{
    u8 rex = p->out[rex_at];
    bool w = p->mode == ISA_64 && (rex & 0xf0) == 0x40 && (rex & 8);

    if (p->row->attrs & A_NTZ && p->mode == ISA_64)
        return 4;
    return w ? 8 : (p->mode == ISA_16) != p->has66 ? 2 : 4;
}

static void build(struct pen *p)
{
    put_prefixes(p);
    unsigned rex_at = p->len;
    put_opcode(p);
    put_modrm(p);
    put_imms(p, imm_osize(p, rex_at));
}

bool build_insn(struct random *r, unsigned row, struct test_case *t, const struct isa_features *f, u64 target,
                struct insn *i)
{
    struct pen p = {.r = r, .f = parse(row_texts[row].encoding), .row = &isa_rows[row], .mode = code_mode(t->kind)};

    p.target = target - code_base(t->kind);
    build(&p);
    if (p.len > 15)
        return false;
    if (p.fix)
        put_u32(p.out + p.fix, (u32)(p.target - (t->before.rip + p.len)));
    memcpy(t->bytes, p.out, 16);
    t->len = p.len;
    switch (insn_decode(t->bytes, t->len, p.mode, f, i)) {
    case INSN_OK:
        return i->row == row && i->len == t->len;
    case INSN_UD: /* LOCK where it is not allowed is a case of its own */
        memset(i, 0, sizeof(*i));
        return memchr(t->bytes, 0xf0, 4) != NULL && random_one_in(r, 4);
    default:
        return false;
    }
}
