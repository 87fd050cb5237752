/*
 * Build-time generator: reads the rows (they are compiled in), checks each against the grammar of isa/insn.h, and
 * writes the decoder's tables (isa/form.h). A row that is wrong, or that can never be matched, fails the build with
 * file, line and name.
 *
 *     isa_gen OUTPUT
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "isa/gen.h"

struct kind {
    const char *name;
    unsigned slot, file, size, flags;
};

static const struct kind kinds[OPK_COUNT] = {
#define OPERAND(kind, slot, file, size, flags) [OPK_##kind] = {#kind, slot, file, size, flags},
#include "isa/table/operand.def"
#undef OPERAND
};

/* The macros of the row grammar, as far as the decoder wants to know. */
#define RD(k)     {OPK_##k, ACC_R},
#define WR(k)     {OPK_##k, ACC_W},
#define RW(k)     {OPK_##k, ACC_RW},
#define NA(k)     {OPK_##k, 0},
#define IMP_RD(k) {OPK_##k, ACC_R | ACC_IMPLICIT},
#define IMP_WR(k) {OPK_##k, ACC_W | ACC_IMPLICIT},
#define IMP_RW(k) {OPK_##k, ACC_RW | ACC_IMPLICIT},
#define INSN(name, mnemonic, encoding, operands, flags, feature, attrs, semantics, treat)                              \
    {__FILE__, __LINE__, #name, encoding, {operands}, attrs, FEAT_##feature},
static const struct row rows[] = {
#include "isa/table/all.def"
};
#undef INSN

struct list {
    u16 row[256];
    unsigned count;
};

struct gen {
    struct isa_form forms[INSN_COUNT + 1];
    unsigned share[INSN_COUNT + 1]; /* how many keys the row's conditions let through: small is specific */
    struct list lists[MAP_COUNT][256];
    unsigned errors;
};

static void row_error(struct gen *g, const struct row *r, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void row_error(struct gen *g, const struct row *r, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s:%u: error: row %s \"%s\": ", r->path, r->line, r->name, r->encoding);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    g->errors++;
}

static const struct kind *operand(const struct row *r, unsigned n)
{
    return &kinds[r->operand[n].kind];
}

/* The row's operand in that slot, or NULL. */
static const struct kind *in_slot(const struct row *r, unsigned slot)
{
    for (unsigned n = 0; n < INSN_OPERANDS; n++)
        if (r->operand[n].kind && operand(r, n)->slot == slot)
            return operand(r, n);
    return NULL;
}

static bool written_in_slot(const struct row *r, unsigned slot)
{
    for (unsigned n = 0; n < INSN_OPERANDS; n++)
        if (r->operand[n].kind && operand(r, n)->slot == slot && r->operand[n].access & ACC_W)
            return true;
    return false;
}

static bool is_immediate(const struct kind *k)
{
    return k->slot == SLOT_IMM || k->slot == SLOT_IMM2 || k->slot == SLOT_REL || k->slot == SLOT_FAR ||
           k->slot == SLOT_MOFFS || k->slot == SLOT_IS4;
}

/* Which immediate the bytes `word` are for an operand of kind k; IMM_NONE if they do not fit. */
static enum isa_imm imm_of(const char *word, const struct kind *k)
{
    static const struct {
        const char *word;
        u8 slot, size, imm, imm_signed;
    } fits[] = {
        {"ib", SLOT_IMM, 1, IMM_U8, IMM_S8},         {"iw", SLOT_IMM, 2, IMM_U16, IMM_NONE},
        {"id", SLOT_IMM, 4, IMM_U32, IMM_NONE},      {"iz", SLOT_IMM, SZ_Z, IMM_NONE, IMM_Z},
        {"iv", SLOT_IMM, SZ_V, IMM_V, IMM_NONE},     {"iq", SLOT_IMM, 8, IMM_U64, IMM_NONE},
        {"ib", SLOT_IMM2, 1, IMM_U8, IMM_NONE},      {"cb", SLOT_REL, 1, IMM_NONE, IMM_S8},
        {"cz", SLOT_REL, SZ_Z, IMM_NONE, IMM_Z},     {"cp", SLOT_FAR, SZ_P, IMM_FAR, IMM_NONE},
        {"mo", SLOT_MOFFS, 1, IMM_MOFFS, IMM_NONE},  {"mo", SLOT_MOFFS, SZ_V, IMM_MOFFS, IMM_NONE},
        {"is4", SLOT_IS4, 16, IMM_IS4, IMM_NONE},    {"is4", SLOT_IS4, 32, IMM_IS4, IMM_NONE},
        {"is4", SLOT_IS4, SZ_VL, IMM_IS4, IMM_NONE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(fits); i++)
        if (!strcmp(fits[i].word, word) && fits[i].slot == k->slot && fits[i].size == k->size)
            return k->flags & OPF_SIGNED ? fits[i].imm_signed : fits[i].imm;
    return IMM_NONE;
}

static void make_immediates(struct gen *g, const struct row *r, const struct code *c, struct isa_form *f)
{
    unsigned used = 0;
    for (unsigned n = 0; n < INSN_OPERANDS; n++) {
        const struct kind *k = operand(r, n);
        if (!r->operand[n].kind || !is_immediate(k))
            continue;
        if (used == c->imms) {
            row_error(g, r, "operand %s has no immediate bytes", k->name);
            return;
        }
        enum isa_imm imm = imm_of(c->imm[used], k);
        if (imm == IMM_NONE || (used == 1) != (k->slot == SLOT_IMM2) || used > 1) {
            row_error(g, r, "immediate '%s' does not fit operand %s", c->imm[used], k->name);
            return;
        }
        *(used ? &f->imm2 : &f->imm) = (u8)imm;
        used++;
    }
    if (used < c->imms)
        row_error(g, r, "no operand for immediate '%s'", c->imm[used]);
}

static u8 field_of(const struct row *r, const struct kind *k)
{
    switch (k->file) {
    case FILE_GPR8:
        return FIELD_BYTE;
    case FILE_GPR:
    case FILE_XMM:
    case FILE_YMM:
    case FILE_VEC:
        return FIELD_EXT;
    case FILE_SEG:
        return written_in_slot(r, k->slot) ? FIELD_SEG_TO : FIELD_SEG;
    case FILE_CR:
        return FIELD_CR;
    case FILE_DR:
        return FIELD_DR;
    default:
        return FIELD_RAW;
    }
}

/* What ModRM.mod may be, from the conditions and from what the r/m operand can be. */
static void make_mod(struct gen *g, const struct row *r, struct code *c, const struct kind *rm)
{
    bool mem = c->mem || (rm && rm->flags & OPF_MEM), reg = c->reg || (rm && rm->flags & OPF_REG);
    if (rm && rm->slot == SLOT_RM && rm->file == FILE_NONE && !(rm->flags & OPF_MEM))
        row_error(g, r, "operand kind %s has no register file and lacks OPF_MEM", rm->name);
    if (mem && reg)
        row_error(g, r, "r/m operand must be memory and a register");
    if (c->nomod && (mem || !reg))
        row_error(g, r, "nomod needs a register-only r/m operand");
    if (!c->nomod && (mem || reg))
        gen_restrict(&c->accept, KEY_MOD, 2, mem ? 1 : 2);
}

static void make_modrm(struct gen *g, const struct row *r, struct code *c, struct isa_form *f)
{
    const struct kind *reg = in_slot(r, SLOT_REG), *rm = in_slot(r, SLOT_RM), *vsib = in_slot(r, SLOT_VSIB);
    if (c->modrm == MODRM_NONE) {
        if (reg || rm || vsib || c->mem || c->reg || c->nomod)
            row_error(g, r, "%s needs a ModRM byte", reg ? reg->name : rm ? rm->name : vsib ? vsib->name : "condition");
        return;
    }
    f->flags |= FORM_MODRM | (c->nomod ? FORM_NOMOD : 0) | (vsib ? FORM_VSIB : 0);
    if (vsib && written_in_slot(r, SLOT_REG))
        f->flags |= FORM_GATHER;
    if (rm && vsib)
        row_error(g, r, "both %s and %s use ModRM.rm", rm->name, vsib->name);
    make_mod(g, r, c, rm ? rm : vsib);
    if (reg && c->modrm != MODRM_R)
        row_error(g, r, "operand %s uses ModRM.reg, which the encoding fixes", reg->name);
    if (c->modrm == MODRM_R && !reg && !rm && !vsib)
        row_error(g, r, "/r, but no operand uses ModRM");
    else if (c->modrm != MODRM_FIXED && !rm && !vsib && !c->reg)
        row_error(g, r, "no operand uses ModRM.rm and the condition 'reg' is missing");
    if (reg)
        f->reg = field_of(r, reg);
    if (rm)
        f->rm = field_of(r, rm);
}

static void make_registers(struct gen *g, const struct row *r, const struct code *c, struct isa_form *f)
{
    const struct kind *opreg = in_slot(r, SLOT_OPREG);
    if (c->plus_r != (opreg != NULL))
        row_error(g, r, c->plus_r ? "+r, but no operand uses the opcode's register" : "operand %s needs +r",
                  opreg ? opreg->name : "");
    if (opreg) {
        f->flags |= FORM_OPREG;
        f->reg = field_of(r, opreg);
    }
    if (in_slot(r, SLOT_VVVV)) {
        f->flags |= FORM_VVVV;
        if (!c->vex)
            row_error(g, r, "operand %s needs VEX", in_slot(r, SLOT_VVVV)->name);
    }
    if (in_slot(r, SLOT_SI))
        f->flags |= FORM_STRING;
    if (c->vex && !(r->attrs & A_PROT))
        row_error(g, r, "VEX needs A_PROT");
}

/* A byte form: its explicit operands are bytes in general registers or memory, apart from DX. */
static bool is_byte_form(const struct row *r)
{
    bool byte = false;
    for (unsigned n = 0; n < INSN_OPERANDS; n++) {
        const struct kind *k = operand(r, n);
        if (!r->operand[n].kind || r->operand[n].access & ACC_IMPLICIT || r->operand[n].kind == OPK_DX)
            continue;
        if (k->slot == SLOT_IMM || (k->slot == SLOT_FIXED && k->file == FILE_NONE))
            continue;
        if (k->size != 1 || k->flags & (OPF_R32 | OPF_RY | OPF_RV) || k->slot == SLOT_REL)
            return false;
        byte = true;
    }
    return byte;
}

/* Operand size and everything that depends on the size of code. */
static void make_sizes(struct gen *g, const struct row *r, struct code *c, struct isa_form *f)
{
    static const struct {
        u8 mode, plain;
    } codes[] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {2, 2}};
    unsigned set = 0;
    f->sizing = r->attrs & (A_F64 | A_NTZ) ? SIZING_F64
                : r->attrs & A_D64         ? SIZING_D64
                : c->is_66                 ? SIZING_NO66
                : is_byte_form(r)          ? SIZING_BYTE
                                           : SIZING_PLAIN;
    if (c->is_66 && c->osize)
        row_error(g, r, "operand size as a condition with 66 as part of the opcode");
    if (r->attrs & A_ONLY64)
        c->mode = c->mode ? c->mode & 4 : 4;
    if (r->attrs & A_NO64)
        c->mode = c->mode ? c->mode & 3 : 3;
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        unsigned size = codes[i].plain;
        if (codes[i].mode == 2 && (f->sizing == SIZING_F64 || (f->sizing == SIZING_D64 && size == 1)))
            size = 2;
        bool mode_ok = !c->mode || c->mode >> codes[i].mode & 1, size_ok = !c->osize || c->osize >> size & 1;
        set |= (unsigned)(mode_ok && size_ok) << i;
    }
    if (!set)
        row_error(g, r, "no mode and operand size satisfy the conditions");
    gen_restrict(&c->accept, KEY_CODE, 7, set);
    if (c->asize)
        gen_restrict(&c->accept, KEY_ASIZE, 3, c->asize);
}

