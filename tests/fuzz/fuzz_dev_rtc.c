/*
 * The real-time clock: accesses and time in any order.
 */
#include "dev_fuzz.h"

#include "dev/pc/rtc.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct script s = {.data = data, .size = size};
    struct loop *loop = loop_create();
    loop_set_manual(loop, script_value(&s));
    struct rtc *rtc = rtc_create(&(struct rtc_config){.loop = loop});
    struct dev *d = (struct dev *)rtc;

    while (script_more(&s)) {
        u8 op = (u8)script_take(&s, 1);
        switch (op & 7) {
        case 0:
            rtc_write(rtc, op >> 4, (u8)script_take(&s, 1));
            break;
        case 1:
        case 2: /* the clock's own registers, which are few */
            rtc_write(rtc, 0, op >> 4);
            rtc_write(rtc, 1, (u8)script_take(&s, 1));
            break;
        case 3:
            rtc_write(rtc, 0, op >> 4);
            (void)rtc_read(rtc, 1);
            break;
        case 4:
            (void)rtc_read(rtc, op >> 4);
            break;
        case 5:
            rtc_connect_irq(rtc, op & 0x10);
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
