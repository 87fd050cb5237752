/*
 * Block back ends through block.h: the text that names them, requests on threads and on io_uring, what fails, locks,
 * and durability.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/block/open.h"
#include "backend/block/qcow2.h"
#include "backend/block/queue.h"
#include "event/loop.h"
#include "host/thread.h"

#define SIZE MiB(8)

static char last_log[512];

static void log_sink(void *opaque, enum log_level level, const char *text)
{
    snprintf(last_log, sizeof(last_log), "%s", text);
}

static const struct log test_log = {.sink = log_sink, .level = LOG_WARN};

/* A loop that runs, and a file in a folder of its own. */
struct bench {
    struct loop *loop;
    pthread_t thread;
    char folder[40], path[60], other[60];
};

static void *bench_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void bench_start(struct bench *b)
{
    *b = (struct bench){.folder = "/tmp/ring3-test-XXXXXX", .loop = loop_create()};
    assert_non_null(b->loop);
    assert_non_null(mkdtemp(b->folder));
    snprintf(b->path, sizeof(b->path), "%s/disk", b->folder);
    snprintf(b->other, sizeof(b->other), "%s/other", b->folder);
    assert_int_equal(host_thread_start(&b->thread, "events", bench_loop, b->loop), 0);
}

static void bench_end(struct bench *b)
{
    loop_quit(b->loop);
    host_thread_join(b->thread);
    loop_destroy(b->loop);
    unlink(b->path);
    unlink(b->other);
    assert_int_equal(rmdir(b->folder), 0); /* nothing else was left */
}

