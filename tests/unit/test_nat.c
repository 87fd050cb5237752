/*
 * The NAT process, from the guest's side of its socket: frames written by hand ask for an address, find the gateway,
 * ping it, ask a name server, and carry TCP both ways, in small segments and in large ones; and what goes wrong at the
 * start. All that is talked to are servers of the test on 127.0.0.1.
 *
 *     test_nat [confined]     with the process in its sandbox, which sanitizers do not go with
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/net/frame.h"
#include "backend/net/kinds.h"
#include "base/bits.h"

#define WHO     "--net test"
#define GUEST   0x0a00020fu
#define GATEWAY 0x0a000202u
#define SERVER  0x0a000203u
#define PATIENT 3000 /* ms */
#define BULK    (1u << 20)

enum { IP = 14, L4 = 34, UDP_DATA = 42, TCP_HEADER = 20 };
enum { ACK = 0x10, SYN = 0x02, FIN = 0x01, PSH = 0x08 };

static enum child_confine confine = CHILD_FREE;
static const u8 our_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

struct client {
    int fd;
    pid_t pid;
    struct net_spec spec;
    u8 gateway[6];
    struct frame_header header; /* of the last frame */
    u8 frame[FRAME_MAX];
    size_t len;
    u32 seq, ack; /* of the one connection */
    u16 port, peer;
};

static u16 be16(const u8 *p)
{
    return (u16)(p[0] << 8 | p[1]);
}

static void put16(u8 *p, unsigned v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

static u32 be32(const u8 *p)
{
    return (u32)be16(p) << 16 | be16(p + 2);
}

static void put32(u8 *p, u32 v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* --- frames ----------------------------------------------------------------------------------------------------- */

static void send_frame(struct client *c, const struct frame_header *h, size_t len)
{
    struct frame_header copy = *h;
    const struct iovec iov[2] = {{&copy, sizeof(copy)}, {c->frame, len}};
    assert_int_equal(writev(c->fd, iov, 2), sizeof(copy) + len);
}

/* False: none came in time. */
static bool take_frame(struct client *c, int ms)
{
    struct iovec iov[2] = {{&c->header, sizeof(c->header)}, {c->frame, sizeof(c->frame)}};
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, ms) <= 0)
        return false;
    ssize_t got = readv(c->fd, iov, 2);
    assert_true(got > (ssize_t)sizeof(c->header));
    c->len = (size_t)got - sizeof(c->header);
    assert_true(frame_check(&c->header, c->frame, c->len));
    return true;
}

/* The next IPv4 packet of that protocol, from that port for UDP and TCP. */
static bool take_ip(struct client *c, u8 protocol, u16 port)
{
    while (take_frame(c, PATIENT)) {
        const u8 *f = c->frame;
        if (be16(f + 12) == 0x0806 && be16(f + 20) == 1 && be32(f + 38) == GUEST) { /* who has our address? */
            u8 reply[42];
            memcpy(reply, f, 42);
            memcpy(reply, f + 6, 6);
            memcpy(reply + 6, our_mac, 6);
            put16(reply + 20, 2);
            memcpy(reply + 22, our_mac, 6);
            put32(reply + 28, GUEST);
            memcpy(reply + 32, f + 22, 10);
            memcpy(c->frame, reply, 42);
            send_frame(c, &(struct frame_header){0}, 42);
            continue;
        }
        if (be16(f + 12) == 0x0800 && f[23] == protocol && (!port || be16(f + L4) == port))
            return true;
    }
    return false;
}

/* Headers before `len` bytes that are in place behind IP's. */
static void make_ip(struct client *c, u8 protocol, u32 from, u32 to, size_t len)
{
    u8 *f = c->frame;
    memcpy(f, c->gateway, 6);
    memcpy(f + 6, our_mac, 6);
    put16(f + 12, 0x0800);
    memset(f + IP, 0, 20);
    f[IP] = 0x45;
    put16(f + IP + 2, (unsigned)(20 + len));
    f[IP + 8] = 64;
    f[IP + 9] = protocol;
    put32(f + IP + 12, from);
    put32(f + IP + 16, to);
    put_u16(f + IP + 10, (u16)~frame_sum(f + IP, 20, 0));
}

