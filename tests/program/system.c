/* Items that only a kernel may do, and ways to become one. */
#include "gen.h"

#define MSR_FS_BASE        0xc0000100u
#define MSR_KERNEL_GS_BASE 0xc0000102u

/* MOV to and from a control register. */
static void emit_cr(struct gen *g, enum isa_row_id row, u8 cr, u8 reg)
{
    struct insn i = insn_reg(row, cr, reg, false);
    emit(g, i);
}

static u8 scratch(struct gen *g)
{
    u8 reg = pick_target(g);
    g->use[reg] = REG_DATA;
    return reg;
}

/* --- paging
 * ----------------------------------------------------------------------------------------------------------- */

struct change {
    u64 pte, value, linear; /* the entry by its linear address */
};

static struct change random_change(struct gen *g)
{
    unsigned page = one_in(g, 2) ? PAGE_REMAP + below(g, 2) : PAGE_DATA + below(g, DATA_PAGES);
    enum view v = below(g, VIEWS);
    return (struct change){
        .pte = RT_BASE + space_pte(g->p, v, page),
        .value = space_random_pte(g->r, v),
        .linear = (v == VIEW_KERNEL ? KERNEL_BASE : USER_BASE) + page * (u64)MEM_PAGE_SIZE + below(g, MEM_PAGE_SIZE),
    };
}

static void edit_by_service(struct gen *g)
{
    if (g->edits == EDITS)
        return;
    struct change c = random_change(g);
    struct runtime_vars *v = program_vars(g->p);
    v->edit[g->edits].pte = c.pte;
    v->edit[g->edits].value = c.value;
    v->edit[g->edits].linear = c.linear;
    emit_mov(g, R_AX, g->edits++);
    emit_int(g, VECTOR_EDIT);
}

/* No register keeps a pointer to a table: stores to it that nothing invalidates would be seen sooner or later. */
static void edit_here(struct gen *g)
{
    struct change c = random_change(g);
    u8 at = pick_target(g), value = at == R_DX ? R_BX : R_DX;
    emit_mov(g, at, c.pte);
    emit_mov(g, value, c.value);
    emit(g, insn_mem(INSN_MOV_Ev_Gv, value, (struct insn_ea){.base = at, .index = REG_ZERO}, true));
    emit_mov(g, at, c.linear);
    emit(g, insn_mem(INSN_INVLPG_Mb, 0, (struct insn_ea){.base = at, .index = REG_ZERO}, false));
    if (one_in(g, 2))
        g->use[at] = REG_POINTER;
}

static void switch_space(struct gen *g)
{
    u8 reg = scratch(g);
    u64 keep = g->p->pcid && one_in(g, 2) ? BIT64(63) : 0;
    emit_mov(g, reg, g->p->space[below(g, 2)] | keep);
    emit_cr(g, INSN_MOV_Cy_Ry, 3, reg);
}

void item_paging(struct gen *g)
{
    switch (below(g, 4)) {
    case 0:
        switch_space(g);
        break;
    case 1:
        if (!g->p->pcid) {
            edit_here(g);
            break;
        } /* fallthrough */
    default:
        edit_by_service(g);
    }
    if (one_in(g, 2))
        emit_any(g, KIND_MOVE);
}

/* --- rings
 * --------------------------------------------------------------------------------------------------------------- */

static void push_value(struct gen *g, u64 value)
{
    struct insn i = insn_reg(INSN_PUSH_Iz, 0, 0, false);
    i.imm = value;
    emit(g, i);
}

/* The address of a later instruction, in the code of the present ring or of ring 3. */
static void emit_later(struct gen *g, u8 reg, bool user)
{
    bool ring0 = g->ring0;
    emit_mov(g, reg, 0);
    g->ring0 = ring0 && !user;
    forward_word(g, PA_ARENA + g->at - 8, 8);
    g->ring0 = ring0;
}

/* IRET to a later instruction; from ring 0 perhaps to ring 3. */
static void return_interrupt(struct gen *g)
{
    bool down = g->ring0 && one_in(g, 2), user = down || !g->ring0;
    u8 reg = scratch(g);
    emit_recover(g);
    emit(g, insn_reg(INSN_MOV_Ev_Gv, R_SP, reg, true));
    push_value(g, user ? SEL_UDATA : SEL_KDATA);
    emit(g, insn_reg(INSN_PUSH_Zv, reg, 0, false));
    emit(g, insn_reg(INSN_PUSHFQ, 0, 0, false));
    push_value(g, user ? SEL_UCODE : SEL_KCODE);
    emit_later(g, reg, user);
    emit(g, insn_reg(INSN_PUSH_Zv, reg, 0, false));
    emit(g, insn_reg(INSN_IRETQ, 0, 0, true));
    forward_land(g, true);
    g->ring0 = !user;
    if (down)
        emit_stack(g);
}

