/*
 * The options: one row each, for ring3_config_set, the command line, help and the manual page.
 */
#ifndef API_OPTION_H
#define API_OPTION_H

#include "base/error.h"
#include "ring3.h"
#include "vm/vm.h"

#define OPTION_MAX 40

struct option {
    struct ring3_option public;
    /* Checks `value` and puts it at `place` in a struct vm_config. `who` is the option and its value for messages. */
    int (*parse)(const char *who, const char *value, void *place, struct error *err);
    size_t place;
};

/* The row of that name, or NULL; its number in *index. */
const struct option *option_find(const char *name, unsigned *index);
const struct option *option_at(unsigned n);

#endif
