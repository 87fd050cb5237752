/*
 * The loop of the translator: what a processor's thread does from engine_run to REQ_STOP.
 *
 *     service: requests, interrupts, halting               (cpu_service)
 *     translated code, until it leaves with a reason       (run_translated)
 *     16- and 32-bit code, of which nothing is translated  (the interpreter's interp_run_narrow)
 *     single instructions, where it must be asked after each (c->step), and lists of instructions where translation
 *     does not pay yet
 *     exceptions unwind to run_guarded and are delivered there
 */
#include "cpu/access.h"
#include "cpu/fault.h"
#include "cpu/intr.h"
#include "cpu/mmu.h"
#include "cpu/segment.h"
#include "cpu/world.h"
#include "engine/narrow.h"
#include "engine/translate/check.h"
#include "engine/translate/ring.h"
#include "engine/translate/x87.h"

#define AROUND 16 /* pages */

static ALWAYS_INLINE u32 requests(const struct cpu *c)
{
    return atomic_load_explicit(&c->request, memory_order_relaxed);
}

static void advance(struct cpu *c, u64 rip)
{
    c->gpr[REG_RIP] = c->mode == ISA_64 ? rip : (u32)rip;
    c->cur = NULL;
}

/* May its semantics put something into the upper halves of vector registers? */
static bool touches_upper(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    return row->attrs & A_AVX || (row->feature >= FEAT_XSAVE && row->feature <= FEAT_XSAVES);
}

/* Carries out instruction n of b. False if it jumped; else rip is still the block's. */
static bool run_insn(struct translator *t, struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    const struct insn *i = &b->insn[n];
    c->cur = i;
    if (touches_upper(i))
        c->frame[FRAME_UPPER] = 1;
    if (x87_lives(c) && x87_is_used(i))
        x87_save(t);
    i->fn(c, i);
    c->insns++;
    ring_note(t, i);
    return c->cur != NULL;
}

/* Of two processors that count at once, one may be forgotten. */
static void count_run(const struct translator *t, struct block *b)
{
    u8 runs = atomic_load_explicit(&b->runs, memory_order_relaxed);
    if (runs < t->cache->patience)
        atomic_store_explicit(&b->runs, runs + 1, memory_order_relaxed);
}

/* A block that is not translated, or its beginning if a request comes up. */
static void run_list(struct translator *t, struct block *b)
{
    struct cpu *c = t->cpu;
    unsigned n = 0;
    t->stats.lists++;
    count_run(t, b);
    do {
        if (!run_insn(t, b, n))
            return;
        n++;
    } while (n < b->count && !requests(c));
    advance(c, c->gpr[REG_RIP] + b->insn[n - 1].off + b->insn[n - 1].len);
}

/* Semantics may have put something into the upper halves of vector registers. */
static void settle_upper(struct cpu *c)
{
    u64 any = 0;
    if (!c->frame[FRAME_UPPER])
        return;
    for (unsigned n = 0; n < 16; n++)
        any |= c->ymm[4 * n + 2] | c->ymm[4 * n + 3];
    c->frame[FRAME_UPPER] = any != 0;
}

/* Instruction n is done and did not jump: rip is at the next one, and t->resume where its code is. */
static void run_on(struct translator *t, struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    advance(c, b->rip + b->insn[n].off + b->insn[n].len);
    bool alone = n + 1 == b->count || !(b->relies >> (n + 1) & 1);
    if (requests(c) || b->dead || block_ends(&b->insn[n]) || c->rflags & RF_DF || !alone)
        return;
    /* If it may not live any more, nor may this block run: settle_flavour. */
    if (b->x87 && !x87_lives(c) && x87_may_live(c))
        x87_load(t);
    t->resume = b->check + b->at[n + 1];
}

/* Where an instruction that lower_flow.c knows accesses the stack: relative to RSP, or to RBP. */
static u64 stack_address(const struct cpu *c, const struct insn *i)
{
    if (i->row == INSN_LEAVE)
        return c->gpr[R_BP];
    bool pops = i->row == INSN_POP_Zv || i->row == INSN_RET || i->row == INSN_RET_Iw;
    return c->gpr[R_SP] - (pops ? 0 : 8);
}

