/*
 * Instructions on the processor's state that kernels use all the time, without leaving translated code: where they are
 * not simple (not at CPL 0, an interrupt waits), they are left to their semantics. Also bit tests in memory.
 *
 * Where a sequence takes a register of the guest's for a while, nothing after its first host instruction counts as a
 * place to begin anew: commit stays there.
 */
#include "base/bits.h"
#include "engine/translate/lower.h"

static void load(struct lower *l, enum isa_row_id row, unsigned reg, size_t offset)
{
    emit_insn(&l->e, insn_gs(row, reg, REG_ZERO, (i32)(WIN_CPU + offset), false));
}

/* reg & mask, flags kept. */
static void keep_bits(struct lower *l, unsigned reg, enum frame_word mask)
{
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, reg, reg, FRAME_AT(mask));
    emit_bits(&l->e, INSN_PDEP_Gy_By_Ey, reg, reg, FRAME_AT(mask));
}

static void lea(struct lower *l, unsigned to, unsigned base, unsigned index, i32 disp)
{
    struct insn_ea ea = {.base = (u8)base, .index = (u8)index, .disp = disp};
    emit_mem(&l->e, INSN_LEA_Gv_M, to, ea, true);
}

static void require_byte_zero(struct lower *l, size_t offset)
{
    load(l, INSN_MOVZX_Gv_Eb, HOST_T, offset);
    lower_require_zero(l);
}

static bool lower_cli(struct lower *l, const struct insn *i)
{
    require_byte_zero(l, offsetof(struct cpu, cpl));
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, CPU_AT(rflags));
    keep_bits(l, HOST_T, FRAME_MASK_NOT_IF);
    lower_commit(l);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, CPU_AT(rflags));
    return true;
}

/* The shadow is noted as sem_sti does. An interrupt that comes up meanwhile brings a kick. */
static bool lower_sti(struct lower *l, const struct insn *i)
{
    require_byte_zero(l, offsetof(struct cpu, cpl));
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, CPU_AT(rflags));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T2, FRAME_AT(FRAME_MASK_IF));
    unsigned off = emit_jrcxz_hole(&l->e);
    unsigned on = emit_jmp_hole(&l->e);
    emit_bind_short(&l->e, off);
    require_byte_zero(l, offsetof(struct cpu, intr_line));
    lea(l, HOST_T2, HOST_T2, REG_ZERO, RF_IF);
    struct insn shadow = insn_gs(INSN_MOV_Eb_Ib, 0, REG_ZERO, CPU_AT(shadow), false);
    shadow.imm = SHADOW_STI;
    emit_insn(&l->e, shadow);
    lower_commit(l);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, CPU_AT(rflags));
    emit_bind(&l->e, on);
    lower_link(l, 0, l->b->rip + i->off + i->len);
    return true;
}

/* RAX lends itself to LAHF and SETO; the sum of the parts is the image. */
static bool lower_pushf(struct lower *l, const struct insn *i)
{
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_AX, FRAME_AT(FRAME_TEMP));
    emit_flags_to_ax(&l->e);
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_AX, FRAME_AT(FRAME_MASK_AH_FLAGS));
    emit_bits(&l->e, INSN_PDEP_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_FLAGS));
    emit_bits(&l->e, INSN_PDEP_Gy_By_Ey, HOST_AX, HOST_AX, FRAME_AT(FRAME_MASK_OF));
    lea(l, HOST_T, HOST_T, HOST_AX, 0);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_AX, CPU_AT(rflags));
    keep_bits(l, HOST_AX, FRAME_MASK_PUSHED);
    lea(l, HOST_T, HOST_T, HOST_AX, 0);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_AX, FRAME_AT(FRAME_TEMP));
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_TEMP));

    struct operand o = operand_stack(-8);
    struct insn_ea ea;
    if (!lower_address(l, &o, ADDRESS_ANY, &ea))
        return false;
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, FRAME_AT(FRAME_TEMP));
    emit_insn(&l->e, insn_mem(INSN_MOV_Ev_Gv, HOST_T2, ea, true));
    lea(l, HOST_SP, HOST_SP, REG_ZERO, -8);
    return true;
}

