/*
 * The shared folders.
 */
#include <stdio.h>
#include <string.h>

#include "backend/share/open.h"
#include "machine/machine.h"
#include "vm/internal.h"

int vm_share_check(const char *who, const char *spec, struct error *err)
{
    int status = share_spec_check(spec, err);
    return status ? error_prefix(err, status, who) : 0;
}

/* A guest mounts by the tag, and could not tell two of them apart. */
static int check_tag(const struct vm *vm, unsigned n, struct error *err)
{
    const char *tag = share_tag(vm->share[n]);
    for (unsigned i = 0; i < n; i++)
        if (strcmp(share_tag(vm->share[i]), tag) == 0)
            return error_set(err, -EEXIST, "another share has the tag \"%s\" already; give tag=NAME", tag);
    return 0;
}

static int open_one(struct vm *vm, unsigned n, struct error *err)
{
    char who[300];
    int status = share_open(vm->cfg.share.item[n], vm->loop, vm->cfg.log, &vm->share[n], err);
    if (!status)
        status = check_tag(vm, n, err);
    if (!status)
        return 0;
    snprintf(who, sizeof(who), "--share %s", vm->cfg.share.item[n]);
    return error_prefix(err, status, who);
}

int vm_open_shares(struct vm *vm, struct error *err)
{
    const struct vm_list *list = &vm->cfg.share;
    int status = 0;
    if (list->count > MACHINE_MAX_SHARES)
        return error_set(err, -EINVAL, "--share %s: there are too many of them; give at most %d",
                         list->item[MACHINE_MAX_SHARES], MACHINE_MAX_SHARES);
    for (unsigned n = 0; n < list->count && !status; n++)
        status = open_one(vm, n, err);
    return status;
}

void vm_drain_shares(struct vm *vm)
{
    for (unsigned n = 0; n < MACHINE_MAX_SHARES; n++)
        if (vm->share[n])
            share_drain(vm->share[n]);
}

void vm_close_shares(struct vm *vm)
{
    for (unsigned n = 0; n < MACHINE_MAX_SHARES; n++) {
        share_close(vm->share[n]);
        vm->share[n] = NULL;
    }
}
