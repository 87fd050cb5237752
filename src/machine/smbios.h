/*
 * SMBIOS: what the machine says about itself. DMTF DSP0134, version 2.8 structures and entry point.
 */
#ifndef MACHINE_SMBIOS_H
#define MACHINE_SMBIOS_H

#include "machine/bytes.h"

struct smbios_config {
    unsigned cpus;
    u64 ram_size, ram_below_4g;
    const char *cpu_vendor, *cpu_brand; /* may be NULL */
};

#define SMBIOS_ANCHOR_FILE "etc/smbios/smbios-anchor"
#define SMBIOS_TABLES_FILE "etc/smbios/smbios-tables"

/* Appends the structures to `tables`, and to `anchor` the entry point for tables that will lie at `address`. */
void smbios_build(struct bytes *anchor, struct bytes *tables, u32 address, const struct smbios_config *cfg);

/* Puts another address into an entry point made by smbios_build. */
void smbios_place(u8 *anchor, u32 address);

#endif
