/*
 * From arguments to a configuration. The options themselves come from the library's table (ring3_option_at); here is
 * how they are spelled: --name VALUE, --name=VALUE, and the same with one dash and with QEMU's name (-m 512M).
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>

#include "ring3.h"

/* Switches of the command itself. */
struct run_switches {
    bool stats;   /* print the engine's counters at the end */
    bool command; /* one was given, behind -- */
    bool help;
    const char *image; /* the word that is no option; NULL: there is none */
};

/* argv[0] is the verb. 0, or the exit status after a message. Without a configuration, only the switches are found. */
int options_parse(int argc, char **argv, struct ring3_config *cfg, struct run_switches *sw);

/* The table for help. */
void options_print(void);

#endif
