/* See acpi.h. */
#include "machine/acpi.h"

#include <errno.h>
#include <string.h>

#include "dev/pc/hpet.h"
#include "dev/pc/piix4pm.h"
#include "dev/pc/pm.h"
#include "machine/board.h"

#define HEADER_SIZE     36
#define HEADER_LENGTH   4
#define HEADER_CHECKSUM 9

#define OEM_ID       "RING3 "
#define OEM_TABLE_ID "RING3PC "
#define CREATOR_ID   "RNG3"

/* --- headers, links --------------------------------------------------------------------------------------------- */

static void link_add(struct acpi_image *img, struct acpi_link link)
{
    if (img->links < ACPI_LINKS_MAX)
        img->link[img->links++] = link;
    else
        img->part[ACPI_TABLES].failed = true;
}

/* A pointer field that was written as an offset into the tables. */
static void link_pointer(struct acpi_image *img, enum acpi_part in, size_t at, u8 size)
{
    link_add(img, (struct acpi_link){.in = (u8)in, .to = ACPI_TABLES, .size = size, .at = (u32)at});
}

static void link_checksum(struct acpi_image *img, enum acpi_part in, size_t at, size_t start, size_t length)
{
    link_add(img, (struct acpi_link){
                      .checksum = true, .in = (u8)in, .at = (u32)at, .start = (u32)start, .length = (u32)length});
}

static size_t table_begin(struct bytes *t, const char *signature, u8 revision)
{
    bytes_align(t, 16);
    size_t start = t->size;

    bytes_add(t, signature, 4);
    bytes_u32(t, 0); /* length */
    bytes_u8(t, revision);
    bytes_u8(t, 0); /* checksum */
    bytes_add(t, OEM_ID, 6);
    bytes_add(t, OEM_TABLE_ID, 8);
    bytes_u32(t, 1); /* OEM revision */
    bytes_add(t, CREATOR_ID, 4);
    bytes_u32(t, 1); /* creator revision */
    return start;
}

