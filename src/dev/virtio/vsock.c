/* See vsock.h. */
#include "dev/virtio/vsock.h"

#include <stdlib.h>
#include <string.h>

#include "backend/net/net.h"
#include "base/bits.h"

#define DEVICE_ID  19
#define PCI_CLASS  0x078000 /* communication, other */
#define QUEUE_SIZE 128

enum { VSOCK_F_STREAM = 0 };
enum { CONFIG_CID = 0, CONFIG_SIZE = 8 };
enum { RECEIVE, TRANSMIT, EVENT, QUEUES };
enum { EVENT_TRANSPORT_RESET = 0 };

/* struct virtio_vsock_hdr (5.10.6), as far as it is looked at. */
enum { HEADER = 44, HEADER_LEN = 24 };

#define VIRTIO_VSOCK_STATE(F, A, S)                                                                                    \
    S(virtio_state, virtio, 1, 1)                                                                                      \
    F(bool, reset_event, 1) /* the driver has not yet been told that connections are gone */
STATE_DECLARE(virtio_vsock_state, VIRTIO_VSOCK_STATE)
STATE_DEFINE(virtio_vsock_state, VIRTIO_VSOCK_STATE, 1)

struct vsock {
    struct virtio_device v;
    struct virtio_vsock_state s;
    struct net *net;
    size_t given; /* bytes of the packet's data under way to the guest that it has */
    bool cut;     /* some of it was given: the rest follows */
    bool forget;  /* the packet that the back end holds was cut before a reset */
    bool tell;    /* the back end has not yet been told of a reset */
    bool blocked; /* it takes nothing: it will say when */
    struct virtq_element e;
};

/* --- to the guest ----------------------------------------------------------------------------------------------- */

/* One buffer's worth. False: there is none, or the device is broken. */
static bool piece_give(struct vsock *s, u8 *packet, size_t data)
{
    struct virtq *q = &s->v.queue[RECEIVE];
    size_t left = data - s->given;

    if (!virtq_pop(q, &s->e))
        return false;
    if (s->e.in_len < HEADER + (left ? 1 : 0)) {
        virtq_unpop(q, &s->e);
        virtio_broken(&s->v, RECEIVE, "a buffer has no room for a packet");
        return false;
    }
    u32 room = s->e.in_len - HEADER, some = left < room ? (u32)left : room;
    put_u32(packet + HEADER_LEN, some);
    (void)virtq_write(&s->e, 0, packet, HEADER);
    (void)virtq_write(&s->e, HEADER, packet + HEADER + s->given, some);
    virtq_push(q, &s->e, HEADER + some);
    s->given += some;
    s->cut = s->given < data;
    return true;
}

static bool vsock_receive(void *opaque, const struct frame_header *h, u8 *packet, size_t len)
{
    struct vsock *s = opaque;
    bool lost = s->forget || len < HEADER;

    s->forget = false;
    if (!s->cut)
        s->given = 0;
    do {
        if (lost || !virtio_running(&s->v)) {
            s->cut = false;
            return true;
        }
        if (!piece_give(s, packet, len - HEADER))
            return !virtio_running(&s->v);
    } while (s->cut);
    return true;
}

static void vsock_received(void *opaque)
{
    virtq_notify(&((struct vsock *)opaque)->v.queue[RECEIVE]);
}

static void event_notify(struct vsock *s)
{
    struct virtq *q = &s->v.queue[EVENT];
    static const u8 event[4] = {EVENT_TRANSPORT_RESET};

    if (!s->s.reset_event || !virtq_pop(q, &s->e))
        return;
    virtq_push(q, &s->e, virtq_write(&s->e, 0, event, sizeof(event)));
    s->s.reset_event = false;
    virtq_notify(q);
}

/* --- from the guest --------------------------------------------------------------------------------------------- */

/* A message that is no packet: all connections are gone. False: there is no room now. */
static bool reset_told(struct vsock *s)
{
    u8 message[1] = {0};
    const struct iovec iov = {message, sizeof(message)};

    if (s->tell)
        s->tell = !net_send(s->net, &(struct frame_header){0}, &iov, 1);
    return !s->tell;
}

