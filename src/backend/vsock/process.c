/*
 * The vsock process (vsock.h): its loop, who has which port, and how a program of the host says what it wants.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/vsock/connection.h"
#include "host/clock.h"

#define CONNECTIONS 256
#define BATCH       64         /* packets of the guest before sockets have their turn */
#define PORT_FIRST  0x40000000 /* of the host's side, for programs that come in */
#define GREETING    32         /* bytes: "CONNECT 4294967295\n" is less */
#define GREETING_MS 5000
#define POLL_MS     1000
#define LAST_MS     10000
#define ANSWER_MS   10000 /* a guest that is busy may take its time */

enum { SLOT_MONITOR, SLOT_LISTENER, SLOT_CONNECTIONS };

struct vsock {
    const struct vsock_spec *spec;
    struct connection_host host;
    int monitor, listener;
    bool ended;
    u32 next_port;
    struct connection *connection[CONNECTIONS];
    struct pollfd fd[SLOT_CONNECTIONS + CONNECTIONS];
    struct vsock_header header;
    u8 data[VSOCK_PAYLOAD];
};

static u64 now_ms(void)
{
    return host_clock_ns() / 1000000;
}

static void packet_out(void *opaque, struct vsock_header *h, const void *data, u32 len)
{
    struct vsock *v = opaque;
    union {
        const void *in;
        void *out;
    } bytes = {.in = data};
    const struct iovec iov[2] = {{h, sizeof(*h)}, {bytes.out, len}};
    ssize_t done;

    h->dst_cid = v->spec->cid;
    do
        done = writev(v->monitor, iov, len ? 2 : 1);
    while (done < 0 && (errno == EINTR || errno == ENOBUFS));
    v->ended |= done < 0;
}

/* The connection that the packet is about; without one, a free place. */
static struct connection **find_place(struct vsock *v, const struct vsock_header *h)
{
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        const struct connection *c = v->connection[i];
        bool known = c && (c->state == CONNECTION_ASKED || c->state == CONNECTION_OPEN);
        if (!h ? !c : known && c->guest_port == h->src_port && c->host_port == h->dst_port)
            return &v->connection[i];
    }
    return NULL;
}

/* Nobody is there. */
static void refuse(struct vsock *v, const struct vsock_header *h)
{
    struct vsock_header reply = {
        .src_cid = h->dst_cid, .src_port = h->dst_port, .dst_port = h->src_port, .type = h->type, .op = VSOCK_RST};

    if (h->op != VSOCK_RST)
        packet_out(v, &reply, NULL, 0);
}

/* --- the guest comes -------------------------------------------------------------------------------------------- */

static int dial(const struct vsock *v, u32 port)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int len = snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", v->spec->path, port);

    if (len < 0 || (size_t)len >= sizeof(a.sun_path))
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a))) {
        int status = -errno;
        (void)close(fd);
        return status;
    }
    return fd;
}

static void guest_connects(struct vsock *v, const struct vsock_header *h)
{
    struct connection **place = find_place(v, NULL);
    int fd = place ? dial(v, h->dst_port) : -ENFILE;

    if (fd >= 0)
        *place = connection_create(fd, h->src_port, h->dst_port);
    if (fd < 0 || !*place) {
        refuse(v, h);
        return;
    }
    (*place)->state = CONNECTION_OPEN;
    (*place)->peer_alloc = h->buf_alloc;
    (*place)->peer_forwarded = h->fwd_cnt;
    connection_send(*place, &v->host, VSOCK_RESPONSE, 0);
}

static void packet_take(struct vsock *v, size_t len)
{
    const struct vsock_header *h = &v->header;

    if (len != h->len || h->src_cid != v->spec->cid)
        return;
    struct connection **place = find_place(v, h);
    if (h->dst_cid != VSOCK_HOST || h->type != VSOCK_STREAM)
        refuse(v, h);
    else if (place)
        connection_packet(*place, &v->host, h, v->data);
    else if (h->op == VSOCK_REQUEST)
        guest_connects(v, h);
    else
        refuse(v, h);
}

static void all_end(struct vsock *v)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (v->connection[i])
            connection_abandon(v->connection[i]);
}

static void sweep(struct vsock *v)
{
    u64 now = now_ms();

    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct connection *c = v->connection[i];
        if (c && c->state != CONNECTION_ENDED && c->deadline && c->deadline <= now) {
            if (c->state != CONNECTION_GREETED)
                connection_send(c, &v->host, VSOCK_RST, 0);
            connection_abandon(c);
        }
        if (!c || c->state != CONNECTION_ENDED)
            continue;
        connection_destroy(c);
        v->connection[i] = NULL;
    }
}

