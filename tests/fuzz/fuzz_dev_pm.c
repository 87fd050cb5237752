/*
 * The ACPI PM block: accesses of any width and place, events and time in any order.
 */
#include "dev_fuzz.h"

#include "dev/pc/pm.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct script s = {.data = data, .size = size};
    struct loop *loop = loop_create();
    loop_set_manual(loop, 0);
    struct pm *pm = pm_create(&(struct pm_config){.loop = loop, .timer32 = script_take(&s, 1) & 1});
    struct dev *d = (struct dev *)pm;

    while (script_more(&s)) {
        u8 op = (u8)script_take(&s, 1);
        u32 off = op & 0x80 ? op >> 3 & 15 : (u32)script_take(&s, 1) & (PM_SIZE - 1);
        static const u8 sizes[4] = {1, 2, 4, 2};
        unsigned width = sizes[op >> 3 & 3];
        switch (op & 7) {
        case 0:
        case 1:
            pm_write(pm, off, (u32)script_take(&s, width), width);
            break;
        case 2:
        case 3:
            (void)pm_read(pm, off, width);
            break;
        case 4:
            pm_gpe(pm, op >> 3);
            break;
        case 5:
            pm_power_button(pm);
            break;
        case 6:
            script_time(&s, loop);
            break;
        case 7:
            script_state(&s, d);
            break;
        }
    }
    d->cls->destroy(d);
    loop_destroy(loop);
    return 0;
}
