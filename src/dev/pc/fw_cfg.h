/*
 * fw_cfg: how the board hands named blobs to firmware and kernels (QEMU's docs/specs/fw_cfg, version 3 with the DMA
 * interface).
 *
 * Ports: 0x510 selects an item (16-bit write), 0x511 reads its bytes one after the other, 0x514-0x51b is the big-endian
 * DMA address register. Items are read-only for the guest. Reads behind an item's end give zeros.
 *
 * The device keeps pointers: an item's bytes belong to whoever added it and must live as long as the device or until
 * the item is given other bytes. Integers are copied.
 *
 * The DMA descriptor and its target are any addresses the guest likes; transfers touch RAM only.
 */
#ifndef DEV_PC_FW_CFG_H
#define DEV_PC_FW_CFG_H

#include "dev/dev.h"
#include "mem/space.h"

struct fw_cfg;

enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_X86_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_X86_HPET = 0x8004,
};

#define FW_CFG_NAME_SIZE 56 /* of a file, with the terminating zero */
#define FW_CFG_PORT      0x510
#define FW_CFG_PORTS     12

struct fw_cfg_config {
    struct mem_space *mem;
};

/* First member is a struct dev. NULL with a message. Has the signature, the ID and an empty directory. */
struct fw_cfg *fw_cfg_create(const struct fw_cfg_config *cfg, struct error *err);

/*
 * Adds an item, or gives one that is there other bytes. -ENOSPC when the table is full, -EFBIG above 4 GiB - 1,
 * -EINVAL for a bad name. NULL with size 0 is an empty item.
 */
int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, u64 size) MUST_CHECK;
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, u64 size) MUST_CHECK;
/* Little-endian integers of 2, 4 or 8 bytes. */
int fw_cfg_add_int(struct fw_cfg *f, u16 key, u64 value, unsigned size) MUST_CHECK;
int fw_cfg_add_file_int(struct fw_cfg *f, const char *name, u64 value, unsigned size) MUST_CHECK;

/*
 * Called when the guest selects a file whose name starts with `prefix`, before it reads a byte: the owner may give
 * items other bytes. One hook; lock held.
 */
void fw_cfg_on_select(struct fw_cfg *f, const char *prefix, void (*fn)(void *opaque), void *opaque);

#endif
