/*
 * Memory operands: from guest registers to a host address.
 *
 *     lea   t, [base + disp]                the linear address
 *     pext  t, t, gs:[size - 1]             is it aligned? Flags stay as they are, for faults to show
 *     jrcxz on; jmp cold
 * on: lea   t, [base + disp]
 *     pext  t, t, gs:[page mask]            its page number
 *     mov   t, gs:[WIN_TABLE + t * 8]       host address minus linear address (window.h)
 *     ...   [t + base + disp]               the access: faults on the host if the page has no entry
 *
 * An access must not cross into a page that lies elsewhere on the host. Aligned ones cannot; the others are left to the
 * semantics, or, where a site is known to be misaligned, compared with the end of the page.
 *
 * For the stack a load stands in place of the branch:
 *     movzx t, gs:[WIN_SPAN + t * 2 ...]    faults on the host if the access is not aligned (crosses the page)
 * JRCXZ is the only branch that goes without flags, and slow. But a fault takes microseconds, so an instruction that
 * was seen to cross pages gets the branch after all.
 */
#include "engine/translate/lower.h"

#include "base/bits.h"

#define LOOP_HELD 0x40 /* in l->e.held, and the key's number from 1 */

static struct insn_ea ea_of(unsigned base, unsigned index, unsigned scale, i32 disp)
{
    /* RSP cannot be an index. */
    if (index == HOST_SP && scale == 0)
        return (struct insn_ea){.base = HOST_SP, .index = (u8)base, .disp = disp};
    return (struct insn_ea){.base = (u8)base, .index = (u8)index, .scale = (u8)scale, .disp = disp};
}

static void lea(struct lower *l, unsigned to, struct insn_ea ea)
{
    emit_mem(&l->e, INSN_LEA_Gv_M, to, ea, true);
}

static enum frame_word align_mask(unsigned size)
{
    return size <= 2    ? FRAME_MASK_1
           : size <= 4  ? FRAME_MASK_3
           : size <= 8  ? FRAME_MASK_7
           : size <= 16 ? FRAME_MASK_15
                        : FRAME_MASK_31;
}

void lower_require_zero(struct lower *l)
{
    unsigned ok = emit_jrcxz_hole(&l->e);
    lower_cold(l, emit_jmp_hole(&l->e));
    emit_bind_short(&l->e, ok);
}

static const struct planned *place_of(const struct lower *l, const struct operand *o)
{
    return &l->plan->at[l->n][o->access];
}

/* HOST_T * 2 + from is less than WIN_SPAN_SIZE, or the host faults. The scale is to keep the place apart from the
 * access's: a load waits for a store before it whose address has the same lower 12 bits. */
static void require_span(struct lower *l, unsigned from)
{
    struct insn i = insn_mem(INSN_MOVZX_Gv_Eb, HOST_T, ea_of(REG_ZERO, HOST_T, 1, WIN_SPAN + (i32)from), false);
    i.seg = SEG_GS;
    emit_insn(&l->e, i);
}

/* Stacks are where code has many short blocks. Elsewhere it is often loads that are scarce. */
static bool by_load(const struct operand *o)
{
    return o->base == R_SP && !o->crosses;
}

/* Are all of `span` bytes from the address in `reg` on in one page? Clobbers HOST_T and no flags. `reg` may be HOST_T.
 */
static void check_span(struct lower *l, const struct operand *o, unsigned reg, unsigned span)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, reg, FRAME_AT(FRAME_MASK_OFFSET));
    if (by_load(o)) {
        require_span(l, 2 * (span - 1));
        return;
    }
    lea(l, HOST_T, ea_of(HOST_T, REG_ZERO, 0, (i32)span - 1));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_CROSS));
    lower_require_zero(l);
}

/* The same for the access itself. */
static void check_place(struct lower *l, const struct operand *o, unsigned reg)
{
    if (o->size <= 1)
        return;
    if (o->unaligned) {
        check_span(l, o, reg, o->size);
        return;
    }
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, reg, FRAME_AT(align_mask(o->size)));
    if (by_load(o))
        require_span(l, WIN_SPAN_SIZE - 1);
    else
        lower_require_zero(l);
    l->checked |= BIT64(l->n);
}

static void translate_page(struct lower *l, unsigned from)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, from, FRAME_AT(FRAME_MASK_PAGE));
    emit_insn(&l->e, insn_gs(INSN_MOV_Gv_Ev, HOST_T, HOST_T, WIN_TABLE, true));
}

static bool unchecked(const struct lower *l, const struct operand *o)
{
    unsigned checker = place_of(l, o)->checker;
    return o->size <= 1 || o->enforced || (checker && l->checked >> (checker - 1) & 1);
}

static bool follows(const struct lower *l, const struct operand *o)
{
    const struct planned *p = place_of(l, o);
    return p->role == ROLE_FOLLOWS && l->ready >> p->group & 1;
}

/* HOST_T = what the group's page was translated to. */
static void follow_group(struct lower *l, const struct operand *o)
{
    unsigned group = place_of(l, o)->group;
    if (l->e.held != group + 1)
        emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, FRAME_AT(FRAME_DELTA + group));
    l->e.held = (u8)(group + 1);
}

