/*
 * The NAT process (kinds.h): libslirp, which is a router, a DHCP server and the host's side of every connection of the
 * guest, without any privilege. It takes frames apart, which is why it is a process of its own: one that has no memory
 * of a guest, a sandbox that lets it use sockets of the internet and nothing else, and no file but the list of name
 * servers. It ends when the monitor closes its end of the socket.
 *
 * Messages both ways are frames with a struct frame_header; the first one that it sends is a struct child_ready. Its
 * socket blocks: while the guest takes nothing, nothing is read from the host.
 *
 * Speed is the size of segments. What the guest sends comes whole (slirp takes IP packets of any size). For the other
 * direction slirp is told, in place of what stands in the guest's SYN, that the guest takes the largest segments there
 * are, and what it then sends is marked as one that has to be cut to the size of the guest's network: a driver takes it
 * whole, as from a card that puts segments together, and for one that does not the device cuts it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend/net/child.h"
#include "backend/net/frame.h"
#include "backend/net/kinds.h"
#include "base/bits.h"
#include "host/clock.h"
#include "host/sandbox.h"

#define BATCH       64     /* frames of the guest before the host's sockets have their turn */
#define SEGMENT_MTU 65521u /* the largest that slirp has */
#define SEGMENT_MSS 65000u
#define MTU_PRESET  1500u
#define MSS_MIN     64u
#define TIMERS      4
#define FLOWS       1024 /* connections whose size of segments is remembered, by a hash */
#define RESOLV      "/etc/resolv.conf"
#define RESOLV_MAX  65536

enum { MONITOR = 3, SERVERS = 4 };
enum { HOST_AT = 2, SERVER_AT = 3, LEASE_AT = 15 }; /* in the network */
enum { IPV4_LENGTH = 2, IPV4_FRAGMENT = 6, IPV4_SUM = 10, IPV4_FROM = 12, IPV4_HEADER_MAX = 60, IPV6_FROM = 8 };
enum { FRAGMENT_BITS = 0x3fff, MORE_FRAGMENTS = 0x2000 };
enum { TCP_FLAGS = 13, TCP_SUM = 16, TCP_OPTIONS = 20, TCP_SYN = 2 };
enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2, OPTION_MSS_SIZE = 4 };

struct nat_timer {
    SlirpTimerCb fire;
    void *opaque;
    i64 due; /* ms */
    bool used, armed;
};

struct nat {
    Slirp *slirp;
    const struct net_spec *spec;
    bool ended;
    struct pollfd *fds;
    unsigned used, capacity;
    struct nat_timer timer[TIMERS];
    struct {
        u32 hash;
        u16 mss;
    } flow[FLOWS];
    struct frame_header header;
    u8 frame[FRAME_MAX];
};

/* --- connections ------------------------------------------------------------------------------------------------ */

static u32 hash_bytes(u32 hash, const u8 *p, size_t len)
{
    while (len--)
        hash = (hash ^ *p++) * 16777619u;
    return hash;
}

/* Of a connection, the same for both directions. */
static u32 flow_hash(const u8 *frame, const struct frame_layout *l, bool from_guest)
{
    size_t size = l->version == 4 ? 4 : 16;
    const u8 *from = frame + l->l3 + (l->version == 4 ? IPV4_FROM : IPV6_FROM), *to = from + size;
    const u8 *port = frame + l->l4;
    u32 hash = hash_bytes(2166136261u, from_guest ? from : to, size);

    hash = hash_bytes(hash, from_guest ? to : from, size);
    hash = hash_bytes(hash, port + (from_guest ? 0 : 2), 2);
    return hash_bytes(hash, port + (from_guest ? 2 : 0), 2);
}

static void flow_note(struct nat *n, u32 hash, u16 mss)
{
    n->flow[hash % FLOWS].hash = hash;
    n->flow[hash % FLOWS].mss = mss < MSS_MIN ? MSS_MIN : mss;
}

