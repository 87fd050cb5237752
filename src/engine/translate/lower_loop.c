/*
 * Loops whose accesses stay in a page for many turns (lower_plan.h).
 *
 * The block's own code has a probe for each access, and runs the first turn. Its jump back leads to `set_up`, which
 * notes for each key (accesses by the same registers) what the page of the turn just done is translated to, and how far
 * the register that moves may go before the accesses leave that page. Then turns run that have no probes:
 *
 *     set_up:  for each key: delta = table[page], limit = ...
 *     head:    for each key that moves: cmp register, limit; jg give_up
 *              the flags anew
 *              the instructions, with [delta + address] for those keys
 *              jcc head; jmp to where the block goes on
 *     give_up: the flags anew; jmp entry
 *
 * `set_up` and `head` use the flags freely, as those with which a turn begins can be made again: by the comparison that
 * set them, whose registers are still the same, or by an addition from its result. So the state is exact at each
 * instruction, and what faults, or is left by a kick, is as in other code; C always goes on in the block's own code.
 * What makes translations void comes from C code, which this code has then left.
 */
#include "engine/translate/lower.h"

#include "base/bits.h"

enum { CC_B = 2, CC_A = 7, CC_L = 12, CC_G = 15 };
#define OFFSET_MASK 0xfff
#define JCC_OPCODE  2 /* bytes before the displacement */

static void emit_imm(struct lower *l, enum isa_row_id row, unsigned rm, i64 imm, bool wide)
{
    emit_insn(&l->e, insn_with_imm(insn_reg(row, 0, (u8)rm, wide), (u64)imm));
}

static unsigned host_or_none(unsigned guest)
{
    return guest == REG_ZERO ? REG_ZERO : (unsigned)lower_host(guest);
}

static void lea(struct lower *l, unsigned to, unsigned base, unsigned index, unsigned scale, i32 disp)
{
    bool swap = index == HOST_SP; /* which cannot be one */
    struct insn_ea ea = {.base = (u8)(swap ? index : base), .index = (u8)(swap ? base : index), .disp = disp};
    ea.scale = (u8)(swap ? 0 : scale);
    emit_mem(&l->e, INSN_LEA_Gv_M, to, ea, true);
}

/* HOST_T2 = the first byte that the key accessed in the turn just done. */
static void last_address(struct lower *l, const struct loop_key *k)
{
    i64 step = k->moving == REG_ZERO ? 0 : k->moving == k->base ? k->step : k->step * (1 << k->scale);
    lea(l, HOST_T2, host_or_none(k->base), host_or_none(k->index), k->scale, (i32)(k->low - step));
}

/* HOST_T2 = how many of the register's steps of one fit between there and the page's end, or its start. */
static void room_left(struct lower *l, const struct loop_key *k, unsigned *crosses)
{
    emit_imm(l, INSN_AND_Ev_Iz, HOST_T2, OFFSET_MASK, false);
    emit_mov_imm(&l->e, HOST_T, MEM_PAGE_SIZE - k->span);
    emit_reg(&l->e, INSN_SUB_Gv_Ev, HOST_T, HOST_T2, true);
    *crosses = emit_jcc_hole(&l->e, CC_B);
    if (k->step > 0)
        emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T2, HOST_T, true);
    if (k->moving == k->index && k->scale)
        emit_imm(l, INSN_SHR_Ev_Ib, HOST_T2, k->scale, true);
}

static void note_limit(struct lower *l, unsigned n, unsigned *crosses)
{
    const struct loop_key *k = &l->loop->key[n];
    unsigned moving = (unsigned)lower_host(k->moving);
    room_left(l, k, crosses);
    lea(l, HOST_T, moving, REG_ZERO, 0, (i32)-k->step);
    emit_reg(&l->e, k->step > 0 ? INSN_ADD_Gv_Ev : INSN_SUB_Gv_Ev, HOST_T, HOST_T2, true);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_LOOP_LIMIT + n));
}

/* Jumps to `give_up` from here on. */
struct exits {
    unsigned hole[2 * LOOP_KEYS], count;
};

static void set_up(struct lower *l, struct exits *x)
{
    for (unsigned n = 0; n < l->loop->keys; n++) {
        const struct loop_key *k = &l->loop->key[n];
        last_address(l, k);
        emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T2, FRAME_AT(FRAME_MASK_PAGE));
        emit_insn(&l->e, insn_gs(INSN_MOV_Gv_Ev, HOST_T, HOST_T, WIN_TABLE, true));
        if (k->still != REG_ZERO)
            lea(l, HOST_T, HOST_T, (unsigned)lower_host(k->still), k->still == k->index ? k->scale : 0, 0);
        emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_LOOP_DELTA + n));
        if (k->moving != REG_ZERO) {
            note_limit(l, n, &x->hole[x->count++]);
            continue;
        }
        emit_imm(l, INSN_AND_Ev_Iz, HOST_T2, OFFSET_MASK, false);
        emit_imm(l, INSN_CMP_Ev_Iz, HOST_T2, MEM_PAGE_SIZE - k->span, false);
        x->hole[x->count++] = emit_jcc_hole(&l->e, CC_A);
    }
}

