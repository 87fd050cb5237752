/*
 * The shared terminal (mux.h).
 *
 * Keys that the port in focus has no room for wait in a queue. When that is full, a person at a terminal loses keys,
 * because the escape keys must go on working whatever the guest does; input from a pipe or file waits instead.
 */
#include "backend/char/mux.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/char/chardev.h"

#define CTRL(c)      ((c)&0x1f)
#define QUEUE_SIZE   KiB(64)
#define READ_AT_ONCE 4096

struct port {
    struct chardev cd;
    struct mux *mux;
};

struct mux {
    struct char_host host;
    struct chardev *under;
    struct port port[MUX_PORTS];
    enum mux_port focus;
    bool person;          /* somebody types; see above */
    bool escape;          /* Ctrl-a was the last key */
    u8 queue[QUEUE_SIZE]; /* for the port in focus */
    size_t head, used;
    bool dropping;
    void (*quit)(void *opaque);
    void *quit_opaque;
    void (*focused)(void *opaque, bool monitor);
    void *focused_opaque;
};

static void show(struct mux *m, const char *text)
{
    char_write(m->under, (const u8 *)text, strlen(text));
}

/* Hands on what is queued, as far as the receiver takes it. */
static void queue_drain(struct mux *m)
{
    struct chardev *cd = &m->port[m->focus].cd;
    while (m->used) {
        size_t n = chardev_room(cd);
        size_t run = m->used < QUEUE_SIZE - m->head ? m->used : QUEUE_SIZE - m->head;
        n = n < run ? n : run;
        if (!n)
            return;
        const u8 *at = m->queue + m->head;
        m->head = (m->head + n) % QUEUE_SIZE;
        m->used -= n;
        cd->rx.receive(cd->rx.opaque, at, n); /* the door was passed below the mux */
    }
    m->dropping = false;
}

static void queue_put(struct mux *m, u8 key)
{
    if (m->used == QUEUE_SIZE) {
        if (!m->dropping)
            log_msg(m->host.log, LOG_WARN, "the guest does not read its serial port: input is being dropped");
        m->dropping = true;
        return;
    }
    m->queue[(m->head + m->used++) % QUEUE_SIZE] = key;
}

static void key_quit(struct mux *m)
{
    if (m->quit)
        m->quit(m->quit_opaque);
}

static void key_monitor(struct mux *m)
{
    if (!m->focused)
        return;
    queue_drain(m);
    m->used = 0;
    m->focus = m->focus == MUX_MONITOR ? MUX_SERIAL : MUX_MONITOR;
    m->focused(m->focused_opaque, m->focus == MUX_MONITOR);
}

static void key_break(struct mux *m)
{
    const struct char_receiver *rx = &m->port[m->focus].cd.rx;
    if (rx->brk)
        rx->brk(rx->opaque);
}

static void key_escape(struct mux *m)
{
    queue_put(m, CTRL('a'));
}

static void key_help(struct mux *m);

static const struct {
    u8 key;
    void (*act)(struct mux *m);
    const char *name, *text;
} keys[] = {
    {'x', key_quit, "x", "end the machine"},
    {'c', key_monitor, "c", "switch between the guest and the monitor"},
    {'b', key_break, "b", "send a break"},
    {'h', key_help, "h", "show these keys"},
    {CTRL('a'), key_escape, "Ctrl-a", "send Ctrl-a"},
};

static void key_help(struct mux *m)
{
    show(m, "\r\n");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        char line[80];
        snprintf(line, sizeof(line), "Ctrl-a %-7s %s\r\n", keys[i].name, keys[i].text);
        show(m, line);
    }
}

static void key_take(struct mux *m, u8 key)
{
    if (!m->escape) {
        m->escape = key == CTRL('a');
        if (!m->escape)
            queue_put(m, key);
        return;
    }
    m->escape = false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (keys[i].key == key)
            keys[i].act(m);
}

static size_t under_room(void *opaque)
{
    const struct mux *m = opaque;
    size_t room = QUEUE_SIZE - m->used;
    return m->person || room > READ_AT_ONCE ? READ_AT_ONCE : room;
}

static void under_receive(void *opaque, const u8 *buf, size_t len)
{
    struct mux *m = opaque;
    for (size_t i = 0; i < len; i++)
        key_take(m, buf[i]);
    queue_drain(m);
}

static struct port *port_of(struct chardev *cd)
{
    return container_of(cd, struct port, cd);
}

static void port_write(struct chardev *cd, const u8 *buf, size_t len)
{
    char_write(port_of(cd)->mux->under, buf, len);
}

static void port_kick(struct chardev *cd)
{
    struct mux *m = port_of(cd)->mux;
    if (cd != &m->port[m->focus].cd || !m->used)
        return;
    bool was_full = m->used == QUEUE_SIZE;
    queue_drain(m);
    if (was_full && m->used < QUEUE_SIZE)
        char_kick(m->under);
}

static void port_destroy(struct chardev *cd)
{
    (void)cd;
}

struct mux *mux_create(const struct char_host *host, struct chardev *under, bool person)
{
    static const struct char_ops ops = {.write = port_write, .kick = port_kick, .destroy = port_destroy};
    struct mux *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->host = *host;
    m->under = under;
    m->person = person;
    for (unsigned i = 0; i < MUX_PORTS; i++)
        m->port[i] = (struct port){.cd.ops = &ops, .mux = m};
    char_attach(under, &(struct char_receiver){.room = under_room, .receive = under_receive, .opaque = m});
    return m;
}

void mux_destroy(struct mux *m)
{
    if (!m)
        return;
    char_destroy(m->under);
    free(m);
}

struct chardev *mux_port(struct mux *m, enum mux_port port)
{
    return &m->port[port].cd;
}

void mux_on_quit(struct mux *m, void (*quit)(void *opaque), void *opaque)
{
    m->quit = quit;
    m->quit_opaque = opaque;
}

void mux_on_focus(struct mux *m, void (*focus)(void *opaque, bool monitor), void *opaque)
{
    m->focused = focus;
    m->focused_opaque = opaque;
}