static unsigned mtu_of(const struct nat *n)
{
    return n->spec->mtu ? n->spec->mtu : MTU_PRESET;
}

/* The payload that a segment to the guest may have: what its network takes, and what it asked for. */
static unsigned segment_size(const struct nat *n, const u8 *frame, const struct frame_layout *l)
{
    unsigned mtu = mtu_of(n), headers = l->payload - l->l3;
    unsigned size = headers + MSS_MIN < mtu ? mtu - headers : MSS_MIN;
    u32 hash = flow_hash(frame, l, false);
    unsigned mss = n->flow[hash % FLOWS].mss;

    return n->flow[hash % FLOWS].hash == hash && mss && mss < size ? mss : size;
}

/* --- to the guest ----------------------------------------------------------------------------------------------- */

/* slirp has filled in every sum. A segment that is too long for the guest's network is one to be cut. */
static struct frame_header header_for(const struct nat *n, u8 *frame, size_t len)
{
    struct frame_header h = {.flags = FRAME_DATA_VALID};
    struct frame_layout l;

    if (!frame_parse(frame, len, &l) || l.protocol != FRAME_TCP || !l.payload)
        return h;
    unsigned size = segment_size(n, frame, &l);
    if (l.end - l.payload <= size || l.end != len)
        return h;
    h = (struct frame_header){.flags = FRAME_NEEDS_CSUM,
                              .gso_type = l.version == 4 ? FRAME_GSO_TCPV4 : FRAME_GSO_TCPV6,
                              .hdr_len = (u16)l.payload,
                              .gso_size = (u16)size,
                              .csum_start = (u16)l.l4,
                              .csum_offset = TCP_SUM};
    put_u16(frame + l.l4 + TCP_SUM, frame_pseudo_sum(frame, &l, len - l.l4));
    return h;
}

static void frame_send(struct nat *n, struct frame_header h, u8 *frame, size_t len)
{
    const struct iovec iov[2] = {{&h, sizeof(h)}, {frame, len}};
    ssize_t done;

    do
        done = writev(MONITOR, iov, 2);
    while (done < 0 && (errno == EINTR || errno == ENOBUFS));
    n->ended |= done < 0;
}

/* slirp leaves what is no TCP as long as it came. */
static bool is_long_datagram(const struct nat *n, const u8 *frame, size_t len, struct frame_layout *l)
{
    return frame_parse(frame, len, l) && l->version == 4 && l->protocol != FRAME_TCP && l->end - l->l3 > mtu_of(n) &&
           !(get_u16(frame + l->l3 + IPV4_FRAGMENT) & htons(FRAGMENT_BITS));
}

/* RFC 791, 3.2. The header of each goes before its data, over what was sent before. */
static void fragments_send(struct nat *n, u8 *frame, const struct frame_layout *l)
{
    u32 header = (frame[l->l3] & 15u) * 4, before = l->l3 + header, data = l->end - before;
    u32 step = (mtu_of(n) - header) & ~7u;
    u8 saved[FRAME_ETHERNET + 8 + IPV4_HEADER_MAX];

    memcpy(saved, frame, before);
    for (u32 done = 0; done < data; done += step) {
        u32 some = data - done < step ? data - done : step;
        u8 *piece = frame + done, *ip = piece + l->l3;
        memcpy(piece, saved, before);
        put_u16(ip + IPV4_LENGTH, htons((u16)(header + some)));
        put_u16(ip + IPV4_FRAGMENT, htons((u16)(done / 8 | (done + some < data ? MORE_FRAGMENTS : 0))));
        put_u16(ip + IPV4_SUM, 0);
        put_u16(ip + IPV4_SUM, (u16)~frame_sum(ip, header, 0));
        frame_send(n, (struct frame_header){0}, piece, before + some);
    }
}

