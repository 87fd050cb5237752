/*
 * x87 and MMX instructions: as themselves, on state that lives in the host's registers (engine/translate/x87.h).
 */
#include "engine/translate/lower.h"
#include "engine/translate/x87.h"

/*
 * From a copy of the operand, so that what is looked at is what is loaded. One that unmasks exceptions is left to its
 * semantics.
 */
static bool lower_fldcw(struct lower *l, const struct insn *i)
{
    struct operand o = operand_of(l, i);
    struct insn_ea ea;
    if (!lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    emit_mem(&l->e, INSN_MOVZX_Gv_Ew, HOST_T2, ea, false);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, FRAME_AT(FRAME_TEMP));
    emit_insn(&l->e, insn_reg(INSN_NOT_Ev, 0, HOST_T2, false));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T2, FRAME_AT(FRAME_MASK_63));
    lower_require_zero(l);
    lower_commit(l);
    emit_insn(&l->e, insn_gs(INSN_FLDCW_Mw, 0, REG_ZERO, FRAME_AT(FRAME_TEMP), false));
    return true;
}

/* At a glance, for all those that are not. */
static bool is_x87(const struct insn *i)
{
    return isa_rows[i->row].attrs & (A_X87 | A_MMX);
}

static bool is_noted(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    return row->attrs & A_X87 && !(row->attrs & A_NOWAIT);
}

bool lower_x87(struct lower *l, const struct insn *i)
{
    if (!is_x87(i) || !x87_translates(i))
        return false;
    if (i->row == INSN_FLDCW_Mw)
        return lower_fldcw(l, i);
    if (!lower_plain(l, *i))
        return false;
    if (is_noted(i))
        lower_note_number(l, FRAME_X87_LAST);
    return true;
}

void lower_x87_check(struct lower *l)
{
    for (unsigned n = 0; n < l->b->count && !l->b->x87 && l->b->flavour & FLAVOUR_X87; n++)
        l->b->x87 = is_x87(&l->b->insn[n]) && x87_translates(&l->b->insn[n]);
    if (!l->b->x87)
        return;
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, FRAME_AT(FRAME_X87_AWAY));
    lower_require_zero(l);
}
