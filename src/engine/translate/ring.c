/*
 * Implements engine/translate/ring.h. Both pieces of code are jumped to with HOST_T the number of the instruction
 * (GLUE_CALL's argument) and, for SYSCALL, HOST_T2 the address after it. They change nothing before they know that all
 * is as it should be. A kick in here is stepped through (fault.c).
 */
#include "engine/translate/ring.h"

#include <string.h>

#include "cpu/mmu.h"
#include "cpu/syscall.h"
#include "engine/translate/emit.h"
#include "host/gs.h"

#define RFLAGS_PLAIN   (RF_IF | 2u) /* beside the arithmetic flags */
/* The same as PEXT gathers it without those: of the bits left, 1 is the first and 9 the fifth. */
#define PLAIN_GATHERED 0x11
#define MSR_EFER       0xc0000080u /* and STAR, LSTAR, CSTAR */
#define MSR_FMASK      0xc0000084u
#define SEG_WORDS      (sizeof(struct cpu_seg) / 8)
#define SEG_AT(n)      CPU_AT(seg[n])

enum { FAILS_MAX = 8 };

struct ring {
    struct emit *e;
    u64 exit;
    unsigned fails;
    unsigned fail[FAILS_MAX];
};

static void load(struct ring *r, unsigned reg, i32 at)
{
    emit_gs(r->e, INSN_MOV_Gv_Ev, reg, at);
}

static void save(struct ring *r, unsigned reg, i32 at)
{
    emit_gs(r->e, INSN_MOV_Ev_Gv, reg, at);
}

static void lea(struct ring *r, unsigned to, unsigned base, unsigned index, i32 disp)
{
    emit_mem(r->e, INSN_LEA_Gv_M, to, (struct insn_ea){.base = (u8)base, .index = (u8)index, .disp = disp}, true);
}

static void put_byte(struct ring *r, i32 at, u8 value)
{
    emit_insn(r->e, insn_with_imm(insn_gs(INSN_MOV_Eb_Ib, 0, REG_ZERO, at, false), value));
}

/* On if HOST_T is 0. */
static void need_zero(struct ring *r)
{
    unsigned on = emit_jrcxz_hole(r->e);
    r->fail[r->fails++] = emit_jmp_hole(r->e);
    emit_bind_short(r->e, on);
}

static void need_other(struct ring *r)
{
    unsigned zero = emit_jrcxz_hole(r->e);
    unsigned on = emit_jmp_hole(r->e);
    emit_bind_short(r->e, zero);
    r->fail[r->fails++] = emit_jmp_hole(r->e);
    emit_bind(r->e, on);
}

static void need_byte_zero(struct ring *r, i32 at)
{
    emit_insn(r->e, insn_gs(INSN_MOVZX_Gv_Eb, HOST_T, REG_ZERO, at, false));
    need_zero(r);
}

/* Whoever does not go on by the fast way does by the semantics. */
static void make_fails(struct ring *r)
{
    for (unsigned n = 0; n < r->fails; n++)
        emit_bind(r->e, r->fail[n]);
    load(r, HOST_T, FRAME_AT(FRAME_TEMP));
    emit_jmp(r->e, r->exit);
}

static void copy_segs(struct ring *r, enum frame_word from)
{
    static const u8 seg[2] = {SEG_CS, SEG_SS};
    for (unsigned n = 0; n < 2 * SEG_WORDS; n++) {
        load(r, HOST_T2, FRAME_AT(from + n));
        save(r, HOST_T2, SEG_AT(seg[n / SEG_WORDS]) + 8 * (i32)(n % SEG_WORDS));
    }
}

/* To the address in HOST_T, in the window that was found. */
static void move_and_jump(struct ring *r)
{
    put_byte(r, CPU_AT(shadow), 0);
    put_byte(r, FRAME_AT(FRAME_MOVED), 1);
    load(r, HOST_T2, FRAME_AT(FRAME_RING_WINDOW));
    emit_reg(r->e, INSN_WRGSBASE_Ry, 0, HOST_T2, true);
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_T2, HOST_T, FRAME_AT(FRAME_MASK_JUMP));
    emit_jmp_gs(r->e, HOST_T2, WIN_JUMP);
}

/* R11 = RFLAGS; the arithmetic flags are 0 then. */
static void flags_to_r11(struct ring *r)
{
    save(r, HOST_AX, FRAME_AT(FRAME_RING_AX));
    emit_flags_to_ax(r->e);
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_T2, HOST_AX, FRAME_AT(FRAME_MASK_AH_FLAGS));
    emit_bits(r->e, INSN_PDEP_Gy_By_Ey, HOST_T2, HOST_T2, FRAME_AT(FRAME_MASK_FLAGS));
    emit_bits(r->e, INSN_PDEP_Gy_By_Ey, HOST_AX, HOST_AX, FRAME_AT(FRAME_MASK_OF));
    lea(r, 11, HOST_T2, HOST_AX, RFLAGS_PLAIN);
    emit_reg(r->e, INSN_XOR_Ev_Gv, HOST_AX, HOST_AX, false); /* OF = 0 */
    emit_insn(r->e, insn_reg(INSN_SAHF_64, 0, 0, false));
    load(r, HOST_AX, FRAME_AT(FRAME_RING_AX));
}

static void flags_from_r11(struct ring *r)
{
    save(r, HOST_AX, FRAME_AT(FRAME_RING_AX));
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_AX, 11, FRAME_AT(FRAME_MASK_OF));
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_T2, 11, FRAME_AT(FRAME_MASK_FLAGS));
    emit_bits(r->e, INSN_PDEP_Gy_By_Ey, HOST_T2, HOST_T2, FRAME_AT(FRAME_MASK_AH_FLAGS));
    lea(r, HOST_AX, HOST_AX, HOST_T2, 0);
    emit_flags_from_ax(r->e);
    load(r, HOST_AX, FRAME_AT(FRAME_RING_AX));
}

