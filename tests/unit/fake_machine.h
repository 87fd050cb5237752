/*
 * A machine and an engine without a processor in them, to test what stands above: the processors' threads do nothing
 * until they are asked to stop, and bytes on the serial port make the machine do things: 'o' power off, 'r' reset, 't'
 * triple fault of processor 0, 'd' debug exit with status 11. Other bytes are echoed.
 *
 * Defines the functions of machine/, engine/, cpu/ and isa/ that vm/ and debug/ use.
 */
#ifndef FAKE_MACHINE_H
#define FAKE_MACHINE_H

#include "base/types.h"

/* Counts, over all machines of the process. */
struct fake_counts {
    _Atomic unsigned resets, running, flushes;
};
extern struct fake_counts fake_counts;

struct machine;

/* What a byte on the serial port does; machine lock held. */
void fake_key(struct machine *m, u8 key);

#endif
