#include "host/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK MiB(1)

struct reading {
    u8 *data;
    u64 size, capacity;
};

static int grow(struct reading *r, u64 capacity)
{
    u8 *data = realloc(r->data, capacity ? capacity : 1);

    if (!data)
        return -ENOMEM;
    r->data = data;
    r->capacity = capacity;
    return 0;
}

/* Until the end, or one byte more than `max`. Pipes and growing files have no size to trust. */
static int read_all(int fd, u64 max, struct reading *r)
{
    while (r->size <= max) {
        if (r->size == r->capacity && grow(r, r->capacity + CHUNK))
            return -ENOMEM;
        ssize_t n = read(fd, r->data + r->size, r->capacity - r->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        r->size += (u64)n;
    }
    return -EFBIG;
}

int host_file_read(const char *path, u64 max, u8 **data, u64 *size, struct error *err)
{
    struct reading r = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return error_set(err, -errno, "cannot open: %s", strerror(errno));
    int status = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? -EISDIR : 0;
    /* One byte more than the size, so that the end is seen without growing. */
    if (!status && S_ISREG(st.st_mode) && (u64)st.st_size <= max)
        status = grow(&r, (u64)st.st_size + 1);
    if (!status)
        status = read_all(fd, max, &r);
    close(fd);
    if (status) {
        free(r.data);
        if (status == -EFBIG)
            return error_set(err, status, "larger than %llu MiB", (unsigned long long)(max >> 20));
        return error_set(err, status, "cannot read: %s", strerror(-status));
    }
    if (!r.data && grow(&r, 0))
        return error_set(err, -ENOMEM, "cannot read: out of memory");
    *data = r.data;
    *size = r.size;
    return 0;
}

int host_file_memory(const char *name, const u8 *data, u64 size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (u64 done = 0; done < size;) {
        ssize_t n = write(fd, data + done, size - done);
        if (n > 0) {
            done += (u64)n;
            continue;
        }
        int status = n < 0 ? -errno : -ENOSPC;
        if (status == -EINTR)
            continue;
        (void)close(fd);
        return status;
    }
    return fd;
}
