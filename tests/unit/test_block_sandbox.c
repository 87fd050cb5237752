/*
 * Disks inside the sandbox: all that a guest can ask of one, and its closing, in a child that has given up all other
 * system calls.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/block/open.h"
#include "backend/block/qcow2.h"
#include "event/loop.h"
#include "host/sandbox.h"

#define SIZE MiB(64)

static const struct log no_log;

static void make(const char *path, bool qcow2)
{
    struct qcow2_new new = {.size = SIZE, .cluster_bits = 12};
    struct error err;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct file *f = file_adopt(fd, false);
    assert_non_null(f);
    assert_int_equal(qcow2 ? qcow2_create(f, path, &new, &err) : file_resize(f, SIZE), 0);
    file_close(f);
}

static void note_status(struct block_request *r, int status)
{
    *(int *)r->opaque = status;
}

static int ask(struct block *d, u8 op, u8 flags, u64 offset, u64 length)
{
    static u8 data[KiB(256)];
    int status = 1;
    struct iovec iov = {data, length};
    struct block_request r = {.op = op,
                              .flags = flags,
                              .offset = offset,
                              .length = length,
                              .iov = &iov,
                              .iovs = 1,
                              .done = note_status,
                              .opaque = &status};
    memset(data, 7, sizeof(data));
    block_submit(d, &r);
    block_drain(d);
    return status;
}

static int ask_all(struct block *d)
{
    int status = 0;
    for (u64 at = 0; at < SIZE && !status; at += MiB(1)) {
        status |= ask(d, BLOCK_WRITE, at % MiB(2) ? BLOCK_FUA : 0, at + 512, KiB(200));
        status |= ask(d, BLOCK_READ, 0, at, KiB(256));
        status |= ask(d, BLOCK_WRITE_ZEROES, at % MiB(2) ? BLOCK_UNMAP : 0, at + KiB(8), KiB(64));
        status |= ask(d, BLOCK_DISCARD, 0, at + KiB(128), KiB(32));
        status |= ask(d, BLOCK_FLUSH, 0, 0, 0);
        status |= ask(d, BLOCK_WRITE, 0, at + 512, KiB(200));
    }
    return status;
}

static _Noreturn void child(const char *path, const char *options)
{
    struct loop *loop = loop_create();
    struct block *d = NULL;
    struct error err = {0};
    char spec[120];
    snprintf(spec, sizeof(spec), "%s%s", path, options);
    if (!loop || block_open(spec, loop, &no_log, &d, &err) || sandbox_enter(NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        _exit(2);
    }
    int status = ask_all(d);
    block_close(d);
    _exit(status ? 1 : 0);
}

static void test_inside(void **state)
{
    static const char *const options[] = {"", ",aio=threads", ",discard=off"};
    char path[] = "/tmp/ring3-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < 2 * ARRAY_SIZE(options); i++) {
        int status;
        make(path, i & 1);
        fflush(NULL);
        pid_t pid = fork();
        if (!pid)
            child(path, options[i / 2]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    unlink(path);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_inside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
