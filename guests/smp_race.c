/*
 * Several processors: start-up, locked operations, message passing in order, cross-modifying code, TLB shootdown by
 * IPI, split locks. Run with any number of processors; with one it checks what one can.
 */
#include "lib/guest.h"

#define ROUNDS 20000

static unsigned cpus;
static volatile u64 counter, counter2, split_counter_area[32] __attribute__((aligned(64)));
static volatile u64 plain[64][8];

static volatile u64 *split_counter(void)
{
    return (volatile u64 *)((u64)split_counter_area + 64 - 3); /* across two cache lines */
}

static void count_up(void *arg)
{
    for (unsigned n = 0; n < ROUNDS; n++) {
        asm volatile("lock incq %0" : "+m"(counter));
        u64 old = counter2, new;
        do
            new = old + 3;
        while (!__atomic_compare_exchange_n(&counter2, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
        asm volatile("lock addq $5,%0" : "+m"(*split_counter()));
    }
}

static void locked(void)
{
    counter = counter2 = 0;
    *split_counter() = 0;
    smp_call_all(cpus, count_up, NULL);
    check(counter == (u64)ROUNDS * cpus, "lock inc: %lu", counter);
    check(counter2 == 3ull * ROUNDS * cpus, "cmpxchg: %lu", counter2);
    check(*split_counter() == 5ull * ROUNDS * cpus, "split lock add: %lu", *split_counter());
}

/* A lock made of XCHG around plain increments. */
static volatile u32 lock_word;
static void with_lock(void *arg)
{
    for (unsigned n = 0; n < ROUNDS / 4; n++) {
        u32 v = 1;
        for (;;) {
            asm volatile("xchg %0,%1" : "+r"(v), "+m"(lock_word) : : "memory");
            if (!v)
                break;
            asm volatile("pause");
        }
        plain[0][0] = plain[0][0] + 1;
        plain[1][0] = plain[1][0] + 1;
        asm volatile("" : : : "memory");
        lock_word = 0;
    }
}

/* Message passing: stores become visible in order (SDM volume 3 section 8.2.3). */
static volatile u64 data, flag, turns_seen;
static void reader(void *arg)
{
    for (u64 n = 1; n <= ROUNDS / 2; n++) {
        while (flag < n)
            asm volatile("pause");
        u64 d = data;
        if (d < n)
            check(false, "stores out of order: data %lu flag %lu", d, n);
        turns_seen = n;
    }
}

static void messages(void)
{
    if (cpus < 2)
        return;
    data = flag = turns_seen = 0;
    smp_post(1, reader, NULL);
    for (u64 n = 1; n <= ROUNDS / 2; n++) {
        data = n;
        asm volatile("" : : : "memory");
        flag = n;
        if (n % 64 == 0)
            while (turns_seen < n)
                asm volatile("pause");
    }
    smp_wait(1);
}

/* Cross-modifying code by the SDM's rule: write, flag, serialise, run (volume 3 section 8.1.3). */
static u8 *code;
static volatile u32 version, ran;
static void run_code(void *arg)
{
    for (u32 n = 1; n <= 500; n++) {
        while (version != n)
            asm volatile("pause");
        u32 r[4], v;
        cpuid(0, 0, r);
        asm volatile("call *%1" : "=a"(v) : "r"(code) : "memory");
        check(v == n, "cross-modified code returned %x in round %x", v, n);
        ran = n;
    }
}

static void cross_modify(void)
{
    if (cpus < 2)
        return;
    code = page_alloc();
    code[0] = 0xb8, code[5] = 0xc3;
    version = ran = 0;
    smp_post(1, run_code, NULL);
    for (u32 n = 1; n <= 500; n++) {
        __builtin_memcpy(code + 1, &n, 4);
        asm volatile("" : : : "memory");
        version = n;
        while (ran != n)
            asm volatile("pause");
    }
    smp_wait(1);
}

/* A page is taken away on all processors: after the shootdown's answer nobody may use the old translation. */
#define SHOT_VA 0x28000000000ull
static volatile u32 generation, acknowledged[64];
static volatile bool stop;

static void shootdown_ipi(struct regs *r)
{
    invlpg((void *)SHOT_VA);
    acknowledged[this_cpu()] = generation;
    apic_write(0xb0, 0);
}

static void toucher(void *arg)
{
    sti();
    while (!stop) {
        u32 answered = acknowledged[this_cpu()];
        u32 seen = *(volatile u32 *)SHOT_VA;
        if (seen < answered)
            check(false, "old translation used after the shootdown: %u < %u", seen, answered);
    }
    cli();
}

static void shootdown(void)
{
    if (cpus < 2)
        return;
    u32 *pages[2] = {page_alloc(), page_alloc()};
    map_page(SHOT_VA, (u64)pages[0], PTE_P | PTE_W);
    on_vector(0x93, shootdown_ipi);
    generation = 0, stop = false;
    for (unsigned n = 1; n < cpus; n++)
        smp_post(n, toucher, NULL);
    for (u32 n = 1; n <= 300; n++) {
        *pages[n & 1] = n;
        *page_entry(SHOT_VA, 1) = (u64)pages[n & 1] | PTE_P | PTE_W;
        invlpg((void *)SHOT_VA);
        generation = n;
        apic_write(0x300, 0xc4093); /* all excluding self, fixed, vector 0x93 */
        for (unsigned k = 1; k < cpus; k++)
            while (acknowledged[k] != n)
                asm volatile("pause");
    }
    stop = true;
    for (unsigned n = 1; n < cpus; n++)
        smp_wait(n);
}

void test(void)
{
    cpus = cpu_count();
    smp_start();
    print("%u processors\n", cpus);
    locked();
    smp_call_all(cpus, with_lock, NULL);
    check(plain[0][0] == (u64)ROUNDS / 4 * cpus && plain[1][0] == plain[0][0], "lock by XCHG: %lu %lu", plain[0][0],
          plain[1][0]);
    messages();
    cross_modify();
    shootdown();
}
