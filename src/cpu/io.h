/*
 * Ports: the permission checks in front of IN, OUT, INS and OUTS (SDM volume 1 section 19.5).
 */
#ifndef CPU_IO_H
#define CPU_IO_H

#include "cpu/cpu.h"

/* #GP(0) if the current privilege may not access [port, port + size); notes I/O breakpoints. Before the access. */
void cpu_check_io(struct cpu *c, u16 port, unsigned size);

#endif