static bool packet_send(struct vsock *s)
{
    struct iovec iov[VIRTQ_MAX];

    for (unsigned i = 0; i < s->e.outs; i++)
        iov[i] = (struct iovec){s->e.seg[i].host, s->e.seg[i].len};
    return s->e.out_len > FRAME_MAX || net_send(s->net, &(struct frame_header){0}, iov, s->e.outs);
}

static void transmit_notify(struct vsock *s)
{
    struct virtq *q = &s->v.queue[TRANSMIT];

    s->blocked = s->blocked || !reset_told(s);
    for (unsigned n = 0; !s->blocked && virtq_pop(q, &s->e); n++) {
        if (n == QUEUE_SIZE) {
            virtq_unpop(q, &s->e);
            virtio_again(&s->v, TRANSMIT);
            break;
        }
        if (s->e.out_len < HEADER) {
            virtio_broken(&s->v, TRANSMIT, "a packet has no header");
            virtq_push(q, &s->e, 0);
            return;
        }
        s->blocked = !packet_send(s);
        if (s->blocked)
            virtq_unpop(q, &s->e);
        else
            virtq_push(q, &s->e, 0);
    }
    virtq_notify(q);
}

static void vsock_writable(void *opaque)
{
    struct vsock *s = opaque;

    s->blocked = !reset_told(s);
    virtio_notify(&s->v, TRANSMIT);
}

/* --- the device ------------------------------------------------------------------------------------------------- */

static void vsock_notify(struct virtio_device *d, unsigned queue)
{
    struct vsock *s = (struct vsock *)d;

    if (queue == RECEIVE)
        net_kick(s->net);
    else if (queue == TRANSMIT)
        transmit_notify(s);
    else
        event_notify(s);
}

static void connections_gone(struct vsock *s)
{
    s->forget = s->cut;
    s->cut = s->blocked = false;
    s->tell = true;
    s->blocked = !reset_told(s);
}

static void vsock_virtio_reset(struct virtio_device *d)
{
    struct vsock *s = (struct vsock *)d;

    s->s.reset_event = false;
    connections_gone(s);
    net_kick(s->net);
}

static void *vsock_get_state(struct dev *d)
{
    return &((struct vsock *)d)->s;
}

static void vsock_reset(struct dev *d)
{
    virtio_device_reset((struct virtio_device *)d);
}

/* Connections are not in a saved state. */
static void vsock_loaded(struct dev *d)
{
    struct vsock *s = (struct vsock *)d;

    connections_gone(s);
    s->s.reset_event = true;
    virtio_device_loaded(&s->v);
}

static void vsock_destroy(struct dev *d)
{
    struct vsock *s = (struct vsock *)d;

    virtio_fini(&s->v);
    net_attach(s->net, NULL);
    free(s);
}

static const struct dev_class vsock_class = {
    .name = "virtio-vsock",
    .state = &virtio_vsock_state_class,
    .get_state = vsock_get_state,
    .reset = vsock_reset,
    .loaded = vsock_loaded,
    .destroy = vsock_destroy,
};

static const struct virtio_class vsock_virtio = {
    .id = DEVICE_ID,
    .pci_class = PCI_CLASS,
    .notify = vsock_notify,
    .reset = vsock_virtio_reset,
};

struct virtio_device *virtio_vsock_create(const struct virtio_host *host, const struct virtio_vsock_config *cfg,
                                          struct error *err)
{
    struct vsock *s = calloc(1, sizeof(*s));

    if (!s) {
        error_set(err, -ENOMEM, "virtio-vsock: out of memory");
        return NULL;
    }
    s->v.dev.cls = &vsock_class;
    s->net = cfg->net;
    virtio_init(&s->v, &vsock_virtio, s->s.virtio, host, BIT64(VSOCK_F_STREAM));
    for (unsigned i = 0; i < QUEUES; i++)
        virtio_queue(&s->v, QUEUE_SIZE);
    put_u64(s->v.config + CONFIG_CID, cfg->cid);
    s->v.config_size = CONFIG_SIZE;
    net_attach(s->net, &(struct net_receiver){.receive = vsock_receive,
                                              .received = vsock_received,
                                              .writable = vsock_writable,
                                              .link = vsock_writable,
                                              .opaque = s});
    return &s->v;
}
