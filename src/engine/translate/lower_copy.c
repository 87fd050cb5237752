/*
 * Instructions that come out as themselves, with their registers renamed and their memory operand rewritten. Which they
 * are, and what they read and write, the table tells (isa/insn.h).
 */
#include "engine/translate/lower.h"

#include "base/bits.h"

#define REGS_MAX 4
/* As struct insn numbers byte registers: AH, CH, DH, BH. */
#define REG_AH   0x10
#define REG_CH   0x11

/* The general registers that an instruction names, as places in it; and what it does with RCX unnamed. */
struct naming {
    u8 *field[REGS_MAX];
    bool written[REGS_MAX];
    unsigned count;
    bool cx_read, cx_written;
};

static u8 *field_of(struct insn *i, unsigned slot)
{
    switch (slot) {
    case SLOT_REG:
    case SLOT_OPREG:
        return &i->reg;
    case SLOT_RM:
        return &i->rm;
    case SLOT_VVVV:
        return &i->vvvv;
    default:
        return NULL;
    }
}

static bool is_general(unsigned file)
{
    return file == FILE_GPR || file == FILE_GPR8;
}

/* Registers that have the same number in the host. */
static bool is_floating(unsigned file)
{
    return file == FILE_XMM || file == FILE_YMM || file == FILE_VEC || file == FILE_ST || file == FILE_MMX;
}

static bool name_fixed(struct naming *m, const struct isa_kind *k, unsigned access)
{
    if (!is_general(k->file))
        return is_floating(k->file) || k->file == FILE_NONE;
    /* RSP unnamed means the stack. */
    if (k->flags == R_SP)
        return false;
    if (k->flags == R_CX) {
        m->cx_read |= access & ACC_R;
        m->cx_written |= access & ACC_W;
    }
    return k->flags < 14;
}

static bool name_operand(struct insn *i, struct naming *m, unsigned kind, unsigned access)
{
    const struct isa_kind *k = &isa_kinds[kind];
    switch (k->slot) {
    case SLOT_FIXED:
        return name_fixed(m, k, access);
    case SLOT_IMM:
    case SLOT_IMM2:
    case SLOT_IS4:
    case SLOT_NONE:
        return true;
    case SLOT_RM:
        if (i->mem)
            return true;
        break;
    case SLOT_REG:
    case SLOT_VVVV:
    case SLOT_OPREG:
        break;
    default:
        return false;
    }
    if (!is_general(k->file))
        return is_floating(k->file);
    if (m->count == REGS_MAX)
        return false;
    m->field[m->count] = field_of(i, k->slot);
    m->written[m->count++] = access & ACC_W;
    return true;
}

static bool name_all(struct insn *i, struct naming *m)
{
    const struct isa_row *row = &isa_rows[i->row];
    for (unsigned n = 0; n < row->operands; n++) {
        if (!name_operand(i, m, row->operand[n].kind, row->operand[n].access))
            return false;
    }
    return true;
}

/* Guest R14 and R15 among the operands: which, and the scratch registers that stand for them. */
struct spills {
    unsigned count;
    struct {
        u8 guest, host;
        bool written;
    } reg[2];
};

static bool collect_spills(const struct naming *m, struct spills *s)
{
    for (unsigned n = 0; n < m->count; n++) {
        u8 guest = *m->field[n];
        if (guest < 14 || guest > 15)
            continue;
        unsigned at = 0;
        while (at < s->count && s->reg[at].guest != guest)
            at++;
        if (at == 2)
            return false;
        if (at == s->count)
            s->reg[s->count++].guest = guest;
        s->reg[at].written |= m->written[n];
    }
    return true;
}

/*
 * AH to BH cannot be named beside R8 to R15, and HOST_CX is one of these. So where there is one of them, RCX stands in
 * HOST_T, which is the host's RCX, under its own name; CH is there, too.
 */
static bool name_high(struct naming *m)
{
    bool high = false;
    for (unsigned n = 0; n < m->count; n++)
        high |= *m->field[n] >= REG_AH;
    for (unsigned n = 0; high && n < m->count; n++) {
        bool cx = *m->field[n] == R_CX || *m->field[n] == REG_CH;
        m->cx_read |= cx;
        m->cx_written |= cx && m->written[n];
    }
    return high;
}

/* HOST_CX and the spilled numbers overlap: a field is renamed once. */
static void rename_fields(struct naming *m, const struct spills *s, unsigned cx)
{
    u8 before[REGS_MAX];
    for (unsigned n = 0; n < m->count; n++)
        before[n] = *m->field[n];
    for (unsigned n = 0; n < m->count; n++) {
        u8 to = before[n] == R_CX ? (u8)cx : before[n];
        for (unsigned k = 0; k < s->count; k++) {
            if (before[n] == s->reg[k].guest)
                to = s->reg[k].host;
        }
        *m->field[n] = to;
    }
}

static void put_memory(struct insn *i, struct insn_ea ea)
{
    i->base = ea.base;
    i->index = ea.index;
    i->scale = ea.scale;
    i->disp = ea.disp;
    i->seg = ea.base == HOST_SP || ea.base == HOST_BP ? SEG_SS : SEG_DS;
    i->ashift = 0;
}

