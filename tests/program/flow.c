/* Items that steer: jumps, calls, flags and who reads them, code that is changed. */
#include "gen.h"

#include <string.h>

/* --- forward references ----------------------------------------------------------------------------------------------
 */

static void add_forward(struct gen *g, struct forward f)
{
    if (g->forwards < FORWARDS)
        g->forward[g->forwards++] = f;
}

void forward_disp(struct gen *g, u32 end, unsigned size)
{
    add_forward(g, (struct forward){.at = PA_ARENA + end - size, .from = end, .size = (u8)size});
}

void forward_word(struct gen *g, u32 ram, unsigned size)
{
    add_forward(g, (struct forward){.at = ram, .from = g->at, .size = (u8)size, .base = code_base(g)});
}

static void land(struct gen *g, const struct forward *f)
{
    u8 *at = g->p->ram + f->at;
    u32 distance = g->at - f->from;
    if (f->size == 8)
        put_u64(at, f->base + g->at);
    else if (f->size == 4)
        put_u32(at, distance);
    else if (f->size == 2)
        put_u16(at, (u16)g->at);
    else if (distance < 128) /* else it stays a jump to the next instruction */
        *at = (u8)distance;
}

void forward_land(struct gen *g, bool all)
{
    unsigned kept = 0;
    for (unsigned n = 0; n < g->forwards; n++) {
        struct forward f = g->forward[n];
        if (all || one_in(g, 5) || (f.size == 1 && g->at - f.from > 50))
            land(g, &f);
        else
            g->forward[kept++] = f;
    }
    g->forwards = kept;
}

u64 code_base(struct gen *g)
{
    return g->ring0 ? KERNEL_BASE : USER_BASE;
}

void emit_recover(struct gen *g)
{
    emit_set_var(g, VAR_RECOVER, 0);
    forward_word(g, PA_ARENA + g->at - 4, 2);
}

/* --- jumps
 * ------------------------------------------------------------------------------------------------------------ */

static void emit_rel(struct gen *g, unsigned row, u32 target)
{
    struct insn i = insn_reg(row, 0, 0, false);
    u8 bytes[INSN_MAX_BYTES];
    i.imm = (u64)((i64)target - (i64)(g->at + insn_encode(&i, bytes)));
    emit(g, i);
}

static void jump_forward(struct gen *g, unsigned short_row, unsigned near_row)
{
    bool near = one_in(g, 3);
    struct insn i = insn_reg(near ? near_row : short_row, 0, 0, false);
    emit(g, i);
    forward_disp(g, g->at, near ? 4 : 1);
}

static void jump_conditional(struct gen *g)
{
    unsigned cc = below(g, 16);
    jump_forward(g, INSN_JO_Jb + cc, INSN_JO_Jz + cc);
}

/* Mostly few; at times enough to make code hot. */
static u32 iterations(struct gen *g)
{
    switch (below(g, 12)) {
    case 0:
        return 200 + below(g, 2000);
    case 1:
    case 2:
        return 20 + below(g, 80);
    default:
        return 1 + below(g, 8);
    }
}

/* By a counter in memory, which is never set again: so all loops together end. */
static void jump_back(struct gen *g)
{
    const struct program *p = g->p;
    if (g->counters == 64 || p->items < 2)
        return;
    u32 var = VAR_COUNTER + 4 * g->counters++, back = 1 + below(g, 10);
    u32 target = p->item[p->items > back ? p->items - back : 0].at;
    put_u32(p->ram + arena_frame(PAGE_VARS) + var, iterations(g));
    struct insn i = insn_mem(INSN_SUB_Ev_sIb, 5, (struct insn_ea){.base = REG_RIP}, false);
    i.imm = 1;
    emit_rip(g, i, PAGE_VARS * MEM_PAGE_SIZE + var);
    emit_rel(g, INSN_JNS_Jz, target);
}

