/*
 * Implements engine/translate/glue.h.
 *
 * Entering checks c->request after `begin`: a request made before is seen, one made later comes with a signal that
 * finds the program counter in here or in translated code (fault.c). Nothing in here touches guest memory.
 *
 * The upper halves of the vector registers are loaded only if there is something in them: with zeros loaded, the host
 * would count them as in use, and SSE instructions then cost it more. XGETBV with ECX = 1 tells on the way out.
 */
#include "engine/translate/glue.h"

#include <cpuid.h>

#include "engine/translate/emit.h"
#include "engine/translate/ring.h"
#include "engine/translate/tsc.h"

enum { ARG_CPU = HOST_DI, ARG_HOST = HOST_SI };
enum { CC_NZ = 5, CC_Z = 4 };
#define XINUSE_AVX      4
#define GLUE_BYTES      4096
#define CALLEE_SAVED(M) M(3) M(5) M(12) M(13) M(14) M(15)

/* Guest register of a host one, or -1. */
static int guest_of(unsigned host)
{
    return host == HOST_T || host == HOST_T2 ? -1 : host == HOST_CX ? R_CX : (int)host;
}

static i32 gpr_at(unsigned guest)
{
    return CPU_AT(gpr) + 8 * (i32)guest;
}

static i32 ymm_at(unsigned n)
{
    return CPU_AT(ymm) + 32 * (i32)n;
}

static struct insn_ea cpu_ea(size_t offset)
{
    return (struct insn_ea){.base = ARG_CPU, .index = REG_ZERO, .disp = (i32)offset};
}

static struct insn with_ymm(struct insn i)
{
    i.vl = 1;
    return i;
}

static void make_vector_loads(struct emit *e)
{
    struct insn upper = insn_gs(INSN_CMP_Ev_sIb, 0, REG_ZERO, FRAME_AT(FRAME_UPPER), true);
    emit_insn(e, upper);
    unsigned low_only = emit_jcc_hole(e, CC_Z);
    for (unsigned n = 0; n < 16; n++)
        emit_insn(e, with_ymm(insn_gs(INSN_VMOVUPS_Vx_Wx, n, REG_ZERO, ymm_at(n), false)));
    unsigned done = emit_jmp_hole(e);
    emit_bind(e, low_only);
    for (unsigned n = 0; n < 16; n++)
        emit_insn(e, insn_gs(INSN_MOVUPS_Vdq_Wdq, n, REG_ZERO, ymm_at(n), false));
    emit_bind(e, done);
    emit_gs(e, INSN_LDMXCSR_Md, 0, CPU_AT(mxcsr));
}

static void make_enter(struct glue *g, struct emit *e)
{
    g->enter = emit_here(e);
#define PUSH(n) emit_reg(e, INSN_PUSH_Zv, n, 0, true);
    CALLEE_SAVED(PUSH)
#undef PUSH
    emit_mem(e, INSN_MOV_Ev_Gv, HOST_SP, cpu_ea(offsetof(struct cpu, frame[FRAME_HOST_SP])), true);
    emit_mem(e, INSN_STMXCSR_Md, 0, cpu_ea(offsetof(struct cpu, frame[FRAME_HOST_MXCSR])), false);
    g->begin = emit_here(e);
    emit_insn(e, insn_mem(INSN_CMP_Ev_sIb, 0, cpu_ea(offsetof(struct cpu, request)), false));
    unsigned refused = emit_jcc_hole(e, CC_NZ);
    emit_gs(e, INSN_MOV_Ev_Gv, ARG_HOST, FRAME_AT(FRAME_TARGET));
    make_vector_loads(e);
    emit_insn(e, insn_gs(INSN_MOV_Gv_Ev, HOST_AX, REG_ZERO, CPU_AT(ax_flags), false));
    emit_flags_from_ax(e);
    for (unsigned host = 0; host < 16; host++) {
        if (guest_of(host) >= 0)
            emit_gs(e, INSN_MOV_Gv_Ev, host, gpr_at((unsigned)guest_of(host)));
    }
    emit_jmp_gs(e, REG_ZERO, FRAME_AT(FRAME_TARGET));
    emit_bind(e, refused);
    emit_mov_imm(e, HOST_AX, GLUE_REQUEST);
}

static void make_return(struct emit *e)
{
#define POP(n) pops[count++] = (n);
    unsigned pops[8], count = 0;
    CALLEE_SAVED(POP)
#undef POP
    while (count--)
        emit_reg(e, INSN_POP_Zv, pops[count], 0, true);
    emit_insn(e, insn_reg(INSN_RET, 0, 0, true));
}

static bool host_tells_in_use(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && (a & 4);
}

static void make_upper_note(struct emit *e)
{
    if (!host_tells_in_use()) {
        emit_gs_imm(e, FRAME_AT(FRAME_UPPER), 1);
        return;
    }
    emit_mov_imm(e, HOST_T, 1);
    emit_insn(e, insn_reg(INSN_XGETBV, 0, 0, false));
    emit_insn(e, insn_with_imm(insn_reg(INSN_AND_Ev_sIb, 0, HOST_AX, false), XINUSE_AVX));
    emit_gs(e, INSN_MOV_Ev_Gv, HOST_AX, FRAME_AT(FRAME_UPPER));
}