static void table_end(struct acpi_image *img, size_t start)
{
    struct bytes *t = &img->part[ACPI_TABLES];

    bytes_patch(t, start + HEADER_LENGTH, t->size - start, 4);
    link_checksum(img, ACPI_TABLES, start + HEADER_CHECKSUM, start, t->size - start);
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

/* FACS: no header; 64 bytes, aligned to 64. */
static size_t facs(struct acpi_image *img)
{
    struct bytes *t = &img->part[ACPI_TABLES];

    bytes_align(t, 64);
    size_t start = t->size;
    bytes_add(t, "FACS", 4);
    bytes_u32(t, 64);
    bytes_grow(t, 56);
    bytes_patch(t, start + 32, 1, 1); /* version */
    return start;
}

static size_t dsdt(struct acpi_image *img, const struct acpi_config *cfg)
{
    struct bytes *t = &img->part[ACPI_TABLES];
    size_t start = table_begin(t, "DSDT", 2); /* revision 2: integers have 64 bits */

    dsdt_build(t, cfg);
    table_end(img, start);
    return start;
}

/* A generic address structure. */
static void gas_io(struct bytes *t, unsigned port, u8 bit_width, u8 access_bytes_log2)
{
    bytes_u8(t, 1); /* system I/O */
    bytes_u8(t, bit_width);
    bytes_u8(t, 0);
    bytes_u8(t, access_bytes_log2);
    bytes_u64(t, port);
}

#define FADT_WBINVD     BIT(0)
#define FADT_PROC_C1    BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* no fixed sleep button */
#define FADT_RESET_REG  BIT(10)
#define FADT_FLAGS      (FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET_REG)

#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_8042           BIT(1)
#define BOOT_NO_VGA         BIT(2)

#define CMOS_CENTURY  0x32
#define LATENCY_NO_C2 0xfff
#define LATENCY_NO_C3 0xfff

/* The 32-bit half of the FADT, offsets 36 to 115. */
static void fadt_legacy(struct acpi_image *img, u16 pm, size_t facs_at, size_t dsdt_at)
{
    struct bytes *t = &img->part[ACPI_TABLES];

    link_pointer(img, ACPI_TABLES, t->size, 4);
    bytes_u32(t, (u32)facs_at);
    link_pointer(img, ACPI_TABLES, t->size, 4);
    bytes_u32(t, (u32)dsdt_at);
    bytes_u8(t, 0); /* reserved (was the interrupt model) */
    bytes_u8(t, 0); /* preferred profile: unspecified */
    bytes_u16(t, IRQ_SCI);
    bytes_u32(t, APM_CONTROL_PORT);
    bytes_u8(t, APM_ACPI_ENABLE);
    bytes_u8(t, APM_ACPI_DISABLE);
    bytes_u16(t, 0);             /* S4BIOS_REQ, PSTATE_CNT */
    bytes_u32(t, pm + PM1A_EVT); /* PM1a event, PM1b event */
    bytes_u32(t, 0);
    bytes_u32(t, pm + PM1A_CNT); /* PM1a control, PM1b control */
    bytes_u32(t, 0);
    bytes_u32(t, 0);            /* PM2 control */
    bytes_u32(t, pm + PM_TMR);  /* PM timer */
    bytes_u32(t, pm + PM_GPE0); /* GPE0, GPE1 */
    bytes_u32(t, 0);
    bytes_u8(t, 4); /* lengths: PM1 event, control, PM2, timer */
    bytes_u8(t, 2);
    bytes_u8(t, 0);
    bytes_u8(t, 4);
    bytes_u8(t, PM_GPE0_SIZE); /* GPE0, GPE1 lengths, GPE1 base, CST_CNT */
    bytes_grow(t, 3);
    bytes_u16(t, LATENCY_NO_C2);
    bytes_u16(t, LATENCY_NO_C3);
    bytes_u64(t, 0); /* flush size and stride, duty, alarms */
    bytes_u8(t, CMOS_CENTURY);
    bytes_u16(t, BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA);
    bytes_u8(t, 0);
    bytes_u32(t, FADT_FLAGS);
}

/* The extended half, offsets 116 to 243. */
static void fadt_extended(struct acpi_image *img, u16 pm, size_t dsdt_at)
{
    struct bytes *t = &img->part[ACPI_TABLES];

    gas_io(t, PORT_RESET_CONTROL, 8, 1);
    bytes_u8(t, RESET_CONTROL_VALUE);
    bytes_u16(t, 0); /* ARM boot flags */
    bytes_u8(t, 0);  /* minor version */
    bytes_u64(t, 0); /* X_FACS: the 32-bit field is valid */
    link_pointer(img, ACPI_TABLES, t->size, 8);
    bytes_u64(t, dsdt_at);
    gas_io(t, pm + PM1A_EVT, 32, 2);
    bytes_grow(t, 12);
    gas_io(t, pm + PM1A_CNT, 16, 2);
    bytes_grow(t, 24); /* PM1b control, PM2 control */
    gas_io(t, pm + PM_TMR, 32, 3);
    gas_io(t, pm + PM_GPE0, 8 * PM_GPE0_SIZE, 1);
    bytes_grow(t, 12); /* GPE1 */
}

static size_t fadt(struct acpi_image *img, const struct acpi_config *cfg, size_t facs_at, size_t dsdt_at)
{
    size_t start = table_begin(&img->part[ACPI_TABLES], "FACP", 3);

    fadt_legacy(img, cfg->pm_base, facs_at, dsdt_at);
    fadt_extended(img, cfg->pm_base, dsdt_at);
    table_end(img, start);
    return start;
}

#define MADT_PCAT_COMPAT BIT(0)
#define MADT_ENABLED     BIT(0)
#define MADT_HIGH_LEVEL  0x0d /* MPS INTI flags: active high, level */
#define MADT_ALL_CPUS    0xff

static void madt_override(struct bytes *t, u8 irq, u32 gsi, u16 flags)
{
    bytes_u8(t, 2);
    bytes_u8(t, 10);
    bytes_u8(t, 0); /* ISA */
    bytes_u8(t, irq);
    bytes_u32(t, gsi);
    bytes_u16(t, flags);
}

static size_t madt(struct acpi_image *img, const struct acpi_config *cfg)
{
    static const u8 level_lines[] = {5, IRQ_SCI, 10, 11}; /* what PCI links can choose, and the SCI */
    struct bytes *t = &img->part[ACPI_TABLES];
    size_t start = table_begin(t, "APIC", 3);

    bytes_u32(t, BOARD_LAPIC);
    bytes_u32(t, MADT_PCAT_COMPAT);
    for (unsigned i = 0; i < cfg->cpus; i++) {
        bytes_u8(t, 0); /* processor local APIC */
        bytes_u8(t, 8);
        bytes_u8(t, (u8)i); /* _UID */
        bytes_u8(t, (u8)i); /* APIC ID */
        bytes_u32(t, MADT_ENABLED);
    }
    bytes_u8(t, 1); /* I/O APIC */
    bytes_u8(t, 12);
    bytes_u8(t, BOARD_IOAPIC_ID);
    bytes_u8(t, 0);
    bytes_u32(t, BOARD_IOAPIC);
    bytes_u32(t, 0); /* GSI base */
    madt_override(t, IRQ_TIMER, 2, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(level_lines); i++)
        madt_override(t, level_lines[i], level_lines[i], MADT_HIGH_LEVEL);
    bytes_u8(t, 4); /* local APIC NMI */
    bytes_u8(t, 6);
    bytes_u8(t, MADT_ALL_CPUS);
    bytes_u16(t, 0);
    bytes_u8(t, 1); /* LINT1 */
    table_end(img, start);
    return start;
}

#define HPET_MIN_TICK 100

static size_t hpet(struct acpi_image *img)
{
    struct bytes *t = &img->part[ACPI_TABLES];
    size_t start = table_begin(t, "HPET", 1);

    bytes_u32(t, HPET_ID);
    bytes_u8(t, 0); /* a generic address in memory */
    bytes_u8(t, 64);
    bytes_u16(t, 0);
    bytes_u64(t, BOARD_HPET);
    bytes_u8(t, 0); /* sequence number */
    bytes_u16(t, HPET_MIN_TICK);
    bytes_u8(t, 0); /* page protection: none */
    table_end(img, start);
    return start;
}

static size_t root_table(struct acpi_image *img, const char *signature, u8 entry_size, const size_t *tables,
                         unsigned count)
{
    struct bytes *t = &img->part[ACPI_TABLES];
    size_t start = table_begin(t, signature, 1);

    for (unsigned i = 0; i < count; i++) {
        u64 at = tables[i];
        link_pointer(img, ACPI_TABLES, t->size, entry_size);
        bytes_add(t, &at, entry_size);
    }
    table_end(img, start);
    return start;
}

enum { RSDP_CHECKSUM = 8, RSDP_V1_SIZE = 20, RSDP_CHECKSUM_V2 = 32, RSDP_SIZE = 36 };

static void rsdp(struct acpi_image *img, size_t rsdt, size_t xsdt)
{
    struct bytes *r = &img->part[ACPI_RSDP];

    bytes_add(r, "RSD PTR ", 8);
    bytes_u8(r, 0); /* checksum of the first 20 bytes */
    bytes_add(r, OEM_ID, 6);
    bytes_u8(r, 2); /* revision */
    link_pointer(img, ACPI_RSDP, r->size, 4);
    bytes_u32(r, (u32)rsdt);
    bytes_u32(r, RSDP_SIZE);
    link_pointer(img, ACPI_RSDP, r->size, 8);
    bytes_u64(r, xsdt);
    bytes_u32(r, 0); /* checksum of all, reserved */
    link_checksum(img, ACPI_RSDP, RSDP_CHECKSUM, 0, RSDP_V1_SIZE);
    link_checksum(img, ACPI_RSDP, RSDP_CHECKSUM_V2, 0, RSDP_SIZE);
}

int acpi_build(struct acpi_image *img, const struct acpi_config *cfg)
{
    memset(img, 0, sizeof(*img));
    size_t facs_at = facs(img);
    size_t dsdt_at = dsdt(img, cfg);
    const size_t tables[] = {fadt(img, cfg, facs_at, dsdt_at), madt(img, cfg), hpet(img)};
    size_t rsdt = root_table(img, "RSDT", 4, tables, ARRAY_SIZE(tables));
    size_t xsdt = root_table(img, "XSDT", 8, tables, ARRAY_SIZE(tables));

    rsdp(img, rsdt, xsdt);
    return bytes_ok(&img->part[ACPI_TABLES]) && bytes_ok(&img->part[ACPI_RSDP]) ? 0 : -ENOMEM;
}

void acpi_free(struct acpi_image *img)
{
    for (unsigned i = 0; i < ACPI_PARTS; i++)
        bytes_free(&img->part[i]);
}

/* --- delivery --------------------------------------------------------------------------------------------------- */

void acpi_place(struct acpi_image *img, const u64 base[ACPI_PARTS])
{
    for (unsigned i = 0; i < img->links; i++) {
        const struct acpi_link *l = &img->link[i];
        u8 *part = img->part[l->in].data, *field = part + l->at;

        if (l->checksum)
            *field = checksum8(part + l->start, l->length);
        else if (l->size == 4)
            put_u32(field, (u32)(get_u32(field) + base[l->to]));
        else
            put_u64(field, get_u64(field) + base[l->to]);
    }
}

/* The loader's commands: 128 bytes each, file names of 56. */
enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };
#define LOADER_COMMAND_SIZE 128
#define LOADER_NAME_SIZE    56

