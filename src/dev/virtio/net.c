/* See net.h. Frames here; what the driver asks of the card is in net_control.c. */
#include "dev/virtio/net.h"

#include <stdlib.h>
#include <string.h>

#include "dev/virtio/net_card.h"

#define DEVICE_ID  1
#define PCI_CLASS  0x020000 /* network, Ethernet */
#define QUEUE_SIZE VIRTQ_MAX
#define HEADER     ((u32)sizeof(struct net_packet_header))

_Static_assert(NET_IOVS_MAX >= VIRTQ_MAX, "a chain fits a frame of the back end");
_Static_assert(VIRTIO_NET_MAC == FRAME_MAC, "addresses");

/* --- to the guest ----------------------------------------------------------------------------------------------- */

static void chains_back(struct net_card *n, unsigned count)
{
    while (count)
        virtq_unpop(&n->v.queue[RECEIVE], &n->chain[--count]);
}

/* Takes buffers for `need` bytes; how many, 0: there are not enough now. */
static unsigned chains_take(struct net_card *n, u64 need)
{
    struct virtq *q = &n->v.queue[RECEIVE];
    unsigned most = virtio_has(&n->v, NET_MRG_RXBUF) ? NET_CHAINS : 1;
    unsigned count = 0;
    u64 room = 0;

    while (room < need && count < most) {
        if (!virtq_pop(q, &n->chain[count])) {
            chains_back(n, count);
            return 0;
        }
        room += n->chain[count++].in_len;
    }
    return count;
}

static bool chains_suffice(const struct net_card *n, unsigned count, u64 need)
{
    u64 room = 0;

    for (unsigned i = 0; i < count; i++)
        room += n->chain[i].in_len;
    return room >= need;
}

static void chains_fill(struct net_card *n, unsigned count, const struct frame_header *h, const u8 *frame, size_t len)
{
    struct virtq *q = &n->v.queue[RECEIVE];
    struct net_packet_header header = {*h, (u16)count};
    u32 written = virtq_write(&n->chain[0], 0, &header, HEADER);
    size_t done = 0;

    virtq_hold(q);
    for (unsigned i = 0; i < count; i++) {
        u32 some = virtq_write(&n->chain[i], written, frame + done, (u32)(len - done));
        virtq_push(q, &n->chain[i], written + some);
        done += some;
        written = 0;
    }
    virtq_publish(q);
}

/* False: there are no buffers now. A frame for which the driver's are too small is lost. */
static bool piece_give(struct net_card *n, const struct net_pieces *p)
{
    struct frame_header h = p->header;
    u64 need = HEADER + p->len;
    unsigned count = chains_take(n, need);

    if (!count)
        return !virtio_running(&n->v);
    if (n->chain[0].in_len < HEADER) {
        chains_back(n, count);
        virtio_broken(&n->v, RECEIVE, "a buffer has no room for the header of a frame");
        return true;
    }
    if (!chains_suffice(n, count, need)) {
        chains_back(n, count);
        return true;
    }
    h.flags &= net_control_can(n) & FRAME_CAN_CSUM ? FRAME_NEEDS_CSUM | FRAME_DATA_VALID : 0;
    chains_fill(n, count, &h, p->piece, p->len);
    return true;
}

static bool pieces_begin(struct net_pieces *p, const struct frame_header *h, u8 *frame, size_t len, unsigned can)
{
    p->waits =
        frame_split_begin(&p->split, h, frame, len, can) && frame_next(&p->split, &p->header, &p->piece, &p->len);
    return p->waits;
}

static void pieces_next(struct net_pieces *p)
{
    p->waits = frame_next(&p->split, &p->header, &p->piece, &p->len);
}

static bool net_receive(void *opaque, const struct frame_header *h, u8 *frame, size_t len)
{
    struct net_card *n = opaque;
    struct net_pieces *p = &n->receive;
    bool lost = n->forget || !virtio_running(&n->v) || !n->v.queue[RECEIVE].desc;

    n->forget = false;
    if (lost)
        p->waits = false;
    if (lost || (!p->waits && (!net_control_wants(n, frame) || !pieces_begin(p, h, frame, len, net_control_can(n)))))
        return true;
    while (p->waits) {
        if (!piece_give(n, p))
            return false;
        pieces_next(p);
    }
    return true;
}

