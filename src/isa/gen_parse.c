/*
 * Build-time generator: the encoding column of a row, grammar in isa/insn.h.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa/gen.h"

static bool failed(char why[64], const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool failed(char why[64], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, 64, fmt, ap);
    va_end(ap);
    return false;
}

static bool hex_byte(const char *s, size_t len, unsigned *value)
{
    char text[3] = {0}, *end;
    if (len != 2)
        return false;
    memcpy(text, s, 2);
    *value = (unsigned)strtoul(text, &end, 16);
    return *end == 0;
}

static bool token_is(const char *t, size_t len, const char *word)
{
    return strlen(word) == len && !memcmp(t, word, len);
}

/* Words that restrict something: where they go and what they let through. */
struct word {
    const char *text;
    u8 first, width, set;
};

static const struct word prefix_words[] = {
    {"NP", KEY_PREFIX, 6, 0x01}, {"66", KEY_PREFIX, 6, 0x02},  {"F3", KEY_PREFIX, 6, 0x0c},
    {"F2", KEY_PREFIX, 6, 0x30}, {"NFx", KEY_PREFIX, 6, 0x03},
};
static const struct word condition_words[] = {
    {"REX.W", KEY_W, 2, 2},
    {"W0", KEY_W, 2, 1},
    {"B0", KEY_B, 2, 1},
};
static const char *const imm_words[] = {"ib", "iw", "id", "iz", "iv", "iq", "cb", "cz", "cp", "mo", "is4"};

static const struct word *find_word(const struct word *w, size_t n, const char *t, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (token_is(t, len, w[i].text))
            return &w[i];
    return NULL;
}

/* VEX.128.66.0F38.W0 */
static bool parse_vex(struct code *c, const char *t, size_t len)
{
    static const struct {
        const char *text;
        u8 field, value;
    } parts[] = {
        {"128", 0, 1},   {"LZ", 0, 1}, {"256", 0, 2},  {"LIG", 0, 3},  {"NP", 1, 0x1}, {"66", 1, 0x2}, {"F3", 1, 0x4},
        {"F2", 1, 0x10}, {"0F", 2, 1}, {"0F38", 2, 2}, {"0F3A", 2, 3}, {"W0", 3, 1},   {"W1", 3, 2},   {"WIG", 3, 3},
    };
    unsigned value[4] = {0};
    const char *end = t + len, *p = t + 4;
    for (unsigned field = 0; field < 4; field++) {
        size_t n = 0;
        while (p + n < end && p[n] != '.')
            n++;
        for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
            if (parts[i].field == field && token_is(p, n, parts[i].text))
                value[field] = parts[i].value;
        if (!value[field])
            return false;
        p += n + (p + n < end);
    }
    c->vex = true;
    c->has_prefix = true;
    c->map = MAP_VEX + value[2];
    gen_restrict(&c->accept, KEY_L, 2, value[0]);
    gen_restrict(&c->accept, KEY_PREFIX, 6, value[1]);
    gen_restrict(&c->accept, KEY_W, 2, value[3]);
    return p == end;
}

static unsigned size_bit(const char *t)
{
    static const char *const sizes[] = {"16", "32", "64"};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
        if (!strcmp(t, sizes[i]))
            return 1u << i;
    return 0;
}

/* Conditions and immediates: what stands after the opcode. False if the token is none of them. */
static bool parse_tail(struct code *c, const char *text)
{
    size_t len = strlen(text);
    const struct word *w = find_word(condition_words, ARRAY_SIZE(condition_words), text, len);
    if (w) {
        gen_restrict(&c->accept, w->first, w->width, w->set);
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(imm_words); i++)
        if (!strcmp(text, imm_words[i]) && c->imms < ARRAY_SIZE(c->imm)) {
            c->imm[c->imms++] = imm_words[i];
            return true;
        }
    if (!strcmp(text, "n64"))
        return c->mode |= 3, true;
    if (!strcmp(text, "mem"))
        return c->mem = true;
    if (!strcmp(text, "reg"))
        return c->reg = true;
    if (!strcmp(text, "nomod"))
        return c->nomod = true;
    unsigned bit = len == 3 ? size_bit(text + 1) : 0;
    switch (bit ? text[0] : 0) {
    case 'o':
        return c->osize |= bit;
    case 'a':
        return c->asize |= bit;
    case 'm':
        return c->mode |= bit;
    }
    return false;
}