static bool prepare_memory(struct lower *l, struct insn *i, bool cx, unsigned spilled)
{
    struct insn_ea ea;
    struct operand o = operand_of(l, i);
    if (!o.size || cx + spilled > 1)
        return false;
    enum address_want want = cx ? ADDRESS_IN_T2 : spilled ? ADDRESS_IN_T : ADDRESS_ANY;
    if (!lower_address(l, &o, want, &ea))
        return false;
    put_memory(i, ea);
    return true;
}

static void write_back(struct lower *l, const struct naming *m, const struct spills *s)
{
    for (unsigned k = 0; k < s->count; k++) {
        if (s->reg[k].written)
            lower_store(l, s->reg[k].guest, s->reg[k].host);
    }
    if (m->cx_written)
        emit_reg(&l->e, INSN_MOV_Ev_Gv, HOST_T, HOST_CX, true);
}

bool lower_plain(struct lower *l, struct insn i)
{
    struct naming m = {0};
    struct spills s = {0};
    if (!name_all(&i, &m) || !collect_spills(&m, &s))
        return false;
    bool high = name_high(&m), cx = m.cx_read || m.cx_written;
    static const u8 scratch[2] = {HOST_T2, HOST_T};
    if (s.count + cx > ARRAY_SIZE(scratch) || (i.mem && !prepare_memory(l, &i, cx, s.count)))
        return false;
    for (unsigned k = 0; k < ARRAY_SIZE(scratch) && k < s.count; k++) {
        s.reg[k].host = scratch[k];
        lower_load(l, s.reg[k].guest, scratch[k]);
    }
    if (cx)
        emit_reg(&l->e, INSN_MOV_Gv_Ev, HOST_T, HOST_CX, true);
    i.rep = 0;
    lower_commit(l);
    rename_fields(&m, &s, high ? HOST_T : HOST_CX);
    if (!emit_try(&l->e, &i))
        return false;
    write_back(l, &m, &s);
    return true;
}

/* The address itself: registers as in address_sum, without segment and without access. */
static bool lower_lea(struct lower *l, struct insn i)
{
    struct naming m = {.field = {&i.reg}, .written = {true}, .count = 1};
    struct spills s = {0};
    if (i.base == REG_RIP) {
        u64 value = (l->b->rip + (u64)i.disp) << i.ashift >> i.ashift;
        int host = lower_host(i.reg);
        if (i.opsize == 2)
            return false;
        l->moves &= i.opsize == 8 && !i.ashift;
        lower_mov_rip(l, host < 0 ? HOST_T : (unsigned)host, i.opsize == 4 ? (u32)value : value);
        if (host < 0)
            lower_store(l, i.reg, HOST_T);
        return true;
    }
    if (i.base != REG_ZERO) {
        if (lower_host(i.base) < 0)
            lower_load(l, i.base, HOST_T);
        i.base = lower_host(i.base) < 0 ? HOST_T : (u8)lower_host(i.base);
    }
    if (i.index != REG_ZERO) {
        if (lower_host(i.index) < 0)
            lower_load(l, i.index, HOST_T2);
        i.index = lower_host(i.index) < 0 ? HOST_T2 : (u8)lower_host(i.index);
    }
    i.seg = i.base == HOST_SP || i.base == HOST_BP ? SEG_SS : SEG_DS;
    if (!collect_spills(&m, &s))
        return false;
    if (s.count) {
        /* A 16-bit result keeps the rest of the register. */
        if (i.opsize == 2)
            return false;
        s.reg[0].host = HOST_T;
    }
    lower_commit(l);
    rename_fields(&m, &s, HOST_CX);
    if (!emit_try(&l->e, &i))
        return false;
    write_back(l, &m, &s);
    return true;
}

/* Hints, and what only marks a place. */
static bool is_nothing(const struct insn *i)
{
    return (i->row >= INSN_PREFETCHNTA_Mb && i->row <= INSN_ENDBR32) || i->row == INSN_NOP;
}

/* What the table leaves to semantics but the host can do: it raises #DE itself. */
static bool is_division(const struct insn *i)
{
    return i->row == INSN_DIV_Eb || i->row == INSN_DIV_Ev || i->row == INSN_IDIV_Eb || i->row == INSN_IDIV_Ev;
}

/* With a register as bit offset the operand is not where the address says. */
static bool is_bit_string(const struct insn *i)
{
    return i->mem && (i->row == INSN_BT_Ev_Gv || i->row == INSN_BTS_Ev_Gv || i->row == INSN_BTR_Ev_Gv ||
                      i->row == INSN_BTC_Ev_Gv);
}

bool lower_copy(struct lower *l, const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    if (is_nothing(i))
        return true;
    if (i->row == INSN_VZEROUPPER || i->row == INSN_VZEROALL)
        return emit_try(&l->e, i);
    if ((row->treat != TREAT_COPY && !is_division(i)) || i->row == INSN_PAUSE || is_bit_string(i))
        return false;
    return i->row == INSN_LEA_Gv_M ? lower_lea(l, *i) : lower_plain(l, *i);
}
