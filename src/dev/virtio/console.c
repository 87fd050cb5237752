/* See console.h. */
#include "dev/virtio/console.h"

#include <stdlib.h>

#include "backend/char/char.h"
#include "base/bits.h"

#define DEVICE_ID  3
#define PCI_CLASS  0x078000 /* communication, other */
#define QUEUE_SIZE 64
#define WRITE_MAX  KiB(256) /* bytes of one chain; what is beyond is dropped, as a back end that is slow would */
#define CHUNK      4096u

enum { CONSOLE_MULTIPORT = 1, CONSOLE_EMERG_WRITE = 2 };

/* struct virtio_console_config (5.3.4). */
enum { CONFIG_MAX_PORTS = 4, CONFIG_EMERG_WR = 8, CONFIG_SIZE = 12 };

/* struct virtio_console_control (5.3.6.2): id, event, value. */
enum { CONTROL_EVENT = 4, CONTROL_VALUE = 6, CONTROL_SIZE = 8 };
enum { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN };

/* Queues: port 0, the control queues, the other ports; receiving ones are even. */
enum { CONTROL_RECEIVE = 2, CONTROL_TRANSMIT = 3 };

#define PORTS VIRTIO_CONSOLE_PORTS
#define VIRTIO_CONSOLE_STATE(F, A, S)                                                                                  \
    S(virtio_state, virtio, 1, 1)                                                                                      \
    A(bool, guest_open, PORTS, 1)                                                                                      \
    A(u8, pending, PORTS, 1) /* control messages that wait for a buffer: a bit for each event */                       \
    A(bool, ended, PORTS, 2) /* of a stream: there is no more input */
STATE_DECLARE(virtio_console_state, VIRTIO_CONSOLE_STATE)
STATE_DEFINE(virtio_console_state, VIRTIO_CONSOLE_STATE, 2)

struct console;

struct port {
    struct console *console;
    struct chardev *chr;
    unsigned n;
};

struct console {
    struct virtio_device v;
    struct virtio_console_state s;
    struct port port[PORTS];
    unsigned ports;
    bool stream;
    struct virtq_element e, control; /* one may be told of an end while it writes the other */
};

static unsigned port_queue(unsigned port)
{
    return port ? 2 + 2 * port : 0;
}

static bool multiport(const struct console *c)
{
    return virtio_has(&c->v, CONSOLE_MULTIPORT);
}

/* --- to the guest ----------------------------------------------------------------------------------------------- */

static struct virtq *receive_queue(const struct port *p)
{
    return &p->console->v.queue[port_queue(p->n)];
}

static bool port_listens(const struct port *p)
{
    return !multiport(p->console) || p->console->s.guest_open[p->n];
}

/* The size of the next buffer: looked at and put back. */
static size_t port_room(void *opaque)
{
    struct port *p = opaque;
    struct virtq *q = receive_queue(p);
    struct virtq_element *e = &p->console->e;

    if (!port_listens(p) || !virtq_pop(q, e))
        return 0;
    size_t room = e->in_len;
    virtq_unpop(q, e);
    return room;
}

/* The guest may have changed the buffer since it was looked at, and then loses what does not fit. */
static void port_receive(void *opaque, const u8 *buf, size_t len)
{
    struct port *p = opaque;
    struct virtq *q = receive_queue(p);
    struct virtq_element *e = &p->console->e;

    for (size_t done = 0; done < len && virtq_pop(q, e);) {
        u32 n = virtq_write(e, 0, buf + done, (u32)(len - done));
        virtq_push(q, e, n);
        if (!n)
            break;
        done += n;
    }
    virtq_notify(q);
}

/* In the order in which a driver needs them. */
static void control_flush(struct console *c)
{
    static const u8 events[] = {DEVICE_ADD, CONSOLE_PORT, PORT_OPEN};
    struct virtq *q = &c->v.queue[CONTROL_RECEIVE];

    for (unsigned n = 0; n < c->ports; n++) {
        for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
            u8 message[CONTROL_SIZE];
            if (!(c->s.pending[n] & BIT(events[i])) || !virtq_pop(q, &c->control))
                continue;
            put_u32(message, n);
            put_u16(message + CONTROL_EVENT, events[i]);
            put_u16(message + CONTROL_VALUE, events[i] != PORT_OPEN || !c->s.ended[n]);
            c->s.pending[n] &= (u8)~BIT(events[i]);
            virtq_push(q, &c->control, virtq_write(&c->control, 0, message, sizeof(message)));
        }
    }
    virtq_notify(q);
}

/* --- from the guest --------------------------------------------------------------------------------------------- */

static void control_take(struct console *c, const u8 *message)
{
    u32 n = get_u32(message);
    u16 event = get_u16(message + CONTROL_EVENT), value = get_u16(message + CONTROL_VALUE);

    if (event == DEVICE_READY && value) {
        for (unsigned i = 0; i < c->ports; i++)
            c->s.pending[i] = BIT(DEVICE_ADD);
        return;
    }
    if (n >= c->ports)
        return;
    if (event == PORT_READY && value)
        c->s.pending[n] |= BIT(PORT_OPEN) | (c->stream ? 0 : BIT(CONSOLE_PORT));
    if (event == PORT_OPEN) {
        c->s.guest_open[n] = value;
        if (value)
            char_kick(c->port[n].chr);
    }
}

static void element_write(struct chardev *chr, const struct virtq_element *e)
{
    u8 bytes[CHUNK];

    for (u32 done = 0, n; done < WRITE_MAX; done += n) {
        n = virtq_read(e, done, bytes, sizeof(bytes));
        if (!n)
            return;
        char_write(chr, bytes, n);
    }
}

