/*
 * Implements engine/translate/x87.h. The image is that of FNSAVE and FRSTOR in 32-bit protected mode, SDM volume 1
 * figure 8-9: seven doublewords, then the registers ST(0) to ST(7).
 */
#include "engine/translate/x87.h"

#include <string.h>

#define NO_INSN (~0ull)

struct image {
    u32 control, status, tags, ip, opcode, operand, selector;
    u8 st[8][10];
};

_Static_assert(sizeof(struct image) == 108, "as FNSAVE writes it");

bool x87_is_used(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    return row->attrs & (A_X87 | A_MMX) || i->row == INSN_FWAIT ||
           (row->feature >= FEAT_XSAVE && row->feature <= FEAT_XSAVES);
}

/* Not what is about the environment, and rare. */
bool x87_translates(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    switch (i->row) {
    case INSN_FLDENV_M:
    case INSN_FNSTENV_M:
    case INSN_FRSTOR_M:
    case INSN_FNSAVE_M:
    case INSN_FNINIT:
    case INSN_FENI:
    case INSN_FDISI:
    case INSN_FSETPM:
        return false;
    default:
        return row->attrs & (A_X87 | A_MMX) && row->feature != FEAT_FXSR;
    }
}

void x87_load(struct translator *t)
{
    struct cpu *c = t->cpu;
    struct image m = {.control = c->fcw, .status = c->fsw};
    for (unsigned n = 0; n < 8; n++) {
        const struct f80 *st = x87_st(c, n);
        memcpy(m.st[n], st, sizeof(m.st[n]));
        /* Of the tags, FRSTOR looks at "empty" alone. */
        m.tags |= (c->ftw >> n & 1 ? 0u : 3u) << 2 * n;
    }
    asm volatile("frstor %0" : : "m"(m) : "memory");
    c->frame[FRAME_X87_AWAY] = 0;
    c->frame[FRAME_X87_LAST] = NO_INSN;
    t->stats.x87_loads++;
}

void x87_save(struct translator *t)
{
    struct cpu *c = t->cpu;
    struct image m;
    u64 last = c->frame[FRAME_X87_LAST];
    if (!x87_lives(c))
        return;
    c->frame[FRAME_X87_AWAY] = 1;
    asm volatile("fnsave %0" : "=m"(m) : : "memory");
    c->fcw = (u16)m.control;
    c->fsw = (u16)m.status;
    c->ftw = 0;
    for (unsigned n = 0; n < 8; n++) {
        struct f80 *st = x87_st(c, n);
        *st = (struct f80){0};
        memcpy(st, m.st[n], sizeof(m.st[n]));
        c->ftw |= (u8)(((m.tags >> 2 * n & 3) != 3) << n);
    }
    if (last != NO_INSN) {
        const struct block *b = code_cache_block(t->cache, last / BLOCK_MAX);
        c->fip = block_rip(b, last % BLOCK_MAX);
    }
}
