/*
 * Operands of a decoded instruction (isa/operand.h), from its row and the fields of struct insn.
 */
#include "isa/operand.h"

static unsigned size_bytes(const struct insn *i, unsigned size)
{
    unsigned op = i->opsize, vector = 16u << i->vl;
    switch (size) {
    case SZ_V:
        return op;
    case SZ_Z:
        return op > 4 ? 4 : op;
    case SZ_Y:
        return op < 4 ? 4 : op;
    case SZ_A:
        return 8u - i->ashift / 8;
    case SZ_2V:
        return 2 * op;
    case SZ_2Y:
        return op < 4 ? 8 : 2 * op;
    case SZ_P:
        return op + 2;
    case SZ_S:
        return i->mode == ISA_64 ? 10 : 6;
    case SZ_VL:
        return vector;
    case SZ_HALF_VL:
        return vector / 2;
    case SZ_QUARTER_VL:
        return vector / 4;
    case SZ_EIGHTH_VL:
        return vector / 8;
    default:
        return size;
    }
}

static unsigned register_size(const struct insn *i, const struct isa_kind *k)
{
    if (k->file == FILE_XMM)
        return 16;
    if (k->file == FILE_YMM)
        return 32;
    bool fixed = k->slot == SLOT_FIXED; /* flags is a number there */
    if (!fixed && k->flags & OPF_R32)
        return 4;
    if (!fixed && k->flags & OPF_RV)
        return i->opsize;
    if (!fixed && k->flags & OPF_RY)
        return size_bytes(i, SZ_Y);
    return size_bytes(i, k->size);
}

static u8 vector_file(const struct insn *i, u8 file)
{
    return file != FILE_VEC ? file : i->vl ? FILE_YMM : FILE_XMM;
}

static void set_register(struct isa_operand *o, const struct insn *i, const struct isa_kind *k, unsigned reg)
{
    o->type = OPERAND_REG;
    o->file = vector_file(i, k->file);
    o->reg = (u8)reg;
    o->size = (u8)register_size(i, k);
}

/* The r/m memory operand, VSIB and moffs included. */
static void set_memory(struct isa_operand *o, const struct insn *i, const struct isa_kind *k)
{
    o->type = OPERAND_MEM;
    o->base = i->base;
    o->index = i->index;
    o->scale = i->scale;
    o->seg = i->seg;
    o->disp = i->disp;
    o->index_file = k->slot == SLOT_VSIB ? vector_file(i, k->file) : FILE_GPR;
}

static void set_string(struct isa_operand *o, const struct isa_kind *k, unsigned seg)
{
    o->type = OPERAND_MEM;
    o->base = k->flags;
    o->index = REG_ZERO;
    o->index_file = FILE_GPR;
    o->seg = (u8)seg;
}

static void set_immediate(struct isa_operand *o, const struct isa_kind *k, unsigned type, u64 imm)
{
    o->type = (u8)type;
    o->imm = imm;
    o->is_signed = k->flags & OPF_SIGNED;
}

struct isa_operand insn_operand(const struct insn *i, unsigned n)
{
    const struct isa_row *row = &isa_rows[i->row];
    const struct isa_kind *k = &isa_kinds[row->operand[n].kind];
    struct isa_operand o = {
        .access = row->operand[n].access,
        .size = (u8)size_bytes(i, k->size),
        .asize = (u8)size_bytes(i, SZ_A),
    };
    switch (k->slot) {
    case SLOT_REG:
    case SLOT_OPREG:
        set_register(&o, i, k, i->reg);
        break;
    case SLOT_RM:
        if (i->mem)
            set_memory(&o, i, k);
        else
            set_register(&o, i, k, i->rm);
        break;
    case SLOT_VVVV:
        set_register(&o, i, k, i->vvvv);
        break;
    case SLOT_IS4:
        set_register(&o, i, k, i->imm >> 4 & 15);
        break;
    case SLOT_VSIB:
    case SLOT_MOFFS:
        set_memory(&o, i, k);
        break;
    case SLOT_SI:
        set_string(&o, k, i->seg);
        break;
    case SLOT_DI:
        set_string(&o, k, SEG_ES);
        break;
    case SLOT_IMM:
        set_immediate(&o, k, OPERAND_IMM, i->imm);
        break;
    case SLOT_IMM2:
        set_immediate(&o, k, OPERAND_IMM, i->imm2);
        break;
    case SLOT_REL:
        set_immediate(&o, k, OPERAND_REL, i->imm);
        break;
    case SLOT_FAR:
        set_immediate(&o, k, OPERAND_FAR, i->imm);
        o.selector = i->imm2;
        break;
    case SLOT_FIXED:
        if (k->file == FILE_NONE)
            set_immediate(&o, k, OPERAND_IMM, k->flags);
        else
            set_register(&o, i, k, k->flags);
        break;
    }
    return o;
}

bool insn_operand_visible(const struct insn *i, unsigned n)
{
    const struct isa_row *row = &isa_rows[i->row];
    for (unsigned m = 0; m < row->operands; m++) {
        unsigned slot = isa_kinds[row->operand[m].kind].slot;
        if (!(row->operand[m].access & ACC_IMPLICIT) && (slot == SLOT_SI || slot == SLOT_DI))
            return false;
    }
    return !(row->operand[n].access & ACC_IMPLICIT);
}

unsigned insn_mem_size(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    for (unsigned n = 0; n < row->operands; n++) {
        const struct isa_kind *k = &isa_kinds[row->operand[n].kind];
        if (i->mem && (k->slot == SLOT_RM || k->slot == SLOT_VSIB || k->slot == SLOT_MOFFS))
            return size_bytes(i, k->size);
    }
    return 0;
}

int insn_gpr_written(const struct insn *i, unsigned n)
{
    const struct isa_row *row = &isa_rows[i->row];
    const struct isa_kind *k = &isa_kinds[row->operand[n].kind];
    if (!(row->operand[n].access & ACC_W) || k->file == FILE_NONE || k->file >= FILE_ST)
        return INSN_NO_GPR;
    if (k->file != FILE_GPR && k->file != FILE_GPR8)
        return INSN_ANY_GPR;
    unsigned reg;
    switch (k->slot) {
    case SLOT_FIXED:
        return k->flags & 15;
    case SLOT_RM:
        if (i->mem)
            return INSN_NO_GPR;
        reg = i->rm;
        break;
    case SLOT_REG:
    case SLOT_OPREG:
        reg = i->reg;
        break;
    case SLOT_VVVV:
        reg = i->vvvv;
        break;
    default:
        return INSN_ANY_GPR;
    }
    return reg < 16 ? (int)reg : (int)(reg & 3); /* AH to BH from 16 on */
}
