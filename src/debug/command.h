/*
 * Monitor commands: a table, and what a command gets.
 */
#ifndef DEBUG_COMMAND_H
#define DEBUG_COMMAND_H

#include <stdio.h>

#include "base/types.h"

struct cpu;
struct vm;

#define COMMAND_ARGS 8

struct command_call {
    struct vm *vm;
    unsigned cpu; /* the processor that commands without a number mean */
    FILE *out;    /* lines end with \n */
    int argc;     /* words after the command's name */
    char *argv[COMMAND_ARGS];
};

struct command {
    const char *name; /* one or two words */
    const char *args; /* for help */
    const char *text;
    bool still; /* the processors stand still while it runs */
    void (*run)(struct command_call *call);
};

/* Tables of the single files; the last row has no name. */
extern const struct command commands_control[], commands_inspect[], commands_examine[], commands_memory[];

/* Runs a line. It is cut into words in place. */
void command_run(struct vm *vm, char *line, FILE *out);

/* The processor that word `n` names, or the first; NULL with a line to `out` if there is none of that number. */
struct cpu *command_cpu(struct command_call *call, int n);

/*
 * A number (decimal, 0x hexadecimal) or $register, and further ones behind + or -. False with a line to `out` if it is
 * none.
 */
bool command_value(struct command_call *call, const struct cpu *c, const char *text, u64 *value);

#endif
