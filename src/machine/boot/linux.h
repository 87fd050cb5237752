/*
 * The Linux/x86 boot protocol (Documentation/arch/x86/boot.rst): what is read from a bzImage's setup header, shared
 * between booting it here and handing it to firmware.
 */
#ifndef MACHINE_BOOT_LINUX_H
#define MACHINE_BOOT_LINUX_H

#include "machine/boot/boot.h"

struct linux_image {
    u16 protocol;
    u32 setup_size; /* boot sector and real-mode code: the rest of the file is the kernel proper */
    u64 kernel_size;
    u64 initrd_max;            /* highest address that the initramfs may occupy */
    u32 cmdline_max;           /* without the terminating zero */
    u64 load;                  /* where the kernel wants to be */
    u64 init_size;             /* memory it needs from there */
    bool long_entry;           /* has a 64-bit entry point */
    u64 payload, payload_size; /* the compressed kernel, inside the kernel proper; size 0: not told */
    u64 alignment;             /* of where the kernel can be; 0: not told */
};

bool linux_is_image(const struct boot_file *f);
/* NULL if all is well, or what is wrong. */
const char *linux_parse(const struct boot_file *f, struct linux_image *l) MUST_CHECK;

/* Offsets in the file, and in struct boot_params. */
enum {
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_VID_MODE = 0x1fa,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP = 0x200,
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_HEAP_END = 0x224,
    HDR_CMDLINE = 0x228,
    HDR_INITRD_MAX = 0x22c,
    HDR_ALIGNMENT = 0x230,
    HDR_RELOCATABLE = 0x234,
    HDR_XLOADFLAGS = 0x236,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_PAYLOAD = 0x248,
    HDR_PAYLOAD_SIZE = 0x24c,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_END = 0x268,
};
#define LOADFLAG_HIGH    0x01
#define LOADFLAG_KASLR   0x02
#define LOADFLAG_HEAP    0x80
#define LOADER_UNDEFINED 0xff

#endif
