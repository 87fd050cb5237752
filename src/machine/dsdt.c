/*
 * The DSDT: what the board has that cannot be found by looking. \_SB holds the processors, the host bridge with its
 * windows and interrupt routing, and under the ISA bridge the devices with fixed resources.
 *
 * PCI interrupts go through four links, which are the PIIX3's PIRQ route registers: _CRS, _SRS and _DIS read and write
 * them.
 */
#include <stdio.h>

#include "dev/pc/fw_cfg.h"
#include "dev/pc/piix3.h"
#include "dev/virtio/mmio.h"
#include "machine/acpi.h"
#include "machine/aml.h"
#include "machine/board.h"

#define STA_PRESENT  0x0b /* present, shown, working; not yet enabled */
#define STA_ENABLED  0x0f
#define STA_DISABLED 0x09
#define PCI_SLOTS    32

static const u32 link_choices[] = {5, 10, 11};

static void link_name(char name[5], unsigned n)
{
    snprintf(name, 5, "LNK%c", 'A' + (int)n);
}

static void route_name(char name[5], unsigned n)
{
    snprintf(name, 5, "PRQ%c", 'A' + (int)n);
}

/* A PIRQ of which bit 7 says that it is off. */
static void if_off(struct bytes *a, const char *route)
{
    aml_and(a);
    aml_path(a, route);
    aml_int(a, PIIX3_PIRQ_OFF);
    aml_no_target(a);
}

static void link_status(struct bytes *a, const char *route)
{
    size_t method = aml_method(a, "_STA", 0, false);
    size_t off = aml_if(a);

    if_off(a, route);
    aml_return(a);
    aml_int(a, STA_DISABLED);
    aml_end(a, off);
    aml_return(a);
    aml_int(a, STA_PRESENT);
    aml_end(a, method);
}

#define INTERRUPT_OFFSET 5 /* of the first number inside an interrupt descriptor */

static void link_current(struct bytes *a, const char *route)
{
    static const u32 none[] = {0};
    size_t res, method;

    aml_name_is(a, "BUF0");
    res = aml_resources(a);
    aml_res_interrupts(a, none, 1);
    aml_resources_end(a, res);

    method = aml_method(a, "_CRS", 0, true);
    aml_create_dword_field(a);
    aml_path(a, "BUF0");
    aml_int(a, INTERRUPT_OFFSET);
    aml_path(a, "IRQN");
    aml_and(a);
    aml_path(a, route);
    aml_int(a, 0x0f);
    aml_path(a, "IRQN");
    size_t off = aml_if(a);
    if_off(a, route);
    aml_store(a);
    aml_int(a, 0);
    aml_path(a, "IRQN");
    aml_end(a, off);
    aml_return(a);
    aml_path(a, "BUF0");
    aml_end(a, method);
}

static void link_set(struct bytes *a, const char *route)
{
    size_t method = aml_method(a, "_SRS", 1, true);

    aml_create_dword_field(a);
    aml_arg(a, 0);
    aml_int(a, INTERRUPT_OFFSET);
    aml_path(a, "IRQN");
    aml_store(a);
    aml_path(a, "IRQN");
    aml_path(a, route);
    aml_end(a, method);
}

static void link_disable(struct bytes *a, const char *route)
{
    size_t method = aml_method(a, "_DIS", 0, false);

    aml_or(a);
    aml_path(a, route);
    aml_int(a, PIIX3_PIRQ_OFF);
    aml_path(a, route);
    aml_end(a, method);
}

