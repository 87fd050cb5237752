/*
 * The two 8237A DMA controllers of a PC and their page registers, as far as they can be seen without a device that asks
 * for a transfer: no device here does, so no channel ever runs. Registers keep what is written. Port 0x80, one of the
 * page registers that no channel uses, is where power-on self tests write their progress.
 */
#ifndef DEV_PC_DMA8237_H
#define DEV_PC_DMA8237_H

#include "dev/dev.h"
#include "mem/space.h"

struct dma8237;

struct dma8237_config {
    struct mem_space *mem;
};

/* First member is a struct dev. NULL with a message. */
struct dma8237 *dma8237_create(const struct dma8237_config *cfg, struct error *err);

#endif
