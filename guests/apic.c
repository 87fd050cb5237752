/*
 * Interrupt controllers and timers: local APIC (xAPIC and x2APIC), its timer in three modes, priorities, self and
 * shorthand IPIs, ExtINT from the 8259s, I/O APIC, 8254, HPET, ACPI PM timer, RTC (SDM volume 3 chapter 10 and the data
 * sheets).
 */
#include "lib/guest.h"

static volatile unsigned hits[256];
static volatile unsigned order[16], orders;

static void eoi_handler(struct regs *r)
{
    hits[r->vector]++;
    if (orders < 16)
        order[orders++] = (unsigned)r->vector;
    apic_write(0xb0, 0);
}

static void pic_handler(struct regs *r)
{
    hits[r->vector]++;
    outb(0x20, 0x20);
}

/* Bounded by turns, so that a timer that never comes is a failure and not a hang. */
static bool wait_for(volatile unsigned *what, unsigned value)
{
    for (u64 n = 0; n < 200000000ull && *what < value; n++)
        asm volatile("pause");
    return *what >= value;
}

static void enable(void)
{
    apic_enable();
    for (unsigned v = 0xa0; v < 0xf0; v++)
        on_vector(v, eoi_handler);
    check((apic_read(0x30) & 0xff) >= 0x10 && (apic_read(0x30) >> 16 & 0xff) >= 4, "version %x", apic_read(0x30));
    check(apic_read(0x20) >> 24 == 0, "APIC ID %x", apic_read(0x20));
}

/* The higher vector first; TPR holds a class back; PPR. */
static void priorities(void)
{
    cli();
    orders = 0;
    apic_write(0x300, 0x40000 | 0xa1);
    apic_write(0x300, 0x40000 | 0xc1);
    apic_write(0x300, 0x40000 | 0xb1);
    check(apic_read(0x200 + 0x10 * (0xc1 / 32)) & 1u << (0xc1 % 32), "IRR");
    write_cr8(0xb);
    check(apic_read(0x80) == 0xb0, "TPR after CR8: %x", apic_read(0x80));
    sti();
    asm volatile("nop; nop");
    cli();
    check(orders == 1 && order[0] == 0xc1, "TPR 0xb0 let %u in, first %x", orders, order[0]);
    apic_write(0x80, 0);
    check(read_cr8() == 0, "CR8 after TPR");
    sti();
    asm volatile("nop; nop");
    cli();
    check(orders == 3 && order[1] == 0xb1 && order[2] == 0xa1, "order %x %x %x", order[0], order[1], order[2]);
}

static void esr(void)
{
    on_vector(5, eoi_handler);
    apic_write(0x280, 0);
    apic_write(0x300, 0x40000 | 0x05); /* illegal vector */
    apic_write(0x280, 0);
    check(apic_read(0x280) & 0x60, "ESR after an illegal vector: %x", apic_read(0x280));
    apic_write(0x280, 0);
    apic_write(0x280, 0);
    check(apic_read(0x280) == 0, "ESR stays: %x", apic_read(0x280));
}

static void timer_modes(void)
{
    apic_write(0x3e0, 0xb); /* divide by 1 */
    hits[0xa2] = 0;
    apic_write(0x320, 0xa2);
    apic_write(0x380, 100000);
    check(apic_read(0x390) <= 100000, "current count");
    sti();
    check(wait_for(&hits[0xa2], 1), "one-shot timer did not fire");
    cli();
    check(apic_read(0x390) == 0, "one-shot count after firing: %x", apic_read(0x390));
    hits[0xa3] = 0;
    apic_write(0x320, 0x20000 | 0xa3);
    apic_write(0x380, 20000);
    sti();
    check(wait_for(&hits[0xa3], 5), "periodic timer: %u", hits[0xa3]);
    apic_write(0x320, 0x10000 | 0xa3);
    cli();
    apic_write(0x380, 0);

    u32 r[4];
    cpuid(1, 0, r);
    if (r[2] >> 24 & 1) {
        hits[0xa4] = 0;
        apic_write(0x320, 0x40000 | 0xa4);
        asm volatile("mfence");
        wrmsr(0x6e0, rdtsc() + 100000);
        sti();
        check(wait_for(&hits[0xa4], 1), "TSC deadline did not fire");
        cli();
        check(rdmsr(0x6e0) == 0, "deadline MSR after firing: %lx", rdmsr(0x6e0));
        apic_write(0x320, 0x10000);
    }
}

/* 8254 channel 0 through the 8259 and LINT0 as ExtINT. */
static void pic_and_pit(void)
{
    for (unsigned v = 0x20; v < 0x30; v++)
        on_vector(v, pic_handler);
    outb(0x20, 0x11), outb(0x21, 0x20), outb(0x21, 4), outb(0x21, 1);
    outb(0xa0, 0x11), outb(0xa1, 0x28), outb(0xa1, 2), outb(0xa1, 1);
    outb(0x21, 0xfe), outb(0xa1, 0xff);
    apic_write(0x350, 0x700);
    outb(0x43, 0x34), outb(0x40, 0xa9), outb(0x40, 0x04); /* 1 kHz */
    hits[0x20] = 0;
    sti();
    check(wait_for(&hits[0x20], 5), "PIT through the PIC: %u", hits[0x20]);
    cli();
    outb(0x21, 0xff);
    apic_write(0x350, 0x10700);
    /* Latch and read back. */
    outb(0x43, 0x00);
    unsigned count = inb(0x40);
    count |= (unsigned)inb(0x40) << 8;
    check(count <= 0x4a9, "latched count %x", count);
    outb(0x43, 0xe2);
    check((inb(0x40) & 0x3f) == 0x34, "status by read-back");
}

