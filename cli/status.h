/*
 * What takes longer than a moment: one line on the terminal that says what is being done and for how long, and the
 * signals that end it in order. One at a time.
 */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include <stdbool.h>
#include <stdint.h>

/* From here on INT, TERM and HUP are noted and do not end the process. */
void status_begin(void);
/* The line is taken away. If a signal came, the process ends by it, as a shell wants to see. */
void status_end(void);

/* A new step. Without a terminal, a line of its own. */
void status_step(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Shows the step again, with the time that it took so far, and behind it `detail` unless that is NULL. */
void status_show(const char *detail);
/* Per cent of the step, for functions with progress; false if a signal came. */
bool status_progress(void *unused, uint64_t done, uint64_t total);

/* Clears the line, so that a message can be printed. */
void status_clear(void);

/* The signal that came; 0. */
int status_signal(void);

#endif
