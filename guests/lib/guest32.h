/*
 * The run-time of the 32-bit guests: flat protected mode, paging off. The same ideas as guest.h.
 */
#ifndef GUEST32_H
#define GUEST32_H

#include "lib/print.h"

enum {
    SEL_CODE = 0x08,
    SEL_DATA = 0x10,
    SEL_USER_CODE = 0x1b,
    SEL_USER_DATA = 0x23,
    SEL_CODE16 = 0x28,
    SEL_DATA16 = 0x30,
    SEL_TSS = 0x38,
    SEL_FREE = 0x40
};
#define GDT_ENTRIES 64
extern u64 gdt[GDT_ENTRIES];
extern u64 idt[256];

struct regs32 {
    u32 gs, fs, es, ds;
    u32 edi, esi, ebp, esp_unused, ebx, edx, ecx, eax;
    u32 vector, error;
    u32 eip, cs, eflags, esp, ss;       /* esp and ss only where the ring changed */
    u32 v86_es, v86_ds, v86_fs, v86_gs; /* only from virtual-8086 mode */
};

struct tss32 {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds,
        fs, gs, ldt;
    u16 trap, iomap;
    u8 bitmap[8192 + 1 + 32]; /* the interrupt redirection bitmap may stand in front */
} __attribute__((packed));
extern struct tss32 tss;

struct fault {
    int vector;
    u32 error, eip, cs, eflags, cr2;
};
struct fault try_call(void (*fn)(void *arg), void *arg);
/* At CPL 3, flat. */
struct fault try_user(void (*fn)(void *arg), void *arg);

typedef void handler_fn(struct regs32 *r);
void on_vector(unsigned vector, handler_fn *fn);
/* type: 0x8e interrupt gate, 0x8f trap gate, 0x85 task gate, plus DPL << 5. */
void set_gate(unsigned vector, u32 offset, u16 selector, u8 type);
/* attr: access byte, and granularity nibble in bits 15:12, as in the descriptor's bits 55:40. limit 20 bits. */
void set_descriptor(unsigned selector, u32 base, u32 limit, u32 attr);
void set_call_gate(unsigned selector, u16 target, u32 offset, unsigned parameters, u8 type);
void *page_alloc(void);

#define DEFINE_CR32(n)                                                                                                 \
    static inline u32 read_cr##n(void)                                                                                 \
    {                                                                                                                  \
        u32 v;                                                                                                         \
        asm volatile("mov %%cr" #n ",%0" : "=r"(v));                                                                   \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void write_cr##n(u32 v)                                                                              \
    {                                                                                                                  \
        asm volatile("mov %0,%%cr" #n : : "r"(v) : "memory");                                                          \
    }
DEFINE_CR32(0)
DEFINE_CR32(2)
DEFINE_CR32(3)
DEFINE_CR32(4)

void test(void);

#endif
