/*
 * Works on a disk through block.h, for tests/system/test_disk.py.
 *
 *     disk_worker random SPEC SHADOW SEED COUNT
 *         COUNT random requests, several at a time; each result is held against SHADOW, a raw file that gets the same
 *         changes by plain calls. The same seed does the same.
 *     disk_worker chaos SPEC SEED COUNT
 *         The same without a shadow, and with requests that overlap: whatever they leave, the image has to be whole.
 *     disk_worker crash SPEC SEED
 *         Writes numbered sectors and flushes until it is killed. "SECTOR NUMBER" on standard output is one whose flush
 *         was acknowledged.
 *     disk_worker verify SPEC < what crash printed
 *         Every acknowledged number, or a later one, has to be there.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/block/open.h"
#include "event/loop.h"
#include "host/thread.h"

#define AT_ONCE 8
#define LENGTH  (512 * 1024) /* of a request, at most */
#define PIECES  5
#define HOT     128 /* sectors that a crash run writes to, spread over the disk */

struct worker {
    struct loop *loop;
    pthread_t thread;
    struct block *disk;
    struct block_info info;
    u64 random;
};

struct job {
    struct block_request r;
    struct iovec iov[PIECES];
    u8 *data;
    int status;
    bool done;
};

static _Noreturn void fail(const char *what, u64 where)
{
    fprintf(stderr, "disk_worker: %s (%" PRIu64 ")\n", what, where);
    exit(1);
}

