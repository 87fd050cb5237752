/*
 * The ACPI tables of the board. ACPI Specification 6.5, chapter 5; HPET: IA-PC HPET Specification 1.0a, section 3.2.4.
 *
 * Tables are built once as two runs of bytes (the tables, and the RSDP) with a list of what depends on where they will
 * lie: pointers from one to another, and checksums. From the same list come both ways of delivery: acpi_place for a
 * kernel that is booted directly, and acpi_loader_script, the commands by which firmware does it (QEMU's docs/specs:
 * table-loader).
 */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "machine/bytes.h"

struct acpi_config {
    unsigned cpus;
    u16 pm_base;                    /* PM registers in port space */
    u32 pci_hole;                   /* memory for PCI from here to the I/O APIC */
    unsigned virtio_mmio;           /* how many virtio devices are not on the PCI bus */
    u64 pci_hole64, pci_hole64_end; /* and above 4 GiB: [first, end), empty if equal */
};

enum acpi_part { ACPI_TABLES, ACPI_RSDP, ACPI_PARTS };

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE   "etc/acpi/rsdp"
#define ACPI_LOADER_FILE "etc/table-loader"

struct acpi_link {
    bool checksum;     /* else a pointer */
    u8 in;             /* enum acpi_part: where the field is */
    u8 to;             /* pointer: the part whose address is added to the offset that the field holds */
    u8 size;           /* pointer: 4 or 8 bytes */
    u32 at;            /* offset of the field */
    u32 start, length; /* checksum: of what */
};

#define ACPI_LINKS_MAX 48

struct acpi_image {
    struct bytes part[ACPI_PARTS];
    struct acpi_link link[ACPI_LINKS_MAX];
    unsigned links;
};

/* -ENOMEM. The image is freed with acpi_free in every case. */
int acpi_build(struct acpi_image *img, const struct acpi_config *cfg) MUST_CHECK;
void acpi_free(struct acpi_image *img);

/* Makes the image right for these two addresses. Once. */
void acpi_place(struct acpi_image *img, const u64 base[ACPI_PARTS]);

/* The loader's commands, appended to `script`. */
void acpi_loader_script(const struct acpi_image *img, struct bytes *script);

/* The body of the DSDT, without a header (dsdt.c). */
void dsdt_build(struct bytes *a, const struct acpi_config *cfg);

#endif
