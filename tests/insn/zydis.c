/*
 * The decoder against Zydis, on an exhaustive sweep of opcodes and on random and mutated byte strings, in 16-, 32- and
 * 64-bit code: validity, length, mnemonic, operands (registers, memory, immediates, sizes, access), flags, implicit
 * general registers, text.
 *
 *     zydis [COUNT [SEED]]    COUNT random strings (default 400000)
 *
 * Fails on any difference that tests/insn/known.def does not explain, and on rows that no string reached.
 */
#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../seed.h"
#include "base/bits.h"
#include "isa/operand.h"

#define STRING_MAX 15

/* What a difference is about. */
enum aspect {
    MORE,
    LESS,
    LENGTH,
    MNEMONIC,
    OPERANDS,
    REGISTER,
    MEMORY,
    IMMEDIATE,
    SIZE,
    ACCESS,
    FLAGS,
    IMPLICIT,
    TEXT,
    ASPECT_COUNT
};
static const char *const aspect_names[] = {
    [MORE] = "only ring3 decodes",
    [LESS] = "only Zydis decodes",
    [LENGTH] = "length",
    [MNEMONIC] = "mnemonic",
    [OPERANDS] = "operand kinds",
    [REGISTER] = "register",
    [MEMORY] = "memory operand",
    [IMMEDIATE] = "immediate",
    [SIZE] = "size",
    [ACCESS] = "read or written",
    [FLAGS] = "flags",
    [IMPLICIT] = "implicit registers",
    [TEXT] = "text",
};

/*
 * Differences that are right: of that aspect, where the mnemonic (ours, Zydis's where it alone decodes), or Zydis's ISA
 * extension starts with `what`. The reason stands beside it.
 */
static const struct known {
    enum aspect aspect;
    bool by_extension;
    const char *what, *reason;
} known[] = {
#define MNEMONIC_DIFFERS(aspect, what, reason)  {aspect, false, what, reason},
#define EXTENSION_DIFFERS(aspect, what, reason) {aspect, true, what, reason},
#include "known.def"
};

struct finding {
    char text[96];
    u64 count;
};

struct test {
    u64 random;
    ZydisDecoder decoder[3];
    ZydisFormatter formatter;
    struct isa_features features;
    u64 strings, valid, known_differences, differences;
    struct finding findings[512];
    unsigned finding_count;
    u64 reached[INSN_COUNT];
    bool met[ARRAY_SIZE(known)];
};

