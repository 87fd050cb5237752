/*
 * block.h on top of an image: who carries a request out, and how its end gets back to the event loop.
 *
 * What lies plainly in the host file goes to io_uring where the host has it (uring.h); everything else to a few threads
 * that call the image's functions. Both, and the bell that the loop watches, are there from the opening on, as the
 * process may enter a sandbox before the first request.
 */
#ifndef BACKEND_BLOCK_QUEUE_H
#define BACKEND_BLOCK_QUEUE_H

#include "backend/block/block.h"
#include "backend/block/image.h"

enum queue_aio { QUEUE_AUTO, QUEUE_URING, QUEUE_THREADS };

struct queue_config {
    enum queue_aio aio;
    bool unsafe;     /* flushes of the guest do nothing */
    bool no_discard; /* discards do nothing, and zeroed space is kept */
};

/* The image is the block's from now on, also on failure. */
int queue_create(const struct queue_config *cfg, struct image *im, struct loop *loop, const struct log *log,
                 struct block **out, struct error *err) MUST_CHECK;

#endif
