/*
 * The host's clocks. Only event/ may call these for a machine: the time is one of its doors (event/door.h).
 */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include "base/types.h"

/* CLOCK_MONOTONIC in ns: does not jump, stands still while the host sleeps. */
u64 host_clock_ns(void);
/* ns since the epoch, UTC. */
u64 host_wall_ns(void);

#endif
