/*
 * Descriptors and segment registers: see cpu/segment.h. SDM volume 3 sections 3.4, 3.5, 5.2 to 5.8.
 */
#include "cpu/segment.h"

#include "cpu/access.h"
#include "cpu/fault.h"
#include "cpu/mmu.h"

STATE_DEFINE(cpu_seg, CPU_SEG_STATE, 1)

#define DESC_INDEX     MMU_SUPER_SMAP /* implicit supervisor access */
#define DESC_TYPE_BYTE 5

/* Linear addresses are 32 bits wide outside long mode. */
static u64 table_linear(const struct cpu *c, u64 base, u64 offset)
{
    return cpu_long_mode(c) ? base + offset : (u32)(base + offset);
}

static u32 desc_limit(u32 lo, u32 hi)
{
    u32 limit = (lo & 0xffff) | (hi & 0xf0000);
    return hi & DA_G ? limit << 12 | 0xfff : limit;
}

bool desc_read(struct cpu *c, u16 sel, struct desc *d)
{
    const struct cpu_seg *table = sel & 4 ? &c->ldtr[0] : &c->gdtr[0];
    u32 offset = sel & 0xfff8;
    if ((sel & 4 && !seg_present(table)) || offset + 7 > table->limit)
        return false;
    d->addr = table_linear(c, table->base, offset);
    u64 raw = mmu_load_u64(c, DESC_INDEX, d->addr);
    d->lo = (u32)raw;
    d->hi = (u32)(raw >> 32);
    d->seg = (struct cpu_seg){
        .sel = sel,
        .attr = d->hi & 0xf0ff00,
        .limit = desc_limit(d->lo, d->hi),
        .base = d->lo >> 16 | (d->hi & 0xff) << 16 | (d->hi & 0xff000000),
    };
    return true;
}

void desc_need(struct cpu *c, u16 sel, u8 vector, struct desc *d)
{
    if (!desc_read(c, sel, d))
        cpu_fault_code(c, vector, sel_code(sel));
}

u32 desc_read_upper(struct cpu *c, struct desc *d, u8 vector)
{
    u16 sel = d->seg.sel;
    const struct cpu_seg *table = sel & 4 ? &c->ldtr[0] : &c->gdtr[0];
    if ((u32)(sel & 0xfff8) + 15 > table->limit)
        cpu_fault_code(c, vector, sel_code(sel));
    u64 raw = mmu_load_u64(c, DESC_INDEX, d->addr + 8);
    if (raw >> 40 & 0x1f)
        cpu_fault_code(c, vector, sel_code(sel));
    d->seg.base |= raw << 32;
    return (u32)raw;
}

/* The type byte alone, in one atomic step: another processor may be using the same descriptor. */
static void desc_change(struct cpu *c, u64 addr, u8 set, u8 clear)
{
    u64 linear = addr + DESC_TYPE_BYTE;
    u8 *host = mmu_rmw_host(c, DESC_INDEX, linear, 1);
    if (!host) {
        u8 old = mmu_load_u8(c, DESC_INDEX, linear);
        mmu_store_u8(c, DESC_INDEX, linear, (u8)((old | set) & ~clear));
        return;
    }
    if (set)
        __atomic_fetch_or(host, set, __ATOMIC_SEQ_CST);
    if (clear)
        __atomic_fetch_and(host, (u8)~clear, __ATOMIC_SEQ_CST);
    mmu_rmw_done(c, linear, 1);
}

void desc_mark_accessed(struct cpu *c, struct desc *d)
{
    if (d->seg.attr & DA_ACCESSED)
        return;
    desc_change(c, d->addr, 1, 0);
    d->seg.attr |= DA_ACCESSED;
}

void desc_mark_busy(struct cpu *c, u64 addr, bool busy)
{
    desc_change(c, addr, busy ? DESC_BUSY_BIT : 0, busy ? 0 : DESC_BUSY_BIT);
}

/*
 * Real mode sets the base and leaves limit and attributes as they are ("unreal" mode lives on that); a register that
 * was unusable gets ordinary ones. Virtual-8086 mode sets everything.
 */
void seg_set_real(struct cpu *c, unsigned seg, u16 sel)
{
    struct cpu_seg *s = &c->seg[seg];
    s->sel = sel;
    s->base = (u64)sel << 4;
    if (cpu_v86(c) || !seg_present(s)) {
        s->limit = 0xffff;
        s->attr = DA_P | DA_S | DA_WRITE | DA_ACCESSED | (cpu_v86(c) ? 3u << DA_DPL_SHIFT : 0);
    }
}

/* Intel processors clear the base too. An unusable SS keeps the privilege level as its DPL. */
void seg_set_null(struct cpu *c, unsigned seg, u16 sel)
{
    c->seg[seg] = (struct cpu_seg){.sel = sel, .attr = seg == SEG_SS ? (sel & 3u) << DA_DPL_SHIFT : 0};
}

void ss_check(struct cpu *c, u16 sel, unsigned cpl, u8 vector, struct desc *d)
{
    if (sel_is_null(sel))
        cpu_fault_code(c, vector, 0);
    desc_need(c, sel, vector, d);
    if ((sel & 3u) != cpl || !seg_is_writable_data(&d->seg) || seg_dpl(&d->seg) != cpl)
        cpu_fault_code(c, vector, sel_code(sel));
    if (!seg_present(&d->seg))
        cpu_fault_code(c, EXC_SS, sel_code(sel));
}

