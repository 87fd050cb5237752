/*
 * Control and debug registers, MSRs, time, halting, interrupt flag, and what invalidates. SDM volume 2.
 */
#include "cpu/access.h"
#include "cpu/control.h"
#include "cpu/debug.h"
#include "cpu/deliver.h"
#include "cpu/intr.h"
#include "cpu/model.h"
#include "cpu/msr.h"
#include "cpu/segment.h"
#include "cpu/sem/sem_list.h"
#include "cpu/sem/system.h"

static void need_cpl0(struct cpu *c)
{
    if (c->cpl != 0)
        cpu_gp(c, 0);
}

/* EDX:EAX, upper halves of the registers cleared. */
static void set_edx_eax(struct cpu *c, u64 v)
{
    c->gpr[R_AX] = (u32)v;
    c->gpr[R_DX] = v >> 32;
}

static u64 get_edx_eax(const struct cpu *c)
{
    return (u64)(u32)c->gpr[R_DX] << 32 | (u32)c->gpr[R_AX];
}

static u64 source(const struct cpu *c, const struct insn *i)
{
    return c->mode == ISA_64 ? c->gpr[i->rm] : (u32)c->gpr[i->rm];
}

static void result(struct cpu *c, const struct insn *i, u64 v)
{
    c->gpr[i->rm] = c->mode == ISA_64 ? v : (u32)v;
}

static void check_cr(struct cpu *c, unsigned n)
{
    if (n > 8 || !(0x11d >> n & 1))
        cpu_ud(c);
    need_cpl0(c);
}

void sem_mov_Ry_Cy(struct cpu *c, const struct insn *i)
{
    check_cr(c, i->reg);
    const u64 values[] = {c->cr0, 0, c->cr2, c->cr3, c->cr4};
    result(c, i, i->reg == 8 ? cpu_read_cr8(c) : values[i->reg]);
}

void sem_mov_Cy_Ry(struct cpu *c, const struct insn *i)
{
    u64 v = source(c, i);
    check_cr(c, i->reg);
    switch (i->reg) {
    case 0:
        cpu_write_cr0(c, v);
        break;
    case 2:
        c->cr2 = v;
        break;
    case 3:
        cpu_write_cr3(c, v);
        break;
    case 4:
        cpu_write_cr4(c, v);
        break;
    default:
        cpu_write_cr8(c, v);
        break;
    }
}

/* DR4 and DR5 are other names of DR6 and DR7, unless CR4.DE takes them away. Then privilege, then general detect. */
static unsigned check_dr(struct cpu *c, unsigned n)
{
    bool alias = n == 4 || n == 5;
    if (n > 7 || (alias && c->cr4 & CR4_DE))
        cpu_ud(c);
    need_cpl0(c);
    if (c->dr[7] & DR7_GD)
        cpu_fault_debug(c, DR6_BD);
    return alias ? n + 2 : n;
}

void sem_mov_Ry_Dy(struct cpu *c, const struct insn *i)
{
    result(c, i, cpu_read_dr(c, check_dr(c, i->reg)));
}

void sem_mov_Dy_Ry(struct cpu *c, const struct insn *i)
{
    cpu_write_dr(c, check_dr(c, i->reg), source(c, i));
}

void sem_smsw(struct cpu *c, const struct insn *i)
{
    system_check_umip(c);
    system_store(c, i, c->cr0);
}

