/*
 * The list of devices, in the order in which they are made, reset, saved and shown; and how each is wired. Local APICs
 * come first, one for each processor, because everything that interrupts ends there.
 */
#include "dev/pc/apic.h"
#include "dev/pc/crtc.h"
#include "dev/pc/debug_port.h"
#include "dev/pc/dma8237.h"
#include "dev/pc/ferr.h"
#include "dev/pc/fw_cfg.h"
#include "dev/pc/hpet.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/i8042.h"
#include "dev/pc/ioapic.h"
#include "dev/pc/pic.h"
#include "dev/pc/piix3.h"
#include "dev/pc/piix4pm.h"
#include "dev/pc/pit.h"
#include "dev/pc/pm.h"
#include "dev/pc/rtc.h"
#include "dev/pc/testdev.h"
#include "dev/pc/uart16550.h"
#include "machine/board.h"
#include "machine/pc.h"

#define TESTDEV_DEVFN PCI_DEVFN(4, 0)
#define HPET_ROUTES   0x00f00000u /* I/O APIC inputs 20 to 23: nobody else is there */

static struct irq_line device_line(struct machine *m, unsigned line)
{
    return lines_input(&m->lines, LINE_DEVICE, line);
}

/* --- what devices ask of the board ------------------------------------------------------------------------------ */

static void ask_reset(void *opaque)
{
    struct machine *m = opaque;

    m->cfg.event(m->cfg.opaque, MACHINE_RESET, 0);
}

static void ask_power_off(void *opaque)
{
    struct machine *m = opaque;

    m->cfg.event(m->cfg.opaque, MACHINE_POWER_OFF, 0);
}

static void tell_exit(void *opaque, unsigned status)
{
    struct machine *m = opaque;

    m->cfg.event(m->cfg.opaque, MACHINE_DEBUG_EXIT, status);
}

/* INTR of the 8259s: LINT0 of the local APICs, and input 0 of the I/O APIC. */
static void pic_intr(void *opaque, unsigned n, bool level)
{
    struct machine *m = opaque;
    struct irq_line lint0 = apic_bus_lint(m->apic_bus, 0), input0 = ioapic_line(m->ioapic, 0);

    irq_set(&lint0, level);
    irq_set(&input0, level);
}

static void legacy_route(void *opaque, bool on)
{
    struct machine *m = opaque;

    pit_connect_irq(m->pit, !on);
    rtc_connect_irq(m->rtc, !on);
}

/* Linux takes alarms from the PM block where the HPET has taken IRQ8. */
static void rtc_alarm(void *opaque)
{
    struct machine *m = opaque;

    pm_rtc_alarm(m->pm);
}

static void pm_place(void *opaque, u16 base, bool on)
{
    struct machine *m = opaque;
    /* A base where the block does not fit leaves it unmapped. */
    int status = pm_map(m->pm, on ? base : 0);

    (void)status;
}

static void pm_mode(void *opaque, bool acpi)
{
    struct machine *m = opaque;

    pm_acpi_mode(m->pm, acpi);
}

/* --- one function for each device ------------------------------------------------------------------------------- */

static struct dev *make_ioapic(struct machine *m, struct error *err)
{
    m->ioapic = ioapic_create(&(struct ioapic_config){
        .mem = m->mem, .base = BOARD_IOAPIC, .id = BOARD_IOAPIC_ID, .msi = apic_bus_msi(m->apic_bus)});
    if (m->ioapic) {
        apic_bus_on_eoi(m->apic_bus, ioapic_eoi, m->ioapic);
        for (unsigned i = 0; i < LINES_COUNT; i++)
            m->lines.ioapic[i] = ioapic_line(m->ioapic, i);
    }
    return (struct dev *)m->ioapic;
}

static struct dev *make_pic(struct machine *m, struct error *err)
{
    m->pic = pic_create(&(struct pic_config){.mem = m->mem, .intr = {pic_intr, m, 0}});
    if (m->pic) {
        apic_bus_connect_pic(m->apic_bus, m->pic);
        for (unsigned i = 0; i < LINES_ISA; i++)
            m->lines.pic[i] = pic_line(m->pic, i);
    }
    return (struct dev *)m->pic;
}

static struct dev *make_pit(struct machine *m, struct error *err)
{
    m->pit = pit_create(&(struct pit_config){.mem = m->mem, .loop = m->cfg.loop, .irq = device_line(m, IRQ_TIMER)});
    return (struct dev *)m->pit;
}

static struct dev *make_rtc(struct machine *m, struct error *err)
{
    m->rtc = rtc_create(&(struct rtc_config){
        .mem = m->mem, .loop = m->cfg.loop, .irq = device_line(m, IRQ_RTC), .alarm = rtc_alarm, .opaque = m});
    return (struct dev *)m->rtc;
}

static struct dev *make_hpet(struct machine *m, struct error *err)
{
    struct hpet_config cfg = {
        .mem = m->mem,
        .loop = m->cfg.loop,
        .base = BOARD_HPET,
        .route_cap = HPET_ROUTES,
        .legacy = {lines_input(&m->lines, LINE_HPET, IRQ_TIMER), lines_input(&m->lines, LINE_HPET, IRQ_RTC)},
        .legacy_route = legacy_route,
        .opaque = m,
    };

    for (unsigned i = LINES_ISA; i < HPET_PINS; i++)
        cfg.pin[i] = lines_input(&m->lines, LINE_HPET, i);
    return (struct dev *)hpet_create(&cfg);
}

