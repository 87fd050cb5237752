/*
 * The kernel on the first disk, for a machine that was given neither a kernel nor firmware.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block/open.h"
#include "vm/internal.h"
#include "volume/kernel.h"

static int find(struct vm *vm, struct volume_kernel *found, struct error *err)
{
    struct block_reader *r;
    int status = vm_look_into_disk(vm, 0, &r, err);
    if (status)
        return status;
    struct volume disk = {.read = block_reader_read, .opaque = r, .size = block_reader_size(r)};
    status = volume_find_kernel(&disk, found, err);
    block_reader_close(r);
    if (status != -ENOENT)
        return status;
    char why[300];
    (void)snprintf(why, sizeof(why), "%.299s", err->text);
    return error_set(err, status,
                     "%s; give --kernel, or --firmware (such as /usr/share/seabios/bios-256k.bin) for its own boot "
                     "loader to start it",
                     why);
}

static void tell(struct vm *vm, const char *cmdline)
{
    const struct machine_loaded *l = &vm->loaded;
    log_msg(vm->cfg.log, LOG_INFO, "%s %s%s%s, command line: %s", l->origin, l->kernel_path,
            l->initramfs_path ? " with " : "", l->initramfs_path ? l->initramfs_path : "", cmdline);
}

int vm_load_kernel(struct vm *vm, struct error *err)
{
    const struct vm_config *cfg = &vm->cfg;
    struct volume_kernel k;
    char who[300];
    if (cfg->kernel || cfg->firmware || !cfg->disk.count)
        return 0;
    (void)snprintf(who, sizeof(who), "--disk %s", cfg->disk.item[0]);
    int status = find(vm, &k, err);
    if (status)
        return error_prefix(err, status, who);
    vm->found_cmdline = k.cmdline;
    vm->loaded = (struct machine_loaded){
        .kernel_path = k.path,
        .initramfs_path = k.initramfs_path,
        .kernel = k.kernel,
        .initramfs = k.initramfs,
        .kernel_size = k.kernel_size,
        .initramfs_size = k.initramfs_size,
    };
    if (asprintf(&vm->loaded.origin, "%s:", who) < 0) {
        vm->loaded.origin = NULL;
        return error_set(err, -ENOMEM, "%s: out of memory", who);
    }
    tell(vm, cfg->cmdline ? cfg->cmdline : k.cmdline);
    return 0;
}

void vm_free_kernel(struct vm *vm)
{
    struct machine_loaded *l = &vm->loaded;
    free(l->origin);
    free(l->kernel_path);
    free(l->initramfs_path);
    free(l->kernel);
    free(l->initramfs);
    free(vm->found_cmdline);
}
