/*
 * The loop of the interpreter: what a processor's thread does from engine_run to REQ_STOP.
 *
 *     service: requests, interrupts, halting        (cpu_service)
 *     blocks, one after the other, until a request  (run_blocks)
 *     or one instruction, where the processor must be asked after each  (c->step)
 *     exceptions unwind to run_guarded and are delivered there
 */
#include "cpu/fault.h"
#include "cpu/intr.h"
#include "cpu/mmu.h"
#include "cpu/world.h"
#include "engine/interp/interp.h"

static ALWAYS_INLINE u32 requests(const struct cpu *c)
{
    return atomic_load_explicit(&c->request, memory_order_relaxed);
}

/*
 * Carries out a block, or its beginning if a request comes up. rip is at the next instruction afterwards. True if it
 * jumped. One call may carry out several instructions (cpu/sem/hot.h).
 */
static ALWAYS_INLINE bool run_block(struct cpu *c, struct interp *e, struct block *b)
{
    const struct insn *i = b->insn, *end = i + b->count;
    e->now = b;
    do {
        c->cur = i;
        i->fn(c, i);
        i = c->cur;
        if (!i) {
            c->insns += b->insns;
            return true;
        }
        i++;
    } while (i != end && likely(!requests(c)));
    c->insns += i == end ? b->insns : (u64)(i - b->insn);
    u64 rip = c->gpr[REG_RIP] + i[-1].off + i[-1].len;
    c->gpr[REG_RIP] = b->mode == ISA_64 ? rip : (u32)rip;
    c->cur = NULL;
    return false;
}

static bool same_page(u64 a, u64 b)
{
    return ((a ^ b) & MEM_PAGE_MASK) == 0;
}

/*
 * Remembers where a block goes on. Within one page no look-up is needed the next time: the page is mapped, or the block
 * would not have been reached; mode and segment are as they were; and the distance is the same at whatever address the
 * page shows. One page of the host is not enough: at another of its linear addresses, rights may be others.
 */
static void link_block(struct block *from, bool jumped, u64 start, u64 rip, struct block *to)
{
    if (from->near && !from->crosses && to->host && !to->crosses && same_page((u64)from->host, (u64)to->host) &&
        same_page(start, rip))
        from->link[jumped] = (struct link){.distance = rip - start, .to = to};
}

/* Follows the links until there is none, a request comes, or a block is not what it was. */
static struct block *run_linked(struct cpu *c, struct interp *e, struct block *b, u64 limit, u64 *start, bool *jumped)
{
    for (;;) {
        *start = c->gpr[REG_RIP];
        *jumped = run_block(c, e, b);
        const struct link *l = &b->link[*jumped];
        struct block *to = l->to;
        u64 rip = c->gpr[REG_RIP];
        if (!to || l->distance != rip - *start || unlikely(requests(c)))
            return b;
        if (unlikely(!block_valid(to)) || unlikely(rip > limit || to->bytes - 1u > limit - rip))
            return b;
        b = to;
        e->stats.links++;
    }
}

/* `narrow`: until the processor is in 64-bit mode, as well. What links lead to is in the mode of what leads there. */
static ALWAYS_INLINE void run_blocks(struct cpu *c, struct interp *e, bool narrow)
{
    struct block *b = block_find(c, e);
    while (true) {
        u64 start;
        bool jumped;
        u32 epoch = e->epoch;
        struct block *last = run_linked(c, e, b, block_limit(c), &start, &jumped);
        if (unlikely(requests(c)) || unlikely(c->activity != CPU_ACTIVE) || (narrow && c->mode == ISA_64))
            return;
        b = block_find(c, e);
        if (epoch == e->epoch)
            link_block(last, jumped, start, c->gpr[REG_RIP], b);
    }
}

static NOINLINE void run_all(struct cpu *c, struct interp *e)
{
    run_blocks(c, e, false);
}

NOINLINE void interp_run_narrow(struct cpu *c, struct interp *e)
{
    run_blocks(c, e, true);
}

static NOINLINE void run_one(struct cpu *c, struct interp *e)
{
    struct block *b = block_single(c, e);
    e->stats.steps++;
    run_block(c, e, b);
}

/* The instruction under way was left. What came before it in its block is done. */
static void unwound(struct cpu *c, struct interp *e)
{
    if (c->cur)
        c->insns += (u64)(c->cur - e->now->insn);
    if (c->exc.vector != EXC_NONE)
        cpu_deliver_exception(c);
    c->cur = NULL;
}

/* A function of its own, so that nothing lives in registers across the two returns of setjmp. */
static NOINLINE void run_guarded(struct cpu *c)
{
    if (__builtin_setjmp(c->unwind))
        unwound(c, c->engine);
    else if (c->step)
        run_one(c, c->engine);
    else
        run_all(c, c->engine);
    KEEP_FRAME();
}

/* REQ_BLOCK is the engine's own: the block that it was for has ended. */
static void settle_block(struct cpu *c)
{
    if (requests(c) & REQ_BLOCK) {
        atomic_fetch_and(&c->request, ~(u32)REQ_BLOCK);
        mmu_settle_code(c);
    }
}

enum engine_exit interp_run(struct cpu *c)
{
    enum engine_exit why = ENGINE_STOPPED;
    world_enter(c->world, c);
    c->step = false;
    c->cur = NULL;
    for (;;) {
        settle_block(c);
        if ((requests(c) || c->step || c->activity != CPU_ACTIVE) && !cpu_service(c))
            break;
        run_guarded(c);
    }
    if (c->activity == CPU_SHUTDOWN)
        why = ENGINE_SHUTDOWN;
    world_leave(c->world, c);
    return why;
}