static void return_far(struct gen *g)
{
    u8 reg = scratch(g);
    emit_recover(g);
    push_value(g, g->ring0 ? SEL_KCODE : SEL_UCODE);
    emit_later(g, reg, false);
    emit(g, insn_reg(INSN_PUSH_Zv, reg, 0, false));
    emit(g, insn_reg(INSN_RETF, 0, 0, true));
}

static void system_return(struct gen *g)
{
    emit_recover(g);
    emit_later(g, R_CX, true);
    emit_mov(g, R_BX + 8, 0x202 | (random_u64(g->r) & 0x8d5));
    emit(g, insn_reg(INSN_SYSRET, 0, 0, true));
    forward_land(g, true);
    g->ring0 = false;
    emit_stack(g);
}

static void other_ring(struct gen *g)
{
    emit_int(g, VECTOR_RING);
    g->ring0 = !g->ring0;
    if (one_in(g, 4))
        emit_stack(g);
}

/* What the supervisor may access of the user's pages, for a while. */
static void access_flag(struct gen *g)
{
    emit(g, insn_reg(one_in(g, 4) ? INSN_CLAC : INSN_STAC, 0, 0, false));
    for (unsigned n = below(g, 3); n--;)
        emit_any(g, one_in(g, 3) ? KIND_FAULT : KIND_MOVE);
    if (!one_in(g, 3))
        emit(g, insn_reg(INSN_CLAC, 0, 0, false));
    emit_any(g, KIND_MOVE);
}

void item_ring(struct gen *g)
{
    switch (below(g, 10)) {
    case 8:
    case 9:
        if (g->ring0) {
            access_flag(g);
            break;
        } /* fallthrough */
    case 0:
    case 1:
        other_ring(g);
        break;
    case 2:
        return_interrupt(g);
        break;
    case 3:
        return_far(g);
        break;
    case 4:
        if (g->ring0) {
            system_return(g);
            break;
        } /* fallthrough */
    case 5:
        if (!g->ring0) {
            emit(g, insn_reg(INSN_SYSCALL, 0, 0, false));
            g->use[R_CX] = g->use[11] = REG_DATA;
            break;
        } /* fallthrough */
    default:
        emit_int(g, one_in(g, 2) ? VECTOR_CHECK : 3);
    }
}

/* --- segments
 * --------------------------------------------------------------------------------------------------------------- */

/* A base by MSR, or by the instructions that ring 3 has too; then accesses. */
static void set_base(struct gen *g)
{
    bool gs = one_in(g, 2);
    u64 base = random_address(g);
    if (g->ring0 && one_in(g, 3)) {
        emit_mov(g, R_CX, one_in(g, 3) ? MSR_KERNEL_GS_BASE : MSR_FS_BASE + gs);
        emit_mov(g, R_AX, base);
        emit_mov(g, R_DX, base >> 32);
        emit(g, insn_reg(INSN_WRMSR, 0, 0, false));
    } else {
        u8 reg = scratch(g);
        emit_mov(g, reg, base);
        emit(g, insn_reg(gs ? INSN_WRGSBASE_Ry : INSN_WRFSBASE_Ry, 0, reg, true));
    }
    g->want_seg = gs ? SEG_GS : SEG_FS;
    for (unsigned n = 1 + below(g, 3); n; n--)
        emit_any(g, one_in(g, 4) ? KIND_ALU : KIND_MOVE);
    g->want_seg = 0;
}

static void load_selector(struct gen *g)
{
    static const u8 selectors[] = {0, SEL_KDATA, SEL_UDATA, 3, SEL_KCODE, SEL_TSS};
    static const u8 registers[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};
    u8 reg = scratch(g);
    emit_mov(g, reg, selectors[below(g, ARRAY_SIZE(selectors))]);
    emit(g, insn_reg(INSN_MOV_Sw_Ew, registers[below(g, ARRAY_SIZE(registers))], reg, false));
}