static u32 ioapic_read(u8 reg)
{
    *(volatile u32 *)0xfec00000 = reg;
    return *(volatile u32 *)0xfec00010;
}

static void ioapic_write(u8 reg, u32 v)
{
    *(volatile u32 *)0xfec00000 = reg;
    *(volatile u32 *)0xfec00010 = v;
}

static void ioapic(void)
{
    check((ioapic_read(1) >> 16 & 0xff) == 23, "I/O APIC entries: %x", ioapic_read(1));
    ioapic_write(0x10 + 2 * 2 + 1, 0);
    ioapic_write(0x10 + 2 * 2, 0xa5);
    hits[0xa5] = 0;
    sti();
    check(wait_for(&hits[0xa5], 5), "PIT through the I/O APIC pin 2: %u", hits[0xa5]);
    cli();
    ioapic_write(0x10 + 2 * 2, 0x10000);
}

static u8 cmos(u8 reg)
{
    outb(0x70, reg);
    return inb(0x71);
}

static void rtc(void)
{
    u8 b = cmos(0x0b);
    (void)cmos(0x0c);
    ioapic_write(0x10 + 2 * 8 + 1, 0);
    ioapic_write(0x10 + 2 * 8, 0xa6);
    hits[0xa6] = 0;
    outb(0x70, 0x0a), outb(0x71, 0x26); /* 1024 Hz */
    outb(0x70, 0x0b), outb(0x71, b | 0x40);
    sti();
    for (unsigned n = 1; n <= 3; n++) {
        check(wait_for(&hits[0xa6], n), "RTC periodic interrupt: %u", hits[0xa6]);
        check(cmos(0x0c) & 0xc0, "RTC register C");
    }
    cli();
    outb(0x70, 0x0b), outb(0x71, b);
    (void)cmos(0x0c);
    ioapic_write(0x10 + 2 * 8, 0x10000);
    check(cmos(0x0d) & 0x80, "RTC register D");
}

static void hpet(void)
{
    volatile u64 *h = (u64 *)0xfed00000;
    u64 id = h[0];
    if ((u32)id == 0xffffffff)
        return;
    u64 period = id >> 32;
    check(period && period <= 100000000, "HPET period %lu fs", period);
    h[2] = 1;
    u64 a = h[0xf0 / 8];
    for (volatile int n = 0; n < 10000; n++)
        ;
    check(h[0xf0 / 8] > a, "HPET counter stands still");
    /* Comparator 0, one-shot, in 0.1 ms, on I/O APIC pin 2 or any that its capability names. */
    u32 routes = (u32)(h[0x100 / 8] >> 32);
    unsigned pin = 0;
    while (pin < 23 && !(routes >> pin & 1))
        pin++;
    ioapic_write((u8)(0x11 + 2 * pin), 0);
    ioapic_write((u8)(0x10 + 2 * pin), 0xa8);
    hits[0xa8] = 0;
    h[0x100 / 8] = 4 | (u64)pin << 9;
    u64 when;
    do { /* a comparator that is set when its time is over does not fire, and the host may be busy elsewhere */
        when = h[0xf0 / 8] + 100000000000ull / period;
        h[0x108 / 8] = when;
    } while (h[0xf0 / 8] >= when);
    sti();
    check(wait_for(&hits[0xa8], 1), "HPET comparator 0 through pin %u", pin);
    cli();
    h[0x100 / 8] = 0;
    h[2] = 0;
    ioapic_write((u8)(0x10 + 2 * pin), 0x10000);
}

/* x2APIC: the same by MSRs, and the transitions that #GP. */
static void write_apic_base(void *v)
{
    wrmsr(0x1b, (u64)v);
}

static void x2_handler(struct regs *r)
{
    hits[r->vector]++;
    wrmsr(0x80b, 0);
}

static void x2apic(void)
{
    u32 r[4];
    cpuid(1, 0, r);
    if (!(r[2] >> 21 & 1))
        return;
    u64 base = rdmsr(0x1b);
    wrmsr(0x1b, base | 0x400);
    check(rdmsr(0x802) == 0, "x2APIC ID");
    hits[0xa7] = 0;
    on_vector(0xa7, x2_handler);
    wrmsr(0x83f, 0xa7);
    sti();
    asm volatile("nop; nop");
    cli();
    check(hits[0xa7] == 1, "self-IPI register");
    wrmsr(0x830, 0xa7 | 0x40000);
    sti();
    asm volatile("nop; nop");
    cli();
    check(hits[0xa7] == 2, "ICR in x2APIC mode");
    check(try_call(write_apic_base, (void *)(base & ~0x400ull)).vector == 13, "x2APIC to xAPIC must fault");
    wrmsr(0x1b, base & ~0xc00ull);
    wrmsr(0x1b, base);
    check(apic_read(0xf0) == 0xff, "spurious vector register after a disable: %x", apic_read(0xf0));
}

void x2_handler(struct regs *r);
void test(void)
{
    outb(0x21, 0xff), outb(0xa1, 0xff);
    enable();
    priorities();
    esr();
    timer_modes();
    pic_and_pit();
    ioapic();
    rtc();
    hpet();
    x2apic();
}
