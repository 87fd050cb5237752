/*
 * What a guest does with a disk, for bench/debian.py: a static program that works in a folder of a file system.
 *
 *     disk FOLDER COUNT
 *
 * Each row begins and ends with a line, "BEGINS row" and "ENDS row". Reads and writes are of 4 KiB, go round the
 * guest's page cache, one after the other; the first row, fill, makes the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK       4096u
#define FILE_BLOCKS 16384u /* 64 MiB */

static uint64_t seed = 1;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fail(const char *what)
{
    fprintf(stderr, "disk: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void say(const char *what, const char *row)
{
    printf("%s %s\n", what, row);
    (void)fflush(stdout);
}

static void blocks(const char *row, int fd, char *block, unsigned count, int is_random, int is_write)
{
    say("BEGINS", row);
    for (unsigned i = 0; i < count; i++) {
        off_t at = (off_t)(is_random ? next_random() % FILE_BLOCKS : i % FILE_BLOCKS) * BLOCK;
        ssize_t n = is_write ? pwrite(fd, block, BLOCK, at) : pread(fd, block, BLOCK, at);
        if (n != BLOCK)
            fail(row);
    }
    if (fdatasync(fd) < 0)
        fail(row);
    say("ENDS", row);
}

static void files(unsigned count)
{
    char name[32];
    say("BEGINS", "create");
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (fd < 0 || write(fd, name, sizeof(name)) < 0 || close(fd) < 0)
            fail(name);
    }
    sync();
    say("ENDS", "create");
    say("BEGINS", "delete");
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "file-%u", i);
        if (unlink(name) < 0)
            fail(name);
    }
    sync();
    say("ENDS", "delete");
}

int main(int argc, char **argv)
{
    void *block;
    if (argc != 3 || chdir(argv[1]) < 0)
        return 2;
    unsigned count = (unsigned)strtoul(argv[2], NULL, 10);
    int fd = open("scratch", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    if (fd < 0 || posix_memalign(&block, BLOCK, BLOCK))
        fail("scratch");
    memset(block, 'x', BLOCK);
    if (posix_fallocate(fd, 0, (off_t)FILE_BLOCKS * BLOCK))
        fail("scratch");
    blocks("fill", fd, block, FILE_BLOCKS, 0, 1);
    blocks("sequential-write", fd, block, count, 0, 1);
    blocks("sequential-read", fd, block, count, 0, 0);
    blocks("random-write", fd, block, count, 1, 1);
    blocks("random-read", fd, block, count, 1, 0);
    files(count);
    return 0;
}
