/* Writing instructions: see gen.h. */
#include "gen.h"

#include <string.h>

void emit_bytes(struct gen *g, const u8 *bytes, unsigned len)
{
    memcpy(g->code + g->at, bytes, len);
    for (unsigned n = 0; n < len; n++)
        g->resume[g->at + n] = (u16)(g->at + len);
    g->at += len;
}

bool emit(struct gen *g, struct insn i)
{
    u8 bytes[INSN_MAX_BYTES];
    unsigned len = insn_encode(&i, bytes);
    if (len)
        emit_bytes(g, bytes, len);
    return len;
}

bool emit_rip(struct gen *g, struct insn i, u64 arena_offset)
{
    u8 bytes[INSN_MAX_BYTES];
    i.base = REG_RIP;
    i.index = REG_ZERO;
    i.disp = 0;
    i.disp = (i64)arena_offset - (i64)(g->at + insn_encode(&i, bytes));
    return emit(g, i);
}

/* Notes where the immediate of an ordinary instruction is, for code that changes it. */
static void note_immediate(struct gen *g, const struct insn *i, u32 end)
{
    const struct isa_row *row = &isa_rows[i->row];
    unsigned size = 0;
    for (unsigned n = 0; n < row->operands; n++) {
        const struct isa_kind *k = &isa_kinds[row->operand[n].kind];
        if (k->slot == SLOT_IMM)
            size = k->size == SZ_Z || k->size == SZ_V ? (i->opsize == 2                      ? 2
                                                         : i->opsize == 8 && k->size == SZ_V ? 8
                                                                                             : 4)
                                                      : k->size;
    }
    if (!size || g->patchables == PATCHABLES || row->attrs & A_END)
        return;
    g->patchable[g->patchables++] = (struct patchable){.at = (u16)(end - size), .size = (u8)size};
}

bool emit_row(struct gen *g, unsigned row)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        struct insn i = random_operands(g, row), check;
        u8 bytes[INSN_MAX_BYTES];
        unsigned len = insn_encode(&i, bytes);
        if (!len || insn_decode(bytes, len, ISA_64, &g->o->features, &check) != INSN_OK || check.row != row ||
            check.len != len)
            continue;
        if (i.base == REG_RIP && i.mem) /* the operand was chosen as an offset in the arena */
            emit_rip(g, i, (u64)i.disp);
        else
            emit_bytes(g, bytes, len);
        note_writes(g, &check);
        note_immediate(g, &check, g->at);
        return true;
    }
    return false;
}

void emit_any(struct gen *g, enum kind k)
{
    const struct row_list *l = rows_of(k);
    for (unsigned tries = 0; l->count && tries < 8; tries++)
        if (emit_row(g, l->row[below(g, l->count)]))
            return;
}

void emit_mov(struct gen *g, u8 reg, u64 value)
{
    struct insn i = insn_reg(INSN_MOV_Zv_Iv, reg, 0, true);
    i.imm = value;
    emit(g, i);
    g->use[reg] = REG_DATA;
}

void emit_int(struct gen *g, u8 vector)
{
    const u8 bytes[] = {0xcd, vector};
    emit_bytes(g, bytes, sizeof(bytes));
}

void emit_set_var(struct gen *g, u32 var, u32 value)
{
    struct insn i = insn_mem(INSN_MOV_Ev_Iz, 0, (struct insn_ea){.base = REG_RIP}, false);
    i.imm = value;
    emit_rip(g, i, PAGE_VARS * MEM_PAGE_SIZE + var);
}

void emit_lea(struct gen *g, u8 reg, u64 arena_offset)
{
    emit_rip(g, insn_mem(INSN_LEA_Gv_M, reg, (struct insn_ea){.base = REG_RIP}, true), arena_offset);
    g->use[reg] = REG_DATA;
}
