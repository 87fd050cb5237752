/*
 * The board's ports and windows as one guest sees them: PCI configuration, PAM, BARs, serial port, keyboard controller,
 * fw_cfg with DMA, test devices, DMA and debug ports. Accesses of any width anywhere among them, time, resets and
 * state.
 */
#include "dev_fuzz.h"

#include "backend/char/chardev.h"
#include "bus/pci.h"
#include "dev/pc/debug_port.h"
#include "dev/pc/dma8237.h"
#include "dev/pc/ferr.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/i8042.h"
#include "dev/pc/piix3.h"
#include "dev/pc/piix4pm.h"
#include "dev/pc/testdev.h"
#include "dev/pc/uart16550.h"

#define DEVS 11

struct board {
    struct loop *loop;
    struct mem_space *mem;
    struct pci_bus bus;
    struct dev *dev[DEVS];
    struct chardev cd;
};

static void note(void *opaque)
{
}

static void note_exit(void *opaque, unsigned status)
{
}

static void note_map(void *opaque, u16 base, bool on)
{
}

static void note_mode(void *opaque, bool acpi)
{
}

static void cd_write(struct chardev *cd, const u8 *buf, size_t len)
{
}

static void cd_kick(struct chardev *cd)
{
    while (chardev_room(cd))
        cd->rx.receive(cd->rx.opaque, (const u8 *)"k", 1);
}

static void open_devices(struct board *b)
{
    static const u8 blob[300];
    struct fw_cfg *fw = fw_cfg_create(&(struct fw_cfg_config){b->mem}, NULL);
    struct mem_space *mem = b->mem;
    unsigned n = 0;

    if (!fw || fw_cfg_add_file(fw, "etc/blob", blob, sizeof(blob)) || fw_cfg_add_int(fw, FW_CFG_NB_CPUS, 1, 2))
        abort();
    b->dev[n++] = (struct dev *)fw;
    b->dev[n++] = (struct dev *)i440fx_create(&(struct i440fx_config){&b->bus, note, b}, NULL);
    b->dev[n++] = (struct dev *)piix3_create(&(struct piix3_config){.bus = &b->bus}, NULL);
    b->dev[n++] = (struct dev *)piix4pm_create(&(struct piix4pm_config){&b->bus, note_map, note_mode, b}, NULL);
    b->dev[n++] = (struct dev *)pci_testdev_create(&(struct pci_testdev_config){&b->bus, PCI_DEVFN(4, 0)}, NULL);
    b->dev[n++] = (struct dev *)uart_create(
        &(struct uart_config){.mem = mem, .loop = b->loop, .chr = &b->cd, .port = 0x3f8}, NULL);
    b->dev[n++] = (struct dev *)i8042_create(&(struct i8042_config){.mem = mem, .reset = note}, NULL);
    b->dev[n++] = (struct dev *)testdev_create(&(struct testdev_config){.mem = mem}, NULL);
    b->dev[n++] = (struct dev *)dma8237_create(&(struct dma8237_config){mem}, NULL);
    b->dev[n++] = (struct dev *)ferr_create(&(struct ferr_config){.mem = mem}, NULL);
    b->dev[n++] = (struct dev *)debug_exit_create(&(struct debug_exit_config){mem, note_exit, b}, NULL);
    for (unsigned i = 0; i < DEVS; i++) {
        if (!b->dev[i])
            abort();
    }
}

/* Ports that are worth trying, and how many follow. */
static const struct {
    u16 first, count;
} places[] = {{0x3f8, 8}, {0xcf8, 8}, {0xcfc, 4}, {0x60, 5}, {0x92, 1}, {0x510, 12},  {0x514, 8},    {0xe0, 12},
              {0x00, 16}, {0x80, 16}, {0xc0, 32}, {0xf0, 8}, {0xb2, 2}, {0x2000, 24}, {0xc000, 256}, {0, 0xffff}};

static void port_step(struct board *b, struct script *s, u8 op)
{
    static const u8 sizes[] = {1, 2, 4, 1};
    unsigned place = (unsigned)script_take(s, 1) % ARRAY_SIZE(places);
    u16 port = (u16)(places[place].first + script_take(s, places[place].count > 255 ? 2 : 1) % places[place].count);
    unsigned size = sizes[op >> 4 & 3];

    if (op & 0x80)
        mem_port_write(b->mem, port, (u32)script_value(s), size);
    else
        (void)mem_port_read(b->mem, port, size);
}

static void memory_step(struct board *b, struct script *s, u8 op)
{
    static const u64 bases[] = {0xe0000000, 0xff000000, 0xc0000, 0xa0000, 0x1000, 0xfffff000};
    u64 at = bases[(op >> 4) % ARRAY_SIZE(bases)] + script_take(s, 2);
    unsigned size = 1u << (script_take(s, 1) & 3);

    if (op & 0x80)
        mem_io_write(b->mem, at, script_value(s), size);
    else
        (void)mem_io_read(b->mem, at, size);
}

/* A configuration access to one of the functions that exist. */
static void config_step(struct board *b, struct script *s, u8 op)
{
    static const u8 devfn[] = {PCI_DEVFN(0, 0), PCI_DEVFN(1, 0), PCI_DEVFN(1, 3), PCI_DEVFN(4, 0)};
    u8 off = (u8)script_take(s, 1);

    mem_port_write(b->mem, 0xcf8, 0x80000000u | (u32)devfn[op >> 4 & 3] << 8 | (off & 0xfc), 4);
    mem_port_write(b->mem, (u16)(0xcfc + (off & 3)), (u32)script_value(s), 1u << (op >> 6 & 1));
}

static void dev_step(struct board *b, struct script *s, u8 op)
{
    struct dev *d = b->dev[(op >> 4) % DEVS];

    loop_lock(b->loop);
    if (!d->cls->state || !d->cls->loaded || (op & 0x80))
        d->cls->reset(d);
    else
        script_state(s, d);
    loop_unlock(b->loop);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const struct char_ops ops = {.write = cd_write, .kick = cd_kick};
    struct script s = {.data = data, .size = size};
    struct board b = {.cd.ops = &ops};

    b.loop = loop_create();
    loop_set_manual(b.loop, 0);
    b.mem = mem_space_create(b.loop, MiB(2), MiB(2), NULL);
    if (!b.mem)
        abort();
    loop_lock(b.loop);
    pci_bus_init(&b.bus, b.mem, NULL);
    open_devices(&b);
    loop_unlock(b.loop);

    while (script_more(&s)) {
        u8 op = (u8)script_take(&s, 1);
        switch (op & 7) {
        case 0:
        case 1:
        case 2:
            port_step(&b, &s, op);
            break;
        case 3:
        case 4:
            memory_step(&b, &s, op);
            break;
        case 5:
            config_step(&b, &s, op);
            break;
        case 6:
            script_time(&s, b.loop);
            break;
        case 7:
            dev_step(&b, &s, op);
            break;
        }
    }
    loop_lock(b.loop);
    for (unsigned i = DEVS; i-- > 0;)
        b.dev[i]->cls->destroy(b.dev[i]);
    loop_unlock(b.loop);
    mem_space_destroy(b.mem);
    loop_destroy(b.loop);
    return 0;
}