/* The flags with which a turn begins. */
static bool flags_again(struct lower *l)
{
    struct insn i = l->b->insn[l->loop->producer];
    if (i.row >= INSN_CMP_Eb_Gb) {
        u16 commit = l->b->commit[l->n]; /* this is none of its instruction's code */
        bool made = lower_copy(l, &i);
        l->b->commit[l->n] = commit;
        return made;
    }
    bool adds = i.row == INSN_ADD_Ev_Iz || i.row == INSN_ADD_Ev_sIb;
    if (lower_host(i.rm) < 0)
        return false;
    lea(l, HOST_T, (unsigned)lower_host(i.rm), REG_ZERO, 0, (i32)(adds ? -(i64)i.imm : (i64)i.imm));
    i.rm = HOST_T;
    return emit_try(&l->e, &i);
}

static void look_at_limits(struct lower *l, struct exits *x)
{
    for (unsigned n = 0; n < l->loop->keys; n++) {
        const struct loop_key *k = &l->loop->key[n];
        if (k->moving == REG_ZERO)
            continue;
        emit_gs(&l->e, INSN_CMP_Gv_Ev, (unsigned)lower_host(k->moving), FRAME_AT(FRAME_LOOP_LIMIT + n));
        x->hole[x->count++] = emit_jcc_hole(&l->e, k->step > 0 ? CC_G : CC_L);
    }
}

/* A conditional jump in the middle: if it is taken, the block's own one is, too, and knows where to. */
static void make_side(struct lower *l, unsigned which)
{
    struct block *b = l->b;
    b->at[l->n] = b->commit[l->n] = (u16)l->e.len;
    unsigned hole = emit_jcc_hole(&l->e, b->insn[l->n].opcode & 15);
    emit_aim(&l->e, hole, b->check + b->link[which].hole - JCC_OPCODE);
}

static void make_turn(struct lower *l, u64 head)
{
    struct block *b = l->b;
    unsigned last = b->count - 1u;
    unsigned side = LINK_SIDE;
    for (l->n = 0; l->n < last; l->n++) {
        if (insn_is_jcc(&b->insn[l->n]))
            make_side(l, side++);
        else
            lower_insn(l, &b->insn[l->n]);
    }
    b->at[last] = b->commit[last] = (u16)l->e.len;
    emit_aim(&l->e, emit_jcc_hole(&l->e, b->insn[last].opcode & 15), head);
    emit_jmp(&l->e, b->check + b->link[0].hole - 1);
    b->at[b->count] = b->commit[b->count] = (u16)l->e.len;
}

static void swap_places(struct block *b)
{
    u16 *at = b->at, *commit = b->commit;
    b->at = b->loop_at;
    b->commit = b->loop_commit;
    b->loop_at = at;
    b->loop_commit = commit;
}

/* False if it is not worth it, or not possible. */
static bool make_loop(struct lower *l, unsigned entry)
{
    struct exits x = {0};
    struct block *b = l->b;
    set_up(l, &x);
    u64 head = emit_here(&l->e);
    look_at_limits(l, &x);
    if (!flags_again(l))
        return false;
    l->ready = l->e.held = 0;
    l->checked = 0;
    swap_places(b);
    make_turn(l, head);
    swap_places(b);
    b->loop_give_up = (u16)l->e.len;
    for (unsigned n = 0; n < x.count; n++)
        emit_bind(&l->e, x.hole[n]);
    (void)flags_again(l);
    emit_jmp(&l->e, b->check + entry);
    return !b->calls;
}

void lower_turns(struct lower *l, unsigned entry)
{
    struct block *b = l->b;
    bool native = b->loop_at && b->loop_commit && !b->calls && !b->forced && b->link[1].hole;
    if (!native || l->t->check || !plan_loop(l->loop, b))
        return;
    unsigned start = l->e.len, cold = l->cold_count, fixes = l->fixes;
    l->in_loop = true;
    bool made = make_loop(l, entry);
    l->in_loop = false;
    l->e.held = 0;
    if (!made) {
        l->e.len = start;
        l->cold_count = cold;
        l->fixes = fixes;
        b->calls = 0;
        return;
    }
    emit_aim(&l->e, b->link[1].hole, b->check + start);
    b->link[1].hole = 0;
    b->loop = (u16)start;
    b->loop_end = (u16)l->e.len;
    l->t->stats.loops++;
}
