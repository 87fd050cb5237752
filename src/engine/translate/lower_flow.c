/*
 * The stack and near branches.
 *
 * Each stores or loads first, and changes RSP after the last access that can fault. A store is begun only where it
 * cannot be begun anew: nobody may see it while its instruction counts as not begun. An indirect jump leaves its target
 * in HOST_T and goes by the window's jump table; what it finds there checks HOST_T (lower.c).
 */
#include "engine/translate/lower.h"

#include "base/bits.h"
#include "cpu/segment.h"

static struct insn at(enum isa_row_id row, unsigned reg, struct insn_ea ea)
{
    return insn_mem(row, (u8)reg, ea, true);
}

static void move_sp(struct lower *l, unsigned from, i32 by)
{
    emit_mem(&l->e, INSN_LEA_Gv_M, HOST_SP, (struct insn_ea){.base = (u8)from, .index = REG_ZERO, .disp = by}, true);
}

/* One that does not fit is an address behind a CALL: other values come from 32 bits. */
static bool store_imm(struct lower *l, struct insn_ea ea, u64 value)
{
    if (value == (u64)(i64)(i32)value) {
        struct insn i = at(INSN_MOV_Ev_Iz, 0, ea);
        i.imm = value;
        emit_insn(&l->e, i);
    } else {
        lower_mov_rip(l, HOST_T2, value);
        emit_insn(&l->e, at(INSN_MOV_Ev_Gv, HOST_T2, ea));
    }
    return true;
}

/* The address takes up HOST_T and RSP only. */
static bool push_imm(struct lower *l, u64 value)
{
    struct operand o = operand_stack(-8);
    struct insn_ea ea;
    if (!lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    lower_commit(l);
    store_imm(l, ea, value);
    move_sp(l, HOST_SP, -8);
    return true;
}

static bool push_reg(struct lower *l, unsigned opsize, unsigned reg)
{
    struct operand o = operand_stack(-8);
    struct insn_ea ea;
    int host = lower_host(reg);
    if (opsize != 8 || !lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    if (host < 0)
        lower_load(l, reg, HOST_T2);
    lower_commit(l);
    emit_insn(&l->e, at(INSN_MOV_Ev_Gv, host < 0 ? HOST_T2 : (unsigned)host, ea));
    move_sp(l, HOST_SP, -8);
    return true;
}

static bool lower_push_reg(struct lower *l, const struct insn *i)
{
    return push_reg(l, i->opsize, i->reg);
}

/* An operand in memory waits in the frame while the stack's address is made. */
static bool lower_push_rm(struct lower *l, const struct insn *i)
{
    struct operand from = operand_of(l, i), to = operand_stack(-8);
    struct insn_ea ea;
    if (!i->mem)
        return push_reg(l, i->opsize, i->rm);
    if (i->opsize != 8 || !lower_address(l, &from, ADDRESS_ANY, &ea))
        return false;
    emit_insn(&l->e, at(INSN_MOV_Gv_Ev, HOST_T2, ea));
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, FRAME_AT(FRAME_TEMP));
    if (!lower_address(l, &to, ADDRESS_ANY, &ea))
        return false;
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, FRAME_AT(FRAME_TEMP));
    lower_commit(l);
    emit_insn(&l->e, at(INSN_MOV_Ev_Gv, HOST_T2, ea));
    move_sp(l, HOST_SP, -8);
    return true;
}

static bool lower_push_imm(struct lower *l, const struct insn *i)
{
    return i->opsize == 8 && push_imm(l, i->imm);
}

static bool lower_pop(struct lower *l, const struct insn *i)
{
    struct operand o = operand_stack(0);
    struct insn_ea ea;
    int host = lower_host(i->reg);
    if (i->opsize != 8 || !lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    lower_commit(l);
    emit_insn(&l->e, at(INSN_MOV_Gv_Ev, host < 0 ? HOST_T2 : (unsigned)host, ea));
    if (host < 0)
        lower_store(l, i->reg, HOST_T2);
    if (i->reg != R_SP) /* else what was popped is the new one */
        move_sp(l, HOST_SP, 8);
    return true;
}

static bool lower_leave(struct lower *l, const struct insn *i)
{
    struct operand o = operand_stack(0);
    struct insn_ea ea;
    o.base = R_BP;
    if (i->opsize != 8 || !lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    emit_insn(&l->e, at(INSN_MOV_Gv_Ev, HOST_T2, ea));
    lower_commit(l);
    move_sp(l, HOST_BP, 8);
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_BP, HOST_T2, true);
    return true;
}

/* ------ branches ------ */

static void jump_indirect(struct lower *l)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T2, HOST_T, FRAME_AT(FRAME_MASK_JUMP));
    emit_jmp_gs(&l->e, HOST_T2, WIN_JUMP);
}

/*
 * A branch to an address that is not canonical faults itself. That such a target is in no jump table is as good as a
 * check; but then it must be known where the jump came from (run_indirect).
 */
static void note_source(struct lower *l)
{
    lower_note_number(l, FRAME_FROM);
}

/* All of bits 63:47 are the same: gathered and counted up by one, only bit 0 may be left. */
void lower_require_canonical(struct lower *l, unsigned reg)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, reg, FRAME_AT(FRAME_MASK_CANONICAL));
    emit_mem(&l->e, INSN_LEA_Gv_M, HOST_T, (struct insn_ea){.base = HOST_T, .index = REG_ZERO, .disp = 1}, false);
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_CARRY));
    lower_require_zero(l);
}

