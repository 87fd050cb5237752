/*
 * Character back ends: files, pseudo-terminals, the text that names them, and the shared terminal with its escape keys.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/char/chardev.h"
#include "backend/char/mux.h"
#include "backend/char/stream.h"
#include "event/loop.h"
#include "host/thread.h"

#define WHO "--serial test"

/* Takes what comes, as far as there is room. */
struct sink {
    char text[256];
    size_t len, room;
    unsigned breaks;
};

static size_t sink_room(void *opaque)
{
    return ((struct sink *)opaque)->room;
}

static void sink_receive(void *opaque, const u8 *buf, size_t len)
{
    struct sink *s = opaque;
    assert_true(len <= s->room && s->len + len < sizeof(s->text));
    memcpy(s->text + s->len, buf, len);
    s->len += len;
    s->room -= len;
}

static void sink_break(void *opaque)
{
    ((struct sink *)opaque)->breaks++;
}

static void sink_attach(struct sink *s, struct chardev *cd, size_t room)
{
    *s = (struct sink){.room = room};
    char_attach(cd, &(struct char_receiver){sink_room, sink_receive, sink_break, s});
}

/* Events noted by callbacks of the mux. */
struct notes {
    unsigned quits;
    int focus; /* -1: not called */
};

static void note_quit(void *opaque)
{
    ((struct notes *)opaque)->quits++;
}

static void note_focus(void *opaque, bool monitor)
{
    ((struct notes *)opaque)->focus = monitor;
}

static char last_log[512];

static void log_sink(void *opaque, enum log_level level, const char *text)
{
    snprintf(last_log, sizeof(last_log), "%s", text);
}

static const struct log test_log = {.sink = log_sink, .level = LOG_DEBUG};

struct bench {
    struct char_host host;
    pthread_t thread;
};

static void *bench_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void bench_start(struct bench *b)
{
    *b = (struct bench){.host = {.loop = loop_create(), .log = &test_log}};
    assert_non_null(b->host.loop);
    assert_int_equal(host_thread_start(&b->thread, "events", bench_loop, b->host.loop), 0);
    loop_lock(b->host.loop);
}

static void bench_end(struct bench *b)
{
    loop_unlock(b->host.loop);
    loop_quit(b->host.loop);
    host_thread_join(b->thread);
    loop_destroy(b->host.loop);
}

/* Lets the loop run until *value is `want`, for up to two seconds. */
static void bench_until(struct bench *b, const size_t *value, size_t want)
{
    for (int i = 0; i < 2000 && *value != want; i++) {
        loop_unlock(b->host.loop);
        usleep(1000);
        loop_lock(b->host.loop);
    }
    assert_int_equal(*value, want);
}

static void test_spec(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } specs[] = {{"stdio", true}, {"file=x", true}, {"pty", true},     {"null", true},
                 {"", false},     {"file=", false}, {"file", false},   {"pty=", false},
                 {"nul", false},  {"nulls", false}, {"stdio=x", false}};
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        struct error err = {0};
        assert_int_equal(char_spec_check(WHO, specs[i].text, &err) == 0, specs[i].good);
        assert_int_equal(strncmp(err.text, WHO, strlen(WHO)) == 0, !specs[i].good);
    }
}

static void test_file(void **state)
{
    char path[] = "/tmp/ring3-test-XXXXXX", text[16] = "";
    struct error err = {0};
    struct bench b;
    bench_start(&b);
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "old", 3), 3);
    struct chardev *cd = char_open_file(&b.host, WHO, path, &err);
    assert_non_null(cd);
    assert_int_equal(pread(fd, text, sizeof(text), 0), 3); /* untouched until the start */
    assert_int_equal(char_start(cd, &err), 0);
    char_write(cd, (const u8 *)"new text", 8);
    char_destroy(cd);
    assert_int_equal(pread(fd, text, sizeof(text), 0), 8);
    assert_memory_equal(text, "new text", 8);
    unlink(path);
    cd = char_open_file(&b.host, WHO, path, &err);
    assert_non_null(cd);
    char_destroy(cd);
    assert_int_equal(access(path, F_OK), -1); /* never started: never made */
    assert_null(char_open_file(&b.host, WHO, "/nonexistent/x", &err));
    assert_null(char_open_file(&b.host, WHO, "/", &err));
    close(fd);
    bench_end(&b);
}

