/*
 * Between blocks: requests from outside, traps of the last instruction, NMI, interrupts, instruction breakpoints,
 * halting. SDM volume 3 section 6.9 and table 6-2 (priorities), 6.7 and 6.8 (masking).
 *
 * A STI shadow asks for nothing by itself: if it is found when an interrupt wants in, one instruction is carried out
 * first. It may be found long after its instruction is over, which nobody can tell. Whatever else sets IF ends it
 * (cpu_set_rflags).
 *
 * Breakpoints, MOV SS shadows and single-step are a matter of one instruction: while any is on, c->step makes the
 * engine come back after one. finish_step and begin_step stand on the two sides of it.
 */
#include "cpu/intr.h"

#include "cpu/debug.h"
#include "cpu/deliver.h"
#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/segment.h"
#include "cpu/world.h"
#include "event/door.h"

static void request_clear(struct cpu *c, u32 req)
{
    atomic_fetch_and(&c->request, ~req);
}

void cpu_check_intr(struct cpu *c)
{
    if (c->intr_line && c->rflags & RF_IF)
        cpu_request_own(c, REQ_INTR);
}

void cpu_look_again(struct cpu *c)
{
    if (cpu_must_step(c) || c->nmi_pending)
        cpu_request_own(c, REQ_DEBUG);
    cpu_check_intr(c);
}

static void take_init(struct cpu *c)
{
    cpu_reset(c, false);
    if (c->apic)
        c->apic->reset(c->apic_dev, false);
}

/* The start-up message: real mode at page `vector`. Only a processor that waits for it listens. */
static void take_sipi(struct cpu *c)
{
    if (c->activity != CPU_WAIT_SIPI)
        return;
    u8 vector = __atomic_load_n(&c->sipi_vector, __ATOMIC_SEQ_CST);
    c->seg[SEG_CS].sel = (u16)(vector << 8);
    c->seg[SEG_CS].base = (u64)vector << 12;
    c->activity = CPU_ACTIVE;
    cpu_derive(c);
    cpu_jump(c, 0);
}

/* What others asked for. False if the engine has to return. */
static bool take_requests(struct cpu *c)
{
    u32 req = c->request;
    if (req & REQ_STOP) {
        request_clear(c, REQ_STOP);
        cpu_look_again(c);
        return false;
    }
    request_clear(c, req & (REQ_PARK | REQ_TLB | REQ_BLOCK | REQ_SMI | REQ_DEBUG | REQ_INIT | REQ_SIPI | REQ_NMI));
    if (req & REQ_PARK && c->world)
        world_park(c->world, c);
    if (req & REQ_TLB)
        mmu_flush_all(c);
    if (req & REQ_BLOCK)
        mmu_settle_code(c);
    if (req & REQ_NMI)
        c->nmi_pending = true;
    if (req & REQ_INIT)
        take_init(c);
    if (req & REQ_SIPI)
        take_sipi(c);
    return true;
}

/* The single instruction is done: what it leaves behind. A MOV SS right after another does not prolong the shadow. */
static void finish_step(struct cpu *c)
{
    if (!c->step)
        return;
    c->step = false;
    c->shadow &= ~c->step_shadow;
    if (c->step_tf && !(c->shadow & SHADOW_MOV_SS))
        c->debug_pending |= DR6_BS;
}

static void take_trap(struct cpu *c)
{
    struct event e = {.vector = EXC_DB, .source = INTR_EXCEPTION, .dr6 = c->debug_pending};
    if (!c->debug_pending || c->shadow & SHADOW_MOV_SS)
        return;
    c->debug_pending = 0;
    event_deliver_all(c, &e);
}

static void take_nmi(struct cpu *c)
{
    static const struct event nmi = {.vector = EXC_NMI, .source = INTR_EXTERNAL};
    if (!c->nmi_pending || c->nmi_blocked || c->activity == CPU_WAIT_SIPI || c->shadow & SHADOW_MOV_SS)
        return;
    c->nmi_pending = false;
    c->nmi_blocked = true;
    event_deliver_all(c, &nmi);
}

/* The request goes first and the level is read after it: a rise in between sets the request again. */
static void take_interrupt(struct cpu *c)
{
    request_clear(c, REQ_INTR);
    if (!c->intr_line || !(c->rflags & RF_IF) || c->shadow || c->activity > CPU_HALTED)
        return;
    int vector = c->apic->accept(c->apic_dev);
    if (vector >= 0) {
        struct event e = {.vector = (u8)vector, .source = INTR_EXTERNAL};
        door_interrupt(c->loop, c->id, (u8)vector);
        event_deliver_all(c, &e);
    }
    cpu_check_intr(c);
}

/* False if an instruction breakpoint was taken instead: look at everything again. */
static bool begin_step(struct cpu *c)
{
    u64 hits = 0;
    if (cpu_debug_watching(c) && !(c->rflags & RF_RF) && !(c->shadow & SHADOW_MOV_SS))
        hits = cpu_debug_fetch(c, c->seg_base[SEG_CS] + cpu_rip(c));
    c->rflags &= ~RF_RF;
    if (!cpu_must_step(c) && !c->shadow)
        return true;
    if (hits) {
        struct event e = {.vector = EXC_DB, .source = INTR_EXCEPTION, .dr6 = hits};
        event_deliver_all(c, &e);
        return false;
    }
    c->step = true;
    c->step_tf = c->rflags & RF_TF;
    c->step_shadow = c->shadow;
    /* A repeated string instruction is to leave after each iteration. */
    if (c->step_tf)
        cpu_request_own(c, REQ_DEBUG);
    return true;
}

bool cpu_service(struct cpu *c)
{
    c->cur = NULL;
    finish_step(c);
    for (;;) {
        if (!take_requests(c))
            return false;
        take_trap(c);
        take_nmi(c);
        take_interrupt(c);
        if (c->activity == CPU_SHUTDOWN)
            return false;
        if (c->activity != CPU_ACTIVE)
            world_halt(c->world, c);
        else if (begin_step(c))
            return true;
    }
}
