/*
 * Delivery of exceptions and interrupts, and what happens between instructions. SDM volume 3 chapter 6.
 */
#ifndef CPU_INTR_H
#define CPU_INTR_H

#include "cpu/cpu.h"

/*
 * Delivers c->exc, which unwound the instruction at cpu_rip(): pushes, gates, task gates, double and triple fault. On
 * return the processor is at the handler's first instruction (cpu_jump was called) or shut down. Faults of the
 * delivery itself are handled inside: the caller's c->unwind is not used.
 */
void cpu_deliver_exception(struct cpu *c);

/* INT n, INT3, INTO, INT1 as instructions: `next` is the return address. May raise faults through c->unwind. */
enum intr_source { INTR_SOFTWARE, INTR_INT3, INTR_INT1, INTR_EXTERNAL, INTR_EXCEPTION };
void cpu_interrupt(struct cpu *c, u8 vector, enum intr_source source, bool has_code, u32 code, u64 next);

/*
 * Between blocks, when c->request is not 0 (or the processor is not active): takes resets, NMIs, interrupts, held-back
 * traps; parks; flushes. In the order of SDM volume 3 table 6-2. Returns false if the engine's run must return
 * (REQ_STOP), true to go on. A halted processor sleeps inside until something wakes it.
 */
/*
 * False also when the processor shut down (c->activity == CPU_SHUTDOWN).
 *
 * If c->step is set when it returns true, the engine carries out one instruction, or one iteration of a repeated one,
 * and calls it again whatever c->request says: single-step, breakpoints, interrupt shadows and RF need that. A repeated
 * string instruction looks at c->request after each iteration; if it is not 0 it leaves with RF set (c->rflags |=
 * RF_RF) and cpu_jump to itself.
 */
bool cpu_service(struct cpu *c);

/* IF became 1, or a shadow ended: look for an interrupt at the next boundary. */
void cpu_check_intr(struct cpu *c);
/* The same for everything that cpu_service would find without being told: after a state was loaded, or when the engine
 * left. */
void cpu_look_again(struct cpu *c);

#endif
