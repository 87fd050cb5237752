/*
 * What an implementation of a character back end provides (char.h is what a device sees). The struct is the first
 * member of the implementation's own. Machine lock held throughout.
 */
#ifndef BACKEND_CHAR_CHARDEV_H
#define BACKEND_CHAR_CHARDEV_H

#include "backend/char/char.h"

struct char_ops {
    void (*write)(struct chardev *cd, const u8 *buf, size_t len);
    /* A receiver came, or has room again; may be NULL. */
    void (*kick)(struct chardev *cd);
    /* See char.h; NULL: never behind. */
    bool (*is_behind)(struct chardev *cd);
    void (*flush)(struct chardev *cd);
    /* See char_start; may be NULL. */
    int (*start)(struct chardev *cd, struct error *err);
    void (*destroy)(struct chardev *cd);
};

struct chardev {
    const struct char_ops *ops;
    struct char_receiver rx; /* rx.receive is NULL while there is no receiver */
};

/* How many bytes the receiver takes now; 0 without one. */
size_t chardev_room(const struct chardev *cd);

/* Hands bytes to the receiver, through the door for outside input. len <= chardev_room. */
void chardev_receive(struct chardev *cd, struct loop *l, const u8 *buf, size_t len);

#endif
