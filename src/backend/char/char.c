/*
 * Dispatch from char.h to the implementations, and a back end that is nobody.
 */
#include "backend/char/chardev.h"

#include <stdlib.h>

#include "backend/char/open.h"
#include "event/door.h"

void char_write(struct chardev *cd, const u8 *buf, size_t len)
{
    cd->ops->write(cd, buf, len);
}

bool char_is_behind(struct chardev *cd)
{
    return cd->ops->is_behind && cd->ops->is_behind(cd);
}

void char_flush(struct chardev *cd)
{
    if (cd->ops->flush)
        cd->ops->flush(cd);
}

void char_attach(struct chardev *cd, const struct char_receiver *r)
{
    cd->rx = r ? *r : (struct char_receiver){0};
    if (r)
        char_kick(cd);
}

void char_kick(struct chardev *cd)
{
    if (cd->ops->kick)
        cd->ops->kick(cd);
}

int char_start(struct chardev *cd, struct error *err)
{
    return cd->ops->start ? cd->ops->start(cd, err) : 0;
}

void char_destroy(struct chardev *cd)
{
    if (cd)
        cd->ops->destroy(cd);
}

size_t chardev_room(const struct chardev *cd)
{
    return cd->rx.receive ? cd->rx.room(cd->rx.opaque) : 0;
}

void chardev_receive(struct chardev *cd, struct loop *l, const u8 *buf, size_t len)
{
    len = door_input(l, buf, len);
    cd->rx.receive(cd->rx.opaque, buf, len);
}

static void null_write(struct chardev *cd, const u8 *buf, size_t len)
{
    (void)cd;
    (void)buf;
    (void)len;
}

static void null_destroy(struct chardev *cd)
{
    free(cd);
}

struct chardev *char_open_null(void)
{
    static const struct char_ops ops = {.write = null_write, .destroy = null_destroy};
    struct chardev *cd = calloc(1, sizeof(*cd));
    if (cd)
        cd->ops = &ops;
    return cd;
}
