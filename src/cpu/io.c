/*
 * Port permissions: see cpu/io.h. SDM volume 1 section 19.5: IOPL, then the I/O permission bit map of the TSS.
 */
#include "cpu/io.h"

#include "cpu/debug.h"
#include "cpu/fault.h"
#include "cpu/mmu.h"
#include "cpu/segment.h"

#define TSS_IO_MAP 0x66
#define TSS_INDEX  MMU_SUPER_SMAP /* implicit supervisor access */

static u64 tss_address(const struct cpu *c, u32 offset)
{
    u64 linear = c->tr[0].base + offset;
    return cpu_long_mode(c) ? linear : (u32)linear;
}

/* Two bytes of the map are read whatever the size, so both must lie within the TSS. A 16-bit TSS has no map. */
static bool map_allows(struct cpu *c, u16 port, unsigned size)
{
    const struct cpu_seg *tr = &c->tr[0];
    if (!(seg_type(tr) & 8) || tr->limit < TSS_IO_MAP + 1)
        return false;
    u32 at = mmu_load_u16(c, TSS_INDEX, tss_address(c, TSS_IO_MAP)) + port / 8u;
    if (at + 1 > tr->limit)
        return false;
    unsigned map = mmu_load_u16(c, TSS_INDEX, tss_address(c, at));
    return !(map >> (port & 7) & ((1u << size) - 1));
}

void cpu_check_io(struct cpu *c, u16 port, unsigned size)
{
    bool mapped = !cpu_real_mode(c) && (cpu_v86(c) || c->cpl > cpu_iopl(c));
    if (mapped && !map_allows(c, port, size))
        cpu_gp(c, 0);
    if (cpu_debug_watching(c))
        cpu_debug_port(c, port, size);
}