static struct dev *make_pm(struct machine *m, struct error *err)
{
    m->pm = pm_create(&(struct pm_config){.mem = m->mem,
                                          .loop = m->cfg.loop,
                                          .sci = device_line(m, IRQ_SCI),
                                          .s5_type = BOARD_S5_TYPE,
                                          .power_off = ask_power_off,
                                          .opaque = m});
    return (struct dev *)m->pm;
}

static struct dev *make_i440fx(struct machine *m, struct error *err)
{
    m->i440fx = i440fx_create(&(struct i440fx_config){&m->pci, ask_reset, m}, err);
    return (struct dev *)m->i440fx;
}

static struct dev *make_piix3(struct machine *m, struct error *err)
{
    struct piix3_config cfg = {.bus = &m->pci};

    for (unsigned i = 0; i < LINES_ISA; i++)
        cfg.isa[i] = lines_input(&m->lines, LINE_PCI, i);
    return (struct dev *)piix3_create(&cfg, err);
}

static struct dev *make_piix4pm(struct machine *m, struct error *err)
{
    m->piix4pm = piix4pm_create(&(struct piix4pm_config){&m->pci, pm_place, pm_mode, m}, err);
    return (struct dev *)m->piix4pm;
}

static struct dev *make_dma(struct machine *m, struct error *err)
{
    return (struct dev *)dma8237_create(&(struct dma8237_config){m->mem}, err);
}

static struct dev *make_crtc(struct machine *m, struct error *err)
{
    return (struct dev *)crtc_create(&(struct crtc_config){m->mem}, err);
}

static struct dev *make_ferr(struct machine *m, struct error *err)
{
    m->ferr = ferr_create(&(struct ferr_config){m->mem, device_line(m, IRQ_FPU)}, err);
    return (struct dev *)m->ferr;
}

static struct dev *make_i8042(struct machine *m, struct error *err)
{
    return (struct dev *)i8042_create(&(struct i8042_config){.mem = m->mem,
                                                             .keyboard_irq = device_line(m, IRQ_KEYBOARD),
                                                             .aux_irq = device_line(m, IRQ_AUX),
                                                             .reset = ask_reset,
                                                             .opaque = m},
                                      err);
}

static struct dev *make_com1(struct machine *m, struct error *err)
{
    return (struct dev *)uart_create(&(struct uart_config){.mem = m->mem,
                                                           .loop = m->cfg.loop,
                                                           .chr = m->cfg.serial,
                                                           .irq = device_line(m, IRQ_COM1),
                                                           .port = PORT_COM1},
                                     err);
}

static struct dev *make_debugcon(struct machine *m, struct error *err)
{
    return (struct dev *)debugcon_create(&(struct debugcon_config){m->mem, m->cfg.console, m->cfg.no_firmware_log},
                                         err);
}

static struct dev *make_fw_cfg(struct machine *m, struct error *err)
{
    m->fw_cfg = fw_cfg_create(&(struct fw_cfg_config){m->mem}, err);
    return (struct dev *)m->fw_cfg;
}

static struct dev *make_debug_exit(struct machine *m, struct error *err)
{
    return (struct dev *)debug_exit_create(&(struct debug_exit_config){m->mem, tell_exit, m}, err);
}

static struct dev *make_testdev(struct machine *m, struct error *err)
{
    struct testdev_config cfg = {.mem = m->mem};

    for (unsigned i = 0; i < TESTDEV_LINES; i++)
        cfg.line[i] = lines_input(&m->lines, LINE_TESTDEV, i);
    return (struct dev *)testdev_create(&cfg, err);
}

static struct dev *make_pci_testdev(struct machine *m, struct error *err)
{
    return (struct dev *)pci_testdev_create(&(struct pci_testdev_config){&m->pci, TESTDEV_DEVFN}, err);
}

/* --- the list --------------------------------------------------------------------------------------------------- */

static bool always(const struct machine_config *cfg)
{
    return true;
}

static bool with_debug_exit(const struct machine_config *cfg)
{
    return cfg->debug_exit;
}

static bool with_testdev(const struct machine_config *cfg)
{
    return cfg->testdev;
}

static const struct board_device {
    const char *name;
    bool (*wanted)(const struct machine_config *cfg);
    struct dev *(*make)(struct machine *m, struct error *err);
} board_devices[] = {
    {"I/O APIC", always, make_ioapic},
    {"8259", always, make_pic},
    {"8254", always, make_pit},
    {"RTC", always, make_rtc},
    {"HPET", always, make_hpet},
    {"ACPI PM", always, make_pm},
    {"i440FX", always, make_i440fx},
    {"PIIX3", always, make_piix3},
    {"PIIX4 PM", always, make_piix4pm},
    {"8237", always, make_dma},
    {"CRTC", always, make_crtc},
    {"FERR#", always, make_ferr},
    {"8042", always, make_i8042},
    {"COM1", always, make_com1},
    {"debug console", always, make_debugcon},
    {"fw_cfg", always, make_fw_cfg},
    {"debug exit", with_debug_exit, make_debug_exit},
    {"pc-testdev", with_testdev, make_testdev},
    {"pci-testdev", with_testdev, make_pci_testdev},
};

int machine_add_devices(struct machine *m, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_SIZE(board_devices); i++) {
        const struct board_device *d = &board_devices[i];
        struct error why = {"out of memory"};
        if (!d->wanted(&m->cfg))
            continue;
        struct dev *dev = d->make(m, &why);
        if (!dev)
            return error_set(err, -ENOMEM, "cannot make the %s: %s", d->name, why.text);
        m->dev[m->devs++] = dev;
    }
    return machine_add_virtio(m, err);
}