static bool lower_swapgs(struct lower *l, const struct insn *i)
{
    require_byte_zero(l, offsetof(struct cpu, cpl));
    i32 base = (i32)(WIN_CPU + offsetof(struct cpu, seg[SEG_GS].base));
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, base);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, CPU_AT(kernel_gs_base));
    lower_commit(l);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T, CPU_AT(kernel_gs_base));
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, base);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, CPU_AT(seg_base) + 8 * SEG_GS);
    return true;
}

static bool lower_mov_from_sreg(struct lower *l, const struct insn *i)
{
    if (i->mem || i->reg >= SEG_COUNT)
        return false;
    int host = lower_host(i->rm);
    size_t at = offsetof(struct cpu, seg) + i->reg * sizeof(struct cpu_seg) + offsetof(struct cpu_seg, sel);
    if (i->opsize == 2 && host < 0)
        return false;
    if (i->opsize == 2) { /* the rest of the register stays */
        struct insn move = insn_gs(INSN_MOV_Gv_Ev, (unsigned)host, REG_ZERO, (i32)(WIN_CPU + at), false);
        move.opsize = 2;
        move.prefix66 = 1;
        emit_insn(&l->e, move);
        return true;
    }
    load(l, INSN_MOVZX_Gv_Ew, host < 0 ? HOST_T : (unsigned)host, at);
    lower_commit(l);
    if (host < 0)
        lower_store(l, i->rm, HOST_T);
    return true;
}

static bool lower_mov_from_cr(struct lower *l, const struct insn *i)
{
    static const u16 at[] = {[0] = offsetof(struct cpu, cr0),
                             [2] = offsetof(struct cpu, cr2),
                             [3] = offsetof(struct cpu, cr3),
                             [4] = offsetof(struct cpu, cr4)};
    if (i->reg >= ARRAY_SIZE(at) || i->reg == 1)
        return false;
    require_byte_zero(l, offsetof(struct cpu, cpl));
    int host = lower_host(i->rm);
    lower_commit(l);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, host < 0 ? HOST_T : (unsigned)host, WIN_CPU + at[i->reg]);
    if (host < 0)
        lower_store(l, i->rm, HOST_T);
    return true;
}

/* FSGSBASE: CR4 allows it, or they are #UD. */
static void require_fsgsbase(struct lower *l)
{
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, CPU_AT(cr4));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_FSGSBASE));
    lea(l, HOST_T, HOST_T, REG_ZERO, -1);
    lower_require_zero(l);
}

static i32 base_at(const struct insn *i)
{
    unsigned seg = i->row == INSN_RDFSBASE_Ry || i->row == INSN_WRFSBASE_Ry ? SEG_FS : SEG_GS;
    return CPU_AT(seg) + (i32)(seg * sizeof(struct cpu_seg) + offsetof(struct cpu_seg, base));
}

static bool lower_read_base(struct lower *l, const struct insn *i)
{
    int host = lower_host(i->rm);
    unsigned to = host < 0 ? HOST_T : (unsigned)host;
    require_fsgsbase(l);
    lower_commit(l);
    emit_insn(&l->e, insn_gs(INSN_MOV_Gv_Ev, to, REG_ZERO, base_at(i), i->opsize == 8));
    if (host < 0)
        lower_store(l, i->rm, HOST_T);
    return true;
}

static bool lower_write_base(struct lower *l, const struct insn *i)
{
    int host = lower_host(i->rm);
    unsigned seg = i->row == INSN_WRFSBASE_Ry ? SEG_FS : SEG_GS;
    require_fsgsbase(l);
    if (host < 0)
        lower_load(l, i->rm, HOST_T2);
    emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T2, host < 0 ? HOST_T2 : (unsigned)host, i->opsize == 8);
    lower_require_canonical(l, HOST_T2);
    lower_commit(l);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, base_at(i));
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, CPU_AT(seg_base) + 8 * (i32)seg);
    return true;
}

/* Any privilege may, as long as CR4 says so; else it depends. */
static bool lower_rdtsc(struct lower *l, const struct insn *i)
{
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, CPU_AT(cr4));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_TSD));
    lower_require_zero(l);
    lower_mov_number(l);
    unsigned back = emit_lea_hole(&l->e, HOST_T2);
    lower_commit(l);
    lower_jmp_glue(l, l->t->cache->glue.tsc);
    emit_bind(&l->e, back);
    if (i->row == INSN_RDTSCP)
        load(l, INSN_MOV_Gv_Ev, HOST_CX, offsetof(struct cpu, tsc_aux));
    return true;
}

