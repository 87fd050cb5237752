/*
 * A virtual processor: its architectural state (declared, SDM volume 3 chapter 2), and what is derived from it.
 *
 * Who runs it: one host thread at a time, the owner. Everything here belongs to the owner, except `request`, through
 * which anyone asks the owner to come out of its loop. Others look at the state only inside an exclusive section
 * (cpu/world.h).
 *
 * rip and blocks. While an engine carries out a block, gpr[REG_RIP] stays at the block's first byte; the instruction
 * under way is c->cur, at gpr[REG_RIP] + cur->off. Semantics use cpu_rip() and cpu_next_rip(), and set the next
 * instruction with cpu_jump(), only in rows marked A_END. After the last instruction of a block that did not jump, the
 * engine adds off + len.
 *
 * Faults leave through longjmp (cpu/fault.h). So semantics change architectural state only when nothing can fault any
 * more, and hold no lock or memory while they access the guest.
 *
 * Arithmetic flags. CF PF AF ZF SF OF live in `ax_flags`, in the form that `lahf; seto %al` leaves in AX: OF in bit 0,
 * and SF ZF AF PF CF at bits 15 14 12 10 8; bit 9 is always set, the others never. The host computes them
 * (cpu/sem/flags.h). The rest of RFLAGS is in `rflags` with those six bits 0. cpu_rflags() and cpu_set_rflags() put
 * them together.
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include <setjmp.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "base/log.h"
#include "host/mem.h"
#include "irq/apic.h"
#include "isa/insn.h"
#include "mem/space.h"
#include "state/state.h"

struct loop;
struct cpu;
struct world;
struct cpu_model;
struct tlb;
struct tlb_entry;
struct vec_stubs;

enum { R_AX, R_CX, R_DX, R_BX, R_SP, R_BP, R_SI, R_DI };

/* RFLAGS */
#define RF_TF         BIT(8)
#define RF_IF         BIT(9)
#define RF_DF         BIT(10)
#define RF_IOPL_SHIFT 12
#define RF_NT         BIT(14)
#define RF_RF         BIT(16)
#define RF_VM         BIT(17)
#define RF_AC         BIT(18)
#define RF_VIF        BIT(19)
#define RF_VIP        BIT(20)
#define RF_ID         BIT(21)

#define CR0_PE BIT64(0)
#define CR0_MP BIT64(1)
#define CR0_EM BIT64(2)
#define CR0_TS BIT64(3)
#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_WP BIT64(16)
#define CR0_AM BIT64(18)
#define CR0_NW BIT64(29)
#define CR0_CD BIT64(30)
#define CR0_PG BIT64(31)

#define CR4_VME        BIT64(0)
#define CR4_PVI        BIT64(1)
#define CR4_TSD        BIT64(2)
#define CR4_DE         BIT64(3)
#define CR4_PSE        BIT64(4)
#define CR4_PAE        BIT64(5)
#define CR4_MCE        BIT64(6)
#define CR4_PGE        BIT64(7)
#define CR4_PCE        BIT64(8)
#define CR4_OSFXSR     BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_UMIP       BIT64(11)
#define CR4_FSGSBASE   BIT64(16)
#define CR4_PCIDE      BIT64(17)
#define CR4_OSXSAVE    BIT64(18)
#define CR4_SMEP       BIT64(20)
#define CR4_SMAP       BIT64(21)

#define EFER_SCE BIT64(0)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define EFER_NX  BIT64(11)

/* Descriptor attributes: bits 8 to 23 of the descriptor's second word, at the same places. */
#define DA_TYPE_SHIFT 8
#define DA_ACCESSED   BIT(8)
#define DA_WRITE      BIT(9)  /* data: writable; code: readable */
#define DA_EXPAND     BIT(10) /* data: expand-down; code: conforming */
#define DA_CODE       BIT(11)
#define DA_S          BIT(12)
#define DA_DPL_SHIFT  13
#define DA_P          BIT(15)
#define DA_AVL        BIT(20)
#define DA_L          BIT(21)
#define DA_DB         BIT(22)
#define DA_G          BIT(23)

