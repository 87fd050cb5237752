/*
 * Into the sandbox, when the threads are made and before the first guest instruction. Who asked for one does not get a
 * machine without it, unless that was said, too (auto).
 */
#include "host/sandbox.h"
#include "vm/internal.h"

int vm_confine(struct vm *vm, struct error *err)
{
    enum vm_sandbox wanted = vm->cfg.sandbox;
    struct error why = {0};
    if (wanted == VM_SANDBOX_OFF)
        log_msg(vm->cfg.log, LOG_WARN,
                "--sandbox off: a guest that finds a fault in ring3 has all rights of this process");
    if (wanted != VM_SANDBOX_AUTO && wanted != VM_SANDBOX_ON)
        return 0;
    int status = sandbox_enter(&why);
    if (!status)
        return 0;
    if (wanted == VM_SANDBOX_ON)
        return error_set(err, -ENOTSUP, "--sandbox on: %s; --sandbox auto goes on without it", why.text);
    log_msg(vm->cfg.log, LOG_WARN, "--sandbox auto: there is no sandbox: %s", why.text);
    return 0;
}