/* Where a bit string's operand lies, from where its address says. */
static u64 bit_offset(const struct cpu *c, const struct insn *i)
{
    if (i->row != INSN_BT_Ev_Gv && i->row != INSN_BTS_Ev_Gv && i->row != INSN_BTR_Ev_Gv && i->row != INSN_BTC_Ev_Gv)
        return 0;
    i64 bits = (i64)(c->gpr[i->reg] << (64 - 8 * i->opsize)) >> (64 - 8 * i->opsize);
    return (u64)(bits >> 3) & ~(u64)(i->opsize - 1);
}

/* Linear addresses of data that the instruction accesses: its memory operand and the stack. */
static unsigned data_addresses(const struct translator *t, const struct insn *i, u64 linear[2])
{
    const struct cpu *c = t->cpu;
    const struct isa_row *row = &isa_rows[i->row];
    unsigned count = 0;
    if (i->mem)
        linear[count++] = op_ea(c, i) + c->seg_base[i->seg] + bit_offset(c, i);
    for (unsigned n = 0; n < row->operands && count < 2; n++) {
        const struct isa_kind *k = &isa_kinds[row->operand[n].kind];
        if (k->slot == SLOT_SI || k->slot == SLOT_DI)
            linear[count++] = c->gpr[k->flags] + c->seg_base[k->slot == SLOT_SI ? i->seg : SEG_ES];
        if (row->operand[n].kind == OPK_rSP)
            linear[count++] = stack_address(c, i);
    }
    return count;
}

static bool writes_memory(const struct insn *i)
{
    const struct isa_row *row = &isa_rows[i->row];
    for (unsigned n = 0; n < row->operands; n++) {
        unsigned slot = isa_kinds[row->operand[n].kind].slot;
        if (row->operand[n].access & ACC_W && ((slot == SLOT_RM && i->mem) || slot == SLOT_DI))
            return true;
    }
    return false;
}

/* Do the pages that the instruction accessed have what a window's entry needs? */
static bool has_entries(const struct cpu *c, const struct insn *i, const u64 *linear, unsigned count)
{
    bool write = writes_memory(i), all = true;
    for (unsigned k = 0; k < count; k++) {
        const struct tlb_entry *e = &c->tlb->set[c->mmu_index][mmu_slot(linear[k])];
        u64 tag = (linear[k] & MEM_PAGE_MASK) | c->tlb->asid;
        all &= e->read == tag && (!write || e->write == tag);
    }
    return all;
}

/* An instruction that is left to its semantics because its page had no entry again and again. */
static bool run_forced(struct translator *t, struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    u64 linear[2];
    unsigned count = data_addresses(t, &b->insn[n], linear);
    bool next = run_insn(t, b, n);
    code_cache_accessed(t, b, n, has_entries(c, &b->insn[n], linear, count));
    return next;
}

/*
 * The handler of a page fault goes back to the instruction that faulted. What it will access has a translation now, and
 * is given its entry, so that the host does not fault once more for that.
 */
static void run_returned(struct translator *t)
{
    struct cpu *c = t->cpu;
    if (c->gpr[REG_RIP] != t->missed.rip)
        return;
    t->missed.rip = 0;
    windows_select(t->windows);
    if (mmu_foresee(c, t->missed.linear))
        windows_fill(t->windows, t->missed.linear);
}

/* Instruction n by its semantics, and those after it for which the block has nothing else. */
static void run_calls(struct translator *t, struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    c->gpr[REG_RIP] = b->rip;
    for (;; n++) {
        t->stats.calls++;
        t->stats.left[b->insn[n].row]++;
        if (!(b->forced >> n & 1 ? run_forced(t, b, n) : run_insn(t, b, n))) {
            if (b->insn[n].row == INSN_IRETQ)
                run_returned(t);
            return;
        }
        if (n + 1u == b->count || !(b->calls >> (n + 1) & 1) || requests(c))
            break;
    }
    run_on(t, b, n);
}