/* Translated code runs with DF 0 only. */
static bool lower_cld(struct lower *l, const struct insn *i)
{
    return true;
}

/* On a machine of one processor there is nobody to wait for. */
static bool lower_pause(struct lower *l, const struct insn *i)
{
    return l->t->cpu->count == 1 && emit_try(&l->e, i);
}

/* ------ bit strings ------ */

/* The bit offset's upper part selects the word: BT m, r with a small offset in the register accesses just that. */
static bool lower_bit_string(struct lower *l, const struct insn *i)
{
    int offset = lower_host(i->reg);
    bool wide = i->opsize == 8, segment = i->seg == SEG_FS || i->seg == SEG_GS;
    bool fixed = i->base == REG_RIP || i->base == REG_ZERO;
    if (!i->mem || offset < 0 || i->opsize == 2 || i->ashift || segment || i->index != REG_ZERO ||
        (!fixed && lower_host(i->base) < 0))
        return false;
    unsigned shift = wide ? 6 : 5;
    emit_mov_imm(&l->e, HOST_T2, shift);
    struct insn words = insn_reg(INSN_SARX_Gy_Ey_By, HOST_T, (u8)offset, wide);
    words.vvvv = HOST_T2;
    emit_insn(&l->e, words);
    if (!wide)
        emit_reg(&l->e, INSN_MOVSXD_Gv_Ez, HOST_T, HOST_T, true);
    struct insn_ea ea = {.index = HOST_T, .scale = wide ? 3 : 2};
    ea.base = (u8)(fixed ? HOST_T2 : (unsigned)lower_host(i->base));
    ea.disp = fixed ? 0 : (i32)i->disp;
    if (i->base == REG_RIP)
        lower_mov_rip(l, HOST_T2, l->b->rip + (u64)i->disp);
    else if (fixed)
        emit_mov_imm(&l->e, HOST_T2, (u64)i->disp);
    emit_mem(&l->e, INSN_LEA_Gv_M, HOST_T2, ea, true);
    lower_address_at_t2(l, i->opsize);
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, (unsigned)offset, FRAME_AT(wide ? FRAME_MASK_63 : FRAME_MASK_31));
    struct insn bt = *i;
    bt.base = HOST_T2;
    bt.index = REG_ZERO;
    bt.disp = 0;
    bt.seg = SEG_DS;
    bt.reg = HOST_T;
    bt.rep = 0;
    lower_commit(l);
    return emit_try(&l->e, &bt);
}

bool lower_system(struct lower *l, const struct insn *i)
{
    typedef bool lower_fn(struct lower *, const struct insn *);
    static lower_fn *const rows[INSN_COUNT] = {
        [INSN_CLI] = lower_cli,
        [INSN_STI] = lower_sti,
        [INSN_PUSHFQ] = lower_pushf,
        [INSN_SWAPGS] = lower_swapgs,
        [INSN_MOV_RvMw_Sw] = lower_mov_from_sreg,
        [INSN_MOV_Ry_Cy] = lower_mov_from_cr,
        [INSN_RDTSC... INSN_RDTSCP] = lower_rdtsc,
        [INSN_RDFSBASE_Ry... INSN_RDGSBASE_Ry] = lower_read_base,
        [INSN_WRFSBASE_Ry... INSN_WRGSBASE_Ry] = lower_write_base,
        [INSN_CLD] = lower_cld,
        [INSN_PAUSE] = lower_pause,
        [INSN_STOSB... INSN_STOSQ] = lower_string,
        [INSN_LODSB... INSN_LODSQ] = lower_string,
        [INSN_MOVSB... INSN_MOVSQ] = lower_string,
        [INSN_BT_Ev_Gv] = lower_bit_string,
        [INSN_BTS_Ev_Gv] = lower_bit_string,
        [INSN_BTR_Ev_Gv] = lower_bit_string,
        [INSN_BTC_Ev_Gv] = lower_bit_string,
    };
    if (!rows[i->row])
        return false;
    return rows[i->row](l, i);
}
