/*
 * Random operands. Most memory operands lead to data by a register that was given a pointer not long ago; the others go
 * wild.
 */
#include "gen.h"

u8 pick_reg(struct gen *g)
{
    return (u8)below(g, 16);
}

u8 pick_target(struct gen *g)
{
    u8 reg = pick_reg(g);
    for (unsigned tries = 0; tries < 6 && (reg == R_SP || g->use[reg] != REG_DATA); tries++)
        reg = pick_reg(g);
    return reg == R_SP ? R_AX : reg;
}

/* --- addresses ------------------------------------------------------------------------------------------------------
 */

static unsigned random_page(struct gen *g)
{
    switch (below(g, 12)) {
    case 0:
        return PAGE_REMAP + below(g, 2);
    case 1:
        return PAGE_STACK + below(g, 2);
    default:
        return PAGE_DATA + below(g, DATA_PAGES);
    }
}

static unsigned random_offset(struct gen *g)
{
    if (g->wide_pointer && !one_in(g, 8))
        return 64 * below(g, 64);
    switch (below(g, 8)) {
    case 0:
    case 1: /* to cross into the next page */
        return MEM_PAGE_SIZE - 1 - below(g, 40);
    case 2:
        return below(g, 16);
    case 3:
    case 4:
        return below(g, MEM_PAGE_SIZE);
    default:
        return 64 * below(g, 64);
    }
}

u64 random_place(struct gen *g)
{
    return random_page(g) * (u64)MEM_PAGE_SIZE + random_offset(g);
}

u64 random_address(struct gen *g)
{
    static const u64 edges[] = {EDGE_USER + 0xff0, EDGE_KERNEL, EDGE_TOP + 0xff0, EDGE_NULL};
    u64 place = random_place(g);
    switch (below(g, 32)) {
    case 0:
        return edges[below(g, ARRAY_SIZE(edges))] + below(g, 16);
    case 1:
        return KERNEL_BASE + place;
    case 2:
        return LOW_BASE + place;
    default:
        return (g->ring0 && !one_in(g, 3) ? KERNEL_BASE : USER_BASE) + place;
    }
}

void set_pointer(struct gen *g, u8 reg)
{
    if (one_in(g, 3))
        emit_lea(g, reg, random_place(g));
    else
        emit_mov(g, reg, random_address(g));
    g->use[reg] = REG_POINTER;
}

u8 pick_pointer(struct gen *g)
{
    u8 start = pick_reg(g);
    for (unsigned n = 0; n < 16 && !g->wide_pointer && !one_in(g, 8); n++) {
        u8 reg = (start + n) & 15;
        if (g->use[reg] == REG_POINTER && reg != R_SP)
            return reg;
    }
    u8 reg = pick_target(g);
    set_pointer(g, reg);
    return reg;
}

/* One with a small number. */
static u8 pick_index(struct gen *g, u8 base)
{
    for (u8 reg = 0; reg < 16; reg++)
        if (g->use[reg] == REG_SMALL && reg != base && !one_in(g, 6))
            return reg;
    u8 reg = pick_target(g);
    if (reg == base)
        return REG_ZERO;
    struct insn i = insn_reg(INSN_MOV_Zv_Iv, reg, 0, false);
    i.imm = below(g, 40);
    emit(g, i);
    g->use[reg] = REG_SMALL;
    return reg;
}

static i32 small_disp(struct gen *g)
{
    i32 step = g->wide_pointer ? 64 : 1, range = g->wide_pointer ? 32 : 512;
    switch (below(g, 4)) {
    case 0:
        return 0;
    case 1:
        return step * ((i32)below(g, (u32)range) - range / 2);
    default:
        return step * ((i32)below(g, 32) - 16) & -step;
    }
}

static void wild_memory(struct gen *g, struct insn *i)
{
    i->base = one_in(g, 3) ? REG_ZERO : pick_reg(g);
    i->index = one_in(g, 2) ? REG_ZERO : pick_reg(g);
    if (i->index == R_SP)
        i->index = REG_ZERO;
    i->scale = (u8)below(g, 4);
    i->disp = (i32)random_integer(g->r);
}

/* By a 32-bit address: LOW_BASE. */
static void low_memory(struct gen *g, struct insn *i)
{
    i->base = pick_target(g);
    emit_mov(g, i->base, LOW_BASE + random_place(g) + (random_u64(g->r) << 32));
    i->disp = small_disp(g);
    i->ashift = 32;
}

void pick_memory(struct gen *g, struct insn *i)
{
    i->mem = true;
    unsigned way = below(g, 32);
    if (g->want_seg) {
        i->base = one_in(g, 2) ? REG_ZERO : pick_index(g, REG_ZERO);
        i->disp = (i32)below(g, 64);
        i->seg = g->want_seg;
        return;
    }
    if (way == 0) {
        wild_memory(g, i);
    } else if (way == 1) {
        low_memory(g, i);
    } else if (way < 6) {
        i->base = REG_RIP; /* made a displacement by emit_row */
        i->disp = (i64)random_place(g);
    } else if (way < 8) {
        i->base = R_SP;
        i->disp = (i32)(8 * below(g, 16));
    } else {
        i->base = pick_pointer(g);
        i->disp = small_disp(g);
        if (!g->wide_pointer && one_in(g, 4)) {
            i->index = pick_index(g, i->base);
            i->scale = (u8)below(g, 4);
        }
    }
    i->seg = i->base == R_SP || i->base == R_BP ? SEG_SS : SEG_DS;
    if (one_in(g, 40))
        i->seg = (u8)below(g, SEG_COUNT);
}