/* The number of keys that the row lets through. */
static unsigned share_of(const struct code *c)
{
    static const struct {
        u8 first, width;
    } groups[] = {{KEY_PREFIX, 6}, {KEY_CODE, 7}, {KEY_ASIZE, 3}, {KEY_W, 2}, {KEY_L, 2},
                  {KEY_B, 2},      {KEY_MOD, 2},  {KEY_REG, 8},   {KEY_RM, 8}};
    unsigned share = c->plus_r ? 8 : 1;
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        share *= (unsigned)__builtin_popcountll(c->accept & gen_group(groups[i].first, groups[i].width));
    return share;
}

/* The only member of a group of the key, or FORM_FREE. */
static u8 only(u64 accept, unsigned first, unsigned width)
{
    u64 set = accept >> first & ((1u << width) - 1);
    return set && !(set & (set - 1)) ? (u8)__builtin_ctzll(set) : FORM_FREE;
}

/* The prefix group's members: none, 66, F3, 66 F3, F2, 66 F2. */
static u8 mandatory_prefix(u64 accept)
{
    switch (accept >> KEY_PREFIX & 0x3f) {
    case 0x02:
        return 0x66;
    case 0x04:
    case 0x0c:
        return 0xf3;
    case 0x10:
    case 0x30:
        return 0xf2;
    default:
        return 0;
    }
}