static void monitor_read(struct vsock *v)
{
    struct iovec iov[2] = {{&v->header, sizeof(v->header)}, {v->data, sizeof(v->data)}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

    for (unsigned i = 0; i < BATCH && !v->ended; i++) {
        ssize_t got = recvmsg(v->monitor, &message, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0)
            v->ended = true;
        else if (got < (ssize_t)sizeof(v->header))
            all_end(v);
        else
            packet_take(v, (size_t)got - sizeof(v->header));
        sweep(v);
    }
}

/* --- the host comes --------------------------------------------------------------------------------------------- */

static void host_accepts(struct vsock *v)
{
    int fd = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct connection **place = find_place(v, NULL);

    if (fd < 0)
        return;
    if (!place) {
        (void)close(fd);
        return;
    }
    *place = connection_create(fd, 0, 0);
    if (*place)
        (*place)->deadline = now_ms() + GREETING_MS;
}

/* "CONNECT P\n" as it stands, of which no byte more is read; 0: not yet, negative: never. */
static int greeting_read(int fd, u32 *port)
{
    char text[GREETING + 1], *end;
    ssize_t got = recv(fd, text, GREETING, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got <= 0)
        return -ECONNRESET;
    text[got] = '\0';
    char *line = strchr(text, '\n');
    if (!line)
        return got == GREETING ? -EPROTO : 0;
    *line = '\0';
    unsigned long n = strncmp(text, "CONNECT ", 8) == 0 && text[8] >= '0' && text[8] <= '9'
                          ? strtoul(text + 8, &end, 10)
                          : UINT32_MAX;
    if (n >= UINT32_MAX || *end)
        return -EPROTO;
    *port = (u32)n;
    ssize_t taken = recv(fd, text, (size_t)(line + 1 - text), MSG_DONTWAIT);
    return taken == line + 1 - text ? 1 : -EPROTO;
}

static void greeted(struct vsock *v, struct connection *c)
{
    int status = greeting_read(c->fd, &c->guest_port);

    if (status < 0)
        c->state = CONNECTION_ENDED;
    if (status <= 0)
        return;
    c->host_port = PORT_FIRST + v->next_port++ % PORT_FIRST;
    c->state = CONNECTION_ASKED;
    c->deadline = now_ms() + ANSWER_MS;
    connection_send(c, &v->host, VSOCK_REQUEST, 0);
}

/* --- the loop --------------------------------------------------------------------------------------------------- */

static void poll_fill(struct vsock *v)
{
    v->fd[SLOT_MONITOR] = (struct pollfd){.fd = v->monitor, .events = POLLIN};
    v->fd[SLOT_LISTENER] = (struct pollfd){.fd = v->listener, .events = POLLIN};
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        const struct connection *c = v->connection[i];
        short events = c ? connection_events(c) : 0;
        v->fd[SLOT_CONNECTIONS + i] = (struct pollfd){.fd = events ? c->fd : -1, .events = events};
    }
}

static bool has_deadline(const struct vsock *v)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (v->connection[i] && v->connection[i]->deadline)
            return true;
    return false;
}

static void connections_run(struct vsock *v)
{
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct connection *c = v->connection[i];
        short revents = v->fd[SLOT_CONNECTIONS + i].revents;
        if (!c || !revents)
            continue;
        if (c->state == CONNECTION_GREETED)
            greeted(v, c);
        else
            connection_ready(c, &v->host, revents);
    }
}

/* The machine is gone. What the guest sent before that still gets to the programs that read. */
static void last_words(struct vsock *v)
{
    u64 end = now_ms() + LAST_MS;
    bool some = true;

    (void)close(v->listener);
    v->monitor = v->listener = -1;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (v->connection[i])
            v->connection[i]->guest_sends_none = true;
    all_end(v);
    while (some && now_ms() < end) {
        sweep(v);
        poll_fill(v);
        some = false;
        for (unsigned i = 0; i < CONNECTIONS; i++)
            some |= v->connection[i] != NULL;
        if (some && poll(v->fd, SLOT_CONNECTIONS + CONNECTIONS, POLL_MS) > 0)
            connections_run(v);
    }
}

void vsock_serve(const struct vsock_spec *spec, int monitor, int listener)
{
    struct vsock *v = calloc(1, sizeof(*v));

    if (!v)
        return;
    v->spec = spec;
    v->monitor = monitor;
    v->listener = listener;
    v->host = (struct connection_host){packet_out, v};
    while (!v->ended) {
        poll_fill(v);
        int some = poll(v->fd, SLOT_CONNECTIONS + CONNECTIONS, has_deadline(v) ? POLL_MS : -1);
        if (some > 0) {
            connections_run(v);
            if (v->fd[SLOT_LISTENER].revents)
                host_accepts(v);
            if (v->fd[SLOT_MONITOR].revents)
                monitor_read(v);
        }
        sweep(v);
    }
    last_words(v);
    free(v);
}