/* HOST_T is that: for the others of the group. */
static void lead_group(struct lower *l, const struct operand *o)
{
    unsigned group = place_of(l, o)->group;
    if (place_of(l, o)->role != ROLE_LEADS)
        return;
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_DELTA + group));
    l->ready |= (u8)(1u << group);
    l->e.held = (u8)(group + 1);
}

/* HOST_T = what the page of the loop's access is translated to; the loop's head has looked at all else. */
static bool hold_loop(struct lower *l, const struct operand *o)
{
    unsigned key = l->in_loop ? l->loop->of[l->n][o->access] : 0;
    if (!key)
        return false;
    if (l->e.held != LOOP_HELD + key)
        emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, FRAME_AT(FRAME_LOOP_DELTA + key - 1));
    l->e.held = (u8)(LOOP_HELD + key);
    return true;
}

/* The loop's access by a register that moves and one that does not: that one is in what HOST_T gets already. */
static bool address_loop(struct lower *l, const struct operand *o, struct insn_ea *out)
{
    unsigned key = l->in_loop ? l->loop->of[l->n][o->access] : 0;
    const struct loop_key *k = key ? &l->loop->key[key - 1] : NULL;
    if (!k || k->still == REG_ZERO)
        return false;
    (void)hold_loop(l, o);
    if (k->moving == k->index)
        *out = ea_of(HOST_T, (unsigned)lower_host(o->index), o->scale, l->loop->from[l->n].index);
    else
        *out = ea_of(HOST_T, (unsigned)lower_host(o->base), 0, l->loop->from[l->n].base);
    return true;
}

/* The group's bytes are in one page. `ea` is the access's linear address. */
static void check_group(struct lower *l, const struct operand *o, struct insn_ea ea)
{
    const struct planned *p = place_of(l, o);
    ea.disp += p->low;
    bool bare = ea.disp == 0 && ea.index == REG_ZERO;
    if (!bare)
        lea(l, HOST_T, ea);
    unsigned from = bare ? ea.base : HOST_T;
    if (p->low == 0 && p->span <= o->size) /* the bytes of this one access */
        check_place(l, o, from);
    else
        check_span(l, o, from, p->span);
}

/* One register with a displacement or a scale: it stays where it is, so HOST_T is enough. */
static void address_simple(struct lower *l, const struct operand *o, struct insn_ea ea)
{
    bool bare = ea.disp == 0 && ea.index == REG_ZERO;
    unsigned from = bare ? ea.base : HOST_T;
    if (hold_loop(l, o))
        return;
    if (follows(l, o)) {
        follow_group(l, o);
        return;
    }
    if (place_of(l, o)->role == ROLE_LEADS) {
        check_group(l, o, ea);
    } else if (!unchecked(l, o)) {
        if (!bare)
            lea(l, HOST_T, ea);
        check_place(l, o, from);
    }
    if (!bare)
        lea(l, HOST_T, ea);
    translate_page(l, from);
    lead_group(l, o);
}

/* HOST_T2 = the linear address. HOST_T holds the index where that lives in memory. */
static void address_sum(struct lower *l, const struct operand *o)
{
    unsigned base = o->base, index = o->index;
    bool segment = o->seg == SEG_FS || o->seg == SEG_GS;
    if (base == REG_RIP) {
        l->moves &= !o->ashift;
        lower_mov_rip(l, HOST_T2, (l->b->rip + (u64)o->disp) << o->ashift >> o->ashift);
        if (!segment)
            return;
        emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, CPU_AT(seg_base) + 8 * o->seg);
        lea(l, HOST_T2, ea_of(HOST_T2, HOST_T, 0, 0));
        return;
    }
    if (segment)
        emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, CPU_AT(seg_base) + 8 * o->seg);
    i32 disp = (i32)o->disp;
    if (base != REG_ZERO) {
        unsigned host = segment ? HOST_T : HOST_T2;
        if (lower_host(base) >= 0)
            host = (unsigned)lower_host(base);
        else
            lower_load(l, base, host);
        base = host;
    }
    if (segment) {
        if (base != REG_ZERO)
            lea(l, HOST_T2, ea_of(HOST_T2, base, 0, 0));
        base = HOST_T2;
    }
    if (index != REG_ZERO) {
        if (lower_host(index) < 0)
            lower_load(l, index, HOST_T);
        index = lower_host(index) < 0 ? HOST_T : (unsigned)lower_host(index);
    }
    if (base == REG_ZERO && index == REG_ZERO) {
        emit_mov_imm(&l->e, HOST_T2, (u64)o->disp << o->ashift >> o->ashift);
        return;
    }
    struct insn i = insn_mem(INSN_LEA_Gv_M, HOST_T2, ea_of(base, index, o->scale, disp), true);
    i.ashift = o->ashift;
    emit_insn(&l->e, i);
}

