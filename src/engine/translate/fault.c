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

#define PREFIX_GS 0x65

static void leave(struct translator *t, struct trap *trap, enum glue_reason reason, u64 arg)
{
    t->cpu->frame[FRAME_REASON] = reason;
    t->cpu->frame[FRAME_ARG] = arg;
    trap->pc = t->cache->glue.exit_common;
    trap->step = false;
}

/* A place in a block's code. */
struct place {
    unsigned n, off; /* the instruction; count for the jumps after the last; and the code's offset */
    const u16 *at;   /* of which code: b->at or b->loop_at */
    const u16 *commit;
    bool none; /* no instruction's: a loop's own code, or before the first */
};

static unsigned last_before(const u16 *at, unsigned count, unsigned off)
{
    unsigned low = 0, high = count;
    while (low < high) {
        unsigned middle = (low + high + 1) / 2;
        if (at[middle] <= off)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static struct place place_of(const struct block *b, u64 pc)
{
    struct place p = {.off = (unsigned)(pc - b->check), .at = b->at, .commit = b->commit};
    bool loop = b->loop && p.off >= b->loop && p.off < b->loop_end;
    if (loop) {
        p.at = b->loop_at;
        p.commit = b->loop_commit;
    }
    p.n = last_before(p.at, b->count, p.off);
    p.none = pc < b->entry || (loop && (p.off < p.at[0] || p.n == b->count));
    return p;
}

/* Between guest instructions, or where one can be begun anew? */
static bool is_clean(const struct block *b, const struct place *p)
{
    if (p->none)
        return false;
    if (p->n == b->count)
        return b->runs_on && p->off == p->at[p->n];
    return p->off <= p->commit[p->n];
}

/* Code reaches all of its window by gs, whose prefix the encoder puts first, and the guest's memory never so. */
static bool is_by_gs(const struct trap *trap)
{
    return *(const u8 *)(uintptr_t)trap->pc == PREFIX_GS;
}

/*
 * Where an access is by an entry of its window it faults in the guard page or in RAM, or, if its address is not
 * canonical, at none. Anywhere else the code is wrong, and may as well have hit what the host has there.
 */
static enum glue_reason reason_of(const struct translator *t, const struct trap *trap)
{
    if (trap->kind != TRAP_ACCESS || !trap->address)
        return GLUE_FAULT;
    if (is_by_gs(trap))
        return windows_span_fault(t->windows, trap->address) ? GLUE_CALL : GLUE_FAULT;
    return windows_may_fault(t->windows, trap->address) ? GLUE_FAULT : GLUE_ASTRAY;
}

static bool on_access(struct translator *t, struct trap *trap, const struct block *b)
{
    struct place p = place_of(b, trap->pc);
    if (p.none && b->loop && p.off >= b->loop && p.off < b->loop_at[0]) { /* there is no room for it: no loop */
        trap->pc = b->check + b->loop_give_up;
        return true;
    }
    if (p.none || p.n == b->count)
        return false;
    t->fault_address = trap->address;
    leave(t, trap, reason_of(t, trap), (u64)b->id * BLOCK_MAX + p.n);
    return true;
}

/* Parts of windows that have no memory yet. Of a table, it is made now, and the code then finds the entry empty; a slot
 * or jump is taken for empty. */
static bool on_window(struct translator *t, struct trap *trap)
{
    if (!trap->address)
        return false;
    if (windows_table_fault(t->windows, trap->address))
        return true;
    if (windows_slot_fault(t->windows, trap->address))
        trap->pc = t->cache->glue.exit_link;
    else if (windows_jump_fault(t->windows, trap->address))
        trap->pc = t->cache->glue.exit_indirect;
    else
        return false;
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
    bool glue = trap->pc >= t->cache->glue.begin && trap->pc < t->cache->glue.end;
    bool code = code_holds(t->cache->area, trap->pc);
    trap->step = glue || code;
    if (!b)
        return;
    struct place p = place_of(b, trap->pc);
    if (!is_clean(b, &p)) {
        trap->step = !will_look(b, trap->pc);
        return;
    }
    t->cpu->gpr[REG_RIP] = block_rip(b, p.n);
    leave(t, trap, GLUE_ASYNC, 0);
}

bool translate_trap(void *opaque, struct trap *trap)
{
    struct translator *t = opaque;
    bool code = code_holds(t->cache->area, trap->pc);
    const struct block *b = code ? code_cache_by_code(t->cache, trap->pc) : NULL;
    switch (trap->kind) {
    case TRAP_ACCESS:
        if (code && is_by_gs(trap) && on_window(t, trap))
            return true;
        return b && on_access(t, trap, b);
    case TRAP_ARITHMETIC:
    case TRAP_ILLEGAL:
        return b && on_access(t, trap, b);
    case TRAP_BREAK: /* the entry of a block that died */
        if (b)
            leave(t, trap, GLUE_DEAD, b->id);
        return b;
    case TRAP_STEP:
    case TRAP_KICK:
        on_kick(t, trap, b);
        return true;
    }
    return false;
}