/* One string under test. */
struct sample {
    u8 bytes[STRING_MAX];
    unsigned size, mode; /* index of mode */
    struct insn ours;
    ZydisDecodedInstruction theirs;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static const enum isa_mode modes[] = {ISA_16, ISA_32, ISA_64};

/* splitmix64 */
static u64 next_random(struct test *t)
{
    u64 z = t->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool one_in(struct test *t, unsigned n)
{
    return next_random(t) % n == 0;
}

static bool starts_with(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

static void differs(struct test *t, const struct sample *s, enum aspect a, const char *fmt, ...) PRINTF_LIKE(4, 5);

static bool is_known(struct test *t, const struct sample *s, enum aspect a)
{
    const char *mnemonic = a == LESS ? ZydisMnemonicGetString(s->theirs.mnemonic) : isa_rows[s->ours.row].name;
    const char *extension = a == MORE ? "" : ZydisISAExtGetString(s->theirs.meta.isa_ext);
    for (size_t n = 0; n < ARRAY_SIZE(known); n++)
        if (known[n].aspect == a && starts_with(known[n].by_extension ? extension : mnemonic, known[n].what)) {
            t->met[n] = true;
            return true;
        }
    return false;
}

static void differs(struct test *t, const struct sample *s, enum aspect a, const char *fmt, ...)
{
    char text[96], detail[160];
    va_list ap;
    if (is_known(t, s, a)) {
        t->known_differences++;
        return;
    }
    t->differences++;
    snprintf(text, sizeof(text), "%s: %s", aspect_names[a],
             a == LESS ? ZydisMnemonicGetString(s->theirs.mnemonic) : isa_rows[s->ours.row].name);
    for (unsigned n = 0; n < t->finding_count; n++)
        if (!strcmp(t->findings[n].text, text)) {
            t->findings[n].count++;
            return;
        }
    if (t->finding_count == ARRAY_SIZE(t->findings))
        return;
    memcpy(t->findings[t->finding_count].text, text, sizeof(text));
    t->findings[t->finding_count++].count = 1;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    printf("%s (%s): %s\n    %u-bit", text, a == MORE ? "" : ZydisISAExtGetString(s->theirs.meta.isa_ext), detail,
           16u << s->mode);
    for (unsigned n = 0; n < s->size; n++)
        printf(" %02x", s->bytes[n]);
    printf("\n");
}

/* Our register as Zydis numbers it; the files' registers are in the same order there. */
static ZydisRegister zydis_register(const struct isa_operand *o)
{
    static const ZydisRegister first[] = {
        [FILE_SEG] = ZYDIS_REGISTER_ES,   [FILE_CR] = ZYDIS_REGISTER_CR0,  [FILE_DR] = ZYDIS_REGISTER_DR0,
        [FILE_ST] = ZYDIS_REGISTER_ST0,   [FILE_MMX] = ZYDIS_REGISTER_MM0, [FILE_XMM] = ZYDIS_REGISTER_XMM0,
        [FILE_YMM] = ZYDIS_REGISTER_YMM0,
    };
    if (o->file == FILE_GPR8) {
        /* there: AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B... */
        unsigned n = o->reg >= 0x10 ? o->reg - 0x10 + 4u : o->reg < 4 ? o->reg : o->reg + 4u;
        return ZYDIS_REGISTER_AL + n;
    }
    if (o->file == FILE_GPR)
        return (o->size == 8 ? ZYDIS_REGISTER_RAX : o->size == 4 ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_AX) + o->reg;
    return first[o->file] + o->reg;
}

static ZydisRegister zydis_address_register(const struct isa_operand *o, unsigned file, unsigned reg)
{
    struct isa_operand r = {.file = (u8)file, .reg = (u8)reg, .size = o->asize};
    if (reg == REG_ZERO)
        return ZYDIS_REGISTER_NONE;
    if (reg == REG_RIP)
        return o->asize == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP;
    return zydis_register(&r);
}

static u64 truncated(u64 v, unsigned bytes)
{
    return bytes >= 8 ? v : bits(v, 8 * bytes - 1, 0);
}

/* SDM volume 2 table 2-5: "base 101 with mod 00: no base, REX.B does not count"; Zydis has R13 there. */
static bool is_r13_bug(const struct sample *s, const ZydisDecodedOperand *z)
{
    return s->theirs.raw.modrm.mod == 0 && s->theirs.raw.modrm.rm == 4 && s->theirs.raw.sib.base == 5 &&
           ZydisRegisterGetId(z->mem.base) == 13;
}

static void compare_memory(struct test *t, const struct sample *s, const struct isa_operand *o,
                           const ZydisDecodedOperand *z, unsigned n)
{
    if (is_r13_bug(s, z))
        return;
    ZydisRegister base = zydis_address_register(o, FILE_GPR, o->base);
    ZydisRegister index = zydis_address_register(o, o->index_file, o->index);
    unsigned scale = index ? 1u << o->scale : 0;
    if (base != z->mem.base || index != z->mem.index || scale != z->mem.scale)
        differs(t, s, MEMORY, "operand %u: base %s index %s scale %u, not %s %s %u", n, ZydisRegisterGetString(base),
                ZydisRegisterGetString(index), scale, ZydisRegisterGetString(z->mem.base),
                ZydisRegisterGetString(z->mem.index), z->mem.scale);
    if (truncated((u64)o->disp, o->asize) != truncated((u64)z->mem.disp.value, o->asize))
        differs(t, s, MEMORY, "operand %u: displacement %" PRIx64 " not %" PRIx64, n, (u64)o->disp,
                (u64)z->mem.disp.value);
    if (z->mem.type != ZYDIS_MEMOP_TYPE_AGEN && (ZydisRegister)(ZYDIS_REGISTER_ES + o->seg) != z->mem.segment)
        differs(t, s, MEMORY, "operand %u: segment %u not %s", n, o->seg, ZydisRegisterGetString(z->mem.segment));
    if (o->size && o->size * 8u != z->size && z->mem.type != ZYDIS_MEMOP_TYPE_AGEN)
        differs(t, s, SIZE, "operand %u: %u bytes, not %u", n, o->size, z->size / 8);
}

static void compare_immediate(struct test *t, const struct sample *s, const struct isa_operand *o,
                              const ZydisDecodedOperand *z, unsigned n)
{
    u64 ours = o->imm, theirs = z->imm.value.u;
    if (o->is_signed) {
        ours = truncated(ours, s->ours.opsize);
        theirs = truncated(theirs, s->ours.opsize);
    } else {
        theirs = truncated(theirs, o->size);
    }
    if (ours != theirs)
        differs(t, s, IMMEDIATE, "operand %u: %" PRIx64 " not %" PRIx64, n, o->imm, z->imm.value.u);
}

static unsigned zydis_access(unsigned actions)
{
    return (actions & (ZYDIS_OPERAND_ACTION_READ | ZYDIS_OPERAND_ACTION_CONDREAD) ? ACC_R : 0) |
           (actions & (ZYDIS_OPERAND_ACTION_WRITE | ZYDIS_OPERAND_ACTION_CONDWRITE) ? ACC_W : 0);
}

static void compare_operand(struct test *t, const struct sample *s, const struct isa_operand *o,
                            const ZydisDecodedOperand *z, unsigned n)
{
    static const u8 types[] = {
        [OPERAND_REG] = ZYDIS_OPERAND_TYPE_REGISTER,  [OPERAND_MEM] = ZYDIS_OPERAND_TYPE_MEMORY,
        [OPERAND_IMM] = ZYDIS_OPERAND_TYPE_IMMEDIATE, [OPERAND_REL] = ZYDIS_OPERAND_TYPE_IMMEDIATE,
        [OPERAND_FAR] = ZYDIS_OPERAND_TYPE_POINTER,
    };
    if (types[o->type] != z->type) {
        differs(t, s, OPERANDS, "operand %u is of another type", n);
        return;
    }
    switch (o->type) {
    case OPERAND_REG:
        if (zydis_register(o) != z->reg.value)
            differs(t, s, REGISTER, "operand %u: %s not %s", n, ZydisRegisterGetString(zydis_register(o)),
                    ZydisRegisterGetString(z->reg.value));
        break;
    case OPERAND_MEM:
        compare_memory(t, s, o, z, n);
        break;
    case OPERAND_IMM:
    case OPERAND_REL:
        compare_immediate(t, s, o, z, n);
        break;
    case OPERAND_FAR:
        if (o->selector != z->ptr.segment || o->imm != z->ptr.offset)
            differs(t, s, IMMEDIATE, "operand %u: far pointer %x:%" PRIx64, n, o->selector, o->imm);
        break;
    }
    unsigned access = zydis_access(z->actions);
    if ((o->access & ACC_RW) != access)
        differs(t, s, ACCESS, "operand %u: %u not %u", n, o->access & ACC_RW, access);
}

static void compare_operands(struct test *t, const struct sample *s)
{
    unsigned visible = 0;
    for (unsigned n = 0; n < isa_rows[s->ours.row].operands; n++) {
        if (!insn_operand_visible(&s->ours, n))
            continue;
        if (visible < s->theirs.operand_count_visible) {
            struct isa_operand o = insn_operand(&s->ours, n);
            compare_operand(t, s, &o, &s->operands[visible], visible);
        }
        visible++;
    }
    if (visible != s->theirs.operand_count_visible)
        differs(t, s, OPERANDS, "%u operands, not %u", visible, s->theirs.operand_count_visible);
}

/* General registers that are used without being written in the syntax: one access per register, RSP left out. */
static void compare_implicit(struct test *t, const struct sample *s)
{
    u8 ours[16] = {0}, theirs[16] = {0};
    for (unsigned n = 0; n < isa_rows[s->ours.row].operands; n++) {
        struct isa_operand o = insn_operand(&s->ours, n);
        if (insn_operand_visible(&s->ours, n))
            continue;
        if (o.type == OPERAND_REG && (o.file == FILE_GPR || o.file == FILE_GPR8))
            ours[o.file == FILE_GPR8 && o.reg >= 0x10 ? o.reg - 0x10 : o.reg] |= o.access & ACC_RW;
    }
    for (unsigned n = s->theirs.operand_count_visible; n < s->theirs.operand_count; n++) {
        const ZydisDecodedOperand *z = &s->operands[n];
        if (z->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegister r = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, z->reg.value);
        if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR64)
            theirs[ZydisRegisterGetId(r)] |= zydis_access(z->actions);
    }
    /* Zydis lists rSI, rDI and rCX of some string instructions and not of others */
    u32 skip = BIT(4) | (isa_rows[s->ours.row].attrs & (A_REP | A_REPZ) ? BIT(1) | BIT(6) | BIT(7) : 0);
    for (unsigned n = 0; n < 16; n++)
        if (!(skip >> n & 1) && ours[n] != theirs[n])
            differs(t, s, IMPLICIT, "%s %u not %u", ZydisRegisterGetString(ZYDIS_REGISTER_RAX + n), ours[n], theirs[n]);
}

static void compare_flags(struct test *t, const struct sample *s)
{
    static const ZydisAccessedFlags none = {0};
    const ZydisAccessedFlags *z = s->theirs.cpu_flags ? s->theirs.cpu_flags : &none;
    const struct isa_row *r = &isa_rows[s->ours.row];
    const u32 all = FL_OSZAPC | FL_DF;
    u32 set = z->set_0 | z->set_1 | z->modified;
    if (r->flags_read != (z->tested & all))
        differs(t, s, FLAGS, "read %x not %x", r->flags_read, z->tested & all);
    if ((r->flags_written | r->flags_cleared | r->flags_set) != (set & all))
        differs(t, s, FLAGS, "written %x not %x", r->flags_written | r->flags_cleared | r->flags_set, set & all);
    if (r->flags_undefined != (z->undefined & all))
        differs(t, s, FLAGS, "undefined %x not %x", r->flags_undefined, z->undefined & all);
}

/*
 * Zydis's text also has prefixes that do nothing, branch targets that do not wrap at 4 GiB outside 64-bit code, and R13
 * as above.
 */
static bool is_text_of_its_own(const struct sample *s)
{
    for (unsigned n = 0; n < s->theirs.operand_count_visible; n++) {
        const ZydisDecodedOperand *z = &s->operands[n];
        if (z->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && z->imm.is_relative && s->mode != 2)
            return true;
        if (z->type == ZYDIS_OPERAND_TYPE_MEMORY && is_r13_bug(s, z))
            return true;
    }
    for (unsigned n = 0; n < s->theirs.raw.prefix_count; n++) {
        u8 byte = s->theirs.raw.prefixes[n].value;
        if (byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0xf2 || byte == 0xf3)
            return true;
    }
    return false;
}

static void compare_text(struct test *t, const struct sample *s)
{
    char ours[160], theirs[160];
    insn_format(&s->ours, 0x1000, ours, sizeof(ours));
    if (ZYAN_FAILED(ZydisFormatterFormatInstruction(&t->formatter, &s->theirs, s->operands,
                                                    s->theirs.operand_count_visible, theirs, sizeof(theirs), 0x1000,
                                                    NULL)))
        return;
    if (strcmp(ours, theirs) != 0 && !is_text_of_its_own(s))
        differs(t, s, TEXT, "%s  not  %s", ours, theirs);
}

static bool decode_theirs(struct test *t, struct sample *s)
{
    return ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&t->decoder[s->mode], s->bytes, sizeof(s->bytes), &s->theirs, s->operands));
}

