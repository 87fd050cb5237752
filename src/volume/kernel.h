/*
 * The kernel inside a disk: what the disk's own boot loader would start, without it.
 */
#ifndef VOLUME_KERNEL_H
#define VOLUME_KERNEL_H

#include "volume/volume.h"

struct volume_kernel {
    char *path; /* of the kernel on the disk */
    u8 *kernel;
    u64 kernel_size;
    char *initramfs_path; /* the first one's; NULL: there is none */
    u8 *initramfs;        /* all of them, one behind the other */
    u64 initramfs_size;
    char *cmdline; /* with root=, and with a console on the first serial port */
};

/*
 * In this order, for each file system of the disk: entries of the Boot Loader Specification, extlinux.conf, grub.cfg,
 * what /vmlinuz and /initrd.img point to, and the newest /boot/vmlinuz-*. The message says what was looked for.
 */
int volume_find_kernel(const struct volume *disk, struct volume_kernel *out, struct error *err) MUST_CHECK;
void volume_kernel_free(struct volume_kernel *k);

#endif
