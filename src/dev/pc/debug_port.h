/*
 * The small debug ports, each a port or two: debug consoles (0xe9 as in Bochs, 0x402 as firmware uses it), which read
 * back 0xe9 to say that they are there, and the debug exit (QEMU's isa-debug-exit), where a guest ends the run with a
 * status.
 */
#ifndef DEV_PC_DEBUG_PORT_H
#define DEV_PC_DEBUG_PORT_H

#include "dev/dev.h"
#include "mem/space.h"

struct chardev;
struct debugcon;
struct debug_exit;

struct debugcon_config {
    struct mem_space *mem;
    struct chardev *chr;  /* NULL: bytes go nowhere */
    bool no_firmware_log; /* leave port 0x402 out: firmware that finds nothing there keeps its log to itself */
};

/* First member is a struct dev. NULL with a message. */
struct debugcon *debugcon_create(const struct debugcon_config *cfg, struct error *err);

struct debug_exit_config {
    struct mem_space *mem;
    /* The guest wrote; `status` is (value << 1) | 1. */
    void (*exited)(void *opaque, unsigned status);
    void *opaque;
};

struct debug_exit *debug_exit_create(const struct debug_exit_config *cfg, struct error *err);

#endif
