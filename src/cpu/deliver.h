/*
 * Between exception.c, intr.c and deliver.c: one event on its way to its handler.
 */
#ifndef CPU_DELIVER_H
#define CPU_DELIVER_H

#include "cpu/intr.h"

#define EXC_NONE 0xff /* in c->exc.vector: cpu_unwind, nothing to deliver */

struct event {
    u8 vector;
    enum intr_source source;
    bool has_code;
    bool resume; /* a fault: RF is set in the pushed flags, so that an instruction breakpoint is not taken again */
    u32 code;
    u64 dr6;  /* of #DB */
    u64 next; /* return address */
};

/* One delivery; may raise faults through c->unwind. Nothing but memory is changed before the last of them, except by a
 * task switch. */
void event_deliver(struct cpu *c, const struct event *e);
/* Until it, or what its faults make of it, is delivered, or the processor has shut down. Sets e.next from cpu_rip. */
void event_deliver_all(struct cpu *c, const struct event *first);

/* A #DB that is a fault, out of an instruction. */
_Noreturn void cpu_fault_debug(struct cpu *c, u64 dr6);

#endif
