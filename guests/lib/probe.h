/*
 * Probes: a few instructions run with every register chosen by the caller, at any privilege, until they fault or reach
 * the INT3 behind them; then every register is there to be looked at. The hostile guests are made of them.
 *
 * The registers are loaded by IRETQ, so RIP, CS, RFLAGS, RSP and SS may be anything that IRETQ takes. What happens then
 * is caught on interrupt stack 1, as RSP may lead nowhere.
 */
#ifndef GUEST_PROBE_H
#define GUEST_PROBE_H

#include "lib/guest.h"

#define NO_FAULT 3 /* the vector of INT3: the end was reached */

enum { ERR_P = 1, ERR_W = 2, ERR_U = 4, ERR_RSVD = 8, ERR_I = 16 };
enum { RFLAGS_FIXED = 2, RFLAGS_ARITHMETIC = 0x8d5, RFLAGS_TF = 0x100, RFLAGS_IF = 0x200, RFLAGS_DF = 0x400 };
#define RFLAGS_RF (1ull << 16)
#define RFLAGS_AC (1ull << 18)
#define CR0_WP    (1ull << 16)
#define CR4_PGE   (1ull << 7)
#define CR4_PCIDE (1ull << 17)
#define CR4_SMEP  (1ull << 20)
#define CR4_SMAP  (1ull << 21)

struct probe {
    struct regs r; /* before, and after: vector and error, rip of the INT3 or of what faulted */
    u64 cr2;
    u8 ymm[16][32] __attribute__((aligned(32)));
};

/* Once, before anything else: vectors on, stacks set up. */
void probe_init(void);
bool probe_has_avx(void);
bool probe_has(u32 leaf, unsigned reg, unsigned bit); /* CPUID, sub-leaf 0; reg 0 to 3: EAX to EDX */

/* Arbitrary but repeatable registers; CPL 0, or 3 with `user`. RSP is a good stack, rip is left to the caller. */
void probe_fill(struct probe *p, bool user);
/* Runs it. *p holds what came out. */
void probe_run(struct probe *p);
/* While probes run, this exception goes to fn instead, which may resume what it interrupted. NULL: to the probe. */
void probe_divert(unsigned vector, handler_fn *fn);

/* A piece of code from SNIPPET, with an INT3 behind it, put at `at`. Returns its size without that. */
unsigned probe_put(void *at, const u8 *code, const u8 *end);
#define SNIPPET(name, text)                                                                                            \
    extern const u8 name[], name##_end[];                                                                              \
    asm(".pushsection .rodata\n" #name ": " text "\n" #name "_end:\n.popsection")

/* Compares what is to stay: all but the bits of `changed` (bit n: register n as instructions number them). */
bool probe_same(const struct probe *before, const struct probe *after, unsigned changed);
u64 *probe_gpr(struct probe *p, unsigned number);

/* All vector registers, as far as this processor has them. */
void probe_save_vectors(u8 (*v)[32]);
void probe_load_vectors(u8 (*v)[32]);

static inline bool is_canonical(u64 linear)
{
    return (u64)((long)(linear << 16) >> 16) == linear;
}

#endif
