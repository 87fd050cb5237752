/*
 * Hardware task switching: see cpu/task.h. SDM volume 3 section 8.3, in the order of its steps.
 */
#include "cpu/task.h"

#include "cpu/control.h"
#include "cpu/debug.h"
#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/segment.h"

#define TSS_INDEX MMU_SUPER_SMAP /* implicit supervisor access */

/* Where things lie in a TSS; 16-bit fields have half the width. Registers and segments follow each other in this order.
 */
struct tss_layout {
    u8 width, segs;
    u8 cr3, ip, flags, gpr, seg, ldt; /* offsets; cr3 is 0 where there is none */
    u32 limit;                        /* least */
    u32 upper;                        /* what the upper halves of the registers become */
};
static const struct tss_layout tss32 = {4, 6, 0x1c, 0x20, 0x24, 0x28, 0x48, 0x60, 0x67, 0};
static const struct tss_layout tss16 = {2, 4, 0, 0x0e, 0x10, 0x12, 0x22, 0x2a, 0x2b, 0xffff0000};

struct tss_image {
    u32 cr3, ip, flags, gpr[8];
    u16 seg[SEG_COUNT], ldt;
    bool trap;
};

static const struct tss_layout *tss_layout_of(const struct cpu_seg *tss)
{
    return seg_type(tss) & 8 ? &tss32 : &tss16;
}

static u32 tss_get(struct cpu *c, u64 base, u32 offset, unsigned width)
{
    u64 linear = (u32)(base + offset);
    return width == 4 ? mmu_load_u32(c, TSS_INDEX, linear) : mmu_load_u16(c, TSS_INDEX, linear);
}

static void tss_put(struct cpu *c, u64 base, u32 offset, unsigned width, u32 v)
{
    u64 linear = (u32)(base + offset);
    if (width == 4)
        mmu_store_u32(c, TSS_INDEX, linear, v);
    else
        mmu_store_u16(c, TSS_INDEX, linear, (u16)v);
}

static void tss_read(struct cpu *c, const struct cpu_seg *tss, struct tss_image *t)
{
    const struct tss_layout *l = tss_layout_of(tss);
    u64 base = tss->base;
    *t = (struct tss_image){0};
    if (l->cr3)
        t->cr3 = tss_get(c, base, l->cr3, 4);
    t->ip = tss_get(c, base, l->ip, l->width);
    t->flags = tss_get(c, base, l->flags, l->width);
    for (unsigned n = 0; n < 8; n++)
        t->gpr[n] = tss_get(c, base, l->gpr + n * l->width, l->width) | l->upper;
    for (unsigned n = 0; n < l->segs; n++)
        t->seg[n] = (u16)tss_get(c, base, l->seg + n * l->width, 2);
    t->ldt = (u16)tss_get(c, base, l->ldt, 2);
    t->trap = l->width == 4 && tss_get(c, base, 0x64, 2) & 1;
}

/* The dynamic fields: not CR3, the LDT or the inner stacks. */
static void tss_write(struct cpu *c, const struct cpu_seg *tss, u64 ip, u64 flags)
{
    const struct tss_layout *l = tss_layout_of(tss);
    tss_put(c, tss->base, l->ip, l->width, (u32)ip);
    tss_put(c, tss->base, l->flags, l->width, (u32)flags);
    for (unsigned n = 0; n < 8; n++)
        tss_put(c, tss->base, l->gpr + n * l->width, l->width, (u32)c->gpr[n]);
    for (unsigned n = 0; n < l->segs; n++)
        tss_put(c, tss->base, l->seg + n * l->width, 2, c->seg[n].sel);
}

/* A selector that will not do is #TS for IRET, #GP for the others. */
static void task_check(struct cpu *c, u16 sel, enum task_source source, struct desc *d)
{
    u8 vector = source == TASK_IRET ? EXC_TS : EXC_GP;
    if (sel & 4 || sel_is_null(sel))
        cpu_fault_code(c, vector, sel_code(sel));
    desc_need(c, sel, vector, d);
    unsigned type = seg_type(&d->seg), busy = source == TASK_IRET ? DESC_BUSY_BIT : 0;
    if (!seg_is_system(&d->seg) || cpu_long_mode(c) || (type != (DESC_TSS16 | busy) && type != (DESC_TSS32 | busy)))
        cpu_fault_code(c, vector, sel_code(sel));
    if (!seg_present(&d->seg))
        cpu_fault_code(c, EXC_NP, sel_code(sel));
    if (d->seg.limit < tss_layout_of(&d->seg)->limit)
        cpu_fault_code(c, EXC_TS, sel_code(sel));
}

static void ts_fault(struct cpu *c, u16 sel)
{
    cpu_fault_code(c, EXC_TS, sel_code(sel));
}

static void load_cs(struct cpu *c, u16 sel)
{
    struct desc d;
    if (sel_is_null(sel))
        ts_fault(c, sel);
    desc_need(c, sel, EXC_TS, &d);
    unsigned rpl = sel & 3, dpl = seg_dpl(&d.seg);
    if (!seg_is_code(&d.seg) || (seg_is_conforming(&d.seg) ? dpl > rpl : dpl != rpl))
        ts_fault(c, sel);
    if (!seg_present(&d.seg))
        cpu_fault_code(c, EXC_NP, sel_code(sel));
    desc_mark_accessed(c, &d);
    c->seg[SEG_CS] = d.seg;
}

