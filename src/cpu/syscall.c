/*
 * Fast system calls: see cpu/syscall.h. As on Intel processors, which all models are: SYSCALL is for 64-bit code (Linux
 * leaves CSTAR at 0 there), SYSENTER for compatibility mode, too.
 */
#include "cpu/syscall.h"

#include "cpu/debug.h"
#include "cpu/fault.h"
#include "cpu/segment.h"

#define SYSRET_FLAGS 0x3c7fd7ull /* all but RF and VM */

static struct cpu_seg flat_code(u16 sel, unsigned dpl, bool code64)
{
    u32 size = code64 ? DA_L : DA_DB;
    return (struct cpu_seg){
        .sel = (u16)((sel & ~3u) | dpl),
        .limit = 0xffffffff,
        .attr = DA_P | DA_S | DA_CODE | DA_WRITE | DA_ACCESSED | DA_G | size | dpl << DA_DPL_SHIFT,
    };
}

static struct cpu_seg flat_stack(u16 sel, unsigned dpl)
{
    return (struct cpu_seg){
        .sel = (u16)((sel & ~3u) | dpl),
        .limit = 0xffffffff,
        .attr = DA_P | DA_S | DA_WRITE | DA_ACCESSED | DA_G | DA_DB | dpl << DA_DPL_SHIFT,
    };
}

static void enter(struct cpu *c, u16 cs, u16 ss, unsigned cpl, bool code64, u64 ip)
{
    struct cpu_seg code = flat_code(cs, cpl, code64);
    c->seg[SEG_SS] = flat_stack(ss, cpl);
    cs_set(c, &code, cpl, ip);
}

void cpu_syscall_segs(const struct cpu *c, struct cpu_seg *cs, struct cpu_seg *ss)
{
    u16 sel = (u16)(c->star >> 32);
    *cs = flat_code(sel, 0, true);
    *ss = flat_stack((u16)((sel & ~3u) + 8), 0);
}

void cpu_sysret_segs(const struct cpu *c, struct cpu_seg *cs, struct cpu_seg *ss)
{
    u16 sel = (u16)(c->star >> 48);
    *cs = flat_code((u16)(sel + 16), 3, true);
    *ss = flat_stack((u16)(sel + 8), 3);
}

/* The single-step trap after SYSCALL and SYSRET goes by TF as they leave it, not as they found it. */
static void step_by_new_flags(struct cpu *c)
{
    c->step_tf = false;
    if (!(c->rflags & RF_TF))
        return;
    c->debug_pending |= DR6_BS;
    cpu_request_own(c, REQ_DEBUG);
}

void cpu_syscall(struct cpu *c, u64 next)
{
    if (!(c->efer & EFER_SCE) || c->mode != ISA_64)
        cpu_ud(c);
    u16 cs = (u16)(c->star >> 32);
    u64 flags = cpu_rflags(c);
    c->gpr[R_CX] = next;
    c->gpr[11] = flags & ~RF_RF;
    enter(c, cs, (u16)((cs & ~3u) + 8), 0, true, c->lstar);
    cpu_set_rflags(c, flags & ~c->sfmask & ~RF_RF);
    step_by_new_flags(c);
}

void cpu_sysret(struct cpu *c, unsigned width)
{
    if (!(c->efer & EFER_SCE) || c->mode != ISA_64)
        cpu_ud(c);
    if (c->cpl != 0)
        cpu_gp(c, 0);
    if (width == 8 && !addr_is_canonical(c->gpr[R_CX]))
        cpu_gp(c, 0);
    u16 base = (u16)(c->star >> 48);
    u64 ip = width == 8 ? c->gpr[R_CX] : (u32)c->gpr[R_CX];
    enter(c, (u16)(width == 8 ? base + 16 : base), (u16)(base + 8), 3, width == 8, ip);
    cpu_set_rflags(c, c->gpr[11] & SYSRET_FLAGS);
    step_by_new_flags(c);
}

void cpu_sysenter(struct cpu *c)
{
    u16 cs = c->sysenter_cs & 0xfffc;
    if (cpu_real_mode(c) || cs == 0)
        cpu_gp(c, 0);
    bool wide = cpu_long_mode(c);
    c->gpr[R_SP] = wide ? c->sysenter_esp : (u32)c->sysenter_esp;
    c->rflags &= ~(RF_VM | RF_IF | RF_RF);
    enter(c, cs, (u16)(cs + 8), 0, wide, wide ? c->sysenter_eip : (u32)c->sysenter_eip);
}

void cpu_sysexit(struct cpu *c, unsigned width)
{
    u16 cs = c->sysenter_cs & 0xfffc;
    if (cpu_real_mode(c) || cs == 0 || c->cpl != 0)
        cpu_gp(c, 0);
    u64 ip = c->gpr[R_DX], sp = c->gpr[R_CX];
    if (width == 8 && !(addr_is_canonical(ip) && addr_is_canonical(sp)))
        cpu_gp(c, 0);
    c->gpr[R_SP] = width == 8 ? sp : (u32)sp;
    enter(c, (u16)(cs + (width == 8 ? 32 : 16)), (u16)(cs + (width == 8 ? 40 : 24)), 3, width == 8,
          width == 8 ? ip : (u32)ip);
}
