/*
 * Inside of virtio-net, for net.c (frames) and net_control.c (what the driver asks of the card).
 */
#ifndef DEV_VIRTIO_NET_CARD_H
#define DEV_VIRTIO_NET_CARD_H

#include "backend/net/net.h"
#include "base/bits.h"
#include "dev/virtio/net.h"

/* Features (5.1.3). */
enum {
    NET_CSUM = 0,
    NET_GUEST_CSUM = 1,
    NET_CTRL_GUEST_OFFLOADS = 2,
    NET_MTU = 3,
    NET_MAC = 5,
    NET_GUEST_TSO4 = 7,
    NET_GUEST_TSO6 = 8,
    NET_GUEST_ECN = 9,
    NET_HOST_TSO4 = 11,
    NET_HOST_TSO6 = 12,
    NET_HOST_ECN = 13,
    NET_MRG_RXBUF = 15,
    NET_STATUS = 16,
    NET_CTRL_VQ = 17,
    NET_CTRL_RX = 18,
    NET_CTRL_VLAN = 19,
    NET_CTRL_RX_EXTRA = 20,
    NET_GUEST_ANNOUNCE = 21,
    NET_CTRL_MAC_ADDR = 23,
};

/* struct virtio_net_config (5.1.4). */
enum { CONFIG_MAC = 0, CONFIG_STATUS = 6, CONFIG_PAIRS = 8, CONFIG_MTU = 10, CONFIG_SIZE = 12 };
enum { STATUS_LINK_UP = 1, STATUS_ANNOUNCE = 2 };

enum { RECEIVE, TRANSMIT, CONTROL };

#define NET_TABLE       32 /* addresses of a kind; with more, all of that kind are taken */
#define NET_TABLE_BYTES (NET_TABLE * VIRTIO_NET_MAC)
#define NET_VLANS       128 /* words of 32 bits */
#define NET_CHAINS      64  /* buffers for one frame: 64 KiB in pieces of Linux's smallest, and some */

#define VIRTIO_NET_STATE(F, A, S)                                                                                      \
    S(virtio_state, virtio, 1, 1)                                                                                      \
    A(u8, mac, VIRTIO_NET_MAC, 1)                                                                                      \
    F(u32, offloads, 1) /* of the features GUEST_*, those that are on */                                               \
    A(bool, mode, 6, 1) /* by the command's number: promiscuous, all multicast, ... */                                 \
    A(u8, unicast, NET_TABLE_BYTES, 1)                                                                                 \
    A(u8, multicast, NET_TABLE_BYTES, 1)                                                                               \
    F(u8, unicasts, 1)                                                                                                 \
    F(u8, multicasts, 1)                                                                                               \
    F(bool, all_unicast, 1) /* the table was too small */                                                              \
    F(bool, all_multicast, 1)                                                                                          \
    A(u32, vlan, NET_VLANS, 1)                                                                                         \
    F(bool, announce, 1) /* the driver has not yet said that it announced itself */
STATE_DECLARE(virtio_net_state, VIRTIO_NET_STATE)

/* struct virtio_net_hdr (5.1.6). */
struct net_packet_header {
    struct frame_header frame;
    u16 buffers;
};
_Static_assert(sizeof(struct net_packet_header) == 12, "struct virtio_net_hdr");

/* A frame that is on its way in pieces. */
struct net_pieces {
    struct frame_split split;
    struct frame_header header;
    u8 *piece;
    size_t len;
    bool waits; /* there is a piece that was not taken yet */
};

struct net_card {
    struct virtio_device v;
    struct virtio_net_state s;
    struct net *net;
    u8 mac[VIRTIO_NET_MAC]; /* after a reset */
    bool blocked;           /* the back end takes nothing: it will say when */
    bool forget;            /* a frame that the back end still holds was begun before a reset */
    struct net_pieces receive, transmit;
    u8 frame[FRAME_MAX]; /* that `transmit` is about */
    struct virtq_element out, control;
    struct virtq_element chain[NET_CHAINS];
};

/* net_control.c */
void net_control_notify(struct net_card *n);
void net_control_reset(struct net_card *n);
/* The configuration, from the state. */
void net_control_update(struct net_card *n);
/* Does the driver want this frame? */
bool net_control_wants(const struct net_card *n, const u8 *frame);
/* What the driver takes, FRAME_CAN_*. */
unsigned net_control_can(const struct net_card *n);

#endif
