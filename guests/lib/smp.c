/* Other processors: started by INIT and SIPI as the SDM's volume 3 section 8.4 says, then waiting for work. */
#include "lib/guest.h"

#define MAX_CPUS 64
#define AP_PAGE  0x8000

extern const char ap_start[], ap_end[];
extern volatile u64 ap_stack;
void ap_main(void);
void runtime_load_tables(unsigned cpu);

static struct work {
    void (*volatile fn)(void *);
    void *volatile arg;
} work[MAX_CPUS];
static volatile unsigned started = 1;
static u8 stacks[MAX_CPUS][16384] __attribute__((aligned(16)));

void apic_enable(void)
{
    apic_write(0xf0, 0x1ff);
}

unsigned this_cpu(void)
{
    u32 r[4];
    cpuid(1, 0, r);
    return r[1] >> 24;
}

/* fw_cfg item FW_CFG_NB_CPUS (5). */
unsigned cpu_count(void)
{
    outw(0x510, 5);
    unsigned low = inb(0x511);
    return low | (unsigned)inb(0x511) << 8;
}

void ap_main(void)
{
    unsigned n = this_cpu();
    runtime_load_tables(n);
    apic_enable();
    __atomic_fetch_add(&started, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        if (work[n].fn) {
            work[n].fn(work[n].arg);
            __atomic_store_n(&work[n].fn, NULL, __ATOMIC_RELEASE);
        }
        asm volatile("pause");
    }
}

void apic_ipi(unsigned cpu, u32 command)
{
    apic_write(0x310, cpu << 24);
    apic_write(0x300, command);
    while (apic_read(0x300) & 1 << 12)
        ;
}

void smp_start(void)
{
    apic_enable();
    for (const char *s = ap_start; s < ap_end; s++)
        *(volatile char *)(u64)(AP_PAGE + (s - ap_start)) = *s;
    for (unsigned n = 1; n < cpu_count() && n < MAX_CPUS; n++) {
        ap_stack = (u64)(stacks[n] + sizeof(stacks[n]) - 16);
        apic_ipi(n, 0x4500);
        apic_ipi(n, 0x4600 | AP_PAGE >> 12);
        while (started != n + 1)
            asm volatile("pause");
    }
}

void smp_post(unsigned cpu, void (*fn)(void *), void *arg)
{
    smp_wait(cpu);
    work[cpu].arg = arg;
    __atomic_store_n(&work[cpu].fn, fn, __ATOMIC_RELEASE);
}

void smp_wait(unsigned cpu)
{
    while (__atomic_load_n(&work[cpu].fn, __ATOMIC_ACQUIRE))
        asm volatile("pause");
}

void smp_call_all(unsigned cpus, void (*fn)(void *), void *arg)
{
    for (unsigned n = 1; n < cpus; n++)
        smp_post(n, fn, arg);
    fn(arg);
    for (unsigned n = 1; n < cpus; n++)
        smp_wait(n);
}

void smp_call(unsigned cpu, void (*fn)(void *), void *arg)
{
    smp_post(cpu, fn, arg);
    smp_wait(cpu);
}
