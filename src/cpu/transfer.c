/*
 * Far JMP, CALL and RET: see cpu/transfer.h. Call gates: SDM volume 3 section 5.8.3 to 5.8.6.
 */
#include "cpu/transfer.h"

#include "cpu/access.h"
#include "cpu/fault.h"
#include "cpu/return.h"
#include "cpu/segment.h"
#include "cpu/task.h"

#define GATE_INDEX MMU_SUPER_SMAP /* implicit supervisor access */

static bool no_protection(const struct cpu *c)
{
    return cpu_real_mode(c) || cpu_v86(c);
}

static void transfer_real(struct cpu *c, u16 sel, u64 ip)
{
    ip_check(c, &c->seg[SEG_CS], ip);
    seg_set_real(c, SEG_CS, sel);
    cpu_derive(c);
    cpu_jump(c, ip);
}

/* A code segment that is named directly: privilege does not change. */
static void code_check(struct cpu *c, const struct desc *d)
{
    const struct cpu_seg *s = &d->seg;
    u16 code = sel_code(s->sel);
    unsigned rpl = s->sel & 3, dpl = seg_dpl(s);
    if (seg_is_code64(c, s) && s->attr & DA_DB)
        cpu_gp(c, code);
    if (seg_is_conforming(s) ? dpl > c->cpl : rpl > c->cpl || dpl != c->cpl)
        cpu_gp(c, code);
    if (!seg_present(s))
        cpu_fault_code(c, EXC_NP, code);
}

struct call_gate {
    u16 sel;
    u64 offset;
    unsigned width, params;
};

/* The gate itself, and the code segment behind it as far as JMP and CALL agree. */
static void gate_check(struct cpu *c, struct desc *gate, struct call_gate *g, struct desc *cs)
{
    u16 code = sel_code(gate->seg.sel);
    unsigned dpl = seg_dpl(&gate->seg);
    if (dpl < c->cpl || dpl < (gate->seg.sel & 3u))
        cpu_gp(c, code);
    if (!seg_present(&gate->seg))
        cpu_fault_code(c, EXC_NP, code);
    g->sel = (u16)(gate->lo >> 16);
    g->offset = (gate->lo & 0xffff) | (gate->hi & 0xffff0000);
    g->params = gate->hi & 31;
    g->width = seg_type(&gate->seg) & 8 ? 4 : 2;
    if (g->width == 2)
        g->offset &= 0xffff;
    if (cpu_long_mode(c)) {
        g->offset |= (u64)desc_read_upper(c, gate, EXC_GP) << 32;
        g->width = 8;
    }
    if (sel_is_null(g->sel))
        cpu_gp(c, 0);
    desc_need(c, g->sel, EXC_GP, cs);
    bool size_wrong = cpu_long_mode(c) && (cs->seg.attr & (DA_L | DA_DB)) != DA_L;
    if (!seg_is_code(&cs->seg) || seg_dpl(&cs->seg) > c->cpl || size_wrong)
        cpu_gp(c, sel_code(g->sel));
}

static void gate_check_present(struct cpu *c, const struct desc *cs)
{
    if (!seg_present(&cs->seg))
        cpu_fault_code(c, EXC_NP, sel_code(cs->seg.sel));
}

static void jump_gate(struct cpu *c, struct desc *gate)
{
    struct call_gate g;
    struct desc cs;
    gate_check(c, gate, &g, &cs);
    if (!seg_is_conforming(&cs.seg) && seg_dpl(&cs.seg) != c->cpl)
        cpu_gp(c, sel_code(g.sel));
    gate_check_present(c, &cs);
    ip_check(c, &cs.seg, g.offset);
    desc_mark_accessed(c, &cs);
    cs_set(c, &cs.seg, c->cpl, g.offset);
}

/* Return address first: CALL on the stack it is on. */
static void call_same(struct cpu *c, struct desc *cs, u64 ip, unsigned width, u64 next)
{
    struct stack s;
    stack_current(c, &s, width == 8);
    ip_check(c, &cs->seg, ip);
    stack_put(c, &s, c->seg[SEG_CS].sel, width);
    stack_put(c, &s, next, width);
    desc_mark_accessed(c, cs);
    stack_set(c, &s);
    cs_set(c, &cs->seg, c->cpl, ip);
}

