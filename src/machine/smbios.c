/* See smbios.h. */
#include "machine/smbios.h"

#include <string.h>

#include "machine/board.h"

enum {
    TYPE_FIRMWARE = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_MAP = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

/* Handles: the type in the high byte, which makes them unique. */
#define HANDLE(type, n) ((u16)((type) << 8 | (n)))
#define NO_HANDLE       0xfffe
#define MAKER           "ring3"

/* The structure under construction: its strings are collected and follow the formatted part. */
struct item {
    struct bytes *t;
    size_t start;
    struct bytes strings;
    u8 string_count;
};

struct build {
    struct bytes *t;
    u16 count, largest;
};

static struct item item_begin(struct build *b, u8 type, unsigned n)
{
    struct item it = {.t = b->t, .start = b->t->size};

    bytes_u8(b->t, type);
    bytes_u8(b->t, 0); /* length of the formatted part */
    bytes_u16(b->t, HANDLE(type, n));
    return it;
}

/* A string field: its number in the list behind the structure, 0 for none. */
static void item_string(struct item *it, const char *text)
{
    if (!text || !*text) {
        bytes_u8(it->t, 0);
        return;
    }
    bytes_add(&it->strings, text, strlen(text) + 1);
    bytes_u8(it->t, ++it->string_count);
}

static void item_end(struct build *b, struct item *it)
{
    bytes_patch(it->t, it->start + 1, it->t->size - it->start, 1);
    bytes_add(it->t, it->strings.data, it->strings.size);
    bytes_grow(it->t, it->string_count ? 1 : 2);
    if (it->strings.failed)
        it->t->failed = true;
    bytes_free(&it->strings);
    size_t size = it->t->size - it->start;
    if (size > b->largest)
        b->largest = (u16)size;
    b->count++;
}

static void firmware(struct build *b)
{
    struct item it = item_begin(b, TYPE_FIRMWARE, 0);

    item_string(&it, MAKER);
    item_string(&it, "1");
    bytes_u16(it.t, 0xe800); /* segment */
    item_string(&it, "01/01/2024");
    bytes_u8(it.t, 0);           /* ROM size: 64 KiB */
    bytes_u64(it.t, BIT64(3));   /* characteristics are not supported */
    bytes_u16(it.t, BIT(4 + 8)); /* it is a virtual machine */
    bytes_u16(it.t, 0);          /* release */
    bytes_u16(it.t, 0xffff);     /* embedded controller: none */
    item_end(b, &it);
}

static void system_info(struct build *b)
{
    struct item it = item_begin(b, TYPE_SYSTEM, 0);

    item_string(&it, MAKER);
    item_string(&it, "PC (i440FX, PIIX3)");
    item_string(&it, "1");
    item_string(&it, NULL);
    bytes_grow(it.t, 16); /* UUID: not present */
    bytes_u8(it.t, 6);    /* woken by the power switch */
    item_string(&it, NULL);
    item_string(&it, "Virtual Machine");
    item_end(b, &it);
}

static void chassis(struct build *b)
{
    struct item it = item_begin(b, TYPE_CHASSIS, 0);

    item_string(&it, MAKER);
    bytes_u8(it.t, 1); /* other */
    item_string(&it, "1");
    item_string(&it, NULL);
    item_string(&it, NULL);
    bytes_u8(it.t, 3); /* boot-up, power supply, thermal state: safe; security: unknown */
    bytes_u8(it.t, 3);
    bytes_u8(it.t, 3);
    bytes_u8(it.t, 2);
    bytes_u32(it.t, 0);
    bytes_u32(it.t, 0); /* height, power cords, contained elements */
    item_end(b, &it);
}

static void processor(struct build *b, unsigned n, const struct smbios_config *cfg)
{
    struct item it = item_begin(b, TYPE_PROCESSOR, n);

    item_string(&it, "CPU");
    bytes_u8(it.t, 3); /* central processor */
    bytes_u8(it.t, 1); /* family: other */
    item_string(&it, cfg->cpu_vendor);
    bytes_u64(it.t, 0); /* ID */
    item_string(&it, cfg->cpu_brand);
    bytes_u8(it.t, 0);                        /* voltage */
    bytes_u16(it.t, 0);                       /* external clock */
    bytes_u16(it.t, BOARD_TSC_HZ / 1000000u); /* maximum and current speed, MHz */
    bytes_u16(it.t, BOARD_TSC_HZ / 1000000u);
    bytes_u8(it.t, 0x41);    /* populated, enabled */
    bytes_u8(it.t, 1);       /* upgrade: other */
    bytes_u16(it.t, 0xffff); /* caches: not told */
    bytes_u32(it.t, 0xffffffff);
    item_string(&it, NULL);
    item_string(&it, NULL);
    item_string(&it, NULL);
    bytes_u8(it.t, 1); /* cores, enabled cores, threads */
    bytes_u8(it.t, 1);
    bytes_u8(it.t, 1);
    bytes_u16(it.t, BIT(2)); /* 64-bit capable */
    bytes_u16(it.t, 1);
    item_end(b, &it);
}

static void memory_array(struct build *b, u64 ram_size)
{
    struct item it = item_begin(b, TYPE_MEMORY_ARRAY, 0);

    bytes_u8(it.t, 3); /* system board, system memory, no error correction */
    bytes_u8(it.t, 3);
    bytes_u8(it.t, 3);
    bytes_u32(it.t, 0x80000000); /* capacity: see the extended field */
    bytes_u16(it.t, NO_HANDLE);
    bytes_u16(it.t, 1);
    bytes_u64(it.t, ram_size);
    item_end(b, &it);
}

static void memory_device(struct build *b, u64 ram_size)
{
    struct item it = item_begin(b, TYPE_MEMORY_DEVICE, 0);
    u64 mib = ram_size >> 20;

    bytes_u16(it.t, HANDLE(TYPE_MEMORY_ARRAY, 0));
    bytes_u16(it.t, NO_HANDLE);
    bytes_u16(it.t, 0xffff); /* total and data width: unknown */
    bytes_u16(it.t, 0xffff);
    bytes_u16(it.t, mib < 0x7fff ? (u16)mib : 0x7fff);
    bytes_u8(it.t, 9); /* DIMM */
    bytes_u8(it.t, 0);
    item_string(&it, "DIMM 0");
    item_string(&it, NULL);
    bytes_u8(it.t, 7); /* RAM */
    bytes_u16(it.t, BIT(1));
    bytes_u16(it.t, 0);
    item_string(&it, MAKER);
    item_string(&it, NULL);
    item_string(&it, NULL);
    item_string(&it, NULL);
    bytes_u8(it.t, 0);
    bytes_u32(it.t, mib < 0x7fff ? 0 : (u32)mib);
    bytes_u64(it.t, 0); /* clock and voltages: unknown */
    item_end(b, &it);
}

static void memory_map(struct build *b, unsigned n, u64 first, u64 size)
{
    struct item it = item_begin(b, TYPE_MEMORY_MAP, n);

    if (!size)
        size = 1;                /* the field cannot say "nothing" */
    bytes_u32(it.t, 0xffffffff); /* see the extended fields */
    bytes_u32(it.t, 0xffffffff);
    bytes_u16(it.t, HANDLE(TYPE_MEMORY_ARRAY, 0));
    bytes_u8(it.t, 1);
    bytes_u64(it.t, first);
    bytes_u64(it.t, first + size - 1);
    item_end(b, &it);
}

static void boot_info(struct build *b)
{
    struct item it = item_begin(b, TYPE_BOOT, 0);

    bytes_grow(it.t, 7); /* no errors */
    item_end(b, &it);
}

static void end_of_table(struct build *b)
{
    struct item it = item_begin(b, TYPE_END, 0);

    item_end(b, &it);
}

/* The entry point structure, 2.1 form. */
enum { EP_CHECKSUM = 4, EP_DMI = 16, EP_DMI_CHECKSUM = 21, EP_ADDRESS = 24, EP_SIZE = 31 };

void smbios_place(u8 *anchor, u32 address)
{
    put_u32(anchor + EP_ADDRESS, address);
    anchor[EP_DMI_CHECKSUM] = anchor[EP_CHECKSUM] = 0;
    anchor[EP_DMI_CHECKSUM] = checksum8(anchor + EP_DMI, EP_SIZE - EP_DMI);
    anchor[EP_CHECKSUM] = checksum8(anchor, EP_SIZE);
}

static void entry_point(struct bytes *anchor, const struct build *b, size_t length, u32 address)
{
    size_t start = anchor->size;

    bytes_add(anchor, "_SM_", 4);
    bytes_u8(anchor, 0);
    bytes_u8(anchor, EP_SIZE);
    bytes_u8(anchor, 2); /* version 2.8 */
    bytes_u8(anchor, 8);
    bytes_u16(anchor, b->largest);
    bytes_grow(anchor, 6); /* entry point revision, formatted area */
    bytes_add(anchor, "_DMI_", 5);
    bytes_u8(anchor, 0);
    bytes_u16(anchor, (u16)length);
    bytes_u32(anchor, address);
    bytes_u16(anchor, b->count);
    bytes_u8(anchor, 0x28);
    if (bytes_ok(anchor))
        smbios_place(anchor->data + start, address);
}

void smbios_build(struct bytes *anchor, struct bytes *tables, u32 address, const struct smbios_config *cfg)
{
    struct build b = {.t = tables};
    size_t start = tables->size;

    firmware(&b);
    system_info(&b);
    chassis(&b);
    for (unsigned i = 0; i < cfg->cpus; i++)
        processor(&b, i, cfg);
    memory_array(&b, cfg->ram_size);
    memory_device(&b, cfg->ram_size);
    memory_map(&b, 0, 0, cfg->ram_below_4g);
    if (cfg->ram_size > cfg->ram_below_4g)
        memory_map(&b, 1, GiB(4), cfg->ram_size - cfg->ram_below_4g);
    boot_info(&b);
    end_of_table(&b);
    entry_point(anchor, &b, tables->size - start, address);
}
