/* A state machine: splits source text into words, numbers, strings, comments and marks, one byte and one switch at a
 * time. */
#include "bench.h"

#include <string.h>

enum state { BETWEEN, WORD, NUMBER, STRING, ESCAPE, SLASH, COMMENT, STAR };
enum { SIZE = 256 << 10, KINDS = 5 };

struct tokens {
    uint64_t count[KINDS]; /* words, numbers, strings, comments, marks */
    uint64_t keywords, hash;
};

static int is_letter(uint8_t c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
}

static int is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static void end_word(struct tokens *t, const uint8_t *word, size_t length)
{
    static const char *const keyword[] = {"if", "for", "while", "return", "int", "else"};
    t->count[0]++;
    t->hash = t->hash * 31 + length;
    for (int i = 0; i < 6; i++)
        if (keyword[i][0] == word[0] && strlen(keyword[i]) == length && !memcmp(keyword[i], word, length))
            t->keywords++;
}

/* What a byte between tokens begins. */
static enum state begin(struct tokens *t, uint8_t c)
{
    if (is_letter(c))
        return WORD;
    if (is_digit(c))
        return NUMBER;
    switch (c) {
    case '"':
        return STRING;
    case '/':
        return SLASH;
    case ' ':
    case '\n':
        return BETWEEN;
    default:
        t->count[4]++;
        return BETWEEN;
    }
}

static enum state step(struct tokens *t, enum state state, const uint8_t *at, const uint8_t **word)
{
    uint8_t c = *at;
    switch (state) {
    case BETWEEN:
        *word = at;
        return begin(t, c);
    case WORD:
        if (is_letter(c) || is_digit(c))
            return WORD;
        end_word(t, *word, (size_t)(at - *word));
        return begin(t, c);
    case NUMBER:
        if (is_digit(c) || c == '.' || c == 'x')
            return NUMBER;
        t->count[1]++;
        return begin(t, c);
    case STRING:
        if (c != '"')
            return c == '\\' ? ESCAPE : STRING;
        t->count[2]++;
        return BETWEEN;
    case ESCAPE:
        return STRING;
    case SLASH:
        if (c == '*')
            return COMMENT;
        t->count[4]++;
        return begin(t, c);
    case COMMENT:
        return c == '*' ? STAR : COMMENT;
    default: /* STAR */
        if (c != '/')
            return c == '*' ? STAR : COMMENT;
        t->count[3]++;
        return BETWEEN;
    }
}

static void make_source(uint8_t *text)
{
    static const char *const piece[] = {
        "if (",   "x1 = ",   " + 42;\n", "\"a \\\" b\"", "/* why **/ ", "return",    " 0x1f ", "[i]",
        "while ", "{\n    ", "}\n",      "counter",      " / ",         "for_each(", ")",      ", "};
    uint64_t seed = 37;
    memset(text, ' ', SIZE);
    for (size_t at = 0; at + 16 < SIZE;) {
        const char *p = piece[bench_random(&seed) >> 33 & 15];
        memcpy(text + at, p, strlen(p));
        at += strlen(p);
    }
}

static void run_lexer(struct bench *b)
{
    uint8_t *text = bench_alloc(SIZE);
    struct tokens t = {0};
    uint64_t n = bench_count(b, 90);
    make_source(text);
    bench_start(b);
    for (uint64_t round = 0; round < n; round++) {
        enum state state = BETWEEN;
        const uint8_t *word = text;
        for (size_t i = 0; i < SIZE; i++)
            state = step(&t, state, text + i, &word);
    }
    bench_stop(b, bench_sum(&t, sizeof(t)));
}

const struct bench_row bench_rows[] = {
    {"branchy", "lexer", run_lexer},
    {0},
};
