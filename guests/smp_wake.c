/*
 * No wake-up is lost: processors that halt, spin or run with interrupts off for a while are sent interrupts by others
 * and by their own timers, at moments that do not depend on what they do. Each must be taken, and soon.
 */
#include "lib/guest.h"

#define ROUNDS     400
#define VECTOR     0x94
#define VECTOR_TSC 0x95
#define PATIENCE   40000000000ull /* of TSC: more than any host is busy elsewhere */

static unsigned cpus;
static struct line {
    volatile u32 sent, taken, ticks;
} __attribute__((aligned(64))) lines[64];
static volatile bool stop;

static void on_ipi(struct regs *r)
{
    struct line *l = &lines[this_cpu()];
    l->taken = l->sent;
    apic_write(0xb0, 0);
}

static void on_timer(struct regs *r)
{
    lines[this_cpu()].ticks++;
    apic_write(0xb0, 0);
}

static void delay(u32 turns)
{
    for (volatile u32 n = 0; n < turns; n++)
        ;
}

/* Kernels' idle loops: what is there to do is looked at with interrupts off; STI takes effect behind HLT. */
static void idle_halt(struct line *l)
{
    for (u32 seen = 0; !stop;) {
        cli();
        if (l->taken == seen)
            asm volatile("sti; hlt" : : : "memory");
        seen = l->taken;
        sti();
        delay(seen % 61);
    }
}

static void idle_flags(struct line *l)
{
    while (!stop) {
        u64 flags = read_rflags();
        cli();
        delay(l->taken % 31);
        asm volatile("push %0; popfq" : : "r"(flags) : "memory", "cc");
    }
}

static void idle_spin(struct line *l)
{
    while (!stop)
        asm volatile("pause" : : : "memory");
}

static void idle_tight(struct line *l)
{
    asm volatile("1: cmpb $0,%0; je 1b" : : "m"(stop) : "memory", "cc");
}

static void sleeper(void *arg)
{
    void (*idle)(struct line *) = arg;
    sti();
    idle(&lines[this_cpu()]);
    cli();
}

static bool answered(volatile u32 *word, u32 want)
{
    for (u64 start = rdtsc(); *word != want;) {
        if (rdtsc() - start > PATIENCE)
            return false;
        asm volatile("pause");
    }
    return true;
}

static void with(void (*idle)(struct line *), const char *name)
{
    stop = false;
    for (unsigned n = 1; n < cpus; n++)
        smp_post(n, sleeper, idle);
    for (u32 round = 1; round <= ROUNDS; round++) {
        unsigned n = 1 + round % (cpus - 1);
        u32 want = lines[n].sent + 1;
        lines[n].sent = want;
        delay(random32() % 200);
        apic_ipi(n, 0x4000 | VECTOR);
        if (!answered(&lines[n].taken, want)) {
            check(false, "%s: processor %u has not taken the interrupt of round %u", name, n, round);
            break;
        }
    }
    stop = true;
    for (unsigned n = 1; n < cpus; n++)
        apic_ipi(n, 0x4000 | VECTOR);
    for (unsigned n = 1; n < cpus; n++)
        smp_wait(n);
}

/* All of them sleep, and nobody wakes them but their own timers. */
static void timers(void *arg)
{
    struct line *l = &lines[this_cpu()];
    apic_write(0x320, VECTOR_TSC | 2 << 17);
    for (u32 round = 1; round <= ROUNDS / 4; round++) {
        u32 before = l->ticks;
        cli();
        wrmsr(0x6e0, rdtsc() + random32() % 200000);
        while (l->ticks == before)
            asm volatile("sti; hlt; cli" : : : "memory");
    }
    apic_write(0x320, 1 << 16);
}

void test(void)
{
    cpus = cpu_count();
    smp_start();
    on_vector(VECTOR, on_ipi);
    on_vector(VECTOR_TSC, on_timer);
    smp_call_all(cpus, timers, NULL);
    if (cpus < 2)
        return;
    with(idle_halt, "halt");
    with(idle_flags, "flags");
    with(idle_spin, "spin");
    with(idle_tight, "tight loop");
}