static bool same_insn(const struct insn *a, const struct insn *b)
{
    char x[160], y[160];
    insn_format(a, 0, x, sizeof(x));
    insn_format(b, 0, y, sizeof(y));
    return a->row == b->row && a->len == b->len && a->imm == b->imm && a->disp == b->disp && strcmp(x, y) == 0;
}

/* An instruction is itself however many bytes follow, and one byte less is too little. */
static void check_length(struct test *t, const struct sample *s)
{
    struct insn again;
    enum isa_mode mode = modes[s->mode];
    enum insn_status status = insn_decode(s->bytes, s->ours.len, mode, &t->features, &again);
    if (status != INSN_OK || !same_insn(&again, &s->ours))
        differs(t, s, LENGTH, "not the same from exactly %u bytes", s->ours.len);
    if (insn_decode(s->bytes, s->ours.len - 1u, mode, &t->features, &again) != INSN_SHORT)
        differs(t, s, LENGTH, "not short of a byte with %u bytes", s->ours.len - 1);
}

static void compare(struct test *t, struct sample *s, bool thorough)
{
    enum insn_status status = insn_decode(s->bytes, sizeof(s->bytes), modes[s->mode], &t->features, &s->ours);
    bool theirs = decode_theirs(t, s);
    t->strings++;
    s->size = status == INSN_OK ? s->ours.len : theirs ? s->theirs.length : STRING_MAX;
    if (status == INSN_OK) {
        t->valid++;
        t->reached[s->ours.row]++;
    }
    if ((status == INSN_OK) != theirs) {
        differs(t, s, theirs ? LESS : MORE, "%s", theirs ? "" : isa_rows[s->ours.row].name);
        return;
    }
    if (status != INSN_OK)
        return;
    if (s->ours.len != s->theirs.length) {
        differs(t, s, LENGTH, "%u bytes, not %u", s->ours.len, s->theirs.length);
        return;
    }
    /* "ret far" is a form of "ret" there */
    const char *mnemonic = ZydisMnemonicGetString(s->theirs.mnemonic);
    if (strcmp(isa_rows[s->ours.row].mnemonic, mnemonic) != 0 && s->theirs.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
        differs(t, s, MNEMONIC, "%s not %s", isa_rows[s->ours.row].mnemonic, mnemonic);
    compare_operands(t, s);
    compare_flags(t, s);
    compare_implicit(t, s);
    if (thorough) {
        compare_text(t, s);
        check_length(t, s);
    }
}

static void fill_random(struct test *t, u8 *at, const u8 *end)
{
    while (at < end)
        *at++ = (u8)next_random(t);
}

/* Some prefixes, an opcode of a random map, the rest random. */
static void make_structured(struct test *t, struct sample *s)
{
    static const u8 prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
    u8 *p = s->bytes, *end = s->bytes + STRING_MAX;
    while (one_in(t, 2) && p < end - 6)
        *p++ = prefixes[next_random(t) % sizeof(prefixes)];
    if (s->mode == 2 && one_in(t, 2))
        *p++ = (u8)(0x40 | next_random(t) % 16);
    switch (next_random(t) % 8) {
    case 0: /* VEX, two bytes */
        *p++ = 0xc5;
        break;
    case 1: /* VEX, three bytes, mostly of a map that exists and with no register in vvvv */
        *p++ = 0xc4;
        *p++ = (u8)((next_random(t) & 0xe0) | (s->mode != 2 ? 0xc0 : 0) | (1 + next_random(t) % 3));
        *p++ = (u8)(next_random(t) | (one_in(t, 2) ? 0x78 : 0));
        break;
    case 2:
    case 3:
        *p++ = 0x0f;
        break;
    case 4:
        *p++ = 0x0f;
        *p++ = one_in(t, 2) ? 0x38 : 0x3a;
        break;
    }
    fill_random(t, p, end);
}

static void make_sample(struct test *t, struct sample *s, const struct sample *last)
{
    s->mode = next_random(t) % 3;
    fill_random(t, s->bytes, s->bytes + STRING_MAX);
    switch (next_random(t) % 8) {
    case 0:
        break;
    case 1: /* the last one with a byte or a bit changed */
        memcpy(s->bytes, last->bytes, STRING_MAX);
        s->mode = last->mode;
        s->bytes[next_random(t) % 6] ^= (u8)(one_in(t, 2) ? next_random(t) : BIT(next_random(t) % 8));
        break;
    default:
        make_structured(t, s);
    }
}

/* Every opcode of every map with every mandatory prefix and W and L, and ModRM bytes of all kinds. */
static void sweep_opcode(struct test *t, const u8 *head, unsigned head_size, unsigned mode)
{
    struct sample s = {.mode = mode};
    for (unsigned opcode = 0; opcode < 256; opcode++)
        for (unsigned modrm = 0; modrm < 256; modrm++) {
            /* registers: all; memory: one for each reg field, with a SIB byte, as gathers need one */
            if (modrm < 0xc0 && (modrm & 0xc7) != 4)
                continue;
            memset(s.bytes, 0, sizeof(s.bytes));
            memcpy(s.bytes, head, head_size);
            s.bytes[head_size] = (u8)opcode;
            s.bytes[head_size + 1] = (u8)modrm;
            s.bytes[head_size + 2] = 0x5a;
            compare(t, &s, false);
        }
}

static void sweep_legacy(struct test *t, unsigned mode)
{
    static const u8 prefixes[][3] = {{0}, {1, 0x66}, {1, 0xf3}, {1, 0xf2}, {2, 0x66, 0xf2}, {1, 0x67}};
    static const u8 maps[][3] = {{0}, {1, 0x0f}, {2, 0x0f, 0x38}, {2, 0x0f, 0x3a}};
    for (unsigned p = 0; p < ARRAY_SIZE(prefixes); p++)
        for (unsigned m = 0; m < ARRAY_SIZE(maps); m++)
            for (unsigned rex = 0; rex < (mode == 2 ? 2 : 1); rex++) {
                u8 head[8];
                unsigned size = prefixes[p][0];
                memcpy(head, prefixes[p] + 1, size);
                if (rex)
                    head[size++] = 0x48;
                memcpy(head + size, maps[m] + 1, maps[m][0]);
                sweep_opcode(t, head, size + maps[m][0], mode);
            }
}

static void sweep_vex(struct test *t, unsigned mode)
{
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned wlpp = 0; wlpp < 16; wlpp++)
            for (unsigned vvvv = 0; vvvv < 2; vvvv++) {
                u8 head[] = {0xc4, (u8)(0xe0 | map), (u8)((wlpp & 8) << 4 | (vvvv ? 0x50 : 0x78) | (wlpp & 7))};
                sweep_opcode(t, head, sizeof(head), mode);
            }
}

