/*
 * What the board tells firmware through fw_cfg. The ACPI tables name the ports of the PM registers, which firmware
 * places first; so they are built when firmware asks for them.
 */
#include "dev/pc/fw_cfg.h"
#include "dev/pc/hpet.h"
#include "dev/pc/piix4pm.h"
#include "machine/board.h"
#include "machine/boot/firmware.h"
#include "machine/pc.h"
#include "machine/smbios.h"

static int rebuild_acpi(struct machine *m)
{
    u16 pm_base = m->piix4pm ? piix4pm_base(m->piix4pm) : 0;
    struct acpi_config cfg = machine_acpi_config(m, pm_base ? pm_base : PORT_PM_DEFAULT);
    struct acpi_image img;
    struct bytes script = {0};
    int status = acpi_build(&img, &cfg);

    if (!status)
        acpi_loader_script(&img, &script);
    if (status || !bytes_ok(&script)) {
        acpi_free(&img);
        bytes_free(&script);
        return -ENOMEM; /* the old ones stay */
    }
    acpi_free(&m->acpi);
    bytes_free(&m->acpi_script);
    m->acpi = img;
    m->acpi_script = script;

    const struct bytes *tables = &img.part[ACPI_TABLES], *rsdp = &img.part[ACPI_RSDP];
    status = fw_cfg_add_file(m->fw_cfg, ACPI_TABLES_FILE, tables->data, tables->size);
    if (!status)
        status = fw_cfg_add_file(m->fw_cfg, ACPI_RSDP_FILE, rsdp->data, rsdp->size);
    return status ? status : fw_cfg_add_file(m->fw_cfg, ACPI_LOADER_FILE, script.data, script.size);
}

/* Firmware selected one of the three files. If memory runs out, it reads what was built before. */
static void acpi_selected(void *opaque)
{
    int status = rebuild_acpi(opaque);

    (void)status;
}

static int add_smbios(struct machine *m)
{
    struct smbios_config cfg = machine_smbios_config(m);

    smbios_build(&m->smbios_anchor, &m->smbios_tables, 0, &cfg);
    if (!bytes_ok(&m->smbios_anchor) || !bytes_ok(&m->smbios_tables))
        return -ENOMEM;
    int status = fw_cfg_add_file(m->fw_cfg, SMBIOS_ANCHOR_FILE, m->smbios_anchor.data, m->smbios_anchor.size);
    return status ? status
                  : fw_cfg_add_file(m->fw_cfg, SMBIOS_TABLES_FILE, m->smbios_tables.data, m->smbios_tables.size);
}

/* RAM only: what lies below 1 MiB is firmware's own business. */
static int add_e820(struct machine *m)
{
    u64 below = mem_space_below_4g(m->mem), above = mem_space_ram(m->mem)->size - below;

    bytes_u64(&m->e820, 0);
    bytes_u64(&m->e820, below);
    bytes_u32(&m->e820, BOOT_RAM);
    if (above) {
        bytes_u64(&m->e820, GiB(4));
        bytes_u64(&m->e820, above);
        bytes_u32(&m->e820, BOOT_RAM);
    }
    return bytes_ok(&m->e820) ? fw_cfg_add_file(m->fw_cfg, "etc/e820", m->e820.data, m->e820.size) : -ENOMEM;
}

static int add_numbers(struct machine *m)
{
    const struct {
        u16 key;
        u8 size;
        u64 value;
    } items[] = {
        {FW_CFG_RAM_SIZE, 8, m->cfg.ram_size}, {FW_CFG_NOGRAPHIC, 2, 1},  {FW_CFG_NB_CPUS, 2, m->cfg.cpus},
        {FW_CFG_MAX_CPUS, 2, m->cfg.cpus},     {FW_CFG_MACHINE_ID, 4, 0}, {FW_CFG_NUMA, 8, 0},
        {FW_CFG_BOOT_DEVICE, 2, 'c'},          {FW_CFG_BOOT_MENU, 2, 0},  {FW_CFG_X86_IRQ0_OVERRIDE, 4, 1},
    };
    int status = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(items) && !status; i++)
        status = fw_cfg_add_int(m->fw_cfg, items[i].key, items[i].value, items[i].size);
    return status;
}

/* Which sleep states there are: S0, S5, and neither S3 nor S4. */
static const u8 system_states[] = {0x80, 0, 0, 1, 2, 0x80};
static const u8 uuid[16];

/* One HPET, as a 32-bit SeaBIOS takes it: count, then ID, address, minimum tick, page protection. */
static const struct {
    u8 count;
    u32 id;
    u64 address;
    u16 min_tick;
    u8 page_protection;
} __attribute__((packed)) hpet_item = {1, HPET_ID, BOARD_HPET, 100, 0};

#define BOOT_FAIL_STOP 0xffffffffu /* stay at "No bootable device" instead of trying again */

static int add_files(struct machine *m)
{
    const struct {
        const char *name;
        u8 size;
        u64 value;
    } numbers[] = {
        {"etc/boot-fail-wait", 4, BOOT_FAIL_STOP},
        {"etc/boot-menu-wait", 2, 0},
        {"etc/sercon-port", 2, PORT_COM1},
        {"bootorder", 1, 0}, /* no order of ours: an empty string */
    };
    int status = fw_cfg_add_file(m->fw_cfg, "etc/system-states", system_states, sizeof(system_states));

    for (unsigned i = 0; i < ARRAY_SIZE(numbers) && !status; i++)
        status = fw_cfg_add_file_int(m->fw_cfg, numbers[i].name, numbers[i].value, numbers[i].size);
    if (!status)
        status = fw_cfg_add(m->fw_cfg, FW_CFG_UUID, uuid, sizeof(uuid));
    return status ? status : fw_cfg_add(m->fw_cfg, FW_CFG_X86_HPET, &hpet_item, sizeof(hpet_item));
}

static int offer_kernel(struct machine *m, struct error *err)
{
    static const struct boot_file none = {.option = "--initramfs", .path = ""};

    if (!m->firmware.path || !m->kernel.path)
        return 0;
    return firmware_offer_kernel(m->fw_cfg, &m->kernel, m->modules.count ? &m->modules.item[0].file : &none, m->cmdline,
                                 mem_space_below_4g(m->mem), &m->offered, err);
}

int machine_fill_fw_cfg(struct machine *m, struct error *err)
{
    if (add_numbers(m) || add_files(m) || add_e820(m) || add_smbios(m) || rebuild_acpi(m))
        return error_set(err, -ENOMEM, "fw_cfg: out of memory or items");
    fw_cfg_on_select(m->fw_cfg, "etc/acpi/", acpi_selected, m);
    return offer_kernel(m, err);
}