static void net_received(void *opaque)
{
    struct net_card *n = opaque;

    virtq_notify(&n->v.queue[RECEIVE]);
}

/* --- from the guest --------------------------------------------------------------------------------------------- */

/* Of what waits in pieces; false: the back end is full. */
static bool pieces_send(struct net_card *n)
{
    struct net_pieces *p = &n->transmit;

    while (p->waits) {
        const struct iovec iov = {p->piece, p->len};
        if (!net_send(n->net, &p->header, &iov, 1))
            return false;
        pieces_next(p);
    }
    return true;
}

/* The segments without the packet's header. */
static unsigned frame_vector(const struct virtq_element *e, struct iovec *iov)
{
    u32 skip = HEADER;
    unsigned used = 0;

    for (unsigned i = 0; i < e->outs; i++) {
        u32 some = skip < e->seg[i].len ? skip : e->seg[i].len;
        skip -= some;
        if (e->seg[i].len > some)
            iov[used++] = (struct iovec){e->seg[i].host + some, e->seg[i].len - some};
    }
    return used;
}

/* False: the back end is full, and the element still the driver's. What makes no sense is not sent. */
static bool element_send(struct net_card *n, const struct virtq_element *e)
{
    struct net_packet_header header;
    struct iovec iov[VIRTQ_MAX];
    struct frame_header *h = &header.frame;
    u32 len = e->out_len - HEADER;

    (void)virtq_read(e, 0, &header, HEADER);
    h->flags &= FRAME_NEEDS_CSUM;
    if (!frame_header_good(h, len))
        return true;
    if (!(frame_needs(h) & ~net_can(n->net)))
        return net_send(n->net, h, iov, frame_vector(e, iov));
    (void)virtq_read(e, HEADER, n->frame, len);
    if (frame_check(h, n->frame, len) && pieces_begin(&n->transmit, h, n->frame, len, net_can(n->net)))
        n->blocked = !pieces_send(n);
    return true;
}

static void transmit_notify(struct net_card *n)
{
    struct virtq *q = &n->v.queue[TRANSMIT];

    for (unsigned i = 0; !n->blocked && virtq_pop(q, &n->out); i++) {
        if (i == q->max) {
            virtq_unpop(q, &n->out);
            virtio_again(&n->v, TRANSMIT);
            break;
        }
        if (n->out.out_len < HEADER) {
            virtio_broken(&n->v, TRANSMIT, "a frame has no header");
            virtq_push(q, &n->out, 0);
            return;
        }
        if (!element_send(n, &n->out)) {
            n->blocked = true;
            virtq_unpop(q, &n->out);
        } else {
            virtq_push(q, &n->out, 0);
        }
    }
    virtq_notify(q);
}

static void net_writable(void *opaque)
{
    struct net_card *n = opaque;

    n->blocked = !pieces_send(n);
    virtio_notify(&n->v, TRANSMIT);
}

/* --- the device ------------------------------------------------------------------------------------------------- */

static void net_link(void *opaque)
{
    struct net_card *n = opaque;

    net_control_update(n);
    virtio_config_changed(&n->v);
    if (n->blocked)
        net_writable(n); /* into nowhere, as on a wire */
}

static void net_notify(struct virtio_device *d, unsigned queue)
{
    struct net_card *n = (struct net_card *)d;

    if (queue == RECEIVE)
        net_kick(n->net);
    else if (queue == TRANSMIT)
        transmit_notify(n);
    else
        net_control_notify(n);
}

static void net_ready(struct virtio_device *d)
{
    struct net_card *n = (struct net_card *)d;

    n->s.offloads =
        (u32)d->s->features & (BIT(NET_GUEST_CSUM) | BIT(NET_GUEST_TSO4) | BIT(NET_GUEST_TSO6) | BIT(NET_GUEST_ECN));
    net_control_update(n);
}

