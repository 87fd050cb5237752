/* Files in memory: a file made, written and removed, and reads and writes of 4 KiB. */
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of our own; /dev/shm is a tmpfs on any Linux. */
static void enter_folder(void)
{
    char folder[] = "/dev/shm/bench-XXXXXX";
    if (!mkdtemp(folder) || chdir(folder))
        bench_fail("a directory in /dev/shm");
}

static void leave_folder(void)
{
    char folder[64];
    if (!getcwd(folder, sizeof(folder)) || chdir("/") || rmdir(folder))
        bench_fail("rmdir");
}

static int open_new(const char *name)
{
    int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd < 0)
        bench_fail(name);
    return fd;
}

static void run_create(struct bench *b)
{
    uint64_t n = bench_count(b, 40000), sum = 0;
    uint8_t data[100];
    enter_folder();
    memset(data, 1, sizeof(data));
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        char name[32];
        struct stat s;
        snprintf(name, sizeof(name), "file-%u", (unsigned)i % 1000);
        int fd = open_new(name);
        sum += (uint64_t)write(fd, data, sizeof(data));
        sum += fstat(fd, &s) ? 0 : (uint64_t)s.st_size;
        close(fd);
        unlink(name);
    }
    bench_stop(b, sum);
    leave_folder();
}

static void run_rw(struct bench *b)
{
    enum { BLOCK = 4096, BLOCKS = 256 };
    uint64_t n = bench_count(b, 200000), sum = 0;
    uint8_t *data = bench_alloc(BLOCK);
    enter_folder();
    int fd = open_new("data");
    for (int i = 0; i < BLOCKS; i++)
        if (pwrite(fd, data, BLOCK, (off_t)i * BLOCK) != BLOCK)
            bench_fail("pwrite");
    bench_start(b);
    for (uint64_t i = 0; i < n; i++) {
        off_t at = (off_t)(i * 37 % BLOCKS) * BLOCK;
        sum += (uint64_t)pread(fd, data, BLOCK, at);
        data[i % BLOCK]++;
        sum += (uint64_t)pwrite(fd, data, BLOCK, at);
    }
    bench_stop(b, sum);
    b->checksum = bench_mix(b->checksum, bench_sum(data, BLOCK));
    close(fd);
    unlink("data");
    leave_folder();
}

const struct bench_row bench_rows[] = {
    {"system", "file-create", run_create},
    {"system", "file-rw", run_rw},
    {0},
};