/*
 * The pages around one that had no entry get theirs, too, as far as the processor may know them without a trace: what
 * is next to it is mostly wanted soon, and a walk costs a fiftieth of a fault on the host.
 */
static void fill_around(struct translator *t, u64 linear)
{
    u64 first = linear & ~(u64)(AROUND * MEM_PAGE_SIZE - 1);
    if (!windows_allow(t->windows, linear, false)) /* as little would those beside it get one */
        return;
    for (u64 at = first; at < first + AROUND * MEM_PAGE_SIZE; at += MEM_PAGE_SIZE) {
        if (!windows_allow(t->windows, at, false) && mmu_foresee(t->cpu, at))
            windows_fill(t->windows, at);
    }
}

/* The host faulted: the slow way, after which the pages it touched may have entries. */
static void run_fault(struct translator *t, struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    u64 linear[2];
    t->stats.faults++;
    c->gpr[REG_RIP] = b->rip;
    unsigned count = data_addresses(t, &b->insn[n], linear);
    bool next = run_insn(t, b, n), entry = has_entries(c, &b->insn[n], linear, count);
    /* All of them before any neighbour, which may take the other's place in the TLB. */
    for (unsigned k = 0; k < count; k++)
        windows_fill(t->windows, linear[k]);
    for (unsigned k = 0; k < count; k++)
        fill_around(t, linear[k]);
    code_cache_accessed(t, b, n, entry);
    if (next)
        run_on(t, b, n);
}

/* Going on would be to let the guest at the host's memory, sooner or later. */
static void run_astray(struct translator *t, const struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    c->gpr[REG_RIP] = block_rip(b, n);
    c->cur = NULL;
    log_msg(c->log, LOG_ERROR,
            "translate: the code for %#llx accessed %#llx, which is no memory of the guest's: a fault of ring3, which "
            "ends the machine; please report it. --engine interp does without this code",
            (unsigned long long)c->gpr[REG_RIP], (unsigned long long)t->fault_address);
    t->failed = true;
    cpu_request_own(c, REQ_STOP);
}

/* If its second page is another one by now, rip leads to another block. */
static void run_cross(struct translator *t, struct block *b)
{
    struct cpu *c = t->cpu;
    c->gpr[REG_RIP] = b->rip;
    c->cur = NULL;
    if (cross_enter(t, b))
        t->resume = b->body;
}

/* The block that the link leads to, for the next time as well. */
static void run_link(struct translator *t, u64 arg)
{
    struct cpu *c = t->cpu;
    struct block *from = code_cache_block(t->cache, arg / LINKS);
    const struct link *l = &from->link[arg % LINKS];
    t->stats.links++;
    if (arg % LINKS == LINK_CROSS) {
        run_cross(t, from);
        return;
    }
    c->gpr[REG_RIP] = l->target;
    c->cur = NULL;
    struct block *to = blocks_find(t);
    if (!to->native)
        return;
    t->resume = to->entry;
    if (t->check) /* one block at a time */
        return;
    if (l->slot != LINK_NONE)
        windows_set_slot(t->windows, l->slot, l->target, to->entry);
    else
        code_cache_link(t, from, arg % LINKS, to);
}

static struct block *block_of(const struct translator *t, u64 arg)
{
    return code_cache_block(t->cache, arg / BLOCK_MAX);
}

/* The window's words that lead to a dead block are to lead to the one that took its place. */
static void run_dead(struct translator *t, struct block *from)
{
    struct cpu *c = t->cpu;
    t->stats.dead_exits++;
    c->gpr[REG_RIP] = from->rip;
    c->cur = NULL;
    struct block *to = blocks_find(t);
    if (!to->native)
        return;
    t->resume = to->entry;
    if (t->check)
        return;
    windows_set_jump(t->windows, from->rip, to->check);
    u32 slot = code_cache_slot_known(t, from->rip);
    if (slot != LINK_NONE)
        windows_set_slot(t->windows, slot, from->rip, to->entry);
}

