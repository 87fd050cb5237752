/*
 * Implements engine/translate/emit.h. The encodings written out here: SDM volume 2, Jcc, JMP, JRCXZ.
 */
#include "engine/translate/emit.h"

#include <string.h>

#include "base/bits.h"
#include "engine/translate/glue.h"
#include "isa/operand.h"

#define LINE         32
#define WORD         8
#define DISPLACEMENT 4
#define JMP_GS_LEN   9 /* at most */

#define OVERFLOW_IF_ONE 0x7f /* added to AL: sets OF if that was 1 */
#define AX              0

enum { OP_JMP = 0xe9, OP_JCC = 0x80, OP_TWO_BYTE = 0x0f, OP_JRCXZ = 0xe3, OP_INT3 = 0xcc };

static void put(struct emit *e, const u8 *bytes, unsigned len)
{
    if (e->len + len > e->size) {
        e->ok = false;
        return;
    }
    memcpy(e->buf + e->len, bytes, len);
    e->len += len;
}

static bool writes_scratch(const struct insn *i)
{
    for (unsigned n = 0; n < isa_rows[i->row].operands; n++) {
        int reg = insn_gpr_written(i, n);
        if (reg == HOST_T || reg == INSN_ANY_GPR)
            return true;
    }
    return i->rep; /* it counts in HOST_T */
}

bool emit_try(struct emit *e, const struct insn *i)
{
    if (e->len + INSN_ROOM > e->size) {
        e->ok = false;
        return true;
    }
    unsigned len = insn_encode_roomy(i, e->buf + e->len);
    e->len += len;
    if (e->held && writes_scratch(i))
        e->held = 0;
    e->fuse = isa_rows[i->row].flags_written & FL_ZF ? len : 0;
    return len;
}

static u64 line_of(u64 address)
{
    return address / LINE;
}

static void put_nops(struct emit *e, unsigned count)
{
    static const u8 nops[][8] = {
        {0x90},
        {0x66, 0x90},
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
        {0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00},
    };
    for (unsigned n; count; count -= n) {
        n = count < sizeof(nops[0]) ? count : sizeof(nops[0]);
        put(e, nops[n - 1], n);
    }
}

/* A jump of `len` bytes comes next, and with the `fused` bytes before it may be one for the host. */
static void clear_line_end(struct emit *e, unsigned len, unsigned fused)
{
    u64 at = emit_here(e);
    if (e->dense || line_of(at - fused) == line_of(at + len))
        return;
    bool beyond = line_of(at + 1) != line_of(at + 1 + len);
    put_nops(e, beyond ? LINE - (unsigned)(at % LINE) : 1);
}

void emit_bits(struct emit *e, enum isa_row_id row, unsigned to, unsigned from, i32 disp)
{
    struct insn i = insn_gs(row, to, REG_ZERO, disp, true);
    i.vvvv = (u8)from;
    emit_insn(e, i);
}

void emit_flags_to_ax(struct emit *e)
{
    emit_insn(e, insn_reg(INSN_LAHF_64, 0, 0, false));
    emit_insn(e, insn_reg(INSN_SETO_Eb, 0, AX, false));
    emit_reg(e, INSN_MOVZX_Gv_Ew, AX, AX, false);
}

void emit_flags_from_ax(struct emit *e)
{
    emit_insn(e, insn_with_imm(insn_reg(INSN_ADD_AL_Ib, 0, 0, false), OVERFLOW_IF_ONE));
    emit_insn(e, insn_reg(INSN_SAHF_64, 0, 0, false));
}

void emit_mov_imm(struct emit *e, unsigned reg, u64 value)
{
    bool sign_extended = value == (u64)(i64)(i32)value && value > UINT32_MAX;
    struct insn i = insn_reg(sign_extended ? INSN_MOV_Ev_Iz : INSN_MOV_Zv_Iv, (u8)reg, (u8)reg, value > UINT32_MAX);
    i.imm = value;
    emit_insn(e, i);
}

void emit_gs_imm(struct emit *e, i32 disp, i32 value)
{
    struct insn i = insn_gs(INSN_MOV_Ev_Iz, 0, REG_ZERO, disp, true);
    i.imm = (u64)(i64)value;
    emit_insn(e, i);
}

/* A displacement comes after `len` bytes of a jump: can it be changed in one store? */
static void clear_word_end(struct emit *e, unsigned len)
{
    unsigned off = (unsigned)((emit_here(e) + len) % WORD);
    if (off <= WORD - DISPLACEMENT)
        return;
    put_nops(e, WORD - off);
    clear_line_end(e, len + DISPLACEMENT, 0); /* to the start of a line, if at all */
}

static unsigned put_hole(struct emit *e, const u8 *opcode, unsigned len, unsigned size)
{
    static const u8 nothing[DISPLACEMENT];
    put(e, opcode, len);
    put(e, nothing, size);
    return e->len - size;
}

unsigned emit_jmp_hole(struct emit *e)
{
    clear_line_end(e, 1 + DISPLACEMENT, 0);
    return put_hole(e, (const u8[]){OP_JMP}, 1, DISPLACEMENT);
}

unsigned emit_jmp_link(struct emit *e)
{
    clear_line_end(e, 1 + DISPLACEMENT, 0);
    clear_word_end(e, 1);
    return put_hole(e, (const u8[]){OP_JMP}, 1, DISPLACEMENT);
}

unsigned emit_jcc_hole(struct emit *e, unsigned cc)
{
    clear_line_end(e, 2 + DISPLACEMENT, e->fuse);
    return put_hole(e, (const u8[]){OP_TWO_BYTE, (u8)(OP_JCC | cc)}, 2, DISPLACEMENT);
}

unsigned emit_jcc_link(struct emit *e, unsigned cc)
{
    clear_line_end(e, 2 + DISPLACEMENT, e->fuse);
    clear_word_end(e, 2);
    return put_hole(e, (const u8[]){OP_TWO_BYTE, (u8)(OP_JCC | cc)}, 2, DISPLACEMENT);
}

unsigned emit_jrcxz_hole(struct emit *e)
{
    clear_line_end(e, 2, 0);
    return put_hole(e, (const u8[]){OP_JRCXZ}, 1, 1);
}

unsigned emit_lea_hole(struct emit *e, unsigned reg)
{
    emit_mem(e, INSN_LEA_Gv_M, reg, (struct insn_ea){.base = REG_RIP, .index = REG_ZERO}, true);
    return e->len - 4;
}

void emit_aim(struct emit *e, unsigned hole, u64 target)
{
    i64 distance = (i64)(target - (e->run + hole + 4));
    if (!e->ok)
        return;
    if (distance != (i32)distance)
        e->ok = false;
    else
        put_u32(e->buf + hole, (u32)distance);
}

void emit_bind(struct emit *e, unsigned hole)
{
    emit_aim(e, hole, emit_here(e));
}

void emit_bind_short(struct emit *e, unsigned hole)
{
    unsigned distance = e->len - (hole + 1);
    if (!e->ok)
        return;
    if (distance > 127)
        e->ok = false;
    else
        e->buf[hole] = (u8)distance;
}

void emit_jmp(struct emit *e, u64 target)
{
    emit_aim(e, emit_jmp_hole(e), target);
}

void emit_jmp_gs(struct emit *e, unsigned index, i32 disp)
{
    clear_line_end(e, JMP_GS_LEN, 0);
    emit_insn(e, insn_gs(INSN_JMP_Ev, 0, index, disp, true));
}

void emit_align(struct emit *e, unsigned to)
{
    static const u8 int3[] = {OP_INT3};
    while (e->ok && e->len % to)
        put(e, int3, 1);
}