/* A segment register with its hidden part. A null or unusable one has DA_P clear in attr. */
#define CPU_SEG_STATE(F, A, S)                                                                                         \
    F(u16, sel, 1)                                                                                                     \
    F(u32, attr, 1)                                                                                                    \
    F(u32, limit, 1) /* in bytes, granularity applied */                                                               \
    F(u64, base, 1)
STATE_DECLARE(cpu_seg, CPU_SEG_STATE)

enum cpu_activity { CPU_ACTIVE, CPU_HALTED, CPU_WAIT_SIPI, CPU_SHUTDOWN };

#define CPU_STATE(F, A, S)                                                                                             \
    A(u64, gpr, 18, 1) /* by encoding; [16] is always 0, [17] is RIP (see above) */                                    \
    F(u32, ax_flags, 1)                                                                                                \
    F(u64, rflags, 1)                                                                                                  \
    S(cpu_seg, seg, 6, 1) /* SEG_ES.. as encoded */                                                                    \
    S(cpu_seg, ldtr, 1, 1)                                                                                             \
    S(cpu_seg, tr, 1, 1)                                                                                               \
    S(cpu_seg, gdtr, 1, 1) /* base and limit only */                                                                   \
    S(cpu_seg, idtr, 1, 1)                                                                                             \
    F(u8, cpl, 1)                                                                                                      \
    F(u64, cr0, 1)                                                                                                     \
    F(u64, cr2, 1)                                                                                                     \
    F(u64, cr3, 1)                                                                                                     \
    F(u64, cr4, 1)                                                                                                     \
    A(u64, pdpte, 4, 1) /* PAE paging's page-directory-pointer entries, loaded with CR3 */                             \
    F(u64, xcr0, 1)                                                                                                    \
    F(u64, xss, 1)                                                                                                     \
    F(u64, efer, 1)                                                                                                    \
    A(u64, dr, 8, 1)                                                                                                   \
    F(u64, star, 1)                                                                                                    \
    F(u64, lstar, 1)                                                                                                   \
    F(u64, cstar, 1)                                                                                                   \
    F(u64, sfmask, 1)                                                                                                  \
    F(u64, kernel_gs_base, 1)                                                                                          \
    F(u64, sysenter_cs, 1)                                                                                             \
    F(u64, sysenter_esp, 1)                                                                                            \
    F(u64, sysenter_eip, 1)                                                                                            \
    F(u64, tsc_offset, 1) /* guest TSC = scaled virtual time + tsc_offset */                                           \
    F(u64, tsc_adjust, 1)                                                                                              \
    F(u32, tsc_aux, 1)                                                                                                 \
    F(u64, pat, 1)                                                                                                     \
    F(u64, misc_enable, 1)                                                                                             \
    F(u64, mtrr_def, 1)                                                                                                \
    A(u64, mtrr_fixed, 11, 1)                                                                                          \
    A(u64, mtrr_var, 16, 1) /* base, mask pairs */                                                                     \
    F(u64, spec_ctrl, 1)                                                                                               \
    F(u64, mcg_status, 1)                                                                                              \
    F(u64, mcg_ctl, 1)                                                                                                 \
    A(u64, mc_bank, 40, 1) /* CTL, STATUS, ADDR, MISC of each machine-check bank */                                    \
    F(u64, debugctl, 1)                                                                                                \
    F(u64, smbase, 1)                                                                                                  \
    A(u64, st, 16, 1) /* x87 registers by physical number: 80 bits in two words each */                                \
    F(u16, fcw, 1)                                                                                                     \
    F(u16, fsw, 1) /* TOP in bits 13:11 */                                                                             \
    F(u8, ftw, 1)  /* abridged tag, by physical register: bit set when not empty */                                    \
    F(u16, fop, 1)                                                                                                     \
    F(u64, fip, 1)                                                                                                     \
    F(u64, fdp, 1)                                                                                                     \
    F(u32, mxcsr, 1)                                                                                                   \
    A(u64, ymm, 64, 1) /* register n at [4 * n], low word first */                                                     \
    F(u32, xinuse, 1)  /* XINUSE: x87, SSE, AVX components not in their initial state */                               \
    F(u8, activity, 1) /* enum cpu_activity */                                                                         \
    F(bool, nmi_pending, 1)                                                                                            \
    F(bool, nmi_blocked, 1)                                                                                            \
    F(bool, smi_pending, 1)                                                                                            \
    F(u8, shadow, 1)         /* SHADOW_*: the next instruction takes no interrupt */                                   \
    F(u64, debug_pending, 1) /* DR6 bits of a #DB held back by a MOV SS shadow */                                      \
    F(bool, is_bsp, 1)