/* --- operands -------------------------------------------------------------------------------------------------------
 */

static u8 random_register(struct gen *g, enum isa_file file, bool written)
{
    u8 reg = written ? pick_target(g) : pick_reg(g);
    switch (file) {
    case FILE_GPR8: /* AH, CH, DH, BH now and then */
        return reg < 4 && one_in(g, 2) ? 0x10 + reg : reg;
    case FILE_SEG:
        return (u8)below(g, SEG_COUNT);
    case FILE_ST:
    case FILE_MMX:
    case FILE_CR:
    case FILE_DR:
        return (u8)below(g, 8);
    case FILE_XMM:
    case FILE_YMM:
    case FILE_VEC: /* half of the time few, so that results are used */
        return (u8)below(g, one_in(g, 2) ? 16 : 4);
    default:
        return reg;
    }
}

static u64 random_imm(struct gen *g, const struct isa_kind *k)
{
    u64 v = random_integer(g->r);
    return k->flags & OPF_SIGNED || k->size == SZ_Z ? (u64)(i64)(i32)v : v;
}

static void fill_rm(struct gen *g, struct insn *i, const struct isa_kind *k, bool written)
{
    bool must = k->flags & OPF_MEM, may = !(k->flags & OPF_REG) && k->file != FILE_ST;
    bool mem = must || (may && (g->want_lock || g->want_seg || !one_in(g, 3)));
    if (mem)
        pick_memory(g, i);
    else
        i->rm = random_register(g, k->file, written);
}

static void fill_vsib(struct gen *g, struct insn *i)
{
    i->mem = true;
    i->base = pick_pointer(g);
    i->index = (u8)below(g, 16);
    i->scale = (u8)below(g, 4);
    i->disp = small_disp(g);
    i->seg = i->base == R_BP ? SEG_SS : SEG_DS;
}

static void fill_operand(struct gen *g, struct insn *i, const struct isa_kind *k, bool written)
{
    switch (k->slot) {
    case SLOT_REG:
    case SLOT_OPREG:
        i->reg = random_register(g, k->file, written);
        break;
    case SLOT_RM:
        fill_rm(g, i, k, written);
        break;
    case SLOT_VVVV:
        i->vvvv = random_register(g, k->file, written);
        break;
    case SLOT_VSIB:
        fill_vsib(g, i);
        break;
    case SLOT_IS4:
        i->imm = below(g, 16) << 4;
        break;
    case SLOT_IMM:
        i->imm = random_imm(g, k);
        break;
    case SLOT_IMM2:
        i->imm2 = (u16)below(g, 256);
        break;
    case SLOT_MOFFS:
        i->disp = (i64)random_address(g);
        break;
    default:
        break;
    }
}

/* Memory first: it may emit instructions, which take registers. */
struct insn random_operands(struct gen *g, unsigned row)
{
    const struct isa_row *r = &isa_rows[row];
    unsigned size = below(g, 16);
    struct insn i = {.row = (u16)row, .mode = ISA_64, .base = REG_ZERO, .index = REG_ZERO, .seg = SEG_DS};

    i.rex_w = size < 6;
    i.prefix66 = size == 15 || size == 14;
    i.opsize = i.rex_w ? 8 : i.prefix66 ? 2 : 4;
    i.vl = (u8)below(g, 2);
    i.lock = r->attrs & A_LOCK && (g->want_lock || one_in(g, 12));
    bool locks = i.lock || row == INSN_XCHG_Eb_Gb || row == INSN_XCHG_Ev_Gv;
    if (r->attrs & A_ALIGN || (locks && g->o->no_split_locks))
        g->wide_pointer = true;
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned n = 0; n < r->operands; n++) {
            const struct isa_kind *k = &isa_kinds[r->operand[n].kind];
            if ((k->slot == SLOT_RM || k->slot == SLOT_VSIB) == !pass)
                fill_operand(g, &i, k, r->operand[n].access & ACC_W);
        }
    g->wide_pointer = false;
    if (r->treat == TREAT_STRING && one_in(g, 3) && r->attrs & (A_REP | A_REPZ))
        i.rep = one_in(g, 2) && r->attrs & A_REPZ ? 0xf2 : 0xf3;
    i.lock &= i.mem;
    return i;
}

void note_writes(struct gen *g, const struct insn *i)
{
    const struct isa_row *r = &isa_rows[i->row];
    for (unsigned n = 0; n < r->operands; n++) {
        const struct isa_kind *k = &isa_kinds[r->operand[n].kind];
        u8 reg = k->slot == SLOT_RM      ? (i->mem ? R_SP : i->rm)
                 : k->slot == SLOT_VVVV  ? i->vvvv
                 : k->slot == SLOT_FIXED ? k->flags
                                         : i->reg;
        if (r->operand[n].access & ACC_W && (k->file == FILE_GPR || k->file == FILE_GPR8))
            g->use[reg & 15] = REG_DATA;
    }
}