static void make_raw(const char *path, u64 size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

static void make_qcow2(const char *path, u64 size)
{
    struct error err;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    struct file *f = file_adopt(fd, false);
    struct qcow2_new new = {.size = size, .cluster_bits = 16};
    assert_int_equal(qcow2_create(f, path, &new, &err), 0);
    file_close(f);
}

/* A request on one piece of memory, and its end. */
struct job {
    struct block_request r;
    struct iovec iov;
    struct loop *loop;
    int status;
    bool done;
};

static void job_done(struct block_request *r, int status)
{
    struct job *j = r->opaque;
    assert_false(j->done);
    j->status = status;
    j->done = true;
}

static void submit(struct block *d, struct job *j, u8 op, u64 offset, void *data, u64 length)
{
    u8 flags = j->r.flags;
    *j = (struct job){.iov = {data, length}};
    j->r = (struct block_request){.op = op,
                                  .flags = flags,
                                  .offset = offset,
                                  .length = length,
                                  .iov = &j->iov,
                                  .iovs = 1,
                                  .done = job_done,
                                  .opaque = j};
    block_submit(d, &j->r);
}

static int one(struct block *d, u8 op, u8 flags, u64 offset, void *data, u64 length)
{
    struct job j = {.r = {.flags = flags}};
    submit(d, &j, op, offset, data, length);
    block_drain(d);
    assert_true(j.done);
    return j.status;
}

static struct block *must_open(struct bench *b, const char *options)
{
    char spec[120];
    struct error err = {0};
    struct block *d = NULL;
    snprintf(spec, sizeof(spec), "%s%s", b->path, options);
    if (block_open(spec, b->loop, &test_log, &d, &err))
        fail_msg("%s", err.text);
    return d;
}

static void must_refuse(struct bench *b, const char *options, const char *part)
{
    char spec[120];
    struct error err = {0};
    struct block *d = NULL;
    snprintf(spec, sizeof(spec), "%s%s", b->path, options);
    assert_true(block_open(spec, b->loop, &test_log, &d, &err) < 0);
    assert_null(d);
    if (!strstr(err.text, part))
        fail_msg("%s: not in: %s", part, err.text);
}

static void test_spec(void **state)
{
    static const struct {
        const char *text, *complaint; /* NULL: good */
    } specs[] = {
        {"x", NULL},
        {"x,format=raw,readonly=on,cache=none,discard=off,aio=uring", NULL},
        {"x,backing=y,backing=z", NULL},
        {"a,,b=c,format=qcow2", NULL},
        {"", "empty"},
        {"x,", "no such key"},
        {"x,format", "raw or qcow2"},
        {"x,format=", "raw or qcow2"},
        {"x,format=vmdk", "raw or qcow2"},
        {"x,readonly=yes", "on or off"},
        {"x,cache=directsync", "writeback, none or unsafe"},
        {"x,discard=1", "on or off"},
        {"x,aio=native", "auto, uring or threads"},
        {"x,backing=", "path of an image"},
        {"x,b=c", "no such key"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        struct error err = {0};
        assert_int_equal(block_spec_check(specs[i].text, &err) == 0, specs[i].complaint == NULL);
        if (specs[i].complaint)
            assert_non_null(strstr(err.text, specs[i].complaint));
    }
}

/* Many requests at once; then each is read back. */
static void exchange(struct bench *b, const char *options)
{
    enum { JOBS = 64, PIECE = 4096 };
    static u8 data[JOBS][PIECE], back[JOBS][PIECE];
    static struct job jobs[JOBS];
    struct block_info info;
    struct block *d = must_open(b, options);
    block_info(d, &info);
    assert_int_equal(info.size, SIZE);
    for (unsigned round = 0; round < 3; round++) { /* new clusters; the same ones; after a flush */
        memset(jobs, 0, sizeof(jobs));
        for (unsigned i = 0; i < JOBS; i++) {
            memset(data[i], (int)(i + round * 7 + 1), PIECE);
            submit(d, &jobs[i], BLOCK_WRITE, (u64)i * 100 * 1024, data[i], PIECE);
        }
        block_drain(d);
        for (unsigned i = 0; i < JOBS; i++)
            submit(d, &jobs[i], BLOCK_READ, (u64)i * 100 * 1024, back[i], PIECE);
        block_drain(d);
        for (unsigned i = 0; i < JOBS; i++) {
            assert_true(jobs[i].done && jobs[i].status == 0);
            assert_memory_equal(data[i], back[i], PIECE);
        }
        assert_int_equal(one(d, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
    }
    assert_int_equal(one(d, BLOCK_WRITE_ZEROES, BLOCK_UNMAP | BLOCK_FUA, 0, NULL, MiB(1)), 0);
    assert_int_equal(one(d, BLOCK_READ, 0, 0, back[0], PIECE), 0);
    memset(data[0], 0, PIECE);
    assert_memory_equal(back[0], data[0], PIECE);
    assert_int_equal(one(d, BLOCK_DISCARD, 0, 0, NULL, SIZE), 0);
    block_close(d);
}

/* What not every host has: direct access by its file system, io_uring. Those without say so. */
static bool host_has(struct bench *b, const char *options)
{
    struct error err;
    struct block *d;
    char spec[120];
    snprintf(spec, sizeof(spec), "%s%s", b->path, options);
    if (!block_open(spec, b->loop, &test_log, &d, &err)) {
        block_close(d);
        return true;
    }
    assert_non_null(strstr(err.text, strstr(options, "uring") ? "refuses io_uring" : "leave out cache=none"));
    print_message("left out: %s\n", err.text);
    return false;
}

static void test_exchange(void **state)
{
    static const char *const options[] = {",aio=threads", ",aio=uring", ",aio=threads,cache=none",
                                          ",aio=auto,cache=none", ",cache=unsafe,discard=off"};
    struct bench b;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(options); i++) {
        bench_start(&b);
        if (i & 1)
            make_raw(b.path, SIZE);
        else
            make_qcow2(b.path, SIZE);
        for (unsigned times = 0; times < 2 && host_has(&b, options[i / 2]); times++)
            exchange(&b, options[i / 2]);
        bench_end(&b);
    }
}

static void test_refusals(void **state)
{
    u8 data[1024] = {0};
    struct bench b;
    bench_start(&b);
    make_raw(b.path, SIZE);
    struct block *d = must_open(&b, ",format=raw");
    assert_int_equal(one(d, BLOCK_READ, 0, SIZE, data, 512), -EINVAL);
    assert_int_equal(one(d, BLOCK_READ, 0, SIZE - 512, data, 1024), -EINVAL);
    assert_int_equal(one(d, BLOCK_READ, 0, UINT64_MAX - 511, data, 512), -EINVAL);
    assert_int_equal(one(d, BLOCK_WRITE, 0, 1, data, 512), -EINVAL);
    assert_int_equal(one(d, BLOCK_WRITE, 0, 0, data, 100), -EINVAL);
    assert_int_equal(one(d, BLOCK_DISCARD, 0, 512, NULL, SIZE), -EINVAL);
    assert_int_equal(one(d, 77, 0, 0, data, 512), -EINVAL);
    assert_int_equal(one(d, BLOCK_READ, 0, SIZE, data, 0), 0);
    block_close(d);
    d = must_open(&b, ",format=raw,readonly=on");
    assert_int_equal(one(d, BLOCK_WRITE, 0, 0, data, 512), -EROFS);
    assert_int_equal(one(d, BLOCK_DISCARD, 0, 0, NULL, 512), -EROFS);
    assert_int_equal(one(d, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
    block_close(d);
    must_refuse(&b, ",format=qcow2", "is no qcow2 image");
    must_refuse(&b, ",backing=/dev/null", "leave out backing=");
    unlink(b.path);
    must_refuse(&b, "", "cannot be opened");
    assert_int_equal(mkdir(b.path, 0700), 0);
    must_refuse(&b, ",readonly=on", "no disk image");
    rmdir(b.path);
    assert_int_equal(mkfifo(b.path, 0600), 0);
    must_refuse(&b, ",readonly=on", "no disk image");
    bench_end(&b);
}

/* A disk that was taken for raw by its looks must not come to look like anything else. */
static void test_guard(void **state)
{
    u8 sector[1024] = "QFI\xfb";
    struct bench b;
    bench_start(&b);
    make_raw(b.path, SIZE);
    for (unsigned i = 0; i < 2; i++) {
        struct block *d = must_open(&b, i ? ",aio=threads" : "");
        sector[0] = 'Q';
        last_log[0] = '\0';
        assert_int_equal(one(d, BLOCK_WRITE, 0, 0, sector, sizeof(sector)), -EIO);
        assert_non_null(strstr(last_log, "failed"));
        assert_int_equal(one(d, BLOCK_WRITE, 0, 512, sector, 512), 0); /* elsewhere it means nothing */
        sector[0] = 'q';
        assert_int_equal(one(d, BLOCK_WRITE, 0, 0, sector, sizeof(sector)), 0);
        block_close(d);
    }
    sector[0] = 'Q';
    struct block *d = must_open(&b, ",format=raw");
    assert_int_equal(one(d, BLOCK_WRITE, 0, 0, sector, sizeof(sector)), 0);
    block_close(d);
    must_refuse(&b, "", "another version");
    memcpy(sector, "KDMV", 4);
    d = must_open(&b, ",format=raw");
    assert_int_equal(one(d, BLOCK_WRITE, 0, 0, sector, sizeof(sector)), 0);
    block_close(d);
    must_refuse(&b, "", "format=raw");
    bench_end(&b);
}

/* A file of odd size: padded with zeroes to a sector, and longer once somebody writes there. */
static void test_odd_size(void **state)
{
    u8 sector[512], zeroes[512] = {0};
    struct block_info info;
    struct stat st;
    struct bench b;
    bench_start(&b);
    make_raw(b.path, 1000);
    struct block *d = must_open(&b, ",format=raw");
    block_info(d, &info);
    assert_int_equal(info.size, 1024);
    memset(sector, 1, sizeof(sector));
    assert_int_equal(one(d, BLOCK_READ, 0, 512, sector, 512), 0);
    assert_memory_equal(sector, zeroes, 512);
    assert_int_equal(one(d, BLOCK_WRITE, 0, 512, sector, 512), 0);
    block_close(d);
    assert_int_equal(stat(b.path, &st), 0);
    assert_int_equal(st.st_size, 1024);
    bench_end(&b);
}

static void test_locks(void **state)
{
    struct bench b;
    bench_start(&b);
    make_qcow2(b.path, SIZE);
    struct block *writer = must_open(&b, "");
    must_refuse(&b, "", "is in use");
    must_refuse(&b, ",readonly=on", "is in use");
    block_close(writer);
    struct block *reader = must_open(&b, ",readonly=on"), *second = must_open(&b, ",readonly=on");
    must_refuse(&b, "", "is in use");
    block_close(second);
    block_close(reader);
    writer = must_open(&b, "");
    block_close(writer);
    bench_end(&b);
}

/* A host that goes wrong */

struct trouble {
    int write, sync; /* what the next ones return; 0: they work */
    unsigned syncs;
};

static struct trouble trouble;
static const struct file_ops *real_ops;

static ssize_t trouble_preadv(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    struct iovec few = {iov->iov_base, iov->iov_len > 700 ? 700 : iov->iov_len}; /* little at a time */
    return real_ops->preadv(f, &few, 1, offset);
}

static ssize_t trouble_pwritev(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    struct iovec few = {iov->iov_base, iov->iov_len > 700 ? 700 : iov->iov_len};
    return trouble.write ? trouble.write : real_ops->pwritev(f, &few, 1, offset);
}

static int trouble_sync(struct file *f)
{
    trouble.syncs++;
    return trouble.sync ? trouble.sync : real_ops->sync(f);
}

static int trouble_allocate(struct file *f, int mode, u64 offset, u64 length)
{
    return -EOPNOTSUPP;
}

static const struct file_ops trouble_ops = {trouble_preadv, trouble_pwritev, trouble_sync, trouble_allocate};

static struct block *open_troubled(struct bench *b, u32 align)
{
    struct error err;
    struct file *f;
    struct image *im;
    struct block *d;
    struct image_config cfg = {.path = b->path, .log = &test_log};
    struct queue_config queue = {.aio = QUEUE_THREADS};
    assert_int_equal(file_open(b->path, FILE_WRITE, &f, &err), 0);
    real_ops = f->ops;
    f->ops = &trouble_ops;
    f->align = align;
    assert_int_equal(image_open_file(&cfg, f, &im, &err), 0);
    assert_int_equal(queue_create(&queue, im, b->loop, &test_log, &d, &err), 0);
    return d;
}

/* A host whose blocks are larger than the guest's: parts of a block do not undo each other. */
static void test_large_blocks(void **state)
{
    static u8 want[KiB(64)], back[KiB(64)];
    struct job jobs[16];
    struct bench b;
    for (unsigned i = 0; i < 2; i++) {
        bench_start(&b);
        if (i)
            make_raw(b.path, SIZE);
        else
            make_qcow2(b.path, SIZE);
        trouble = (struct trouble){0};
        struct block *d = open_troubled(&b, 4096);
        for (unsigned round = 0; round < 20; round++) {
            memset(jobs, 0, sizeof(jobs));
            for (unsigned n = 0; n < ARRAY_SIZE(jobs); n++) {
                u64 offset = n * KiB(4) + round % 7 * 512;
                memset(want + offset, (int)(round * 16 + n), 1024);
                submit(d, &jobs[n], BLOCK_WRITE, offset, want + offset, 1024);
            }
            block_drain(d);
            assert_int_equal(one(d, BLOCK_READ, 0, 0, back, sizeof(back)), 0);
            assert_memory_equal(want, back, sizeof(back));
        }
        memset(want, 0, sizeof(want));
        block_close(d);
        bench_end(&b);
    }
}

/* A full disk is told, and what was there stays; once there is room it goes on. */
static void test_full(void **state)
{
    static u8 data[100 * 1024], back[100 * 1024];
    struct bench b;
    for (unsigned i = 0; i < 2; i++) {
        bench_start(&b);
        if (i)
            make_raw(b.path, SIZE);
        else
            make_qcow2(b.path, SIZE);
        trouble = (struct trouble){0};
        struct block *d = open_troubled(&b, 0);
        memset(data, 1, sizeof(data));
        assert_int_equal(one(d, BLOCK_WRITE, 0, 512, data, sizeof(data)), 0);
        trouble.write = -ENOSPC;
        last_log[0] = '\0';
        assert_int_equal(one(d, BLOCK_WRITE, 0, MiB(1), data, sizeof(data)), -ENOSPC);
        assert_non_null(strstr(last_log, "no room left"));
        trouble.write = -EIO;
        assert_int_equal(one(d, BLOCK_WRITE, 0, MiB(1), data, sizeof(data)), -EIO);
        trouble.write = 0;
        assert_int_equal(one(d, BLOCK_WRITE, 0, MiB(2), data, sizeof(data)), 0);
        assert_int_equal(one(d, BLOCK_WRITE_ZEROES, 0, MiB(2) + 512, NULL, 1024), 0);
        assert_int_equal(one(d, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
        memset(data + 512, 0, 1024);
        assert_int_equal(one(d, BLOCK_READ, 0, MiB(2), back, sizeof(back)), 0);
        assert_memory_equal(data, back, sizeof(back));
        memset(data, 1, sizeof(data));
        assert_int_equal(one(d, BLOCK_READ, 0, 512, back, sizeof(back)), 0);
        assert_memory_equal(data, back, sizeof(back));
        block_close(d);
        bench_end(&b);
    }
}

/* After a sync that failed the host may have dropped the data: no later one may say that it is there. */
static void test_lost_sync(void **state)
{
    u8 data[512] = {1};
    struct bench b;
    for (unsigned i = 0; i < 2; i++) {
        bench_start(&b);
        if (i)
            make_raw(b.path, SIZE);
        else
            make_qcow2(b.path, SIZE);
        trouble = (struct trouble){0};
        struct block *d = open_troubled(&b, 0);
        assert_int_equal(one(d, BLOCK_WRITE, BLOCK_FUA, 0, data, 512), 0);
        assert_true(trouble.syncs > 0);
        trouble.sync = -EIO;
        assert_int_equal(one(d, BLOCK_WRITE, 0, MiB(1), data, 512), 0);
        assert_int_equal(one(d, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
        trouble.sync = 0;
        assert_int_equal(one(d, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
        assert_int_equal(one(d, BLOCK_WRITE, BLOCK_FUA, 0, data, 512), -EIO);
        assert_int_equal(one(d, BLOCK_READ, 0, 0, data, 512), 0);
        block_close(d);
        bench_end(&b);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec),  cmocka_unit_test(test_exchange),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_guard), cmocka_unit_test(test_odd_size),  cmocka_unit_test(test_locks),
        cmocka_unit_test(test_full),  cmocka_unit_test(test_lost_sync), cmocka_unit_test(test_large_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
