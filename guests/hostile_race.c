/*
 * Races between processors: entries of page tables taken away while others write through them (SDM volume 3 section
 * 4.8: a processor sets the dirty bit before it writes, and only in an entry that is present; 4.10.5: after the
 * shootdown nobody uses the old translation), code that others run while it is written, with and without
 * serialisation (8.1.3), locked operations across lines and pages that meet others on parts of the same bytes (8.1.2),
 * page tables full of rubbish that changes under the walk. Run with one processor it checks what one can.
 */
#include "lib/guest.h"

#define VA        0x28000000000ull
#define LOCK_VA   0x29000000000ull
#define JUNK_VA   0x2a000000000ull
#define VECTOR    0x93
#define MAX_CPUS  64
#define JUNK      6
#define PTE_FRAME 0xffffffffff000ull

static unsigned cpus;
static volatile bool stop;
static volatile u64 faults[MAX_CPUS][8];

static void post_others(void (*fn)(void *))
{
    stop = false;
    for (unsigned n = 1; n < cpus; n++)
        smp_post(n, fn, NULL);
}

static void end_others(void)
{
    stop = true;
    for (unsigned n = 1; n < cpus; n++)
        smp_wait(n);
}

/* Not by PAUSE, which gives the processor's time to another. */
static void delay(unsigned turns)
{
    while (turns--)
        asm volatile("nop");
}

/* Turns of a race in which all wait for each other. */
static unsigned rounds(unsigned most)
{
    return cpus > 2 ? most / 8 : most;
}

static void serialize(void)
{
    u32 r[4];
    cpuid(0, 0, r);
}

/* ------ shootdowns ------ */

static volatile u32 generation, acknowledged[MAX_CPUS];
static volatile u64 flush_by; /* 0 INVLPG, 1 CR3 */

static void shootdown_ipi(struct regs *r)
{
    if (flush_by)
        write_cr3(read_cr3());
    else
        invlpg((void *)VA);
    acknowledged[this_cpu()] = generation;
    apic_write(0xb0, 0);
}

static void shoot_down(void)
{
    flush_by = generation & 1;
    invlpg((void *)VA);
    generation++;
    apic_write(0x300, 0xc4000 | VECTOR);
    for (unsigned n = 1; n < cpus; n++)
        while (acknowledged[n] != generation)
            asm volatile("pause");
}

/* The entry is missing for a while: tried again until it is not. */
static void fault_again(struct regs *r)
{
    faults[this_cpu()][0]++;
}

static void write_hard(void *arg)
{
    u64 n = 0;
    volatile u64 *mine = (u64 *)VA + this_cpu() * 8;
    sti();
    while (!stop)
        for (unsigned k = 0; k < 50; k++)
            *mine = ++n;
    cli();
}

static u64 sum_page(const volatile u64 *page)
{
    u64 sum = 0;
    for (unsigned n = 0; n < 512; n++)
        sum += page[n];
    return sum;
}

static void dirty_bits(void)
{
    if (cpus < 2)
        return;
    u64 *frame = page_alloc(), clean = 0;
    map_page(VA, (u64)frame, PTE_P | PTE_W);
    u64 *entry = page_entry(VA, 1);
    *entry = 0; /* whoever has seen it dirty may write without saying so again */
    on_vector(14, fault_again);
    post_others(write_hard);
    for (unsigned n = 0; n < rounds(400); n++) {
        u64 before = sum_page(frame);
        *entry = (u64)frame | PTE_P | PTE_W;
        delay(n * 37 % 5000);
        u64 old = __atomic_exchange_n(entry, 0, __ATOMIC_SEQ_CST);
        shoot_down();
        u64 after = sum_page(frame);
        if (!(old & PTE_D)) {
            check(after == before, "round %u: written without the dirty bit", n);
            clean++;
        }
        check(*entry == 0, "round %u: an entry that was taken away became %lx", n, *entry);
        delay(1000);
        check(sum_page(frame) == after, "round %u: written after the shootdown", n);
    }
    *entry = (u64)frame | PTE_P | PTE_W;
    end_others();
    on_vector(14, NULL);
}

/* Reads, calls and writes of a page that is another after each shootdown. */
static u64 *swap_frames[2];
static void use_hard(void *arg)
{
    unsigned me = this_cpu();
    sti();
    while (!stop) {
        u32 v, answered = acknowledged[me];
        u32 seen = ((volatile u32 *)VA)[16];
        asm volatile("call *%1" : "=a"(v) : "r"(VA) : "memory");
        ((volatile u32 *)VA)[256 + me * 16] = answered;
        if (seen < answered || v < answered)
            check(false, "processor %u: old page after the shootdown: read %u, call %u, want %u", me, seen, v,
                  answered);
    }
    cli();
}