/* HOST_T = the r/m operand. */
static bool load_target(struct lower *l, const struct insn *i)
{
    if (i->opsize != 8)
        return false;
    if (!i->mem) {
        int host = lower_host(i->rm);
        if (host < 0)
            lower_load(l, i->rm, HOST_T);
        else
            emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T, (unsigned)host, true);
        return true;
    }
    struct operand o = operand_of(l, i);
    struct insn_ea ea;
    o.size = 8;
    if (!lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    emit_insn(&l->e, at(INSN_MOV_Gv_Ev, HOST_T, ea));
    return true;
}

/* Else the branch itself faults. */
static bool may_go(const struct lower *l, const struct insn *i)
{
    return addr_is_canonical(block_target(l->b, i));
}

static bool lower_jcc(struct lower *l, const struct insn *i)
{
    if (!may_go(l, i))
        return false;
    lower_commit(l);
    if (l->n + 1 < l->b->count) {
        lower_link_if(l, LINK_SIDE + l->sides++, block_target(l->b, i), i->opcode & 15);
        return true;
    }
    lower_link_if(l, 1, block_target(l->b, i), i->opcode & 15);
    lower_link(l, 0, block_next_rip(l->b, i));
    return true;
}

static bool lower_jmp(struct lower *l, const struct insn *i)
{
    if (!may_go(l, i))
        return false;
    lower_commit(l);
    lower_link(l, 1, block_target(l->b, i));
    return true;
}

static bool lower_jmp_indirect(struct lower *l, const struct insn *i)
{
    if (!load_target(l, i))
        return false;
    note_source(l);
    lower_commit(l);
    jump_indirect(l);
    return true;
}

static bool lower_call_direct(struct lower *l, const struct insn *i)
{
    if (!may_go(l, i) || !push_imm(l, block_next_rip(l->b, i)))
        return false;
    lower_link(l, 1, block_target(l->b, i));
    return true;
}

static bool lower_call_indirect(struct lower *l, const struct insn *i)
{
    if (!load_target(l, i))
        return false;
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_TEMP));
    lower_require_canonical(l, HOST_T);
    if (!push_imm(l, block_next_rip(l->b, i)))
        return false;
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, FRAME_AT(FRAME_TEMP));
    jump_indirect(l);
    return true;
}

static bool lower_ret(struct lower *l, const struct insn *i)
{
    struct operand o = operand_stack(0);
    struct insn_ea ea;
    if (i->opsize != 8 || !lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    emit_insn(&l->e, at(INSN_MOV_Gv_Ev, HOST_T, ea));
    note_source(l);
    lower_commit(l);
    move_sp(l, HOST_SP, 8 + (i->row == INSN_RET_Iw ? (i32)(u16)i->imm : 0));
    jump_indirect(l);
    return true;
}

/* Taken if HOST_T is 0, or if it is not. */
static void jump_if_zero(struct lower *l, const struct insn *i, bool zero)
{
    unsigned hole = emit_jrcxz_hole(&l->e);
    lower_link(l, zero ? 0 : 1, zero ? block_next_rip(l->b, i) : block_target(l->b, i));
    emit_bind_short(&l->e, hole);
    lower_link(l, zero ? 1 : 0, zero ? block_target(l->b, i) : block_next_rip(l->b, i));
}

static bool lower_jrcxz(struct lower *l, const struct insn *i)
{
    if (i->ashift > 32 || !may_go(l, i))
        return false;
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T, HOST_CX, i->ashift == 0);
    lower_commit(l);
    jump_if_zero(l, i, true);
    return true;
}

static bool lower_loop(struct lower *l, const struct insn *i)
{
    if (i->ashift || !may_go(l, i))
        return false;
    lower_commit(l);
    emit_mem(&l->e, INSN_LEA_Gv_M, HOST_CX, (struct insn_ea){.base = HOST_CX, .index = REG_ZERO, .disp = -1}, true);
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T, HOST_CX, true);
    jump_if_zero(l, i, false);
    return true;
}

bool lower_flow(struct lower *l, const struct insn *i)
{
    typedef bool lower_fn(struct lower *, const struct insn *);
    static lower_fn *const rows[INSN_COUNT] = {
        [INSN_JO_Jb... INSN_JNLE_Jz] = lower_jcc,
        [INSN_JMP_Jb... INSN_JMP_Jz] = lower_jmp,
        [INSN_JMP_Ev] = lower_jmp_indirect,
        [INSN_CALL_Jz] = lower_call_direct,
        [INSN_CALL_Ev] = lower_call_indirect,
        [INSN_RET... INSN_RET_Iw] = lower_ret,
        [INSN_LOOP_Jb] = lower_loop,
        [INSN_JECXZ_Jb... INSN_JRCXZ_Jb] = lower_jrcxz,
        [INSN_PUSH_Zv] = lower_push_reg,
        [INSN_PUSH_Ev] = lower_push_rm,
        [INSN_POP_Zv] = lower_pop,
        [INSN_PUSH_Iz... INSN_PUSH_sIb] = lower_push_imm,
        [INSN_LEAVE] = lower_leave,
    };
    return rows[i->row] && rows[i->row](l, i);
}