/* The sum is left to the other end, as drivers do. */
static struct frame_header leave_sum(struct client *c, size_t len, u16 offset)
{
    struct frame_layout l;
    assert_true(frame_parse(c->frame, len, &l));
    put_u16(c->frame + L4 + offset, frame_pseudo_sum(c->frame, &l, len - L4));
    return (struct frame_header){.flags = FRAME_NEEDS_CSUM, .csum_start = L4, .csum_offset = offset};
}

static void send_udp(struct client *c, u32 from, u16 port, u32 to, u16 to_port, const void *data, size_t len)
{
    u8 *udp = c->frame + L4;
    memcpy(c->frame + UDP_DATA, data, len);
    put16(udp, port);
    put16(udp + 2, to_port);
    put16(udp + 4, (unsigned)(8 + len));
    put16(udp + 6, 0);
    make_ip(c, FRAME_UDP, from, to, 8 + len);
    struct frame_header h = leave_sum(c, UDP_DATA + len, 6);
    send_frame(c, &h, UDP_DATA + len);
}

/* `mss` 0: no option. `cut` 0: not to be cut. */
static void send_tcp(struct client *c, u8 flags, const void *data, size_t len, u16 mss, u16 cut)
{
    size_t header = mss ? 24 : 20, all = L4 + header + len;
    u8 *tcp = c->frame + L4;
    memset(tcp, 0, header);
    if (len)
        memcpy(tcp + header, data, len);
    put16(tcp, c->port);
    put16(tcp + 2, c->peer);
    put32(tcp + 4, c->seq);
    put32(tcp + 8, flags & ACK ? c->ack : 0);
    tcp[12] = (u8)(header / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, 0xffff);
    if (mss) {
        put16(tcp + 20, 0x0204);
        put16(tcp + 22, mss);
    }
    make_ip(c, FRAME_TCP, GUEST, GATEWAY, header + len);
    struct frame_header h = leave_sum(c, all, 16);
    if (cut && len > cut) {
        h.gso_type = FRAME_GSO_TCPV4;
        h.gso_size = cut;
        h.hdr_len = (u16)(L4 + header);
    }
    send_frame(c, &h, all);
    c->seq += (u32)len + (flags & (SYN | FIN) ? 1 : 0);
}

/* --- the process ------------------------------------------------------------------------------------------------ */

static int ready_status(struct client *c, char *text, size_t size)
{
    struct child_ready ready;
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENT), 1);
    assert_int_equal(read(c->fd, &ready, sizeof(ready)), sizeof(ready));
    if (text)
        memcpy(text, ready.text, size < sizeof(ready.text) ? size : sizeof(ready.text));
    return ready.status;
}

static struct client *begin(const char *spec)
{
    struct client *c = calloc(1, sizeof(*c));
    struct error err = {0};
    assert_non_null(c);
    assert_int_equal(net_spec_parse(WHO, spec, &c->spec, &err), 0);
    c->fd = nat_open(WHO, &c->spec, confine, &c->pid, &err);
    assert_true(c->fd >= 0);
    return c;
}

static void end(struct client *c)
{
    int status;
    (void)close(c->fd);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    net_spec_free(&c->spec);
    free(c);
}

static void find_gateway(struct client *c)
{
    u8 *f = c->frame;
    memset(f, 0xff, 6);
    memcpy(f + 6, our_mac, 6);
    memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
    memcpy(f + 22, our_mac, 6);
    put32(f + 28, GUEST);
    memset(f + 32, 0, 6);
    put32(f + 38, GATEWAY);
    send_frame(c, &(struct frame_header){0}, 42);
    while (take_frame(c, PATIENT))
        if (be16(f + 12) == 0x0806 && be16(f + 20) == 2 && be32(f + 28) == GATEWAY) {
            memcpy(c->gateway, f + 22, 6);
            return;
        }
    fail_msg("no reply by ARP");
}

