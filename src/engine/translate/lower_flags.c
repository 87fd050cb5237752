/*
 * Where the arithmetic flags are dead: overwritten before any instruction reads them. Checks of addresses may then
 * clobber them. What the manual calls undefined counts as kept, unless the host overwrites it whatever it was before:
 * so it is with AF after logic operations.
 *
 * What a fault or an interrupt in between puts on the guest's stack may then differ in flags that the program
 * overwrites before it looks.
 */
#include "engine/translate/lower.h"

#define FLAGS_ALL FL_OSZAPC

static const u16 logic[] = {
    INSN_OR_Eb_Gb,    INSN_OR_Ev_Gv,   INSN_OR_Gb_Eb,   INSN_OR_Gv_Ev,   INSN_OR_AL_Ib,   INSN_OR_rAX_Iz,
    INSN_OR_Eb_Ib,    INSN_OR_Ev_Iz,   INSN_OR_Ev_sIb,  INSN_AND_Eb_Gb,  INSN_AND_Ev_Gv,  INSN_AND_Gb_Eb,
    INSN_AND_Gv_Ev,   INSN_AND_AL_Ib,  INSN_AND_rAX_Iz, INSN_AND_Eb_Ib,  INSN_AND_Ev_Iz,  INSN_AND_Ev_sIb,
    INSN_XOR_Eb_Gb,   INSN_XOR_Ev_Gv,  INSN_XOR_Gb_Eb,  INSN_XOR_Gv_Ev,  INSN_XOR_AL_Ib,  INSN_XOR_rAX_Iz,
    INSN_XOR_Eb_Ib,   INSN_XOR_Ev_Iz,  INSN_XOR_Ev_sIb, INSN_TEST_Eb_Gb, INSN_TEST_Ev_Gv, INSN_TEST_AL_Ib,
    INSN_TEST_rAX_Iz, INSN_TEST_Eb_Ib, INSN_TEST_Ev_Iz,
};

static bool is_logic(unsigned row)
{
    for (size_t n = 0; n < ARRAY_SIZE(logic); n++) {
        if (logic[n] == row)
            return true;
    }
    return false;
}

/* Shifts and rotates by a count of 0 write nothing. */
static bool is_shift(unsigned row)
{
    return row >= INSN_ROL_Eb_Ib && row <= INSN_SHRD_Ev_Gv_CL;
}

static u32 kills(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    if (row->treat != TREAT_COPY || is_shift(i->row) || i->rep)
        return 0;
    u32 set = row->flags_written | row->flags_cleared | row->flags_set;
    return is_logic(i->row) ? set | FL_AF : set;
}

static u32 reads(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    bool known = row->treat == TREAT_COPY || row->treat == TREAT_BRANCH || row->attrs & (A_X87 | A_MMX | A_SSE | A_AVX);
    return known ? row->flags_read : FLAGS_ALL;
}

u64 lower_dead_flags(const struct block *b)
{
    u64 dead = 0;
    u32 live = FLAGS_ALL;
    for (unsigned n = b->count; n-- > 0;) {
        live = (live & ~kills(&b->insn[n])) | (reads(&b->insn[n]) & FLAGS_ALL);
        if (!live)
            dead |= 1ull << n;
    }
    return dead;
}