/* The jump that brought us here must fault: as if it had not been carried out, it is left to its semantics. */
static void run_bad_target(struct translator *t)
{
    struct cpu *c = t->cpu;
    u64 from = c->frame[FRAME_FROM];
    struct block *b = block_of(t, from);
    const struct insn *i = &b->insn[from % BLOCK_MAX];
    if (i->row == INSN_RET || i->row == INSN_RET_Iw)
        c->gpr[R_SP] -= 8 + (i->row == INSN_RET_Iw ? (u16)i->imm : 0);
    c->gpr[REG_RIP] = b->rip;
    (void)run_insn(t, b, from % BLOCK_MAX);
}

static void run_indirect(struct translator *t, u64 target)
{
    struct cpu *c = t->cpu;
    t->stats.indirect++;
    if (!addr_is_canonical(target)) {
        run_bad_target(t);
        return;
    }
    c->gpr[REG_RIP] = target;
    c->cur = NULL;
    struct block *to = blocks_find(t);
    if (!to->native)
        return;
    t->resume = to->entry;
    if (t->check)
        return;
    windows_set_jump(t->windows, target, to->check);
}

/* By its operands: else its code has other reasons to leave it to semantics. */
static bool accesses_memory(const struct insn *i)
{
    return i->mem || isa_rows[i->row].treat != TREAT_HELPER;
}

/* Instruction n of b left to be carried out here; or all of b did, to have x87 state loaded. */
static void run_called(struct translator *t, struct block *b, unsigned n)
{
    struct cpu *c = t->cpu;
    if (b->x87 && !x87_lives(c)) {
        c->gpr[REG_RIP] = b->rip;
        c->cur = NULL;
        x87_load(t);
        t->resume = b->check + b->at[0];
        return;
    }
    if (!(b->calls >> n & 1)) {
        t->stats.special++;
        if (accesses_memory(&b->insn[n]))
            code_cache_strayed(t, b, n);
    }
    run_calls(t, b, n);
}

/* 16- and 32-bit code, of which nothing is translated, for as long as there is no other. Whatever is kept elsewhere
 * than in struct cpu between instructions comes back, or is looked at anew. */
static void run_narrow(struct translator *t)
{
    struct cpu *c = t->cpu;
    x87_save(t);
    ring_forget(c);
    c->frame[FRAME_UPPER] = 1;
    t->stats.narrow++;
    interp_run_narrow(c, t->narrow);
}

/* Enters translated code once, and does what it left for. */
static void run_translated(struct translator *t)
{
    struct cpu *c = t->cpu;
    u64 host = t->resume;
    if (c->mode != ISA_64) {
        run_narrow(t);
        return;
    }
    if (!host) {
        struct block *b = blocks_find(t);
        if (!b->native) {
            run_list(t, b);
            return;
        }
        host = b->entry;
    }
    t->resume = 0;
    settle_upper(c);
    windows_select(t->windows);
    stats_lap(&t->stats, TIME_SEMANTICS);
    enum glue_reason reason = t->check ? check_enter(t, host) : glue_enter(&t->cache->glue, c, host);
    ring_settle(t);
    stats_lap(&t->stats, TIME_CODE);
    u64 arg = c->frame[FRAME_ARG];
    switch (reason) {
    case GLUE_CALL:
        run_called(t, block_of(t, arg), arg % BLOCK_MAX);
        break;
    case GLUE_LINK:
        run_link(t, arg);
        break;
    case GLUE_INDIRECT:
        run_indirect(t, arg);
        break;
    case GLUE_DEAD:
        run_dead(t, code_cache_block(t->cache, arg));
        break;
    case GLUE_FAULT:
        run_fault(t, block_of(t, arg), arg % BLOCK_MAX);
        break;
    case GLUE_ASTRAY:
        run_astray(t, block_of(t, arg), arg % BLOCK_MAX);
        break;
    case GLUE_REQUEST:
        t->stats.requests++;
        break;
    case GLUE_ASYNC:
        t->stats.kicks++;
        break;
    }
}