static void make_syscall(struct ring *r)
{
    save(r, HOST_T, FRAME_AT(FRAME_TEMP));
    load(r, HOST_T, CPU_AT(rflags));
    lea(r, HOST_T, HOST_T, REG_ZERO, -(i32)RFLAGS_PLAIN);
    need_zero(r);
    load(r, HOST_T, FRAME_AT(FRAME_SYSCALL));
    need_other(r);
    emit_insn(r->e, insn_gs(INSN_MOV_Gv_Ev, HOST_T, HOST_T, WIN_PEERS - 8, true));
    need_other(r);
    save(r, HOST_T, FRAME_AT(FRAME_RING_WINDOW));
    emit_reg(r->e, INSN_MOV_Gv_Ev, HOST_CX, HOST_T2, true);
    flags_to_r11(r);
    load(r, HOST_T2, FRAME_AT(FRAME_SYSCALL_RFLAGS));
    save(r, HOST_T2, CPU_AT(rflags));
    copy_segs(r, FRAME_SYSCALL_SEGS);
    put_byte(r, CPU_AT(cpl), 0);
    load(r, HOST_T, CPU_AT(lstar));
    move_and_jump(r);
    make_fails(r);
}

/* All of bits 63:47 are the same: gathered and counted up by one, only bit 0 may be left. */
static void need_canonical(struct ring *r, unsigned reg)
{
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_T, reg, FRAME_AT(FRAME_MASK_CANONICAL));
    emit_mem(r->e, INSN_LEA_Gv_M, HOST_T, (struct insn_ea){.base = HOST_T, .index = REG_ZERO, .disp = 1}, false);
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_CARRY));
    need_zero(r);
}

/* IF is 1 afterwards: no interrupt may wait. One that comes up meanwhile brings a kick. */
static void make_sysret(struct ring *r)
{
    save(r, HOST_T, FRAME_AT(FRAME_TEMP));
    need_byte_zero(r, CPU_AT(cpl));
    need_byte_zero(r, CPU_AT(intr_line));
    load(r, HOST_T, FRAME_AT(FRAME_SYSCALL));
    need_other(r);
    need_canonical(r, HOST_CX);
    emit_bits(r->e, INSN_PEXT_Gy_By_Ey, HOST_T, 11, FRAME_AT(FRAME_MASK_NOT_ARITH));
    lea(r, HOST_T, HOST_T, REG_ZERO, -PLAIN_GATHERED);
    need_zero(r);
    load(r, HOST_T, WIN_PEERS + 8 * MMU_USER);
    need_other(r);
    save(r, HOST_T, FRAME_AT(FRAME_RING_WINDOW));
    flags_from_r11(r);
    emit_gs_imm(r->e, CPU_AT(rflags), RFLAGS_PLAIN);
    copy_segs(r, FRAME_SYSRET_SEGS);
    put_byte(r, CPU_AT(cpl), 3);
    emit_reg(r->e, INSN_MOV_Gv_Ev, HOST_T, HOST_CX, true);
    move_and_jump(r);
    make_fails(r);
}

void ring_make(struct glue *g, struct emit *e)
{
    struct ring call = {.e = e, .exit = g->exit_call}, ret = call;
    g->syscall = emit_here(e);
    make_syscall(&call);
    g->sysret = emit_here(e);
    make_sysret(&ret);
}

/* ------ what SYSCALL and SYSRET go by ------ */

void ring_forget(struct cpu *c)
{
    c->frame[FRAME_SYSCALL] = 0;
}

static bool masks_all_flags(const struct cpu *c)
{
    return (c->sfmask & (FL_OSZAPC | RF_TF | RF_AC | RF_DF)) == (FL_OSZAPC | RF_TF | RF_AC | RF_DF);
}

static void prepare(struct cpu *c)
{
    struct cpu_seg seg[4];
    if (!(c->efer & EFER_SCE) || !masks_all_flags(c) || !host_gs_is_direct())
        return;
    memset(seg, 0, sizeof(seg)); /* padding included */
    cpu_syscall_segs(c, &seg[0], &seg[1]);
    cpu_sysret_segs(c, &seg[2], &seg[3]);
    memcpy(&c->frame[FRAME_SYSCALL_SEGS], seg, sizeof(seg));
    c->frame[FRAME_SYSCALL_RFLAGS] = (RFLAGS_PLAIN & ~c->sfmask) | 2;
    c->frame[FRAME_SYSCALL] = 1 + (c->cr4 & CR4_SMAP ? MMU_SUPER_SMAP : MMU_SUPER);
}

static bool changes_msr(const struct cpu *c)
{
    u32 n = (u32)c->gpr[R_CX];
    return n >= MSR_EFER && n <= MSR_FMASK;
}

void ring_note(struct translator *t, const struct insn *i)
{
    struct cpu *c = t->cpu;
    switch (i->row) {
    case INSN_SYSCALL:
    case INSN_SYSRET:
        if (!c->frame[FRAME_SYSCALL])
            prepare(c);
        break;
    case INSN_WRMSR:
        if (changes_msr(c))
            ring_forget(c);
        break;
    case INSN_MOV_Cy_Ry:
        if (i->reg == 4)
            ring_forget(c);
        break;
    default:
        break;
    }
}

void ring_catch_up(struct translator *t)
{
    t->cpu->frame[FRAME_MOVED] = 0;
    cpu_derive_access(t->cpu);
    windows_moved(t->windows);
}
