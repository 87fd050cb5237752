/*
 * Which engine runs the processors. A named one that cannot run here is an error, never a silent fall-back.
 */
#include <stdio.h>
#include <string.h>

#include "vm/internal.h"

/* Engines that a person may have heard of and that some builds have. */
static const char *const known[] = {"auto", "translate", "kvm", "interp"};

static bool engine_known(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(known[i], name) == 0)
            return true;
    return false;
}

static void engines_list(char *text, size_t size)
{
    snprintf(text, size, "auto");
    for (size_t i = 0; engines[i]; i++) {
        size_t len = strlen(text);
        snprintf(text + len, size - len, " or %s", engines[i]->name);
    }
}

static int choose_named(struct vm *vm, struct error *err)
{
    const char *name = vm->cfg.engine;
    const struct engine_ops *e = engine_find(name);
    if (!e) {
        char list[100];
        engines_list(list, sizeof(list));
        return error_set(err, -EINVAL, "--engine %s: %s; give %s", name,
                         engine_known(name) ? "not in this build yet" : "no such engine", list);
    }
    struct error why = {0};
    if (e->probe && e->probe(&why))
        return error_set(err, -ENOTSUP, "--engine %s: cannot run here: %.300s", name, why.text);
    vm->engine = e;
    snprintf(vm->engine_reason, sizeof(vm->engine_reason), "as asked for");
    return 0;
}

/* The list is in order of preference. */
static int choose_best(struct vm *vm, struct error *err)
{
    char *reason = vm->engine_reason;
    size_t size = sizeof(vm->engine_reason);
    snprintf(reason, size, engines[0] && !engines[1] ? "the only engine in this build" : "the best that runs here");
    for (size_t i = 0; engines[i]; i++) {
        struct error why = {0};
        if (!engines[i]->probe || engines[i]->probe(&why) == 0) {
            vm->engine = engines[i];
            return 0;
        }
        size_t len = strlen(reason);
        snprintf(reason + len, size - len, "; %s: %.80s", engines[i]->name, why.text);
    }
    return error_set(err, -ENOTSUP, "--engine auto: no engine runs here: %s", reason);
}

int vm_choose_engine(struct vm *vm, struct error *err)
{
    return strcmp(vm->cfg.engine, "auto") == 0 ? choose_best(vm, err) : choose_named(vm, err);
}
