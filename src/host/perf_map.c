/*
 * Implements host/perf_map.h. Each line is one write with O_APPEND, so that threads need no lock. What cannot be
 * written is left out: it is a help for measuring, and the guest goes on.
 */
#include "host/perf_map.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct perf_map {
    int fd;
};

/* The folder is everybody's: no link is followed, no file of anybody else's written to, and nobody else reads ours. */
struct perf_map *perf_map_create(struct error *err)
{
    char path[40];
    struct perf_map *m = calloc(1, sizeof(*m));
    if (!m) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
    m->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0600);
    if (m->fd < 0) {
        error_set(err, -errno, "cannot make %s: %s", path, strerror(errno));
        free(m);
        return NULL;
    }
    return m;
}

void perf_map_destroy(struct perf_map *m)
{
    if (!m)
        return;
    (void)close(m->fd);
    free(m);
}

void perf_map_add(struct perf_map *m, u64 start, u64 size, const char *name)
{
    char line[160];
    int len =
        snprintf(line, sizeof(line), "%llx %llx %.100s\n", (unsigned long long)start, (unsigned long long)size, name);
    ssize_t done = write(m->fd, line, (size_t)len);
    (void)done;
}
