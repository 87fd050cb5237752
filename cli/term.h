/*
 * The terminal's mode: raw while a guest has it, and as it was on every way out.
 *
 * Three nets: term_end on the normal way; term_suspend in signal handlers; and for what no handler sees (SIGKILL), a
 * small process that waits for ours to be gone and then puts the terminal back, unless somebody has changed it since.
 *
 * There is one terminal, so this keeps its state in statics.
 */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <stdbool.h>

/* Makes standard input raw if it is a terminal; all keys, Ctrl-C included, then go to the guest. */
void term_begin(void);
void term_end(void);

/* Back to how it was; safe in a signal handler. term_resume makes it raw again if term_begin had, and we are in the
 * foreground. */
void term_suspend(void);
void term_resume(void);

bool term_is_raw(void);

#endif
