/*
 * Debug registers, breakpoints and single-step. SDM volume 3 chapter 18 (debug).
 *
 * While anything here is armed (any enable bit of DR7, RFLAGS.TF, a MOV SS shadow), cpu_service sets c->step and the
 * engine carries out one instruction at a time. So a hit only has to be noted: the trap is taken right after the
 * instruction. RF is kept exactly only while a breakpoint is enabled, for it says nothing otherwise.
 */
#ifndef CPU_DEBUG_H
#define CPU_DEBUG_H

#include "cpu/cpu.h"

#define DR6_BD            BIT64(13) /* general detect */
#define DR6_BS            BIT64(14) /* single step */
#define DR6_BT            BIT64(15) /* task switch */
#define DR6_FIXED         0xffff0ff0ull
#define DR7_ENABLES       0xffull
#define DR7_LOCAL_ENABLES 0x55ull
#define DR7_GD            BIT64(13)
#define DR7_FIXED         BIT64(10)

/* True while a data breakpoint may be enabled: every access then has to be shown to cpu_debug_data. */
static inline bool cpu_debug_watching(const struct cpu *c)
{
    return c->dr[7] & DR7_ENABLES;
}

/* An access of `size` bytes at `linear`, done or about to be: notes the breakpoints that it hits. */
void cpu_debug_data(struct cpu *c, u64 linear, unsigned size, bool write);
/* The same for a port (CR4.DE). */
void cpu_debug_port(struct cpu *c, u16 port, unsigned size);
/* DR6 bits of the instruction breakpoints that stand at the next instruction, RF not considered. */
u64 cpu_debug_fetch(const struct cpu *c, u64 linear);

/* MOV DR. n is 0 to 7, already checked; #GP where the value is refused. */
u64 cpu_read_dr(struct cpu *c, unsigned n);
void cpu_write_dr(struct cpu *c, unsigned n, u64 value);

/* True while cpu_service has to be called at the next boundary, to go one instruction at a time from there. */
static inline bool cpu_must_step(const struct cpu *c)
{
    return (c->rflags & RF_TF) || (c->shadow & SHADOW_MOV_SS) || c->debug_pending || cpu_debug_watching(c);
}

#endif
