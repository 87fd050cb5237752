/*
 * The HPET: register accesses and time in any order.
 */
#include "dev_fuzz.h"

#include "dev/pc/hpet.h"
#include "mem/space.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct script s = {.data = data, .size = size};
    struct loop *loop = loop_create();
    loop_set_manual(loop, 0);
    struct mem_space *mem = mem_space_create(loop, MEM_PAGE_SIZE, MEM_PAGE_SIZE, NULL);
    struct hpet *hpet = hpet_create(
        &(struct hpet_config){.mem = mem, .loop = loop, .base = HPET_BASE, .route_cap = (u32)script_value(&s)});
    struct dev *d = (struct dev *)hpet;

    while (script_more(&s)) {
        u8 op = (u8)script_take(&s, 1);
        u64 at = HPET_BASE + (u64)(op >> 2 & 0x3c) * 8; /* every second register, by words */
        unsigned width = 1u << (op >> 2 & 3);
        switch (op & 3) {
        case 0:
            at += script_take(&s, 1);
            mem_io_write(mem, at, script_value(&s), width);
            break;
        case 1:
            (void)mem_io_read(mem, HPET_BASE + (script_take(&s, 2) & 0x3ff), width);
            break;
        case 2:
            script_time(&s, loop);
            break;
        case 3:
            script_state(&s, d);
            break;
        }
    }
    d->cls->destroy(d);
    mem_space_destroy(mem);
    loop_destroy(loop);
    return 0;
}
