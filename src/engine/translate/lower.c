/*
 * Blocks to code: the frame of a block, and what is left to semantics (engine/translate/lower.h).
 *
 *     check:  is the target of the indirect jump, in HOST_T, this block? If not, leave
 *     entry:  the jump to `body` if the second page is what it was, of an instruction that lies in two (block_cross.c)
 *     body:   instruction 0, 1, ...; the jumps on
 *             cold: where instructions are left to their semantics; links that are not patched yet
 *     end:    where a dead block leaves
 */
#include "engine/translate/lower.h"

#include <string.h>

#include "base/bits.h"
#include "engine/translate/check.h"

int lower_host(unsigned guest)
{
    return guest == R_CX ? HOST_CX : guest < 14 ? (int)guest : -1;
}

static i32 gpr_at(unsigned guest)
{
    return CPU_AT(gpr) + 8 * (i32)guest;
}

void lower_load(struct lower *l, unsigned guest, unsigned host)
{
    emit_gs(&l->e, INSN_MOV_Gv_Ev, host, gpr_at(guest));
}

void lower_store(struct lower *l, unsigned guest, unsigned host)
{
    emit_gs(&l->e, INSN_MOV_Ev_Gv, host, gpr_at(guest));
}

void lower_cold(struct lower *l, unsigned hole)
{
    if (l->cold_count == COLD_MAX) {
        l->e.ok = false;
        return;
    }
    l->cold[l->cold_count++] = (struct cold){.hole = hole, .n = (u8)l->n};
}

/* ------ what a twin has otherwise ------ */

static unsigned fix_size(enum fix_kind kind)
{
    return kind <= FIX_PAGE ? 8 : 4;
}

void lower_fix(struct lower *l, enum fix_kind kind, unsigned which)
{
    if (!l->moves || !l->e.ok)
        return;
    l->moves = l->fixes < FIXES_MAX;
    if (l->moves)
        l->fix[l->fixes++] = (struct fix){.at = (u16)(l->e.len - fix_size(kind)), .kind = (u8)kind, .which = (u8)which};
}

void lower_mov_rip(struct lower *l, unsigned reg, u64 value)
{
    emit_mov_imm(&l->e, reg, value);
    lower_fix(l, FIX_RIP, 0);
}

/* As the kind of fix says: of the block, of its link n, of its instruction n. */
static u64 number(const struct lower *l, enum fix_kind kind, unsigned n)
{
    return (u64)l->b->id * (kind == FIX_BLOCK ? 1 : kind == FIX_LINK ? LINKS : BLOCK_MAX) + n;
}

static void mov_number(struct lower *l, enum fix_kind kind, unsigned n)
{
    emit_mov_imm(&l->e, HOST_T, number(l, kind, n));
    lower_fix(l, kind, 0);
}

void lower_mov_number(struct lower *l)
{
    mov_number(l, FIX_INSN, l->n);
}

void lower_note_number(struct lower *l, enum frame_word word)
{
    emit_gs_imm(&l->e, FRAME_AT(word), (i32)number(l, FIX_INSN, l->n));
    lower_fix(l, FIX_INSN, 0);
}

void lower_jmp_glue(struct lower *l, u64 piece)
{
    emit_jmp(&l->e, piece);
    lower_fix(l, FIX_HOST, 0);
}

static void leave(struct lower *l, enum fix_kind kind, unsigned n, u64 exit)
{
    mov_number(l, kind, n);
    lower_jmp_glue(l, exit);
}

void lower_call(struct lower *l)
{
    lower_cold(l, emit_jmp_hole(&l->e));
    l->b->calls |= 1ull << l->n;
}

/*
 * An indirect jump found this block by a hash of the target. HOST_T minus this block's rip is 0 if it is the right one;
 * JRCXZ asks that without touching flags.
 */
static void make_check(struct lower *l)
{
    u64 rip = l->b->rip;
    struct emit *e = &l->e;
    bool far = -rip != (u64)(i64)(i32)-rip || rip != (u64)(i64)(i32)rip;
    struct insn_ea away = {.base = HOST_T, .index = far ? HOST_T2 : REG_ZERO, .disp = far ? 0 : (i32)-rip};
    struct insn_ea back = {.base = HOST_T, .index = far ? HOST_T2 : REG_ZERO, .disp = far ? 0 : (i32)rip};
    if (far) {
        emit_mov_imm(e, HOST_T2, -rip);
        lower_fix(l, FIX_MINUS_RIP, 0);
    }
    emit_mem(e, INSN_LEA_Gv_M, HOST_T, away, true);
    unsigned same = emit_jrcxz_hole(e);
    if (far)
        lower_mov_rip(l, HOST_T2, rip);
    emit_mem(e, INSN_LEA_Gv_M, HOST_T, back, true);
    lower_jmp_glue(l, l->t->cache->glue.exit_indirect);
    emit_bind_short(e, same);
}

static bool copies(const struct lower *l, const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    if (row->attrs & (A_X87 | A_MMX) && !(l->b->flavour & FLAVOUR_X87))
        return false;
    if (row->attrs & A_AVX)
        return l->b->flavour & FLAVOUR_AVX;
    if (row->attrs & A_SSE)
        return l->b->flavour & FLAVOUR_SSE;
    return true;
}