/* Entries of known.def that explain nothing: the sweep and a million strings meet all that are true. */
static void report_unmet(const struct test *t)
{
    for (size_t n = 0; n < ARRAY_SIZE(known); n++)
        if (!t->met[n])
            printf("known difference was not met: %s of %s (%s)\n", aspect_names[known[n].aspect], known[n].what,
                   known[n].reason);
}

static unsigned report_unreached(const struct test *t)
{
    unsigned n = 0;
    for (unsigned r = 0; r < INSN_COUNT; r++)
        if (!t->reached[r]) {
            printf("row %s was never reached\n", isa_rows[r].name);
            n++;
        }
    return n;
}

static void set_up(struct test *t)
{
    static const struct {
        ZydisMachineMode mode;
        ZydisStackWidth stack;
    } machines[] = {
        {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
        {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };
    /* Extensions that ring3 lacks and that take hint NOPs and ignored prefixes. */
    static const ZydisDecoderMode off[] = {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_WBNOINVD,
                                           ZYDIS_DECODER_MODE_CLDEMOTE};
    static const ZydisFormatterProperty unpadded[] = {
        ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE, ZYDIS_FORMATTER_PROP_ADDR_PADDING_RELATIVE,
        ZYDIS_FORMATTER_PROP_DISP_PADDING,          ZYDIS_FORMATTER_PROP_IMM_PADDING,
        ZYDIS_FORMATTER_PROP_HEX_UPPERCASE,
    };
    for (unsigned n = 0; n < ARRAY_SIZE(machines); n++) {
        ZydisDecoderInit(&t->decoder[n], machines[n].mode, machines[n].stack);
        for (unsigned k = 0; k < ARRAY_SIZE(off); k++)
            ZydisDecoderEnableMode(&t->decoder[n], off[k], ZYAN_FALSE);
    }
    ZydisFormatterInit(&t->formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterSetProperty(&t->formatter, ZYDIS_FORMATTER_PROP_FORCE_SIZE, ZYAN_TRUE);
    for (unsigned n = 0; n < ARRAY_SIZE(unpadded); n++)
        ZydisFormatterSetProperty(&t->formatter, unpadded[n], 0);
    for (unsigned n = 0; n < FEAT_COUNT; n++)
        isa_set(&t->features, n);
}

int main(int argc, char **argv)
{
    static struct test t;
    struct sample s[2] = {0};
    u64 count = argc > 1 ? strtoull(argv[1], NULL, 0) : 400000;
    t.random = argc > 2 ? strtoull(argv[2], NULL, 0) : seed_choose();
    printf("seed %" PRIu64 "\n", t.random);
    set_up(&t);
    for (unsigned mode = 0; mode < 3; mode++) {
        sweep_legacy(&t, mode);
        sweep_vex(&t, mode);
    }
    for (u64 n = 0; n < count; n++) {
        make_sample(&t, &s[n & 1], &s[~n & 1]);
        compare(&t, &s[n & 1], true);
    }
    for (unsigned n = 0; n < t.finding_count; n++)
        printf("%10" PRIu64 "  %s\n", t.findings[n].count, t.findings[n].text);
    unsigned unreached = report_unreached(&t);
    if (count >= 1000000)
        report_unmet(&t);
    printf("%" PRIu64 " strings, %" PRIu64 " instructions, %" PRIu64 " known differences, %" PRIu64 " differences\n",
           t.strings, t.valid, t.known_differences, t.differences);
    return t.differences || unreached;
}
