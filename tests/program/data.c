/* Items about memory: stacks, strings, locks, faults, the ends of the address space, saved state. */
#include "gen.h"

/* --- stack
 * ------------------------------------------------------------------------------------------------------------ */

void emit_stack(struct gen *g)
{
    u32 offset = MEM_PAGE_SIZE + 8 * below(g, 400) - (one_in(g, 4) ? below(g, 8) : 0);
    if (one_in(g, 3)) /* pushes cross from one page to the other */
        offset = MEM_PAGE_SIZE + below(g, 32);
    emit_lea(g, R_SP, PAGE_STACK * (u64)MEM_PAGE_SIZE + offset);
}

static void frame(struct gen *g)
{
    struct insn i = insn_reg(INSN_ENTER_Iw_Ib, 0, 0, false);
    i.imm = below(g, 128);
    i.imm2 = (u16)(one_in(g, 4) ? below(g, 32) : 0);
    emit(g, i);
    for (unsigned n = below(g, 3); n; n--)
        emit_any(g, KIND_STACK);
    emit(g, insn_reg(INSN_MOV_Ev_Gv, R_SP, R_BP, true));
    g->use[R_BP] = REG_DATA;
    if (one_in(g, 4))
        emit_stack(g);
    emit(g, insn_reg(INSN_LEAVE, 0, 0, false));
}

/* Flags through the stack, with some of them turned over. */
static void flags(struct gen *g)
{
    static const u32 bits[] = {0x8d5, 0x400, 0x40000, 0x200000, 0x200, 0x4000, 0x3000, 0x10000};
    struct insn i = insn_mem(INSN_XOR_Ev_Iz, 6, (struct insn_ea){.base = R_SP, .index = REG_ZERO}, false);
    i.imm = bits[0] & random_u64(g->r);
    if (one_in(g, 2))
        i.imm |= bits[below(g, ARRAY_SIZE(bits))];
    if (one_in(g, 12))
        i.imm |= RF_TF;
    emit(g, insn_reg(INSN_PUSHFQ, 0, 0, false));
    emit(g, i);
    emit(g, insn_reg(INSN_POPFQ, 0, 0, false));
}

static void switch_stack(struct gen *g)
{
    u8 reg = pick_target(g);
    emit(g, insn_reg(INSN_MOV_Ev_Gv, R_SP, reg, true)); /* keeps it in reg */
    g->use[reg] = REG_DATA;
    emit_stack(g);
    for (unsigned n = 1 + below(g, 3); n; n--)
        emit_any(g, KIND_STACK);
    emit(g, insn_reg(INSN_XCHG_Ev_Gv, R_SP, reg, true));
}

void item_stack(struct gen *g)
{
    switch (below(g, 8)) {
    case 0:
        emit_stack(g);
        break;
    case 1:
        frame(g);
        break;
    case 2:
        flags(g);
        break;
    case 3:
        switch_stack(g);
        break;
    default:
        emit_any(g, KIND_STACK);
    }
}

/* --- strings
 * ----------------------------------------------------------------------------------------------------------- */

static void string_pointer(struct gen *g, u8 reg)
{
    if (one_in(g, 8))
        emit_mov(g, reg, random_address(g));
    else
        emit_lea(g, reg, random_place(g));
}

static bool is_compare(unsigned row)
{
    return isa_rows[row].attrs & A_REPZ;
}

static void overlapping(struct gen *g)
{
    struct insn i = insn_mem(INSN_LEA_Gv_M, R_DI, (struct insn_ea){.base = R_SI, .index = REG_ZERO}, true);
    i.disp = (i32)below(g, 80) - 40;
    emit(g, i);
}

/*
 * A repeated comparison that faults leaves the flags that it found, unless it was interrupted on the way: then those of
 * the interruption. So where interruptions come at random it must not fault.
 */
static void compare_in_stack(struct gen *g)
{
    emit_lea(g, R_SI, PAGE_STACK * (u64)MEM_PAGE_SIZE + 3000 + below(g, 2000));
    overlapping(g);
    emit_mov(g, R_CX, below(g, 64));
}

void item_string(struct gen *g)
{
    const struct row_list *l = rows_of(KIND_STRING);
    unsigned row = l->row[below(g, l->count)];
    if (is_compare(row) && g->o->interrupted) {
        compare_in_stack(g);
    } else {
        string_pointer(g, R_SI);
        if (one_in(g, 4))
            overlapping(g);
        else
            string_pointer(g, R_DI);
        emit_mov(g, R_CX, one_in(g, 8) ? below(g, 3000) : below(g, 70));
    }
    if (one_in(g, 4))
        emit(g, insn_reg(INSN_STD, 0, 0, false));
    emit_row(g, row);
    if (!one_in(g, 3))
        emit(g, insn_reg(INSN_CLD, 0, 0, false));
}

