/*
 * What a PC's firmware finds in, or writes to, the CMOS RAM: memory sizes, processor count, boot order. Indexes as in
 * QEMU's and SeaBIOS's use of them.
 */
#include "dev/pc/rtc.h"
#include "machine/board.h"
#include "machine/pc.h"

enum {
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_MEMORY = 0x15, /* KiB, word */
    CMOS_EXTENDED = 0x17,    /* KiB above 1 MiB, word; again at 0x30 */
    CMOS_EXTENDED2 = 0x30,
    CMOS_ABOVE_16M = 0x34, /* 64 KiB units, word */
    CMOS_BOOT_ORDER3 = 0x38,
    CMOS_BOOT_ORDER12 = 0x3d,
    CMOS_ABOVE_4G = 0x5b, /* 64 KiB units, three bytes */
    CMOS_LAST_CPU = 0x5f,
};

#define EQUIPMENT_FPU        0x02
#define BASE_MEMORY_KIB      640
#define BOOT_DISK_CDROM      0x32 /* second choice in the high half */
#define BOOT_FLOPPY          0x10
#define BOOT_NO_FLOPPY_CHECK 0x01

static void set_bytes(struct rtc *r, unsigned index, u64 value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        rtc_set_ram(r, index + i, (u8)(value >> (8 * i)));
}

/* How many units of `size > from` lie above `from`, as much as a word can say. */
static u64 units_above(u64 size, u64 from, u64 unit)
{
    u64 units = size > from ? (size - from) / unit : 0;

    return units > UINT16_MAX ? UINT16_MAX : units;
}

void machine_fill_cmos(struct machine *m)
{
    u64 below = mem_space_below_4g(m->mem), above = mem_space_ram(m->mem)->size - below;
    u64 extended = units_above(below, MiB(1), KiB(1));

    rtc_set_ram(m->rtc, CMOS_EQUIPMENT, EQUIPMENT_FPU);
    set_bytes(m->rtc, CMOS_BASE_MEMORY, BASE_MEMORY_KIB, 2);
    set_bytes(m->rtc, CMOS_EXTENDED, extended, 2);
    set_bytes(m->rtc, CMOS_EXTENDED2, extended, 2);
    set_bytes(m->rtc, CMOS_ABOVE_16M, units_above(below, MiB(16), KiB(64)), 2);
    set_bytes(m->rtc, CMOS_ABOVE_4G, above / KiB(64), 3);
    rtc_set_ram(m->rtc, CMOS_BOOT_ORDER12, BOOT_DISK_CDROM);
    rtc_set_ram(m->rtc, CMOS_BOOT_ORDER3, BOOT_FLOPPY | BOOT_NO_FLOPPY_CHECK);
    rtc_set_ram(m->rtc, CMOS_LAST_CPU, (u8)(m->cfg.cpus - 1));
}