static void jump_table(struct gen *g)
{
    if (g->slots + 4 > 200)
        return;
    u32 var = VAR_TABLE + 8 * g->slots, pick = below(g, 4);
    for (unsigned n = 0; n < 4; n++, g->slots++)
        forward_word(g, (u32)arena_frame(PAGE_VARS) + VAR_TABLE + 8 * g->slots, 8);
    u64 place = PAGE_VARS * MEM_PAGE_SIZE + var;
    u8 base = pick_target(g), index = base == R_CX ? R_DX : R_CX;
    switch (below(g, 3)) {
    case 0:
        emit_rip(g, insn_mem(INSN_JMP_Ev, 0, (struct insn_ea){.base = REG_RIP}, false), place + 8 * pick);
        break;
    case 1:
        emit_rip(g, insn_mem(INSN_MOV_Gv_Ev, base, (struct insn_ea){.base = REG_RIP}, true), place + 8 * pick);
        emit(g, insn_reg(INSN_JMP_Ev, 0, base, false));
        break;
    default:
        emit_lea(g, base, place);
        emit_mov(g, index, pick);
        emit(g, insn_mem(INSN_JMP_Ev, 0, (struct insn_ea){.base = base, .index = index, .scale = 3}, false));
    }
    g->use[base] = REG_DATA;
}

void item_branch(struct gen *g)
{
    static const u16 counted[] = {INSN_LOOP_Jb, INSN_LOOPE_Jb, INSN_LOOPNE_Jb, INSN_JRCXZ_Jb, INSN_JECXZ_Jb};
    unsigned row;
    switch (below(g, 10)) {
    case 0:
    case 1:
        jump_back(g);
        break;
    case 2:
        jump_table(g);
        break;
    case 3:
        row = counted[below(g, ARRAY_SIZE(counted))];
        jump_forward(g, row, INSN_JMP_Jz);
        break;
    case 4:
        jump_forward(g, INSN_JMP_Jb, INSN_JMP_Jz);
        break;
    default:
        jump_conditional(g);
    }
}

/* --- calls
 * -------------------------------------------------------------------------------------------------------------- */

/* A function, with a jump over it. Each call costs one of the budget, so that no returns to odd places go on for ever.
 */
static void define_function(struct gen *g)
{
    emit(g, insn_reg(INSN_JMP_Jz, 0, 0, false));
    u32 over = g->at;
    g->function[g->functions++ % ARRAY_SIZE(g->function)] = g->at;
    struct insn i = insn_mem(INSN_SUB_Ev_sIb, 5, (struct insn_ea){.base = REG_RIP}, false);
    i.imm = 1;
    emit_rip(g, i, PAGE_VARS * MEM_PAGE_SIZE + VAR_BUDGET);
    emit_rel(g, INSN_JNS_Jb, g->at + 4);
    emit_int(g, VECTOR_FINISH);
    for (unsigned n = below(g, 5); n; n--)
        emit_any(g, one_in(g, 2) ? KIND_ALU : KIND_MOVE);
    struct insn ret = insn_reg(one_in(g, 5) ? INSN_RET_Iw : INSN_RET, 0, 0, false);
    ret.imm = 8 * below(g, 3);
    emit(g, ret);
    put_u32(g->code + over - 4, g->at - over);
}

/* Through a word of the stack, read beside others where the return address is then pushed. */
static void call_by_stack(struct gen *g, u8 reg)
{
    u8 deep = (u8)below(g, 3), loaded = pick_target(g);
    for (unsigned n = 0; n <= deep; n++)
        emit(g, insn_reg(INSN_PUSH_Zv, reg, 0, false));
    struct insn_ea ea = {.base = R_SP, .index = REG_ZERO, .disp = (i32)(8 * below(g, deep + 1u))};
    if (loaded != reg)
        emit(g, insn_mem(INSN_MOV_Gv_Ev, loaded, ea, true));
    ea.disp = (i32)(8 * below(g, deep + 1u));
    emit(g, insn_mem(INSN_CALL_Ev, 0, ea, false));
    for (unsigned n = 0; n <= deep; n++)
        emit(g, insn_reg(INSN_POP_Zv, loaded, 0, false));
    g->use[loaded] = REG_DATA;
}