static void make_exit(struct glue *g, struct emit *e)
{
    g->exit_common = emit_here(e);
    for (unsigned host = 0; host < 16; host++) {
        if (guest_of(host) >= 0)
            emit_gs(e, INSN_MOV_Ev_Gv, host, gpr_at((unsigned)guest_of(host)));
    }
    emit_flags_to_ax(e);
    emit_insn(e, insn_gs(INSN_MOV_Ev_Gv, HOST_AX, REG_ZERO, CPU_AT(ax_flags), false));
    emit_gs(e, INSN_MOV_Gv_Ev, HOST_SP, FRAME_AT(FRAME_HOST_SP));
    make_upper_note(e);
    for (unsigned n = 0; n < 16; n++)
        emit_insn(e, with_ymm(insn_gs(INSN_VMOVUPS_Wx_Vx, n, REG_ZERO, ymm_at(n), false)));
    emit_insn(e, insn_reg(INSN_VZEROUPPER, 0, 0, false));
    emit_gs(e, INSN_STMXCSR_Md, 0, CPU_AT(mxcsr));
    emit_gs(e, INSN_LDMXCSR_Md, 0, FRAME_AT(FRAME_HOST_MXCSR));
    emit_gs(e, INSN_MOV_Gv_Ev, HOST_AX, FRAME_AT(FRAME_REASON));
}

static u64 make_exit_with(struct emit *e, enum glue_reason reason, u64 common)
{
    u64 at = emit_here(e);
    emit_gs(e, INSN_MOV_Ev_Gv, HOST_T, FRAME_AT(FRAME_ARG));
    emit_gs_imm(e, FRAME_AT(FRAME_REASON), (i32)reason);
    emit_jmp(e, common);
    return at;
}

int glue_make(struct glue *g, struct code_area *area, struct error *err)
{
    u8 buf[GLUE_BYTES];
    struct emit e = {.buf = buf, .size = sizeof(buf), .run = (u64)code_next(area), .ok = true};
    make_enter(g, &e);
    unsigned refused = emit_jmp_hole(&e);
    make_exit(g, &e);
    emit_bind(&e, refused);
    make_return(&e);
    g->exit_call = make_exit_with(&e, GLUE_CALL, g->exit_common);
    g->exit_link = make_exit_with(&e, GLUE_LINK, g->exit_common);
    g->exit_indirect = make_exit_with(&e, GLUE_INDIRECT, g->exit_common);
    g->exit_dead = make_exit_with(&e, GLUE_DEAD, g->exit_common);
    ring_make(g, &e);
    tsc_make(g, &e);
    g->end = emit_here(&e);
    if (!e.ok || !code_add(area, buf, e.len))
        return error_set(err, -ENOMEM, "the code cache is too small");
    return 0;
}

void glue_init_frame(struct cpu *c)
{
    c->frame[FRAME_MASK_PAGE] = 0xfffffffff000ull;
    c->frame[FRAME_MASK_1] = 1;
    c->frame[FRAME_MASK_3] = 3;
    c->frame[FRAME_MASK_7] = 7;
    c->frame[FRAME_MASK_15] = 15;
    c->frame[FRAME_MASK_31] = 31;
    c->frame[FRAME_MASK_63] = 63;
    c->frame[FRAME_MASK_CANONICAL] = 0xffff800000000000;
    c->frame[FRAME_MASK_CARRY] = 0x1fffe;
    c->frame[FRAME_MASK_IF] = RF_IF;
    c->frame[FRAME_MASK_NOT_IF] = ~(u64)RF_IF;
    c->frame[FRAME_MASK_AC] = RF_AC;
    c->frame[FRAME_MASK_NOT_AC] = ~RF_AC;
    c->frame[FRAME_MASK_NOT_ARITH] = ~(u64)FL_OSZAPC;
    c->frame[FRAME_MASK_AH_FLAGS] = 0xd500;
    c->frame[FRAME_MASK_FLAGS] = 0xd5;
    c->frame[FRAME_MASK_OF] = FL_OF;
    c->frame[FRAME_MASK_FSGSBASE] = CR4_FSGSBASE;
    c->frame[FRAME_MASK_PUSHED] = ~(u64)(RF_RF | RF_VM);
    c->frame[FRAME_MASK_OFFSET] = 0xfff;
    c->frame[FRAME_MASK_CROSS] = 0x1000;
    c->frame[FRAME_MASK_NOT_OFFSET] = ~0xfffull;
    c->frame[FRAME_MASK_NOT_COUNT] = ~0x1fffull;
    c->frame[FRAME_MASK_JUMP] = WIN_JUMP_MASK;
    c->frame[FRAME_UPPER] = 1;
    c->frame[FRAME_X87_AWAY] = 1;
    tsc_init_frame(c);
}
