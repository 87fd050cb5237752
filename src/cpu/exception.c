/*
 * Raising exceptions, and delivering them with what may go wrong on the way: double and triple fault.
 * SDM volume 3 section 6.15, table 6-4 and 6-5.
 *
 * A delivery can fault itself. It runs under an unwind buffer of its own, changes nothing before its last possible
 * fault (but for a task switch, which then faults in the new task), and is tried again with what the two faults make
 * together.
 */
#include <string.h>

#include "cpu/debug.h"
#include "cpu/deliver.h"
#include "cpu/fault.h"
#include "cpu/intr.h"

static _Noreturn void raise(struct cpu *c, u8 vector, bool has_code, u32 code)
{
    c->exc.vector = vector;
    c->exc.has_code = has_code;
    c->exc.code = code;
    c->exc.dr6 = 0;
    __builtin_longjmp(c->unwind, 1);
}

void cpu_fault(struct cpu *c, u8 vector)
{
    raise(c, vector, false, 0);
}

void cpu_fault_code(struct cpu *c, u8 vector, u16 code)
{
    raise(c, vector, true, code | c->ext);
}

void cpu_fault_page(struct cpu *c, u64 linear, u32 code)
{
    c->exc.cr2 = c->cr2 = linear;
    raise(c, EXC_PF, true, code);
}

void cpu_fault_debug(struct cpu *c, u64 dr6)
{
    c->exc.vector = EXC_DB;
    c->exc.has_code = false;
    c->exc.code = 0;
    c->exc.dr6 = dr6;
    __builtin_longjmp(c->unwind, 1);
}

void cpu_unwind(struct cpu *c)
{
    c->exc.vector = EXC_NONE;
    __builtin_longjmp(c->unwind, 1);
}

enum exc_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum exc_class event_class(const struct event *e)
{
    static const u8 classes[32] = {
        [EXC_DE] = CONTRIBUTORY, [EXC_TS] = CONTRIBUTORY, [EXC_NP] = CONTRIBUTORY, [EXC_SS] = CONTRIBUTORY,
        [EXC_GP] = CONTRIBUTORY, [EXC_PF] = PAGE_FAULT,   [EXC_DF] = DOUBLE_FAULT,
    };
    return e->source == INTR_EXCEPTION && e->vector < 32 ? classes[e->vector] : BENIGN;
}

static void event_from_exc(const struct cpu *c, struct event *e)
{
    *e = (struct event){
        .vector = c->exc.vector,
        .source = INTR_EXCEPTION,
        .has_code = c->exc.has_code,
        .code = c->exc.code,
        .dr6 = c->exc.dr6,
        /* An instruction breakpoint does not set it: its handler has to, or it comes again. */
        .resume = c->exc.vector != EXC_DB || c->exc.dr6 & DR6_BD,
    };
}

static void shut_down(struct cpu *c)
{
    c->ext = 0;
    c->activity = CPU_SHUTDOWN;
    c->cur = NULL;
    cpu_request_own(c, REQ_DEBUG);
}

/* False if the delivery raised a fault, which is in c->exc then. */
static NOINLINE bool deliver_guarded(struct cpu *c, struct event *e)
{
    void *outer[ARRAY_SIZE(c->unwind)];
    memcpy(outer, c->unwind, sizeof(outer));
    if (__builtin_setjmp(c->unwind)) {
        memcpy(c->unwind, outer, sizeof(outer));
        return false;
    }
    event_deliver(c, e);
    memcpy(c->unwind, outer, sizeof(outer));
    return true;
}

void event_deliver_all(struct cpu *c, const struct event *first)
{
    struct event e = *first;
    for (;;) {
        e.next = cpu_rip(c);
        if (deliver_guarded(c, &e))
            return;
        enum exc_class before = event_class(&e);
        event_from_exc(c, &e);
        enum exc_class now = event_class(&e);
        if (before == DOUBLE_FAULT && now != BENIGN) {
            shut_down(c);
            return;
        }
        if ((before == CONTRIBUTORY && now == CONTRIBUTORY) || (before == PAGE_FAULT && now != BENIGN))
            e = (struct event){.vector = EXC_DF, .source = INTR_EXCEPTION, .has_code = true, .resume = true};
    }
}

void cpu_deliver_exception(struct cpu *c)
{
    struct event e;
    if (c->exc.vector == EXC_NONE)
        return;
    c->step = false;
    c->debug_pending = 0; /* what the instruction had hit before it faulted will be hit again */
    event_from_exc(c, &e);
    event_deliver_all(c, &e);
    if (cpu_must_step(c))
        cpu_request_own(c, REQ_DEBUG);
}
