/*
 * Signals while a machine runs.
 *
 * TERM INT HUP QUIT: the machine is stopped, all is put in order, and then the process ends by the same signal; if that
 * takes over two seconds, or on a second signal, at once. TSTP and CONT: the machine pauses, the terminal goes back
 * meanwhile. Crashes: the terminal is put back, then whoever had the signal before gets it (a sanitizer, or the
 * default).
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "ring3.h"

/* Before any other thread is started, as the signals are blocked in all of them. 0, or -1 if no thread can be had. */
int signals_begin(void);

/* The machine that signals are for; NULL: none any more. */
void signals_watch(struct ring3_vm *vm);

/* Ends the process by the signal that stopped the machine, if there was one. */
void signals_end(void);

#endif
