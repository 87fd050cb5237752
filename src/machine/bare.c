/*
 * Guests that start without firmware: what it would have done to the chips (shadow RAM, PCI addresses and interrupt
 * routes, PM registers, interrupt controllers, memory types), and the tables that operating systems search for below 1
 * MiB.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/model.h"
#include "dev/pc/apic.h"
#include "dev/pc/i440fx.h"
#include "dev/pc/pic.h"
#include "dev/pc/piix3.h"
#include "dev/pc/piix4pm.h"
#include "machine/board.h"
#include "machine/boot/entry.h"
#include "machine/mptable.h"
#include "machine/pc.h"
#include "machine/smbios.h"

/* --- chips ------------------------------------------------------------------------------------------------------ */

static const u8 pirq_route[PCI_PINS] = {10, 10, 11, 11};
#define LEVEL_LINES (BIT(IRQ_SCI) | BIT(10) | BIT(11))

#define PCI_IO_FIRST     0xc000u
#define PCI_IO_END       0x10000u
#define PCI_MEMORY_FIRST 0xe0000000u

struct pci_room {
    u64 io, memory; /* next free address */
};

static void config_write(struct pci_func *f, unsigned off, u32 value, unsigned size)
{
    pci_config_write(f->bus, (u32)f->devfn << 8 | off, value, size);
}

static void assign_bar(struct pci_func *f, unsigned n, struct pci_room *room)
{
    const struct pci_bar *bar = &f->bar[n];
    u64 *next = bar->kind == PCI_BAR_IO ? &room->io : &room->memory;
    u64 end = bar->kind == PCI_BAR_IO ? PCI_IO_END : BOARD_PCI_HOLE_END;
    u64 base = align_up(*next, bar->window->size);

    if (!range_inside(base, bar->window->size, end))
        return; /* left for the operating system */
    *next = base + bar->window->size;
    config_write(f, PCI_BAR0 + 4 * n, (u32)base, 4);
}

