/*
 * The 8254 and port 0x61: accesses and time in any order.
 */
#include "dev_fuzz.h"

#include "dev/pc/pit.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct script s = {.data = data, .size = size};
    struct loop *loop = loop_create();
    loop_set_manual(loop, 0);
    struct pit *pit = pit_create(&(struct pit_config){.loop = loop});
    struct dev *d = (struct dev *)pit;

    while (script_more(&s)) {
        u8 op = (u8)script_take(&s, 1);
        switch (op & 7) {
        case 0:
        case 1:
            pit_write(pit, op >> 4, (u8)script_take(&s, 1));
            break;
        case 2:
            (void)pit_read(pit, op >> 4);
            break;
        case 3:
            pit_write_port61(pit, op >> 4);
            break;
        case 4:
            (void)pit_read_port61(pit);
            break;
        case 5:
            pit_connect_irq(pit, op & 0x10);
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
