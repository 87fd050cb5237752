/*
 * Implements place.h: the operand that ModRM names, the stack, strings, and bit strings.
 */
#include "engine/translate/place.h"

#include "base/bits.h"
#include "cpu/access.h"

enum data {
    DATA_UNKNOWN,
    DATA_OPERAND, /* what ModRM names, if it is memory */
    DATA_PUSH,    /* that, and the stack */
    DATA_POP,
    DATA_LEAVE,
    DATA_STOS,
    DATA_LODS,
    DATA_MOVS,
    DATA_BITS, /* memory at a bit offset from what ModRM names */
};

/* Rows that are not copied as they are. */
static const u8 special[INSN_COUNT] = {
    [INSN_JO_Jb... INSN_JNLE_Jz] = DATA_OPERAND,
    [INSN_JMP_Jb... INSN_JMP_Jz] = DATA_OPERAND,
    [INSN_JMP_Ev] = DATA_OPERAND,
    [INSN_CALL_Jz] = DATA_PUSH,
    [INSN_CALL_Ev] = DATA_PUSH,
    [INSN_RET... INSN_RET_Iw] = DATA_POP,
    [INSN_LOOP_Jb] = DATA_OPERAND,
    [INSN_JECXZ_Jb... INSN_JRCXZ_Jb] = DATA_OPERAND,
    [INSN_PUSH_Zv] = DATA_PUSH,
    [INSN_POP_Zv] = DATA_POP,
    [INSN_PUSH_Iz... INSN_PUSH_sIb] = DATA_PUSH,
    [INSN_PUSH_Ev] = DATA_PUSH,
    [INSN_LEAVE] = DATA_LEAVE,
    [INSN_CLI] = DATA_OPERAND,
    [INSN_CLD] = DATA_OPERAND,
    [INSN_MOV_Ry_Cy] = DATA_OPERAND,
    [INSN_RDFSBASE_Ry... INSN_WRGSBASE_Ry] = DATA_OPERAND,
    [INSN_PUSHFQ] = DATA_PUSH,
    [INSN_SWAPGS] = DATA_OPERAND,
    [INSN_MOV_RvMw_Sw] = DATA_OPERAND,
    [INSN_STOSB... INSN_STOSQ] = DATA_STOS,
    [INSN_LODSB... INSN_LODSQ] = DATA_LODS,
    [INSN_MOVSB... INSN_MOVSQ] = DATA_MOVS,
    [INSN_BT_Ev_Gv] = DATA_BITS,
    [INSN_BTS_Ev_Gv] = DATA_BITS,
    [INSN_BTR_Ev_Gv] = DATA_BITS,
    [INSN_BTC_Ev_Gv] = DATA_BITS,
    [INSN_DIV_Eb... INSN_DIV_Ev] = DATA_OPERAND,
    [INSN_IDIV_Eb... INSN_IDIV_Ev] = DATA_OPERAND,
    [INSN_VZEROUPPER] = DATA_OPERAND,
    [INSN_VZEROALL] = DATA_OPERAND,
};

static enum data data_of(const struct insn *i)
{
    enum data d = special[i->row];
    if (i->rep && d >= DATA_STOS && d <= DATA_MOVS)
        return DATA_UNKNOWN;
    return d == DATA_UNKNOWN && isa_rows[i->row].treat == TREAT_COPY ? DATA_OPERAND : d;
}

bool place_known(const struct insn *i)
{
    return data_of(i) != DATA_UNKNOWN;
}

/* enum isa_access of the operand that ModRM's r/m names. */
static unsigned rm_access(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    for (unsigned n = 0; n < row->operands; n++) {
        if (isa_kinds[row->operand[n].kind].slot == SLOT_RM)
            return row->operand[n].access & ACC_RW;
    }
    return 0;
}

static unsigned operand_place(const struct cpu *c, const struct insn *i, struct place *out)
{
    unsigned access = i->mem ? rm_access(i) : 0, size = insn_mem_size(i);
    if (!access)
        return 0;
    *out = (struct place){
        .linear = op_ea(c, i) + c->seg_base[i->seg],
        .size = size ? size : 8,
        .write = access & ACC_W,
    };
    return 1;
}

static struct place stack_place(const struct cpu *c, i64 from_top, bool write)
{
    return (struct place){.linear = c->gpr[R_SP] + (u64)from_top, .size = 8, .write = write};
}

static struct place string_place(const struct cpu *c, const struct insn *i, unsigned reg, unsigned first_row)
{
    unsigned seg = reg == R_DI ? SEG_ES : i->seg;
    u64 offset = c->gpr[reg] << i->ashift >> i->ashift;
    return (struct place){
        .linear = offset + c->seg_base[seg], .size = 1u << (i->row - first_row), .write = reg == R_DI};
}

/* A register as bit offset is signed, and its upper part counts in operands. */
static struct place bit_place(const struct cpu *c, const struct insn *i)
{
    unsigned width = 8u * i->opsize;
    i64 offset = sign_extend(c->gpr[i->reg], width);
    u64 base = op_ea(c, i) + (u64)((offset >> 3) & -(i64)i->opsize);
    return (struct place){
        .linear = (base << i->ashift >> i->ashift) + c->seg_base[i->seg],
        .size = i->opsize,
        .write = i->row != INSN_BT_Ev_Gv,
    };
}

unsigned places_of(const struct cpu *c, const struct insn *i, struct place out[PLACES_MAX])
{
    unsigned count = 0;
    switch (data_of(i)) {
    case DATA_UNKNOWN:
        break;
    case DATA_OPERAND:
        return operand_place(c, i, out);
    case DATA_PUSH:
        count = operand_place(c, i, out);
        out[count++] = stack_place(c, -8, true);
        break;
    case DATA_POP:
        out[count++] = stack_place(c, 0, false);
        break;
    case DATA_LEAVE:
        out[count++] = (struct place){.linear = c->gpr[R_BP], .size = 8};
        break;
    case DATA_STOS:
        out[count++] = string_place(c, i, R_DI, INSN_STOSB);
        break;
    case DATA_LODS:
        out[count++] = string_place(c, i, R_SI, INSN_LODSB);
        break;
    case DATA_MOVS:
        out[count++] = string_place(c, i, R_SI, INSN_MOVSB);
        out[count++] = string_place(c, i, R_DI, INSN_MOVSB);
        break;
    case DATA_BITS:
        if (!i->mem)
            return 0;
        out[count++] = bit_place(c, i);
        break;
    }
    return count;
}
