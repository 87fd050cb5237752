/*
 * One event through the interrupt table: real mode, protected mode, virtual-8086 mode, long mode, task gates.
 * SDM volume 3 sections 6.10 to 6.14 and 20.3, volume 2 "INT n".
 *
 * Order: everything that may fault first (gate, code segment, stack, pushes), then the change of state.
 */
#include "cpu/deliver.h"

#include "cpu/access.h"
#include "cpu/debug.h"
#include "cpu/fault.h"
#include "cpu/segment.h"
#include "cpu/task.h"

#define TABLE_INDEX MMU_SUPER_SMAP /* implicit supervisor access */
#define CODE_IDT    2              /* error code: the index is one of the IDT */
#define FLAGS_IOPL  (3ull << RF_IOPL_SHIFT)

struct gate {
    u8 type, dpl, ist;
    bool present;
    u16 sel;
    u64 offset;
};

static u32 idt_code(const struct event *e)
{
    return e->vector * 8u + CODE_IDT;
}

static bool is_software(const struct event *e)
{
    return e->source == INTR_SOFTWARE || e->source == INTR_INT3;
}

/* RF: of a fault, or of a repeated instruction that an interrupt comes into. It is only exact while breakpoints are
 * enabled. */
static u64 pushed_flags(const struct cpu *c, const struct event *e)
{
    u64 flags = cpu_rflags(c);
    bool kept = e->source == INTR_EXTERNAL && cpu_debug_watching(c);
    if (e->resume)
        return flags | RF_RF;
    return kept ? flags : flags & ~RF_RF;
}

/* An 8086 interrupt: FLAGS, CS and IP on the current stack. `table` is the linear address of the vectors. */
static void deliver_8086(struct cpu *c, const struct event *e, u64 table, u64 flags, u64 clear)
{
    struct stack s;
    u32 target = mmu_load_u32(c, TABLE_INDEX, (u32)(table + e->vector * 4u));
    stack_current(c, &s, false);
    stack_put(c, &s, flags, 2);
    stack_put(c, &s, c->seg[SEG_CS].sel, 2);
    stack_put(c, &s, e->next, 2);
    ip_check(c, &c->seg[SEG_CS], target & 0xffff);
    stack_set(c, &s);
    c->rflags &= ~(clear | RF_TF | RF_RF);
    seg_set_real(c, SEG_CS, (u16)(target >> 16));
    cpu_derive(c);
    cpu_jump(c, target & 0xffff);
}

static void deliver_real(struct cpu *c, const struct event *e)
{
    if (e->vector * 4u + 3 > c->idtr[0].limit)
        cpu_gp(c, idt_code(e));
    deliver_8086(c, e, c->idtr[0].base, pushed_flags(c, e), RF_IF | RF_AC);
}

/*
 * INT n in virtual-8086 mode with CR4.VME: the bitmap below the I/O map says, bit clear, that the vector goes to the
 * 8086 program's own handler. SDM volume 3 section 20.3.3, methods 5 and 6.
 */
static bool deliver_redirected(struct cpu *c, const struct event *e)
{
    const struct cpu_seg *tr = &c->tr[0];
    if (!(c->cr4 & CR4_VME))
        return false;
    if (!(seg_type(tr) & 8) || tr->limit < 103)
        cpu_gp(c, 0);
    u32 map = mmu_load_u16(c, TABLE_INDEX, (u32)(tr->base + 102)), at = map - 32 + e->vector / 8;
    if (map < 32 || at > tr->limit)
        cpu_gp(c, 0);
    if (mmu_load_u8(c, TABLE_INDEX, (u32)(tr->base + at)) >> (e->vector & 7) & 1)
        return false;
    u64 flags = cpu_rflags(c);
    if (cpu_iopl(c) == 3) {
        deliver_8086(c, e, 0, flags, RF_IF);
        return true;
    }
    flags = (flags & ~RF_IF) | FLAGS_IOPL | (flags & RF_VIF ? RF_IF : 0);
    deliver_8086(c, e, 0, flags, RF_VIF);
    return true;
}

static void gate_read(struct cpu *c, const struct event *e, struct gate *g)
{
    bool wide = cpu_long_mode(c);
    u32 size = wide ? 16 : 8, at = e->vector * size;
    if (at + size - 1 > c->idtr[0].limit)
        cpu_gp(c, idt_code(e));
    u64 linear = c->idtr[0].base + at;
    u64 low = mmu_load_u64(c, TABLE_INDEX, wide ? linear : (u32)linear);
    u64 high = wide ? mmu_load_u64(c, TABLE_INDEX, linear + 8) : 0;
    *g = (struct gate){
        .type = low >> 40 & 0x1f,
        .dpl = low >> 45 & 3,
        .present = low >> 47 & 1,
        .ist = wide ? low >> 32 & 7 : 0,
        .sel = (u16)(low >> 16),
        .offset = (low & 0xffff) | (low >> 48) << 16 | high << 32,
    };
    bool interrupt = g->type == DESC_INT32 || g->type == DESC_TRAP32;
    bool legacy = g->type == DESC_INT16 || g->type == DESC_TRAP16 || g->type == DESC_TASK_GATE;
    if ((!interrupt && (wide || !legacy)) || (wide && high >> 40 & 0x1f))
        cpu_gp(c, idt_code(e));
    if (is_software(e) && g->dpl < c->cpl)
        cpu_gp(c, idt_code(e));
    if (!g->present)
        cpu_fault_code(c, EXC_NP, idt_code(e));
    if (g->type == DESC_INT16 || g->type == DESC_TRAP16)
        g->offset &= 0xffff;
}