void item_segment(struct gen *g)
{
    switch (below(g, 6)) {
    case 0:
        emit_any(g, KIND_SEGMENT);
        break;
    case 1:
        load_selector(g);
        break;
    case 2:
        if (g->ring0)
            emit(g, insn_reg(INSN_SWAPGS, 0, 0, false));
        break;
    default:
        set_base(g);
    }
}

/* --- the rest
 * ---------------------------------------------------------------------------------------------------------------- */

/* A bit of CR0 or CR4 turned over. */
static void flip_control(struct gen *g)
{
    static const struct {
        u8 cr;
        u64 bit;
    } bits[] = {{0, CR0_WP}, {0, CR0_TS}, {0, CR0_AM}, {4, CR4_PGE}, {4, CR4_TSD}, {4, CR4_OSXMMEXCPT}, {4, CR4_UMIP}};
    unsigned n = below(g, ARRAY_SIZE(bits));
    u8 reg = scratch(g), other = reg == R_DX ? R_BX : R_DX;
    emit_cr(g, INSN_MOV_Ry_Cy, bits[n].cr, reg);
    emit_mov(g, other, bits[n].bit);
    emit(g, insn_reg(INSN_XOR_Ev_Gv, other, reg, true));
    emit_cr(g, INSN_MOV_Cy_Ry, bits[n].cr, reg);
}

static void query_cpuid(struct gen *g)
{
    static const u32 leaves[] = {0, 1, 4, 7, 13, 0x80000000, 0x80000001, 0x80000008};
    emit_mov(g, R_AX, leaves[below(g, ARRAY_SIZE(leaves))]);
    emit_mov(g, R_CX, below(g, 3));
    emit(g, insn_reg(INSN_CPUID, 0, 0, false));
    g->use[R_BX] = g->use[R_DX] = REG_DATA;
}

void item_system(struct gen *g)
{
    switch (below(g, 6)) {
    case 0:
        emit(g, insn_reg(one_in(g, 2) ? INSN_STI : INSN_CLI, 0, 0, false));
        break;
    case 1:
        flip_control(g);
        break;
    case 2:
        query_cpuid(g);
        break;
    case 3:
        if (g->p->smap)
            emit(g, insn_reg(one_in(g, 2) ? INSN_STAC : INSN_CLAC, 0, 0, false));
        break;
    default:
        emit_any(g, KIND_SYSTEM);
    }
}

/* --- interrupts
 * -------------------------------------------------------------------------------------------------------- */

static void some_moves(struct gen *g)
{
    for (unsigned n = below(g, 3); n; n--)
        emit_any(g, one_in(g, 3) ? KIND_ALU : KIND_MOVE);
}

/* Flags with IF set through the stack: no shadow follows. */
static void pop_interrupt_flag(struct gen *g)
{
    struct insn i = insn_mem(INSN_OR_Ev_Iz, 1, (struct insn_ea){.base = R_SP, .index = REG_ZERO}, false);
    i.imm = RF_IF;
    emit(g, insn_reg(INSN_PUSHFQ, 0, 0, false));
    emit(g, i);
    emit(g, insn_reg(INSN_POPFQ, 0, 0, false));
}

/*
 * One is requested while IF is 0, and let in some time later, or by the next who sets IF. While IF is 1 the moment
 * would not be exact: a shadow that is left over from an old STI may put it off by an instruction.
 */
void item_irq(struct gen *g)
{
    if (!g->ring0)
        other_ring(g);
    emit(g, insn_reg(INSN_CLI, 0, 0, false));
    emit_mov(g, R_AX, IRQ_FIRST + below(g, 16));
    emit_mov(g, R_DX, IRQ_PORT);
    emit(g, insn_reg(INSN_OUT_DX_AL, 0, 0, false));
    some_moves(g);
    switch (below(g, 5)) {
    case 0:
        pop_interrupt_flag(g);
        break;
    case 1: /* only what follows STI is let through */
        emit(g, insn_reg(INSN_STI, 0, 0, false));
        emit_any(g, KIND_MOVE);
        emit(g, insn_reg(INSN_CLI, 0, 0, false));
        break;
    case 2: /* nothing */
        emit(g, insn_reg(INSN_STI, 0, 0, false));
        emit(g, insn_reg(INSN_CLI, 0, 0, false));
        break;
    case 3:
        emit(g, insn_reg(INSN_STI, 0, 0, false));
        break;
    default:
        break;
    }
    some_moves(g);
}