static void inner_stack(struct cpu *c, unsigned cpl, struct stack *s, struct desc *ss)
{
    if (cpu_long_mode(c)) {
        ss->seg = (struct cpu_seg){.sel = (u16)cpl, .attr = cpl << DA_DPL_SHIFT};
        stack_other(c, s, NULL, tss_stack64(c, cpl), cpl);
        return;
    }
    u16 sel;
    u32 sp;
    tss_stack(c, cpl, &sel, &sp);
    ss_check(c, sel, cpl, EXC_TS, ss);
    desc_mark_accessed(c, ss);
    stack_other(c, s, &ss->seg, sp, cpl);
}

/* To an inner level: the TSS's stack gets the old SS:SP, the parameters and the return address. */
static void call_inner(struct cpu *c, struct desc *cs, const struct call_gate *g, u64 next)
{
    struct stack s, outer;
    struct desc ss;
    unsigned cpl = seg_dpl(&cs->seg);
    inner_stack(c, cpl, &s, &ss);
    ip_check(c, &cs->seg, g->offset);
    stack_put(c, &s, c->seg[SEG_SS].sel, g->width);
    stack_put(c, &s, c->gpr[R_SP], g->width);
    unsigned params = cpu_long_mode(c) ? 0 : g->params;
    for (unsigned n = params; n-- > 0;) {
        stack_current(c, &outer, false);
        outer.sp = (outer.sp + n * g->width) & outer.mask;
        stack_put(c, &s, stack_get(c, &outer, g->width), g->width);
    }
    stack_put(c, &s, c->seg[SEG_CS].sel, g->width);
    stack_put(c, &s, next, g->width);
    desc_mark_accessed(c, cs);

    c->seg[SEG_SS] = ss.seg;
    stack_set(c, &s);
    cs_set(c, &cs->seg, cpl, g->offset);
}

static void call_gate(struct cpu *c, struct desc *gate, u64 next)
{
    struct call_gate g;
    struct desc cs;
    gate_check(c, gate, &g, &cs);
    gate_check_present(c, &cs);
    if (!seg_is_conforming(&cs.seg) && seg_dpl(&cs.seg) < c->cpl)
        call_inner(c, &cs, &g, next);
    else
        call_same(c, &cs, g.offset, g.width, next);
}

/* JMP or CALL to a TSS or task gate. */
static void transfer_task(struct cpu *c, const struct desc *d, enum task_source source, u64 next)
{
    u16 code = sel_code(d->seg.sel), tss = d->seg.sel;
    unsigned dpl = seg_dpl(&d->seg);
    if (dpl < c->cpl || dpl < (d->seg.sel & 3u))
        cpu_gp(c, code);
    if (!seg_present(&d->seg))
        cpu_fault_code(c, EXC_NP, code);
    if (seg_type(&d->seg) == DESC_TASK_GATE)
        tss = (u16)(d->lo >> 16);
    task_switch(c, tss, source, next, cpu_rflags(c) & ~RF_RF);
}

/* What the selector of a JMP or CALL names. */
enum far_kind { FAR_CODE, FAR_GATE, FAR_TASK };

static enum far_kind far_find(struct cpu *c, u16 sel, struct desc *d)
{
    if (sel_is_null(sel))
        cpu_gp(c, 0);
    desc_need(c, sel, EXC_GP, d);
    if (seg_is_code(&d->seg))
        return FAR_CODE;
    unsigned type = seg_type(&d->seg);
    if (seg_is_system(&d->seg)) {
        if (type == DESC_CALL32 || (type == DESC_CALL16 && !cpu_long_mode(c)))
            return FAR_GATE;
        if (!cpu_long_mode(c) && (type == DESC_TASK_GATE || (type | 8) == DESC_TSS32))
            return FAR_TASK;
    }
    cpu_gp(c, sel_code(sel));
}

void far_jump(struct cpu *c, u16 sel, u64 ip, u64 next)
{
    struct desc d;
    if (no_protection(c)) {
        transfer_real(c, sel, ip);
        return;
    }
    switch (far_find(c, sel, &d)) {
    case FAR_CODE:
        code_check(c, &d);
        ip_check(c, &d.seg, ip);
        desc_mark_accessed(c, &d);
        cs_set(c, &d.seg, c->cpl, ip);
        break;
    case FAR_GATE:
        jump_gate(c, &d);
        break;
    case FAR_TASK:
        transfer_task(c, &d, TASK_JMP, next);
        break;
    }
}

