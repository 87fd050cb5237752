/*
 * STOS, MOVS and LODS. A repeated STOS or MOVS is one on the host, if all of it lies in one page (of either side):
 * else, or if it would do nothing, it is left to its semantics.
 *
 * The first element is moved by a plain instruction, which faults if there is anything to fault; what follows changes
 * RSI and RDI to host addresses for a while, and cannot fault. Nor can it be left: it looks at c->request itself when
 * it is done (b->poll, fault.c).
 */
#include "base/bits.h"
#include "engine/translate/lower.h"

static struct operand string_operand(const struct lower *l, unsigned reg, unsigned seg, unsigned size)
{
    return (struct operand){.base = (u8)reg,
                            .index = REG_ZERO,
                            .seg = (u8)seg,
                            .size = size,
                            .unaligned = l->b->unaligned >> l->n & 1,
                            .crosses = l->b->crosses >> l->n & 1};
}

static void lea(struct lower *l, unsigned to, unsigned base, unsigned index, unsigned scale, i32 disp)
{
    struct insn_ea ea = {.base = (u8)base, .index = (u8)index, .scale = (u8)scale, .disp = disp};
    emit_mem(&l->e, INSN_LEA_Gv_M, to, ea, true);
}

static void move(struct lower *l, bool store, unsigned reg, struct insn_ea ea, unsigned size)
{
    enum isa_row_id row =
        size == 1 ? (store ? INSN_MOV_Eb_Gb : INSN_MOV_Gb_Eb) : (store ? INSN_MOV_Ev_Gv : INSN_MOV_Gv_Ev);
    struct insn i = insn_mem(row, (u8)reg, ea, size == 8);
    i.opsize = (u8)size;
    i.prefix66 = size == 2;
    emit_insn(&l->e, i);
}

static unsigned log_size(const struct insn *i, unsigned first_row)
{
    return i->row - first_row;
}

static bool advance(struct lower *l, unsigned reg, unsigned size)
{
    lea(l, reg, reg, REG_ZERO, 0, (i32)size);
    return true;
}

/* ------ repeated ------ */

/* The count is not 0, and small: so no sum with it wraps. */
static void check_count(struct lower *l)
{
    lea(l, HOST_T, HOST_CX, REG_ZERO, 0, -1);
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_NOT_COUNT));
    lower_require_zero(l);
}

/* The last of the elements at `reg` is in the page of the first. */
static void check_run(struct lower *l, unsigned reg, unsigned log)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, reg, FRAME_AT(FRAME_MASK_OFFSET));
    lea(l, HOST_T, HOST_T, HOST_CX, log, -1);
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_NOT_OFFSET));
    lower_require_zero(l);
}

/* HOST_T = what leads from the linear address in `reg` to the host's. */
static void translate(struct lower *l, unsigned reg)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, reg, FRAME_AT(FRAME_MASK_PAGE));
    emit_insn(&l->e, insn_gs(INSN_MOV_Gv_Ev, HOST_T, HOST_T, WIN_TABLE, true));
}

static struct insn_ea translated(unsigned reg)
{
    return (struct insn_ea){.base = HOST_T, .index = (u8)reg};
}

static void repeat(struct lower *l, const struct insn *i)
{
    struct insn rep = *i;
    rep.rep = 0xf3;
    rep.seg = SEG_DS;
    if (!emit_try(&l->e, &rep))
        l->e.ok = false;
}

/* RCX is 0 now. */
static bool finish(struct lower *l, const struct insn *i)
{
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_CX, HOST_T, true);
    l->b->poll = (u16)l->e.len;
    emit_insn(&l->e, insn_gs(INSN_MOV_Gv_Ev, HOST_T, REG_ZERO, CPU_AT(request), false));
    unsigned none = emit_jrcxz_hole(&l->e);
    lower_exit_link(l, 0, l->b->rip + i->off + i->len);
    emit_bind_short(&l->e, none);
    lower_link(l, 0, l->b->rip + i->off + i->len);
    return true;
}

