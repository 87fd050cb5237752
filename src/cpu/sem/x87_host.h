/*
 * Single x87 instructions on the host, on 80-bit values in memory and under a given control word.
 *
 * Each function returns the status word of the instruction. The host's control word is put back, its stack is empty
 * before and after, and no exception is left pending: FNCLEX stands between the instruction and the next one that would
 * wait.
 */
#ifndef CPU_SEM_X87_HOST_H
#define CPU_SEM_X87_HOST_H

#include "base/types.h"

#define X87_ENTER    "fnstcw %[old]\n\tfnclex\n\tfldcw %[cw]\n\t"
#define X87_STATUS   "\n\tfnstsw %%ax\n\tfnclex\n\t"
/* EMMS frees all registers, whatever the instruction did to the stack. */
#define X87_LEAVE    "\n\temms\n\tfldcw %[old]"
#define X87_CLOBBERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "memory"

/* a = a op b: both on the stack, a on top. */
#define X87_HOST_RR(name, insn)                                                                                        \
    static u16 name(struct f80 *a, const struct f80 *b, u16 cw)                                                        \
    {                                                                                                                  \
        u16 sw, old;                                                                                                   \
        asm volatile(X87_ENTER "fldt %[b]\n\tfldt %[a]\n\t" insn X87_STATUS "fstpt %[a]" X87_LEAVE                     \
                     : "=&a"(sw), [old] "=m"(old), [a] "+m"(*a)                                                        \
                     : [b] "m"(*b), [cw] "m"(cw)                                                                       \
                     : X87_CLOBBERS);                                                                                  \
        return sw;                                                                                                     \
    }

/* a = a op memory. */
#define X87_HOST_RM(name, insn, T)                                                                                     \
    static u16 name(struct f80 *a, T mem, u16 cw)                                                                      \
    {                                                                                                                  \
        u16 sw, old;                                                                                                   \
        asm volatile(X87_ENTER "fldt %[a]\n\t" insn " %[b]" X87_STATUS "fstpt %[a]" X87_LEAVE                          \
                     : "=&a"(sw), [old] "=m"(old), [a] "+m"(*a)                                                        \
                     : [b] "m"(mem), [cw] "m"(cw)                                                                      \
                     : X87_CLOBBERS);                                                                                  \
        return sw;                                                                                                     \
    }

/* a = op a. */
#define X87_HOST_R(name, insn)                                                                                         \
    static u16 name(struct f80 *a, u16 cw)                                                                             \
    {                                                                                                                  \
        u16 sw, old;                                                                                                   \
        asm volatile(X87_ENTER "fldt %[a]\n\t" insn X87_STATUS "fstpt %[a]" X87_LEAVE                                  \
                     : "=&a"(sw), [old] "=m"(old), [a] "+m"(*a)                                                        \
                     : [cw] "m"(cw)                                                                                    \
                     : X87_CLOBBERS);                                                                                  \
        return sw;                                                                                                     \
    }

/* a = memory. */
#define X87_HOST_LOAD(name, insn, T)                                                                                   \
    static u16 name(struct f80 *a, T mem, u16 cw)                                                                      \
    {                                                                                                                  \
        u16 sw, old;                                                                                                   \
        asm volatile(X87_ENTER "fldz\n\t" insn " %[b]" X87_STATUS "fstpt %[a]" X87_LEAVE                               \
                     : "=&a"(sw), [old] "=m"(old), [a] "=m"(*a)                                                        \
                     : [b] "m"(mem), [cw] "m"(cw)                                                                      \
                     : X87_CLOBBERS);                                                                                  \
        return sw;                                                                                                     \
    }

/* a, b = op a: two results, the second below the first. Where the instruction makes only one, b is zero. */
#define X87_HOST_R2(name, insn)                                                                                        \
    static u16 name(struct f80 *a, struct f80 *b, u16 cw)                                                              \
    {                                                                                                                  \
        u16 sw, old;                                                                                                   \
        asm volatile(X87_ENTER "fldz\n\tfldt %[a]\n\t" insn X87_STATUS "fstpt %[a]\n\tfstpt %[b]" X87_LEAVE            \
                     : "=&a"(sw), [old] "=m"(old), [a] "+m"(*a), [b] "=m"(*b)                                          \
                     : [cw] "m"(cw)                                                                                    \
                     : X87_CLOBBERS);                                                                                  \
        return sw;                                                                                                     \
    }

/* memory = a, popped or not. */
#define X87_HOST_STORE(name, insn, T)                                                                                  \
    static u16 name(const struct f80 *a, T *mem, u16 cw)                                                               \
    {                                                                                                                  \
        u16 sw, old;                                                                                                   \
        asm volatile(X87_ENTER "fldt %[a]\n\t" insn " %[b]" X87_STATUS X87_LEAVE                                       \
                     : "=&a"(sw), [old] "=m"(old), [b] "+m"(*mem)                                                      \
                     : [a] "m"(*a), [cw] "m"(cw)                                                                       \
                     : X87_CLOBBERS);                                                                                  \
        return sw;                                                                                                     \
    }

#endif
