/* See firmware.h. */
#include "machine/boot/firmware.h"

#include <stdlib.h>
#include <string.h>

#include "dev/pc/fw_cfg.h"
#include "machine/board.h"
#include "machine/boot/linux.h"

#define LOW_WINDOW KiB(128)

/* The processor starts in the last 16 bytes: a file without an instruction there, or of an odd size, is something else.
 */
static int firmware_check(const struct boot_file *f, struct error *err)
{
    static const u8 zeros[16], ones[16] = {[0 ... 15] = 0xff};

    if (f->size > FIRMWARE_MAX)
        return error_set(err, -EFBIG, "%s %s: larger than a firmware image may be (16 MiB)", f->option, f->path);
    if (!f->size || !is_aligned(f->size, MEM_PAGE_SIZE))
        return error_set(err, -EINVAL, "%s %s: not a firmware image: its size is no multiple of 4 KiB", f->option,
                         f->path);
    const u8 *reset_vector = f->data + f->size - sizeof(zeros);
    if (memcmp(reset_vector, zeros, sizeof(zeros)) == 0 || memcmp(reset_vector, ones, sizeof(ones)) == 0)
        return error_set(err, -EINVAL,
                         "%s %s: not a firmware image: there is no instruction at its reset vector (the last 16 bytes)",
                         f->option, f->path);
    return 0;
}

int firmware_map(struct mem_space *mem, const struct boot_file *f, struct error *err)
{
    u64 size = f->size;
    u64 low = size < LOW_WINDOW ? size : LOW_WINDOW;
    int status = firmware_check(f, err);

    if (status)
        return status;
    if (!mem_rom_add(mem, GiB(4) - size, f->data, size) ||
        !mem_rom_add(mem, LOW_END - low, f->data + (size - low), low))
        return error_set(err, -ENOMEM, "%s %s: no memory for the image", f->option, f->path);
    return 0;
}

/* Where firmware that follows the addresses given puts things; some place them themselves. */
#define SETUP_ADDRESS   0x10000
#define CMDLINE_ADDRESS 0x20000
#define KERNEL_ADDRESS  0x100000
#define TABLES_ROOM     KiB(256) /* at the end of low memory, for the firmware's own tables */
#define LOADER_ID       0xb0

static u64 initrd_address(const struct boot_file *initramfs, u64 ram_below_4g, u64 limit)
{
    u64 top = ram_below_4g - TABLES_ROOM;

    if (limit < top)
        top = limit;
    return initramfs->size < top ? align_down(top - initramfs->size, MEM_PAGE_SIZE) : 0;
}

static void fill_setup(u8 *setup, u64 initrd_at, u64 initrd_size)
{
    setup[HDR_LOADER] = LOADER_ID;
    setup[HDR_LOADFLAGS] |= LOADFLAG_HEAP;
    put_u16(setup + HDR_HEAP_END, CMDLINE_ADDRESS - SETUP_ADDRESS - 0x200);
    put_u32(setup + HDR_CMDLINE, CMDLINE_ADDRESS);
    put_u32(setup + HDR_RAMDISK, (u32)initrd_at);
    put_u32(setup + HDR_RAMDISK_SIZE, (u32)initrd_size);
}

struct integer_item {
    u16 key;
    u64 value;
};

static int add_integers(struct fw_cfg *fw, const struct integer_item *item, unsigned count)
{
    int status = 0;

    for (unsigned i = 0; i < count && !status; i++)
        status = fw_cfg_add_int(fw, item[i].key, item[i].value, 4);
    return status;
}

static int offer_image(struct fw_cfg *fw, const struct boot_file *kernel, const struct linux_image *l,
                       const struct bytes *setup)
{
    u64 skip = l->setup_size;
    const struct integer_item items[] = {
        {FW_CFG_KERNEL_ADDR, KERNEL_ADDRESS},
        {FW_CFG_KERNEL_SIZE, kernel->size - skip},
        {FW_CFG_KERNEL_ENTRY, 0},
        {FW_CFG_SETUP_ADDR, SETUP_ADDRESS},
        {FW_CFG_SETUP_SIZE, skip},
    };
    int status = add_integers(fw, items, ARRAY_SIZE(items));

    if (!status)
        status = fw_cfg_add(fw, FW_CFG_KERNEL_DATA, kernel->data + skip, kernel->size - skip);
    return status ? status : fw_cfg_add(fw, FW_CFG_SETUP_DATA, setup->data, setup->size);
}