static void put_return(volatile u8 *at, u32 v)
{
    at[0] = 0xb8;
    for (unsigned n = 0; n < 4; n++)
        at[1 + n] = (u8)(v >> (8 * n));
    at[5] = 0xc3;
}

static void swapped_pages(void)
{
    if (cpus < 2)
        return;
    swap_frames[0] = page_alloc(), swap_frames[1] = page_alloc();
    map_page(VA, (u64)swap_frames[0], PTE_P | PTE_W);
    u64 *entry = page_entry(VA, 1);
    put_return((u8 *)swap_frames[0], generation);
    ((volatile u32 *)swap_frames[0])[16] = generation;
    post_others(use_hard);
    for (unsigned n = 0; n < rounds(300); n++) {
        u64 *frame = swap_frames[(n & 1) ^ 1];
        put_return((u8 *)frame, generation + 1);
        ((volatile u32 *)frame)[16] = generation + 1;
        *entry = (u64)frame | PTE_P | PTE_W;
        shoot_down();
    }
    end_others();
}

/* ------ code ------ */

static u8 *code;
static volatile u32 published;

/* What is called after a serialising instruction is at least as new as what was published before it. */
static void call_hard(void *arg)
{
    while (!stop) {
        u32 v, before = published;
        serialize();
        asm volatile("call *%1" : "=a"(v) : "r"(code + 3) : "memory");
        u32 after = published;
        if (v < before || v > after + 1)
            check(false, "code of version %u to %u returned %u", before, after + 1, v);
        for (unsigned n = 0; n < 20; n++) {
            asm volatile("call *%1" : "=a"(v) : "r"(code + 3) : "memory");
            if (v < before || v > published + 1)
                check(false, "code of version %u on returned %u", before, v);
        }
    }
}

/* The immediate is aligned: each store of it is seen whole or not at all. */
static void patched_code(void)
{
    if (cpus < 2)
        return;
    code = page_alloc();
    put_return(code + 3, 0);
    published = 0;
    post_others(call_hard);
    for (u32 n = 1; n < rounds(1500); n++) {
        *(volatile u32 *)(code + 4) = n;
        published = n;
        delay(n * 41 % 2000);
    }
    end_others();
}

/* All in one page: each writes its own function and calls it at once. */
static void write_and_call(void *arg)
{
    volatile u8 *mine = code + 128 + this_cpu() * 64;
    for (u32 n = 0; n < 400; n++) {
        u32 v;
        put_return(mine, n * 7);
        asm volatile("call *%1" : "=a"(v) : "r"(mine) : "memory");
        if (v != n * 7)
            check(false, "processor %u, round %u: its own code was old: %u", this_cpu(), n, v / 7);
    }
}

/* ------ locks ------ */

#define TURNS 3000
static u8 *lock_page; /* two pages that lie apart, at LOCK_VA and LOCK_VA + PAGE */

