/* See connection.h. */
#include "backend/vsock/connection.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host/clock.h"

#define UPDATE_AT (CONNECTION_BUFFER / 4) /* bytes that the guest does not yet know were taken */
#define LINGER_MS 8000                    /* after both sides have ended, until the guest must have said so */

struct connection *connection_create(int fd, u32 guest_port, u32 host_port)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (c)
        c->buffer = malloc(CONNECTION_BUFFER);
    if (!c || !c->buffer) {
        free(c);
        (void)close(fd);
        return NULL;
    }
    c->fd = fd;
    c->guest_port = guest_port;
    c->host_port = host_port;
    return c;
}

void connection_destroy(struct connection *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->buffer);
    free(c);
}

static void packet_send(struct connection *c, const struct connection_host *host, u16 op, u32 flags, const void *data,
                        u32 len)
{
    struct vsock_header h = {.src_cid = VSOCK_HOST,
                             .src_port = c->host_port,
                             .dst_port = c->guest_port,
                             .len = len,
                             .type = VSOCK_STREAM,
                             .op = op,
                             .flags = flags,
                             .buf_alloc = CONNECTION_BUFFER,
                             .fwd_cnt = c->forwarded};

    c->told = c->forwarded;
    host->send(host->opaque, &h, data, len);
}

void connection_send(struct connection *c, const struct connection_host *host, u16 op, u32 flags)
{
    packet_send(c, host, op, flags, NULL, 0);
}

void connection_abandon(struct connection *c)
{
    c->state = c->used && c->guest_sends_none ? CONNECTION_DRAINING : CONNECTION_ENDED;
    c->deadline = 0;
}

static void reset(struct connection *c, const struct connection_host *host)
{
    if (c->state != CONNECTION_DRAINING)
        connection_send(c, host, VSOCK_RST, 0);
    c->state = CONNECTION_ENDED;
}

/* What is left of what the guest may be sent. */
static u32 credit(const struct connection *c)
{
    u32 under_way = c->sent - c->peer_forwarded;

    return under_way < c->peer_alloc ? c->peer_alloc - under_way : 0;
}

/* --- guest to host ---------------------------------------------------------------------------------------------- */

/* Both directions are done, or the socket is. */
static void end_if_done(struct connection *c, const struct connection_host *host)
{
    if (c->state != CONNECTION_OPEN || c->used || !c->guest_sends_none)
        return;
    if (c->guest_takes_none || c->host_ended)
        reset(c, host);
}

/* As much of the buffer as the socket takes. */
static void flush(struct connection *c, const struct connection_host *host)
{
    while (c->used) {
        u32 first = (u32)CONNECTION_BUFFER - c->head;
        u32 some = c->used < first ? c->used : first;
        ssize_t done = send(c->fd, c->buffer + c->head, some, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (done < 0) {
            reset(c, host);
            return;
        }
        c->head = (c->head + (u32)done) % (u32)CONNECTION_BUFFER;
        c->used -= (u32)done;
        c->forwarded += (u32)done;
    }
    if (c->guest_sends_none && !c->used)
        (void)shutdown(c->fd, SHUT_WR);
    if (c->state == CONNECTION_DRAINING)
        c->state = c->used ? CONNECTION_DRAINING : CONNECTION_ENDED;
    else if (c->forwarded - c->told >= UPDATE_AT)
        connection_send(c, host, VSOCK_CREDIT_UPDATE, 0);
}

static void keep(struct connection *c, const u8 *data, u32 len)
{
    u32 tail = (c->head + c->used) % (u32)CONNECTION_BUFFER, first = (u32)CONNECTION_BUFFER - tail;

    first = len < first ? len : first;
    memcpy(c->buffer + tail, data, first);
    memcpy(c->buffer, data + first, len - first);
    c->used += len;
}

/* More than it was allowed to send ends it. */
static void take_data(struct connection *c, const struct connection_host *host, const u8 *data, u32 len)
{
    if (c->guest_sends_none || len > CONNECTION_BUFFER - c->used) {
        reset(c, host);
        return;
    }
    keep(c, data, len);
    flush(c, host);
}

static void take_shutdown(struct connection *c, const struct connection_host *host, u32 flags)
{
    c->guest_sends_none |= (flags & VSOCK_NO_SEND) != 0;
    c->guest_takes_none |= (flags & VSOCK_NO_RECEIVE) != 0;
    if (c->guest_takes_none && c->guest_sends_none)
        c->deadline = host_clock_ns() / 1000000 + LINGER_MS;
    if (c->guest_takes_none)
        (void)shutdown(c->fd, SHUT_RD);
    flush(c, host);
    end_if_done(c, host);
}

/* The program of the host is told which port it came from. */
static void take_response(struct connection *c, const struct connection_host *host)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "OK %u\n", c->host_port);

    c->state = CONNECTION_OPEN;
    c->deadline = 0;
    if (send(c->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len)
        reset(c, host);
}

