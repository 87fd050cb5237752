/*
 * The run-time of the test guests: what a freestanding 64-bit guest needs to try something, see what happens and say
 * so. A guest defines `void test(void)`, calls check() for each fact, and the run-time prints PASS or FAIL on COM1 and
 * leaves by the debug exit (port 0xf4): status 1 for PASS, 3 for FAIL.
 *
 * Memory: low 4 GiB are mapped one to one for the supervisor by 2 MiB pages; the low 1 GiB is mapped again at USER_BASE
 * with the user bit, so that user_addr(p) is where CPL 3 sees p.
 */
#ifndef GUEST_H
#define GUEST_H

#include "lib/print.h"

#define USER_BASE 0x8000000000ull
#define PAGE      4096ull

/* Selectors of the initial GDT (start64.S). */
enum {
    SEL_CODE64 = 0x08,
    SEL_DATA = 0x10,
    SEL_CODE32 = 0x18,
    SEL_CODE16 = 0x20,
    SEL_DATA16 = 0x28,
    SEL_USER_CODE32 = 0x33,
    SEL_USER_DATA = 0x3b,
    SEL_USER_CODE64 = 0x43,
    SEL_TSS = 0x48,
    SEL_FREE = 0x60, /* up to GDT_ENTRIES * 8 */
};
#define GDT_ENTRIES 32
extern u64 gdt[GDT_ENTRIES];
extern u64 pml4[512], pml4_user_pdpt[512];

struct idt_gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_mid;
    u32 offset_high, zero;
} __attribute__((packed));
extern struct idt_gate idt[256];

struct tss64 {
    u32 zero0;
    u64 rsp[3];
    u64 zero1;
    u64 ist[7];
    u64 zero2;
    u16 zero3, iomap;
    u8 bitmap[8193];
} __attribute__((packed));
extern struct tss64 tss;

/* What an interrupt handler sees; a handler may change it. */
struct regs {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};

/* Own handler for a vector; NULL takes it away. Called on the interrupt stack with interrupts off. */
typedef void handler_fn(struct regs *r);
void on_vector(unsigned vector, handler_fn *fn);
void set_gate(unsigned vector, void (*entry)(void), u16 selector, u8 type_dpl, u8 ist);

/* The exception that ended fn(arg), or vector -1 if it returned. */
struct fault {
    int vector;
    u64 error, rip, cs, rflags, rsp, cr2;
};
struct fault try_call(void (*fn)(void *arg), void *arg);
/* The same at CPL 3. fn must be written in this program (it runs at user_addr(fn)). */
struct fault try_user(void (*fn)(void *arg), void *arg);

static inline void *user_addr(const volatile void *p)
{
    return (void *)((u64)p + USER_BASE);
}

void *page_alloc(void); /* a zeroed page below 4 GiB */
/* Maps one 4 KiB page in the current PML4; flags are the PTE's low and NX bits. Upper levels are P, RW and U. */
void map_page(u64 linear, u64 physical, u64 flags);
u64 *page_entry(u64 linear, int level); /* level 1 = PTE .. 4 = PML4E; NULL if not there */
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PWT = 8, PTE_PCD = 16, PTE_A = 32, PTE_D = 64, PTE_PS = 128, PTE_G = 256 };
#define PTE_NX (1ull << 63)

/* Other processors: start all, run fn(n) on each (1..count-1). */
unsigned cpu_count(void);
void smp_start(void);
void smp_call(unsigned cpu, void (*fn)(void *), void *arg); /* waits until it returned */
void smp_post(unsigned cpu, void (*fn)(void *), void *arg); /* does not */
void smp_wait(unsigned cpu);
void smp_call_all(unsigned cpus, void (*fn)(void *), void *arg); /* on all of them at once, this one too, which is 0 */
unsigned this_cpu(void);                                         /* by APIC ID */

u32 random32(void);

static inline u8 inb(u16 port)
{
    u8 v;
    asm volatile("inb %1,%0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u16 inw(u16 port)
{
    u16 v;
    asm volatile("inw %1,%0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    asm volatile("inl %1,%0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline void outb(u16 port, u8 v)
{
    asm volatile("outb %0,%1" : : "a"(v), "Nd"(port));
}
static inline void outw(u16 port, u16 v)
{
    asm volatile("outw %0,%1" : : "a"(v), "Nd"(port));
}
static inline void outl(u16 port, u32 v)
{
    asm volatile("outl %0,%1" : : "a"(v), "Nd"(port));
}

#define DEFINE_CR(n)                                                                                                   \
    static inline u64 read_cr##n(void)                                                                                 \
    {                                                                                                                  \
        u64 v;                                                                                                         \
        asm volatile("mov %%cr" #n ",%0" : "=r"(v));                                                                   \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void write_cr##n(u64 v)                                                                              \
    {                                                                                                                  \
        asm volatile("mov %0,%%cr" #n : : "r"(v) : "memory");                                                          \
    }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)
DEFINE_CR(8)

static inline u64 rdmsr(u32 msr)
{
    u32 a, d;
    asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
    return (u64)d << 32 | a;
}
static inline void wrmsr(u32 msr, u64 v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
    u32 a, d;
    asm volatile("rdtsc" : "=a"(a), "=d"(d) : : "memory");
    return (u64)d << 32 | a;
}
static inline void invlpg(const volatile void *p)
{
    asm volatile("invlpg (%0)" : : "r"(p) : "memory");
}
static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
    asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(sub));
}
static inline u64 read_rflags(void)
{
    u64 v;
    asm volatile("pushfq; pop %0" : "=r"(v));
    return v;
}
static inline void cli(void)
{
    asm volatile("cli" : : : "memory");
}
static inline void sti(void)
{
    asm volatile("sti" : : : "memory");
}

/* The local APIC, in xAPIC mode unless the guest changed it. */
#define APIC_BASE 0xfee00000ull
static inline u32 apic_read(u32 reg)
{
    return *(volatile u32 *)(APIC_BASE + reg);
}
static inline void apic_write(u32 reg, u32 v)
{
    *(volatile u32 *)(APIC_BASE + reg) = v;
}
void apic_enable(void);
void apic_ipi(unsigned cpu, u32 command); /* to one; `command` as ICR has it. Waits until it is sent */

void test(void);

#endif