static void call_real(struct cpu *c, u16 sel, u64 ip, unsigned width, u64 next)
{
    struct stack s;
    stack_current(c, &s, false);
    ip_check(c, &c->seg[SEG_CS], ip);
    stack_put(c, &s, c->seg[SEG_CS].sel, width);
    stack_put(c, &s, next, width);
    stack_set(c, &s);
    transfer_real(c, sel, ip);
}

void far_call(struct cpu *c, u16 sel, u64 ip, unsigned width, u64 next)
{
    struct desc d;
    if (no_protection(c)) {
        call_real(c, sel, ip, width, next);
        return;
    }
    switch (far_find(c, sel, &d)) {
    case FAR_CODE:
        code_check(c, &d);
        call_same(c, &d, ip, width, next);
        break;
    case FAR_GATE:
        call_gate(c, &d, next);
        break;
    case FAR_TASK:
        transfer_task(c, &d, TASK_CALL, next);
        break;
    }
}

/* The code segment that RET and IRET go back to: same level or further out. */
void return_check(struct cpu *c, u16 sel, struct desc *d)
{
    if (sel_is_null(sel))
        cpu_gp(c, 0);
    desc_need(c, sel, EXC_GP, d);
    unsigned rpl = sel & 3, dpl = seg_dpl(&d->seg);
    bool size_wrong = seg_is_code64(c, &d->seg) && d->seg.attr & DA_DB;
    if (!seg_is_code(&d->seg) || rpl < c->cpl || size_wrong)
        cpu_gp(c, sel_code(sel));
    if (seg_is_conforming(&d->seg) ? dpl > rpl : dpl != rpl)
        cpu_gp(c, sel_code(sel));
    if (!seg_present(&d->seg))
        cpu_fault_code(c, EXC_NP, sel_code(sel));
}

/* And the stack there. A null SS does for 64-bit code below CPL 3. */
void return_stack(struct cpu *c, const struct desc *cs, u16 sel, struct desc *ss)
{
    unsigned cpl = cs->seg.sel & 3;
    if (sel_is_null(sel) && seg_is_code64(c, &cs->seg) && cpl != 3) {
        ss->seg = (struct cpu_seg){.sel = sel, .attr = cpl << DA_DPL_SHIFT};
        return;
    }
    ss_check(c, sel, cpl, EXC_GP, ss);
    desc_mark_accessed(c, ss);
}

/* SP in the width of the stack that is now current: a 16-bit one keeps the upper half. */
void return_set(struct cpu *c, const struct desc *cs, const struct desc *ss, u64 ip, u64 sp)
{
    c->seg[SEG_SS] = ss->seg;
    cs_set(c, &cs->seg, cs->seg.sel & 3, ip);
    gpr_set(c, R_SP, sp, c->stack_size);
}

void far_return(struct cpu *c, unsigned width, u16 release)
{
    struct stack s;
    struct desc cs, ss;
    stack_current(c, &s, false);
    u64 ip = stack_get(c, &s, width);
    u16 sel = (u16)stack_get(c, &s, width);
    if (no_protection(c)) {
        ip_check(c, &c->seg[SEG_CS], ip);
        s.sp = (s.sp + release) & s.mask;
        stack_set(c, &s);
        transfer_real(c, sel, ip);
        return;
    }
    return_check(c, sel, &cs);
    s.sp = (s.sp + release) & s.mask;
    if ((sel & 3u) == c->cpl) {
        ip_check(c, &cs.seg, ip);
        desc_mark_accessed(c, &cs);
        stack_set(c, &s);
        cs_set(c, &cs.seg, c->cpl, ip);
        return;
    }
    u64 sp = stack_get(c, &s, width);
    return_stack(c, &cs, (u16)stack_get(c, &s, width), &ss);
    ip_check(c, &cs.seg, ip);
    desc_mark_accessed(c, &cs);
    return_set(c, &cs, &ss, ip, sp + release);
    seg_drop_privileged(c);
    cpu_derive(c);
}