static void link_device(struct bytes *a, unsigned n)
{
    char name[5], route[5];
    link_name(name, n);
    route_name(route, n);
    size_t dev = aml_device(a, name);

    aml_name_eisaid(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", n);
    aml_name_is(a, "_PRS");
    size_t res = aml_resources(a);
    aml_res_interrupts(a, link_choices, ARRAY_SIZE(link_choices));
    aml_resources_end(a, res);
    link_status(a, route);
    link_current(a, route);
    link_set(a, route);
    link_disable(a, route);
    aml_end(a, dev);
}

/* _PRT: every pin of every slot, rotated as pci_pirq does it. */
static void routing_table(struct bytes *a)
{
    aml_name_is(a, "_PRT");
    size_t table = aml_package(a, PCI_SLOTS * PCI_PINS);

    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PCI_PINS; pin++) {
            char name[5];
            link_name(name, pci_pirq((u8)PCI_DEVFN(slot, 0), pin));
            size_t entry = aml_package(a, 4);
            aml_int(a, slot << 16 | 0xffff);
            aml_int(a, pin);
            aml_path(a, name);
            aml_int(a, 0);
            aml_end(a, entry);
        }
    }
    aml_end(a, table);
}

static void bridge_windows(struct bytes *a, const struct acpi_config *cfg)
{
    aml_name_is(a, "_CRS");
    size_t res = aml_resources(a);

    aml_res_bus_numbers(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_window(a, 0, 0xcf7);
    aml_res_io_window(a, 0xd00, 0xffff);
    aml_res_memory_window(a, LOW_VIDEO, 0xbffff);
    aml_res_memory_window(a, cfg->pci_hole, BOARD_PCI_HOLE_END - 1);
    if (cfg->pci_hole64 < cfg->pci_hole64_end)
        aml_res_memory64_window(a, cfg->pci_hole64, cfg->pci_hole64_end - 1);
    aml_resources_end(a, res);
}

/* ISA devices: what they are and where. A zero ends ports; no line is 0xff. */
#define NO_LINE 0xff
static const struct isa_device {
    const char *name, *id;
    struct {
        u16 base;
        u8 length;
    } io[4];
    u8 irq, dma;
    u8 uid;
} isa_devices[] = {
    {"PIC_", "PNP0000", {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}}, 2, NO_LINE, 0},
    {"TIMR", "PNP0100", {{0x40, 4}}, IRQ_TIMER, NO_LINE, 0},
    {"DMAC", "PNP0200", {{0x00, 16}, {0x81, 15}, {0xc0, 32}}, NO_LINE, 4, 0},
    {"KBD_", "PNP0303", {{0x60, 1}, {0x64, 1}}, IRQ_KEYBOARD, NO_LINE, 0},
    {"MOU_", "PNP0F13", {{0}}, IRQ_AUX, NO_LINE, 0},
    {"COM1", "PNP0501", {{PORT_COM1, 8}}, IRQ_COM1, NO_LINE, 1},
    {"SPKR", "PNP0800", {{0x61, 1}}, NO_LINE, NO_LINE, 0},
    {"RTC_", "PNP0B00", {{0x70, 8}}, IRQ_RTC, NO_LINE, 0},
    {"FPU_", "PNP0C04", {{0xf0, 1}}, IRQ_FPU, NO_LINE, 0},
};

static void isa_device(struct bytes *a, const struct isa_device *d)
{
    size_t dev = aml_device(a, d->name);

    aml_name_eisaid(a, "_HID", d->id);
    if (d->uid)
        aml_name_int(a, "_UID", d->uid);
    aml_name_int(a, "_STA", STA_ENABLED);
    aml_name_is(a, "_CRS");
    size_t res = aml_resources(a);
    for (unsigned i = 0; i < ARRAY_SIZE(d->io) && d->io[i].length; i++)
        aml_res_io(a, d->io[i].base, d->io[i].length);
    if (d->irq != NO_LINE)
        aml_res_irq(a, (u16)BIT(d->irq));
    if (d->dma != NO_LINE)
        aml_res_dma(a, (u8)BIT(d->dma));
    aml_resources_end(a, res);
    aml_end(a, dev);
}