static u8 flavour_of(const struct translator *t)
{
    const struct cpu *c = t->cpu;
    u8 f = c->mmu_index == MMU_CHECKED || c->rflags & RF_DF ? FLAVOUR_SLOW : 0;
    if (c->cr0 & (CR0_EM | CR0_TS))
        return f;
    if (c->cr4 & CR4_OSFXSR)
        f |= FLAVOUR_SSE;
    if (c->cr4 & CR4_OSXSAVE && (c->xcr0 & 6) == 6)
        f |= FLAVOUR_AVX;
    if (x87_may_live(c) && !t->check)
        f |= FLAVOUR_X87;
    return f;
}

/* What translated code takes for granted may have changed; then none of it may be found by old ways. */
static void settle_flavour(struct translator *t)
{
    u8 f = flavour_of(t);
    if (f == t->flavour)
        return;
    t->flavour = f;
    t->resume = 0;
    if (f & FLAVOUR_SLOW || f == t->native_flavour)
        return;
    t->native_flavour = f;
    windows_drop_code(t->windows);
}

/* Instructions until a request. */
static NOINLINE void run_blocks(struct translator *t)
{
    struct cpu *c = t->cpu;
    do {
        settle_flavour(t);
        run_translated(t);
    } while (!requests(c) && c->activity == CPU_ACTIVE);
}

static NOINLINE void run_one(struct translator *t)
{
    t->stats.steps++;
    run_list(t, blocks_single(t));
}

static void unwound(struct translator *t)
{
    struct cpu *c = t->cpu;
    if (c->exc.vector == EXC_PF) {
        t->missed.rip = c->gpr[REG_RIP] + (c->cur ? c->cur->off : 0);
        t->missed.linear = c->exc.cr2;
    }
    if (c->exc.vector != EXC_NONE)
        cpu_deliver_exception(c);
    c->cur = NULL;
}

/* A function of its own, so that nothing lives in registers across the two returns of setjmp. */
static NOINLINE void run_guarded(struct cpu *c)
{
    struct translator *t = c->engine;
    if (__builtin_setjmp(c->unwind)) {
        ((struct translator *)c->engine)->resume = 0;
        unwound(c->engine);
    } else if (c->step) {
        run_one(t);
    } else {
        run_blocks(t);
    }
    KEEP_FRAME();
}

/* Code was changed, here or elsewhere, or the cache is full. rip is right, t->resume may lead into a dead block. */
static void settle_blocks(struct translator *t)
{
    struct cpu *c = t->cpu;
    t->resume = 0;
    if (requests(c) & REQ_BLOCK) {
        atomic_fetch_and(&c->request, ~(u32)REQ_BLOCK);
        x87_save(t); /* as the cache may be dropped meanwhile */
        mmu_settle_code(c);
    }
    blocks_settle(t);
    code_cache_drop_if_full(t);
}

enum engine_exit translate_run(struct cpu *c)
{
    struct translator *t = c->engine;
    enum engine_exit why = ENGINE_STOPPED;
    trap_enable(t->trap);
    world_enter(c->world, c);
    stats_lap(&t->stats, TIME_SERVICE);
    c->step = false;
    c->cur = NULL;
    for (;;) {
        stats_lap(&t->stats, TIME_SEMANTICS);
        if ((requests(c) & ~(u32)REQ_BLOCK) || c->step || c->activity != CPU_ACTIVE) {
            x87_save(t); /* where others may look for it */
            ring_forget(c);
            if (!cpu_service(c)) /* which takes REQ_BLOCK, too, if it comes meanwhile */
                break;
        }
        stats_lap(&t->stats, TIME_SERVICE);
        settle_blocks(t);
        t->quiet = false;
        run_guarded(c);
        t->quiet = true;
    }
    if (c->activity == CPU_SHUTDOWN)
        why = ENGINE_SHUTDOWN;
    if (t->failed)
        why = ENGINE_FAILED;
    world_leave(c->world, c);
    trap_disable(t->trap);
    return why;
}
