/*
 * Segment registers, descriptor tables, and the instructions that look at descriptors. SDM volume 2; volume 3
 * section 5.10.
 */
#include "cpu/access.h"
#include "cpu/segment.h"
#include "cpu/sem/sem_list.h"
#include "cpu/sem/system.h"

#define LAR_MASK 0xf0ff00u
#define AX_ZF    BIT(14) /* ZF in the form of ax_flags */

/* UMIP: the instructions that would tell a user where the system's tables are. */
void system_check_umip(struct cpu *c)
{
    if (c->cr4 & CR4_UMIP && c->cpl != 0)
        cpu_gp(c, 0);
}

void system_shadow_ss(struct cpu *c)
{
    c->shadow |= SHADOW_MOV_SS;
    cpu_request_own(c, REQ_DEBUG);
}

u16 system_load16(struct cpu *c, const struct insn *i)
{
    return i->mem ? op_load_u16(c, i) : (u16)c->gpr[i->rm];
}

void system_store(struct cpu *c, const struct insn *i, u64 v)
{
    if (i->mem)
        op_store_u16(c, i, (u16)v);
    else
        gpr_set(c, i->rm, v, i->opsize);
}

static void set_zf(struct cpu *c, bool on)
{
    c->ax_flags = on ? c->ax_flags | AX_ZF : c->ax_flags & ~AX_ZF;
}

void sem_mov_from_sreg(struct cpu *c, const struct insn *i)
{
    unsigned seg = i->reg & 7;
    if (seg >= SEG_COUNT)
        cpu_ud(c);
    system_store(c, i, c->seg[seg].sel);
}

void sem_mov_to_sreg(struct cpu *c, const struct insn *i)
{
    unsigned seg = i->reg & 7;
    if (seg >= SEG_COUNT || seg == SEG_CS)
        cpu_ud(c);
    seg_load(c, seg, system_load16(c, i));
    if (seg == SEG_SS)
        system_shadow_ss(c);
}

/* SP moves in the width of the stack that the selector came from, also where SS is what is loaded. */
static void pop_seg(struct cpu *c, const struct insn *i, unsigned seg)
{
    unsigned width = c->stack_size;
    u16 sel = (u16)stack_peek(c, 0, i->opsize);
    seg_load(c, seg, sel);
    gpr_set(c, R_SP, c->gpr[R_SP] + i->opsize, width);
}

void sem_pop_es(struct cpu *c, const struct insn *i)
{
    pop_seg(c, i, SEG_ES);
}

void sem_pop_ss(struct cpu *c, const struct insn *i)
{
    pop_seg(c, i, SEG_SS);
    system_shadow_ss(c);
}

void sem_pop_ds(struct cpu *c, const struct insn *i)
{
    pop_seg(c, i, SEG_DS);
}

void sem_pop_fs(struct cpu *c, const struct insn *i)
{
    pop_seg(c, i, SEG_FS);
}

void sem_pop_gs(struct cpu *c, const struct insn *i)
{
    pop_seg(c, i, SEG_GS);
}

u16 system_load_far(struct cpu *c, const struct insn *i, u64 *offset)
{
    u8 raw[10] = {0};
    unsigned width = i->opsize;
    mmu_load_bytes(c, c->mmu_index, op_linear(c, i, width + 2, MMU_READ), raw, width + 2);
    *offset = width == 8 ? get_u64(raw) : width == 4 ? get_u32(raw) : get_u16(raw);
    return get_u16(raw + width);
}

static void load_far_pointer(struct cpu *c, const struct insn *i, unsigned seg)
{
    u64 offset;
    u16 sel = system_load_far(c, i, &offset);
    seg_load(c, seg, sel);
    gpr_set(c, i->reg, offset, i->opsize);
}

void sem_les(struct cpu *c, const struct insn *i)
{
    load_far_pointer(c, i, SEG_ES);
}

void sem_lds(struct cpu *c, const struct insn *i)
{
    load_far_pointer(c, i, SEG_DS);
}

void sem_lss(struct cpu *c, const struct insn *i)
{
    load_far_pointer(c, i, SEG_SS);
}

void sem_lfs(struct cpu *c, const struct insn *i)
{
    load_far_pointer(c, i, SEG_FS);
}

void sem_lgs(struct cpu *c, const struct insn *i)
{
    load_far_pointer(c, i, SEG_GS);
}

void sem_sldt(struct cpu *c, const struct insn *i)
{
    system_check_umip(c);
    system_store(c, i, c->ldtr[0].sel);
}

void sem_str(struct cpu *c, const struct insn *i)
{
    system_check_umip(c);
    system_store(c, i, c->tr[0].sel);
}

void sem_lldt(struct cpu *c, const struct insn *i)
{
    ldtr_load(c, system_load16(c, i), EXC_GP);
}