/* A frame that waited for buffers is let go, and so are all that come before the next driver. */
static void net_virtio_reset(struct virtio_device *d)
{
    struct net_card *n = (struct net_card *)d;

    net_control_reset(n);
    net_control_update(n);
    n->forget = n->receive.waits;
    n->receive.waits = n->transmit.waits = n->blocked = false;
    net_kick(n->net);
}

static void *net_get_state(struct dev *d)
{
    return &((struct net_card *)d)->s;
}

static void net_reset(struct dev *d)
{
    virtio_device_reset((struct virtio_device *)d);
}

/* Switches learn where the card is now, if its driver helps. */
static void net_loaded(struct dev *d)
{
    struct net_card *n = (struct net_card *)d;

    n->forget = n->receive.waits;
    n->receive.waits = n->transmit.waits = n->blocked = false;
    if (n->s.unicasts > NET_TABLE || n->s.multicasts > NET_TABLE)
        n->s.unicasts = n->s.multicasts = 0;
    virtio_device_loaded(&n->v);
    n->s.offloads &= (u32)n->v.s->features;
    n->s.announce = virtio_has(&n->v, NET_GUEST_ANNOUNCE);
    net_control_update(n);
    if (n->s.announce)
        virtio_config_changed(&n->v);
}

static void net_device_destroy(struct dev *d)
{
    struct net_card *n = (struct net_card *)d;

    virtio_fini(&n->v);
    net_attach(n->net, NULL);
    free(n);
}

static const struct dev_class net_class = {
    .name = "virtio-net",
    .state = &virtio_net_state_class,
    .get_state = net_get_state,
    .reset = net_reset,
    .loaded = net_loaded,
    .destroy = net_device_destroy,
};

static const struct virtio_class net_virtio = {
    .id = DEVICE_ID,
    .pci_class = PCI_CLASS,
    .notify = net_notify,
    .reset = net_virtio_reset,
    .ready = net_ready,
};

#define FEATURES                                                                                                       \
    (BIT64(NET_CSUM) | BIT64(NET_GUEST_CSUM) | BIT64(NET_CTRL_GUEST_OFFLOADS) | BIT64(NET_MAC) |                       \
     BIT64(NET_GUEST_TSO4) | BIT64(NET_GUEST_TSO6) | BIT64(NET_GUEST_ECN) | BIT64(NET_HOST_TSO4) |                     \
     BIT64(NET_HOST_TSO6) | BIT64(NET_HOST_ECN) | BIT64(NET_MRG_RXBUF) | BIT64(NET_STATUS) | BIT64(NET_CTRL_VQ) |      \
     BIT64(NET_CTRL_RX) | BIT64(NET_CTRL_VLAN) | BIT64(NET_CTRL_RX_EXTRA) | BIT64(NET_GUEST_ANNOUNCE) |                \
     BIT64(NET_CTRL_MAC_ADDR))

struct virtio_device *virtio_net_create(const struct virtio_host *host, const struct virtio_net_config *cfg,
                                        struct error *err)
{
    struct net_card *n = calloc(1, sizeof(*n));

    if (!n) {
        error_set(err, -ENOMEM, "virtio-net: out of memory");
        return NULL;
    }
    n->v.dev.cls = &net_class;
    n->net = cfg->net;
    memcpy(n->mac, cfg->mac, VIRTIO_NET_MAC);
    virtio_init(&n->v, &net_virtio, n->s.virtio, host, FEATURES | (cfg->mtu ? BIT64(NET_MTU) : 0));
    for (unsigned i = 0; i <= CONTROL; i++)
        virtio_queue(&n->v, QUEUE_SIZE);
    put_u16(n->v.config + CONFIG_PAIRS, 1);
    put_u16(n->v.config + CONFIG_MTU, cfg->mtu);
    n->v.config_size = CONFIG_SIZE;
    virtio_device_reset(&n->v);
    net_attach(
        n->net,
        &(struct net_receiver){
            .receive = net_receive, .received = net_received, .writable = net_writable, .link = net_link, .opaque = n});
    return &n->v;
}