/* What the encoder wants to know. */
static void make_choices(struct isa_form *f)
{
    f->prefix = mandatory_prefix(f->accept);
    f->w = only(f->accept, KEY_W, 2);
    f->l = only(f->accept, KEY_L, 2);
    f->digit = only(f->accept, KEY_REG, 8);
    f->fit = only(f->accept, KEY_RM, 8);
}

static void make_row(struct gen *g, unsigned n)
{
    const struct row *r = &rows[n];
    struct isa_form *f = &g->forms[n];
    struct code c;
    char why[64];
    if (!gen_parse(r, &c, why)) {
        row_error(g, r, "%s", why);
        return;
    }
    for (unsigned i = 1; i < INSN_OPERANDS; i++)
        if (r->operand[i].kind && !(r->operand[i].access & ACC_IMPLICIT) && r->operand[i - 1].access & ACC_IMPLICIT)
            row_error(g, r, "implicit operands come last");
    f->feature = (u8)r->feature;
    make_immediates(g, r, &c, f);
    make_modrm(g, r, &c, f);
    make_registers(g, r, &c, f);
    make_sizes(g, r, &c, f);
    if (r->attrs & A_LOCK)
        f->flags |= FORM_LOCK;
    if (r->attrs & (A_REP | A_REPZ))
        f->flags |= FORM_REP;
    f->accept = c.accept;
    f->map = (u8)c.map;
    f->opcode = (u8)c.opcode;
    make_choices(f);
    g->share[n] = share_of(&c);
    for (unsigned op = c.opcode; op < c.opcode + (c.plus_r ? 8 : 1); op++) {
        struct list *l = &g->lists[c.map][op];
        if (l->count == ARRAY_SIZE(l->row))
            row_error(g, r, "too many rows for one opcode");
        else
            l->row[l->count++] = (u16)n;
    }
}