void sem_ltr(struct cpu *c, const struct insn *i)
{
    tr_load(c, system_load16(c, i));
}

/* The base is stored whole also with a 16-bit operand size: the manual's 24 bits are those of the 286. */
static void store_table(struct cpu *c, const struct insn *i, const struct cpu_seg *table)
{
    u8 raw[10];
    unsigned size = c->mode == ISA_64 ? 10 : 6;
    system_check_umip(c);
    put_u16(raw, (u16)table->limit);
    put_u64(raw + 2, table->base);
    mmu_store_bytes(c, c->mmu_index, op_linear(c, i, size, MMU_WRITE), raw, size);
}

static void load_table(struct cpu *c, const struct insn *i, struct cpu_seg *table)
{
    u8 raw[10] = {0};
    bool wide = c->mode == ISA_64;
    unsigned size = wide ? 10 : 6;
    mmu_load_bytes(c, c->mmu_index, op_linear(c, i, size, MMU_READ), raw, size);
    u64 base = get_u64(raw + 2);
    if (wide && !addr_is_canonical(base))
        cpu_gp(c, 0);
    if (!wide && i->opsize == 2)
        base &= 0xffffff;
    table->base = base;
    table->limit = get_u16(raw);
}

void sem_sgdt(struct cpu *c, const struct insn *i)
{
    store_table(c, i, &c->gdtr[0]);
}

void sem_sidt(struct cpu *c, const struct insn *i)
{
    store_table(c, i, &c->idtr[0]);
}

void sem_lgdt(struct cpu *c, const struct insn *i)
{
    load_table(c, i, &c->gdtr[0]);
}

void sem_lidt(struct cpu *c, const struct insn *i)
{
    load_table(c, i, &c->idtr[0]);
}

/* Is there a descriptor that this privilege level may look at? */
static bool visible(struct cpu *c, u16 sel, struct desc *d)
{
    if (sel_is_null(sel) || !desc_read(c, sel, d))
        return false;
    unsigned dpl = seg_dpl(&d->seg);
    return seg_is_conforming(&d->seg) || (c->cpl <= dpl && (sel & 3u) <= dpl);
}

#define TYPE(n)        (1u << (n))
#define TYPES_LSL_LONG (TYPE(DESC_LDT) | TYPE(DESC_TSS32) | TYPE(DESC_TSS32_BUSY))
#define TYPES_LSL      (TYPES_LSL_LONG | TYPE(DESC_TSS16) | TYPE(DESC_TSS16_BUSY))
#define TYPES_LAR_LONG (TYPES_LSL_LONG | TYPE(DESC_CALL32))
#define TYPES_LAR      (TYPES_LSL | TYPE(DESC_CALL16) | TYPE(DESC_CALL32) | TYPE(DESC_TASK_GATE))

static bool type_allowed(const struct cpu *c, const struct desc *d, u32 legacy, u32 longmode)
{
    return !seg_is_system(&d->seg) || (cpu_long_mode(c) ? longmode : legacy) >> seg_type(&d->seg) & 1;
}

void sem_lar(struct cpu *c, const struct insn *i)
{
    struct desc d;
    bool ok = visible(c, system_load16(c, i), &d) && type_allowed(c, &d, TYPES_LAR, TYPES_LAR_LONG);
    if (ok)
        gpr_set(c, i->reg, d.hi & LAR_MASK, i->opsize);
    set_zf(c, ok);
}

void sem_lsl(struct cpu *c, const struct insn *i)
{
    struct desc d;
    bool ok = visible(c, system_load16(c, i), &d) && type_allowed(c, &d, TYPES_LSL, TYPES_LSL_LONG);
    if (ok)
        gpr_set(c, i->reg, d.seg.limit, i->opsize);
    set_zf(c, ok);
}

void sem_verr(struct cpu *c, const struct insn *i)
{
    struct desc d;
    bool ok = visible(c, system_load16(c, i), &d) && !seg_is_system(&d.seg);
    set_zf(c, ok && (!seg_is_code(&d.seg) || d.seg.attr & DA_WRITE));
}

void sem_verw(struct cpu *c, const struct insn *i)
{
    struct desc d;
    set_zf(c, visible(c, system_load16(c, i), &d) && seg_is_writable_data(&d.seg));
}

void sem_arpl(struct cpu *c, const struct insn *i)
{
    u16 dest = i->mem ? op_load_u16(c, i) : (u16)c->gpr[i->rm];
    unsigned rpl = c->gpr[i->reg] & 3;
    bool lower = (dest & 3u) < rpl;
    if (lower) {
        dest = (u16)((dest & ~3u) | rpl);
        if (i->mem)
            op_store_u16(c, i, dest);
        else
            gpr_set16(c, i->rm, dest);
    }
    set_zf(c, lower);
}
