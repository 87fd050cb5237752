/*
 * Implements host/mem.h with memfd_create(2) and mmap(2). MAP_NORESERVE: a guest's memory is promised, not taken; what
 * it never touches costs nothing.
 */
#include "host/mem.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int host_ram_map(struct host_ram *ram, const char *name, u64 size, struct error *err)
{
    if (size == 0 || size > (u64)INT64_MAX)
        return error_set(err, -EINVAL, "guest memory of %llu bytes is not possible", (unsigned long long)size);
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "cannot create guest memory: %s", strerror(errno));
    if (ftruncate(fd, (off_t)size) < 0) {
        int status = error_set(err, -errno, "cannot size guest memory to %llu MiB: %s",
                               (unsigned long long)(size >> 20), strerror(errno));
        close(fd);
        return status;
    }
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED) {
        int status = error_set(err, -errno, "cannot map guest memory of %llu MiB: %s", (unsigned long long)(size >> 20),
                               strerror(errno));
        close(fd);
        return status;
    }
    /* Fewer host TLB misses where the host allows huge pages for shared memory; no loss where it does not. */
    (void)madvise(p, size, MADV_HUGEPAGE);
    *ram = (struct host_ram){.base = p, .size = size, .fd = fd};
    return 0;
}

void host_ram_unmap(struct host_ram *ram)
{
    if (!ram->base)
        return;
    munmap(ram->base, ram->size);
    close(ram->fd);
    *ram = (struct host_ram){.fd = -1};
}

void *host_table_alloc(u64 size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void host_table_free(void *table, u64 size)
{
    if (table)
        munmap(table, size);
}

void host_table_clear(void *table, u64 size)
{
    if (madvise(table, size, MADV_DONTNEED) < 0)
        memset(table, 0, size);
}
