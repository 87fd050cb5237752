/*
 * Implements host/mem.h with memfd_create(2) and mmap(2). MAP_NORESERVE: a guest's memory is promised, not taken; what
 * it never touches costs nothing.
 */
#include "host/mem.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGE  4096u
#define FENCE MiB(2) /* also the size of a huge page, to which guest RAM is aligned */

static int open_sized(const char *name, u64 size, struct error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "cannot create guest memory: %s", strerror(errno));
    if (ftruncate(fd, (off_t)size) < 0) {
        int status = error_set(err, -errno, "cannot size guest memory to %llu MiB: %s",
                               (unsigned long long)(size >> 20), strerror(errno));
        close(fd);
        return status;
    }
    return fd;
}

static int refuse_map(struct host_ram *ram, struct error *err)
{
    int status = error_set(err, -errno, "cannot map guest memory of %llu MiB: %s",
                           (unsigned long long)(ram->size >> 20), strerror(errno));
    host_space_release(ram->reserved, ram->reserved_size);
    close(ram->fd);
    *ram = (struct host_ram){.fd = -1};
    return status;
}

/* Fewer host TLB misses where the host allows huge pages for shared memory; no loss where it does not. */
static bool map_at(u8 *at, u64 size, int fd, int protection)
{
    if (mmap(at, size, protection, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED)
        return false;
    (void)madvise(at, size, MADV_HUGEPAGE);
    return true;
}

int host_ram_map(struct host_ram *ram, const char *name, u64 size, struct error *err)
{
    if (size == 0 || size > (u64)INT64_MAX / 4)
        return error_set(err, -EINVAL, "guest memory of %llu bytes is not possible", (unsigned long long)size);
    int fd = open_sized(name, size, err);
    if (fd < 0)
        return fd;
    u64 step = align_up(size, FENCE) + FENCE;
    *ram = (struct host_ram){.size = size, .fd = fd, .reserved_size = 2 * step + FENCE};
    ram->reserved = host_space_reserve(ram->reserved_size);
    if (!ram->reserved)
        return refuse_map(ram, err);
    ram->base = (u8 *)align_up((u64)ram->reserved + PAGE, FENCE);
    ram->read_only = ram->base + step;
    if (!map_at(ram->base, size, fd, PROT_READ | PROT_WRITE) || !map_at(ram->base + step, size, fd, PROT_READ))
        return refuse_map(ram, err);
    return 0;
}

int host_ram_small(struct host_ram *ram, const char *name, u64 size, struct error *err)
{
    size = align_up(size, PAGE);
    int fd = open_sized(name, size, err);
    if (fd < 0)
        return fd;
    *ram = (struct host_ram){.size = size, .fd = fd};
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED)
        return refuse_map(ram, err);
    ram->base = ram->reserved = p;
    ram->reserved_size = size;
    return 0;
}

void host_ram_unmap(struct host_ram *ram)
{
    if (!ram->base)
        return;
    munmap(ram->reserved, ram->reserved_size);
    close(ram->fd);
    *ram = (struct host_ram){.fd = -1};
}

u8 *host_space_reserve(u64 size)
{
    void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void host_space_release(u8 *space, u64 size)
{
    if (space)
        munmap(space, size);
}

bool host_piece_share(void *piece, u64 size, int fd, u64 offset)
{
    int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
    return mmap(piece, size, PROT_NONE, flags, fd, (off_t)offset) != MAP_FAILED;
}

/* mmap would do in one call, but may unmap what was there and then fail. The caller is about to touch all of it: where
 * the kernel can, it makes the pages at once. */
bool host_piece_open(void *piece, u64 size)
{
    if (mprotect(piece, size, PROT_READ | PROT_WRITE) < 0)
        return false;
    (void)madvise(piece, size, MADV_POPULATE_WRITE);
    return true;
}

bool host_piece_close(void *piece, u64 size)
{
    return mprotect(piece, size, PROT_NONE) == 0;
}

void host_piece_discard(void *piece, u64 size)
{
    (void)madvise(piece, size, MADV_DONTNEED);
}

void host_ram_discard(const struct host_ram *ram, u64 offset, u64 size)
{
    (void)fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

void *host_table_alloc(u64 size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void host_table_dense(void *table, u64 size)
{
    if (table)
        (void)madvise(table, size, MADV_HUGEPAGE); /* a matter of speed alone */
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
