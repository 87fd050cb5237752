/*
 * IRET: see cpu/transfer.h. SDM volume 2 "IRET/IRETD/IRETQ", volume 3 section 20.2 (virtual-8086 mode).
 */
#include "cpu/access.h"
#include "cpu/fault.h"
#include "cpu/intr.h"
#include "cpu/return.h"
#include "cpu/segment.h"
#include "cpu/task.h"
#include "cpu/transfer.h"

#define FLAGS_IOPL  (3ull << RF_IOPL_SHIFT)
#define FLAGS_BASIC (FL_OSZAPC | RF_TF | FL_DF | RF_NT)

/* Flags that IRET may change by the old privilege level and the operand size. */
static u64 flags_mask(const struct cpu *c, unsigned width)
{
    u64 mask = FLAGS_BASIC;
    if (width != 2)
        mask |= RF_RF | RF_AC | RF_ID;
    if (c->cpl <= cpu_iopl(c))
        mask |= RF_IF;
    if (c->cpl == 0)
        mask |= FLAGS_IOPL | (width != 2 ? RF_VIF | RF_VIP : 0);
    return mask;
}

static void flags_set(struct cpu *c, u64 image, u64 mask)
{
    cpu_set_rflags(c, (cpu_rflags(c) & ~mask) | (image & mask));
}

static void iret_8086(struct cpu *c, unsigned width, u64 flags_allowed)
{
    struct stack s;
    stack_current(c, &s, false);
    u64 ip = stack_get(c, &s, width);
    u16 sel = (u16)stack_get(c, &s, width);
    u64 image = stack_get(c, &s, width);
    ip_check(c, &c->seg[SEG_CS], ip);
    stack_set(c, &s);
    seg_set_real(c, SEG_CS, sel);
    cpu_jump(c, ip);
    flags_set(c, image, flags_allowed);
    cpu_derive(c);
}

/* Virtual-8086 mode, IOPL below 3, CR4.VME: IF of the image goes to VIF. */
static void iret_vme(struct cpu *c)
{
    u64 image = stack_peek(c, 4, 2), vif = image & RF_IF ? RF_VIF : 0;
    if (image & RF_TF || (vif && c->rflags & RF_VIP))
        cpu_gp(c, 0);
    iret_8086(c, 2, FLAGS_BASIC);
    flags_set(c, vif, RF_VIF);
}

static void iret_from_v86(struct cpu *c, unsigned width)
{
    if (cpu_iopl(c) == 3)
        iret_8086(c, width, FLAGS_BASIC | RF_IF | (width != 2 ? RF_RF | RF_AC | RF_ID : 0));
    else if (c->cr4 & CR4_VME && width == 2)
        iret_vme(c);
    else
        cpu_gp(c, 0);
}

/* The frame goes on with ESP, SS, ES, DS, FS, GS. */
static void iret_to_v86(struct cpu *c, struct stack *s, u64 ip, u16 cs, u64 image)
{
    static const u8 order[] = {SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    u16 sel[ARRAY_SIZE(order)];
    u64 sp = stack_get(c, s, 4);
    for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
        sel[n] = (u16)stack_get(c, s, 4);
    if (ip > 0xffff)
        cpu_gp(c, 0);
    cpu_jump(c, ip);
    cpu_set_rflags(c, image);
    c->cpl = 3;
    seg_set_real(c, SEG_CS, cs);
    for (unsigned n = 0; n < ARRAY_SIZE(order); n++)
        seg_set_real(c, order[n], sel[n]);
    c->gpr[R_SP] = (u32)sp;
    cpu_derive(c);
}

static void iret_protected(struct cpu *c, unsigned width)
{
    struct stack s;
    struct desc cs, ss;
    stack_current(c, &s, false);
    u64 ip = stack_get(c, &s, width);
    u16 sel = (u16)stack_get(c, &s, width);
    u64 image = stack_get(c, &s, width);
    if (width == 4 && image & RF_VM && c->cpl == 0 && !cpu_long_mode(c)) {
        iret_to_v86(c, &s, ip, sel, image);
        return;
    }
    return_check(c, sel, &cs);
    u64 mask = flags_mask(c, width);
    if ((sel & 3u) == c->cpl && c->mode != ISA_64) {
        ip_check(c, &cs.seg, ip);
        desc_mark_accessed(c, &cs);
        stack_set(c, &s);
        cs_set(c, &cs.seg, c->cpl, ip);
    } else {
        u64 sp = stack_get(c, &s, width);
        bool outer = (sel & 3u) != c->cpl;
        return_stack(c, &cs, (u16)stack_get(c, &s, width), &ss);
        ip_check(c, &cs.seg, ip);
        desc_mark_accessed(c, &cs);
        return_set(c, &cs, &ss, ip, sp);
        if (outer)
            seg_drop_privileged(c);
    }
    flags_set(c, image, mask);
    cpu_derive(c);
}

/* NMIs are let in again even if the instruction faults. */
static void unblock_nmi(struct cpu *c)
{
    c->nmi_blocked = false;
    if (c->nmi_pending)
        cpu_request_own(c, REQ_NMI);
}

void far_iret(struct cpu *c, unsigned width, u64 next)
{
    unblock_nmi(c);
    if (cpu_real_mode(c)) {
        iret_8086(c, width, FLAGS_BASIC | FLAGS_IOPL | RF_IF | (width != 2 ? RF_RF | RF_AC | RF_ID : 0));
    } else if (cpu_v86(c)) {
        iret_from_v86(c, width);
    } else if (c->rflags & RF_NT) {
        if (cpu_long_mode(c))
            cpu_gp(c, 0);
        task_return(c, next);
    } else {
        iret_protected(c, width);
    }
}
