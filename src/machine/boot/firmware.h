/*
 * A firmware image in ROM: it ends at 4 GiB, where the processor's first instruction is, and its last 128 KiB show
 * below 1 MiB as well, under the PAM registers' control.
 */
#ifndef MACHINE_BOOT_FIRMWARE_H
#define MACHINE_BOOT_FIRMWARE_H

#include "machine/boot/boot.h"
#include "machine/bytes.h"

#define FIRMWARE_MAX MiB(16)

/* Puts the image into the address space, for good. Images that are no multiple of a page get ones in front. */
int firmware_map(struct mem_space *mem, const struct boot_file *f, struct error *err) MUST_CHECK;

struct fw_cfg;

/* What firmware_offer_kernel makes besides the files; lives as long as fw_cfg. Zero-initialise. */
struct firmware_kernel {
    struct bytes setup; /* the real-mode part, with the boot protocol's fields filled in */
    struct bytes rom;   /* linuxboot.S: starts the kernel from a BIOS that knows nothing of fw_cfg's items */
};
void firmware_kernel_free(struct firmware_kernel *k);

/*
 * Kernel, initramfs and command line as fw_cfg items, for firmware that boots them. A bzImage is handed out in its two
 * parts, and with the option ROM, first in the boot order; anything else as it is. The files must live as long as
 * fw_cfg.
 */
int firmware_offer_kernel(struct fw_cfg *fw, const struct boot_file *kernel, const struct boot_file *initramfs,
                          const char *cmdline, u64 ram_below_4g, struct firmware_kernel *made,
                          struct error *err) MUST_CHECK;

#endif
