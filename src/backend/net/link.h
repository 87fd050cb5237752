/*
 * The one implementation of a network back end (net.h): a descriptor that gives and takes a whole frame with each read
 * and write, watched by the event loop. Frames are read into a buffer, several for each time that the loop wakes up,
 * and copied from there; sending is one writev from guest memory.
 */
#ifndef BACKEND_NET_LINK_H
#define BACKEND_NET_LINK_H

#include <sys/types.h>

#include "backend/net/net.h"
#include "base/error.h"
#include "base/log.h"

struct loop;

struct link_config {
    struct loop *loop;
    const struct log *log;
    const char *who;  /* copied; the option, for messages */
    const char *what; /* of what is at the other end; constant */
    int fd;           /* non-blocking; closed with the link, also when it cannot be made */
    bool header;      /* frames have a struct frame_header before them */
    unsigned can;
    pid_t child; /* 0: none; waited for when the descriptor was closed */
};

/* NULL when out of memory. */
struct net *link_create(const struct link_config *cfg);
/* Begins to read. */
void link_start(struct net *n);
int link_fd(const struct net *n);
bool link_has_child(const struct net *n);
const char *link_who(const struct net *n);

#endif
