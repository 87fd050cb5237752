/*
 * Segments: descriptors, the checks for loading them, and stacks that are not the current one. SDM volume 3 chapters 3
 * and 5.
 *
 * Everything that checks comes before everything that changes: the functions named *_check and *_read may fault, those
 * named *_set do not. Descriptor tables and task-state segments are read with supervisor rights whatever the CPL.
 */
#ifndef CPU_SEGMENT_H
#define CPU_SEGMENT_H

#include "cpu/cpu.h"

enum desc_type {
    DESC_TSS16 = 1,
    DESC_LDT = 2,
    DESC_TSS16_BUSY = 3,
    DESC_CALL16 = 4,
    DESC_TASK_GATE = 5,
    DESC_INT16 = 6,
    DESC_TRAP16 = 7,
    DESC_TSS32 = 9,
    DESC_TSS32_BUSY = 11,
    DESC_CALL32 = 12,
    DESC_INT32 = 14,
    DESC_TRAP32 = 15,
    DESC_BUSY_BIT = 2,
};

/* A descriptor as read from its table. lo and hi are the raw words, for gates. */
struct desc {
    u64 addr; /* linear, of its first byte */
    u32 lo, hi;
    struct cpu_seg seg; /* as it would be loaded, selector included */
};

static inline bool sel_is_null(u16 sel)
{
    return sel < 4;
}

/* A selector as an error code: the RPL's place belongs to EXT and IDT. */
static inline u16 sel_code(u16 sel)
{
    return sel & 0xfffc;
}

static inline unsigned seg_type(const struct cpu_seg *s)
{
    return s->attr >> DA_TYPE_SHIFT & 15;
}

static inline unsigned seg_dpl(const struct cpu_seg *s)
{
    return s->attr >> DA_DPL_SHIFT & 3;
}

static inline bool seg_present(const struct cpu_seg *s)
{
    return s->attr & DA_P;
}

static inline bool seg_is_system(const struct cpu_seg *s)
{
    return !(s->attr & DA_S);
}

static inline bool seg_is_code(const struct cpu_seg *s)
{
    return (s->attr & (DA_S | DA_CODE)) == (DA_S | DA_CODE);
}

static inline bool seg_is_conforming(const struct cpu_seg *s)
{
    return (s->attr & (DA_S | DA_CODE | DA_EXPAND)) == (DA_S | DA_CODE | DA_EXPAND);
}

static inline bool seg_is_writable_data(const struct cpu_seg *s)
{
    return (s->attr & (DA_S | DA_CODE | DA_WRITE)) == (DA_S | DA_WRITE);
}

/* A code segment that would run 64-bit code now. */
static inline bool seg_is_code64(const struct cpu *c, const struct cpu_seg *s)
{
    return cpu_long_mode(c) && (s->attr & DA_L);
}

static inline bool addr_is_canonical(u64 v)
{
    return (u64)((i64)(v << 16) >> 16) == v;
}

/* Bounds of a segment as they would be checked: no type, no presence. */
bool seg_holds(const struct cpu_seg *s, u64 offset, unsigned size);

/* Reads the descriptor; false if it lies outside its table. A null selector names entry 0 of the GDT: check before. */
bool desc_read(struct cpu *c, u16 sel, struct desc *d) MUST_CHECK;
/* The same, or a fault: `vector` with the selector. */
void desc_need(struct cpu *c, u16 sel, u8 vector, struct desc *d);
/* Second half of a 16-byte system descriptor: completes the base. Its type field must be 0: else `vector`. */
u32 desc_read_upper(struct cpu *c, struct desc *d, u8 vector);
/* Sets the accessed bit in the table; the busy bit of a TSS. May fault. */
void desc_mark_accessed(struct cpu *c, struct desc *d);
void desc_mark_busy(struct cpu *c, u64 addr, bool busy);

/* MOV, POP, LDS and so on: everything but CS, in every mode. */
void seg_load(struct cpu *c, unsigned seg, u16 sel);
/* The way of real and virtual-8086 mode: base from the selector. */
void seg_set_real(struct cpu *c, unsigned seg, u16 sel);
/* What a null selector leaves. */
void seg_set_null(struct cpu *c, unsigned seg, u16 sel);
/* DS, ES, FS and GS that the new, lower privilege may not use become null, and null selectors 0: outer RET and IRET. */
void seg_drop_privileged(struct cpu *c);

/* A stack segment for privilege level cpl, named by a TSS or a stack frame: `vector` (#TS or #GP) or #SS. Not null. */
void ss_check(struct cpu *c, u16 sel, unsigned cpl, u8 vector, struct desc *d);

/* The target of a far transfer: #GP(0) if the segment does not hold it. */
void ip_check(struct cpu *c, const struct cpu_seg *cs, u64 ip);
/* The transfer itself: CS, CPL, all that is derived, and the next instruction. */
void cs_set(struct cpu *c, const struct cpu_seg *cs, unsigned cpl, u64 ip);

/* LLDT and LTR, and the task switch's way to the LDT. `vector` for what is wrong with the selector. */
void ldtr_load(struct cpu *c, u16 sel, u8 vector);
void tr_load(struct cpu *c, u16 sel);

/* A stack that is used before SP is changed. */
struct stack {
    const struct cpu_seg *ss;
    u64 sp, mask;
    unsigned index; /* enum mmu_index */
    u16 code;       /* of the #SS when it is full */
    bool flat;      /* 64-bit: SS does not matter */
};
/* The current one; in 64-bit mode or (`flat`, for interrupts) by RSP alone. */
void stack_current(struct cpu *c, struct stack *s, bool flat);
/* Another one; ss is NULL for the flat stack of 64-bit mode. */
void stack_other(struct cpu *c, struct stack *s, const struct cpu_seg *ss, u64 sp, unsigned cpl);
void stack_put(struct cpu *c, struct stack *s, u64 v, unsigned size);
u64 stack_get(struct cpu *c, struct stack *s, unsigned size);
/* SP = s->sp, in the width of the stack. */
void stack_set(struct cpu *c, const struct stack *s);

/* SS:SP for privilege level cpl from the TSS; #TS if it is too short. Outside long mode. */
void tss_stack(struct cpu *c, unsigned cpl, u16 *ss, u32 *sp);
/* A stack pointer from the 64-bit TSS: RSP0 to RSP2 are slots 0 to 2, IST1 to IST7 are slots 4 to 10. */
u64 tss_stack64(struct cpu *c, unsigned slot);

#endif