void connection_packet(struct connection *c, const struct connection_host *host, const struct vsock_header *h,
                       const u8 *data)
{
    c->peer_alloc = h->buf_alloc;
    c->peer_forwarded = h->fwd_cnt;
    c->asked_credit = false;
    if (h->op == VSOCK_RST) {
        connection_abandon(c);
    } else if (h->op == VSOCK_RESPONSE && c->state == CONNECTION_ASKED) {
        take_response(c, host);
    } else if (c->state != CONNECTION_OPEN) {
        reset(c, host);
    } else if (h->op == VSOCK_RW) {
        take_data(c, host, data, h->len);
    } else if (h->op == VSOCK_SHUTDOWN) {
        take_shutdown(c, host, h->flags);
    } else if (h->op == VSOCK_CREDIT_REQUEST) {
        connection_send(c, host, VSOCK_CREDIT_UPDATE, 0);
    } else if (h->op != VSOCK_CREDIT_UPDATE) {
        reset(c, host);
    }
}

/* --- host to guest ---------------------------------------------------------------------------------------------- */

static void host_ended(struct connection *c, const struct connection_host *host, bool both)
{
    c->host_ended = true;
    connection_send(c, host, VSOCK_SHUTDOWN, VSOCK_NO_SEND | (both ? VSOCK_NO_RECEIVE : 0u));
    if (both)
        c->deadline = host_clock_ns() / 1000000 + LINGER_MS;
    end_if_done(c, host);
}

static void forward(struct connection *c, const struct connection_host *host, bool hung_up)
{
    u8 data[VSOCK_PAYLOAD];
    u32 most = credit(c);

    if (!most) {
        if (!c->asked_credit)
            connection_send(c, host, VSOCK_CREDIT_REQUEST, 0);
        c->asked_credit = true;
        return;
    }
    ssize_t got = recv(c->fd, data, most < VSOCK_PAYLOAD ? most : VSOCK_PAYLOAD, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        host_ended(c, host, hung_up || got < 0);
        return;
    }
    c->sent += (u32)got;
    packet_send(c, host, VSOCK_RW, 0, data, (u32)got);
}

short connection_events(const struct connection *c)
{
    short events = 0;

    if (c->state == CONNECTION_GREETED)
        return POLLIN;
    if (c->state == CONNECTION_DRAINING)
        return POLLOUT;
    if (c->state != CONNECTION_OPEN)
        return 0;
    if (!c->host_ended && !c->guest_takes_none && (credit(c) || !c->asked_credit))
        events |= POLLIN;
    if (c->used)
        events |= POLLOUT;
    return events;
}

void connection_ready(struct connection *c, const struct connection_host *host, short revents)
{
    if (revents & POLLOUT || (revents & POLLERR && c->used)) {
        flush(c, host);
        end_if_done(c, host);
    }
    if (c->state == CONNECTION_OPEN && revents & (POLLIN | POLLHUP) && connection_events(c) & POLLIN)
        forward(c, host, revents & POLLHUP);
}
