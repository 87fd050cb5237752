/*
 * Opening block back ends by text: "PATH" or "PATH,readonly=on". Machine lock not held. On failure a message that names
 * the file and the cure, without the option's name.
 */
#ifndef BACKEND_BLOCK_OPEN_H
#define BACKEND_BLOCK_OPEN_H

#include "backend/block/block.h"
#include "base/log.h"

int block_open(const char *spec, struct loop *loop, const struct log *log, struct block **out,
               struct error *err) MUST_CHECK;

#endif
