/*
 * Implements the piece of code of engine/translate/tsc.h. It is jumped to with HOST_T the number of the instruction
 * (GLUE_CALL's argument) and HOST_T2 the host address to go on at, and leaves the time stamp in EDX:EAX.
 *
 * A kick that finds the program counter in the C function does nothing: so c->request is looked at afterwards, and if
 * there is something, the instruction is left to its semantics as if nothing had been done.
 */
#include "engine/translate/emit.h"
#include "engine/translate/tsc.h"

enum { CC_Z = 4 };

/* What a C function may change, of the registers that hold the guest's. */
static const u8 clobbered[] = {HOST_AX, HOST_DX, HOST_SI, HOST_DI, 8, 9, 10, 11};

static i32 gpr_at(unsigned guest)
{
    return CPU_AT(gpr) + 8 * (i32)guest;
}

static void load(struct emit *e, unsigned reg, i32 at)
{
    emit_gs(e, INSN_MOV_Gv_Ev, reg, at);
}

static void save(struct emit *e, unsigned reg, i32 at)
{
    emit_gs(e, INSN_MOV_Ev_Gv, reg, at);
}

static void save_all(struct emit *e)
{
    for (size_t n = 0; n < ARRAY_SIZE(clobbered); n++)
        save(e, clobbered[n], gpr_at(clobbered[n]));
    save(e, HOST_SP, gpr_at(R_SP));
    emit_flags_to_ax(e);
    save(e, HOST_AX, FRAME_AT(FRAME_TSC_FLAGS));
}

static void restore_all(struct emit *e)
{
    load(e, HOST_AX, FRAME_AT(FRAME_TSC_FLAGS));
    emit_flags_from_ax(e);
    load(e, HOST_SP, gpr_at(R_SP));
    for (size_t n = 0; n < ARRAY_SIZE(clobbered); n++)
        load(e, clobbered[n], gpr_at(clobbered[n]));
}

/* At the call the stack is aligned to 16 bytes: enter's six registers and the return address lie above. */
static void call(struct emit *e)
{
    load(e, HOST_DI, FRAME_AT(FRAME_CPU));
    load(e, HOST_SP, FRAME_AT(FRAME_HOST_SP));
    emit_mem(e, INSN_LEA_Gv_M, HOST_SP, (struct insn_ea){.base = HOST_SP, .index = REG_ZERO, .disp = -8}, true);
    emit_insn(e, insn_gs(INSN_CALL_Ev, 0, REG_ZERO, FRAME_AT(FRAME_TSC_READ), true));
}

void tsc_make(struct glue *g, struct emit *e)
{
    g->tsc = emit_here(e);
    save(e, HOST_T, FRAME_AT(FRAME_TEMP));
    save(e, HOST_T2, FRAME_AT(FRAME_TEMP2));
    save_all(e);
    call(e);
    emit_reg(e, INSN_MOV_Gv_Ev, HOST_T2, HOST_AX, true);
    emit_insn(e, insn_gs(INSN_CMP_Ev_sIb, 0, REG_ZERO, CPU_AT(request), false));
    unsigned quiet = emit_jcc_hole(e, CC_Z);
    restore_all(e);
    load(e, HOST_T, FRAME_AT(FRAME_TEMP));
    emit_jmp(e, g->exit_call);
    emit_bind(e, quiet);
    restore_all(e);
    struct insn upper = insn_with_imm(insn_reg(INSN_RORX_Gy_Ey_Ib, HOST_DX, HOST_T2, true), 32);
    emit_insn(e, upper);
    emit_reg(e, INSN_MOV_Gv_Ev, HOST_DX, HOST_DX, false);
    emit_reg(e, INSN_MOV_Gv_Ev, HOST_AX, HOST_T2, false);
    emit_jmp_gs(e, REG_ZERO, FRAME_AT(FRAME_TEMP2));
}

void tsc_init_frame(struct cpu *c)
{
    c->frame[FRAME_CPU] = (u64)c;
    c->frame[FRAME_TSC_READ] = (u64)tsc_read;
    c->frame[FRAME_MASK_TSD] = CR4_TSD;
}