#define SHADOW_STI    1
#define SHADOW_MOV_SS 2

/* Reasons to leave the loop at the next block boundary; anyone may set one with cpu_request. */
enum {
    REQ_INTR = 1 << 0, /* an interrupt may be deliverable; cleared while none is or IF is 0 (see cpu/intr.c) */
    REQ_NMI = 1 << 1,
    REQ_INIT = 1 << 2,
    REQ_SIPI = 1 << 3,
    REQ_TLB = 1 << 4,   /* drop all cached translations */
    REQ_PARK = 1 << 5,  /* an exclusive section waits (cpu/world.c) */
    REQ_STOP = 1 << 6,  /* leave engine_run: pause, quit, reset */
    REQ_DEBUG = 1 << 7, /* single-step trap, held-back #DB, or a shadow that ends */
    REQ_BLOCK = 1 << 8, /* the running block's code was changed: end it */
    REQ_SMI = 1 << 9,
};

struct cpu {
    CPU_STATE(STATE_MEMBER_F, STATE_MEMBER_A, STATE_MEMBER_S)

    /* Derived: cpu_derive() rebuilds it after loading or after any change of mode, segments or control registers. */
    const struct insn *cur;  /* instruction under way */
    u64 seg_base[SEG_COUNT]; /* what the address computation adds: 0 for ES CS SS DS in 64-bit mode */
    bool flat;               /* no segment check needed: 64-bit mode */
    u8 mode;                 /* enum isa_mode: size of the code being run */
    u8 flat_segs;  /* bit n: offsets in segment n are linear addresses less seg_base, and need no check: all in
                      64-bit mode; base 0, limit 4 GiB, writable data otherwise */
    u8 stack_size; /* 2, 4 or 8: width of SP */
    u8 mmu_index;  /* which set of the TLB data accesses use: cpu/mmu.h */
    struct tlb_entry *data_set; /* tlb->set[mmu_index] */
    struct tlb *tlb;

    _Atomic u32 request;
    _Atomic bool intr_line; /* level of INTR from the local APIC */
    u8 sipi_vector;
    bool step;      /* set by cpu_service: carry out one instruction, then call it again (cpu/intr.h) */
    bool step_tf;   /* RFLAGS.TF when that instruction began */
    u8 step_shadow; /* and c->shadow */
    u8 ext;         /* EXT bit of error codes: 1 while an event from outside the program is delivered */
    u64 apic_base;  /* cached IA32_APIC_BASE */

    /* Fixed for the life of the processor. */
    unsigned id;    /* 0 for the bootstrap processor; also the initial APIC ID */
    unsigned count; /* processors in the machine */
    const struct cpu_model *model;
    struct isa_features features;
    struct mem_space *mem;
    struct loop *loop;
    struct world *world;
    const struct log *log;
    const struct apic_ops *apic;
    void *apic_dev;
    void *engine;         /* the engine's own part */
    u64 frame[80];        /* what the engine's emitted code reaches beside the state */
    struct host_ram home; /* the memory of this struct, so that it can be mapped again elsewhere */
    /* `request` has got a bit: bring the owner out of guest code; NULL: it looks. Any thread */
    void (*kick)(struct cpu *c);
    struct vec_stubs *stubs; /* cpu/sem/stub.h; NULL until the first vector instruction */
    void (*ferr)(struct cpu *c,
                 bool level); /* FERR#: an unmasked x87 error waits and CR0.NE is 0; may be NULL. Owner's thread */
    void *ferr_opaque;
    u64 tsc_hz;

