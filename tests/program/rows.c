/* Which rows of the instruction table each kind draws from: rows.def, and for the rest the row's attributes. */
#include <fnmatch.h>

#include "gen.h"

#define KIND_NONE KIND_COUNT

static const struct {
    const char *pattern;
    u8 kind;
} patterns[] = {
#define ROWS(pattern, kind) {pattern, KIND_##kind},
#include "rows.def"
#undef ROWS
};

/* Filled once, before the first program. */
static struct row_list lists[KIND_COUNT + 1];

static enum kind row_kind(const struct isa_row *row)
{
    for (unsigned n = 0; n < ARRAY_SIZE(patterns); n++)
        if (!fnmatch(patterns[n].pattern, row->name, 0))
            return patterns[n].kind;
    if (row->attrs & (A_X87 | A_MMX))
        return KIND_X87;
    if (row->attrs & (A_SSE | A_AVX))
        return KIND_VECTOR;
    return row->treat == TREAT_STRING ? KIND_STRING : KIND_ALU;
}

void rows_init(const struct isa_features *f)
{
    for (unsigned row = 0; row < isa_row_count; row++) {
        if (!isa_has(f, isa_rows[row].feature) || isa_rows[row].attrs & A_NO64)
            continue;
        struct row_list *l = &lists[row_kind(&isa_rows[row])];
        l->row[l->count++] = (u16)row;
    }
}

const struct row_list *rows_of(enum kind k)
{
    return &lists[k];
}