static void isa_bridge(struct bytes *a)
{
    size_t dev = aml_device(a, "ISA_");
    char name[5];

    aml_name_int(a, "_ADR", 0x00010000);
    aml_region(a, "PIRQ", AML_PCI_CONFIG, PIIX3_PIRQRC, PCI_PINS);
    for (unsigned i = 0; i < ARRAY_SIZE(isa_devices); i++)
        isa_device(a, &isa_devices[i]);
    aml_end(a, dev);

    size_t field = aml_field(a, "ISA_.PIRQ");
    for (unsigned i = 0; i < PCI_PINS; i++) {
        route_name(name, i);
        aml_field_unit(a, name, 8);
    }
    aml_end(a, field);
    for (unsigned i = 0; i < PCI_PINS; i++)
        link_device(a, i);
}

static void host_bridge(struct bytes *a, const struct acpi_config *cfg)
{
    size_t dev = aml_device(a, "PCI0");

    aml_name_eisaid(a, "_HID", "PNP0A03");
    aml_name_int(a, "_UID", 0);
    bridge_windows(a, cfg);
    routing_table(a);
    isa_bridge(a);
    aml_end(a, dev);
}

static void hpet(struct bytes *a)
{
    size_t dev = aml_device(a, "HPET");

    aml_name_eisaid(a, "_HID", "PNP0103");
    aml_name_int(a, "_UID", 0);
    aml_name_is(a, "_CRS");
    size_t res = aml_resources(a);
    aml_res_memory32(a, BOARD_HPET, BOARD_HPET_SIZE, false);
    aml_resources_end(a, res);
    aml_end(a, dev);
}

static void fw_cfg(struct bytes *a)
{
    size_t dev = aml_device(a, "FWCF");

    aml_name_is(a, "_HID");
    aml_string(a, "QEMU0002");
    aml_name_int(a, "_STA", STA_PRESENT);
    aml_name_is(a, "_CRS");
    size_t res = aml_resources(a);
    aml_res_io(a, FW_CFG_PORT, FW_CFG_PORTS);
    aml_resources_end(a, res);
    aml_end(a, dev);
}

/* By the name that Linux knows them by. */
static void virtio_mmio(struct bytes *a, unsigned n)
{
    const u32 line = VIRTIO_LINE_FIRST + n % VIRTIO_LINES;
    char name[5];
    snprintf(name, sizeof(name), "VR%02X", n & 0xff);
    size_t dev = aml_device(a, name);

    aml_name_is(a, "_HID");
    aml_string(a, "LNRO0005");
    aml_name_int(a, "_UID", n);
    aml_name_is(a, "_CRS");
    size_t res = aml_resources(a);
    aml_res_memory32(a, BOARD_VIRTIO_MMIO + n * VIRTIO_MMIO_SIZE, VIRTIO_MMIO_SIZE, true);
    aml_res_interrupts(a, &line, 1);
    aml_resources_end(a, res);
    aml_end(a, dev);
}

static void processors(struct bytes *a, unsigned cpus)
{
    for (unsigned i = 0; i < cpus; i++) {
        char name[5];
        snprintf(name, sizeof(name), "CP%02X", i & 0xff);
        size_t dev = aml_device(a, name);
        aml_name_is(a, "_HID");
        aml_string(a, "ACPI0007");
        aml_name_int(a, "_UID", i);
        aml_end(a, dev);
    }
}

/* Soft-off: the sleep types for both PM1 control registers, and two reserved values. */
static void sleep_states(struct bytes *a)
{
    aml_name_is(a, "\\_S5");
    size_t package = aml_package(a, 4);
    aml_int(a, BOARD_S5_TYPE);
    aml_int(a, BOARD_S5_TYPE);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a, package);
}

void dsdt_build(struct bytes *a, const struct acpi_config *cfg)
{
    size_t scope = aml_scope(a, "\\_SB");

    processors(a, cfg->cpus);
    host_bridge(a, cfg);
    hpet(a);
    fw_cfg(a);
    for (unsigned n = 0; n < cfg->virtio_mmio; n++)
        virtio_mmio(a, n);
    aml_end(a, scope);
    sleep_states(a);
}
