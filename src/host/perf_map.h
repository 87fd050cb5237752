/*
 * /tmp/perf-PID.map: where Linux perf looks for the names of machine code that a process made. One line for each piece:
 * "START SIZE name", hexadecimal, addresses as in /proc/PID/maps. Memory of a code area (host/code.h) counts for perf
 * as such code.
 *
 * perf needs the file after the process is gone, so it stays; whoever asked for it removes it. Code that was dropped
 * stays in it, too; of two names for an address the later one holds.
 *
 * Threads: any may add.
 */
#ifndef HOST_PERF_MAP_H
#define HOST_PERF_MAP_H

#include "base/error.h"
#include "base/types.h"

struct perf_map;

/* Makes the file; fails if it is there, whatever it is. Before the sandbox is entered. */
struct perf_map *perf_map_create(struct error *err);
void perf_map_destroy(struct perf_map *m);

void perf_map_add(struct perf_map *m, u64 start, u64 size, const char *name);

#endif
