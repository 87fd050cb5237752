/*
 * Networks by their text, a descriptor as a back end, and the switch between several of them.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/net/child.h"
#include "backend/net/kinds.h"
#include "backend/net/open.h"
#include "event/loop.h"
#include "host/thread.h"

#define WHO    "--net test"
#define HEADER sizeof(struct frame_header)

/* --- text ------------------------------------------------------------------------------------------------------- */

static int parse(const char *text, struct net_spec *s)
{
    struct error err = {0};
    int status = net_spec_parse(WHO, text, s, &err);
    assert_true(!status || strncmp(err.text, WHO ": ", strlen(WHO) + 2) == 0);
    return status;
}

static void test_spec(void **state)
{
    struct net_spec s;
    assert_int_equal(parse("nat", &s), 0);
    assert_int_equal(s.kind, NET_NAT);
    assert_int_equal(s.network, 0x0a000200);
    assert_int_equal(s.mask, 0xffffff00);
    net_spec_free(&s);
    assert_int_equal(parse("nat,net=192.168.0.0/16,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-192.168.7.7:5353,"
                           "mac=02:00:00:AA:bb:0c,mtu=9000,packed=on,ipv6=off,restrict=on,dns=::1,hostname=x-1",
                           &s),
                     0);
    assert_true(s.has_mac && s.packed && s.no_ipv6 && s.restricted);
    assert_memory_equal(s.mac, "\x02\x00\x00\xaa\xbb\x0c", 6);
    assert_int_equal(s.mtu, 9000);
    assert_int_equal(s.mask, 0xffff0000);
    assert_int_equal(s.forwards, 2);
    assert_int_equal(s.forward[0].host, 0x7f000001);
    assert_int_equal(s.forward[0].host_port, 2222);
    assert_int_equal(s.forward[0].guest, 0xc0a8000f);
    assert_int_equal(s.forward[0].guest_port, 22);
    assert_true(s.forward[1].udp && !s.forward[1].host);
    assert_int_equal(s.forward[1].guest, 0xc0a80707);
    assert_string_equal(s.dns, "::1");
    assert_string_equal(s.hostname, "x-1");
    net_spec_free(&s);
    assert_int_equal(parse("tap:tap0,mtu=1400", &s), 0);
    assert_string_equal(s.where, "tap0");
    net_spec_free(&s);
    assert_int_equal(parse("tap:fd=7", &s), 0);
    assert_int_equal(s.fd, 7);
    net_spec_free(&s);
    assert_int_equal(parse("fd:9,header=on", &s), 0);
    assert_true(s.header && s.fd == 9);
    net_spec_free(&s);
    assert_int_equal(parse("switch:/a,,b,packed=on", &s), 0);
    assert_string_equal(s.where, "/a,b");
    net_spec_free(&s);
}

static void test_bad_spec(void **state)
{
    static const char *const bad[] = {
        "",
        "nat:",
        "nat,",
        "nat,mac",
        "nat,mac=",
        "nat,mac=03:00:00:00:00:00",
        "nat,mac=2:0:0:0:0:0",
        "nat,mtu=65522",
        "nat,mtu=1500x",
        "nat,mtu=99999999999999999999",
        "nat,net=10.0.2.0",
        "nat,net=10.0.2.0/7",
        "nat,net=10.0.2.0/",
        "nat,hostfwd=",
        "nat,hostfwd=tcp:::22",
        "nat,hostfwd=tcp::22-22",
        "nat,hostfwd=tcp::22-",
        "nat,hostfwd=tcp::65536-:22",
        "nat,hostfwd=tcp:127.0.0.1.1:22-:22",
        "nat,hostfwd=tcp:000127.000000.000000.0000001:22-:22",
        "nat,dns=",
        "nat,hostname=a b",
        "nat,header=on",
        "tap",
        "tap:../x",
        "tap:fd=2",
        "fd:",
        "fd:2",
        "fd:-3",
        "switch",
        "none,mtu=1500",
    };
    char text[200];
    struct net_spec s;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (!parse(bad[i], &s))
            fail_msg("'%s' passed", bad[i]);
        net_spec_free(&s);
    }
    snprintf(text, sizeof(text), "switch:/%0120d", 0); /* longer than an address */
    assert_int_not_equal(parse(text, &s), 0);
    net_spec_free(&s);
}

