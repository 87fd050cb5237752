/*
 * Other programs that do part of the work.
 */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

struct process {
    const char *const *argv; /* argv[0] is looked for as by process_find; NULL at the end */
    const char *log;         /* a file that gets what it prints, behind what is there already; NULL: nowhere */
    int output;              /* descriptor for its standard output; -1: where standard error goes */
    /* Each line of its standard error; may be NULL. */
    void (*line)(void *opaque, const char *text);
    void *opaque;
};

/* The path of a program, also in the folders of the system's own; false if there is none. */
bool process_find(const char *name, char *path, size_t size);

/* Runs it to its end, with the step shown (status.h). Its exit status; -1 if it could not be run, or was ended by a
 * signal or because of one that came to us: then it was told to end and did. */
int process_run(const struct process *p);

#endif