static bool repeated_stos(struct lower *l, const struct insn *i, unsigned log)
{
    check_count(l);
    check_run(l, R_DI, log);
    translate(l, R_DI);
    lower_commit(l);
    move(l, true, HOST_AX, translated(HOST_DI), 1u << log);
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T2, HOST_DI, true);
    lea(l, HOST_DI, HOST_DI, HOST_T, 0, 0);
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T, HOST_CX, true);
    repeat(l, i);
    lea(l, HOST_DI, HOST_T2, HOST_CX, log, 0);
    return finish(l, i);
}

/* The first element is not moved twice: the source may overlap the destination. */
static bool repeated_movs(struct lower *l, const struct insn *i, unsigned log)
{
    i32 size = (i32)(1u << log);
    check_count(l);
    check_run(l, R_SI, log);
    check_run(l, R_DI, log);
    translate(l, R_SI);
    move(l, false, HOST_T2, translated(HOST_SI), 1u << log);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_TEMP));
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_DI, FRAME_AT(FRAME_TEMP2));
    translate(l, R_DI);
    lower_commit(l);
    move(l, true, HOST_T2, translated(HOST_DI), 1u << log);
    lea(l, HOST_DI, HOST_DI, HOST_T, 0, size);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, FRAME_AT(FRAME_TEMP));
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T2, HOST_SI, true);
    lea(l, HOST_SI, HOST_SI, HOST_T, 0, size);
    lea(l, HOST_T, HOST_CX, REG_ZERO, 0, -1);
    repeat(l, i);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_DI, FRAME_AT(FRAME_TEMP2));
    lea(l, HOST_SI, HOST_T2, HOST_CX, log, 0);
    lea(l, HOST_DI, HOST_DI, HOST_CX, log, 0);
    return finish(l, i);
}

/* ------ one element ------ */

static bool lower_stos(struct lower *l, const struct insn *i)
{
    unsigned log = log_size(i, INSN_STOSB);
    struct operand o = string_operand(l, R_DI, SEG_ES, 1u << log);
    struct insn_ea ea;
    if (i->rep)
        return repeated_stos(l, i, log);
    if (!lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    lower_commit(l);
    move(l, true, HOST_AX, ea, 1u << log);
    return advance(l, HOST_DI, 1u << log);
}

static bool lower_lods(struct lower *l, const struct insn *i)
{
    unsigned log = log_size(i, INSN_LODSB);
    struct operand o = string_operand(l, R_SI, i->seg, 1u << log);
    struct insn_ea ea;
    if (i->rep || !lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    lower_commit(l);
    move(l, false, HOST_AX, ea, 1u << log);
    return advance(l, HOST_SI, 1u << log);
}

static bool lower_movs(struct lower *l, const struct insn *i)
{
    unsigned log = log_size(i, INSN_MOVSB);
    struct operand from = string_operand(l, R_SI, i->seg, 1u << log), to = string_operand(l, R_DI, SEG_ES, 1u << log);
    struct insn_ea ea;
    if (i->rep)
        return i->seg != SEG_FS && i->seg != SEG_GS && repeated_movs(l, i, log);
    if (!lower_address(l, &from, ADDRESS_ANY, &ea))
        return false;
    move(l, false, HOST_T2, ea, 1u << log);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, FRAME_AT(FRAME_TEMP));
    if (!lower_address(l, &to, ADDRESS_ANY, &ea))
        return false;
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, FRAME_AT(FRAME_TEMP));
    lower_commit(l);
    move(l, true, HOST_T2, ea, 1u << log);
    return advance(l, HOST_SI, 1u << log) && advance(l, HOST_DI, 1u << log);
}

bool lower_string(struct lower *l, const struct insn *i)
{
    if (i->ashift)
        return false;
    if (i->row >= INSN_STOSB && i->row <= INSN_STOSQ)
        return lower_stos(l, i);
    if (i->row >= INSN_LODSB && i->row <= INSN_LODSQ)
        return lower_lods(l, i);
    return i->row >= INSN_MOVSB && i->row <= INSN_MOVSQ && lower_movs(l, i);
}