/* --- a descriptor ------------------------------------------------------------------------------------------------- */

static char last_log[512];

static void log_sink(void *opaque, enum log_level level, const char *text)
{
    snprintf(last_log, sizeof(last_log), "%s", text);
}

static const struct log test_log = {.sink = log_sink, .level = LOG_DEBUG};

struct bench {
    struct loop *loop;
    pthread_t thread;
    struct net *net;
    int other;
    unsigned frames, ends, links, writable, room;
    bool refused;
    size_t len;
    struct frame_header header;
    u8 frame[FRAME_MAX];
};

static bool take(void *opaque, const struct frame_header *h, u8 *frame, size_t len)
{
    struct bench *b = opaque;
    if (!b->room) {
        if (h->flags & FRAME_NEEDS_CSUM)
            memset(frame, 0xff, len); /* it is the receiver's to write to */
        b->refused = true;
        return false;
    }
    b->room--;
    b->header = *h;
    memcpy(b->frame, frame, len);
    b->len = len;
    b->frames++;
    return true;
}

static void count_end(void *opaque)
{
    ((struct bench *)opaque)->ends++;
}

static void count_link(void *opaque)
{
    ((struct bench *)opaque)->links++;
}

static void count_writable(void *opaque)
{
    ((struct bench *)opaque)->writable++;
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

/* Leaves the lock taken. */
static void begin(struct bench *b, const char *options, unsigned room)
{
    int pair[2];
    char text[64];
    struct net_spec s;
    struct error err = {0};
    memset(b, 0, sizeof(*b));
    b->room = room;
    b->loop = loop_create();
    assert_non_null(b->loop);
    assert_int_equal(child_sockets(pair), 0);
    b->other = pair[1];
    assert_int_equal(fcntl(b->other, F_SETFL, O_RDWR | O_NONBLOCK), 0);
    snprintf(text, sizeof(text), "fd:%d%s", pair[0], options);
    assert_int_equal(parse(text, &s), 0);
    assert_int_equal(host_thread_start(&b->thread, "events", run_loop, b->loop), 0);
    loop_lock(b->loop);
    const struct net_host host = {.loop = b->loop, .log = &test_log};
    assert_int_equal(net_open(&host, WHO, &s, &b->net, &err), 0);
    (void)close(pair[0]);
    net_spec_free(&s);
    net_attach(
        b->net,
        &(struct net_receiver){
            .receive = take, .received = count_end, .writable = count_writable, .link = count_link, .opaque = b});
    assert_int_equal(net_start(b->net, &err), 0);
}

static void end(struct bench *b)
{
    net_destroy(b->net);
    loop_unlock(b->loop);
    loop_quit(b->loop);
    host_thread_join(b->thread);
    loop_destroy(b->loop);
    if (b->other >= 0)
        (void)close(b->other);
}

/* Lets the loop run until *value is `want`, for up to two seconds. */
static void until(struct bench *b, const unsigned *value, unsigned want)
{
    for (int i = 0; i < 2000 && *value != want; i++) {
        loop_unlock(b->loop);
        usleep(1000);
        loop_lock(b->loop);
    }
    assert_int_equal(*value, want);
}

static void test_frames(void **state)
{
    static struct bench b;
    u8 frame[100] = "to whom it may concern", got[200];
    const struct iovec iov[2] = {{frame, 10}, {frame + 10, 90}};
    begin(&b, "", 100);
    assert_int_equal(net_can(b.net), 0);
    assert_true(net_is_up(b.net));
    assert_int_equal(write(b.other, frame, 100), 100);
    until(&b, &b.frames, 1);
    assert_int_equal(b.len, 100);
    assert_memory_equal(b.frame, frame, 100);
    assert_int_equal(write(b.other, frame, 13), 13); /* too short to be one */
    assert_int_equal(write(b.other, frame, 14), 14);
    until(&b, &b.frames, 2);
    assert_int_equal(b.len, 14);
    assert_true(net_send(b.net, &(struct frame_header){0}, iov, 2));
    assert_int_equal(read(b.other, got, sizeof(got)), 100);
    assert_memory_equal(got, frame, 100);
    end(&b);
}

/* With headers: what they say is checked. */
static void test_headers(void **state)
{
    static struct bench b;
    u8 message[HEADER + 100] = {0};
    begin(&b, ",header=on", 100);
    assert_int_equal(net_can(b.net), FRAME_CAN_ALL);
    message[0] = FRAME_NEEDS_CSUM;
    message[6] = 200; /* where there is nothing */
    assert_int_equal(write(b.other, message, sizeof(message)), sizeof(message));
    message[0] = FRAME_DATA_VALID;
    assert_int_equal(write(b.other, message, sizeof(message)), sizeof(message));
    until(&b, &b.frames, 1);
    assert_int_equal(b.header.flags, FRAME_DATA_VALID);
    assert_int_equal(b.len, 100);
    const struct iovec iov = {message, 20};
    assert_true(net_send(b.net, &(struct frame_header){.flags = FRAME_NEEDS_CSUM}, &iov, 1));
    assert_int_equal(read(b.other, message, sizeof(message)), HEADER + 20);
    assert_int_equal(message[0], FRAME_NEEDS_CSUM);
    end(&b);
}

/* No room here: the frame waits, and those behind it on the way. No room there: it is said when there is. */
static void test_room(void **state)
{
    static struct bench b;
    static u8 frame[60000];
    const struct iovec iov = {frame, sizeof(frame)};
    unsigned sent = 0;
    begin(&b, "", 0);
    for (frame[20] = 0; frame[20] < 5; frame[20]++)
        assert_int_equal(write(b.other, frame, 100), 100);
    loop_unlock(b.loop);
    usleep(20000);
    loop_lock(b.loop);
    assert_int_equal(b.frames, 0);
    b.room = 3;
    net_kick(b.net);
    until(&b, &b.frames, 3);
    assert_int_equal(b.frame[20], 2);
    b.room = 3;
    net_kick(b.net);
    until(&b, &b.frames, 5);
    assert_true(b.ends > 0);
    while (net_send(b.net, &(struct frame_header){0}, &iov, 1))
        assert_true(++sent < 10000);
    assert_true(sent > 1);
    assert_int_equal(b.writable, 0);
    for (; sent; sent--)
        assert_int_equal(read(b.other, frame, sizeof(frame)), sizeof(frame));
    until(&b, &b.writable, 1);
    end(&b);
}

/* A frame that had to wait comes again as the receiver left it, and is not judged once more. */
static void test_begun(void **state)
{
    static struct bench b;
    u8 message[HEADER + 100] = {0}, changed[100];
    u8 *ip = message + HEADER + 14;
    memset(changed, 0xff, sizeof(changed));
    begin(&b, ",header=on", 0);
    message[0] = FRAME_NEEDS_CSUM; /* of a UDP packet */
    message[6] = 34;
    message[8] = 6;
    message[HEADER + 12] = 8;
    ip[0] = 0x45;
    ip[3] = 86;
    ip[9] = FRAME_UDP;
    assert_int_equal(write(b.other, message, sizeof(message)), sizeof(message));
    for (int i = 0; i < 2000 && !b.refused; i++) {
        loop_unlock(b.loop);
        usleep(1000);
        loop_lock(b.loop);
    }
    assert_true(b.refused);
    b.room = 1;
    net_kick(b.net);
    assert_int_equal(b.frames, 1);
    assert_int_equal(b.len, 100);
    assert_memory_equal(b.frame, changed, 100);
    end(&b);
}

static void test_gone(void **state)
{
    static struct bench b;
    u8 frame[100] = {0};
    const struct iovec iov = {frame, sizeof(frame)};
    begin(&b, "", 100);
    (void)close(b.other);
    b.other = -1;
    until(&b, &b.links, 1);
    assert_false(net_is_up(b.net));
    assert_non_null(strstr(last_log, "the other end of the socket is gone"));
    assert_true(net_send(b.net, &(struct frame_header){0}, &iov, 1)); /* as on a wire */
    end(&b);
}

/* --- the switch --------------------------------------------------------------------------------------------------- */

#define PORTS 4

static void port_send(int fd, u8 to, u8 from, u8 mark)
{
    u8 message[HEADER + 60] = {0};
    message[HEADER] = to == 0xff ? 0xff : 2;
    message[HEADER + 5] = to;
    message[HEADER + 6] = 2;
    message[HEADER + 11] = from;
    message[HEADER + 20] = mark;
    assert_int_equal(write(fd, message, sizeof(message)), sizeof(message));
}

/* The mark of the next frame; -1: none within the time. */
static int port_take(int fd, int ms)
{
    u8 message[HEADER + 60];
    for (; ms >= 0; ms -= 5) {
        if (read(fd, message, sizeof(message)) == sizeof(message))
            return message[HEADER + 20];
        usleep(5000);
    }
    return -1;
}

static void test_switch(void **state)
{
    char folder[] = "/tmp/ring3-switch-XXXXXX", path[64];
    struct stat st;
    int port[PORTS];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/lan", folder);
    for (unsigned round = 0; round < 2; round++) { /* the second one finds the file of the first */
        for (unsigned n = 0; n < PORTS; n++) {
            port[n] = switch_open(WHO, path, CHILD_TRY, NULL);
            assert_true(port[n] >= 0);
        }
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        port_send(port[0], 0xff, 10, 1); /* to all but the sender */
        for (unsigned n = 1; n < PORTS; n++)
            assert_int_equal(port_take(port[n], 20000), 1);
        port_send(port[1], 10, 11, 2); /* to the one that was heard of */
        assert_int_equal(port_take(port[0], 20000), 2);
        port_send(port[2], 99, 12, 3); /* nobody has heard of that one */
        assert_int_equal(port_take(port[0], 20000), 3);
        assert_int_equal(port_take(port[1], 20000), 3);
        assert_int_equal(port_take(port[3], 20000), 3);
        (void)close(port[0]);
        port[0] = -1;
        port_send(port[1], 0xff, 11, 4);
        assert_int_equal(port_take(port[3], 20000), 4);
        assert_int_equal(port_take(port[2], 20000), 4);
        for (unsigned n = 1; n < PORTS; n++)
            (void)close(port[n]);
    }
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void test_switch_refused(void **state)
{
    char folder[] = "/tmp/ring3-switch-XXXXXX", path[64];
    struct error err = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(switch_open(WHO, path, CHILD_FREE, &err), -ENOTSOCK);
    assert_non_null(strstr(err.text, "give a path that is free"));
    assert_int_equal(access(path, F_OK), 0);
    (void)unlink(path);
    snprintf(path, sizeof(path), "%s/none/lan", folder);
    assert_int_equal(switch_open(WHO, path, CHILD_FREE, &err), -ENOENT);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),    cmocka_unit_test(test_bad_spec), cmocka_unit_test(test_frames),
        cmocka_unit_test(test_headers), cmocka_unit_test(test_room),     cmocka_unit_test(test_gone),
        cmocka_unit_test(test_begun),   cmocka_unit_test(test_switch),   cmocka_unit_test(test_switch_refused),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