/* A stream that is behind keeps the guest waiting, with what it wrote still in its ring. */
static bool must_wait(const struct port *p)
{
    return p && p->console->stream && char_is_behind(p->chr);
}

/* `p` is NULL for the control queue. */
static void transmit_notify(struct console *c, struct virtq *q, struct port *p)
{
    u8 message[CONTROL_SIZE];

    for (unsigned n = 0; !must_wait(p) && virtq_pop(q, &c->e); n++) {
        if (n == QUEUE_SIZE) {
            virtq_unpop(q, &c->e);
            virtio_again(&c->v, q->index);
            break;
        }
        bool whole = !p && virtq_read(&c->e, 0, message, sizeof(message)) == sizeof(message);
        if (p)
            element_write(p->chr, &c->e);
        virtq_push(q, &c->e, 0);
        if (whole)
            control_take(c, message);
    }
    virtq_notify(q);
}

static struct virtq *transmit_queue(const struct port *p)
{
    return &p->console->v.queue[port_queue(p->n) + 1];
}

static void port_caught_up(void *opaque)
{
    struct port *p = opaque;

    if (virtio_running(&p->console->v))
        transmit_notify(p->console, transmit_queue(p), p);
}

static void port_ended(void *opaque)
{
    struct port *p = opaque;
    struct console *c = p->console;

    if (!c->stream || c->s.ended[p->n])
        return;
    c->s.ended[p->n] = true;
    c->s.pending[p->n] |= BIT(PORT_OPEN);
    if (multiport(c) && virtio_running(&c->v))
        control_flush(c);
}

static void port_finish(struct port *p)
{
    struct virtq *q = transmit_queue(p);

    while (virtq_pop(q, &p->console->e)) {
        char_flush(p->chr);
        element_write(p->chr, &p->console->e);
        virtq_push(q, &p->console->e, 0);
    }
    char_flush(p->chr);
}

void virtio_console_finish(struct virtio_device *d)
{
    struct console *c = (struct console *)d;

    for (unsigned n = 0; n < c->ports; n++)
        port_finish(&c->port[n]);
}

static void console_notify(struct virtio_device *d, unsigned queue)
{
    struct console *c = (struct console *)d;

    if (queue == CONTROL_RECEIVE) {
        control_flush(c);
        return;
    }
    if (queue == CONTROL_TRANSMIT) {
        transmit_notify(c, &d->queue[queue], NULL);
        control_flush(c);
        return;
    }
    struct port *p = &c->port[queue < CONTROL_RECEIVE ? 0 : queue / 2 - 1];
    if (queue % 2)
        transmit_notify(c, &d->queue[queue], p);
    else
        char_kick(p->chr);
}

/* For a driver that is not there yet, or no longer. */
static void console_config_write(struct virtio_device *d, unsigned off, u32 value, unsigned size)
{
    u8 byte = (u8)value;

    if (off == CONFIG_EMERG_WR)
        char_write(((struct console *)d)->port[0].chr, &byte, 1);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static void console_virtio_reset(struct virtio_device *d)
{
    struct console *c = (struct console *)d;

    for (unsigned n = 0; n < PORTS; n++) {
        c->s.guest_open[n] = false;
        c->s.pending[n] = 0;
    }
}

static void *console_get_state(struct dev *d)
{
    return &((struct console *)d)->s;
}

static void console_reset(struct dev *d)
{
    virtio_device_reset((struct virtio_device *)d);
}

static void console_loaded(struct dev *d)
{
    virtio_device_loaded((struct virtio_device *)d);
}

static void console_destroy(struct dev *d)
{
    struct console *c = (struct console *)d;

    virtio_fini(&c->v);
    for (unsigned n = 0; n < c->ports; n++)
        char_attach(c->port[n].chr, NULL);
    free(c);
}

static const struct dev_class console_class = {
    .name = "virtio-console",
    .state = &virtio_console_state_class,
    .get_state = console_get_state,
    .reset = console_reset,
    .loaded = console_loaded,
    .destroy = console_destroy,
};

static const struct virtio_class console_virtio = {
    .id = DEVICE_ID,
    .pci_class = PCI_CLASS,
    .notify = console_notify,
    .reset = console_virtio_reset,
    .config_write = console_config_write,
};

struct virtio_device *virtio_console_create(const struct virtio_host *host, const struct virtio_console_config *cfg,
                                            struct error *err)
{
    struct console *c = calloc(1, sizeof(*c));

    if (!c) {
        error_set(err, -ENOMEM, "virtio-console: out of memory");
        return NULL;
    }
    c->v.dev.cls = &console_class;
    c->ports = cfg->ports;
    c->stream = cfg->stream;
    virtio_init(&c->v, &console_virtio, c->s.virtio, host, BIT64(CONSOLE_MULTIPORT) | BIT64(CONSOLE_EMERG_WRITE));
    for (unsigned n = 0; n < 2 * (c->ports + 1); n++)
        virtio_queue(&c->v, QUEUE_SIZE);
    put_u32(c->v.config + CONFIG_MAX_PORTS, c->ports);
    c->v.config_size = CONFIG_SIZE;
    for (unsigned n = 0; n < c->ports; n++) {
        struct port *p = &c->port[n];
        *p = (struct port){.console = c, .chr = cfg->chr[n], .n = n};
        char_attach(p->chr, &(struct char_receiver){.room = port_room,
                                                    .receive = port_receive,
                                                    .caught_up = port_caught_up,
                                                    .ended = port_ended,
                                                    .opaque = p});
    }
    return &c->v;
}