/* Stable sort, most specific first. */
static void sort_list(const struct gen *g, struct list *l)
{
    for (unsigned i = 1; i < l->count; i++) {
        u16 row = l->row[i];
        unsigned k = i;
        for (; k && g->share[l->row[k - 1]] > g->share[row]; k--)
            l->row[k] = l->row[k - 1];
        l->row[k] = row;
    }
}

static void check_list(struct gen *g, const struct list *l)
{
    for (unsigned i = 0; i < l->count; i++) {
        const struct isa_form *f = &g->forms[l->row[i]];
        const struct row *r = &rows[l->row[i]];
        if ((f->flags ^ g->forms[l->row[0]].flags) & FORM_MODRM)
            row_error(g, r, "has a ModRM byte or not, unlike %s with the same opcode", rows[l->row[0]].name);
        for (unsigned k = 0; k < i; k++) {
            const struct isa_form *before = &g->forms[l->row[k]];
            bool always = before->feature == FEAT_BASE || before->feature == f->feature;
            if (always && !(f->accept & ~before->accept))
                row_error(g, r, "can never match: %s (%s:%u) takes all of its encodings", rows[l->row[k]].name,
                          rows[l->row[k]].path, rows[l->row[k]].line);
        }
    }
}

/* Output: the candidate lists go to one array, as they are met. */
struct out {
    u16 candidates[65536];
    unsigned candidate_count;
    struct isa_entry entries[MAP_COUNT][256];
    struct isa_entry splits[65536];
    unsigned split_count;
};