/* --- locks
 * ------------------------------------------------------------------------------------------------------------- */

void item_lock(struct gen *g)
{
    const struct row_list *l = rows_of(KIND_ALU);
    for (unsigned tries = 0; tries < 64; tries++) {
        unsigned row = l->row[below(g, l->count)];
        if (!(isa_rows[row].attrs & A_LOCK))
            continue;
        g->want_lock = true;
        emit_row(g, row);
        g->want_lock = false;
        return;
    }
}

/* --- faults
 * ------------------------------------------------------------------------------------------------------------ */

static u64 bad_address(struct gen *g)
{
    u64 v = random_u64(g->r);
    switch (below(g, 6)) {
    case 0:
        return EDGE_KERNEL - 1 - (v & 31); /* crosses into, or is in, what is not canonical */
    case 1:
        return EDGE_USER + MEM_PAGE_SIZE + (v & 0xffff);
    case 2:
        return v;
    case 3:
        return USER_BASE + PAGE_STACK * (u64)MEM_PAGE_SIZE - (v & 15);
    case 4:
        return g->ring0 ? LOW_BASE - 1 - (v & 31) : RT_BASE + (v & 0x1fffff);
    default:
        return (v & 0xfff) + 2 * MEM_PAGE_SIZE;
    }
}

void item_fault(struct gen *g)
{
    static const u16 divisions[] = {INSN_DIV_Eb, INSN_DIV_Ev, INSN_IDIV_Eb, INSN_IDIV_Ev};
    static const u8 kinds[] = {KIND_ALU, KIND_MOVE, KIND_VECTOR, KIND_X87, KIND_STACK};
    u8 reg = pick_target(g);
    switch (below(g, 6)) {
    case 0:
        emit_row(g, divisions[below(g, 4)]);
        break;
    case 1:
        emit(g, insn_reg(INSN_UD2, 0, 0, false));
        break;
    default:
        emit_mov(g, reg, bad_address(g));
        g->use[reg] = REG_POINTER;
        for (unsigned n = 1 + below(g, 2); n; n--)
            emit_any(g, kinds[below(g, ARRAY_SIZE(kinds))]);
        g->use[reg] = REG_DATA;
    }
}

/* Runs off the end of the user half, or comes back from there; or memory at the ends. */
void item_edge(struct gen *g)
{
    static const u64 ends[] = {EDGE_USER + 0xff8, EDGE_KERNEL + 8, EDGE_TOP + 0xff8, EDGE_NULL + 8};
    u8 reg = pick_target(g);
    if (one_in(g, 3)) {
        emit_recover(g);
        emit_mov(g, reg, EDGE_USER + 0xff0 + (one_in(g, 2) ? 0 : below(g, 32)) - below(g, 16));
        emit(g, insn_reg(one_in(g, 3) ? INSN_JMP_Ev : INSN_CALL_Ev, 0, reg, false));
        return;
    }
    emit_mov(g, reg, ends[below(g, ARRAY_SIZE(ends))] - below(g, 16));
    g->use[reg] = REG_POINTER;
    emit_any(g, one_in(g, 2) ? KIND_MOVE : KIND_ALU);
    g->use[reg] = REG_DATA;
}

/* --- saved state
 * --------------------------------------------------------------------------------------------------------- */

static void save_and_restore(struct gen *g)
{
    bool extended = one_in(g, 2);
    u8 reg = R_BX + (u8)below(g, 2) * 4;
    struct insn_ea ea = {.base = reg, .index = REG_ZERO};
    u64 place = random_place(g) & ~(u64)0x43f; /* aligned, and all in one page */
    emit_lea(g, reg, place);
    for (i32 n = 0; extended && n < 8; n++) {
        struct insn_ea header = {.base = reg, .index = REG_ZERO, .disp = 512 + 8 * n};
        emit(g, insn_mem(INSN_MOV_Ev_Iz, 0, header, true));
    }
    emit_mov(g, R_AX, below(g, 8));
    emit_mov(g, R_DX, 0);
    emit(g, insn_mem(extended ? INSN_XSAVE64_M : INSN_FXSAVE64_M, 0, ea, true));
    for (unsigned n = below(g, 3); n; n--)
        emit_any(g, one_in(g, 3) ? KIND_X87 : KIND_VECTOR);
    emit_mov(g, R_AX, below(g, 8));
    emit_mov(g, R_DX, 0);
    emit_lea(g, reg, place);
    emit(g, insn_mem(extended ? INSN_XRSTOR64_M : INSN_FXRSTOR64_M, 0, ea, true));
}

void item_state(struct gen *g)
{
    if (one_in(g, 2)) {
        save_and_restore(g);
        return;
    }
    g->wide_pointer = true;
    emit_any(g, KIND_STATE);
}