static void call_function(struct gen *g)
{
    u32 target = g->function[below(g, g->functions < 16 ? g->functions : 16)];
    u8 reg = pick_target(g);
    switch (below(g, 5)) {
    case 0:
        emit_lea(g, reg, target);
        emit(g, insn_reg(INSN_CALL_Ev, 0, reg, false));
        break;
    case 1:
        if (g->slots < 200) {
            u32 var = VAR_TABLE + 8 * g->slots++;
            put_u64(g->p->ram + arena_frame(PAGE_VARS) + var, code_base(g) + target);
            emit_rip(g, insn_mem(INSN_CALL_Ev, 0, (struct insn_ea){.base = REG_RIP}, false),
                     PAGE_VARS * MEM_PAGE_SIZE + var);
        }
        break;
    case 2:
        emit_lea(g, reg, target);
        call_by_stack(g, reg);
        break;
    default:
        emit_rel(g, INSN_CALL_Jz, target);
    }
}

/* PUSH and RET as a jump; CALL as one, or to get at RIP. */
static void odd_call(struct gen *g)
{
    u8 reg = pick_target(g);
    switch (below(g, 3)) {
    case 0:
        emit(g, insn_mem(INSN_LEA_Gv_M, reg, (struct insn_ea){.base = REG_RIP, .index = REG_ZERO}, true));
        forward_disp(g, g->at, 4);
        emit(g, insn_reg(INSN_PUSH_Zv, reg, 0, false));
        emit(g, insn_reg(INSN_RET, 0, 0, false));
        break;
    case 1:
        emit(g, insn_reg(INSN_CALL_Jz, 0, 0, false));
        emit(g, insn_reg(INSN_POP_Zv, reg, 0, false));
        break;
    default:
        emit(g, insn_reg(INSN_CALL_Jz, 0, 0, false));
        forward_disp(g, g->at, 4);
    }
    g->use[reg] = REG_DATA;
}

void item_call(struct gen *g)
{
    if (!g->functions || one_in(g, 5))
        define_function(g);
    else if (one_in(g, 4))
        odd_call(g);
    else
        call_function(g);
}

/* --- flags
 * ------------------------------------------------------------------------------------------------------------------ */

static void emit_producer(struct gen *g)
{
    const struct row_list *l = rows_of(KIND_ALU);
    for (unsigned tries = 0; tries < 32; tries++) {
        unsigned row = l->row[below(g, l->count)];
        if ((isa_rows[row].flags_written | isa_rows[row].flags_undefined) && emit_row(g, row))
            return;
    }
}

static void emit_consumer(struct gen *g)
{
    static const u16 readers[] = {INSN_ADC_Ev_Gv, INSN_SBB_Gv_Ev, INSN_RCL_Ev_One,
                                  INSN_RCR_Ev_CL, INSN_CMC,       INSN_ADC_Ev_Iz};
    unsigned cc = below(g, 16);
    switch (below(g, 6)) {
    case 0:
        emit_row(g, INSN_SETO_Eb + cc);
        break;
    case 1:
        emit_row(g, INSN_CMOVO_Gv_Ev + cc);
        break;
    case 2:
        emit_row(g, readers[below(g, ARRAY_SIZE(readers))]);
        break;
    case 3:
        emit(g, insn_reg(INSN_PUSHFQ, 0, 0, false));
        emit(g, insn_reg(INSN_POP_Zv, pick_target(g), 0, false));
        break;
    case 4:
        emit_row(g, INSN_LAHF_64);
        break;
    default:
        jump_conditional(g);
    }
}

void item_flags(struct gen *g)
{
    emit_producer(g);
    for (unsigned n = below(g, 5); n; n--)
        emit_any(g, one_in(g, 4) ? KIND_VECTOR : KIND_MOVE);
    for (unsigned n = 1 + below(g, 2); n; n--)
        emit_consumer(g);
}

/* --- code that is changed
 * -------------------------------------------------------------------------------------------------- */

/* Offset from the arena's start by which a byte of code is written: as itself, or by its other mapping. */
static u64 writable_place(struct gen *g, u32 code)
{
    for (unsigned n = 0; n < 2; n++)
        if (g->p->alias[n] == code / MEM_PAGE_SIZE && !one_in(g, 4))
            return (PAGE_ALIAS + n) * (u64)MEM_PAGE_SIZE + code % MEM_PAGE_SIZE;
    return code;
}