static void lock_hard(void *arg)
{
    unsigned me = this_cpu();
    volatile u64 *edge = (u64 *)(LOCK_VA + PAGE - 4), *line = (u64 *)(LOCK_VA + 60), *odd = (u64 *)(LOCK_VA + 129);
    volatile u32 *high = (u32 *)(LOCK_VA + PAGE), *bits = (u32 *)(LOCK_VA + 256);
    volatile u32 *low_line = (u32 *)(LOCK_VA + 60);
    for (unsigned n = 0; n < TURNS; n++) {
        asm volatile("lock addq %1,%0" : "+m"(*odd) : "r"(0x100000001ull));
        asm volatile("lock addq %1,%0" : "+m"(*line) : "r"(0x100000001ull));
        asm volatile("lock incl %0" : "+m"(*low_line));
        if (n % 8 == 0) {
            asm volatile("lock addq %1,%0" : "+m"(*edge) : "r"(0x100000001ull));
            asm volatile("lock incl %0" : "+m"(*high));
        }
        u64 bit = me * TURNS + n;
        asm volatile("lock btsq %1,%0" : "+m"(*bits) : "r"(bit) : "memory");
        u64 old = *odd, new;
        do
            new = old + 2;
        while (!__atomic_compare_exchange_n(odd, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    }
}

static void locks(void)
{
    lock_page = page_alloc();
    page_alloc();
    u8 *second = page_alloc();
    map_page(LOCK_VA, (u64)lock_page, PTE_P | PTE_W);
    map_page(LOCK_VA + PAGE, (u64)second, PTE_P | PTE_W);
    smp_call_all(cpus, lock_hard, NULL);
    u64 n = (u64)TURNS * cpus, e = (u64)(TURNS / 8) * cpus;
    check(*(u64 *)(LOCK_VA + 129) == n * 0x100000001 + 2 * n, "misaligned: %lx", *(u64 *)(LOCK_VA + 129));
    check(*(u64 *)(LOCK_VA + 60) == n * 0x100000001 + n, "across lines: %lx", *(u64 *)(LOCK_VA + 60));
    check(*(u64 *)(LOCK_VA + PAGE - 4) == e * 0x100000001 + (e << 32), "across pages: %lx",
          *(u64 *)(LOCK_VA + PAGE - 4));
    for (u64 k = 0; k < n; k++)
        if (!(((u8 *)(LOCK_VA + 256))[k / 8] >> k % 8 & 1)) {
            check(false, "bit %lu is missing", k);
            break;
        }
}

/* ------ rubbish ------ */

static u64 *junk[JUNK];

/* Read-only, and no table but junk: rubbish must not lead the walk to set bits in this program. */
static u64 junk_entry(void)
{
    static const u64 odd[] = {0xfee00000, 0xfffff000, 0x10000000, 0xfffffffff000, 0xfec00000, 0xa0000, 0xe0000};
    u64 r = (u64)random32() << 32 | random32();
    u64 frame = r % 3 ? (u64)junk[r / 3 % JUNK] : odd[r / 3 % (sizeof(odd) / sizeof(odd[0]))];
    u64 flags = r >> 20 & 0x1fd;
    return frame | flags | (r >> 40 & 1 ? PTE_P : 0) | (r >> 41 & 7 ? 0 : PTE_NX) | (r >> 44 & 31 ? 0 : 1ull << 51);
}

static void read_there(void *arg)
{
    (void)*(volatile u64 *)arg;
}

static void add_there(void *arg)
{
    asm volatile("lock addl $0,(%0)" : : "r"(arg) : "memory");
}

static void read_junk(void *arg)
{
    u64 n = 12345 + this_cpu();
    while (!stop) {
        n = n * 6364136223846793005ull + 1442695040888963407ull;
        struct fault f = try_call(n >> 60 ? read_there : add_there, (void *)(JUNK_VA + (n >> 16 & 0x7ffffffff8)));
        if (f.vector != -1 && f.vector != 14)
            check(false, "an access through rubbish raised %d", f.vector);
        write_cr3(read_cr3());
    }
}

static void rubbish(void)
{
    for (unsigned n = 0; n < JUNK; n++)
        junk[n] = page_alloc();
    pml4[JUNK_VA >> 39 & 511] = (u64)junk[0] | PTE_P;
    post_others(read_junk);
    u64 n = 1;
    for (unsigned k = 0; k < 30000; k++) {
        junk[random32() % JUNK][random32() % 512] = junk_entry();
        if (k % 16)
            continue;
        n = n * 6364136223846793005ull + 1442695040888963407ull;
        struct fault f = try_call(read_there, (void *)(JUNK_VA + (n >> 16 & 0x7ffffffff8)));
        check(f.vector == -1 || f.vector == 14, "an access through rubbish raised %d", f.vector);
    }
    end_others();
    pml4[JUNK_VA >> 39 & 511] = 0;
    write_cr3(read_cr3());
}

/* ------ interrupts from others ------ */

static void count_ipi(struct regs *r)
{
    faults[this_cpu()][1]++;
    apic_write(0xb0, 0);
}

static u64 churn(u64 v)
{
    u64 a = v, b = ~v, c = 0;
    asm volatile("mov $200000,%%ecx\n"
                 "1: add %0,%1; adc %1,%2; rol $13,%0; xor %2,%0; push %0; push %1; pop %0; pop %1; lea (%0,%1,2),%2\n"
                 "dec %%ecx; jnz 1b"
                 : "+r"(a), "+r"(b), "+r"(c)
                 :
                 : "rcx", "cc", "memory");
    return a + b * 3 + c * 5;
}

static volatile u64 churned[MAX_CPUS];
static void churn_hard(void *arg)
{
    sti();
    churned[this_cpu()] = churn(77);
    cli();
}

static void ipi_storm(void)
{
    if (cpus < 2)
        return;
    u64 want = churn(77);
    on_vector(0x94, count_ipi);
    for (unsigned n = 1; n < cpus; n++)
        churned[n] = 0;
    post_others(churn_hard);
    for (unsigned n = 1; n < cpus; n++)
        for (unsigned k = 0; !churned[n] && k < 20000; k++) {
            apic_write(0x300, 0xc4094);
            delay(k * 29 % 3000);
        }
    end_others();
    for (unsigned n = 1; n < cpus; n++)
        check(churned[n] == want, "processor %u: %lu interrupts changed what it computed", n, faults[n][1]);
}

void test(void)
{
    cpus = cpu_count();
    smp_start();
    on_vector(VECTOR, shootdown_ipi);
    dirty_bits();
    swapped_pages();
    patched_code();
    code = page_alloc();
    smp_call_all(cpus, write_and_call, NULL);
    locks();
    rubbish();
    ipi_storm();
}