/* Code that could not be made is taken back. */
void lower_insn(struct lower *l, const struct insn *i)
{
    unsigned len = l->e.len, cold = l->cold_count, fixes = l->fixes;
    u8 ready = l->ready;
    if (!(l->plan->relies >> l->n & 1) && !l->in_loop)
        l->e.held = 0;
    l->b->at[l->n] = l->b->commit[l->n] = (u16)len;
    struct link before[2] = {l->b->link[0], l->b->link[1]};
    bool allowed = !(l->b->forced >> l->n & 1) && (!l->t->check || check_allows(i));
    if (allowed && copies(l, i) &&
        (lower_flow(l, i) || lower_system(l, i) || lower_ring(l, i) || lower_x87(l, i) || lower_copy(l, i)))
        return;
    l->e.len = len;
    l->cold_count = cold;
    l->fixes = fixes;
    l->ready = ready;
    l->checked &= ~BIT64(l->n);
    l->e.held = 0;
    l->b->link[0] = before[0];
    l->b->link[1] = before[1];
    l->b->commit[l->n] = (u16)len;
    lower_call(l);
}

static void go_by_link(struct lower *l, unsigned which)
{
    u32 slot = l->b->link[which].slot;
    if (slot == LINK_NONE) {
        leave(l, FIX_LINK, which, l->t->cache->glue.exit_link);
        return;
    }
    mov_number(l, FIX_LINK, which);
    emit_jmp_gs(&l->e, REG_ZERO, WIN_SLOT + 8 * (i32)slot);
    lower_fix(l, FIX_SLOT, which);
}

static void make_cold(struct lower *l)
{
    for (unsigned k = 0; k < l->cold_count; k++) {
        const struct cold *c = &l->cold[k];
        emit_bind(&l->e, c->hole);
        leave(l, FIX_INSN, c->n, l->t->cache->glue.exit_call);
    }
    for (unsigned which = 0; which < LINKS; which++) {
        struct link *link = &l->b->link[which];
        if (!link->hole)
            continue;
        emit_bind(&l->e, link->hole);
        link->stub = (u16)l->e.len;
        go_by_link(l, which);
    }
}

static bool same_page(u64 a, u64 b)
{
    return (a ^ b) >> 12 == 0;
}

/* The displacement at `hole` is patched later, or leads to cold code that goes by the window's slot. */
static void set_link(struct lower *l, unsigned which, u64 target, unsigned hole)
{
    u32 slot = same_page(target, l->b->rip) ? LINK_NONE : code_cache_slot_locked(l->t->cache, target);
    l->b->link[which] = (struct link){.target = target, .hole = (u16)hole, .slot = slot};
}

void lower_link(struct lower *l, unsigned which, u64 target)
{
    set_link(l, which, target, emit_jmp_link(&l->e));
}

void lower_exit_link(struct lower *l, unsigned which, u64 target)
{
    l->b->link[which].target = target;
    leave(l, FIX_LINK, which, l->t->cache->glue.exit_link);
}

void lower_link_if(struct lower *l, unsigned which, u64 target, unsigned cc)
{
    set_link(l, which, target, emit_jcc_link(&l->e, cc));
}

/* What is to be corrected in a twin's code is kept with the block. */
static void keep_fixes(struct lower *l)
{
    struct block *b = l->b;
    if (!l->moves)
        return;
    b->fix = code_cache_take_locked(l->t->cache, l->fixes * sizeof(struct fix));
    b->fixes = (u16)l->fixes;
    if (b->fix)
        memcpy(b->fix, l->fix, l->fixes * sizeof(struct fix));
}

bool lower_block(struct translator *t, struct block *b)
{
    u8 buf[CODE_ROOM];
    struct plan plan;
    struct plan_loop loop;
    struct fix fix[FIXES_MAX];
    struct cold cold[COLD_MAX];
    struct lower l = {.t = t, .b = b, .plan = &plan, .loop = &loop, .fix = fix, .cold = cold};
    l.moves = !b->page2 && twin_moves(b->rip);
    l.e = (struct emit){.buf = buf, .size = sizeof(buf), .run = b->check, .ok = true};
    plan_block(&plan, b);
    b->relies = plan.relies;
    make_check(&l);
    unsigned entry = l.e.len;
    if (b->page2)
        go_by_link(&l, LINK_CROSS);
    unsigned body = l.e.len;
    lower_x87_check(&l);
    for (l.n = 0; l.n < b->count; l.n++)
        lower_insn(&l, &b->insn[l.n]);
    b->at[b->count] = b->commit[b->count] = (u16)l.e.len;
    if (b->runs_on)
        lower_link(&l, 0, b->rip + b->bytes);
    lower_turns(&l, entry);
    make_cold(&l);
    unsigned end = l.e.len;
    leave(&l, FIX_BLOCK, 0, t->cache->glue.exit_dead);
    if (!l.e.ok || l.e.len > UINT16_MAX || !code_add(t->cache->area, buf, l.e.len))
        return false;
    b->entry = b->check + entry;
    b->body = b->check + body;
    b->end = b->check + end;
    b->code_bytes = (u16)l.e.len;
    keep_fixes(&l);
    return true;
}