static void test_pty(void **state)
{
    struct error err = {0};
    struct sink in;
    struct bench b;
    char text[16];
    bench_start(&b);
    struct chardev *cd = char_open_pty(&b.host, WHO, &err);
    assert_non_null(cd);
    sink_attach(&in, cd, 3);
    int fd = open(strchr(last_log, '/'), O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    char_write(cd, (const u8 *)"hello\n", 6);
    assert_int_equal(read(fd, text, sizeof(text)), 6);
    assert_memory_equal(text, "hello\n", 6);
    assert_int_equal(write(fd, "abcde", 5), 5);
    bench_until(&b, &in.len, 3); /* no more than there is room for */
    in.room = 5;
    char_kick(cd);
    bench_until(&b, &in.len, 5);
    assert_memory_equal(in.text, "abcde", 5);
    char_destroy(cd);
    close(fd);
    bench_end(&b);
}

/* A pipe that nobody reads: nothing blocks, what fits is kept, the rest is dropped with one message. */
static void test_slow_reader(void **state)
{
    static u8 block[65536];
    int ends[2];
    struct bench b;
    bench_start(&b);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    struct stream_config cfg = {.host = b.host, .who = WHO, .in = -1, .out = ends[1], .owned = {ends[1], -1}};
    struct chardev *cd = stream_create(&cfg);
    last_log[0] = '\0';
    for (unsigned i = 0; i < 16; i++)
        char_write(cd, block, sizeof(block));
    assert_non_null(strstr(last_log, "dropped"));
    size_t total = 0;
    ssize_t n;
    for (int idle = 0; idle < 50;) {
        loop_unlock(b.host.loop);
        n = read(ends[0], block, sizeof(block));
        if (n <= 0)
            usleep(1000);
        loop_lock(b.host.loop);
        idle = n > 0 ? 0 : idle + 1;
        total += n > 0 ? (size_t)n : 0;
    }
    assert_true(total >= sizeof(block) && total < 16 * sizeof(block));
    close(ends[0]);
    char_write(cd, block, 10); /* EPIPE ends output and nothing else */
    char_write(cd, block, 10);
    char_destroy(cd);
    bench_end(&b);
}

/* The chardev below a mux in tests: collects output, and input is put in by hand. */
struct terminal {
    struct chardev cd;
    char out[512];
    size_t len;
};

static void terminal_write(struct chardev *cd, const u8 *buf, size_t len)
{
    struct terminal *t = container_of(cd, struct terminal, cd);
    assert_true(t->len + len < sizeof(t->out));
    memcpy(t->out + t->len, buf, len);
    t->len += len;
}

static void terminal_destroy(struct chardev *cd)
{
}

static const struct char_ops terminal_ops = {.write = terminal_write, .destroy = terminal_destroy};

struct mux_bench {
    struct terminal terminal;
    struct mux *mux;
    struct sink serial, monitor;
    struct notes notes;
};

static void mux_start(struct mux_bench *b, bool person)
{
    static const struct char_host host = {.log = &test_log};
    *b = (struct mux_bench){.terminal.cd.ops = &terminal_ops, .notes.focus = -1};
    b->mux = mux_create(&host, &b->terminal.cd, person);
    mux_on_quit(b->mux, note_quit, &b->notes);
    mux_on_focus(b->mux, note_focus, &b->notes);
    sink_attach(&b->serial, mux_port(b->mux, MUX_SERIAL), 100);
    sink_attach(&b->monitor, mux_port(b->mux, MUX_MONITOR), 100);
}

static void mux_type(struct mux_bench *b, const char *keys)
{
    struct char_receiver *rx = &b->terminal.cd.rx;
    rx->receive(rx->opaque, (const u8 *)keys, strlen(keys));
}

static void note_end(void *opaque)
{
    ((struct sink *)opaque)->breaks += 100;
}

static void note_caught_up(void *opaque)
{
    ((struct sink *)opaque)->breaks++;
}

/* Pipes at both ends: the end of the input is told, also to one who comes late; output that waits is told of. */
static void test_ends(void **state)
{
    struct loop *l = loop_create();
    const struct char_host host = {.loop = l, .log = &test_log};
    struct sink s = {.room = 100};
    const struct char_receiver rx = {
        .room = sink_room, .receive = sink_receive, .opaque = &s, .caught_up = note_caught_up, .ended = note_end};
    static u8 much[KiB(100)];
    int in[2], out[2];
    pthread_t thread;
    assert_int_equal(pipe(in) | pipe(out), 0);
    loop_lock(l);
    struct chardev *cd = char_open_descriptors(&host, WHO, in[0], out[1], NULL);
    assert_non_null(cd);
    char_attach(cd, &rx);
    char_write(cd, much, sizeof(much));
    assert_true(char_is_behind(cd));
    loop_unlock(l);
    assert_int_equal(write(in[1], "last", 4), 4);
    (void)close(in[1]);
    assert_int_equal(host_thread_start(&thread, "loop", bench_loop, l), 0);
    for (size_t done = 0; done < sizeof(much);) {
        static u8 buf[4096];
        ssize_t n = read(out[0], buf, sizeof(buf));
        assert_true(n > 0);
        done += (size_t)n;
    }
    for (unsigned n = 0, told = 0; told != 101 && n < 5000; n++) {
        (void)usleep(1000);
        loop_lock(l);
        told = s.breaks;
        loop_unlock(l);
    }
    loop_quit(l);
    host_thread_join(thread);
    assert_int_equal(s.breaks, 101);
    assert_int_equal(s.len, 4);
    loop_lock(l);
    assert_false(char_is_behind(cd));
    char_attach(cd, &rx);
    assert_int_equal(s.breaks, 201);
    char_flush(cd);
    char_destroy(cd);
    loop_unlock(l);
    (void)close(in[0]);
    (void)close(out[0]);
    (void)close(out[1]);
    loop_destroy(l);
}

static void test_escapes(void **state)
{
    struct mux_bench b;
    mux_start(&b, true);
    mux_type(&b, "a\x01\x01"
                 "b\x03");
    assert_memory_equal(b.serial.text,
                        "a\x01"
                        "b\x03",
                        4);
    mux_type(&b, "\x01");
    mux_type(&b, "x");
    assert_int_equal(b.notes.quits, 1);
    mux_type(&b, "\x01q");
    assert_int_equal(b.serial.len, 4); /* an unknown one is swallowed */
    mux_type(&b, "\x01"
                 "b");
    assert_int_equal(b.serial.breaks, 1);
    mux_type(&b, "\x01h");
    b.terminal.out[b.terminal.len] = '\0';
    assert_non_null(strstr(b.terminal.out, "Ctrl-a x"));
    mux_destroy(b.mux);
}

static void test_focus(void **state)
{
    struct mux_bench b;
    mux_start(&b, true);
    mux_type(&b, "1\x01"
                 "c2");
    assert_int_equal(b.notes.focus, 1);
    mux_type(&b, "\x01"
                 "c3");
    assert_int_equal(b.notes.focus, 0);
    assert_int_equal(b.serial.len, 2);
    assert_memory_equal(b.serial.text, "13", 2);
    assert_int_equal(b.monitor.len, 1);
    char_write(mux_port(b.mux, MUX_CONSOLE), (const u8 *)"out", 3);
    assert_memory_equal(b.terminal.out, "out", 3);
    mux_on_focus(b.mux, NULL, NULL); /* no monitor: the keys stay with the guest */
    mux_type(&b, "\x01"
                 "c4");
    assert_int_equal(b.serial.len, 3);
    mux_destroy(b.mux);
}

/* A guest that does not read: keys wait, escape keys still work, and a pipe is held up instead. */
static void test_queue(void **state)
{
    struct mux_bench b;
    for (int person = 0; person < 2; person++) {
        mux_start(&b, person);
        b.serial.room = 0;
        struct char_receiver *rx = &b.terminal.cd.rx;
        size_t typed = 0;
        while (typed < 70000 && rx->room(rx->opaque)) {
            mux_type(&b, "k");
            typed++;
        }
        assert_int_equal(typed, person ? 70000 : 65536);
        b.serial.room = 2;
        char_kick(mux_port(b.mux, MUX_SERIAL));
        assert_int_equal(b.serial.len, 2);
        assert_true(rx->room(rx->opaque) > 0);
        mux_type(&b, "\x01x");
        assert_int_equal(b.notes.quits, 1);
        mux_destroy(b.mux);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),        cmocka_unit_test(test_file),  cmocka_unit_test(test_pty),
        cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_ends),  cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_focus),       cmocka_unit_test(test_queue),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