static int offer_rest(struct fw_cfg *fw, const struct boot_file *initramfs, u64 initrd_at, const char *cmdline)
{
    u64 size = strlen(cmdline) + 1;
    const struct integer_item items[] = {
        {FW_CFG_CMDLINE_ADDR, CMDLINE_ADDRESS},
        {FW_CFG_CMDLINE_SIZE, size},
        {FW_CFG_INITRD_ADDR, initrd_at},
        {FW_CFG_INITRD_SIZE, initramfs->size},
    };
    int status = add_integers(fw, items, ARRAY_SIZE(items));

    if (!status)
        status = fw_cfg_add(fw, FW_CFG_CMDLINE_DATA, cmdline, size);
    return status ? status : fw_cfg_add(fw, FW_CFG_INITRD_DATA, initramfs->data, initramfs->size);
}

/* linuxboot.S, and where its blanks are. */
extern const u8 linuxboot_rom[];
extern const u32 linuxboot_rom_size;
enum { ROM_LENGTH = 2, ROM_PNP_POINTER = 0x1a, PNP_CHECKSUM = 9, PNP_SIZE = 32 };
#define ROM_FILE       "genroms/linuxboot.bin"
#define ROM_BOOT_ORDER "/rom@" ROM_FILE

static int offer_rom(struct fw_cfg *fw, struct bytes *rom)
{
    static const char order[] = ROM_BOOT_ORDER;
    size_t size = linuxboot_rom_size;

    bytes_add(rom, linuxboot_rom, size);
    if (!bytes_ok(rom))
        return -ENOMEM;
    u8 *pnp = rom->data + get_u16(rom->data + ROM_PNP_POINTER);
    pnp[PNP_CHECKSUM] = checksum8(pnp, PNP_SIZE);
    rom->data[ROM_LENGTH] = (u8)(size / 512);
    rom->data[size - 1] = checksum8(rom->data, size);
    int status = fw_cfg_add_file(fw, ROM_FILE, rom->data, size);
    return status ? status : fw_cfg_add_file(fw, "bootorder", order, sizeof(order));
}

void firmware_kernel_free(struct firmware_kernel *k)
{
    bytes_free(&k->setup);
    bytes_free(&k->rom);
}

/* Checks the kernel, and finds the initramfs its place. */
static int check_kernel(const struct boot_file *kernel, const struct boot_file *initramfs, const char *cmdline,
                        u64 ram_below_4g, struct linux_image *l, u64 *initrd_at, struct error *err)
{
    *l = (struct linux_image){.initrd_max = UINT32_MAX, .cmdline_max = UINT32_MAX};
    if (kernel->size > UINT32_MAX || initramfs->size > UINT32_MAX)
        return error_set(err, -EFBIG, "%s %s: too large to be handed to firmware", kernel->option, kernel->path);
    if (linux_is_image(kernel)) {
        const char *why = linux_parse(kernel, l);
        if (why)
            return error_set(err, -EINVAL, "%s %s: %s", kernel->option, kernel->path, why);
    }
    if (strlen(cmdline) > l->cmdline_max)
        return error_set(err, -EINVAL, "--cmdline: too long: this kernel takes at most %u characters", l->cmdline_max);
    *initrd_at = initrd_address(initramfs, ram_below_4g, l->initrd_max + 1);
    if (!*initrd_at)
        return error_set(err, -ENOMEM, "%s %s: does not fit into guest memory: raise --memory", initramfs->option,
                         initramfs->path);
    return 0;
}

int firmware_offer_kernel(struct fw_cfg *fw, const struct boot_file *kernel, const struct boot_file *initramfs,
                          const char *cmdline, u64 ram_below_4g, struct firmware_kernel *made, struct error *err)
{
    struct linux_image l;
    u64 initrd_at;
    int status = check_kernel(kernel, initramfs, cmdline, ram_below_4g, &l, &initrd_at, err);

    if (status)
        return status;
    bytes_add(&made->setup, kernel->data, l.setup_size);
    if (!bytes_ok(&made->setup))
        return error_set(err, -ENOMEM, "%s %s: out of memory", kernel->option, kernel->path);
    if (l.setup_size)
        fill_setup(made->setup.data, initrd_at, initramfs->size);
    if (offer_image(fw, kernel, &l, &made->setup) || offer_rest(fw, initramfs, initrd_at, cmdline) ||
        (l.setup_size && offer_rom(fw, &made->rom)))
        return error_set(err, -ENOSPC, "fw_cfg: no room for the kernel's items");
    return 0;
}