/* /r, /digit, or a fixed ModRM byte, after the opcode byte. */
static bool parse_modrm(struct code *c, const char *t, size_t len)
{
    unsigned byte;
    if (len == 2 && t[0] == '/' && t[1] == 'r') {
        c->modrm = MODRM_R;
        return true;
    }
    if (len == 2 && t[0] == '/' && t[1] >= '0' && t[1] <= '7') {
        c->modrm = MODRM_DIGIT;
        gen_restrict(&c->accept, KEY_REG, 8, 1u << (t[1] - '0'));
        return true;
    }
    bool plus_i = len == 4 && !memcmp(t + 2, "+i", 2);
    if (!hex_byte(t, plus_i ? 2 : len, &byte) || byte < 0xc0 || (plus_i && byte & 7))
        return false;
    c->modrm = MODRM_FIXED;
    c->reg = true;
    gen_restrict(&c->accept, KEY_REG, 8, 1u << (byte >> 3 & 7));
    if (!plus_i)
        gen_restrict(&c->accept, KEY_RM, 8, 1u << (byte & 7));
    return true;
}

/* The opcode byte, with +r. */
static bool parse_opcode(struct code *c, const char *t, size_t len)
{
    c->plus_r = len == 4 && !memcmp(t + 2, "+r", 2);
    return hex_byte(t, c->plus_r ? 2 : len, &c->opcode) && !(c->plus_r && c->opcode & 7);
}

bool gen_parse(const struct row *r, struct code *c, char why[64])
{
    enum { PREFIX, MAP0, MAP0F, MODRM, TAIL } state = PREFIX;
    char text[16];
    *c = (struct code){.accept = (1ull << KEY_BITS) - 1};
    for (const char *p = r->encoding; *p;) {
        size_t len = strcspn(p, " ");
        if (state == PREFIX && len > 4 && !memcmp(p, "VEX.", 4)) {
            if (!parse_vex(c, p, len))
                return failed(why, "VEX prefix is not VEX.length.prefix.map.W");
            gen_restrict(&c->accept, KEY_B, 2, 3);
            state = MAP0;
            goto next;
        }
        if (len >= sizeof(text))
            return failed(why, "unknown part '%.*s'", (int)len, p);
        memcpy(text, p, len);
        text[len] = 0;
        const struct word *w = find_word(prefix_words, ARRAY_SIZE(prefix_words), p, len);
        /* "66" and the like before the opcode; the opcode byte itself is never one of them. */
        if (state == PREFIX && w) {
            gen_restrict(&c->accept, w->first, w->width, w->set);
            c->has_prefix = true;
            c->is_66 = !strcmp(text, "66");
        } else if (state == PREFIX && (!strcmp(text, "REX.W") || !strcmp(text, "W0"))) {
            parse_tail(c, text);
        } else if (state == PREFIX && !strcmp(text, "0F")) {
            c->map = 1;
            state = MAP0F;
        } else if (state == MAP0F && (!strcmp(text, "38") || !strcmp(text, "3A"))) {
            c->map = text[1] == '8' ? 2 : 3;
            state = MAP0;
        } else if (state < MODRM) {
            if (!parse_opcode(c, p, len))
                return failed(why, "'%s' is no opcode byte", text);
            state = MODRM;
        } else if (parse_tail(c, text)) { /* before ModRM: "cb" is a displacement, "CB" a ModRM byte */
            state = TAIL;
        } else if (state == MODRM && parse_modrm(c, p, len)) {
            state = TAIL;
        } else {
            return failed(why, "unknown part '%s'", text);
        }
    next:
        p += len;
        p += strspn(p, " ");
    }
    if (state < MODRM)
        return failed(why, "no opcode byte");
    return true;
}
