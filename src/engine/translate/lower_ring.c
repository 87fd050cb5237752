/*
 * Changes of privilege (engine/translate/ring.h).
 */
#include "base/bits.h"
#include "cpu/mmu.h"
#include "engine/translate/lower.h"
#include "host/gs.h"

static void require_supervisor(struct lower *l)
{
    emit_insn(&l->e, insn_gs(INSN_MOVZX_Gv_Eb, HOST_T, REG_ZERO, CPU_AT(cpl), false));
    lower_require_zero(l);
}

/* HOST_T = the peer's base; the instruction is left to its semantics if there is none. */
static void find_peer(struct lower *l, enum mmu_index index)
{
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, WIN_PEERS + 8 * (i32)index);
    unsigned none = emit_jrcxz_hole(&l->e);
    unsigned on = emit_jmp_hole(&l->e);
    emit_bind_short(&l->e, none);
    lower_cold(l, emit_jmp_hole(&l->e));
    emit_bind(&l->e, on);
}

/* HOST_T2 = c->rflags with AC 0. */
static void load_flags(struct lower *l)
{
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T2, CPU_AT(rflags));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T2, HOST_T2, FRAME_AT(FRAME_MASK_NOT_AC));
    emit_bits(&l->e, INSN_PDEP_Gy_By_Ey, HOST_T2, HOST_T2, FRAME_AT(FRAME_MASK_NOT_AC));
}

/* c->rflags = HOST_T2, and the window is the one at HOST_T. */
static void move(struct lower *l)
{
    lower_commit(l);
    emit_gs(&l->e, INSN_MOV_Ev_Gv, HOST_T2, CPU_AT(rflags));
    emit_gs_imm(&l->e, FRAME_AT(FRAME_MOVED), 1);
    emit_reg(&l->e, INSN_WRGSBASE_Ry, 0, HOST_T, true);
}

static bool lower_stac(struct lower *l, const struct insn *i)
{
    require_supervisor(l);
    find_peer(l, MMU_SUPER);
    load_flags(l);
    emit_mem(&l->e, INSN_LEA_Gv_M, HOST_T2, (struct insn_ea){.base = HOST_T2, .index = REG_ZERO, .disp = RF_AC}, true);
    move(l);
    return true;
}

/* Kernels do so on each entry as well, where it changes nothing. */
static bool lower_clac(struct lower *l, const struct insn *i)
{
    require_supervisor(l);
    emit_gs(&l->e, INSN_MOV_Gv_Ev, HOST_T, CPU_AT(rflags));
    emit_bits(&l->e, INSN_PEXT_Gy_By_Ey, HOST_T, HOST_T, FRAME_AT(FRAME_MASK_AC));
    unsigned clear = emit_jrcxz_hole(&l->e);
    unsigned set = emit_jmp_hole(&l->e);
    emit_bind_short(&l->e, clear);
    unsigned done = emit_jmp_hole(&l->e);
    emit_bind(&l->e, set);
    find_peer(l, MMU_SUPER_SMAP);
    load_flags(l);
    move(l);
    emit_bind(&l->e, done);
    return true;
}

static bool to_glue(struct lower *l, u64 piece)
{
    lower_mov_number(l);
    lower_commit(l);
    lower_jmp_glue(l, piece);
    return true;
}

static bool lower_syscall(struct lower *l, const struct insn *i)
{
    lower_mov_rip(l, HOST_T2, block_next_rip(l->b, i));
    return to_glue(l, l->t->cache->glue.syscall);
}

static bool lower_sysret(struct lower *l, const struct insn *i)
{
    return i->opsize == 8 && to_glue(l, l->t->cache->glue.sysret);
}

bool lower_ring(struct lower *l, const struct insn *i)
{
    typedef bool lower_fn(struct lower *, const struct insn *);
    static lower_fn *const rows[INSN_COUNT] = {
        [INSN_STAC] = lower_stac,
        [INSN_CLAC] = lower_clac,
        [INSN_SYSCALL] = lower_syscall,
        [INSN_SYSRET] = lower_sysret,
    };
    if (!rows[i->row])
        return false;
    return host_gs_is_direct() && rows[i->row](l, i);
}
