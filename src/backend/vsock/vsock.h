/*
 * virtio-vsock's other end: connections between ports of the guest and Unix sockets of the host, in a process of their
 * own, which makes sockets as the monitor may not. A guest that connects to port P of the host (CID 2) gets to the
 * socket PATH_P; a program of the host connects to PATH, says "CONNECT P\n", is told "OK N\n", and has port P of the
 * guest.
 *
 * To the device it is a network back end (backend/net/net.h) whose frames are packets: a struct vsock_header, and up to
 * VSOCK_PAYLOAD bytes. A message that is shorter says that the guest's side was reset: all connections are gone.
 *
 * VIRTIO 1.2, 5.10.
 */
#ifndef BACKEND_VSOCK_VSOCK_H
#define BACKEND_VSOCK_VSOCK_H

#include "backend/net/open.h"

#define VSOCK_HOST      2u
#define VSOCK_CID_FIRST 3u
#define VSOCK_CID_LAST  0xfffffffeu
#define VSOCK_PAYLOAD   65536u

/* struct virtio_vsock_hdr, little-endian, 44 bytes. */
struct vsock_header {
    u64 src_cid, dst_cid;
    u32 src_port, dst_port, len;
    u16 type, op;
    u32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "struct virtio_vsock_hdr");
_Static_assert(sizeof(struct vsock_header) + VSOCK_PAYLOAD <= FRAME_MAX, "a packet is a frame of a back end");

enum { VSOCK_STREAM = 1 };
enum {
    VSOCK_REQUEST = 1,
    VSOCK_RESPONSE,
    VSOCK_RST,
    VSOCK_SHUTDOWN,
    VSOCK_RW,
    VSOCK_CREDIT_UPDATE,
    VSOCK_CREDIT_REQUEST,
};
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2 }; /* flags of SHUTDOWN */

/* PATH[,cid=N]; a comma in PATH is given twice. Free it with vsock_spec_free, also after a failure. */
struct vsock_spec {
    char *path;
    u32 cid;
};
int vsock_spec_parse(const char *who, const char *text, struct vsock_spec *out, struct error *err) MUST_CHECK;
void vsock_spec_free(struct vsock_spec *s);

/* Listens at the path and makes the process. To be started by net_start, and freed by net_destroy. */
int vsock_open(const struct net_host *host, const char *who, const struct vsock_spec *spec, struct net **out,
               struct error *err) MUST_CHECK;

/* process.c. The descriptors become the process's own; returns soon after the monitor is gone: when what the guest
 * sent was read, or nobody reads it. */
void vsock_serve(const struct vsock_spec *spec, int monitor, int listener);

#endif
