/*
 * One connection of virtio-vsock: a stream between a port of the guest and a Unix socket, with its credits. What the
 * guest sends is kept, as far as it was allowed to send, until the socket takes it; what the socket has is read only as
 * far as the guest has room, so nothing waits in that direction.
 *
 * Packets go out by the hook; fields are for process.c to read.
 */
#ifndef BACKEND_VSOCK_CONNECTION_H
#define BACKEND_VSOCK_CONNECTION_H

#include "backend/vsock/vsock.h"

#define CONNECTION_BUFFER KiB(256) /* that the guest may send ahead */

struct connection {
    u32 guest_port, host_port;
    int fd;
    enum {
        CONNECTION_GREETED, /* a program of the host has not yet said what it wants */
        CONNECTION_ASKED,   /* the guest has not yet answered */
        CONNECTION_OPEN,
        CONNECTION_DRAINING, /* the guest has no more to do with it, but some of what it sent is still to be read */
        CONNECTION_ENDED,
    } state;
    u32 peer_alloc, peer_forwarded; /* as the guest last said */
    u32 sent;                       /* bytes to the guest */
    u32 forwarded, told;            /* bytes of the guest's that the socket took, and how many of that it knows */
    bool host_ended, guest_sends_none, guest_takes_none;
    bool asked_credit;
    u64 deadline; /* ms; 0: none. Then it is ended, whatever is under way */
    u8 *buffer;   /* a ring of CONNECTION_BUFFER bytes: what the guest sent */
    u32 head, used;
};

/* Sends a packet to the guest: its header but for addresses that all have, and `len` bytes. */
struct connection_host {
    void (*send)(void *opaque, struct vsock_header *h, const void *data, u32 len);
    void *opaque;
};

/* Takes the descriptor, also when it fails (NULL: out of memory). */
struct connection *connection_create(int fd, u32 guest_port, u32 host_port);
void connection_destroy(struct connection *c);

void connection_send(struct connection *c, const struct connection_host *host, u16 op, u32 flags);
/* A packet of the guest's for this connection. May end it. */
void connection_packet(struct connection *c, const struct connection_host *host, const struct vsock_header *h,
                       const u8 *data);
/* The guest's side is gone: what it sent before it ended in order is still delivered. */
void connection_abandon(struct connection *c);
/* The socket is ready for what connection_events wanted. */
void connection_ready(struct connection *c, const struct connection_host *host, short revents);
short connection_events(const struct connection *c);

#endif
