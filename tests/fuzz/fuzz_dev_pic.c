/*
 * The two 8259A: register accesses by ports, input lines and acknowledges in any order. An acknowledge gives a vector.
 */
#include "dev_fuzz.h"

#include "dev/pc/pic.h"
#include "mem/space.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u16 ports[8] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x20, 0xa0};
    struct script s = {.data = data, .size = size};
    struct mem_space *mem = mem_space_create(NULL, MEM_PAGE_SIZE, MEM_PAGE_SIZE, NULL);
    struct pic *pic = pic_create(&(struct pic_config){.mem = mem});
    struct dev *d = (struct dev *)pic;

    while (script_more(&s)) {
        u8 op = (u8)script_take(&s, 1);
        struct irq_line line = pic_line(pic, op >> 4);
        switch (op & 7) {
        case 0:
        case 1:
            mem_port_write(mem, ports[op >> 4 & 7], (u32)script_take(&s, 2), op & 0x80 ? 2 : 1);
            break;
        case 2:
            (void)mem_port_read(mem, ports[op >> 4 & 7], op & 0x80 ? 4 : 1);
            break;
        case 3:
        case 4:
            irq_set(&line, op & 1);
            break;
        case 5:
        case 6:
            if ((unsigned)pic_ack(pic) > 255)
                abort();
            break;
        case 7:
            script_state(&s, d);
            break;
        }
    }
    d->cls->destroy(d);
    mem_space_destroy(mem);
    return 0;
}