static struct client *begin_ready(const char *spec)
{
    struct client *c = begin(spec);
    assert_int_equal(ready_status(c, NULL, 0), 0);
    find_gateway(c);
    return c;
}

static int listen_at(u16 *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* A port that is free now. */
static u16 free_port(void)
{
    u16 port;
    (void)close(listen_at(&port));
    return port;
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void test_dhcp(void **state)
{
    struct client *c = begin_ready("nat,hostname=guest-1");
    u8 ask[300] = {1, 1, 6, 0, 9, 9, 9, 9};
    memcpy(ask + 28, our_mac, 6);
    memcpy(ask + 236, "\x63\x82\x53\x63\x35\x01\x01\xff", 8); /* discover */
    memset(c->gateway, 0xff, 6);
    send_udp(c, 0, 68, 0xffffffff, 67, ask, sizeof(ask));
    assert_true(take_ip(c, FRAME_UDP, 67));
    assert_int_equal(be32(c->frame + UDP_DATA + 16), GUEST);
    assert_non_null(memmem(c->frame, c->len, "\x06\x04\x0a\x00\x02\x03", 6)); /* the name server */
    assert_non_null(memmem(c->frame, c->len, "guest-1", 7));
    end(c);
}

static void test_ping(void **state)
{
    struct client *c = begin_ready("nat");
    u8 *icmp = c->frame + L4;
    memcpy(icmp, "\x08\x00\x00\x00\x00\x07\x00\x01ping-ping", 17);
    put_u16(icmp + 2, (u16)~frame_sum(icmp, 17, 0));
    make_ip(c, 1, GUEST, GATEWAY, 17);
    send_frame(c, &(struct frame_header){0}, L4 + 17);
    assert_true(take_ip(c, 1, 0));
    assert_int_equal(c->frame[L4], 0); /* a reply */
    assert_memory_equal(c->frame + L4 + 8, "ping-ping", 9);
    end(c);
}

/* Needs the right to port 53 of 127.0.0.1, which is the one that slirp asks. */
static void test_dns(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd p = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .events = POLLIN};
    socklen_t size = sizeof(a);
    char text[64];
    assert_true(p.fd >= 0);
    if (bind(p.fd, (struct sockaddr *)&a, size)) {
        (void)close(p.fd);
        print_message("port 53 of 127.0.0.1 cannot be had here\n");
        skip();
    }
    struct client *c = begin_ready("nat,dns=127.0.0.1");
    for (unsigned n = 0; n < 2; n++) { /* slirp looks into the list each time */
        send_udp(c, GUEST, (u16)(4000 + n), SERVER, 53, "question", 8);
        assert_int_equal(poll(&p, 1, PATIENT), 1);
        assert_int_equal(recvfrom(p.fd, text, sizeof(text), 0, (struct sockaddr *)&a, &size), 8);
        assert_memory_equal(text, "question", 8);
        assert_int_equal(sendto(p.fd, "answer", 6, 0, (struct sockaddr *)&a, size), 6);
        assert_true(take_ip(c, FRAME_UDP, 53));
        assert_memory_equal(c->frame + UDP_DATA, "answer", 6);
        usleep(1100000); /* longer than it remembers */
    }
    (void)close(p.fd);
    end(c);
}

/* A datagram that is longer than the guest's network comes in fragments. */
static void test_fragments(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd p = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .events = POLLIN};
    socklen_t size = sizeof(a);
    u8 data[8000], got[9000], seen = 0;
    assert_int_equal(bind(p.fd, (struct sockaddr *)&a, size), 0);
    assert_int_equal(getsockname(p.fd, (struct sockaddr *)&a, &size), 0);
    struct client *c = begin_ready("nat");
    send_udp(c, GUEST, 4000, GATEWAY, ntohs(a.sin_port), "question", 8);
    assert_int_equal(poll(&p, 1, PATIENT), 1);
    assert_int_equal(recvfrom(p.fd, data, sizeof(data), 0, (struct sockaddr *)&a, &size), 8);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (u8)(i * 11 + (i >> 8));
    assert_int_equal(sendto(p.fd, data, sizeof(data), 0, (struct sockaddr *)&a, size), sizeof(data));
    for (size_t done = 0; done < 8 + sizeof(data);) {
        assert_true(take_ip(c, FRAME_UDP, 0));
        u16 bits = be16(c->frame + IP + 6);
        size_t some = be16(c->frame + IP + 2) - 20u;
        assert_true(c->len <= 1514);
        assert_int_equal(frame_sum(c->frame + IP, 20, 0), 0xffff);
        assert_int_equal((bits & 0x1fff) * 8, done);
        memcpy(got + done, c->frame + L4, some);
        done += some;
        assert_int_equal(!(bits & 0x2000), done == 8 + sizeof(data));
        seen++;
    }
    assert_int_equal(seen, 6);
    assert_memory_equal(got + 8, data, sizeof(data));
    (void)close(p.fd);
    end(c);
}