static void data_check(struct cpu *c, u16 sel, struct desc *d)
{
    desc_need(c, sel, EXC_GP, d);
    const struct cpu_seg *s = &d->seg;
    bool readable = !seg_is_system(s) && (!seg_is_code(s) || s->attr & DA_WRITE);
    unsigned rpl = sel & 3;
    if (!readable || (!seg_is_conforming(s) && (rpl > seg_dpl(s) || c->cpl > seg_dpl(s))))
        cpu_gp(c, sel_code(sel));
    if (!seg_present(s))
        cpu_fault_code(c, EXC_NP, sel_code(sel));
}

/* SS may be null in 64-bit mode below CPL 3: nothing is checked against it there. */
static bool null_ss_allowed(const struct cpu *c, u16 sel)
{
    return c->mode == ISA_64 && c->cpl != 3 && (sel & 3u) == c->cpl;
}

void seg_load(struct cpu *c, unsigned seg, u16 sel)
{
    struct desc d;
    if (cpu_real_mode(c) || cpu_v86(c)) {
        seg_set_real(c, seg, sel);
    } else if (sel_is_null(sel)) {
        if (seg == SEG_SS && !null_ss_allowed(c, sel))
            cpu_gp(c, 0);
        seg_set_null(c, seg, sel);
    } else {
        if (seg == SEG_SS)
            ss_check(c, sel, c->cpl, EXC_GP, &d);
        else
            data_check(c, sel, &d);
        desc_mark_accessed(c, &d);
        c->seg[seg] = d.seg;
    }
    cpu_derive(c);
}

/* The hidden base stays, as on processors: FS and GS may be given bases that no descriptor has. */
void seg_drop_privileged(struct cpu *c)
{
    static const u8 regs[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned n = 0; n < ARRAY_SIZE(regs); n++) {
        struct cpu_seg *s = &c->seg[regs[n]];
        if (sel_is_null(s->sel))
            s->sel = 0;
        if (seg_present(s) && seg_dpl(s) < c->cpl && !seg_is_conforming(s)) {
            s->sel = 0;
            s->attr = 0;
        }
    }
}

void ip_check(struct cpu *c, const struct cpu_seg *cs, u64 ip)
{
    if (seg_is_code64(c, cs) ? !addr_is_canonical(ip) : ip > cs->limit)
        cpu_gp(c, 0);
}

void cs_set(struct cpu *c, const struct cpu_seg *cs, unsigned cpl, u64 ip)
{
    c->seg[SEG_CS] = *cs;
    c->seg[SEG_CS].sel = (u16)((cs->sel & ~3u) | cpl);
    c->cpl = (u8)cpl;
    cpu_derive(c);
    cpu_jump(c, ip);
}

/* A system descriptor in the GDT of one of two types: the selector, bounds and type checks of LLDT and LTR. */
static void system_check(struct cpu *c, u16 sel, u8 vector, unsigned type, unsigned other_type, struct desc *d)
{
    if (sel & 4)
        cpu_fault_code(c, vector, sel_code(sel));
    desc_need(c, sel, vector, d);
    unsigned t = seg_type(&d->seg);
    if (!seg_is_system(&d->seg) || (t != type && t != other_type))
        cpu_fault_code(c, vector, sel_code(sel));
    if (!seg_present(&d->seg))
        cpu_fault_code(c, vector == EXC_TS ? EXC_TS : EXC_NP, sel_code(sel));
    if (!cpu_long_mode(c))
        return;
    (void)desc_read_upper(c, d, vector);
    if (!addr_is_canonical(d->seg.base))
        cpu_fault_code(c, vector, sel_code(sel));
}

void ldtr_load(struct cpu *c, u16 sel, u8 vector)
{
    struct desc d = {0};
    if (sel_is_null(sel))
        d.seg.sel = sel;
    else
        system_check(c, sel, vector, DESC_LDT, DESC_LDT, &d);
    c->ldtr[0] = d.seg;
}

void tr_load(struct cpu *c, u16 sel)
{
    struct desc d;
    if (sel_is_null(sel))
        cpu_gp(c, 0);
    system_check(c, sel, EXC_GP, DESC_TSS32, cpu_long_mode(c) ? DESC_TSS32 : DESC_TSS16, &d);
    desc_mark_busy(c, d.addr, true);
    d.seg.attr |= DESC_BUSY_BIT << DA_TYPE_SHIFT;
    c->tr[0] = d.seg;
}

static u64 tss_linear(struct cpu *c, u32 offset, unsigned size)
{
    if (offset + size - 1 > c->tr[0].limit)
        cpu_fault_code(c, EXC_TS, sel_code(c->tr[0].sel));
    return table_linear(c, c->tr[0].base, offset);
}

void tss_stack(struct cpu *c, unsigned cpl, u16 *ss, u32 *sp)
{
    if (seg_type(&c->tr[0]) & 8) {
        u64 at = tss_linear(c, 4 + cpl * 8, 6);
        *sp = mmu_load_u32(c, DESC_INDEX, at);
        *ss = mmu_load_u16(c, DESC_INDEX, table_linear(c, at, 4));
    } else {
        u64 at = tss_linear(c, 2 + cpl * 4, 4);
        *sp = mmu_load_u16(c, DESC_INDEX, at);
        *ss = mmu_load_u16(c, DESC_INDEX, table_linear(c, at, 2));
    }
}

u64 tss_stack64(struct cpu *c, unsigned slot)
{
    return mmu_load_u64(c, DESC_INDEX, tss_linear(c, 4 + slot * 8, 8));
}