static void assign_function(struct pci_func *f, struct pci_room *room)
{
    u8 pin = f->initial[PCI_INTERRUPT_PIN];
    bool decodes = false;

    for (unsigned n = 0; n < PCI_BARS; n++) {
        if (f->bar[n].kind == PCI_BAR_NONE)
            continue;
        assign_bar(f, n, room);
        decodes = true;
    }
    if (decodes)
        config_write(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    if (pin)
        config_write(f, PCI_INTERRUPT_LINE, pirq_route[pci_pirq(f->devfn, pin - 1u)], 1);
}

static void set_up_pci(struct machine *m)
{
    struct pci_room room = {PCI_IO_FIRST, PCI_MEMORY_FIRST};
    u32 piix3 = PIIX3_DEVFN << 8, piix4 = PIIX4PM_DEVFN << 8;

    for (unsigned devfn = 0; devfn < ARRAY_SIZE(m->pci.func); devfn++) {
        if (m->pci.func[devfn])
            assign_function(m->pci.func[devfn], &room);
    }
    for (unsigned i = 0; i < PCI_PINS; i++)
        pci_config_write(&m->pci, piix3 | (PIIX3_PIRQRC + i), pirq_route[i], 1);
    pci_config_write(&m->pci, piix4 | PIIX4PM_PMBA, PORT_PM_DEFAULT, 4);
    pci_config_write(&m->pci, piix4 | PIIX4PM_PMREGMISC, 1, 1);
}

static void set_up_chips(struct machine *m)
{
    i440fx_shadow_all(m->i440fx);
    set_up_pci(m);
    pic_firmware(m->pic, LEVEL_LINES);
    apic_virtual_wire(m->apic[0]);
    for (unsigned i = 0; i < m->cfg.cpus; i++)
        boot_set_mtrrs(m->cpu[i], BOARD_RAM_BELOW_4G);
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

struct acpi_config machine_acpi_config(const struct machine *m, u16 pm_base)
{
    u64 hole64 = 0, hole64_end = 0;

    /* Above 4 GiB PCI has what firmware put there, and nothing otherwise. */
    for (unsigned devfn = 0; devfn < ARRAY_SIZE(m->pci.func); devfn++) {
        const struct pci_func *f = m->pci.func[devfn];
        for (unsigned n = 0; f && n < PCI_BARS; n++) {
            u64 base = pci_bar_address(f, n);
            if (base < GiB(4))
                continue;
            hole64 = hole64 && hole64 < base ? hole64 : base;
            hole64_end = base + f->bar[n].window->size > hole64_end ? base + f->bar[n].window->size : hole64_end;
        }
    }
    return (struct acpi_config){.cpus = m->cfg.cpus,
                                .pm_base = pm_base,
                                .virtio_mmio = m->cfg.virtio_mmio ? m->transports : 0,
                                .pci_hole = (u32)align_up(mem_space_below_4g(m->mem), MiB(1)),
                                .pci_hole64 = hole64,
                                .pci_hole64_end = hole64_end};
}

struct smbios_config machine_smbios_config(const struct machine *m)
{
    return (struct smbios_config){.cpus = m->cfg.cpus,
                                  .ram_size = mem_space_ram(m->mem)->size,
                                  .ram_below_4g = mem_space_below_4g(m->mem),
                                  .cpu_vendor = m->cfg.model->vendor,
                                  .cpu_brand = m->cfg.model->brand};
}

/* Appends the SMBIOS structures and their entry point to what will lie at LOW_POINTERS. */
static void add_smbios(struct machine *m, struct bytes *low)
{
    struct smbios_config cfg = machine_smbios_config(m);
    struct bytes anchor = {0};

    bytes_align(low, 16);
    size_t at = low->size;
    smbios_build(&anchor, low, (u32)(LOW_POINTERS + at), &cfg);
    bytes_align(low, 16);
    bytes_add(low, anchor.data, anchor.size);
    if (!bytes_ok(&anchor))
        low->failed = true;
    bytes_free(&anchor);
}

static void add_mptable(struct machine *m, struct bytes *low)
{
    u8 pointer[MP_POINTER_SIZE];
    u32 cpuid[4];

    cpu_cpuid(m->cpu[0], 1, 0, cpuid);
    bytes_align(low, 16);
    mptable_pointer(pointer, (u32)(LOW_POINTERS + low->size + sizeof(pointer)));
    bytes_add(low, pointer, sizeof(pointer));
    mptable_build(low, &(struct mptable_config){m->cfg.cpus, cpuid[0], cpuid[3], pirq_route});
}

/* The ACPI tables at LOW_TABLES, the RSDP first of all at LOW_POINTERS. */
static int add_acpi(struct machine *m, struct bytes *low)
{
    static const u64 base[ACPI_PARTS] = {[ACPI_TABLES] = LOW_TABLES, [ACPI_RSDP] = LOW_POINTERS};
    struct acpi_config cfg = machine_acpi_config(m, PORT_PM_DEFAULT);
    struct acpi_image img;
    int status = acpi_build(&img, &cfg);

    if (!status && img.part[ACPI_TABLES].size > LOW_TABLES_SIZE)
        status = -ENOSPC;
    if (!status) {
        acpi_place(&img, base);
        mem_dma_write(m->mem, LOW_TABLES, img.part[ACPI_TABLES].data, img.part[ACPI_TABLES].size);
        bytes_add(low, img.part[ACPI_RSDP].data, img.part[ACPI_RSDP].size);
    }
    acpi_free(&img);
    return status;
}

/* BIOS data area: where the extended one is, base memory in KiB. */
static void put_bios_data(struct machine *m)
{
    u8 bda[0x100] = {0};

    put_u16(bda + 0x0e, LOW_EBDA >> 4);
    put_u16(bda + 0x13, LOW_EBDA >> 10);
    mem_dma_write(m->mem, LOW_BDA, bda, sizeof(bda));
}

int machine_without_firmware(struct machine *m, u64 *rsdp, struct error *err)
{
    struct bytes low = {0};
    int status;

    set_up_chips(m);
    put_bios_data(m);
    status = add_acpi(m, &low);
    add_smbios(m, &low);
    add_mptable(m, &low);
    if (!status && (!bytes_ok(&low) || low.size > LOW_END - LOW_POINTERS))
        status = -ENOMEM;
    if (!status)
        mem_dma_write(m->mem, LOW_POINTERS, low.data, low.size);
    bytes_free(&low);
    *rsdp = LOW_POINTERS;
    return status ? error_set(err, status, "cannot build the firmware tables") : 0;
}
