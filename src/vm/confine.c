/*
 * Into the sandbox, when the threads are made and before the first guest instruction. Who asked for one does not get a
 * machine without it, unless that was said, too (auto).
 */
#include "backend/share/open.h"
#include "host/sandbox.h"
#include "vm/internal.h"

static int enter(const struct vm *vm, struct error *err)
{
    struct sandbox_folder folder[MACHINE_MAX_SHARES];
    struct sandbox_needs needs = {.folder = folder};
    for (unsigned n = 0; n < vm->cfg.share.count; n++)
        folder[needs.folders++] = (struct sandbox_folder){share_folder(vm->share[n]), share_read_only(vm->share[n])};
    return sandbox_enter(&needs, err);
}

int vm_confine(struct vm *vm, struct error *err)
{
    enum vm_sandbox wanted = vm->cfg.sandbox;
    struct error why = {0};
    if (wanted == VM_SANDBOX_OFF)
        log_msg(vm->cfg.log, LOG_WARN,
                "--sandbox off: a guest that finds a fault in ring3 has all rights of this process");
    if (wanted != VM_SANDBOX_AUTO && wanted != VM_SANDBOX_ON)
        return 0;
    int status = enter(vm, &why);
    if (status > 0) {
        log_msg(vm->cfg.log, LOG_WARN, "--share: a guest that finds a fault in ring3 reaches more than its folders: %s",
                why.text);
        return 0;
    }
    if (!status)
        return 0;
    if (wanted == VM_SANDBOX_ON)
        return error_set(err, -ENOTSUP, "--sandbox on: %s; --sandbox auto goes on without it", why.text);
    log_msg(vm->cfg.log, LOG_WARN, "--sandbox auto: there is no sandbox: %s", why.text);
    return 0;
}