static void load_ss(struct cpu *c, u16 sel)
{
    struct desc d;
    ss_check(c, sel, c->cpl, EXC_TS, &d);
    desc_mark_accessed(c, &d);
    c->seg[SEG_SS] = d.seg;
}

static void load_data(struct cpu *c, unsigned seg, u16 sel)
{
    struct desc d;
    if (sel_is_null(sel))
        return;
    desc_need(c, sel, EXC_TS, &d);
    const struct cpu_seg *s = &d.seg;
    unsigned rpl = sel & 3, dpl = seg_dpl(s);
    bool readable = !seg_is_system(s) && (!seg_is_code(s) || s->attr & DA_WRITE);
    if (!readable || (!seg_is_conforming(s) && (rpl > dpl || c->cpl > dpl)))
        ts_fault(c, sel);
    if (!seg_present(s))
        cpu_fault_code(c, EXC_NP, sel_code(sel));
    desc_mark_accessed(c, &d);
    c->seg[seg] = d.seg;
}

/* In the new task: the hidden parts of its segment registers. What faults here finds all selectors in place. */
static void load_segments(struct cpu *c, const struct tss_image *t)
{
    ldtr_load(c, t->ldt, EXC_TS);
    if (cpu_v86(c)) {
        for (unsigned n = 0; n < SEG_COUNT; n++)
            seg_set_real(c, n, t->seg[n]);
    } else {
        load_cs(c, t->seg[SEG_CS]);
        load_ss(c, t->seg[SEG_SS]);
        static const u8 data[] = {SEG_DS, SEG_ES, SEG_FS, SEG_GS};
        for (unsigned n = 0; n < ARRAY_SIZE(data); n++)
            load_data(c, data[n], t->seg[data[n]]);
    }
    cpu_derive(c);
    ip_check(c, &c->seg[SEG_CS], t->ip);
}

/* The commit point: registers, flags and selectors of the new task, no segment usable yet. */
static void enter_task(struct cpu *c, const struct tss_image *t, const struct desc *tss, bool nested)
{
    c->tr[0] = tss->seg;
    c->tr[0].attr |= DESC_BUSY_BIT << DA_TYPE_SHIFT;
    c->cr0 |= CR0_TS;
    for (unsigned n = 0; n < 8; n++)
        c->gpr[n] = t->gpr[n];
    for (unsigned n = 0; n < SEG_COUNT; n++)
        c->seg[n] = (struct cpu_seg){.sel = t->seg[n]};
    c->ldtr[0] = (struct cpu_seg){.sel = t->ldt};
    c->dr[7] &= ~DR7_LOCAL_ENABLES & ~BIT64(8);
    cpu_jump(c, t->ip);
    cpu_set_rflags(c, t->flags | (nested ? RF_NT : 0));
    c->cpl = cpu_v86(c) ? 3 : t->seg[SEG_CS] & 3;
    cpu_derive(c);
    c->shadow = 0;
    c->step_tf = false;
}

/* All that the switch is going to touch must be there before it begins. */
static void probe(struct cpu *c, const struct cpu_seg *from, const struct desc *to)
{
    const struct tss_layout *l = tss_layout_of(from);
    mmu_probe(c, TSS_INDEX, (u32)(from->base + l->ip), (unsigned)(l->ldt - l->ip), MMU_WRITE);
    mmu_probe(c, TSS_INDEX, (u32)to->seg.base, 2, MMU_WRITE);
    mmu_probe(c, TSS_INDEX, to->addr, 8, MMU_WRITE);
}

void task_switch(struct cpu *c, u16 sel, enum task_source source, u64 next, u64 flags)
{
    struct desc to, from;
    struct tss_image t;
    struct cpu_seg old = c->tr[0];
    bool nested = source == TASK_CALL || source == TASK_INT;

    task_check(c, sel, source, &to);
    bool leaves = !nested && desc_read(c, old.sel, &from);
    tss_read(c, &to.seg, &t);
    probe(c, &old, &to);
    if (leaves)
        desc_mark_busy(c, from.addr, false);
    if (source == TASK_IRET)
        flags &= ~RF_NT;
    tss_write(c, &old, next, flags);
    if (nested)
        tss_put(c, to.seg.base, 0, 2, old.sel);
    if (source != TASK_IRET)
        desc_mark_busy(c, to.addr, true);

    enter_task(c, &t, &to, nested);
    if (tss_layout_of(&to.seg)->cr3 && c->cr0 & CR0_PG)
        cpu_write_cr3(c, t.cr3);
    load_segments(c, &t);
    if (t.trap) {
        c->debug_pending |= DR6_BT;
        cpu_request_own(c, REQ_DEBUG);
    }
}

void task_return(struct cpu *c, u64 next)
{
    u16 link = (u16)tss_get(c, c->tr[0].base, 0, 2);
    task_switch(c, link, TASK_IRET, next, cpu_rflags(c) & ~RF_RF);
}