static const char *const part_file[ACPI_PARTS] = {ACPI_TABLES_FILE, ACPI_RSDP_FILE};

static void command_begin(struct bytes *s, u32 command, enum acpi_part part)
{
    bytes_u32(s, command);
    size_t name = s->size;
    if (bytes_grow(s, LOADER_NAME_SIZE))
        memcpy(s->data + name, part_file[part], strlen(part_file[part]));
}

static void command_end(struct bytes *s)
{
    bytes_align(s, LOADER_COMMAND_SIZE);
}

static void allocate(struct bytes *s, enum acpi_part part, u32 alignment, u8 zone)
{
    command_begin(s, LOADER_ALLOCATE, part);
    bytes_u32(s, alignment);
    bytes_u8(s, zone);
    command_end(s);
}

void acpi_loader_script(const struct acpi_image *img, struct bytes *s)
{
    allocate(s, ACPI_TABLES, 64, ZONE_HIGH);
    allocate(s, ACPI_RSDP, 16, ZONE_FSEG);
    for (unsigned i = 0; i < img->links; i++) {
        const struct acpi_link *l = &img->link[i];
        command_begin(s, l->checksum ? LOADER_ADD_CHECKSUM : LOADER_ADD_POINTER, l->in);
        if (l->checksum) {
            bytes_u32(s, l->at);
            bytes_u32(s, l->start);
            bytes_u32(s, l->length);
        } else {
            size_t name = s->size;
            if (bytes_grow(s, LOADER_NAME_SIZE))
                memcpy(s->data + name, part_file[l->to], strlen(part_file[l->to]));
            bytes_u32(s, l->at);
            bytes_u8(s, l->size);
        }
        command_end(s);
    }
}
