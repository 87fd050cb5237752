/*
 * Inside of the local APIC: what its files share. apic.c has the interrupts, apic_reg.c the registers, apic_timer.c the
 * timer, apic_bus.c the messages between APICs.
 */
#ifndef DEV_PC_APIC_PRIV_H
#define DEV_PC_APIC_PRIV_H

#include "base/bits.h"
#include "dev/pc/apic.h"
#include "event/loop.h"

/* IA32_APIC_BASE */
#define BASE_BSP  BIT64(8)
#define BASE_EXTD BIT64(10)
#define BASE_EN   BIT64(11)

/* Spurious-interrupt vector register */
#define SVR_ENABLE       BIT(8)
#define SVR_SUPPRESS_EOI BIT(12)

/* Error status register */
#define ESR_SEND_ILLEGAL     BIT(5)
#define ESR_RECEIVE_ILLEGAL  BIT(6)
#define ESR_ILLEGAL_REGISTER BIT(7)

/* Local vector table, from register 0x32 on */
enum lvt_index { LVT_TIMER, LVT_THERMAL, LVT_PMC, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
#define LVT_MODE(v)       ((v) >> 8 & 7)
#define LVT_REMOTE_IRR    BIT(14)
#define LVT_LEVEL         BIT(15)
#define LVT_MASKED        BIT(16)
#define LVT_TIMER_MODE(v) ((v) >> 17 & 3)
enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

/* Interrupt command register, low half */
#define ICR_LOGICAL BIT(11)
#define ICR_STATUS  BIT(12)
#define ICR_ASSERT  BIT(14)
#define ICR_LEVEL   BIT(15)
enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

/* Delivery modes of messages and vector table entries */
enum delivery { DM_FIXED, DM_LOWEST, DM_SMI, DM_RESERVED, DM_NMI, DM_INIT, DM_SIPI, DM_EXTINT };

#define VECTOR_FIRST 16 /* those below are illegal */

#define APIC_STATE(F, A, S)                                                                                            \
    F(u64, base, 1)                                                                                                    \
    F(u8, id, 1) /* xAPIC mode; software may write it */                                                               \
    F(u32, tpr, 1)                                                                                                     \
    F(u32, ldr, 1) /* xAPIC mode */                                                                                    \
    F(u32, dfr, 1)                                                                                                     \
    F(u32, svr, 1)                                                                                                     \
    A(u32, isr, 8, 1)                                                                                                  \
    A(u32, tmr, 8, 1)                                                                                                  \
    A(u32, irr, 8, 1)                                                                                                  \
    F(u32, esr, 1)                                                                                                     \
    F(u32, errors, 1) /* since the last write to ESR */                                                                \
    F(u64, icr, 1)                                                                                                     \
    A(u32, lvt, LVT_COUNT, 1)                                                                                          \
    A(bool, lint, 2, 1)                                                                                                \
    F(bool, extint, 1) /* an ExtINT message waits */                                                                   \
    F(u32, divide, 1)                                                                                                  \
    F(u32, initial_count, 1)                                                                                           \
    F(bool, running, 1)                                                                                                \
    F(u32, start_count, 1)                                                                                             \
    F(u64, start_ns, 1) /* when the current-count register showed start_count */                                       \
    F(u64, tsc_deadline, 1)
STATE_DECLARE(apic_state, APIC_STATE)

struct apic {
    struct dev dev;
    struct apic_state s;
    struct apic_config cfg;
    const struct apic_cpu_ops *cpu_ops;
    void *cpu;
    struct timer timer;
    bool intr; /* what the processor was last told */
};

struct apic_message {
    u32 dest;
    bool broadcast;
    bool logical;
    bool level; /* trigger mode */
    u8 mode;    /* enum delivery */
    u8 vector;
    u8 shorthand;
};

struct apic_bus {
    struct apic *apic[APIC_BUS_MAX];
    unsigned count; /* slots in use, up to the highest ID */
    unsigned next;  /* where the next lowest-priority arbitration starts among equals */
    struct pic *pic;
    void (*eoi)(void *opaque, u8 vector);
    void *eoi_opaque;
};

static inline bool apic_enabled(const struct apic *a)
{
    return a->s.base & BASE_EN;
}

static inline bool apic_x2apic(const struct apic *a)
{
    return a->s.base & BASE_EXTD;
}

static inline bool apic_software_enabled(const struct apic *a)
{
    return a->s.svr & SVR_ENABLE;
}

static inline u32 apic_x2apic_ldr(const struct apic *a)
{
    return a->cfg.id >> 4 << 16 | BIT(a->cfg.id & 15);
}

/* Highest vector in a 256-bit register, -1 if it is empty. */
int apic_highest(const u32 reg[8]);
u32 apic_ppr(const struct apic *a);
u32 apic_apr(const struct apic *a);
/* Tells the processor if there is something to accept. After any change of TPR, IRR, ISR, LINT0, base. */
void apic_update(struct apic *a);
void apic_error(struct apic *a, u32 bit);
void apic_deliver_local(struct apic *a, enum lvt_index n);
void apic_lint(struct apic *a, unsigned n, bool level);
/* A level-triggered LINT entry may have to send again. */
void apic_lint_check(struct apic *a, unsigned n);
void apic_eoi(struct apic *a);
void apic_receive(struct apic *a, const struct apic_message *m);
/* Everything but the base register; `cold` is power-on or RESET. */
void apic_reset_registers(struct apic *a, bool cold);

/* apic_reg.c */
u32 apic_mmio_read(void *apic, u32 off);
void apic_mmio_write(void *apic, u32 off, u32 value);
int apic_msr_read(void *apic, u32 msr, u64 *value);
int apic_msr_write(void *apic, u32 msr, u64 value);

/* apic_timer.c */
void apic_timer_fire(void *opaque);
void apic_timer_arm(struct apic *a);
void apic_timer_stop(struct apic *a);
u32 apic_timer_current(struct apic *a);
void apic_timer_write_initial(struct apic *a, u32 value);
void apic_timer_write_divide(struct apic *a, u32 value);
void apic_timer_write_lvt(struct apic *a, u32 value);
u64 apic_timer_read_deadline(struct apic *a);
void apic_timer_write_deadline(struct apic *a, u64 value);
void apic_timer_tsc_changed(struct apic *a);

/* apic_bus.c */
void apic_bus_send(struct apic_bus *bus, struct apic *sender, const struct apic_message *m);

#endif
