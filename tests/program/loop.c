/* Loops of one block, whose registers move by constants: what a translator may take its checks out of. */
#include "gen.h"

struct loop {
    u8 pointer[2], index, counter;
    u32 head;
};

static u8 data_reg(struct gen *g, const struct loop *l)
{
    static const u8 regs[] = {R_AX, R_DX, 11, 12, 13, 14, 15};
    u8 reg = regs[below(g, ARRAY_SIZE(regs))];
    return reg == l->counter ? R_AX : reg;
}

/*
 * A loop that strays through the views of memory reads and writes by translations that were edited elsewhere, and then
 * it matters what is still in a TLB. Where engines are interrupted, which empties it, loops stay where they begin.
 */
static bool is_calm(const struct gen *g)
{
    return g->o->interrupted;
}

/* Mostly by little, at times by what leaves pages soon, up or down. */
static i64 step_of(struct gen *g)
{
    static const i16 steps[] = {1, 2, 4, 8, 16, 32, 64, 24, 320, 1024, 1500, 0};
    i64 step = steps[below(g, is_calm(g) ? 5 : ARRAY_SIZE(steps))];
    return one_in(g, 3) ? -step : step;
}

static struct insn_ea place(struct gen *g, const struct loop *l)
{
    struct insn_ea ea = {.base = l->pointer[below(g, 2)], .index = REG_ZERO};
    if (one_in(g, 3)) {
        ea.index = l->index;
        ea.scale = (u8)below(g, 4);
    }
    ea.disp = !is_calm(g) && one_in(g, 6) ? (i32)below(g, 5000) - 2500 : (i32)below(g, 64) - 32;
    return ea;
}

static void access(struct gen *g, const struct loop *l)
{
    static const u16 rows[] = {INSN_MOV_Gv_Ev,   INSN_MOV_Ev_Gv,    INSN_ADD_Gv_Ev,      INSN_XOR_Ev_Gv, INSN_CMP_Gv_Ev,
                               INSN_MOV_Eb_Gb,   INSN_MOVZX_Gv_Eb,  INSN_MOVUPS_Vdq_Wdq, INSN_ADC_Ev_Gv, INSN_INC_Ev,
                               INSN_CMOVB_Gv_Ev, INSN_PXOR_Vdq_Wdq, INSN_MOVUPS_Wdq_Vdq, INSN_SETB_Eb};
    unsigned row = rows[below(g, ARRAY_SIZE(rows))];
    emit(g, insn_mem(row, data_reg(g, l), place(g, l), one_in(g, 2)));
}

static void move(struct gen *g, const struct loop *l, bool keep_flags)
{
    u8 reg = one_in(g, 3) ? l->index : l->pointer[below(g, 2)];
    i64 step = step_of(g);
    struct insn i = insn_reg(one_in(g, 2) ? INSN_ADD_Ev_Iz : INSN_SUB_Ev_Iz, 0, reg, is_calm(g) || !one_in(g, 8));
    i.imm = (u64)step;
    if (keep_flags || one_in(g, 3))
        i = insn_mem(INSN_LEA_Gv_M, reg, (struct insn_ea){.base = reg, .index = REG_ZERO, .disp = (i32)step}, true);
    emit(g, i);
}

static void other(struct gen *g, const struct loop *l)
{
    static const u16 rows[] = {INSN_ADD_Gv_Ev, INSN_TEST_Ev_Gv, INSN_SHL_Ev_One,
                               INSN_MOV_Gv_Ev, INSN_NOT_Ev,     INSN_SBB_Gv_Ev};
    u8 to = data_reg(g, l), from = one_in(g, 4) ? l->index : data_reg(g, l);
    unsigned row = rows[below(g, ARRAY_SIZE(rows))];
    emit(g, insn_reg(row, to, row == INSN_SHL_Ev_One || row == INSN_NOT_Ev ? to : from, true));
}

static void count_down(struct gen *g, const struct loop *l, unsigned row)
{
    struct insn i = insn_reg(row, 0, l->counter, one_in(g, 2));
    i.imm = row == INSN_ADD_Ev_Iz ? ~0ull : 1;
    emit(g, i);
}

/* The flags that the last jump reads, in all ways in which compilers do that, and in some that they do not. */
static void step_counter(struct gen *g, const struct loop *l)
{
    static const u16 rows[] = {INSN_SUB_Ev_sIb, INSN_ADD_Ev_Iz, INSN_DEC_Ev, INSN_SUB_Ev_Iz};
    unsigned how = below(g, 6);
    if (how < 4) {
        count_down(g, l, rows[how]);
        return;
    }
    emit(g, insn_mem(INSN_LEA_Gv_M, l->counter, (struct insn_ea){.base = l->counter, .index = REG_ZERO, .disp = -1},
                     true));
    if (one_in(g, 2))
        access(g, l);
    emit(g, insn_reg(how == 4 ? INSN_TEST_Ev_Gv : INSN_CMP_Ev_sIb, how == 4 ? l->counter : 0, l->counter, true));
}

static void emit_back(struct gen *g, u32 head)
{
    struct insn i = insn_reg(INSN_JNZ_Jz, 0, 0, false);
    u8 bytes[INSN_MAX_BYTES];
    i.imm = (u64)((i64)head - (i64)(g->at + insn_encode(&i, bytes)));
    emit(g, i);
}

/* A conditional jump over the next access. */
static void skip(struct gen *g, const struct loop *l)
{
    emit(g, insn_reg(INSN_JO_Jb + below(g, 16), 0, 0, false));
    u32 from = g->at;
    access(g, l);
    if (g->at > from) /* what could not be encoded is not there */
        g->p->ram[PA_ARENA + from - 1] = (u8)(g->at - from);
}

void item_loop(struct gen *g)
{
    static const u8 pointers[] = {R_BX, R_SI, R_DI, R_BP, 8, 9};
    unsigned first = below(g, ARRAY_SIZE(pointers));
    struct loop l = {.pointer = {pointers[first], pointers[(first + 1 + below(g, 4)) % ARRAY_SIZE(pointers)]},
                     .index = 10,
                     .counter = one_in(g, 4) ? 14 : R_CX};
    set_pointer(g, l.pointer[0]);
    set_pointer(g, l.pointer[1]);
    u32 far = is_calm(g) ? 16 : 300, turns = is_calm(g) ? 30 : 200;
    emit_mov(g, l.index, one_in(g, 4) ? 0ull - below(g, far) : below(g, far));
    emit_mov(g, l.counter, one_in(g, 6) ? 1 + below(g, 3) : 4 + below(g, turns));
    l.head = g->at;
    for (unsigned n = 1 + below(g, 7); n; n--) {
        if (n > 1 && one_in(g, 8))
            skip(g, &l);
        else if (one_in(g, 3))
            move(g, &l, false);
        else if (one_in(g, 4))
            other(g, &l);
        else
            access(g, &l);
    }
    step_counter(g, &l);
    if (one_in(g, 5)) /* or it goes on for long */
        move(g, &l, true);
    emit_back(g, l.head);
    g->use[l.index] = g->use[l.counter] = REG_DATA;
}