    void *unwind[5]; /* __builtin_setjmp buffer of the engine's loop */
    struct {
        u8 vector;
        bool has_code;
        u32 code;
        u64 cr2; /* for #PF */
        u64 dr6; /* for #DB: bits to set */
    } exc;       /* the exception that unwound the instruction */
    struct log_limit msr_log;
    u64 insns; /* instructions carried out, for statistics; kept by the engine */
};
extern const struct state_class cpu_class;

struct cpu_config {
    unsigned id, count; /* this one, and how many the machine has */
    const struct cpu_model *model;
    struct mem_space *mem;
    struct loop *loop;
    struct world *world;
    const struct log *log;
    u64 tsc_hz;
};

/* A processor in its power-on state, without an APIC until cpu_connect_apic. NULL when out of memory. */
struct cpu *cpu_create(const struct cpu_config *cfg);
void cpu_destroy(struct cpu *c);
/* dev goes to each of the ops; returns the ops by which the APIC reaches this processor (opaque: the struct cpu). */
const struct apic_cpu_ops *cpu_connect_apic(struct cpu *c, const struct apic_ops *ops, void *dev);

/* Power-on or RESET (cold) and INIT: SDM volume 3 table 10-1. Owner's thread or inside an exclusive section. */
void cpu_reset(struct cpu *c, bool cold);
void cpu_derive(struct cpu *c);
/* The part of it that goes by CPL and RFLAGS.AC: mmu_index. */
void cpu_derive_access(struct cpu *c);

/* Which set of the TLB data accesses at this privilege level use, alignment checks aside: enum mmu_index. */
unsigned cpu_mmu_index(const struct cpu *c, unsigned cpl);

/* Any thread: sets the bits and wakes the processor if it is halted. */
void cpu_request(struct cpu *c, u32 req);
/* By the owner, for itself. */
static inline void cpu_request_own(struct cpu *c, u32 req)
{
    atomic_fetch_or_explicit(&c->request, req, memory_order_relaxed);
}

u64 cpu_rflags(const struct cpu *c);
/* Sets all of RFLAGS as given (reserved bits forced); what a guest may change is the caller's business. */
void cpu_set_rflags(struct cpu *c, u64 value);

static inline u64 cpu_rip(const struct cpu *c)
{
    return c->gpr[REG_RIP] + (c->cur ? c->cur->off : 0);
}

static inline u64 cpu_next_rip(const struct cpu *c)
{
    u64 rip = c->gpr[REG_RIP] + c->cur->off + c->cur->len;
    return c->mode == ISA_64 ? rip : (u32)rip;
}

/* Where the next instruction is; for rows marked A_END. The engine sees that the block ended with a jump by cur being
 * NULL. */
static inline void cpu_jump(struct cpu *c, u64 rip)
{
    c->gpr[REG_RIP] = rip;
    c->cur = NULL;
}

static inline bool cpu_real_mode(const struct cpu *c)
{
    return !(c->cr0 & CR0_PE);
}

static inline bool cpu_v86(const struct cpu *c)
{
    return c->rflags & RF_VM;
}

static inline bool cpu_long_mode(const struct cpu *c)
{
    return c->efer & EFER_LMA;
}

static inline unsigned cpu_iopl(const struct cpu *c)
{
    return c->rflags >> RF_IOPL_SHIFT & 3;
}

/* Guest TSC now. */
u64 cpu_tsc(struct cpu *c);

#endif