static void expect_flags(struct client *c, u8 flags)
{
    assert_true(take_ip(c, FRAME_TCP, c->peer));
    assert_int_equal(c->frame[L4 + 13] & flags, flags);
}

/* The guest connects to a port of the host. */
static int open_to_host(struct client *c, int listener, u16 port)
{
    c->seq = 1000;
    c->port = 5000;
    c->peer = port;
    send_tcp(c, SYN, NULL, 0, 1460, 0);
    expect_flags(c, SYN | ACK);
    c->ack = be32(c->frame + L4 + 4) + 1;
    send_tcp(c, ACK, NULL, 0, 0, 0);
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void read_all(int fd, u8 *to, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, to + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

static u8 pattern(size_t at)
{
    return (u8)(at * 31 + (at >> 9));
}

/* What comes in order, acknowledged; the longest payload of a frame. One too long for the network says so. */
static size_t take_bulk(struct client *c, size_t len)
{
    size_t done = 0, longest = 0;
    while (done < len) {
        assert_true(take_ip(c, FRAME_TCP, c->peer));
        struct frame_header h = c->header;
        struct frame_layout l;
        frame_complete(&h, c->frame, c->len);
        assert_true(frame_parse(c->frame, c->len, &l));
        u16 sum = frame_sum(c->frame + l.l4, l.end - l.l4, frame_pseudo_sum(c->frame, &l, l.end - l.l4));
        assert_int_equal(sum, 0xffff);
        size_t some = l.end - l.payload;
        assert_int_equal(c->header.gso_type, c->len > 1514 ? FRAME_GSO_TCPV4 : FRAME_GSO_NONE);
        assert_true(c->len <= 1514 || c->header.gso_size == 1460);
        if (!some || be32(c->frame + l.l4 + 4) != c->ack)
            continue;
        for (size_t i = 0; i < some; i++)
            assert_int_equal(c->frame[l.payload + i], pattern(done + i));
        longest = some > longest ? some : longest;
        done += some;
        c->ack += (u32)some;
        send_tcp(c, ACK, NULL, 0, 0, 0);
    }
    return longest;
}

static void to_host(bool large)
{
    u16 port;
    int listener = listen_at(&port);
    struct client *c = begin_ready("nat");
    u8 *bulk = malloc(BULK);
    assert_non_null(bulk);
    for (size_t i = 0; i < BULK; i++)
        bulk[i] = pattern(i);
    int fd = open_to_host(c, listener, port);

    send_tcp(c, ACK | PSH, bulk, large ? 40000 : 1400, 0, large ? 1460 : 0);
    u8 *got = malloc(BULK);
    assert_non_null(got);
    read_all(fd, got, large ? 40000 : 1400);
    assert_memory_equal(got, bulk, large ? 40000 : 1400);

    pid_t writer = fork();
    if (writer == 0) {
        ssize_t done = write(fd, bulk, BULK);
        _exit(done != BULK);
    }
    size_t longest = take_bulk(c, BULK);
    assert_true(longest > 10000);
    int status;
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    free(got);
    free(bulk);
    (void)close(fd);
    (void)close(listener);
    end(c);
}

static void test_small_segments(void **state)
{
    to_host(false);
}

static void test_large_segments(void **state)
{
    to_host(true);
}

/* The host connects to a port that leads into the guest. */
static void test_hostfwd(void **state)
{
    char spec[80];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    u16 port = free_port();
    u8 text[5];
    snprintf(spec, sizeof(spec), "nat,hostfwd=tcp:127.0.0.1:%u-:22", port);
    struct client *c = begin_ready(spec);
    a.sin_port = htons(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_true(take_ip(c, FRAME_TCP, 0));
    assert_int_equal(c->frame[L4 + 13], SYN);
    assert_int_equal(be16(c->frame + L4 + 2), 22);
    c->port = 22;
    c->peer = be16(c->frame + L4);
    c->seq = 7;
    c->ack = be32(c->frame + L4 + 4) + 1;
    send_tcp(c, SYN | ACK, NULL, 0, 1460, 0);
    send_tcp(c, ACK | PSH, "hello", 5, 0, 0);
    read_all(fd, text, 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(write(fd, "you", 3), 3);
    do
        assert_true(take_ip(c, FRAME_TCP, c->peer));
    while (c->len < L4 + TCP_HEADER + 3);
    assert_memory_equal(c->frame + L4 + TCP_HEADER, "you", 3);
    (void)close(fd);
    end(c);
}

static void test_taken_port(void **state)
{
    char spec[80], text[400];
    u16 port;
    int listener = listen_at(&port);
    snprintf(spec, sizeof(spec), "nat,hostfwd=tcp:127.0.0.1:%u-:22", port);
    struct client *c = begin(spec);
    assert_int_equal(ready_status(c, text, sizeof(text)), -EADDRINUSE);
    snprintf(spec, sizeof(spec), "tcp port %u of 127.0.0.1", port);
    assert_non_null(strstr(text, spec));
    (void)close(listener);
    end(c);
}

/* With `restrict` nobody outside is reached. */
static void test_restrict(void **state)
{
    u16 port;
    int listener = listen_at(&port);
    struct pollfd p = {.fd = listener, .events = POLLIN};
    struct client *c = begin_ready("nat,restrict=on");
    c->seq = 1;
    c->port = 5000;
    c->peer = port;
    send_tcp(c, SYN, NULL, 0, 1460, 0);
    assert_int_equal(poll(&p, 1, 300), 0);
    (void)close(listener);
    end(c);
}

/* Rubbish neither ends the process nor harms it. */
static void test_rubbish(void **state)
{
    struct client *c = begin_ready("nat");
    for (unsigned n = 0; n < 3000; n++) {
        size_t len = FRAME_ETHERNET + (size_t)random() % 200;
        struct frame_header h = {0};
        for (size_t i = 0; i < len; i++)
            c->frame[i] = (u8)random();
        if (n % 4)
            make_ip(c, n & 1 ? FRAME_TCP : FRAME_UDP, GUEST, 0x0a000204, len > 40 ? len - L4 : 6);
        if (n % 3 == 0)
            for (size_t i = 0; i < sizeof(h); i++)
                ((u8 *)&h)[i] = (u8)random();
        struct iovec iov[2] = {{&h, sizeof(h)}, {c->frame, len}};
        while (writev(c->fd, iov, 2) < 0)
            (void)take_frame(c, 10);
    }
    find_gateway(c);
    end(c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dhcp),      cmocka_unit_test(test_ping),           cmocka_unit_test(test_dns),
        cmocka_unit_test(test_fragments), cmocka_unit_test(test_small_segments), cmocka_unit_test(test_large_segments),
        cmocka_unit_test(test_hostfwd),   cmocka_unit_test(test_taken_port),     cmocka_unit_test(test_restrict),
        cmocka_unit_test(test_rubbish),
    };
    if (argc == 2 && strcmp(argv[1], "confined") == 0)
        confine = CHILD_MUST;
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
