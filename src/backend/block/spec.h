/*
 * The text of a block back end (open.h), taken apart.
 */
#ifndef BACKEND_BLOCK_SPEC_H
#define BACKEND_BLOCK_SPEC_H

#include "backend/block/image.h"
#include "backend/block/queue.h"

struct spec {
    struct image_config image;
    struct queue_config queue;
    char *text; /* what the paths point into */
    const char *backing[IMAGE_CHAIN_MAX];
};

/* Free it with spec_free, also after a failure. */
int spec_parse(const char *text, struct spec *out, struct error *err) MUST_CHECK;
void spec_free(struct spec *s);

#endif