/* HOST_T2 holds the linear address, HOST_T gets what is to be added. */
static void translate_t2(struct lower *l, const struct operand *o)
{
    if (hold_loop(l, o))
        return;
    if (follows(l, o)) {
        follow_group(l, o);
        return;
    }
    if (place_of(l, o)->role == ROLE_LEADS)
        check_group(l, o, ea_of(HOST_T2, REG_ZERO, 0, 0));
    else if (!unchecked(l, o))
        check_place(l, o, HOST_T2);
    translate_page(l, HOST_T2);
    lead_group(l, o);
}

void lower_address_at_t2(struct lower *l, unsigned size)
{
    struct operand o = {.size = size, .unaligned = l->b->unaligned >> l->n & 1, .crosses = l->b->crosses >> l->n & 1};
    translate_t2(l, &o);
    lea(l, HOST_T2, ea_of(HOST_T, HOST_T2, 0, 0));
}

static struct insn_ea address_general(struct lower *l, const struct operand *o)
{
    address_sum(l, o);
    translate_t2(l, o);
    return ea_of(HOST_T, HOST_T2, 0, 0);
}

/* Is the address known already, with all its bytes in one page? */
static bool fixed_address(const struct lower *l, const struct operand *o, u64 *at)
{
    bool relative = o->base == REG_RIP;
    if (o->seg == SEG_FS || o->seg == SEG_GS || (!relative && o->base != REG_ZERO) || o->index != REG_ZERO)
        return false;
    *at = ((relative ? l->b->rip : 0) + (u64)o->disp) << o->ashift >> o->ashift;
    return o->size && *at % MEM_PAGE_SIZE + o->size <= MEM_PAGE_SIZE;
}

/* Nothing is left to look at, and the page's number is a constant. */
static struct insn_ea address_fixed(struct lower *l, bool relative, u64 at)
{
    u64 page = at / MEM_PAGE_SIZE % WIN_PAGES, entry = WIN_TABLE + page * 8;
    if (entry == (u64)(i32)entry) {
        emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, (i32)entry);
    } else {
        emit_mov_imm(&l->e, HOST_T, page);
        if (relative)
            lower_fix(l, FIX_PAGE, 0);
        emit_insn(&l->e, insn_gs(INSN_MOV_Gv_Ev, HOST_T, HOST_T, WIN_TABLE, true));
    }
    if (at == (u64)(i64)(i32)at)
        return ea_of(HOST_T, REG_ZERO, 0, (i32)at);
    emit_mov_imm(&l->e, HOST_T2, at);
    if (relative)
        lower_fix(l, FIX_RIP, 0);
    return ea_of(HOST_T, HOST_T2, 0, 0);
}

/* The operand as an address of the host's registers, if it is one register that lives in one. */
static bool simple_ea(const struct operand *o, struct insn_ea *ea)
{
    if (o->ashift || o->seg == SEG_FS || o->seg == SEG_GS || o->base == REG_RIP)
        return false;
    bool base = o->base != REG_ZERO, index = o->index != REG_ZERO;
    if (base == index || lower_host(base ? o->base : o->index) < 0)
        return false;
    unsigned reg = (unsigned)lower_host(base ? o->base : o->index);
    *ea = base ? ea_of(reg, REG_ZERO, 0, (i32)o->disp) : ea_of(REG_ZERO, reg, o->scale, (i32)o->disp);
    return true;
}

bool lower_address(struct lower *l, const struct operand *o, enum address_want want, struct insn_ea *out)
{
    struct insn_ea ea;
    u64 at;
    bool far = o->disp != (i32)o->disp && o->base != REG_RIP;
    if (far || (o->ashift && (o->seg == SEG_FS || o->seg == SEG_GS)) || o->ashift > 32)
        return false;
    if (address_loop(l, o, &ea)) {
        *out = ea;
    } else if (fixed_address(l, o, &at)) {
        l->moves &= o->base != REG_RIP || !o->ashift;
        *out = address_fixed(l, o->base == REG_RIP, at);
    } else if (simple_ea(o, &ea)) {
        address_simple(l, o, ea);
        *out = ea.base == REG_ZERO ? ea_of(HOST_T, ea.index, ea.scale, ea.disp) : ea_of(HOST_T, ea.base, 0, ea.disp);
    } else {
        *out = address_general(l, o);
    }
    if (want == ADDRESS_ANY)
        return true;
    unsigned to = want == ADDRESS_IN_T ? HOST_T : HOST_T2;
    lea(l, to, *out);
    *out = ea_of(to, REG_ZERO, 0, 0);
    return true;
}

struct operand operand_of(const struct lower *l, const struct insn *i)
{
    unsigned size = insn_mem_size(i);
    return (struct operand){
        .access = PLAN_OPERAND,
        .base = i->base,
        .index = i->index,
        .scale = i->scale,
        .seg = i->seg,
        .ashift = i->ashift,
        .disp = i->disp,
        .size = size,
        .enforced = isa_rows[i->row].attrs & A_ALIGN,
        .unaligned = l->b->unaligned >> l->n & 1 || (size & (size - 1)), /* such a one is never aligned */
        .crosses = l->b->crosses >> l->n & 1,
    };
}

struct operand operand_stack(i64 disp)
{
    return (struct operand){
        .access = PLAN_STACK, .base = R_SP, .index = REG_ZERO, .seg = SEG_SS, .disp = disp, .size = 8};
}
