/*
 * Inside of struct machine, for the files of machine/ alone.
 */
#ifndef MACHINE_PC_H
#define MACHINE_PC_H

#include "bus/pci.h"
#include "dev/dev.h"
#include "machine/acpi.h"
#include "machine/board.h"
#include "machine/boot/boot.h"
#include "machine/boot/firmware.h"
#include "machine/lines.h"
#include "machine/machine.h"

struct apic;
struct apic_bus;
struct ferr;
struct fw_cfg;
struct i440fx;
struct ioapic;
struct pic;
struct piix4pm;
struct pit;
struct pm;
struct rtc;
struct virtio_device;

#define MACHINE_DEVS_MAX (MACHINE_MAX_CPUS + 128) /* at most two for each PCI slot, and those of the board */

struct machine {
    struct machine_config cfg; /* strings are the machine's own copies */
    char *kernel_path, *firmware_path, *initramfs, *cmdline;
    struct machine_loaded loaded; /* what kernel and modules point into */
    struct boot_file kernel, firmware;
    struct boot_modules modules;
    bool ran; /* it was loaded once at least */

    struct mem_space *mem;
    struct world *world;
    struct cpu *cpu[MACHINE_MAX_CPUS];
    struct apic *apic[MACHINE_MAX_CPUS];
    struct apic_bus *apic_bus;
    struct pci_bus pci;
    struct board_lines lines;

    /* Every device, in order of creation; those that others need by name as well. */
    struct dev *dev[MACHINE_DEVS_MAX];
    unsigned devs;
    unsigned transports;             /* virtio's */
    u64 virtio_pulled[VIRTIO_LINES]; /* of the virtio devices without PCI: which pull a line, by their number */
    struct ferr *ferr;
    struct fw_cfg *fw_cfg;
    struct i440fx *i440fx;
    struct ioapic *ioapic;
    struct pic *pic;
    struct piix4pm *piix4pm;
    struct pit *pit;
    struct pm *pm;
    struct rtc *rtc;
    struct virtio_device *stream;  /* NULL: none */
    struct virtio_device *balloon; /* NULL: not asked for */

    /* What fw_cfg shows; rebuilt when firmware asks for it. */
    struct acpi_image acpi;
    struct bytes acpi_script, smbios_anchor, smbios_tables, e820;
    struct firmware_kernel offered;
};

/* devices.c: makes all devices of the list. */
int machine_add_devices(struct machine *m, struct error *err) MUST_CHECK;

/* virtio.c: those on the PCI bus that the options ask for. */
int machine_add_virtio(struct machine *m, struct error *err) MUST_CHECK;

/* fwcfg.c: what the board tells firmware. */
int machine_fill_fw_cfg(struct machine *m, struct error *err) MUST_CHECK;

/* cmos.c: what the CMOS RAM says about the board. */
void machine_fill_cmos(struct machine *m);

/*
 * bare.c: for guests that start without firmware: does what firmware would have done to the chips, and puts its
 * tables into memory. *rsdp is where they start.
 */
int machine_without_firmware(struct machine *m, u64 *rsdp, struct error *err) MUST_CHECK;

/* The contents of the tables, for both ways. `pm_base` as it is programmed. */
struct acpi_config machine_acpi_config(const struct machine *m, u16 pm_base);
struct smbios_config;
struct smbios_config machine_smbios_config(const struct machine *m);

#endif
