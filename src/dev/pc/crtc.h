/*
 * The index and data port of a 6845 (0x3d4, 0x3d5) with nothing behind it: there is no display, but small kernels take
 * one for granted, and keep their cursor in registers 14 and 15. The 18 registers hold what is written; the others read
 * as 0.
 */
#ifndef DEV_PC_CRTC_H
#define DEV_PC_CRTC_H

#include "dev/dev.h"
#include "mem/space.h"

struct crtc;

struct crtc_config {
    struct mem_space *mem;
};

/* First member is a struct dev. NULL with a message. */
struct crtc *crtc_create(const struct crtc_config *cfg, struct error *err);

#endif