/* PE, MP, EM and TS; PE can be set but not cleared. */
void sem_lmsw(struct cpu *c, const struct insn *i)
{
    u64 v = system_load16(c, i);
    cpu_write_cr0(c, (c->cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (v & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
}

void sem_clts(struct cpu *c, const struct insn *i)
{
    c->cr0 &= ~CR0_TS;
}

/* No segment check, and nothing happens for a non-canonical address. */
void sem_invlpg(struct cpu *c, const struct insn *i)
{
    u64 linear = c->seg_base[i->seg] + op_ea(c, i);
    if (c->mode != ISA_64)
        linear = (u32)linear;
    if (addr_is_canonical(linear))
        mmu_flush_page(c, linear);
}

void sem_invpcid(struct cpu *c, const struct insn *i)
{
    u8 raw[16];
    u64 type = c->mode == ISA_64 ? c->gpr[i->reg] : (u32)c->gpr[i->reg];
    mmu_load_bytes(c, c->mmu_index, op_linear(c, i, sizeof(raw), MMU_READ), raw, sizeof(raw));
    u64 pcid = get_u64(raw), linear = get_u64(raw + 8);
    if (type > MMU_INVPCID_ALL || pcid >> 12)
        cpu_gp(c, 0);
    bool one = type == MMU_INVPCID_ADDRESS, context = one || type == MMU_INVPCID_SINGLE;
    if ((one && !addr_is_canonical(linear)) || (context && pcid && !(c->cr4 & CR4_PCIDE)))
        cpu_gp(c, 0);
    mmu_invpcid(c, (enum mmu_invpcid)type, (u16)pcid, linear);
}

/* INVD and WBINVD: there is no cache that could differ from memory. */
void sem_cache_nop(struct cpu *c, const struct insn *i)
{
}

/*
 * Who may change IF: by IOPL; else, in virtual-8086 mode with CR4.VME or at CPL 3 with CR4.PVI, VIF takes its place.
 * SDM volume 3 section 20.3.
 */
enum if_access { IF_REAL, IF_VIRTUAL };

static enum if_access if_check(struct cpu *c)
{
    if (cpu_real_mode(c) || c->cpl <= cpu_iopl(c))
        return IF_REAL;
    if (c->cpl != 3 || !(c->cr4 & (cpu_v86(c) ? CR4_VME : CR4_PVI)))
        cpu_gp(c, 0);
    return IF_VIRTUAL;
}

void sem_cli(struct cpu *c, const struct insn *i)
{
    c->rflags &= if_check(c) == IF_REAL ? ~(u64)RF_IF : ~(u64)RF_VIF;
}

void sem_sti(struct cpu *c, const struct insn *i)
{
    if (if_check(c) == IF_VIRTUAL) {
        if (c->rflags & RF_VIP)
            cpu_gp(c, 0);
        c->rflags |= RF_VIF;
    } else if (!(c->rflags & RF_IF)) {
        c->rflags |= RF_IF;
        /* Nobody is called because of it: it matters if an interrupt comes right now, and does no harm when one comes
         * later. */
        c->shadow |= SHADOW_STI;
        c->step_shadow &= (u8)~SHADOW_STI; /* this one is new, and outlives the instruction */
        cpu_check_intr(c);
    }
}

/* #UD in virtual-8086 mode too, where CPL is 3. */
static void set_ac(struct cpu *c, bool on)
{
    if (c->cpl != 0)
        cpu_ud(c);
    c->rflags = on ? c->rflags | RF_AC : c->rflags & ~(u64)RF_AC;
    cpu_derive_access(c);
}

void sem_clac(struct cpu *c, const struct insn *i)
{
    set_ac(c, false);
}

void sem_stac(struct cpu *c, const struct insn *i)
{
    set_ac(c, true);
}

void sem_hlt(struct cpu *c, const struct insn *i)
{
    c->activity = CPU_HALTED;
    c->shadow = 0;
    cpu_request_own(c, REQ_DEBUG);
}

static void monitor_check(struct cpu *c)
{
    if (c->cpl != 0)
        cpu_ud(c);
    if ((u32)c->gpr[R_CX])
        cpu_gp(c, 0);
}

void sem_monitor(struct cpu *c, const struct insn *i)
{
    monitor_check(c);
    (void)seg_load_u8(c, i->seg, c->gpr[R_AX] << i->ashift >> i->ashift);
}

/* MWAIT may always return at once. */
void sem_mwait(struct cpu *c, const struct insn *i)
{
    monitor_check(c);
}

static void check_tsd(struct cpu *c)
{
    if (c->cr4 & CR4_TSD && c->cpl != 0)
        cpu_gp(c, 0);
}

void sem_rdtsc(struct cpu *c, const struct insn *i)
{
    check_tsd(c);
    set_edx_eax(c, cpu_tsc(c));
}

void sem_rdtscp(struct cpu *c, const struct insn *i)
{
    check_tsd(c);
    set_edx_eax(c, cpu_tsc(c));
    c->gpr[R_CX] = c->tsc_aux;
}

void sem_rdpid(struct cpu *c, const struct insn *i)
{
    c->gpr[i->rm] = c->tsc_aux;
}

/* There are no performance counters: no value of ECX names one. */
void sem_rdpmc(struct cpu *c, const struct insn *i)
{
    cpu_gp(c, 0);
}

void sem_cpuid(struct cpu *c, const struct insn *i)
{
    u32 out[4];
    cpu_cpuid(c, (u32)c->gpr[R_AX], (u32)c->gpr[R_CX], out);
    c->gpr[R_AX] = out[0];
    c->gpr[R_BX] = out[1];
    c->gpr[R_CX] = out[2];
    c->gpr[R_DX] = out[3];
}

void sem_rdmsr(struct cpu *c, const struct insn *i)
{
    set_edx_eax(c, cpu_read_msr(c, (u32)c->gpr[R_CX]));
}

void sem_wrmsr(struct cpu *c, const struct insn *i)
{
    cpu_write_msr(c, (u32)c->gpr[R_CX], get_edx_eax(c));
}

static void check_fsgsbase(struct cpu *c)
{
    if (!(c->cr4 & CR4_FSGSBASE))
        cpu_ud(c);
}

static void read_base(struct cpu *c, const struct insn *i, unsigned seg)
{
    check_fsgsbase(c);
    gpr_set(c, i->rm, c->seg[seg].base, i->opsize == 8 ? 8 : 4);
}

static void write_base(struct cpu *c, const struct insn *i, unsigned seg)
{
    check_fsgsbase(c);
    u64 v = i->opsize == 8 ? c->gpr[i->rm] : (u32)c->gpr[i->rm];
    if (!addr_is_canonical(v))
        cpu_gp(c, 0);
    c->seg[seg].base = c->seg_base[seg] = v;
}

void sem_rdfsbase(struct cpu *c, const struct insn *i)
{
    read_base(c, i, SEG_FS);
}

void sem_rdgsbase(struct cpu *c, const struct insn *i)
{
    read_base(c, i, SEG_GS);
}

void sem_wrfsbase(struct cpu *c, const struct insn *i)
{
    write_base(c, i, SEG_FS);
}

void sem_wrgsbase(struct cpu *c, const struct insn *i)
{
    write_base(c, i, SEG_GS);
}

void sem_swapgs(struct cpu *c, const struct insn *i)
{
    u64 base = c->seg[SEG_GS].base;
    c->seg[SEG_GS].base = c->seg_base[SEG_GS] = c->kernel_gs_base;
    c->kernel_gs_base = base;
}
