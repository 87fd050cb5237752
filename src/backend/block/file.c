/*
 * Implements file.h but for the locks.
 *
 * With O_DIRECT the host wants offset, length and memory aligned. What is not goes through a buffer that is; a write
 * whose ends are not aligned first reads what surrounds it. Such a write is alone: two that share a block would undo
 * each other.
 */
#include "backend/block/file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"

#define PIECES      64
#define BOUNCE      MiB(1) /* bytes at a time through a buffer */
#define DIRECT_MAX  4096   /* the coarsest alignment that is tried */
#define ZERO_BUFFER KiB(64)

static ssize_t host_preadv(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    ssize_t n = preadv(f->fd, iov, (int)iovs, (off_t)offset);
    return n < 0 ? -errno : n;
}

static ssize_t host_pwritev(struct file *f, const struct iovec *iov, unsigned iovs, u64 offset)
{
    ssize_t n = pwritev(f->fd, iov, (int)iovs, (off_t)offset);
    return n < 0 ? -errno : n;
}

static int host_sync(struct file *f)
{
    return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int host_allocate(struct file *f, int mode, u64 offset, u64 length)
{
    return fallocate(f->fd, mode, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
}

static const struct file_ops host_ops = {host_preadv, host_pwritev, host_sync, host_allocate};

struct file *file_adopt(int fd, bool read_only)
{
    struct stat st = {0};
    struct file *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    *f = (struct file){.ops = &host_ops, .fd = fd, .lock_fd = -1, .read_only = read_only};
    (void)pthread_rwlock_init(&f->edge, NULL); /* cannot fail without attributes */
    if (!fstat(fd, &st)) {
        f->size = (u64)st.st_size;
        f->dev = st.st_dev;
        f->ino = st.st_ino;
    }
    return f;
}

void file_close(struct file *f)
{
    (void)close(f->fd);
    if (f->lock_fd >= 0)
        (void)close(f->lock_fd);
    (void)pthread_rwlock_destroy(&f->edge);
    free(f);
}

/* What the file system wants, found by trying: a read of one block of that size. 0 if it takes none. */
static u32 probe_align(int fd)
{
    void *block;
    u32 align = 0;
    if (posix_memalign(&block, DIRECT_MAX, DIRECT_MAX))
        return 0;
    for (u32 try = 512; try <= DIRECT_MAX && !align; try *= 2)
        if (pread(fd, (u8 *)block + try % DIRECT_MAX, try, 0) >= 0)
            align = try;
    free(block);
    return align;
}

/* What it is, and what it must be; -errno with a message. */
static int inspect(struct file *f, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(f->fd, &st))
        return error_set(err, -errno, "%s: cannot be looked at: %s", path, strerror(errno));
    if (S_ISBLK(st.st_mode)) {
        f->device = true;
        if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0)
            return error_set(err, -errno, "%s: its size cannot be told: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        return error_set(err, -EINVAL, "%s: is no disk image; give a regular file or a block device", path);
    }
    return 0;
}

static int open_path(const char *path, unsigned flags, struct error *err)
{
    /* O_NONBLOCK: a FIFO that somebody named by mistake must not hold us up. */
    int fd = open(path, (flags & FILE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0)
        return fd;
    if (flags & FILE_WRITE && (errno == EACCES || errno == EROFS || errno == EPERM))
        return error_set(err, -errno, "%s: cannot be opened for writing: %s; readonly=on would do without", path,
                         strerror(errno));
    return error_set(err, -errno, "%s: cannot be opened: %s", path, strerror(errno));
}

static int set_direct(struct file *f, const char *path, bool on, struct error *err)
{
    if (fcntl(f->fd, F_SETFL, on ? O_DIRECT : 0) < 0)
        return error_set(err, -errno, "%s: cannot be used without the host's cache (%s); leave out cache=none", path,
                         strerror(errno));
    if (!on)
        return 0;
    f->align = probe_align(f->fd);
    return f->align ? 0
                    : error_set(err, -EINVAL, "%s: its file system has no direct access; leave out cache=none", path);
}

/* The same file once more, for its locks. */
static int open_lock(struct file *f, const char *path, unsigned flags, struct error *err)
{
    struct stat st;
    f->lock_fd = open_path(path, 0, err);
    if (f->lock_fd < 0)
        return f->lock_fd;
    if (fstat(f->lock_fd, &st) || st.st_dev != f->dev || st.st_ino != f->ino)
        return error_set(err, -EAGAIN, "%s: was replaced while it was opened; try again", path);
    return file_lock(f->lock_fd, path, flags & FILE_WRITE, err);
}

int file_open(const char *path, unsigned flags, struct file **out, struct error *err)
{
    int fd = open_path(path, flags, err);
    if (fd < 0)
        return fd;
    struct file *f = file_adopt(fd, !(flags & FILE_WRITE));
    if (!f) {
        (void)close(fd);
        return error_set(err, -ENOMEM, "%s: out of memory", path);
    }
    int status = inspect(f, path, err);
    if (!status)
        status = open_lock(f, path, flags, err);
    if (!status)
        status = set_direct(f, path, flags & FILE_DIRECT, err);
    if (status)
        file_close(f);
    else
        *out = f;
    return status;
}

u64 file_size_now(const struct file *f)
{
    struct stat st;
    if (f->device)
        return f->size;
    return fstat(f->fd, &st) ? 0 : (u64)st.st_size;
}

int file_resize(struct file *f, u64 size)
{
    if (f->device || size > INT64_MAX)
        return f->device ? -ENOTSUP : -EFBIG;
    return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

u64 file_run(const struct file *f, u64 offset, u64 length, bool *hole)
{
    *hole = false;
    if (f->device)
        return length;
    off_t data = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* no data from here to the end */
        *hole = true;
        return length;
    }
    if (data < 0)
        return length;
    off_t end = data;
    if ((u64)data > offset)
        *hole = true;
    else
        end = lseek(f->fd, (off_t)offset, SEEK_HOLE);
    return end <= (off_t)offset || (u64)end - offset > length ? length : (u64)end - offset;
}

/* Does a read that brought so much end with the file? With O_DIRECT it may end inside a block, from where the host
 * would refuse to go on. */
static bool ended(const struct file *f, u64 offset, u64 done)
{
    return !done || (f->align && !is_aligned(done, f->align) && offset + done >= file_size_now(f));
}

/* One direction of plain I/O: all of it, whatever the host does at a time. */
static int transfer(struct file *f, bool write, u64 offset, u64 length, struct vec v)
{
    struct iovec pieces[PIECES];
    while (length) {
        u64 covered;
        unsigned n = vec_pieces(v, length, pieces, PIECES, &covered);
        if (!n)
            return -EINVAL; /* the vector is shorter than the length */
        ssize_t done = write ? f->ops->pwritev(f, pieces, n, offset) : f->ops->preadv(f, pieces, n, offset);
        if (done == -EINTR || done == -EAGAIN)
            continue;
        if (done < 0)
            return (int)done;
        if (!done && write)
            return -ENOSPC;
        if (!write && ended(f, offset, (u64)done)) {
            vec_zero(vec_after(v, (u64)done), length - (u64)done);
            return 0;
        }
        v = vec_after(v, (u64)done);
        offset += (u64)done;
        length -= (u64)done;
    }
    return 0;
}

static int transfer_buffer(struct file *f, bool write, u64 offset, void *buffer, u64 length)
{
    struct iovec iov = {buffer, length};
    return transfer(f, write, offset, length, vec_of(&iov, 1));
}

/* A part of direct I/O that is not aligned: [offset, offset + length) by way of the blocks around it. */
static int bounce_part(struct file *f, bool write, u64 offset, u64 length, struct vec v, u8 *buffer)
{
    u64 start = align_down(offset, f->align), end = align_up(offset + length, f->align);
    bool whole = start == offset && end == offset + length;
    int status = 0;
    if (!write || !whole)
        status = transfer_buffer(f, false, start, buffer, end - start);
    if (status)
        return status;
    if (!write) {
        vec_put(v, buffer + (offset - start), length);
        return 0;
    }
    vec_get(v, buffer + (offset - start), length);
    return transfer_buffer(f, true, start, buffer, end - start);
}

static int bounce(struct file *f, bool write, u64 offset, u64 length, struct vec v)
{
    void *buffer;
    int status = 0;
    if (posix_memalign(&buffer, DIRECT_MAX, BOUNCE))
        return -ENOMEM;
    while (length && !status) {
        u64 n = BOUNCE - (offset & (f->align - 1));
        if (n > length)
            n = length;
        status = bounce_part(f, write, offset, n, v, buffer);
        v = vec_after(v, n);
        offset += n;
        length -= n;
    }
    free(buffer);
    return status;
}

static int direct(struct file *f, bool write, u64 offset, u64 length, struct vec v)
{
    bool edges = !is_aligned(offset | length, f->align);
    bool aligned = !edges && vec_aligned(v, length, f->align);
    if (write && edges)
        pthread_rwlock_wrlock(&f->edge);
    else
        pthread_rwlock_rdlock(&f->edge);
    int status = aligned ? transfer(f, write, offset, length, v) : bounce(f, write, offset, length, v);
    pthread_rwlock_unlock(&f->edge);
    return status;
}

static bool in_range(u64 offset, u64 length)
{
    return range_inside(offset, length, INT64_MAX);
}

int file_read(struct file *f, u64 offset, u64 length, struct vec v)
{
    if (!in_range(offset, length))
        return -EINVAL;
    return f->align ? direct(f, false, offset, length, v) : transfer(f, false, offset, length, v);
}

int file_write(struct file *f, u64 offset, u64 length, struct vec v)
{
    if (!in_range(offset, length))
        return -EFBIG;
    return f->align ? direct(f, true, offset, length, v) : transfer(f, true, offset, length, v);
}

int file_read_at(struct file *f, u64 offset, void *to, size_t length)
{
    struct iovec iov = {to, length};
    return file_read(f, offset, length, vec_of(&iov, 1));
}

int file_write_at(struct file *f, u64 offset, const void *from, size_t length)
{
    struct iovec iov = {(void *)(uintptr_t)from, length}; /* only read */
    return file_write(f, offset, length, vec_of(&iov, 1));
}

int file_sync(struct file *f)
{
    int lost = atomic_load(&f->lost);
    if (lost)
        return lost;
    int status;
    do
        status = f->ops->sync(f);
    while (status == -EINTR);
    if (status)
        atomic_store(&f->lost, status);
    return status;
}

static bool unsupported(int status)
{
    return status == -EOPNOTSUPP || status == -ENOSYS || status == -EINVAL || status == -ENODEV;
}

/* 0, an error, or -EOPNOTSUPP: not by this way. */
static int allocate(struct file *f, atomic_bool *never, int mode, u64 offset, u64 length)
{
    if (atomic_load(never))
        return -EOPNOTSUPP;
    int status;
    do
        status = f->ops->allocate(f, mode, offset, length);
    while (status == -EINTR);
    if (!unsupported(status))
        return status;
    atomic_store(never, true);
    return -EOPNOTSUPP;
}

static int write_zeroes(struct file *f, u64 offset, u64 length)
{
    void *zeroes;
    int status = 0;
    if (posix_memalign(&zeroes, DIRECT_MAX, ZERO_BUFFER))
        return -ENOMEM;
    memset(zeroes, 0, ZERO_BUFFER);
    while (length && !status) {
        u64 n = length < ZERO_BUFFER ? length : ZERO_BUFFER;
        status = file_write_at(f, offset, zeroes, n);
        offset += n;
        length -= n;
    }
    free(zeroes);
    return status;
}

int file_zero(struct file *f, u64 offset, u64 length, bool unmap)
{
    int status = -EOPNOTSUPP;
    if (!in_range(offset, length))
        return -EFBIG;
    if (!length)
        return 0;
    if (unmap)
        status = allocate(f, &f->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (status == -EOPNOTSUPP)
        status = allocate(f, &f->no_zero, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
    return status == -EOPNOTSUPP ? write_zeroes(f, offset, length) : status;
}

void file_punch(struct file *f, u64 offset, u64 length)
{
    if (length && in_range(offset, length))
        (void)allocate(f, &f->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}