static void patch_earlier(struct gen *g)
{
    if (!g->patchables)
        return;
    struct patchable t = g->patchable[below(g, g->patchables)];
    u64 place = writable_place(g, t.at);
    struct insn i = insn_mem(INSN_MOV_Eb_Ib, 0, (struct insn_ea){.base = REG_RIP}, false);
    i.imm = (u8)random_u64(g->r);
    switch (below(g, 4)) {
    case 0:
        i = insn_mem(INSN_ADD_Eb_Ib, 0, (struct insn_ea){.base = REG_RIP}, false);
        i.imm = 1;
        i.lock = one_in(g, 3);
        emit_rip(g, i, place);
        break;
    case 1:
        emit_lea(g, R_DI, place);
        emit(g, insn_reg(INSN_STOSB, 0, 0, false));
        break;
    case 2:
        if (t.size >= 4) {
            emit_rip(g, insn_mem(INSN_MOV_Ev_Gv, pick_reg(g), (struct insn_ea){.base = REG_RIP}, false), place);
            break;
        } /* fallthrough */
    default:
        emit_rip(g, i, place);
    }
}

/* gen.c makes the displacement when the later instruction is there. */
static void patch_later(struct gen *g)
{
    if (g->patches == FORWARDS)
        return;
    emit_rip(g, insn_mem(INSN_MOV_Eb_Gb, (u8)below(g, 4), (struct insn_ea){.base = REG_RIP}, false),
             VAR_COUNTER - 8 + PAGE_VARS * MEM_PAGE_SIZE);
    g->patch[g->patches++] = (struct forward){.at = PA_ARENA + g->at - 4, .from = g->at};
}

static void store_bytes(struct gen *g, u64 place, const u8 *bytes, unsigned size)
{
    struct insn i = insn_mem(size == 4 ? INSN_MOV_Ev_Iz : INSN_MOV_Eb_Ib, 0, (struct insn_ea){.base = REG_RIP}, false);
    i.imm = size == 4 ? (u64)(i32)get_u32(bytes) : bytes[0];
    emit_rip(g, i, place);
}

/* Writes mov $imm, %eax; add %eax, %reg; ret and calls it. Few places, so that they are used again. */
static void write_function(struct gen *g)
{
    u8 bytes[8] = {0xb8, 0, 0, 0, 0, 0x01, (u8)(0xc0 | below(g, 4)), 0xc3};
    u64 place = PAGE_JIT * (u64)MEM_PAGE_SIZE + 48 * below(g, 6) + below(g, 2) * 0x7c0;
    put_u32(bytes + 1, (u32)random_u64(g->r));
    emit_recover(g);
    if (one_in(g, 3)) { /* only part of it: the rest is from last time */
        store_bytes(g, place + 1 + below(g, 4), bytes + 1, 1);
    } else {
        store_bytes(g, place, bytes, 4);
        store_bytes(g, place + 4, bytes + 4, 4);
    }
    u8 reg = pick_target(g);
    emit_lea(g, reg, place);
    emit(g, insn_reg(INSN_CALL_Ev, 0, reg, false));
    g->use[R_AX] = REG_DATA;
}

/* Data between instructions, and a pointer to it. */
static void island(struct gen *g)
{
    u8 data[64];
    emit(g, insn_reg(INSN_JMP_Jz, 0, 0, false));
    u32 from = g->at;
    random_data(g->r, data, sizeof(data));
    for (unsigned n = 0; n < 2 + below(g, 2); n++)
        emit_bytes(g, data, sizeof(data));
    put_u32(g->code + from - 4, g->at - from);
    u8 reg = pick_target(g);
    emit_lea(g, reg, writable_place(g, from + 64));
    g->use[reg] = REG_POINTER;
    emit_any(g, KIND_MOVE);
}

void item_code(struct gen *g)
{
    switch (below(g, 5)) {
    case 0:
        patch_later(g);
        break;
    case 1:
        write_function(g);
        break;
    case 2:
        island(g);
        break;
    default:
        patch_earlier(g);
    }
}
