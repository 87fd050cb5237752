/*
 * The vsock process, packet by packet: connections from both sides, credits, ends, and guests that lie.
 */
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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/net/child.h"
#include "backend/vsock/vsock.h"

#define WHO     "--vsock test"
#define CID     42u
#define PATIENT 3000 /* ms */
#define PLENTY  (1u << 20)

struct rig {
    char folder[32], path[48];
    struct vsock_spec spec;
    int monitor, listener; /* of port 10 */
    pid_t pid;
    struct vsock_header h; /* of the last packet */
    u8 data[VSOCK_PAYLOAD];
};

static int listen_at(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static struct rig *begin(void)
{
    struct rig *r = calloc(1, sizeof(*r));
    char path[64];
    int pair[2];
    assert_non_null(r);
    strcpy(r->folder, "/tmp/ring3-vsock-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    snprintf(r->path, sizeof(r->path), "%s/v", r->folder);
    snprintf(path, sizeof(path), "%s_10", r->path);
    r->spec = (struct vsock_spec){.path = r->path, .cid = CID};
    r->listener = listen_at(path);
    int own = listen_at(r->path);
    assert_int_equal(child_sockets(pair), 0);
    r->pid = fork();
    if (r->pid == 0) {
        (void)close(pair[0]);
        (void)close(r->listener);
        vsock_serve(&r->spec, pair[1], own);
        _exit(0);
    }
    (void)close(own);
    (void)close(pair[1]);
    r->monitor = pair[0];
    return r;
}

static void end(struct rig *r)
{
    char path[64];
    int status;
    (void)close(r->monitor);
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    assert_int_equal(status, 0);
    (void)close(r->listener);
    snprintf(path, sizeof(path), "%s_10", r->path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(r->path), 0);
    assert_int_equal(rmdir(r->folder), 0);
    free(r);
}

static struct vsock_header header(u16 op, u32 guest_port, u32 host_port)
{
    return (struct vsock_header){.src_cid = CID,
                                 .dst_cid = VSOCK_HOST,
                                 .src_port = guest_port,
                                 .dst_port = host_port,
                                 .type = VSOCK_STREAM,
                                 .op = op,
                                 .buf_alloc = PLENTY};
}

static void give(struct rig *r, struct vsock_header h, const void *data, u32 len)
{
    char copy[VSOCK_PAYLOAD];
    h.len = len;
    if (len)
        memcpy(copy, data, len);
    const struct iovec iov[2] = {{&h, sizeof(h)}, {copy, len}};
    assert_int_equal(writev(r->monitor, iov, 2), sizeof(h) + len);
}

/* False: nothing came in time. */
static bool take(struct rig *r, int ms)
{
    struct iovec iov[2] = {{&r->h, sizeof(r->h)}, {r->data, sizeof(r->data)}};
    struct pollfd p = {.fd = r->monitor, .events = POLLIN};
    if (poll(&p, 1, ms) <= 0)
        return false;
    ssize_t got = readv(r->monitor, iov, 2);
    assert_int_equal(got, sizeof(r->h) + r->h.len);
    assert_int_equal(r->h.src_cid, VSOCK_HOST);
    assert_int_equal(r->h.dst_cid, CID);
    return true;
}

static void expect(struct rig *r, u16 op)
{
    assert_true(take(r, PATIENT));
    assert_int_equal(r->h.op, op);
}

static void expect_nothing(struct rig *r)
{
    assert_false(take(r, 100));
}

/* The host's end of a connection from the guest's port to port 10. */
static int open_to_host(struct rig *r, u32 port, u32 alloc)
{
    struct vsock_header h = header(VSOCK_REQUEST, port, 10);
    h.buf_alloc = alloc;
    give(r, h, NULL, 0);
    expect(r, VSOCK_RESPONSE);
    assert_int_equal(r->h.dst_port, port);
    assert_int_equal(r->h.src_port, 10);
    assert_true(r->h.buf_alloc > 0);
    int fd = accept(r->listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static void read_all(int fd, void *to, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, (char *)to + done, len - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

static void test_guest_connects(void **state)
{
    struct rig *r = begin();
    char text[16];
    int fd = open_to_host(r, 1000, PLENTY), other = open_to_host(r, 1001, PLENTY);
    give(r, header(VSOCK_RW, 1000, 10), "hello", 5);
    read_all(fd, text, 5);
    assert_memory_equal(text, "hello", 5);
    give(r, header(VSOCK_CREDIT_REQUEST, 1000, 10), NULL, 0);
    expect(r, VSOCK_CREDIT_UPDATE);
    assert_int_equal(r->h.fwd_cnt, 5);
    assert_int_equal(write(fd, "you", 3), 3);
    expect(r, VSOCK_RW);
    assert_int_equal(r->h.dst_port, 1000);
    assert_memory_equal(r->data, "you", 3);
    struct vsock_header h = header(VSOCK_SHUTDOWN, 1000, 10);
    h.flags = VSOCK_NO_SEND;
    give(r, h, NULL, 0);
    assert_int_equal(read(fd, text, 1), 0);
    assert_int_equal(write(fd, "more", 4), 4); /* the other direction is open */
    expect(r, VSOCK_RW);
    (void)close(fd);
    expect(r, VSOCK_SHUTDOWN);
    expect(r, VSOCK_RST);
    give(r, header(VSOCK_RST, 1001, 10), NULL, 0);
    assert_int_equal(read(other, text, 1), 0);
    (void)close(other);
    expect_nothing(r);
    end(r);
}

/* The guest gets what it said it has room for. */
static void test_credit_of_guest(void **state)
{
    struct rig *r = begin();
    int fd = open_to_host(r, 1000, 10);
    assert_int_equal(write(fd, "0123456789abcdefghij", 20), 20);
    expect(r, VSOCK_RW);
    assert_int_equal(r->h.len, 10);
    expect(r, VSOCK_CREDIT_REQUEST);
    expect_nothing(r);
    struct vsock_header h = header(VSOCK_CREDIT_UPDATE, 1000, 10);
    h.buf_alloc = 10;
    h.fwd_cnt = 4;
    give(r, h, NULL, 0);
    expect(r, VSOCK_RW);
    assert_int_equal(r->h.len, 4);
    assert_memory_equal(r->data, "abcd", 4);
    h.fwd_cnt = 0xfffffff0; /* more is on its way than there ever was: no room, and no harm */
    give(r, h, NULL, 0);
    expect(r, VSOCK_CREDIT_REQUEST);
    (void)close(fd);
    end(r);
}

/* What the host takes is told; a guest that sends more than it may is cut off, and costs no more than that. */
static void test_credit_of_host(void **state)
{
    static u8 block[32768], got[32768];
    struct rig *r = begin();
    int fd = open_to_host(r, 1000, PLENTY);
    u32 told = 0, sent = 0;
    for (unsigned n = 0; n < 32; n++) {
        memset(block, (int)n, sizeof(block));
        give(r, header(VSOCK_RW, 1000, 10), block, sizeof(block));
        sent += sizeof(block);
        read_all(fd, got, sizeof(got));
        assert_memory_equal(got, block, sizeof(block));
        while (take(r, 0)) {
            assert_int_equal(r->h.op, VSOCK_CREDIT_UPDATE);
            told = r->h.fwd_cnt;
        }
    }
    assert_true(told > sent / 2);
    for (sent = 0; sent < 16 * PLENTY && r->h.op != VSOCK_RST; sent += sizeof(block)) {
        give(r, header(VSOCK_RW, 1000, 10), block, sizeof(block));
        (void)take(r, 5);
    }
    assert_int_equal(r->h.op, VSOCK_RST);
    assert_true(sent < 4 * PLENTY);
    (void)close(fd);
    end(r);
}

/* The machine is gone; what the guest sent is not. */
static void test_last_words(void **state)
{
    static u8 block[32768], got[32768];
    struct rig *r = begin();
    int fd = open_to_host(r, 1000, PLENTY), idle = open_to_host(r, 1001, PLENTY);
    for (unsigned n = 0; n < 10; n++)
        give(r, header(VSOCK_RW, 1000, 10), block, sizeof(block));
    assert_int_equal(shutdown(r->monitor, SHUT_WR), 0);
    assert_int_equal(read(idle, got, 1), 0);
    for (unsigned n = 0; n < 10; n++)
        read_all(fd, got, sizeof(got));
    assert_int_equal(read(fd, got, 1), 0);
    (void)close(fd);
    (void)close(idle);
    end(r);
}

/* The guest has said all and is gone; the program of the host reads later. */
static void test_slow_reader(void **state)
{
    static u8 block[32768], got[32768];
    struct rig *r = begin();
    int fd = open_to_host(r, 1000, PLENTY);
    unsigned blocks = 10; /* more than the socket takes at once */
    for (unsigned n = 0; n < blocks; n++) {
        memset(block, (int)n + 1, sizeof(block));
        give(r, header(VSOCK_RW, 1000, 10), block, sizeof(block));
        while (take(r, 0))
            assert_int_equal(r->h.op, VSOCK_CREDIT_UPDATE);
    }
    struct vsock_header h = header(VSOCK_SHUTDOWN, 1000, 10);
    h.flags = VSOCK_NO_SEND | VSOCK_NO_RECEIVE;
    give(r, h, NULL, 0);
    give(r, header(VSOCK_RST, 1000, 10), NULL, 0);
    while (take(r, 100))
        assert_int_equal(r->h.op, VSOCK_CREDIT_UPDATE);
    int other = open_to_host(r, 1000, PLENTY); /* the port is free again */
    for (unsigned n = 0; n < blocks; n++) {
        read_all(fd, got, sizeof(got));
        memset(block, (int)n + 1, sizeof(block));
        assert_memory_equal(got, block, sizeof(got));
    }
    assert_int_equal(read(fd, got, 1), 0);
    (void)close(fd);
    (void)close(other);
    end(r);
}

static int dial(struct rig *r, const char *text)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    strcpy(a.sun_path, r->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

static void test_host_connects(void **state)
{
    struct rig *r = begin();
    char text[64] = {0}, want[32];
    int fd = dial(r, "CONNECT 77\nearly");
    expect(r, VSOCK_REQUEST);
    assert_int_equal(r->h.dst_port, 77);
    u32 port = r->h.src_port;
    give(r, header(VSOCK_RESPONSE, 77, port), NULL, 0);
    int len = snprintf(want, sizeof(want), "OK %u\n", port);
    read_all(fd, text, (size_t)len);
    assert_string_equal(text, want);
    expect(r, VSOCK_RW);
    assert_memory_equal(r->data, "early", 5);
    give(r, header(VSOCK_RW, 77, port), "reply", 5);
    read_all(fd, text, 5);
    assert_memory_equal(text, "reply", 5);
    struct vsock_header h = header(VSOCK_SHUTDOWN, 77, port);
    h.flags = VSOCK_NO_SEND | VSOCK_NO_RECEIVE;
    give(r, h, NULL, 0);
    expect(r, VSOCK_RST);
    assert_int_equal(read(fd, text, 1), 0);
    (void)close(fd);
    fd = dial(r, "CONNECT 78\n");
    expect(r, VSOCK_REQUEST);
    assert_int_not_equal(r->h.src_port, port);
    give(r, header(VSOCK_RST, 78, r->h.src_port), NULL, 0);
    assert_int_equal(read(fd, text, 1), 0);
    (void)close(fd);
    end(r);
}

static void test_bad_greetings(void **state)
{
    static const char *const bad[] = {
        "\n",
        "CONNECT\n",
        "CONNECT \n",
        "CONNECT -1\n",
        "CONNECT 1 2\n",
        "CONNECT 4294967295\n",
        "CONNECT 99999999999999999999\n",
        "connect 1\n",
        "nobody ever says a thing like this",
    };
    struct rig *r = begin();
    char byte;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int fd = dial(r, bad[i]);
        assert_true(read(fd, &byte, 1) <= 0);
        (void)close(fd);
    }
    expect_nothing(r);
    end(r);
}

static void test_refused(void **state)
{
    struct rig *r = begin();
    struct vsock_header h = header(VSOCK_REQUEST, 1000, 11);
    give(r, h, NULL, 0); /* nobody listens */
    expect(r, VSOCK_RST);
    assert_int_equal(r->h.src_port, 11);
    give(r, header(VSOCK_RW, 1000, 10), "x", 1); /* no such connection */
    expect(r, VSOCK_RST);
    h = header(VSOCK_REQUEST, 1000, 10);
    h.type = 2;
    give(r, h, NULL, 0);
    expect(r, VSOCK_RST);
    give(r, header(VSOCK_RST, 1000, 10), NULL, 0); /* one is not answered by another */
    h = header(VSOCK_REQUEST, 1000, 10);
    h.src_cid = CID + 1;
    give(r, h, NULL, 0);
    h = header(VSOCK_RW, 1000, 10);
    h.len = 17; /* and there is nothing */
    const struct iovec iov = {&h, sizeof(h)};
    assert_int_equal(writev(r->monitor, &iov, 1), sizeof(h));
    expect_nothing(r);
    int fd = open_to_host(r, 1000, PLENTY);
    give(r, header(99, 1000, 10), NULL, 0);
    expect(r, VSOCK_RST);
    (void)close(fd);
    fd = open_to_host(r, 1000, PLENTY);
    give(r, header(VSOCK_REQUEST, 1000, 10), NULL, 0); /* twice */
    expect(r, VSOCK_RST);
    (void)close(fd);
    end(r);
}

/* The guest's side was reset. */
static void test_reset(void **state)
{
    struct rig *r = begin();
    char byte = 0;
    int fd = open_to_host(r, 1000, PLENTY);
    assert_int_equal(write(r->monitor, &byte, 1), 1);
    assert_int_equal(read(fd, &byte, 1), 0);
    (void)close(fd);
    fd = open_to_host(r, 1000, PLENTY);
    (void)close(fd);
    end(r);
}

static void test_spec(void **state)
{
    static const char *const bad[] = {"",          ",cid=3",  "/x,", "/x,cid=", "/x,cid=2", "/x,cid=4294967295",
                                      "/x,cid=3x", "/x,cod=3"};
    struct vsock_spec s;
    char path[200];
    assert_int_equal(vsock_spec_parse(WHO, "/a,,b,cid=4294967294", &s, NULL), 0);
    assert_string_equal(s.path, "/a,b");
    assert_int_equal(s.cid, 4294967294u);
    vsock_spec_free(&s);
    assert_int_equal(vsock_spec_parse(WHO, "/a", &s, NULL), 0);
    assert_int_equal(s.cid, 3);
    vsock_spec_free(&s);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(vsock_spec_parse(WHO, bad[i], &s, NULL), -EINVAL);
        vsock_spec_free(&s);
    }
    snprintf(path, sizeof(path), "/%097d", 0);
    assert_int_equal(vsock_spec_parse(WHO, path, &s, NULL), -EINVAL);
    vsock_spec_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guest_connects), cmocka_unit_test(test_credit_of_guest),
        cmocka_unit_test(test_credit_of_host), cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_last_words),     cmocka_unit_test(test_host_connects),
        cmocka_unit_test(test_bad_greetings),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_reset),          cmocka_unit_test(test_spec),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
