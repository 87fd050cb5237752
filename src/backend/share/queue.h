/*
 * share.h on top of the server: what is answered at once, the threads for the rest, and Tflush.
 */
#ifndef BACKEND_SHARE_QUEUE_H
#define BACKEND_SHARE_QUEUE_H

#include "backend/share/folder.h"
#include "backend/share/share.h"
#include "base/log.h"

struct loop;

struct queue_setup {
    struct folder folder;
    unsigned limit; /* of descriptors */
    char tag[SHARE_TAG_MAX + 1];
    struct loop *loop;
    const struct log *log;
};

/* The folder is the share's from now on, also on failure. */
int share_create(const struct queue_setup *setup, struct share **out) MUST_CHECK;

#endif