static void deliver_task(struct cpu *c, const struct event *e, const struct gate *g)
{
    task_switch(c, g->sel, TASK_INT, e->next, pushed_flags(c, e));
    if (!e->has_code)
        return;
    struct stack s;
    stack_current(c, &s, false);
    stack_put(c, &s, e->code, seg_type(&c->tr[0]) & 8 ? 4 : 2);
    stack_set(c, &s);
}

/* The handler's code segment; returns the privilege level it runs at. */
static unsigned handler_check(struct cpu *c, const struct gate *g, struct desc *cs)
{
    if (sel_is_null(g->sel))
        cpu_gp(c, 0);
    desc_need(c, g->sel, EXC_GP, cs);
    bool size_wrong = cpu_long_mode(c) && (cs->seg.attr & (DA_L | DA_DB)) != DA_L;
    if (!seg_is_code(&cs->seg) || seg_dpl(&cs->seg) > c->cpl || size_wrong)
        cpu_gp(c, sel_code(g->sel));
    if (!seg_present(&cs->seg))
        cpu_fault_code(c, EXC_NP, sel_code(g->sel));
    unsigned cpl = seg_is_conforming(&cs->seg) ? c->cpl : seg_dpl(&cs->seg);
    if (cpu_v86(c) && cpl != 0)
        cpu_gp(c, sel_code(g->sel));
    return cpl;
}

/* Which stack the handler gets. `ss` is filled in only where SS changes: *changes. */
static void handler_stack(struct cpu *c, const struct gate *g, unsigned cpl, struct stack *s, struct desc *ss,
                          bool *changes)
{
    *changes = cpl != c->cpl;
    if (cpu_long_mode(c)) {
        u64 sp = g->ist ? tss_stack64(c, 3 + g->ist) : *changes ? tss_stack64(c, cpl) : c->gpr[R_SP];
        stack_other(c, s, NULL, sp & ~15ull, cpl);
        ss->seg = (struct cpu_seg){.sel = (u16)cpl, .attr = cpl << DA_DPL_SHIFT};
    } else if (*changes) {
        u16 sel;
        u32 sp;
        tss_stack(c, cpl, &sel, &sp);
        ss_check(c, sel, cpl, EXC_TS, ss);
        desc_mark_accessed(c, ss);
        stack_other(c, s, &ss->seg, sp, cpl);
    } else {
        stack_current(c, s, false);
    }
}

static void push_frame(struct cpu *c, const struct event *e, struct stack *s, unsigned width, bool with_stack)
{
    if (cpu_v86(c)) {
        static const u8 order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
        for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
            stack_put(c, s, c->seg[order[n]].sel, width);
    }
    if (with_stack) {
        stack_put(c, s, c->seg[SEG_SS].sel, width);
        stack_put(c, s, c->gpr[R_SP], width);
    }
    stack_put(c, s, pushed_flags(c, e), width);
    stack_put(c, s, c->seg[SEG_CS].sel, width);
    stack_put(c, s, e->next, width);
    if (e->has_code)
        stack_put(c, s, e->code, width);
}

static void deliver_gate(struct cpu *c, const struct event *e, const struct gate *g)
{
    struct desc cs, ss = {0};
    struct stack s;
    bool ss_changes, from_v86 = cpu_v86(c);
    unsigned cpl = handler_check(c, g, &cs);
    handler_stack(c, g, cpl, &s, &ss, &ss_changes);
    ip_check(c, &cs.seg, g->offset);
    desc_mark_accessed(c, &cs);
    unsigned width = cpu_long_mode(c) ? 8 : g->type & 8 ? 4 : 2;
    push_frame(c, e, &s, width, ss_changes || cpu_long_mode(c));

    if (from_v86) {
        static const u8 data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
        for (unsigned n = 0; n < ARRAY_SIZE(data); n++)
            seg_set_null(c, data[n], 0);
    }
    if (ss_changes)
        c->seg[SEG_SS] = ss.seg;
    stack_set(c, &s);
    c->rflags &= ~(RF_TF | RF_NT | RF_RF | RF_VM | (g->type & 1 ? 0 : RF_IF));
    cs_set(c, &cs.seg, cpl, g->offset);
}

static void deliver_protected(struct cpu *c, const struct event *e)
{
    struct gate g;
    gate_read(c, e, &g);
    if (g.type == DESC_TASK_GATE)
        deliver_task(c, e, &g);
    else
        deliver_gate(c, e, &g);
}

void event_deliver(struct cpu *c, const struct event *e)
{
    bool debug = e->vector == EXC_DB && !is_software(e);
    if (debug)
        c->dr[6] = (c->dr[6] & ~0xfull) | e->dr6;
    c->ext = !is_software(e);
    if (cpu_real_mode(c))
        deliver_real(c, e);
    else if (!cpu_v86(c) || e->source != INTR_SOFTWARE)
        deliver_protected(c, e);
    else if (!deliver_redirected(c, e)) {
        if (cpu_iopl(c) < 3)
            cpu_gp(c, 0);
        deliver_protected(c, e);
    }
    c->ext = 0;
    c->shadow = 0;
    c->step_tf = false;
    c->activity = CPU_ACTIVE;
    if (debug)
        c->dr[7] &= ~DR7_GD;
}

void cpu_interrupt(struct cpu *c, u8 vector, enum intr_source source, bool has_code, u32 code, u64 next)
{
    struct event e = {.vector = vector, .source = source, .has_code = has_code, .code = code, .next = next};
    if (source == INTR_INT1) {
        /* What a MOV SS held back comes out with it, as one exception. */
        e.dr6 = c->debug_pending;
        event_deliver(c, &e);
        c->debug_pending = 0;
        return;
    }
    event_deliver(c, &e);
}
