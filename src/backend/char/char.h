/*
 * Character back ends: where the bytes of a serial port or debug console go and come from. A device sees only this.
 *
 * All functions and callbacks need the machine lock.
 */
#ifndef BACKEND_CHAR_CHAR_H
#define BACKEND_CHAR_CHAR_H

#include "base/error.h"
#include "base/types.h"

struct loop;
struct chardev;

/* What a device offers to a back end. */
struct char_receiver {
    /* How many bytes it can take now. */
    size_t (*room)(void *opaque);
    /* len <= what room returned. */
    void (*receive)(void *opaque, const u8 *buf, size_t len);
    /* A break condition on the line; may be NULL. */
    void (*brk)(void *opaque);
    void *opaque;
    /* char_is_behind is false again; may be NULL. */
    void (*caught_up)(void *opaque);
    /* The input has ended, or of what has none the output. Said again at each kick. May be NULL. */
    void (*ended)(void *opaque);
};

/* Never blocks: what the host does not take at once is buffered up to a bound and then dropped with a message. */
void char_write(struct chardev *cd, const u8 *buf, size_t len);
/* What was written before waits for a slow reader. Whoever can wait, too, loses nothing. */
bool char_is_behind(struct chardev *cd);
/* Waits until nothing does: for a reader that takes its time, for ever. */
void char_flush(struct chardev *cd);
/* One receiver; NULL takes it away. */
void char_attach(struct chardev *cd, const struct char_receiver *r);
/* The receiver has room again. */
void char_kick(struct chardev *cd);
void char_destroy(struct chardev *cd);

#endif
