/* A function in a process of its own, so that its crash is only a result. (signal.h and isa/insn.h both name RIP.) */
#ifndef TESTS_PROGRAM_PROCESS_H
#define TESTS_PROGRAM_PROCESS_H

#include "base/types.h"

/* Exit status, 0 to 255, or one of these. */
enum { PROCESS_FAILED = -1, PROCESS_CRASHED = -2, PROCESS_SILENT = -3 };

/* `alive` is in shared memory; the process is ended when it does not change for `silence` milliseconds. */
int process_run(int (*function)(void *opaque), void *opaque, const u64 *alive, unsigned silence);

#endif