/* splitmix64 */
static u64 next_random(struct worker *w)
{
    u64 z = w->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static u64 below(struct worker *w, u64 n)
{
    return next_random(w) % n;
}

static void say(void *opaque, enum log_level level, const char *text)
{
    if (level <= LOG_WARN)
        fprintf(stderr, "disk_worker: %s\n", text);
}

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void begin(struct worker *w, const char *spec)
{
    static const struct log log = {.sink = say, .level = LOG_DEBUG};
    struct error err;
    w->loop = loop_create();
    if (!w->loop || host_thread_start(&w->thread, "events", run_loop, w->loop))
        fail("no loop", 0);
    if (block_open(spec, w->loop, &log, &w->disk, &err)) {
        fprintf(stderr, "disk_worker: %s\n", err.text);
        exit(2);
    }
    block_info(w->disk, &w->info);
}

static void end(struct worker *w)
{
    block_close(w->disk);
    loop_quit(w->loop);
    host_thread_join(w->thread);
    loop_destroy(w->loop);
}

static void job_done(struct block_request *r, int status)
{
    struct job *j = r->opaque;
    j->status = status;
    j->done = true;
}

/* The data in a few pieces of odd sizes. */
static void job_pieces(struct worker *w, struct job *j)
{
    u64 left = j->r.length;
    j->r.iovs = 0;
    j->r.iov = j->iov;
    for (u8 *p = j->data; left; j->r.iovs++) {
        u64 n = j->r.iovs == PIECES - 1 ? left : 1 + below(w, left);
        j->iov[j->r.iovs] = (struct iovec){p, n};
        p += n;
        left -= n;
    }
}

static void job_submit(struct worker *w, struct job *j)
{
    j->done = false;
    j->r.done = job_done;
    j->r.opaque = j;
    if (j->r.op == BLOCK_READ || j->r.op == BLOCK_WRITE)
        job_pieces(w, j);
    block_submit(w->disk, &j->r);
}

static void job_check(struct job *j, const char *what)
{
    if (!j->done || j->status)
        fail(what, (u64)-j->status);
}

/* random */

static bool overlaps(const struct job *jobs, unsigned n, const struct job *j)
{
    for (unsigned i = 0; i < n; i++)
        if (jobs[i].r.op != BLOCK_FLUSH && jobs[i].r.offset < j->r.offset + j->r.length &&
            j->r.offset < jobs[i].r.offset + jobs[i].r.length)
            return true;
    return false;
}

static void choose(struct worker *w, struct job *jobs, unsigned n, bool overlap)
{
    static const u8 ops[] = {BLOCK_READ,  BLOCK_READ,    BLOCK_WRITE,        BLOCK_WRITE,        BLOCK_WRITE,
                             BLOCK_WRITE, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_WRITE_ZEROES, BLOCK_FLUSH};
    struct job *j = &jobs[n];
    u64 sectors = w->info.size / BLOCK_SECTOR, most = LENGTH / BLOCK_SECTOR;
    do {
        j->r.op = ops[below(w, sizeof(ops))];
        j->r.flags = j->r.op == BLOCK_WRITE_ZEROES && below(w, 2) ? BLOCK_UNMAP : 0;
        if (below(w, 16) == 0 && j->r.op != BLOCK_FLUSH)
            j->r.flags |= BLOCK_FUA;
        u64 first = below(w, sectors), count = 1 + below(w, below(w, 4) ? 16 : most);
        if (below(w, 4) == 0) { /* whole clusters too */
            first = first / 128 * 128;
            count = (count + 127) / 128 * 128;
        }
        count = count > most ? most : count;
        count = count > sectors - first ? sectors - first : count;
        j->r.offset = j->r.op == BLOCK_FLUSH ? 0 : first * BLOCK_SECTOR;
        j->r.length = j->r.op == BLOCK_FLUSH ? 0 : count * BLOCK_SECTOR;
    } while (!overlap && overlaps(jobs, n, j));
    for (u64 at = 0; j->r.op == BLOCK_WRITE && at < j->r.length; at += sizeof(u64)) {
        u64 v = next_random(w);
        memcpy(j->data + at, &v, sizeof(v));
    }
}

/* What was read is what the shadow has; what was changed changes the shadow. */
static void compare(struct worker *w, struct job *j, int shadow, u8 *buffer)
{
    ssize_t length = (ssize_t)j->r.length;
    job_check(j, "a request failed");
    if (j->r.op == BLOCK_READ) {
        memset(buffer, 0, j->r.length);
        if (pread(shadow, buffer, j->r.length, (off_t)j->r.offset) < 0 || memcmp(buffer, j->data, j->r.length) != 0)
            fail("read something else than was written", j->r.offset);
        return;
    }
    if (j->r.op == BLOCK_WRITE_ZEROES)
        memset(j->data, 0, j->r.length);
    if (j->r.op == BLOCK_DISCARD) { /* whatever it is now */
        struct job again = {.r = {.op = BLOCK_READ, .offset = j->r.offset, .length = j->r.length}, .data = j->data};
        job_submit(w, &again);
        block_drain(w->disk);
        job_check(&again, "a read after a discard failed");
    }
    if (j->r.op != BLOCK_FLUSH && pwrite(shadow, j->data, j->r.length, (off_t)j->r.offset) != length)
        fail("the shadow cannot be written", j->r.offset);
}

static int run_random(struct worker *w, const char *path, u64 count)
{
    struct job jobs[AT_ONCE] = {0};
    u8 *buffer = malloc(LENGTH);
    int shadow = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (shadow < 0 || !buffer || ftruncate(shadow, (off_t)w->info.size))
        fail("no shadow", 0);
    for (unsigned i = 0; i < AT_ONCE; i++)
        jobs[i].data = malloc(LENGTH);
    for (u64 n = 0; n < count; n += AT_ONCE) {
        for (unsigned i = 0; i < AT_ONCE; i++)
            choose(w, jobs, i, false);
        for (unsigned i = 0; i < AT_ONCE; i++)
            job_submit(w, &jobs[i]);
        block_drain(w->disk);
        for (unsigned i = 0; i < AT_ONCE; i++)
            compare(w, &jobs[i], shadow, buffer);
    }
    for (unsigned i = 0; i < AT_ONCE; i++)
        free(jobs[i].data);
    free(buffer);
    close(shadow);
    return 0;
}

/* Most in one place, so that they do overlap. */
static int run_chaos(struct worker *w, u64 count)
{
    enum { MANY = 4 * AT_ONCE };
    static struct job jobs[MANY];
    for (unsigned i = 0; i < MANY; i++)
        jobs[i].data = calloc(1, LENGTH);
    w->info.size = w->info.size > 3 * LENGTH ? 3 * (u64)LENGTH : w->info.size;
    for (u64 n = 0; n < count; n += MANY) {
        for (unsigned i = 0; i < MANY; i++) {
            choose(w, jobs, i, true);
            job_submit(w, &jobs[i]);
        }
        block_drain(w->disk);
        for (unsigned i = 0; i < MANY; i++)
            job_check(&jobs[i], "a request failed");
    }
    for (unsigned i = 0; i < MANY; i++)
        free(jobs[i].data);
    return 0;
}

/* crash, verify */

static u64 hot_offset(const struct worker *w, u64 n)
{
    u64 step = w->info.size / HOT / BLOCK_SECTOR * BLOCK_SECTOR;
    return n * step;
}

static void sector_io(struct worker *w, u8 op, u64 offset, u8 *data)
{
    struct job j = {.r = {.op = op, .offset = offset, .length = op == BLOCK_FLUSH ? 0 : BLOCK_SECTOR}, .data = data};
    job_submit(w, &j);
    block_drain(w->disk);
    job_check(&j, "a request failed");
}

static _Noreturn void run_crash(struct worker *w)
{
    u8 sector[BLOCK_SECTOR];
    u64 start = 0;
    for (u64 n = 0; n < HOT; n++) { /* later than all that is there */
        u64 old;
        sector_io(w, BLOCK_READ, hot_offset(w, n), sector);
        memcpy(&old, sector, sizeof(old));
        start = old > start ? old : start;
    }
    for (u64 number = start + 1;;) {
        u64 places[AT_ONCE];
        for (unsigned i = 0; i < AT_ONCE; i++) {
            places[i] = below(w, HOT);
            u64 value = number + i;
            for (size_t at = 0; at < sizeof(sector); at += sizeof(value))
                memcpy(sector + at, &value, sizeof(value));
            if (below(w, 8) == 0) { /* so that clusters go and come */
                struct job j = {.r = {.op = BLOCK_DISCARD, .length = MiB(1)}};
                j.r.offset = hot_offset(w, places[i]) + BLOCK_SECTOR;
                u64 room = hot_offset(w, 1) - BLOCK_SECTOR;
                j.r.length = room < j.r.length ? room : j.r.length;
                job_submit(w, &j);
                block_drain(w->disk);
            }
            sector_io(w, BLOCK_WRITE, hot_offset(w, places[i]), sector);
        }
        sector_io(w, BLOCK_FLUSH, 0, NULL);
        for (unsigned i = 0; i < AT_ONCE; i++)
            printf("%" PRIu64 " %" PRIu64 "\n", places[i], number + i);
        fflush(stdout);
        number += AT_ONCE;
    }
}

static int run_verify(struct worker *w)
{
    u64 place, number, count = 0;
    while (scanf("%" SCNu64 " %" SCNu64, &place, &number) == 2) {
        u8 sector[BLOCK_SECTOR];
        u64 value, other;
        if (place >= HOT)
            fail("no such place", place);
        sector_io(w, BLOCK_READ, hot_offset(w, place), sector);
        memcpy(&value, sector, sizeof(value));
        memcpy(&other, sector + sizeof(sector) - sizeof(other), sizeof(other));
        if (value < number || value != other)
            fail("a flushed write is lost", number);
        count++;
    }
    printf("%" PRIu64 " flushed writes are there\n", count);
    return 0;
}

int main(int argc, char **argv)
{
    struct worker w = {0};
    int status = 2;
    if (argc < 3) {
        fprintf(stderr, "usage: disk_worker random SPEC SHADOW SEED COUNT | chaos SPEC SEED COUNT | crash SPEC SEED | "
                        "verify SPEC\n");
        return 2;
    }
    begin(&w, argv[2]);
    if (strcmp(argv[1], "random") == 0 && argc == 6) {
        w.random = strtoull(argv[4], NULL, 0);
        status = run_random(&w, argv[3], strtoull(argv[5], NULL, 0));
    } else if (strcmp(argv[1], "chaos") == 0 && argc == 5) {
        w.random = strtoull(argv[3], NULL, 0);
        status = run_chaos(&w, strtoull(argv[4], NULL, 0));
    } else if (strcmp(argv[1], "crash") == 0 && argc == 4) {
        w.random = strtoull(argv[3], NULL, 0);
        run_crash(&w);
    } else if (strcmp(argv[1], "verify") == 0) {
        status = run_verify(&w);
    }
    end(&w);
    return status;
}