static struct isa_entry emit_list(struct out *o, const struct gen *g, const struct list *l, u64 slot)
{
    struct isa_entry e = {.first = (u16)o->candidate_count};
    for (unsigned i = 0; i < l->count; i++)
        if ((g->forms[l->row[i]].accept & slot) == slot) {
            o->candidates[o->candidate_count++] = l->row[i];
            e.count++;
        }
    return e;
}

/* The flags of an opcode that do not depend on which of its rows matches. */
static u8 opcode_flags(const struct gen *g, const struct list *l)
{
    if (!l->count)
        return 0;
    const struct isa_form *first = &g->forms[l->row[0]];
    u8 imm = first->imm;
    for (unsigned i = 1; i < l->count; i++)
        if (g->forms[l->row[i]].imm != imm)
            imm = IMM_NONE;
    return (u8)((first->flags & FORM_MODRM ? ENTRY_MODRM : 0) | imm << ENTRY_IMM_SHIFT);
}

static struct isa_entry emit_opcode(struct out *o, const struct gen *g, const struct list *l)
{
    u8 flags = opcode_flags(g, l);
    if (!(flags & ENTRY_MODRM) || l->count <= 3) {
        struct isa_entry e = emit_list(o, g, l, 0);
        e.flags = flags;
        return e;
    }
    struct isa_entry e = {.first = (u16)o->split_count, .count = 16, .flags = flags | ENTRY_SPLIT};
    for (unsigned i = 0; i < 16; i++)
        o->splits[o->split_count++] = emit_list(o, g, l, BIT64(KEY_MOD + i / 8) | BIT64(KEY_REG + i % 8));
    return e;
}

static void print_entry(FILE *f, const struct isa_entry *e)
{
    fprintf(f, "{%u, %u, %u},", e->first, e->count, e->flags);
}

static void print_tables(FILE *f, const struct gen *g, const struct out *o)
{
    fprintf(f, "/* Made by isa/gen.c from isa/table. */\n\nconst struct isa_form isa_forms[] = {\n");
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++) {
        const struct isa_form *m = &g->forms[n];
        fprintf(f, "    {0x%010llx, 0x%x, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u}, /* %s */\n",
                (unsigned long long)m->accept, m->flags, m->feature, m->sizing, m->reg, m->rm, m->imm, m->imm2, m->map,
                m->opcode, m->prefix, m->w, m->l, m->digit, m->fit, rows[n].name);
    }
    fprintf(f, "};\n\nstatic const u16 isa_candidates[] = {");
    for (unsigned n = 0; n < o->candidate_count; n++)
        fprintf(f, "%s%u,", n % 16 ? " " : "\n    ", o->candidates[n]);
    fprintf(f, "\n};\n\nstatic const struct isa_entry isa_splits[] = {");
    for (unsigned n = 0; n < o->split_count; n++) {
        fprintf(f, "%s", n % 8 ? " " : "\n    ");
        print_entry(f, &o->splits[n]);
    }
    fprintf(f, "\n};\n\nstatic const struct isa_entry isa_entries[MAP_COUNT][256] = {\n");
    for (unsigned m = 0; m < MAP_COUNT; m++) {
        fprintf(f, "    {");
        for (unsigned n = 0; n < 256; n++) {
            fprintf(f, "%s", n % 8 ? " " : "\n        ");
            print_entry(f, &o->entries[m][n]);
        }
        fprintf(f, "\n    },\n");
    }
    fprintf(f, "};\n");
}

int main(int argc, char **argv)
{
    static struct gen g;
    static struct out o;
    if (argc != 2) {
        fprintf(stderr, "usage: isa_gen OUTPUT\n");
        return 2;
    }
    for (unsigned n = 0; n < ARRAY_SIZE(rows); n++)
        make_row(&g, n);
    for (unsigned m = 0; m < MAP_COUNT; m++)
        for (unsigned op = 0; op < 256; op++) {
            struct list *l = &g.lists[m][op];
            sort_list(&g, l);
            check_list(&g, l);
            o.entries[m][op] = emit_opcode(&o, &g, l);
        }
    if (g.errors) {
        fprintf(stderr, "isa_gen: %u errors in the instruction table\n", g.errors);
        return 1;
    }
    FILE *f = fopen(argv[1], "w");
    if (!f) {
        perror(argv[1]);
        return 1;
    }
    print_tables(f, &g, &o);
    if (ferror(f) | fclose(f)) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