/* slirp says const, but the buffer is its own and is freed after this. */
static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
    struct nat *n = opaque;
    union {
        const void *in;
        u8 *out;
    } frame = {.in = buf};
    struct frame_layout l;

    if (len > FRAME_MAX)
        return (ssize_t)len;
    if (is_long_datagram(n, frame.out, len, &l))
        fragments_send(n, frame.out, &l);
    else
        frame_send(n, header_for(n, frame.out, len), frame.out, len);
    return (ssize_t)len;
}

/* --- from the guest --------------------------------------------------------------------------------------------- */

static u8 *find_mss(u8 *frame, const struct frame_layout *l)
{
    u8 *p = frame + l->l4 + TCP_OPTIONS, *end = frame + l->payload;

    while (p < end && *p != OPTION_END) {
        if (*p == OPTION_NOP) {
            p++;
            continue;
        }
        if (end - p < 2 || p[1] < 2 || p[1] > end - p)
            return NULL;
        if (*p == OPTION_MSS)
            return p[1] == OPTION_MSS_SIZE ? p + 2 : NULL;
        p += p[1];
    }
    return NULL;
}

static void enlarge_mss(struct nat *n, u8 *frame, size_t len)
{
    struct frame_layout l;

    if (!frame_parse(frame, len, &l) || l.protocol != FRAME_TCP || !l.l4 || !(frame[l.l4 + TCP_FLAGS] & TCP_SYN))
        return;
    u8 *mss = find_mss(frame, &l);
    if (!mss)
        return;
    flow_note(n, flow_hash(frame, &l, true), ntohs(get_u16(mss)));
    put_u16(mss, htons(SEGMENT_MSS));
    u8 *tcp = frame + l.l4;
    put_u16(tcp + TCP_SUM, 0);
    put_u16(tcp + TCP_SUM, (u16)~frame_sum(tcp, l.end - l.l4, frame_pseudo_sum(frame, &l, l.end - l.l4)));
}

static void frame_take(struct nat *n, size_t len)
{
    if (!frame_check(&n->header, n->frame, len))
        return;
    frame_complete(&n->header, n->frame, len);
    enlarge_mss(n, n->frame, len);
    slirp_input(n->slirp, n->frame, (int)len);
}

