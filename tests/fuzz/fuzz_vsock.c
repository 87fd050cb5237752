/*
 * A connection of virtio-vsock between a guest that says anything and a program of the host that writes, reads and goes
 * whenever it likes. What was sent to the guest never exceeds what it allowed.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/vsock/connection.h"
#include "dev_fuzz.h"

struct end {
    struct connection *c;
    u64 data; /* bytes to the guest */
};

static void take(void *opaque, struct vsock_header *h, const void *data, u32 len)
{
    struct end *e = opaque;
    if (h->len != len || (len && h->op != VSOCK_RW))
        abort();
    if (len && e->c->sent - e->c->peer_forwarded > e->c->peer_alloc)
        abort();
    e->data += len;
}

static void packet_step(struct end *e, const struct connection_host *host, struct script *s)
{
    static u8 data[VSOCK_PAYLOAD];
    u8 how = (u8)script_take(s, 1);
    struct vsock_header h = {.op = how & 0x80 ? (u16)script_take(s, 2) : 1 + (how & 15) % 7,
                             .flags = (u32)script_take(s, 1),
                             .type = VSOCK_STREAM,
                             .buf_alloc = (u32)script_value(s),
                             .fwd_cnt = how & 0x40 ? (u32)script_value(s) : e->c->sent};
    if (h.op == VSOCK_RW)
        h.len = (u32)script_take(s, 2);
    connection_packet(e->c, host, &h, data);
}

static void program_step(int *fd, struct script *s)
{
    static u8 data[65536];
    u8 how = (u8)script_take(s, 1);
    size_t len = (size_t)script_take(s, 2);
    ssize_t done = 0;
    if (*fd < 0)
        return;
    if ((how & 7) < 3)
        done = send(*fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if ((how & 7) < 6)
        done = recv(*fd, data, len, MSG_DONTWAIT);
    else if ((how & 7) == 6)
        done = shutdown(*fd, how & 8 ? SHUT_WR : SHUT_RD);
    else if (how & 8) {
        (void)close(*fd);
        *fd = -1;
    }
    (void)done;
}

static void poll_step(struct end *e, const struct connection_host *host)
{
    struct pollfd p = {.fd = e->c->fd, .events = connection_events(e->c)};
    if (p.events && poll(&p, 1, 0) > 0)
        connection_ready(e->c, host, p.revents);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct script s = {.data = data, .size = size};
    struct end e = {0};
    const struct connection_host host = {take, &e};
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        abort();
    e.c = connection_create(pair[0], 1, 2);
    if (!e.c)
        abort();
    e.c->state = script_take(&s, 1) & 1 ? CONNECTION_OPEN : CONNECTION_ASKED;
    e.c->peer_alloc = (u32)script_value(&s);
    while (script_more(&s) && e.c->state != CONNECTION_ENDED) {
        if (e.c->state == CONNECTION_DRAINING && !e.c->used)
            abort();
        u8 op = (u8)script_take(&s, 1);
        if (op % 3 == 0 && e.c->state != CONNECTION_DRAINING)
            packet_step(&e, &host, &s);
        else if (op % 3 == 1)
            program_step(&pair[1], &s);
        else
            poll_step(&e, &host);
        if (e.c->used > CONNECTION_BUFFER || e.c->head >= CONNECTION_BUFFER)
            abort();
    }
    connection_destroy(e.c);
    if (pair[1] >= 0)
        (void)close(pair[1]);
    return 0;
}
