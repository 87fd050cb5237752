/*
 * Debug registers and breakpoints: see cpu/debug.h. SDM volume 3 sections 18.2 and 18.3.
 */
#include "cpu/debug.h"

#include "cpu/fault.h"
#include "cpu/mmu.h"

/* DR7's R/W field. */
enum { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

#define DR6_WRITABLE 0xe00full
#define DR7_WRITABLE 0xffff23ffull

static bool break_enabled(const struct cpu *c, unsigned n)
{
    return c->dr[7] >> (2 * n) & 3;
}

static unsigned break_kind(const struct cpu *c, unsigned n)
{
    return c->dr[7] >> (16 + 4 * n) & 3;
}

/* The LEN field: 1, 2, 8, 4. */
static unsigned break_size(const struct cpu *c, unsigned n)
{
    static const u8 sizes[4] = {1, 2, 8, 4};
    return sizes[c->dr[7] >> (18 + 4 * n) & 3];
}

/* Breakpoints are aligned to their size: the low bits of the address do not count. */
static bool break_covers(const struct cpu *c, unsigned n, u64 at, unsigned size)
{
    unsigned len = break_size(c, n);
    return ranges_overlap(align_down(c->dr[n], len), len, at, size);
}

static void note_hits(struct cpu *c, u64 hits)
{
    if (!hits)
        return;
    c->debug_pending |= hits;
    cpu_request_own(c, REQ_DEBUG);
}

void cpu_debug_data(struct cpu *c, u64 linear, unsigned size, bool write)
{
    u64 hits = 0;
    for (unsigned n = 0; n < 4; n++) {
        unsigned kind = break_kind(c, n);
        bool wanted = kind == BREAK_ACCESS || (kind == BREAK_WRITE && write);
        if (break_enabled(c, n) && wanted && break_covers(c, n, linear, size))
            hits |= BIT64(n);
    }
    note_hits(c, hits);
}

void cpu_debug_port(struct cpu *c, u16 port, unsigned size)
{
    u64 hits = 0;
    if (!(c->cr4 & CR4_DE))
        return;
    for (unsigned n = 0; n < 4; n++)
        if (break_enabled(c, n) && break_kind(c, n) == BREAK_IO && break_covers(c, n, port, size))
            hits |= BIT64(n);
    note_hits(c, hits);
}

u64 cpu_debug_fetch(const struct cpu *c, u64 linear)
{
    u64 hits = 0;
    if (c->mode != ISA_64)
        linear = (u32)linear;
    for (unsigned n = 0; n < 4; n++)
        if (break_enabled(c, n) && break_kind(c, n) == BREAK_EXECUTE && c->dr[n] == linear)
            hits |= BIT64(n);
    return hits;
}

u64 cpu_read_dr(struct cpu *c, unsigned n)
{
    return c->dr[n];
}

void cpu_write_dr(struct cpu *c, unsigned n, u64 value)
{
    if (n >= 6 && value >> 32)
        cpu_gp(c, 0);
    if (n == 6) {
        c->dr[6] = (value & DR6_WRITABLE) | DR6_FIXED;
        return;
    }
    bool watched = cpu_debug_watching(c);
    c->dr[n] = n == 7 ? (value & DR7_WRITABLE) | DR7_FIXED : value;
    /* Watched pages have no place in the TLB: accesses to them have to come by cpu_debug_data. */
    if (watched || cpu_debug_watching(c)) {
        mmu_flush_all(c);
        cpu_request_own(c, REQ_DEBUG);
    }
}