static void monitor_read(struct nat *n)
{
    struct iovec iov[2] = {{&n->header, sizeof(n->header)}, {n->frame, sizeof(n->frame)}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

    for (unsigned i = 0; i < BATCH && !n->ended; i++) {
        ssize_t got = recvmsg(MONITOR, &message, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        n->ended |= got <= 0;
        if (got > (ssize_t)sizeof(n->header))
            frame_take(n, (size_t)got - sizeof(n->header));
    }
}

/* --- what slirp needs --------------------------------------------------------------------------------------------- */

static i64 now_ms(void)
{
    return (i64)(host_clock_ns() / 1000000);
}

static void guest_error(const char *msg, void *opaque)
{
}

static int64_t clock_get_ns(void *opaque)
{
    return (int64_t)host_clock_ns();
}

static void *timer_new(SlirpTimerCb fire, void *timer_opaque, void *opaque)
{
    struct nat *n = opaque;

    for (unsigned i = 0; i < TIMERS; i++) {
        if (n->timer[i].used)
            continue;
        n->timer[i] = (struct nat_timer){.fire = fire, .opaque = timer_opaque, .used = true};
        return &n->timer[i];
    }
    return NULL;
}

static void timer_free(void *timer, void *opaque)
{
    *(struct nat_timer *)timer = (struct nat_timer){0};
}

static void timer_mod(void *timer, int64_t due, void *opaque)
{
    struct nat_timer *t = timer;

    if (!t)
        return;
    t->due = due;
    t->armed = true;
}

static void fd_ignored(int fd, void *opaque)
{
}

static void notify(void *opaque)
{
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_get_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = fd_ignored,
    .unregister_poll_fd = fd_ignored,
    .notify = notify,
};

/* --- the loop --------------------------------------------------------------------------------------------------- */

static const struct {
    int slirp;
    short poll;
} events[] = {
    {SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
    {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int poll_add(int fd, int wanted, void *opaque)
{
    struct nat *n = opaque;

    if (n->used == n->capacity) {
        unsigned capacity = n->capacity * 2;
        struct pollfd *fds = realloc(n->fds, capacity * sizeof(*fds));
        if (!fds)
            return -1;
        n->fds = fds;
        n->capacity = capacity;
    }
    struct pollfd *p = &n->fds[n->used];
    *p = (struct pollfd){.fd = fd};
    for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
        if (wanted & events[i].slirp)
            p->events = (short)(p->events | events[i].poll);
    return (int)n->used++;
}

static int poll_result(int index, void *opaque)
{
    const struct nat *n = opaque;
    int found = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(events) && index >= 0; i++)
        if (n->fds[index].revents & events[i].poll)
            found |= events[i].slirp;
    return found;
}

static int timeout_of(const struct nat *n, u32 timeout)
{
    i64 wait = timeout > INT32_MAX ? -1 : (i64)timeout;

    for (unsigned i = 0; i < TIMERS; i++) {
        if (!n->timer[i].armed)
            continue;
        i64 left = n->timer[i].due - now_ms();
        left = left < 0 ? 0 : left;
        wait = wait < 0 || left < wait ? left : wait;
    }
    return (int)(wait < INT32_MAX ? wait : INT32_MAX);
}

static void timers_run(struct nat *n)
{
    for (unsigned i = 0; i < TIMERS; i++) {
        struct nat_timer *t = &n->timer[i];
        if (!t->armed || t->due > now_ms())
            continue;
        t->armed = false;
        t->fire(t->opaque);
    }
}

static void nat_run(struct nat *n)
{
    while (!n->ended) {
        u32 timeout = UINT32_MAX;
        n->used = 0;
        (void)poll_add(MONITOR, SLIRP_POLL_IN, n);
        slirp_pollfds_fill(n->slirp, &timeout, poll_add, n);
        int some = poll(n->fds, n->used, timeout_of(n, timeout));
        slirp_pollfds_poll(n->slirp, some < 0, poll_result, n); /* first, as it tells slirp the time */
        timers_run(n);
        if (some > 0 && n->fds[0].revents)
            monitor_read(n);
    }
}

/* --- the beginning ---------------------------------------------------------------------------------------------- */

static _Noreturn void nat_refuse(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);
static _Noreturn void nat_refuse(int status, const char *fmt, ...)
{
    struct child_ready ready = {.status = status};
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(ready.text, sizeof(ready.text), fmt, args);
    va_end(args);
    ssize_t done = write(MONITOR, &ready, sizeof(ready));
    _exit(done < 0 ? 2 : 1);
}

static Slirp *slirp_make(struct nat *n)
{
    const struct net_spec *s = n->spec;
    SlirpConfig cfg = {
        .version = 1,
        .restricted = s->restricted,
        .in_enabled = true,
        .vnetwork = {htonl(s->network)},
        .vnetmask = {htonl(s->mask)},
        .vhost = {htonl(s->network + HOST_AT)},
        .vdhcp_start = {htonl(s->network + LEASE_AT)},
        .vnameserver = {htonl(s->network + SERVER_AT)},
        .in6_enabled = !s->no_ipv6,
        .vprefix_len = 64,
        .vhostname = s->hostname,
        .if_mtu = SEGMENT_MTU,
        .if_mru = SEGMENT_MTU,
    };

    (void)inet_pton(AF_INET6, "fec0::", &cfg.vprefix_addr6);
    (void)inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
    (void)inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
    return slirp_new(&cfg, &callbacks, n);
}

static void forwards_make(struct nat *n)
{
    for (unsigned i = 0; i < n->spec->forwards; i++) {
        const struct net_forward *f = &n->spec->forward[i];
        struct in_addr host = {htonl(f->host)}, guest = {htonl(f->guest)};
        char text[INET_ADDRSTRLEN] = "";
        if (slirp_add_hostfwd(n->slirp, f->udp, host, f->host_port, guest, f->guest_port) >= 0)
            continue;
        int why = errno;
        (void)inet_ntop(AF_INET, &host, text, sizeof(text));
        nat_refuse(-why, "hostfwd: cannot listen on %s port %u of %s: %s; give another port or address",
                   f->udp ? "udp" : "tcp", f->host_port, text, strerror(why));
    }
}

static bool nat_make(struct nat *n, const struct net_spec *spec)
{
    n->spec = spec;
    n->capacity = 64;
    n->fds = calloc(n->capacity, sizeof(*n->fds));
    n->slirp = n->fds ? slirp_make(n) : NULL;
    return n->slirp;
}

static void nat_confine(const struct nat *n, enum child_confine confine)
{
    struct error why = {0};

    if (confine && sandbox_enter_helper(SANDBOX_NAT, SERVERS, &why)) {
        if (confine == CHILD_MUST)
            nat_refuse(-ENOTSUP, "the NAT process: %s; --sandbox auto or off goes on without", why.text);
        confine = CHILD_FREE;
    }
    if (!confine && n->spec->dns && sandbox_enter_helper(SANDBOX_FILE, SERVERS, &why))
        nat_refuse(-ENOTSUP, "dns: %s; leave it out", why.text);
}

static _Noreturn void nat_main(const struct net_spec *spec, int monitor, int servers, enum child_confine confine)
{
    static const struct child_ready ready = {0};
    struct nat *n = calloc(1, sizeof(*n));
    const int keep[] = {monitor, servers};

    child_end_with_parent();
    if (!child_begin("ring3-nat", keep, 2))
        _exit(1);
    if (n && nat_make(n, spec)) {
        forwards_make(n);
        nat_confine(n, confine);
        if (write(MONITOR, &ready, sizeof(ready)) == sizeof(ready))
            nat_run(n);
        _exit(0);
    }
    nat_refuse(-ENOMEM, "the NAT process is out of memory");
}

/* The list of name servers as it is now, or the one server, in a file of our own: the process opens no other. */
static int servers_open(const struct net_spec *spec)
{
    char *text = malloc(RESOLV_MAX);
    int to = memfd_create("resolv.conf", MFD_CLOEXEC), from = -1;
    ssize_t len = 0;

    if (text && spec->dns) {
        len = snprintf(text, RESOLV_MAX, "nameserver %s\n", spec->dns);
    } else if (text) {
        from = open(RESOLV, O_RDONLY | O_CLOEXEC);
        len = from < 0 ? 0 : read(from, text, RESOLV_MAX);
    }
    if (to >= 0 && len > 0 && write(to, text, (size_t)len) != len) {
        (void)close(to);
        to = -1;
    }
    if (from >= 0)
        (void)close(from);
    free(text);
    return to;
}

int nat_open(const char *who, const struct net_spec *spec, enum child_confine confine, pid_t *child, struct error *err)
{
    int pair[2];
    int status = child_sockets(pair);

    if (status)
        return error_set(err, status, "%s: cannot make a pair of sockets: %s", who, strerror(-status));
    int servers = servers_open(spec);
    pid_t pid = servers < 0 ? -1 : fork();
    if (pid == 0)
        nat_main(spec, pair[1], servers, confine);
    status = -errno;
    (void)close(pair[1]);
    if (servers >= 0)
        (void)close(servers);
    if (pid > 0 && fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK) == 0) {
        *child = pid;
        return pair[0];
    }
    (void)close(pair[0]);
    child_reap(pid > 0 ? pid : 0);
    return error_set(err, status, "%s: cannot make the NAT process: %s", who, strerror(-status));
}
