/*
 * Signals in translated code (host/trap.h): what the host faults on, and kicks.
 *
 * A fault belongs to the guest instruction whose code the program counter is in; nothing of that instruction is done
 * (its accesses come before its changes), so it is left to the C side to do again by semantics, with guest state as it
 * is.
 *
 * A kick means that c->request has something. Between guest instructions the way out is taken at once. Where that is
 * not so (an instruction is half done, or state is on its way in or out) the trap flag brings the next host instruction
 * here, until it is. In C code there is nothing to do: whoever enters translated code looks at c->request.
 */
#include "engine/translate/translate.h"

static void leave(struct translator *t, struct trap *trap, enum glue_reason reason, u64 arg)
{
    t->cpu->frame[FRAME_REASON] = reason;
    t->cpu->frame[FRAME_ARG] = arg;
    trap->pc = t->glue.exit_common;
    trap->step = false;
}

unsigned block_insn(const struct block *b, u64 pc)
{
    unsigned off = (unsigned)(pc - b->check), low = 0, high = b->count;
    while (low < high) {
        unsigned middle = (low + high + 1) / 2;
        if (b->at[middle] <= off)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static u64 rip_of(const struct block *b, unsigned n)
{
    return b->rip + (n < b->count ? b->insn[n].off : b->bytes);
}

/* Between guest instructions, or where one can be begun anew? */
static bool is_clean(const struct block *b, u64 pc, unsigned *n)
{
    if (pc < b->entry)
        return false;
    *n = block_insn(b, pc);
    unsigned off = (unsigned)(pc - b->check);
    if (*n == b->count)
        return b->runs_on && off == b->at[*n];
    return off <= b->commit[*n];
}

static bool on_access(struct translator *t, struct trap *trap, const struct block *b)
{
    /* A part of the window's table that is not there yet is made now; the code then finds the entry empty. */
    if (trap->address && windows_table_fault(t->windows, trap->address))
        return true;
    unsigned n = block_insn(b, trap->pc);
    if (trap->pc < b->entry || n == b->count)
        return false;
    leave(t, trap, GLUE_FAULT, (u64)b->id * BLOCK_MAX + n);
    return true;
}

/* It has begun what may take long, and looks at c->request afterwards. */
static bool will_look(const struct block *b, u64 pc)
{
    u64 off = pc - b->check;
    return b->poll && off > b->commit[b->count - 1] && off <= b->poll;
}

static void on_kick(struct translator *t, struct trap *trap, const struct block *b)
{
    unsigned n;
    bool glue = trap->pc >= t->glue.begin && trap->pc < t->glue.end;
    bool code = code_holds(t->area, trap->pc);
    trap->step = glue || code;
    if (!b)
        return;
    if (!is_clean(b, trap->pc, &n)) {
        trap->step = !will_look(b, trap->pc);
        return;
    }
    t->cpu->gpr[REG_RIP] = rip_of(b, n);
    leave(t, trap, GLUE_ASYNC, 0);
}

bool translate_trap(void *opaque, struct trap *trap)
{
    struct translator *t = opaque;
    /* Elsewhere the tables of blocks may be half changed. */
    const struct block *b = code_holds(t->area, trap->pc) ? block_by_code(t, trap->pc) : NULL;
    switch (trap->kind) {
    case TRAP_ACCESS:
    case TRAP_ARITHMETIC:
    case TRAP_ILLEGAL:
        return b && on_access(t, trap, b);
    case TRAP_STEP:
    case TRAP_KICK:
        on_kick(t, trap, b);
        return true;
    }
    return false;
}
